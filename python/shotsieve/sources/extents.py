"""Frames of one dataset into a block: straight from the file, unpacked in threads, or through h5py."""

from __future__ import annotations

import itertools

import numpy as np

from ..cpus import usable_cpus
from ..errors import DAMAGE, UnreadableData
from ..unpack import native
from .chunks import Loss, read_chunks
from .exdf import opened, reason
from .frame_map import FrameMap, map_frames

__all__ = ["FrameMap", "Loss", "find_losses", "map_frames", "read_frames"]

# Frames that are read at once only to see whether they can be.
_TESTED = 32


def read_frames(
    where: FrameMap,
    frames: np.ndarray,
    out: np.ndarray,
    at: np.ndarray,
    threads: int | None = None,
    lost: np.ndarray | None = None,
) -> int:
    """Read frames into a buffer.

    Parameters
    ----------
    where : FrameMap
    frames : ndarray of int64, shape (n,)
        Which frames of the dataset.
    out : ndarray, C-contiguous, the dataset's kind of number or wider
        The buffer.
    at : ndarray of int64, shape (n,)
        Element of `out` (counted flat) where each frame begins.
    threads : int, optional
        Threads of this call; by default as many as the process may use.
    lost : ndarray of uint8, shape (n,), optional
        Where a frame cannot be read its `Loss` is put here, and the others are read; without it that is an
        error.

    Returns
    -------
    int
        Bytes that were read, after decompression.

    Raises
    ------
    UnreadableData
        When bytes are missing, damaged, or were never written. `out` then holds no promise at all.

    Notes
    -----
    Promise: exact. Where dtypes differ (gain bytes into uint16 planes) values are widened. What `out` holds
    for a frame that is lost is not defined.

    Examples
    --------
    >>> frames = np.arange(3)    # doctest: +SKIP
    >>> read_frames(where, frames, out, frames * where.frame_bytes // 2)    # doctest: +SKIP
    """
    frames, at = np.asarray(frames, np.int64), np.ascontiguousarray(at, np.int64)
    threads = threads or usable_cpus()
    if not len(frames):
        return 0
    if where.pieces:
        return _read_pieces(where, frames, out, at, threads, lost)
    offsets = where.offsets(frames)
    if offsets is not None and (gone := offsets < 0).any():
        _refuse_unwritten(where, frames, gone, lost)
        lost[gone] = Loss.NEVER_WRITTEN
        here = np.flatnonzero(~gone)
        inner = np.zeros(len(here), np.uint8)
        got = read_frames(where, frames[here], out, at[here], threads, inner)
        lost[here] = inner
        return got
    if where.why_h5py:
        return _read_h5py(where, frames, out, at, lost)
    if where.unpacker is not None:
        return read_chunks(where, frames, out, at, threads, lost)
    return _read_direct(where, frames, offsets, out, at, threads, lost)


def find_losses(
    where: FrameMap, frames: np.ndarray, threads: int | None = None, reading: bool = False
) -> np.ndarray:
    """Find out which frames can be read.

    Parameters
    ----------
    where, frames, threads
        As for `read_frames`.
    reading : bool
        Read those too that are stored as they are; otherwise it is looked whether the file has their bytes.

    Returns
    -------
    ndarray of uint8, shape (n,)
        `Loss` of each. Frames that are compressed are always read, and unpacked.

    Examples
    --------
    >>> find_losses(where, np.arange(3)).tolist()    # doctest: +SKIP
    [0, 0, 3]
    """
    frames, lost = np.asarray(frames, np.int64), np.zeros(len(frames), np.uint8)
    if not reading and not where.pieces and not where.why_h5py and where.unpacker is None:
        offsets = where.offsets(frames)
        lost[offsets + where.read_bytes > where.path.stat().st_size] = Loss.UNREADABLE
        lost[offsets < 0] = Loss.NEVER_WRITTEN
        return lost
    size = where.read_bytes // where.dtype.itemsize
    scratch = np.empty((min(len(frames), _TESTED), size), where.dtype)
    for first in range(0, len(frames), _TESTED):
        part = frames[first : first + _TESTED]
        at = np.arange(len(part), dtype=np.int64) * size
        read_frames(where, part, scratch, at, threads, lost[first : first + len(part)])
    return lost


