"""What a detector's TOML file holds."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field

import numpy as np

from ..errors import BadInput, nearest
from .check import CORRECTED, GAIN_MODES
from .control import ControlKey, as_key
from .places import at_borders, in_rows


@dataclass(frozen=True)
class Detector:
    """What a detector's TOML file says; see ``agipd1m.toml`` for what each field means.

    Attributes
    ----------
    module_count : int
        Number of modules; 0 means any number.
    shape, asic : tuple of int
        (slow scan, fast scan) in pixels.
    dimensions : {2, 1}
        Pixel axes of a frame in files and arrays; with 1 the detector is a row of strips, and shape[0] is 1.
    wide_marked : bool
        Whether such pixels have the bit NON_STANDARD_SIZE even where a recipe does not ask for it.
    wide_edges : tuple of str
        Axes, ``"ss"`` and ``"fs"``, along which the pixels on both sides of a border of chips are longer.
    bank : tuple of int
        (slow scan, fast scan) in pixels: parts of a module that are read out together, whose common mode is
        taken by medians; (0, 0) where there is none.
    sensor_rows : tuple of (int, int)
        Rows of a stored frame, first and behind the last, that are of a sensor; empty: all. The others are
        read and kept as they are, and are no pixels: NON_SENSITIVE, without dark constants.
    edge_rows : tuple of int
        Rows that a recorded frame may have before and after those of the sensor. They are not read.
    corrected_source : str
        Empty where it is the recorded name with ``/CORR/`` for ``/DET/``.
    hexagonal : bool
        Whether pixels are regular hexagons, `pixel_size_m` wide, whose rows reach into each other.
    sensor_material : str
        Chemical symbol or formula.
    sensor_thickness_m : float
    encoding : {"threshold", "code", "word", "plain"}
        Whether plane 1 is compared with two thresholds, or is the gain code itself; whether the words of the
        only plane hold signal and gain code; or whether there is one gain stage, and words are signals. Of
        frames that are calibrated already it is ``"corrected"``; see `corrected`.
    codes : tuple of int
        For ``"code"`` and ``"word"``: the codes of the stages 0, 1, 2, of which the first is 0; every other
        code is invalid.
    adc_bits : int
        Bits of the signal. For ``"word"`` the two above them are the gain code.
    lost_adc, saturated_adc : int
        Likewise: the signal that, with the code of low gain, stands for a lost packet, and with that of
        medium or low gain for a saturated pixel; -1 where there is no such word.
    planes : tuple of str
        Datasets of the raw words; several are stacked on a planes axis. `plane_count` is that axis' length.
    plane_axis : bool
        Whether a dataset has that axis itself.
    cell_cycle : int
        Without a cell_key: frames of a train sit in the cells 0 ... cell_cycle - 1 by turns.
    cell_order : bool
        Whether constants hold for the order in which a train fills memory cells.
    clocks_per_slot : float
        How much of the integration time, in its own unit, fits into a slot of the bunch pattern; 0 where
        that is not known.
    single_cell : int
        The cell that constants with one cell stand for; -1 means cell 0.
    optional_constants : tuple of str
        Without these the step that needs them is switched off, and the accounts say so.
    steps : tuple of str
        Steps of the calibration (fields of `shotsieve.constants.steps.Steps`) that exist for this detector.
    control : dict
        Field of the operating mode -> candidates, best first.
    gain_modes : dict
        What the run says (as a string) -> one of `GAIN_MODES`.
    dark_modes : dict
        What the run says of its gain mode (as a string) -> gain stage of a dark run taken so; a mode that
        leaves it open is not there.
    gain_settings : dict
        What the run says of its gain setting (as a string) -> its number as a condition of the constants;
        empty where the run says the number itself.
    facility_constants : dict
        Type in the facility's constant store -> name in `shotsieve.constants.Constants`.
    facility_repeat_last : tuple of str
        Those types that may have fewer cells: their last cell stands for all later ones.
    """

    name: str
    family: str
    module_count: int
    first_module: int
    shape: tuple[int, int]
    asic: tuple[int, int]
    pixel_size_m: float
    sensor_material: str
    sensor_thickness_m: float
    name_pattern: str
    raw_source_pattern: str
    raw_source: str
    corrected_source_pattern: str
    corrected_source: str
    aggregator: str
    group: str
    layout: str
    planes: tuple[str, ...]
    plane_count: int
    pulse_key: str
    cell_key: str
    encoding: str
    codes: tuple[int, ...]
    adc_bits: int
    lost_adc: int
    saturated_adc: int
    max_cells: int
    row_cells: int
    clocks_per_slot: float
    keep_unit: str
    adc_max: int
    single_cell: int
    signed_gain: bool
    medium_low_ratio: float
    steps: tuple[str, ...]
    gain_modes: dict[str, str]
    facility_type: str
    facility_constants: dict[str, str]
    facility_repeat_last: tuple[str, ...]
    # What is usual need not be said in a file.
    dimensions: int = 2
    edge_rows: tuple[int, int] = (0, 0)
    sensor_rows: tuple[tuple[int, int], ...] = ()
    plane_axis: bool = True
    wide_edges: tuple[str, ...] = ()
    wide_marked: bool = True
    bank: tuple[int, int] = (0, 0)
    cell_cycle: int = 0
    cell_order: bool = False
    hexagonal: bool = False
    optional_constants: tuple[str, ...] = ()
    dark_modes: dict[str, int] = field(default_factory=dict)
    gain_settings: dict[str, int] = field(default_factory=dict)
    # Not shown: it would make every error text with a detector in it a page long.
    control: dict[str, tuple[ControlKey, ...]] = field(default_factory=dict, repr=False)

    @property
    def pixels(self) -> int:
        """Number of pixels of one module."""
        return self.shape[0] * self.shape[1]

    @property
    def pixel_sizes_m(self) -> tuple[float, float]:
        """Steps from pixel to pixel along fast and slow scan, in m."""
        return self.pixel_size_m, self.pixel_size_m * (float(np.sqrt(0.75)) if self.hexagonal else 1.0)

    @property
    def stages(self) -> int:
        """Number of gain stages that a pixel can be in: the length of the gain axis of the constants."""
        return 1 if self.encoding == "plain" else 3

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of a frame in files and arrays: (ss, fs), or (strips,) of a detector in one dimension."""
        return self.shape[2 - self.dimensions :]

    @property
    def recorded_shape(self) -> tuple[int, ...]:
        """Shape of a frame in a dataset of raw words: `frame_shape`, behind the planes axis if any."""
        planes = 1 if self.encoding == "parallel" else self.plane_count
        return (planes,) * self.plane_axis + self.frame_shape

    def recorded_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return every shape that a recorded frame may have: with and without `edge_rows`.

        Returns
        -------
        tuple of tuple of int

        Examples
        --------
        >>> from shotsieve import detectors
        >>> detectors.load("AGIPD1M").recorded_shapes()
        ((2, 512, 128),)
        """
        usual = self.recorded_shape
        if not any(self.edge_rows):
            return (usual,)
        return usual, (*usual[:-2], usual[-2] + sum(self.edge_rows), usual[-1])

    @property
    def modules(self) -> tuple[int, ...]:
        """Numbers of all modules; empty where the detector has any number of them."""
        return tuple(range(self.first_module, self.first_module + self.module_count))

    @property
    def is_corrected(self) -> bool:
        """Whether frames are calibrated already, and nothing of them is to be calibrated again."""
        return self.encoding == CORRECTED

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame in the files, all planes."""
        return (9 if self.is_corrected else 2 * self.plane_count) * self.pixels

    def corrected(self) -> Detector:
        """Return the same detector as its corrected files have it; see `shotsieve.sources.corrected`.

        Examples
        --------
        >>> from shotsieve import detectors
        >>> detectors.load("JUNGFRAU").corrected().planes
        ('adc', 'mask', 'gain')
        """
        return dataclasses.replace(
            self,
            encoding=CORRECTED,
            codes=(),
            planes=(self.planes[0], "mask", "gain"),
            plane_count=5,
            edge_rows=(0, 0),
            steps=("round_photons",),
        )

    def needs_gain_plane(self, gain_mode: str) -> bool:
        """Whether the words of a frame beyond its first plane say anything in a gain mode.

        Examples
        --------
        >>> from shotsieve import detectors
        >>> [detectors.load("AGIPD1M").needs_gain_plane(mode) for mode in ("adaptive", "fixed_high")]
        [True, False]
        >>> detectors.load("JUNGFRAU").needs_gain_plane("fixed_high")  # its codes may contradict the mode
        True
        """
        return self.encoding != "threshold" or self.plane_count == 1 or self.fixed_stage(gain_mode) < 0

    def without_gain_plane(self) -> Detector:
        """Return the detector as it is where `needs_gain_plane` says no: one plane of every frame is read."""
        return dataclasses.replace(self, plane_count=1)

    def wide_pixels(self) -> np.ndarray:
        """Return which pixels of a module are larger than the others, by `wide_edges`.

        Returns
        -------
        ndarray of bool, shape (pixels,)

        Examples
        --------
        >>> from shotsieve import detectors
        >>> detectors.load("JUNGFRAU").wide_pixels().reshape(512, 1024)[255:257, 0].tolist()
        [True, True]
        """
        return at_borders(self.shape, self.asic, self.wide_edges)

    def sensor_pixels(self) -> np.ndarray:
        """Return which pixels of a stored frame are of a sensor, bool (pixels,), by `sensor_rows`."""
        return in_rows(self.shape, self.sensor_rows)

    def in_parallel_gain(self) -> Detector:
        """Return the detector as it is when every pixel is measured in all three stages at once.

        Returns
        -------
        Detector
            A shot's planes are then its words in high, medium and low gain, each recorded as a frame.

        Raises
        ------
        BadInput
            If the detector has no such mode.

        Examples
        --------
        >>> from shotsieve import detectors
        >>> detectors.load("LPD1M").in_parallel_gain().plane_count
        3
        """
        if "parallel_gain" not in self.control:
            raise BadInput(f"parallel_gain = true: {self.name} has no parallel gain; leave the key out.")
        return dataclasses.replace(self, encoding="parallel", plane_count=3)

    def module_of(self, hit: re.Match) -> int:
        """Return the number of the module that a source name tells; a name without one is the first module.

        Parameters
        ----------
        hit : re.Match
            Of `raw_source_pattern` or `corrected_source_pattern`.

        Returns
        -------
        int

        Examples
        --------
        >>> from shotsieve import detectors
        >>> d = detectors.load("AGIPD1M")
        >>> d.module_of(re.fullmatch(d.raw_source_pattern, "SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"))
        3
        """
        return int(hit["module"] or self.first_module)

    def gain_mode_name(self, value: object) -> str | None:
        """Return the name of a gain mode as the run's control source gives it, or None if it is not known.

        Parameters
        ----------
        value : int, str or bytes
            E.g. 0 (AGIPD) or ``"fixg1"`` (JUNGFRAU).

        Returns
        -------
        str or None
            One of `GAIN_MODES`.

        Examples
        --------
        >>> from shotsieve import detectors
        >>> detectors.load("JUNGFRAU").gain_mode_name(b"fixg1")
        'fixed_medium'
        """
        return self.gain_modes.get(as_key(value))

    def dark_stage(self, value: object) -> int | None:
        """Return the gain stage of a dark run taken in a gain mode, or None where the mode leaves it open.

        Parameters
        ----------
        value : int, str or bytes
            As the run's control source gives it.

        Returns
        -------
        int or None

        Examples
        --------
        >>> from shotsieve import detectors
        >>> detectors.load("JUNGFRAU").dark_stage("forceswitchg2")
        2
        """
        return self.dark_modes.get(as_key(value))

    def fixed_stage(self, gain_mode: str) -> int:
        """Return the gain stage of a fixed gain mode, or -1 for ``"adaptive"``.

        Parameters
        ----------
        gain_mode : str
            One of `GAIN_MODES`.

        Returns
        -------
        int
            -1, 0, 1 or 2.

        Raises
        ------
        BadInput
            If `gain_mode` is not one of `GAIN_MODES`.

        Examples
        --------
        >>> from shotsieve import detectors
        >>> detectors.load("AGIPD1M").fixed_stage("fixed_medium")
        1
        """
        if gain_mode not in GAIN_MODES:
            hint = nearest(str(gain_mode), GAIN_MODES)
            raise BadInput(f"gain_mode = {gain_mode!r} is not one of {', '.join(GAIN_MODES)}.{hint}")
        if self.stages == 1 and gain_mode not in GAIN_MODES[:2]:
            raise BadInput(f"gain_mode = {gain_mode!r}: {self.name} has one gain stage; leave the key out.")
        return GAIN_MODES.index(gain_mode) - 1

    def default_cell_ids(self, count: int) -> np.ndarray:
        """Return the cell ids that `count` cells of constants stand for when nothing else says so.

        Parameters
        ----------
        count : int
            Length of the constants' cell axis.

        Returns
        -------
        ndarray of int32, shape (count,)

        Examples
        --------
        >>> from shotsieve import detectors
        >>> detectors.load("JUNGFRAU").default_cell_ids(1)
        array([15], dtype=int32)
        """
        if count == 1 and self.single_cell >= 0:
            return np.array([self.single_cell], np.int32)
        return np.arange(count, dtype=np.int32)
