"""Correlation over time in NumPy, one pair of frames or one lag at a time: what the kernels are held against.

Promise: exact for counts; sums are int64, and float64 for all else.
"""

from __future__ import annotations

import numpy as np


def two_time_sums(
    frames: np.ndarray, labels: np.ndarray, n_bins: int, others: np.ndarray | None = None
) -> np.ndarray:
    """Sum the products of two frames over the pixels of each bin: G(t1, t2) = sum_i n_i(t1) n_i(t2).

    Parameters
    ----------
    frames : ndarray of int or float, shape (T, N)
    labels : ndarray of int, shape (N,)
        Bin of each pixel; -1 for none.
    n_bins : int
    others : ndarray, shape (T2, N), or None
        Where the second frame comes from, such as another train; None: the same.

    Returns
    -------
    ndarray of int64 or float64, shape (n_bins, T, T2)
        With the noise of counting on the diagonal.

    Examples
    --------
    >>> two_time_sums(np.array([[1, 2], [3, 0]]), np.array([0, 0]), 1).tolist()
    [[[5, 3], [3, 9]]]
    """
    first = _wide(frames)
    second = first if others is None else _wide(others)
    out = np.zeros((n_bins, len(first), len(second)), first.dtype)
    for b in range(n_bins):
        inside = np.asarray(labels) == b
        for t, frame in enumerate(first[:, inside]):
            out[b, t] = (frame * second[:, inside]).sum(axis=1)
    return out


def frame_sums(frames: np.ndarray, labels: np.ndarray, n_bins: int) -> np.ndarray:
    """Sum every frame over the pixels of each bin.

    Returns
    -------
    ndarray of int64 or float64, shape (n_bins, T)

    Examples
    --------
    >>> frame_sums(np.array([[1, 2], [3, 0]]), np.array([0, -1]), 1).tolist()
    [[1, 3]]
    """
    wide = _wide(frames)
    return np.stack([wide[:, np.asarray(labels) == b].sum(axis=1) for b in range(n_bins)])


def two_time(
    frames: np.ndarray,
    labels: np.ndarray,
    n_bins: int,
    valid: np.ndarray | None = None,
    *,
    counts: bool = True,
) -> np.ndarray:
    """Correlate all frames of a train with one another, with symmetric normalisation.

    C(t1, t2) = n G(t1, t2) / (S(t1, t2) S(t2, t1)): n pixels are valid in both frames, and S(t1, t2) is the
    sum of frame t1 over them.

    Parameters
    ----------
    frames, labels, n_bins
        As for `two_time_sums`.
    valid : ndarray of bool, shape (T, N), or None
        Which pixels of each frame may be used.
    counts : bool
        Take the noise of counting off the diagonal: sum n (n - 1) over S (S - 1) there.

    Returns
    -------
    ndarray of float64, shape (n_bins, T, T)
        NaN where a frame has no counts in the bin, or one alone on the diagonal.

    Examples
    --------
    >>> two_time(np.array([[1, 2], [3, 0]]), np.array([0, 0]), 1)[0].round(4).tolist()
    [[0.6667, 0.6667], [0.6667, 2.0]]
    """
    good = np.ones(np.shape(frames), "i8") if valid is None else np.asarray(valid).astype("i8")
    used = np.where(good != 0, _wide(frames), 0)
    sums = two_time_sums(used, labels, n_bins).astype("f8")
    both = two_time_sums(good, labels, n_bins).astype("f8")
    own = two_time_sums(used, labels, n_bins, good).astype("f8")
    norm = own * own.transpose(0, 2, 1)
    if counts:
        t = np.arange(len(used))
        sums[:, t, t] -= frame_sums(used, labels, n_bins)
        norm[:, t, t] -= frame_sums(used, labels, n_bins)
    with np.errstate(divide="ignore", invalid="ignore"):
        return both * sums / norm


