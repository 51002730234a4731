"""Parts of a slab: tiles of the detector in pieces of the size of an ASIC, in which sums are made."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import BadInput

PART = (64, 128)
"""Rows and columns of the largest part: one ASIC of AGIPD."""


def cut_parts(shape: tuple[int, int], tiles: Any = None) -> np.ndarray:
    """Cut tiles, or the whole slab, into parts of at most `PART` pixels.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the slab.
    tiles : array of int, shape (n, 4), or None
        ss_start, ss_stop, fs_start, fs_stop of each tile, stop exclusive.

    Returns
    -------
    ndarray of int32, shape (P, 4)
        In the order of tiles; inside a tile row by row.

    Raises
    ------
    BadInput
        If tiles are misshapen, leave the slab or overlap.

    Examples
    --------
    >>> cut_parts((100, 128)).tolist()
    [[0, 64, 0, 128], [64, 100, 0, 128]]
    """
    tiles = np.asarray([[0, shape[0], 0, shape[1]]] if tiles is None else tiles)
    if tiles.ndim != 2 or tiles.shape[1] != 4 or len(tiles) == 0 or tiles.dtype.kind not in "iu":
        raise BadInput(
            f"parts have shape {tiles.shape} and dtype {tiles.dtype}: expected whole numbers (n, 4): "
            "ss_start, ss_stop, fs_start, fs_stop"
        )
    taken = np.zeros(shape, bool)
    parts = []
    for at, (top, bottom, left, right) in enumerate(tiles.tolist()):
        inside = 0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]
        if not inside or taken[top:bottom, left:right].any():
            raise BadInput(
                f"part {at} (ss {top}:{bottom}, fs {left}:{right}) is empty, leaves the slab of {shape[0]} x "
                f"{shape[1]} pixels, or lies on another"
            )
        taken[top:bottom, left:right] = True
        for ss in range(top, bottom, PART[0]):
            for fs in range(left, right, PART[1]):
                parts.append([ss, min(ss + PART[0], bottom), fs, min(fs + PART[1], right)])
    return np.array(parts, "i4")


def part_pixels(parts: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Number pixels part by part, row by row inside a part.

    Parameters
    ----------
    parts : ndarray of int32, shape (P, 4)
    shape : (int, int)
        Rows and columns of the slab.

    Returns
    -------
    pixels : ndarray of int64, shape (n,)
        Number in the slab of every pixel of the parts, in that order.
    start : ndarray of int64, shape (P + 1,)
        Where each part begins.

    Examples
    --------
    >>> pixels, start = part_pixels(np.array([[0, 2, 1, 3]]), (2, 4))
    >>> pixels.tolist(), start.tolist()
    ([1, 2, 5, 6], [0, 4])
    """
    number = np.arange(shape[0] * shape[1]).reshape(shape)
    pieces = [number[top:bottom, left:right].ravel() for top, bottom, left, right in parts.tolist()]
    start = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])])
    return np.concatenate(pieces), start
