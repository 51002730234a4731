"""The calibrating stage: raw words in, counts and, where they are asked for, calibrated pixels out.

One kernel, ``calibrate_count``, on every backend. This module folds constants into its table, and lists the
frames of a block in the order in which it wants them.

Promise: exact. The same words and constants give the same bits on every backend, block size and thread
count; values agree with a float64 calculation from the unfolded constants within 2^-20 relative to adc *
gain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .constants.bad_pixels import ALL_BITS
from .constants.fold import fold, table_planes
from .constants.packed import PackingLimits, is_packed, pack, packed_shape, unpack
from .constants.pieces import close_up, pieces_of_cells
from .detectors import ENCODINGS
from .linearise import linear_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .backend import Backend
    from .constants.container import Constants
    from .constants.masks import StaticMask
    from .constants.steps import Steps
    from .detectors import Detector
    from .shifts import Shifts

STAGE_BITS = 0x03
NOT_FINITE, OUT_OF_RANGE, WRONG_GAIN, NO_CONSTANTS = 0x10, 0x20, 0x40, 0x80
CORRECTED_ENCODING = 5
"""Number by which the kernels know frames that are calibrated already."""

INTENSITY_SCALE = 128
"""Intensities are counted as integers in units of 1/128, so that a sum does not depend on its order."""

COUNTS = 5
"""Numbers that are counted in every frame: lit, unmasked, intensity, photons, candidates of peaks."""

CANDIDATES = 4
"""Which of them are the candidates."""

MAX_GROUP = 16
"""Frames that share one reading of their constants; longer groups would leave threads idle."""


@dataclass(frozen=True)
class CalibrateParams:
    """The scalars of ``calibrate_count``, under the names its compiled functions use.

    Attributes
    ----------
    encoding : int
        0: plane 1 is a digital level; 1: plane 1 is a gain code; 2: one plane, whose words hold signal and
        gain code; 3: one plane and one gain stage; 5: frames that are calibrated already.
    fixed_stage : int
        -1 adaptive, else the only gain stage of the run.
    set_min, round_photons : bool
        Negative medium-gain values become 0; values are rounded to whole photons.
    rounding_threshold : float
        Fraction of a photon from which is rounded up.
    value_limit : float
        A pixel with a larger absolute value does not count.
    lit_threshold : float
        In the unit of the table; NaN counts nothing.
    to_photon : float
        Photons per unit of the table; 0 counts no photons.
    candidate_threshold : float
        In the unit of the table: a pixel that counts is a candidate of a Bragg peak from this value on; NaN
        makes none.
    medium_code, low_code, lost_adc, saturated_adc, adc_bits : int
        As `codes` and the others of `Detector`.
    zero_adc : int
        What a stored 0 stands for, with one gain stage.
    mask_bad : int
        Of frames that are calibrated already: bits of their mask of which one makes a pixel bad.
    """

    encoding: int
    fixed_stage: int = -1
    set_min: bool = False
    round_photons: bool = False
    rounding_threshold: float = 0.5
    value_limit: float = 1e7
    lit_threshold: float = float("nan")
    to_photon: float = 0.0
    candidate_threshold: float = float("nan")
    medium_code: int = 1
    low_code: int = 3
    lost_adc: int = 0x3FFF
    saturated_adc: int = 0
    adc_bits: int = 12
    zero_adc: int = 0
    mask_bad: int = ALL_BITS

    @classmethod
    def from_steps(
        cls,
        steps: Steps,
        detector: Detector,
        gain_mode: str,
        lit_threshold: float = float("nan"),
        to_photon: float = 0.0,
    ) -> CalibrateParams:
        """Return the parameters for a detector, its gain mode and the switches of a recipe."""
        steps = steps.for_detector(detector)
        words = {}
        if detector.codes:
            _, medium, low = detector.codes
            words = {"medium_code": medium, "low_code": low}
            words |= {name: getattr(detector, name) for name in ("lost_adc", "saturated_adc")}
        if detector.encoding == "word":
            words["adc_bits"] = detector.adc_bits
        if detector.is_corrected:
            words["mask_bad"] = steps.bad_bits
        return cls(
            encoding=CORRECTED_ENCODING if detector.is_corrected else ENCODINGS.index(detector.encoding),
            fixed_stage=detector.fixed_stage(gain_mode),
            set_min=steps.set_min,
            round_photons=steps.round_photons,
            rounding_threshold=steps.rounding_threshold,
            value_limit=steps.value_limit,
            lit_threshold=lit_threshold,
            to_photon=to_photon,
            zero_adc=256 if steps.wrap256 else 0,
            **words,
        )

    def kernel_args(self) -> dict[str, Any]:
        """Return the keyword arguments of the native function."""
        return dict(vars(self))


@dataclass(frozen=True)
class Tables:
    """Folded constants of all modules of a run, for the memory cells that occur in it.

    Attributes
    ----------
    table : ndarray of float32, shape (R, P, n_pixels), or uint16, shape (R, P, 8 + n_pixels)
        What the kernel reads; P is 8, 10 where gain stages are forced, and 2 where there is only one. uint16
        where constants are packed: `shotsieve.constants.packed`.
    mask : ndarray of uint32, shape (R, stages, n_pixels)
        Static mask per gain stage.
    row_of : ndarray of int32, shape (M, C)
        Row of a module and cell, -1 where there are no constants.
    cell_ids : ndarray of int32, shape (C,)
        Memory cells of the run, ascending.
    bad_bits : int
        Mask bits that take a pixel out of the measures.
    linear : ndarray of uint16, shape (R, n_pixels, entries), or None
        Linearisation of the words of each row; None where words are linear.
    most_together : int
        Frames of a row that share one reading of it, at most.
    packed_error : float
        Of packed constants: bound of what a value in high gain may be off, in the unit of the values.
    sha256 : str or None
        Of ``table``, where it is known already; see `shotsieve.folded_cache.constants_checksum`.
    crossed : int
        Pixels of all rows whose thresholds are out of order; see `shotsieve.constants.fold.FoldedModule`.
    not_finite : int
        Likewise, with a threshold that is not finite.
    """

    table: np.ndarray
    mask: np.ndarray
    row_of: np.ndarray
    cell_ids: np.ndarray
    bad_bits: int
    linear: np.ndarray | None = None
    most_together: int = MAX_GROUP
    packed_error: float = 0.0
    sha256: str | None = None
    crossed: int = 0
    not_finite: int = 0

    @classmethod
    def of_corrected(cls, modules: int, pixels: int, cell_id: np.ndarray, bad_bits: int) -> Tables:
        """Return what stands for constants of frames that are calibrated already: a row for all.

        Parameters
        ----------
        modules, pixels : int
            Number of modules, and of pixels of each.
        cell_id : array of int
            Memory cells that may come, repeated or not.
        bad_bits : int
            Mask bits that take a pixel out of the measures.
        """
        cells = np.unique(cell_id).astype("i4")
        row_of = np.zeros((modules, len(cells)), "i4")
        # Kernels look at the number of rows alone; the masks of kept frames are in the frames themselves.
        table, mask = np.zeros((1, 1, pixels), "f4"), np.zeros((1, 1, pixels), "u4")
        return cls(table, mask, row_of, cells, bad_bits, most_together=1)

    def planes(self, rows: Any, planes: slice = slice(None)) -> np.ndarray:
        """Return some planes of some rows of ``table`` as float32, (..., n_pixels), packed or not."""
        found = self.table[rows, planes]
        return unpack(found) if is_packed(self.table) else found

    def rows(self, cell_id: np.ndarray) -> np.ndarray:
        """Return the row of ``table`` for each shot and module, int32 (S, M); -1 without constants.

        ``cell_id`` (S,) may hold cells that are not here; they have none.
        """
        if len(self.cell_ids) == 0:
            return np.full((len(cell_id), len(self.row_of)), -1, "i4")
        at = np.minimum(np.searchsorted(self.cell_ids, cell_id), len(self.cell_ids) - 1)
        known = self.cell_ids[at] == cell_id
        return np.ascontiguousarray(np.where(known, self.row_of[:, at], np.int32(-1)).T)


def make_tables(
    constants: Constants,
    detector: Detector,
    modules: Sequence[int],
    cell_id: np.ndarray,
    steps: Steps,
    unit: str,
    photon_energy_kev: float | None,
    gain_mode: str,
    masks: StaticMask | None = None,
) -> Tables:
    """Fold the constants of a run, for the cells that occur and have constants.

    Parameters
    ----------
    constants : Constants
    detector : Detector
    modules : sequence of int
        Module numbers; one without constants gets no rows, and its frames count as unknown.
    cell_id : array of int
        Memory cells of the run, repeated or not.
    steps : Steps
        Switches of the calibration.
    unit : {"ADU", "keV", "photon"}
    photon_energy_kev : float or None
    gain_mode : str
        As in `OperatingMode`.
    masks : StaticMask or None
        Bits of bad pixels beside those of the constants.

    Returns
    -------
    Tables

    Raises
    ------
    BadInput
        As `shotsieve.constants.fold.fold`; or if constants are to be packed and do not fit 16 bits.
    """
    cells = np.unique(cell_id).astype("i4")
    holders = [at for at, module in enumerate(modules) if constants.has("offset", module)]
    row_of = np.full((len(modules), len(cells)), -1, "i4")
    shape = (len(holders) * len(cells), table_planes(detector, steps, gain_mode), detector.pixels)
    packed = steps.packed_constants
    table = np.empty(packed_shape(*shape), "u2") if packed else np.empty(shape, "f4")
    mask = np.empty((len(holders) * len(cells), detector.stages, detector.pixels), "u4")
    wanted, linear = steps.for_detector(detector).linearise, []
    limits = PackingLimits.of(detector, gain_mode, wanted, unit, photon_energy_kev)
    used, error, crossed, not_finite = 0, 0.0, 0, 0
    pieces = [
        (at, some) for at in holders for some in pieces_of_cells(constants, detector, modules[at], cells)
    ]
    for at, some in pieces:
        # Where they are packed, the folded ones are not yet what the kernel reads.
        exact = np.empty((len(some), *shape[1:]), "f4") if packed else table[used : used + len(some)]
        folded = fold(
            constants,
            detector,
            modules[at],
            some,
            steps,
            unit,
            photon_energy_kev,
            gain_mode=gain_mode,
            masks=masks,
            into=(exact, mask[used : used + len(some)]),
        )
        known = some[folded.known]
        rows = slice(used, used + len(known))
        close_up(folded.mask, folded.known)
        close_up(exact, folded.known)
        if packed:
            made = pack(exact[: len(known)], detector, modules[at], known, limits, into=table[rows])
            error = max(error, made.high_gain_error)
        row_of[at, np.searchsorted(cells, known)] = np.arange(rows.start, rows.stop)
        crossed += int(folded.crossed.sum())
        not_finite += int(folded.not_finite.sum())
        used = rows.stop
        if wanted and known.size:
            linear.append(linear_rows(constants, detector, modules[at], known))
    bad_bits = steps.all_bad_bits()
    tables = Tables(
        table[:used],
        mask[:used],
        row_of,
        cells,
        bad_bits,
        packed_error=error,
        crossed=crossed,
        not_finite=not_finite,
    )
    return replace(tables, linear=np.concatenate(linear)) if wanted and used else tables


def list_frames(
    present: np.ndarray, rows: np.ndarray, most: int = MAX_GROUP
) -> tuple[np.ndarray, np.ndarray]:
    """List the frames of a block so that those with the same constants follow each other.

    Parameters
    ----------
    present : ndarray of bool, shape (n, M)
        Frames that were recorded; others are not listed.
    rows : ndarray of int32, shape (n, M)
        Row of the table, -1 without constants.
    most : int
        Frames of a group, at most.

    Returns
    -------
    frames : ndarray of int32, shape (L,)
        Indices shot * M + module, sorted by row and then by shot.
    groups : ndarray of int32, shape (G, 3)
        start, stop into ``frames`` and the row.

    Examples
    --------
    >>> frames, groups = list_frames(np.ones((2, 1), bool), np.zeros((2, 1), "i4"))
    >>> frames.tolist(), groups.tolist()
    ([0, 1], [[0, 2, 0]])
    """
    frames = np.flatnonzero(present).astype("i4")
    row = rows.reshape(-1)[frames]
    order = np.argsort(row, kind="stable")
    frames, row = frames[order], row[order]
    if len(frames) == 0:
        return frames, np.zeros((0, 3), "i4")
    first = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]]))
    in_run = np.arange(len(row)) - np.repeat(first, np.diff(np.append(first, len(row))))
    start = np.flatnonzero(in_run % most == 0)
    stop = np.append(start[1:], len(row))
    return frames, np.stack([start, stop, row[start]], axis=1).astype("i4")


def queue_calibration(
    backend: Backend,
    raw: Any,
    frames: Any,
    groups: Any,
    table: Any,
    counts: Any,
    params: CalibrateParams,
    *,
    pixels: Any = None,
    stage: Any = None,
    candidates: Any = None,
    places: Any = None,
    shifts: Shifts | None = None,
    stream: Any = None,
) -> None:
    """Queue the calibration of listed frames on a stream; returns at once and never waits.

    Promise: exact. All arrays live on the backend's device and must stay alive until the stream is done.

    Parameters
    ----------
    backend : Backend
    raw : uint16 (F, planes, n_pixels)
        Raw words; n_pixels is a multiple of 8.
    frames, groups : int32 (L,), int32 (G, 3)
        From `list_frames`.
    table : float32 (R, 8, 10 or 2, n_pixels), or packed
        From `make_tables`.
    counts : int64 (P, 5)
        Receives lit pixels, unmasked pixels, intensity in 1/128 of the unit, photons and candidates of peaks;
        of listed frames only.
    params : CalibrateParams
    pixels, stage : float32 (P, n_pixels) and uint8 (P, n_pixels), or None
        Receive the calibrated values, NaN where a pixel does not count, and the stage byte.
    candidates : uint32 (P, n_pixels // 32), or None
        Receives one bit per pixel: bit p % 32 of word p // 32 is set where pixel p counts and its value is at
        least ``params.candidate_threshold``. Only together with ``pixels``, and n_pixels is then a multiple
        of 32.
    places : int32 (L,), or None
        Where the results of each listed frame go, each place once at most; None: where it is in ``raw``, and
        P is F.
    shifts : Shifts or None
        Added to the offsets of the F frames: baselines and common mode.
    stream : object
        A stream of ``backend.device``.

    Raises
    ------
    ValueError, TypeError
        If an array is not what it has to be; the text names it.

    Examples
    --------
    >>> queue_calibration(backend, raw, frames, groups, table, counts, params)  # doctest: +SKIP
    """
    how = backend.on(stream) | params.kernel_args() | ({} if shifts is None else shifts.kernel_args())
    backend.native.calibrate_count(
        raw, frames, groups, table, counts, pixels, stage, candidates, places, **how
    )
