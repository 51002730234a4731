"""Scores of shots on calibrated frames in plain NumPy: what the kernels have to give, bit by bit."""

from __future__ import annotations

import numpy as np

INTENSITY_SCALE = 128


def score_sums(
    pixels,
    ring,
    map,
    sums,
    *,
    n_rings=0,
    of_photons=0,
    threshold=float("nan"),
    to_photon=0.0,
    rounding_threshold=0.5,
    value_limit=1e7,
    stream=None,
    threads=1,
):
    """Do what the kernels do, under the same name and with the same arguments.

    Promise: exact; this is the definition of the bits that every backend gives.

    Parameters
    ----------
    pixels : ndarray of float32, shape (F, M, n_pixels)
        NaN, infinities and what is larger than `value_limit` count as masked.
    ring : ndarray of int16, shape (M, n_pixels), or None
        Below 0 in none.
    map : ndarray of int32, shape (W, 2, M, n_pixels), or None
        Weights and constants.
    sums : ndarray of int64, shape (F, M, 1 + n_rings + W)
        Written: lit pixels, photons of each ring, and for each map the sum over unmasked pixels of weight *
        amount - constant * unit.
    n_rings : int
    of_photons : int
        Bit m: map m is of photons, and unit is 1; else of values in 1/128, and unit is 128.
    threshold : float
        Strictly above it a pixel is lit.
    to_photon, rounding_threshold, value_limit : float
        As for `shotsieve.reference.calibrate.calibrate_count_folded`.
    stream, threads
        Not used.

    Examples
    --------
    >>> sums = np.zeros((1, 1, 2), np.int64)
    >>> weights = np.array([[[[10, 20, 30]], [[1, 1, 1]]]], np.int32)
    >>> score_sums(np.array([[[2, np.nan, 1]]], "f4"), None, weights, sums, of_photons=1, threshold=1,
    ...            to_photon=1)
    >>> sums.tolist()
    [[[1, 48]]]
    """
    with np.errstate(invalid="ignore"):
        good = np.abs(pixels) <= np.float32(value_limit)
        counted = np.where(good, pixels, np.float32(0))
        scaled = np.maximum(counted * np.float32(to_photon), np.float32(0))
        lit = good & (pixels > np.float32(threshold))
    whole = np.floor(scaled)
    photons = (whole + (scaled - whole >= np.float32(rounding_threshold))).astype(np.int64)
    values = np.rint(counted * np.float32(INTENSITY_SCALE)).astype(np.int64)
    sums[..., 0] = lit.sum(axis=-1)
    for number in range(n_rings):
        sums[..., 1 + number] = np.where(ring == number, photons, 0).sum(axis=-1)
    for number, (weight, constant) in enumerate(() if map is None else map.astype(np.int64)):
        amount, unit = (photons, 1) if of_photons >> number & 1 else (values, INTENSITY_SCALE)
        terms = np.where(good, weight * amount - constant * unit, 0)
        sums[..., 1 + n_rings + number] = terms.sum(axis=-1)
