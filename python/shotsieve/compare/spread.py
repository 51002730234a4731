"""Histograms of differences over all orders of magnitude, in fixed memory: what quantiles are read from."""

from __future__ import annotations

import numpy as np

__all__ = ["EDGES", "Spread", "quantiles"]

PER_OCTAVE = 32
LOWEST, HIGHEST = -24, 24  # powers of two: smaller ones count as the smallest, larger ones as the largest
_HALF = (HIGHEST - LOWEST) * PER_OCTAVE

_POSITIVE = 2.0 ** (LOWEST + np.arange(_HALF + 1) / PER_OCTAVE)
EDGES = np.concatenate([-_POSITIVE[::-1], _POSITIVE])
"""Edges of the bins: 1/32 of an octave wide, so that a quantile is within 1.1 %; one is around 0."""


class Spread:
    """Counts of signed numbers in bins of equal ratio.

    Attributes
    ----------
    counts : ndarray of int64, shape (len(EDGES) - 1,)

    Examples
    --------
    >>> spread = Spread()
    >>> spread.add(np.array([1.0, 1.0, -4.0]))
    >>> abs(quantiles(spread.counts, [0.9])[0] - 1) < 0.011
    True
    """

    def __init__(self) -> None:
        self.counts = np.zeros(len(EDGES) - 1, np.int64)

    def add(self, values: np.ndarray) -> None:
        """Count finite numbers.

        Parameters
        ----------
        values : ndarray of float
        """
        size = np.abs(values)
        with np.errstate(divide="ignore"):
            octave = np.floor((np.log2(size) - LOWEST) * PER_OCTAVE)
        # What is smaller than the smallest edge lies in the middle bin, whose number is _HALF.
        at = np.clip(octave, -1, _HALF - 1).astype(np.int64) + 1
        self.counts += np.bincount(np.where(values < 0, _HALF - at, _HALF + at), minlength=len(self.counts))


def quantiles(counts: np.ndarray, shares: list[float]) -> list[float]:
    """Return the numbers below which shares of those counted lie.

    Parameters
    ----------
    counts : ndarray of int64, shape (len(EDGES) - 1,)
    shares : list of float
        0 to 1.

    Returns
    -------
    list of float
        The middle of a bin, 0 for the one in the middle; NaN where nothing was counted.

    Examples
    --------
    >>> quantiles(np.zeros(len(EDGES) - 1, int), [0.5])
    [nan]
    """
    total = counts.sum()
    if not total:
        return [float("nan")] * len(shares)
    below = np.cumsum(counts)
    found = [int(np.searchsorted(below, max(share * total, 1e-12))) for share in shares]
    middles = np.sign(EDGES[:-1] + EDGES[1:]) * np.sqrt(np.abs(EDGES[:-1] * EDGES[1:]))
    middles[_HALF] = 0.0
    return [float(middles[min(at, len(middles) - 1)]) for at in found]