def _refuse_unwritten(where: FrameMap, frames: np.ndarray, gone: np.ndarray, lost: np.ndarray | None) -> None:
    """HDF5 would hand out its fill value for frames without data, and zeros are not data."""
    if lost is None:
        raise UnreadableData(
            f"{where.path}: dataset {where.dataset}: {int(gone.sum())} of {len(frames)} frames were "
            f"never written (first: frame {int(frames[np.argmax(gone)])}), though the index has them"
        )


def _read_pieces(where: FrameMap, frames: np.ndarray, out, at, threads: int, lost: np.ndarray | None) -> int:
    """Read frames of a virtual dataset from the datasets that it shows."""
    cells = where.row_frames
    rows, total = frames // cells, 0
    left = np.ones(len(frames), bool)
    for piece in where.pieces:
        mine = (rows >= piece.rows.start) & (rows < piece.rows.stop)
        theirs = frames + (piece.first - piece.rows.start) * cells
        mine &= theirs < int(np.prod(piece.where.lead, dtype=np.int64))
        if not mine.any():
            continue
        left &= ~mine
        inner = None if lost is None else np.zeros(int(mine.sum()), np.uint8)
        total += read_frames(piece.where, theirs[mine], out, at[mine], threads, inner)
        if lost is not None:
            lost[mine] = inner
    if left.any():
        _refuse_unwritten(where, frames, left, lost)
        lost[left] = Loss.NEVER_WRITTEN
    return total


def _read_direct(where: FrameMap, frames, offsets, out, at, threads: int, lost: np.ndarray | None) -> int:
    """Read the bytes of frames where they lie."""
    one, widens = where.read_bytes, where.dtype != out.dtype
    target, size = out, np.full(len(frames), one, np.int64)
    to = at * out.dtype.itemsize
    if widens:
        target = np.empty((len(frames), one // where.dtype.itemsize), where.dtype)
        to = np.arange(len(frames), dtype=np.int64) * one
    offsets = np.ascontiguousarray(offsets)
    try:
        native().read_extents(str(where.path), offsets, to, size, target, threads)
    except OSError as e:
        if lost is None:
            raise UnreadableData(f"dataset {where.dataset}: {e.strerror or e}") from e
        for i in range(len(frames)):
            try:
                native().read_extents(
                    str(where.path), *(a[i : i + 1] for a in (offsets, to, size)), target, 1
                )
            except OSError:
                lost[i] = Loss.UNREADABLE
    if widens:
        _scatter(target, out, at)
    return int(size.sum()) if lost is None else one * int((lost == 0).sum())


def _scatter(frames: np.ndarray, out: np.ndarray, at: np.ndarray) -> None:
    flat = out.reshape(-1)
    for frame, begin in zip(frames, at, strict=True):
        flat[begin : begin + frame.size] = frame.reshape(-1)


def _read_h5py(where: FrameMap, frames: np.ndarray, out, at, lost: np.ndarray | None) -> int:
    rows = frames // where.row_frames
    # One call per stretch of consecutive rows: index lists cost h5py two hundred times as much.
    edges = np.flatnonzero(
        np.concatenate([[True], (rows[1:] != rows[:-1]) & (rows[1:] != rows[:-1] + 1), [True]])
    )
    total = 0
    with opened(where.path) as f:
        for a, b in itertools.pairwise(edges.tolist()):
            try:
                total += _read_rows(where, f, frames[a:b], out, at[a:b])
            except UnreadableData:
                if lost is None:
                    raise
                for row in np.unique(rows[a:b]):
                    of = a + np.flatnonzero(rows[a:b] == row)
                    try:
                        total += _read_rows(where, f, frames[of], out, at[of])
                    except UnreadableData:
                        lost[of] = Loss.UNREADABLE
    return total


def _read_rows(where: FrameMap, f, frames: np.ndarray, out: np.ndarray, at: np.ndarray) -> int:
    """Read frames of consecutive rows; return the bytes of these rows."""
    first, last = int(frames.min()) // where.row_frames, int(frames.max()) // where.row_frames
    try:
        block = f[where.dataset][first : last + 1]
    except DAMAGE as e:
        raise UnreadableData(
            f"{where.path}: dataset {where.dataset}: rows {first} to {last} cannot be read ({reason(e)})"
        ) from e
    total, block = block.nbytes, block.reshape(-1, *where.frame)
    if any(where.edges):
        block = block.reshape(len(block), -1, where.frame[-1])
        block = block[:, where.edges[0] : block.shape[1] - where.edges[1]]
    _scatter(block[frames - first * where.row_frames], out, at)
    return total
