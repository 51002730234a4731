"""Angular correlation in NumPy, one pair of rings and one angle at a time: the measure of the transforms.

Promise: bounded; float64 throughout.
"""

from __future__ import annotations

import numpy as np


def fluctuation(maps: np.ndarray, valid: np.ndarray, normalise: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what is correlated of polar maps, and what that is divided by the correlation of.

    Parameters
    ----------
    maps, valid : ndarray, shape (F, n_q, n_phi)
    normalise : {"mean_of_ratios", "ratio_of_sums", "none"}

    Returns
    -------
    signal, weight : ndarray of float64, shape (F, n_q, n_phi)
    """
    signal, weight = np.zeros(maps.shape), np.zeros(maps.shape)
    for frame, ring in np.ndindex(*maps.shape[:2]):
        good = valid[frame, ring]
        if not good.any():
            continue
        values = maps[frame, ring, good].astype("f8")
        mean = values.mean()
        if normalise == "none":
            signal[frame, ring, good], weight[frame, ring, good] = values, 1.0
        elif mean > 0:
            ratios = normalise == "mean_of_ratios"
            signal[frame, ring, good] = values / mean - 1.0 if ratios else values - mean
            weight[frame, ring, good] = 1.0 if ratios else mean
    return signal, weight


def correlate(signal: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums over frames and angles of products of rings, and those of their weights.

    Parameters
    ----------
    signal, weight : ndarray of float64, shape (F, n_q, n_phi)

    Returns
    -------
    numerator, denominator : ndarray of float64, shape (n_q, n_q, n_phi)
        At [q1, q2, d]: the sum of x(q1, phi) x(q2, phi + d).
    """
    n_q, n_phi = signal.shape[1:]
    sums = np.zeros((2, n_q, n_q, n_phi))
    for which, x in enumerate((signal, weight)):
        for one, two, shift in np.ndindex(n_q, n_q, n_phi):
            sums[which, one, two, shift] = (x[:, one] * np.roll(x[:, two], -shift, axis=-1)).sum()
    return sums[0], sums[1]
