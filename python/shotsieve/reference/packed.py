"""Packed constants in plain NumPy: what unpacking has to give, bit by bit."""

from __future__ import annotations

import numpy as np

__all__ = ["planes_of"]


def planes_of(table: np.ndarray, row: int) -> np.ndarray:
    """Return the planes of a row of a table in either form, float32 (P, n_pixels).

    Parameters
    ----------
    table : ndarray of float32, shape (R, P, n_pixels), or uint16, shape (R, P, 8 + n_pixels)
        Of the latter the first six words of a plane are base, step and last, all float32, and the constant of
        a pixel is base + step * code in float32; of code 65535 it is last.
    row : int

    Examples
    --------
    >>> packed = np.zeros((1, 1, 10), np.uint16)
    >>> packed[0, 0, :6] = np.array([2, 0.25, np.nan], np.float32).view(np.uint16)
    >>> packed[0, 0, 8:] = 3, 65535
    >>> planes_of(packed, 0)
    array([[2.75,  nan]], dtype=float32)
    """
    if table.dtype != np.uint16:
        return table[row]
    planes = []
    for words in table[row]:
        base, step, last = np.ascontiguousarray(words[:6]).view(np.float32)
        code = words[8:]
        planes.append(np.where(code == 65535, last, base + step * code.astype(np.float32)))
    return np.stack(planes)
