"""Sums over bins in NumPy, one frame and one part at a time: what the kernels are held against.

Promise: exact; the sums run in the order that `cpp/core/bins.hpp` defines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ReferenceSums:
    """What `bin_sums` gives; the arrays are those of the native function."""

    signal: np.ndarray
    lost: np.ndarray
    second: np.ndarray
    maximum: np.ndarray


def bin_sums(
    frames: np.ndarray,
    parts: np.ndarray,
    pixel: np.ndarray,
    bins: np.ndarray,
    coef: np.ndarray,
    columns: np.ndarray,
    n_bins: int,
    *,
    mode: str = "plain",
    variance: np.ndarray | None = None,
    bad: np.ndarray | None = None,
    limits: np.ndarray | None = None,
    norm: np.ndarray | None = None,
    dark: np.ndarray | None = None,
) -> ReferenceSums:
    """Sum frames over bins.

    Parameters
    ----------
    frames : ndarray of float32, shape (F, rows, columns)
    parts : ndarray of int, shape (P, 4)
        ss_start, ss_stop, fs_start, fs_stop; sums are made part by part.
    pixel, bins : ndarray of int, shape (E,)
        Entries: pixel of the slab and its bin.
    coef : ndarray of float64, shape (E,)
        Share of the pixel.
    columns : ndarray of float64, shape (K, E)
        What a lost entry takes from the static sums.
    n_bins : int
    mode : {"plain", "variance", "moments", "residual"}
    variance, bad : ndarray, shape (F, rows, columns), or None
    limits : ndarray of float64, shape (3, F, n_bins), or None
        Low, high and centre of value / norm.
    norm, dark : ndarray of float64, shape (rows, columns), or None

    Returns
    -------
    ReferenceSums
        signal, second (F, n_bins), lost (K, F, n_bins) and maximum (F, n_bins); second is 0 in mode "plain",
        maximum is -inf but in mode "moments".
    """
    n, shape = len(frames), frames.shape[1:]
    owner = np.full(shape, -1)
    rank = np.zeros(shape, int)
    for number, (top, bottom, left, right) in enumerate(parts):
        owner[top:bottom, left:right] = number
        rank[top:bottom, left:right] = np.arange((bottom - top) * (right - left)).reshape(
            bottom - top, right - left
        )
    order = np.lexsort((bins, rank.ravel()[pixel], owner.ravel()[pixel]))
    pixel, bins, coef, columns = pixel[order], bins[order], coef[order], columns[:, order]
    part = owner.ravel()[pixel]
    signal, second = np.zeros((n, n_bins)), np.zeros((n, n_bins))
    lost = np.zeros((len(columns), n, n_bins))
    maximum = np.full((n, n_bins), -np.inf, "f4")
    for f in range(n):
        value = frames[f].ravel()[pixel]
        counts = np.isfinite(value)
        if bad is not None:
            counts &= bad[f].ravel()[pixel] == 0
        if mode == "variance":
            spread = variance[f].ravel()[pixel]
            counts &= np.isfinite(spread)
        wide = np.where(counts, value, 0).astype("f8")
        if mode == "residual":
            bare = wide - dark.ravel()[pixel]
            own = norm.ravel()[pixel]
            low, high, centre = (limits[which, f, bins] for which in range(3))
            counts &= (bare >= low * own) & (bare <= high * own)
            more = ((bare - centre * own) * coef) ** 2
        elif mode == "variance":
            more = np.where(counts, spread, 0).astype("f8") * (coef * coef)
        elif mode == "moments":
            more = (wide * coef) ** 2
            np.maximum.at(maximum[f], bins[counts], value[counts])
        else:
            more = np.zeros(len(pixel))
        for p in range(len(parts)):
            here = (part == p) & counts
            if (part == p).any():
                signal[f] += np.bincount(bins[here], wide[here] * coef[here], n_bins)
                second[f] += np.bincount(bins[here], more[here], n_bins)
        for q, column in enumerate(columns):
            lost[q, f] = np.bincount(bins[~counts], column[~counts], n_bins)
    return ReferenceSums(signal, lost, second, maximum)
