"""Sums of dark frames in NumPy, frame by frame: what the kernels are held against.

Promise: exact; integers, the same as `cpp/math/darks.hpp`.
"""

from __future__ import annotations

import numpy as np

NAMES = {"count": "u4", "sum": "u4", "squares": "u8", "wrong": "u4"}
GATED = {"outside": "u4"}
LEVELS = {"level_count": "u4", "level_sum": "u4", "level_squares": "u8"}


def dark_sums(
    raw: np.ndarray,
    frames: np.ndarray,
    row: np.ndarray,
    rows: int,
    *,
    low: np.ndarray | None = None,
    high: np.ndarray | None = None,
    levels: bool = False,
    value_plane: int = 0,
    value_mask: int = 0xFFFF,
    code_plane: int = 0,
    code_shift: int = 0,
    code_mask: int = 0,
    code: int = 0,
    zero_as: int = 0,
    least: int = 0,
    most: int = 0xFFFF,
    level_plane: int = 1,
) -> dict[str, np.ndarray]:
    """Return the sums of dark frames, by the names of the native function.

    Parameters
    ----------
    raw : ndarray of uint16, shape (F, planes, n)
    frames, row : ndarray of int, shape (k,)
        Which frames are added, and the row of each.
    rows : int
        Frames of other rows are left out.
    low, high : ndarray of uint16, shape (rows, n), or None
        The gate.
    levels : bool
        Whether plane `level_plane` is a digital level.
    value_plane, value_mask, code_plane, code_shift, code_mask, code, zero_as, least, most : int
        As those of the native function.

    Examples
    --------
    >>> raw = np.array([[[5, 7], [0, 1]], [[6, 9], [0, 0]]], "u2")
    >>> found = dark_sums(raw, [0, 1], [0, 0], 1, code_plane=1, code_mask=3)
    >>> found["count"].tolist(), found["sum"].tolist(), found["wrong"].tolist()
    ([[2, 1]], [[11, 9]], [[0, 1]])
    """
    names = {**NAMES, **(GATED if low is not None else {}), **(LEVELS if levels else {})}
    found = {name: np.zeros((rows, raw.shape[2]), "u8") for name in names}
    for frame, at in zip(frames, row, strict=True):
        if not 0 <= at < rows:
            continue
        value = raw[frame, value_plane].astype("u8") & value_mask
        value[value == 0] = zero_as
        codes = (raw[frame, code_plane].astype("u8") >> code_shift) & code_mask
        wrong = (codes != code) | (value < least) | (value > most)
        counts = ~wrong
        if low is not None:
            inside = (value >= low[at]) & (value <= high[at])
            found["outside"][at] += ~wrong & ~inside
            counts &= inside
        found["count"][at] += counts
        found["sum"][at] += np.where(counts, value, 0)
        found["squares"][at] += np.where(counts, value * value, 0)
        found["wrong"][at] += wrong
        if levels:
            level = raw[frame, level_plane].astype("u8")
            there = level <= most
            found["level_count"][at] += there
            found["level_sum"][at] += np.where(there, level, 0)
            found["level_squares"][at] += np.where(there, level * level, 0)
    return {name: values.astype(names[name]) for name, values in found.items()}
