"""Statistics of pixels over frames in NumPy, frame by frame: what the kernels are held against.

Promise: exact; the same sums in the same order as `cpp/math/stats.hpp`.
"""

from __future__ import annotations

import numpy as np


def new_sums(groups: int, pixels: int) -> dict[str, np.ndarray]:
    """Return empty accumulators of so many groups, by the names of the native function."""
    shape = (groups, pixels)
    return {
        "shift": np.zeros(shape),
        "sum": np.zeros(shape),
        "squares": np.zeros(shape),
        "count": np.zeros(shape, "i4"),
        "maximum": np.full(shape, -np.inf, "f4"),
    }


def frame_stats(
    frames: np.ndarray, group: np.ndarray, scale: np.ndarray, sums: dict[str, np.ndarray]
) -> None:
    """Add frames to accumulators.

    Parameters
    ----------
    frames : ndarray of float32, shape (F, n)
    group : ndarray of int, shape (F,)
        Frames of a group that does not exist are left out.
    scale : ndarray of float64, shape (F,)
    sums : dict of str to ndarray
        Changed.

    Examples
    --------
    >>> sums = new_sums(1, 1)
    >>> frame_stats(np.array([[2.0], [5.0]], "f4"), np.array([0, 0]), np.ones(2), sums)
    >>> [sums[name].item() for name in ("shift", "sum", "squares")]
    [2.0, 3.0, 9.0]
    """
    for frame, g, factor in zip(frames, group, scale, strict=True):
        if not 0 <= g < len(sums["count"]):
            continue
        for p in np.flatnonzero(np.isfinite(frame)):
            x = np.float64(frame[p]) * factor
            if sums["count"][g, p] == 0:
                sums["shift"][g, p] = x
            d = x - sums["shift"][g, p]
            sums["sum"][g, p] += d
            sums["squares"][g, p] += d * d
            sums["count"][g, p] += 1
            sums["maximum"][g, p] = max(sums["maximum"][g, p], np.float32(x))
