"""The noise peak of a frame in plain NumPy: what the kernels have to give, number by number."""

from __future__ import annotations

import numpy as np

from .common_mode import NEVER_DARK, dark_values
from .packed import planes_of

__all__ = ["baseline", "noise_peak"]


def baseline(
    raw,
    frames,
    groups,
    table,
    taps,
    reach,
    shift,
    *,
    encoding,
    fixed_stage,
    lowest,
    stream=None,
    threads=1,
):
    """Do what the kernels do, under the same name and with the same arguments.

    Promise: exact; this is the definition of the bits that every backend gives.

    Parameters
    ----------
    raw, frames, groups, table, encoding, fixed_stage
        As for `shotsieve.reference.common_mode.common_mode`.
    taps, reach : ndarray of int32, shapes (R, 2, 3, T) and (R, 2, 3)
        From `shotsieve.baseline.wavelets`.
    shift : ndarray of int32, shape (F, n_tiles)
        All of a listed frame with constants become its baseline, in 1/256 ADU.
    lowest : int
        A peak below it is none, in 1/256 ADU.
    stream, threads
        Not used; there so that the reference can stand in for a backend.

    Examples
    --------
    >>> raw = np.array([[[25] * 8, [0] * 8]], np.uint16)
    >>> table = np.repeat(np.array([50, 60, 20, 0, 0, 1, 1, 1], np.float32)[None, :, None], 8, axis=2)
    >>> shift = np.zeros((1, 1), np.int32)
    >>> one = np.ones((1, 2, 3, 1), np.int32), np.zeros((1, 2, 3), np.int32)
    >>> baseline(raw, [0], [(0, 1, 0)], table, *one, shift, encoding=0, fixed_stage=-1, lowest=-9999)
    >>> shift / 256
    array([[6.]])
    """
    for start, stop, row in np.asarray(groups).reshape(-1, 3):
        for frame in np.asarray(frames)[start:stop]:
            if row >= 0:
                values = dark_values(raw[frame], planes_of(table, row), encoding, fixed_stage)
                values = values[np.abs(values) < NEVER_DARK]
                shift[frame] = noise_peak(values, taps[row], reach[row], lowest)


def noise_peak(values, taps, reach, lowest):
    """Return the place of the noise peak, 0 where there is none, in 1/256 ADU.

    Parameters
    ----------
    values : ndarray of int, shape (n,)
        Pixels in high gain after the offset, in 1/256 ADU.
    taps, reach : ndarray of int32, shapes (2, 3, T) and (2, 3)
    lowest : int

    Examples
    --------
    >>> one = np.ones((2, 3, 1), np.int32), np.zeros((2, 3), np.int32)
    >>> noise_peak(np.full(100, -51 * 256), *one, -5000 * 256) / 256
    -50.0
    """
    counted = values[values <= 50 * 256]
    first = _histogram(counted, -2000 * 256, 210, 10 * 256)
    if len(values) == 0 or 64 * first.sum() < len(values):
        return 0
    centre = -2000 * 256 + _best(first, taps[0], reach[0]) * 10 * 256 + 5 * 256
    low = centre - 200 * 256
    second = _histogram(counted, low, 200, 2 * 256)
    peak = low + _best(second, taps[1], reach[1]) * 2 * 256 + 256
    return 0 if peak < lowest else int(peak)


def _histogram(values, low, bins, width):
    """Count values in bins from `low` on; the upper end of a bin belongs to the next."""
    return np.array([np.sum((values >= at) & (values < at + width)) for at in low + width * np.arange(bins)])


def _best(histogram, taps, reach):
    """Return the bin of the largest response; the first of equals, narrow wavelets before wide ones."""
    best, where = None, 0
    for half, far in zip(taps.astype(np.int64), reach, strict=True):
        wavelet = np.concatenate([half[far:0:-1], half[: far + 1]])
        response = np.convolve(histogram, wavelet)[far : far + len(histogram)]
        at = int(np.argmax(response))
        if best is None or response[at] > best:
            best, where = response[at], at
    return where
