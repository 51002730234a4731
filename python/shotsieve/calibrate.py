"""The calibrating stage: raw words in, counts and, where they are asked for, calibrated pixels out.

One kernel, ``calibrate_count``, on every backend. This module lists the frames of a block in the order in
which it wants them; `shotsieve.folded_tables` has its table.

Promise: exact. The same words and constants give the same bits on every backend, block size and thread
count; values agree with a float64 calculation from the unfolded constants within 2^-20 relative to adc *
gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .constants.bad_pixels import ALL_BITS
from .detectors import ENCODINGS

if TYPE_CHECKING:
    from .backend import Backend
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
