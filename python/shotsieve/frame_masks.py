"""The mask of every pixel of a frame: what the constants say of it, and what was found in its words."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from .calibrate import NOT_FINITE, OUT_OF_RANGE, STAGE_BITS, WRONG_GAIN
from .constants.bad_pixels import BadPixels
from .cpus import usable_cpus
from .sparse_masks import SparseMasks
from .unpack import native

if TYPE_CHECKING:
    from .folded_tables import Tables

_FLAGS = (
    (NOT_FINITE, int(BadPixels.VALUE_IS_NAN)),
    (OUT_OF_RANGE, int(BadPixels.VALUE_OUT_OF_RANGE)),
    (WRONG_GAIN, int(BadPixels.WRONG_GAIN_VALUE)),
)
_TOGETHER = 16
"""Frames that a thread masks before it takes more."""


def make_masks(
    stage: np.ndarray, rows: np.ndarray, tables: Tables, out: np.ndarray | None = None
) -> np.ndarray:
    """Put the full mask of kept frames together, in threads: the static bits of each pixel's stage and what
    was found in it.

    Parameters
    ----------
    stage : ndarray of uint8, shape (K, M, n_pixels), C-contiguous
        As the kernel wrote it.
    rows : ndarray of int32, shape (K, M)
        Rows of the tables, -1 without constants.
    tables : Tables
    out : ndarray of uint32, shape (K, M, n_pixels), C-contiguous, optional
        Where they go.

    Returns
    -------
    ndarray of uint32, shape (K, M, n_pixels)
        BadPixels bits. VALUE_IS_NAN is set only where no static bit explains the missing value.
    """
    mask = np.empty(stage.shape, "u4") if out is None else out
    masks_of = native().full_masks
    flat = (rows.size, stage.shape[-1])
    found, made, row = stage.reshape(flat), mask.reshape(flat), rows.reshape(-1)
    told = [*zip(*_FLAGS, strict=True), tables.bad_bits, int(BadPixels.NO_DARK_DATA)]

    def some(first: int) -> None:
        part = slice(first, first + _TOGETHER)
        masks_of(found[part], row[part], tables.mask, made[part], *told)

    with ThreadPoolExecutor(usable_cpus()) as pool:
        for _ in pool.map(some, range(0, rows.size, _TOGETHER)):
            pass
    return mask


def _flag(found: np.ndarray, mask: np.ndarray, bad_bits: int) -> None:
    """Add to the mask of a frame, uint32 (n_pixels,), what was found in it."""
    flagged = np.flatnonzero(found > STAGE_BITS)
    mask[flagged] |= _bits(found[flagged], mask[flagged], bad_bits)


def _bits(flags: np.ndarray, mask: np.ndarray, bad_bits: int) -> np.ndarray:
    """Return the bits that some pixels get for what was found in them, beside those of their mask."""
    unexplained = (flags & NOT_FINITE != 0) & (mask & np.uint32(bad_bits) == 0)
    return (
        np.where(unexplained, np.uint32(BadPixels.VALUE_IS_NAN), np.uint32(0))
        | np.where(flags & OUT_OF_RANGE, np.uint32(BadPixels.VALUE_OUT_OF_RANGE), np.uint32(0))
        | np.where(flags & WRONG_GAIN, np.uint32(BadPixels.WRONG_GAIN_VALUE), np.uint32(0))
    )


def sparse_masks(stage: np.ndarray, rows: np.ndarray, tables: Tables, usual_stage: int = 0) -> SparseMasks:
    """Return the masks of `make_masks` as static ones and changes; full masks are not made on the way.

    Parameters
    ----------
    stage, rows, tables
        As for `make_masks`.
    usual_stage : int
        Gain stage whose static bits are taken: high gain, or the only one of the run.

    Returns
    -------
    SparseMasks
        K * M frames, module fastest; a group for each row of the tables that occurs, by number, and before
        them one for frames without constants if there are any.

    Notes
    -----
    Promise: exact; ``restore()`` gives what `make_masks` gives.
    """
    used, group = np.unique(rows, return_inverse=True)
    group = group.reshape(-1)
    static = np.full((len(used), stage.shape[2]), BadPixels.NO_DARK_DATA, "u4")
    static[used >= 0] = tables.mask[used[used >= 0], usual_stage]
    at, values = [np.empty(0, "i8")], [np.empty(0, "u4")]
    first = np.zeros(rows.size + 1, "i8")
    for number, (found, row) in enumerate(
        zip(stage.reshape(rows.size, stage.shape[-1]), rows.flat, strict=True)
    ):
        first[number + 1] = first[number]
        if row < 0:
            continue
        pixels = np.flatnonzero(found != usual_stage)
        mask = tables.mask[row][found[pixels] & STAGE_BITS, pixels]
        mask |= _bits(found[pixels], mask, tables.bad_bits)
        changed = mask != static[group[number], pixels]
        at.append(pixels[changed])
        values.append(mask[changed])
        first[number + 1] += np.count_nonzero(changed)
    return SparseMasks(static, group, first, np.concatenate(at), np.concatenate(values))


def flag_masks(stage: np.ndarray, mask: np.ndarray, bad_bits: int) -> None:
    """Add to the masks of frames that were calibrated before what was found in them.

    Parameters
    ----------
    stage : ndarray of uint8, shape (K, M, n_pixels)
        As the kernel wrote it.
    mask : ndarray of uint32, shape (K, M, n_pixels), C-contiguous
        As in the files; bits are added.
    bad_bits : int
        Bits that explain why a pixel has no value.
    """
    for shot, module in np.ndindex(*stage.shape[:2]):
        _flag(stage[shot, module], mask[shot, module], bad_bits)
