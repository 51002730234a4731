"""Histograms of differences over all orders of magnitude, in fixed memory: what quantiles are read from."""

from __future__ import annotations

import numpy as np

__all__ = ["BINS", "EDGES", "binned", "quantiles"]

LOWEST, HIGHEST = -24, 24
"""Powers of two: smaller numbers are counted around 0, larger ones with the largest."""

_PER_OCTAVE = 32
_SHIFT = 18  # of the bits of a float32: what is left is its exponent and the first 5 bits of its mantissa
_HALF = (HIGHEST - LOWEST) * _PER_OCTAVE
_FIRST = (127 + LOWEST) * _PER_OCTAVE
BINS = 2 * _HALF + 1

_OCTAVES = 2.0 ** np.arange(LOWEST, HIGHEST)[:, None]
_POSITIVE = np.append((_OCTAVES * (1 + np.arange(_PER_OCTAVE) / _PER_OCTAVE)).ravel(), 2.0**HIGHEST)
EDGES = np.concatenate([-_POSITIVE[::-1], _POSITIVE])
"""Edges of the bins: each octave is cut into 32, so that a quantile is within 1.6 %; one bin is around 0."""


def binned(values: np.ndarray) -> np.ndarray:
    """Count finite numbers in the bins between `EDGES`.

    Promise: exact, by the bits of the numbers as float32; no logarithm is asked.

    Parameters
    ----------
    values : ndarray of float

    Returns
    -------
    ndarray of int64, shape (BINS,)

    Examples
    --------
    >>> counts = binned(np.array([1.0, 1.0, -4.0, 0.0]))
    >>> [(float(EDGES[at]), int(counts[at])) for at in np.flatnonzero(counts)]  # doctest: +ELLIPSIS
    [(-4.125, 1), (-5.9...e-08, 1), (1.0, 2)]
    """
    with np.errstate(over="ignore"):
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    size = ((bits & np.uint32(0x7FFFFFFF)) >> np.uint32(_SHIFT)).astype(np.int32)
    at = np.clip(size - (_FIRST - 1), 0, _HALF)  # 0 is the bin around 0
    return np.bincount(np.where(bits >> np.uint32(31), _HALF - at, _HALF + at), minlength=BINS)


def quantiles(counts: np.ndarray, shares: list[float]) -> list[float]:
    """Return the numbers below which shares of those counted lie.

    Parameters
    ----------
    counts : ndarray of int64, shape (BINS,)
    shares : list of float
        0 to 1.

    Returns
    -------
    list of float
        The middle of a bin, 0 for the one around 0; NaN where nothing was counted.

    Examples
    --------
    >>> quantiles(np.zeros(BINS, int), [0.5])
    [nan]
    """
    total = counts.sum()
    if not total:
        return [float("nan")] * len(shares)
    below = np.cumsum(counts)
    found = [int(np.searchsorted(below, max(share * total, 1e-12))) for share in shares]
    middles = np.sign(EDGES[:-1] + EDGES[1:]) * np.sqrt(np.abs(EDGES[:-1] * EDGES[1:]))
    middles[_HALF] = 0.0
    return [float(middles[min(at, BINS - 1)]) for at in found]
