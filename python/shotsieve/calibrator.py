"""Calibration of frames in memory, for programs that want nothing else of this one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import detectors
from .calibrate import CalibrateParams
from .calibrated_frames import OUTPUTS, CalibratedFrames
from .constants.asked import check_asked
from .constants.conditions import check_told
from .constants.container import Constants
from .constants.fold import required
from .constants.steps import Steps
from .errors import BadInput, nearest
from .folded_cache import tables_of
from .frame_queue import FrameQueue
from .lit_by_noise import NOISES, LitByNoise, check_sigma
from .measure.arrays import check_present, check_raw, chosen_backend, told_on_host, whole_cells
from .measure.lit import just_above, photons_per_unit
from .measure.threshold import median_noise, threshold_in_unit
from .nine_bits import refuse_nine_bits
from .odd_constants import lacking_of, listed, told_odd, told_unknown
from .shift_finder import mode_of
from .units import parse_quantity
from .write.photons import DTYPES, PhotonCounts

if TYPE_CHECKING:
    from .backend import Backend
    from .constants.masks import StaticMask

WHO = "calibrate_frames"
BY_PIXEL = f'{WHO}: noise = "pixel"'


class Calibrator:
    """Constants folded once and kept on the device, for frames that come again and again.

    Promise: exact; the numbers that `shotsieve.reduce` writes, on every backend and in batches of any size.

    Parameters
    ----------
    constants : Constants or path
    modules : sequence of int or None
        The modules of every call, in its order; None: those of the constants.
    cells : sequence of int or None
        Memory cells that may come; None: those of the constants.
    detector : str or None
        Needed where the constants are a folder in the facility's layout.
    gain_mode : {"adaptive", "fixed_high", "fixed_medium", "fixed_low"}
    photon_energy_kev : float or None
        Needed for photons.
    unit : {"ADU", "keV", "photon"} or None
        Of the values; None leaves it to the steps: keV where the constants have a gain.
    steps : Steps or None
        Switches of the calibration.
    lit_threshold : str or float
        From where a pixel is lit: ``"0.7 photon"``, ``"4 keV"``, ``"5 sigma"``, or a number in `unit`.
        Sigma is the median noise of all `cells`; in `shotsieve.reduce` of those that the run has.
    noise : {"median", "pixel"}
        What a sigma of `lit_threshold` is: with ``"pixel"`` the noise of each pixel, memory cell and gain
        stage; pixels without a noise above 0 are then neither lit nor unmasked, and frames are counted twice.
    high_threshold : str, float or None
        Likewise, for a second count; None: none is made. Not in sigma with `noise` of each pixel.
    photon_dtype : {"uint16", "uint8"}
        Of the output ``photon_counts``: what is larger than it holds becomes its largest number, and is
        flagged VALUE_OUT_OF_RANGE. Rounded up from `Steps.rounding_threshold`, as a reduction does.
    parallel_gain : bool or None
        Of LPD: whether the planes of a shot are its words in high, medium and low gain. None: whether the
        constants say that they are for that mode.
    backend : {"auto", "cpu", "cuda", "emu"} or Backend
    masks : StaticMask or None
        Bits of bad pixels beside those of the constants; see `shotsieve.constants.mask_file.read_mask`.
    constants_cache : path-like or None
        Folder in which folded constants are kept; see `shotsieve.folded_cache`. None: what
        ``SHOTSIEVE_CONSTANTS_CACHE`` names, if anything.
    force : bool
        Accept constants whose conditions disagree with `gain_mode`, `parallel_gain` or `photon_energy_kev`;
        what disagrees is then in `notes`.

    Attributes
    ----------
    modules : tuple of int
    unit : str
    notes : list of str
        Steps that were switched off, since the constants do not have what they need; conditions that disagree
        and were forced; modules and cells without constants; pixels without a usable gain that no bit of the
        mask tells, and such whose thresholds are out of order, or not finite: what the accounts of a
        reduction say.
    frame_shape : (int, int, int, int)
        (modules, planes, ss, fs) of the raw words of a shot; (modules, planes, strips) in one dimension.

    Raises
    ------
    BadInput
        If constants, their conditions, modules, units, steps or backend do not fit together; if none of the
        modules has the constants that are needed; if steps are asked for that the detector does not have.

    Examples
    --------
    >>> calibrate = shotsieve.Calibrator("constants.h5", modules=[3])    # doctest: +SKIP
    >>> calibrate(raw, cell_ids).data.shape    # doctest: +SKIP
    (352, 1, 512, 128)
    """

    def __init__(
        self,
        constants: Constants | str | os.PathLike[str],
        modules: Sequence[int] | None = None,
        cells: Sequence[int] | None = None,
        *,
        detector: str | None = None,
        gain_mode: str = "adaptive",
        photon_energy_kev: float | None = None,
        unit: str | None = None,
        steps: Steps | None = None,
        lit_threshold: str | float = "0.7 photon",
        noise: str = "median",
        high_threshold: str | float | None = None,
        photon_dtype: str = "uint16",
        parallel_gain: bool | None = None,
        backend: str | Backend = "auto",
        masks: StaticMask | None = None,
        constants_cache: str | os.PathLike[str] | None = None,
        force: bool = False,
    ) -> None:
        family = None if detector is None else detectors.load(detector)
        if not isinstance(constants, Constants):
            constants = Constants.open(constants, family)
        self.detector = family or constants.detector
        if constants.conditions.get("parallel_gain") if parallel_gain is None else parallel_gain:
            self.detector = self.detector.in_parallel_gain()
        steps = Steps() if steps is None else steps
        self.modules = tuple(constants.modules if modules is None else (int(m) for m in modules))
        if not self.modules or len(set(self.modules)) < len(self.modules):
            raise BadInput(f"{WHO}: modules {self.modules}: expected different numbers, at least one")
        self.detector.fixed_stage(gain_mode)  # refuses a mode that does not exist, before it is compared
        check_asked(steps, self.detector, f"{WHO}: steps")
        steps, self.notes = steps.for_constants(self.detector, constants)
        mode = gain_mode if self.detector.stages > 1 else None  # one stage has no mode
        told = {"gain_mode": mode, "parallel_gain": parallel_gain, "photon_energy_kev": photon_energy_kev}
        self.notes += check_told(constants, told, force)
        self.unit = steps.unit(unit)
        cells = np.unique(whole_cells(constants.cell_ids if cells is None else cells, f"{WHO}: cells"))
        self.tables = tables_of(
            constants,
            self.detector,
            self.modules,
            cells,
            steps,
            self.unit,
            photon_energy_kev,
            gain_mode,
            masks,
            cache=constants_cache,
        )
        self.notes += self._told_of_tables(constants, steps, gain_mode)
        to_photon = photons_per_unit(self.unit, photon_energy_kev)
        told = (photon_energy_kev, constants, gain_mode)
        sigma = _sigma_of_pixels(noise, lit_threshold, high_threshold)
        self._lit_by_pixel = sigma is not None
        self._threshold = self._high = float("nan")
        if not self._lit_by_pixel:
            self._threshold = self._lit(lit_threshold, "lit_threshold", *told)
        if high_threshold is not None:
            self._high = just_above(self._lit(high_threshold, "high_threshold", *told))
        params = CalibrateParams.from_steps(
            steps, self.detector, gain_mode, self._threshold, to_photon or 0.0
        )
        self.params = replace(params, candidate_threshold=self._high)
        mode = mode_of(steps, self.detector, gain_mode, constants, self.tables, self.modules)
        if mode is not None and mode.cells:
            raise BadInput(
                f"{WHO}: cell_common_mode needs whole rows of cells of a train, and frames do not say "
                "of which train they are: use shotsieve.Engine, or leave it out"
            )
        self.backend = chosen_backend(backend)
        self.frame_shape = (len(self.modules), self.detector.plane_count, *self.detector.frame_shape)
        if photon_dtype not in DTYPES:
            raise BadInput(f"{WHO}: photon_dtype is {photon_dtype!r}; expected {' or '.join(DTYPES)}")
        photons = PhotonCounts(to_photon, steps.rounding_threshold, photon_dtype) if to_photon else None
        queued = (self.backend, self.detector, self.tables, self.params, self.frame_shape)
        by_noise = None
        if self._lit_by_pixel:
            folded = (constants, self.tables, self.modules, self.params)
            by_noise = LitByNoise.make(*folded, sigma, self.unit, BY_PIXEL, constants_cache)
        self._frames = FrameQueue(*queued, mode, photons, by_noise)

    def _told_of_tables(self, constants: Constants, steps: Steps, gain_mode: str) -> list[str]:
        """Say what is odd about the constants, and unknown; refuse those of other modules."""
        needed = required(self.detector, steps, gain_mode)
        if all(lacking_of(constants, ("offset", *needed), [module]) for module in self.modules):
            lacking = ", ".join(lacking_of(constants, needed, self.modules))
            raise BadInput(
                f"{WHO}: none of modules {listed(self.modules)} has all the constants that are needed "
                f"({lacking}): no frame would have a value. The constants are of modules "
                f"{listed(constants.modules)}"
            )
        cells = self.tables.cell_ids.tolist()
        unknown = told_unknown(constants, needed, self.tables.row_of, self.modules, cells)
        return unknown + told_odd(self.tables, self.detector, gain_mode, steps)

    def _lit(
        self, given: str | float, option: str, energy: float | None, constants: Constants, gain_mode: str
    ) -> float:
        """Return the threshold in the unit; NaN, where it is not known, is refused once it is needed."""
        if not isinstance(given, str):
            return float(np.float32(given))
        quantity, sigma = parse_quantity(given, option=option), float("nan")
        in_adu = self.unit == "ADU" and quantity.unit in ("photon", "keV")
        if in_adu or (quantity.unit == "photon" and energy is None and self.unit != "photon"):
            return float("nan")
        if quantity.unit == "sigma":
            stage = max(self.detector.fixed_stage(gain_mode), 0)
            sigma = median_noise(constants, self.tables, self.modules, stage)
        return threshold_in_unit(quantity, self.unit, energy, sigma, option=option)

    def __call__(
        self,
        raw: Any,
        cell_ids: Any,
        outputs: Sequence[str] = ("data",),
        stream: Any = None,
        present: Any = None,
    ) -> CalibratedFrames:
        """Calibrate some shots.

        Parameters
        ----------
        raw : array of uint16, shape (n, M, planes, ss, fs)
            Without M where there is one module. In host memory, or C-contiguous on the GPU of the backend.
            Where files have signal and gain code apart, `np.stack` makes planes of them: docs/calibration.md.
        cell_ids : array of int, shape (n,)
            Memory cell of every shot, of any integer dtype. In host memory, or on the GPU of the backend,
            from where it is copied.
        outputs : sequence of str
            Some of `OUTPUTS`. Only what is asked for is made.
        stream : stream, int or None
            For words on a GPU: where to queue; None takes what the array names, else the current one.
        present : array of bool, shape (n, M), or None
            Where False a module has no frame of that shot, and `raw` may hold anything there: nothing is
            looked at, and the frame comes out as one without constants. Without M where there is one module.
            In host memory, or on the GPU of the backend. None: all are there.

        Returns
        -------
        CalibratedFrames

        Raises
        ------
        BadInput
            If shapes or dtypes are wrong, cells are no whole numbers of 32 bits, an output is unknown, or its
            threshold or energy is missing; if words in host memory have nine bits and the steps have
            `wrap256`.
        """
        outputs = self._checked(outputs)
        cell_ids = told_on_host(cell_ids, self.backend, f"{WHO}: cell_ids", stream)
        if cell_ids.ndim != 1:
            raise BadInput(
                f"{WHO}: cell_ids has shape {cell_ids.shape}; expected (n,), one number for every shot: "
                "cell_ids.ravel() makes it of a column, as raw files have it"
            )
        shapes = [(len(cell_ids), *self.frame_shape)]
        if len(self.modules) == 1:
            shapes.append((len(cell_ids), *self.frame_shape[1:]))
        on_device = check_raw(raw, shapes, "cell_ids", self.backend, WHO)
        rows = self.tables.rows(whole_cells(cell_ids, f"{WHO}: cell_ids"))
        if present is not None:
            present = told_on_host(present, self.backend, f"{WHO}: present", stream)
            present = check_present(present, rows.shape, WHO)
            rows = np.where(present, rows, np.int32(-1))
        if on_device:
            return self._frames.on_device(raw, rows, outputs, stream)
        raw = np.ascontiguousarray(raw).reshape(shapes[0])
        refuse_nine_bits(raw, self.params.zero_adc, WHO, "Give steps=Steps(wrap256=False)", present)
        return self._frames.on_host(raw, rows, outputs)

    def _checked(self, outputs: Sequence[str]) -> tuple[str, ...]:
        outputs = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        for name in outputs:
            if name not in OUTPUTS:
                raise BadInput(
                    f"{WHO}: no output {name!r}.{nearest(name, OUTPUTS)} There are {', '.join(OUTPUTS)}"
                )
        for name in ("photons", "photon_counts"):
            if name in outputs and not self.params.to_photon:
                raise BadInput(
                    f"{WHO}: {name} are asked for: give photon_energy_kev, and a unit other than ADU"
                )
        if "lit_pixels" in outputs and np.isnan(self._threshold) and not self._lit_by_pixel:
            raise BadInput(
                f"{WHO}: lit pixels are asked for: give photon_energy_kev, or lit_threshold in {self.unit}"
            )
        if "lit_pixels_high" in outputs and np.isnan(self._high):
            raise BadInput(f"{WHO}: lit_pixels_high is asked for: give high_threshold in {self.unit}")
        return outputs


def _sigma_of_pixels(noise: str, lit: str | float, high: str | float | None) -> float | None:
    """Return the threshold in sigma where pixels are lit by their own noise; None where they are not."""
    if noise not in NOISES:
        raise BadInput(f"{WHO}: noise is {noise!r}; expected {' or '.join(map(repr, NOISES))}")
    if noise != "pixel":
        return None
    threshold = parse_quantity(lit, option="lit_threshold") if isinstance(lit, str) else lit
    check_sigma(threshold, BY_PIXEL)
    if isinstance(high, str) and parse_quantity(high, option="high_threshold").unit == "sigma":
        raise BadInput(
            f"{BY_PIXEL} counts by the noise of pixels with one threshold: give high_threshold in photon, "
            "keV or ADU"
        )
    return threshold.value


def calibrate_frames(
    raw: Any,
    cell_ids: Any,
    constants: Constants | str | os.PathLike[str],
    modules: Sequence[int] | None = None,
    outputs: Sequence[str] = ("data",),
    present: Any = None,
    **options: Any,
) -> CalibratedFrames:
    """Calibrate frames once. For many calls make a `Calibrator`, which folds the constants only once.

    Parameters
    ----------
    raw, cell_ids, outputs, present
        As `Calibrator.__call__` takes them.
    constants, modules, **options
        As `Calibrator` takes them.

    Returns
    -------
    CalibratedFrames

    Raises
    ------
    BadInput
        As both.

    Examples
    --------
    >>> found = calibrate_frames(raw, cells, "constants.h5", [3], ["data", "mask"])    # doctest: +SKIP
    """
    # A threshold in sigma is of all cells, whichever come; by the noise of each pixel it is of its own.
    thresholds = [str(options.get(name, "")) for name in ("lit_threshold", "high_threshold")]
    in_sigma = options.get("noise") != "pixel" and any("sigma" in text for text in thresholds)
    options["backend"] = backend = chosen_backend(options.get("backend", "auto"))
    cell_ids = told_on_host(cell_ids, backend, f"{WHO}: cell_ids")
    cells = None if in_sigma else np.unique(whole_cells(cell_ids, f"{WHO}: cell_ids"))
    return Calibrator(constants, modules, cells, **options)(raw, cell_ids, outputs, present=present)
