"""The noise peak of a frame in plain NumPy, bin by bin: what `shotsieve.baseline` has to give."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["noise_peak"]


def noise_peak(values, noise, threshold):
    """Return where the noise peak stands, in ADU; 0 where there is none.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        Pixels in high gain after the offset, multiples of 1/256 ADU.
    noise : float
        In ADU.
    threshold : float
        A peak lower than minus this is none.

    Returns
    -------
    float

    Examples
    --------
    >>> noise_peak(np.full(100, -51.0), 8.0, 5000.0)
    -50.0
    """
    counted = values[values <= 50]
    low = [-2000 + 10 * k for k in range(210)]
    histogram = [int(np.sum((counted >= edge) & (counted < edge + 10))) for edge in low]
    if not len(values) or sum(histogram) < len(values) / 64:
        return 0.0
    coarse = low[_best(histogram, noise / 10)] + 5
    low = [coarse - 200 + 2 * k for k in range(200)]
    histogram = [int(np.sum((counted >= edge) & (counted < edge + 2))) for edge in low]
    peak = low[_best(histogram, noise / 2)] + 1
    return 0.0 if peak < -threshold else float(peak)


def _best(histogram, noise):
    """Return the bin where a Ricker wavelet responds most; the first of equals."""
    best = (-math.inf, 0)
    for width in (noise, 3 * noise, 5 * noise):
        reach = math.ceil(5 * width)
        for at in range(len(histogram)):
            total = 0
            for other in range(max(0, at - reach), min(len(histogram), at + reach + 1)):
                t = ((other - at) / width) ** 2
                norm = 2 / (math.sqrt(3 * width) * math.pi**0.25)
                total += histogram[other] * round(2**20 * norm * (1 - t) * math.exp(-t / 2))
            if total > best[0]:
                best = (total, at)
    return best[1]
