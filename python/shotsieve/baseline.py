"""Baseline shift: where the noise peak of a module's image stands, which sinks when the module is bright.

The peak is looked for in a histogram of the pixels in high gain, by wavelets as wide as the noise and wider,
first roughly and then finely. It is subtracted from the whole image before anything else. Source of the
steps: what is known of the facility's ``blc-noise``, from recollection; the definition is ours.

Promise: exact. Histograms are counted in integers and the wavelets are integers, so that the same words and
constants give the same shift for any block size and number of threads. On the CPU alone.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .constants.fold import FORCED_PLANES
from .constants.packed import is_packed, unpack
from .errors import BadInput
from .shifts import SHIFT_SCALE

if TYPE_CHECKING:
    from .calibrate import Tables
    from .constants.container import Constants
    from .constants.steps import Steps
    from .detectors import Detector

__all__ = ["BaselineParams", "find_baselines", "find_peak", "wavelets"]

LOWEST, HIGHEST, COARSE_BINS = -2000, 100, 210
"""Range in ADU of the first histogram, and its bins."""
REACH, FINE_BINS = 200, 200
"""The second one reaches so far on both sides of the peak of the first."""
UP_TO = 50
"""Only pixels up to this are counted, ADU."""
WIDTHS = (1, 3, 5)
"""Widths of the wavelets in units of the noise."""
LEAST_SHARE = 1 / 64
"""A frame with a smaller share of its pixels in the first histogram has no peak."""
WAVELET_SCALE = 2.0**20


@dataclass(frozen=True)
class BaselineParams:
    """What the baseline of a run is looked for with.

    Attributes
    ----------
    threshold : float
        A peak lower than minus this, in ADU, is none.
    noise : ndarray of float64, shape (R,)
        Mean noise in high gain of the module and cell of each row of the tables, ADU.
    fixed_stage : int
        -1, or 0 where the run is in high gain.
    """

    threshold: float
    noise: np.ndarray
    fixed_stage: int

    @classmethod
    def make(
        cls,
        steps: Steps,
        detector: Detector,
        gain_mode: str,
        constants: Constants,
        tables: Tables,
        modules: tuple[int, ...],
    ) -> BaselineParams | None:
        """Return what the switches of a recipe say, None where no baseline is subtracted.

        Raises
        ------
        BadInput
            If the run has no pixels in high gain, or the constants have no noise.
        """
        steps = steps.for_detector(detector)
        if not steps.blc_noise:
            return None
        stage = detector.fixed_stage(gain_mode)
        if stage > 0:
            raise BadInput(
                f"blc_noise = true looks at pixels in high gain, and the gain mode is {gain_mode}: set "
                "[calibrate] blc_noise = false"
            )
        noise = np.full(len(tables.table), np.nan)
        for module, row_of in zip(modules, tables.row_of, strict=True):
            known = row_of >= 0
            if not known.any() or not constants.has("noise", module):
                continue
            planes = constants.load("noise", module, tables.cell_ids[known])[0].reshape(known.sum(), -1)
            noise[row_of[known]] = np.nanmean(planes.astype("f8"), axis=1)
        if not (noise > 0).all():
            raise BadInput(
                "blc_noise = true needs the noise of every module and cell, and the constants lack it: give "
                "constants with noise, or set [calibrate] blc_noise = false"
            )
        limit = np.inf if steps.blc_noise_threshold is None else steps.blc_noise_threshold
        return cls(limit, noise, stage)


def wavelets(noise: float, bin_adu: int) -> list[np.ndarray]:
    """Return Ricker wavelets of the three widths as whole numbers, int64, each of an odd number of bins.

    Examples
    --------
    >>> [len(one) for one in wavelets(8.0, 10)]
    [9, 25, 41]
    """
    made = []
    for factor in WIDTHS:
        width = factor * noise / bin_adu
        reach = int(np.ceil(5 * width))
        square = (np.arange(-reach, reach + 1) / width) ** 2
        norm = 2 / (np.sqrt(3 * width) * np.pi**0.25)
        made.append(np.rint(WAVELET_SCALE * norm * (1 - square) * np.exp(-square / 2)).astype(np.int64))
    return made


def _best_bin(histogram: np.ndarray, kernels: list[np.ndarray]) -> int:
    """Return the bin of the largest response; the first of equals, narrow wavelets before wide ones."""
    best, where = None, 0
    for kernel in kernels:
        reach = len(kernel) // 2
        response = np.convolve(histogram, kernel)[reach : reach + len(histogram)]
        at = int(np.argmax(response))
        if best is None or response[at] > best:
            best, where = response[at], at
    return where


def _histogram(values: np.ndarray, low: int, bins: int, bin_units: int) -> np.ndarray:
    """Count values in bins from `low` on; all in 1/256 ADU."""
    index = (values - low) // bin_units
    return np.bincount(index[(index >= 0) & (index < bins)], minlength=bins)


def find_peak(values: np.ndarray, noise: float, threshold: float) -> int:
    """Return the place of the noise peak, 0 where there is none, in 1/256 ADU.

    Parameters
    ----------
    values : ndarray of int, shape (n,)
        Pixels in high gain after the offset, in 1/256 ADU.
    noise : float
        In ADU.
    threshold : float
        A peak lower than minus this, in ADU, is none.

    Examples
    --------
    >>> peak = find_peak(np.full(1000, -300 * 256), 8.0, 5000.0)
    >>> abs(peak / 256 + 300) <= 2
    True
    """
    scale, total = SHIFT_SCALE, len(values)
    values = values[values <= UP_TO * scale]
    size = (HIGHEST - LOWEST) // COARSE_BINS
    coarse = _histogram(values, LOWEST * scale, COARSE_BINS, size * scale)
    if coarse.sum() < LEAST_SHARE * total or total == 0:
        return 0
    centre = LOWEST * scale + _best_bin(coarse, wavelets(noise, size)) * size * scale + size * scale // 2
    low, fine = centre - REACH * scale, 2 * REACH // FINE_BINS
    kernels = wavelets(noise, fine)
    at = _best_bin(_histogram(values, low, FINE_BINS, fine * scale), kernels)
    peak = low + at * fine * scale + fine * scale // 2
    return 0 if peak < -threshold * scale else int(peak)


def find_baselines(
    raw: np.ndarray,
    frames: np.ndarray,
    groups: np.ndarray,
    table: np.ndarray,
    params: BaselineParams,
    threads: int = 1,
) -> np.ndarray:
    """Return the baseline of every frame in 1/256 ADU, int32 (F,); 0 for frames that are not listed.

    Parameters
    ----------
    raw, frames, groups, table
        As for `shotsieve.calibrate.queue_calibration`, in host memory, of a detector with digital levels.
    params : BaselineParams
    threads : int

    Examples
    --------
    >>> find_baselines(raw, frames, groups, table, params)  # doctest: +SKIP
    """
    found = np.zeros(len(raw), "i4")
    todo = [(int(f), int(row)) for start, stop, row in groups if row >= 0 for f in frames[start:stop]]

    def work(one: tuple[int, int]) -> None:
        frame, row = one
        planes = unpack(table[row]) if is_packed(table) else table[row]
        found[frame] = find_peak(
            _high_gain(raw[frame], planes, params.fixed_stage), params.noise[row], params.threshold
        )

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, todo):
            pass
    return found


def _high_gain(words: np.ndarray, planes: np.ndarray, fixed_stage: int) -> np.ndarray:
    """Return adc - offset of the good pixels in high gain, int64 in 1/256 ADU."""
    adc, good = words[0].astype("f4"), np.isfinite(planes[5])
    if fixed_stage < 0:
        level = words[-1].astype("f4")
        switched = level > planes[0]
        if len(planes) == FORCED_PLANES:  # whatever stage it left, below that level it is taken as high gain
            switched &= ~(adc < planes[9])
        good &= ~switched
    with np.errstate(invalid="ignore", over="ignore"):
        units = (adc[good] - planes[2][good]) * np.float32(SHIFT_SCALE)
    units = units[np.abs(units) < 2.0**28]
    return np.rint(units).astype(np.int64)