def lag_sums(sums: np.ndarray) -> np.ndarray:
    """Sum a two-time matrix along its diagonals: sum_t G(t, t + lag) for every lag.

    Examples
    --------
    >>> lag_sums(np.array([[[5, 3], [3, 9]]])).tolist()
    [[14, 3]]
    """
    lags = range(sums.shape[-1])
    return np.stack([np.trace(sums, lag, axis1=-2, axis2=-1) for lag in lags], axis=-1)


def lag_sums_fft(frames: np.ndarray, labels: np.ndarray, n_bins: int) -> np.ndarray:
    """Do the same from frames: sum the power spectra of the pixels, and transform once per bin.

    Returns
    -------
    ndarray of float64, shape (n_bins, T)

    Examples
    --------
    >>> lag_sums_fft(np.array([[1, 2], [3, 0]]), np.array([0, 0]), 1).round().tolist()
    [[14.0, 3.0]]
    """
    count = len(frames)
    out = np.zeros((n_bins, count))
    for b in range(n_bins):
        spectra = np.fft.rfft(np.asarray(frames, "f8")[:, np.asarray(labels) == b], 2 * count, axis=0)
        out[b] = np.fft.irfft((np.abs(spectra) ** 2).sum(axis=1), 2 * count)[:count]
    return out


def g2_of_ratios(correlation: np.ndarray) -> np.ndarray:
    """Average a two-time correlation along its diagonals, leaving out what is not there.

    Examples
    --------
    >>> g2_of_ratios(np.array([[1.0, 2.0], [2.0, 3.0]])).tolist()
    [2.0, 2.0]
    """
    count = correlation.shape[-1]
    out = []
    for lag in range(count):
        along = np.diagonal(correlation, lag, -2, -1)
        there = np.isfinite(along)
        n = there.sum(axis=-1)
        total = np.where(there, along, 0.0).sum(axis=-1)
        out.append(np.where(n > 0, total / np.maximum(n, 1), np.nan))
    return np.stack(out, axis=-1)


def multitau_sums(
    frames: np.ndarray, labels: np.ndarray, n_bins: int, entries: list[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sum products at lags that grow with the level; on each level frames are summed in pairs once more.

    Parameters
    ----------
    frames, labels, n_bins
        As for `two_time_sums`.
    entries : list of (int, int)
        Level and lag, the lag in frames of that level. A last frame without a partner is left out.

    Returns
    -------
    products : ndarray of int64 or float64, shape (n_bins, L)
        sum_t sum_i x_i(t) x_i(t + lag)
    early, late : the same
        sum_t sum_i x_i(t) and sum_t sum_i x_i(t + lag)
    pairs : ndarray of int64, shape (L,)
        Number of t.

    Examples
    --------
    >>> frames, label = np.array([[1], [2], [3], [4]]), np.array([0])
    >>> [part.tolist() for part in multitau_sums(frames, label, 1, [(0, 1), (1, 1)])]
    [[[20, 21]], [[6, 3]], [[9, 7]], [3, 1]]
    """
    levels = [_wide(frames)]
    for _ in range(max((level for level, _ in entries), default=0)):
        whole = levels[-1][: len(levels[-1]) // 2 * 2]
        levels.append(whole[::2] + whole[1::2])
    products, early, late, pairs = [], [], [], []
    for level, lag in entries:
        series = levels[level]
        count = max(0, len(series) - lag)
        first, second = series[:count], series[lag : lag + count]
        products.append(frame_sums(first * second, labels, n_bins).sum(axis=1))
        early.append(frame_sums(first, labels, n_bins).sum(axis=1))
        late.append(frame_sums(second, labels, n_bins).sum(axis=1))
        pairs.append(count)
    stacked = [np.stack(part, axis=-1) for part in (products, early, late)]
    return stacked[0], stacked[1], stacked[2], np.array(pairs, "i8")


def _wide(frames: np.ndarray) -> np.ndarray:
    given = np.asarray(frames)
    return given.astype("i8" if given.dtype.kind in "biu" else "f8")
