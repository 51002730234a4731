"""Frames of one dataset: where they lie in the file, and how they come into a block."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from ..cpus import usable_cpus
from ..errors import BackendUnavailable, UnreadableData
from ..filters import register_plugins
from .exdf import DAMAGE, opened, reason

if TYPE_CHECKING:
    from ..detectors import Detector

# Names of plugins that files of detectors are compressed with: a dataset may say the number alone.
_PLUGINS = {32001: "blosc", 32004: "lz4", 32008: "bitshuffle", 32015: "zstd", 32026: "blosc2"}


@dataclass(frozen=True)
class FrameMap:
    """Where the frames of one dataset lie.

    A frame is everything after the `lead` axes: one module image with its planes for datasets with a row
    per frame, one memory cell for datasets with a row per train. Frames are counted along the lead axes.

    Attributes
    ----------
    path, dataset : Path, str
    lead, frame : tuple of int
        Leading axes (rows, or trains and cells) and the shape of one frame.
    dtype : dtype
    why_h5py : str
        Empty when the bytes are read straight from the file; else what keeps them from it.
    chunk : tuple of int
        Chunk shape along the lead axes (`lead` itself when contiguous).
    offset : ndarray of int64 or None
        Byte offset of every chunk, on the grid of chunks; -1 where it was never written. None where the
        library does not say (datasets that h5py reads, and which are not chunked).
    edges : (int, int)
        Rows at the start and at the end of a frame that are left out.
    """

    path: Path
    dataset: str
    lead: tuple[int, ...]
    frame: tuple[int, ...]
    dtype: np.dtype
    why_h5py: str
    chunk: tuple[int, ...]
    offset: np.ndarray | None
    edges: tuple[int, int] = (0, 0)

    @property
    def frame_bytes(self) -> int:
        return int(np.prod(self.frame, dtype=np.int64)) * self.dtype.itemsize

    @property
    def edge_bytes(self) -> tuple[int, int]:
        row = self.frame[-1] * self.dtype.itemsize
        return self.edges[0] * row, self.edges[1] * row

    def without_edges(self, detector: Detector) -> FrameMap:
        """Return this layout without the rows that are none of the detector's sensor, if it has them."""
        there = self.frame != detector.recorded_shape
        return replace(self, edges=detector.edge_rows) if there else self

    def offsets(self, frames: np.ndarray) -> np.ndarray | None:
        """Byte offset of each frame (int64), -1 where it was never written, None where it is not known."""
        if self.offset is None:
            return None
        at = np.unravel_index(frames, self.lead)
        chunk = self.offset[tuple(i // c for i, c in zip(at, self.chunk, strict=True))]
        inner = np.ravel_multi_index(tuple(i % c for i, c in zip(at, self.chunk, strict=True)), self.chunk)
        return np.where(chunk < 0, -1, chunk + inner * self.frame_bytes + self.edge_bytes[0])


def map_frames(path: Path, dataset: str, lead_axes: int) -> FrameMap:
    """Ask HDF5 once where the frames of a dataset lie.

    Parameters
    ----------
    path : Path
    dataset : str
        Path of the dataset in the file.
    lead_axes : int
        Number of axes that count frames: 1 (row per frame) or 2 (row per train, cells on axis 1).

    Returns
    -------
    FrameMap

    Raises
    ------
    UnreadableData
        When the file, the dataset or its chunk index is damaged.

    Examples
    --------
    >>> map_frames(path, "INSTRUMENT/SPB_DET_AGIPD1M-1/DET/0CH0:xtdf/image/data", 1).lead    # doctest: +SKIP
    (704,)
    """
    with opened(path) as f:
        try:
            d = f[dataset]
            lead, frame = d.shape[:lead_axes], d.shape[lead_axes:]
            why = _why_h5py(f, d, frame)
            _check_filters(path, d)
            if d.is_virtual:
                _check_virtual(path, d)
            chunk, offset = _chunks(f, d, lead_axes, direct=not why)
            return FrameMap(path, dataset, lead, frame, d.dtype, why, chunk, offset)
        except UnreadableData:
            raise
        except DAMAGE as e:
            raise UnreadableData(
                f"{path}: dataset {dataset}: its layout cannot be read ({reason(e)}); the file is damaged"
            ) from e


def read_frames(
    where: FrameMap, frames: np.ndarray, out: np.ndarray, at: np.ndarray, threads: int | None = None
) -> int:
    """Read frames into a buffer.

    Parameters
    ----------
    where : FrameMap
    frames : ndarray of int64, shape (n,)
        Which frames of the dataset.
    out : ndarray, C-contiguous, the dataset's kind of integer or wider
        The buffer.
    at : ndarray of int64, shape (n,)
        Element of `out` (counted flat) where each frame begins.
    threads : int, optional
        Threads of this call; by default as many as the process may use.

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
    Promise: exact. Where dtypes differ (gain bytes into uint16 planes) values are widened.

    Examples
    --------
    >>> frames = np.arange(3)    # doctest: +SKIP
    >>> read_frames(where, frames, out, frames * where.frame_bytes // 2)    # doctest: +SKIP
    """
    offsets = where.offsets(frames)
    if offsets is not None and (offsets < 0).any():
        # HDF5 would hand out its fill value here, and zeros are not data.
        raise UnreadableData(
            f"{where.path}: dataset {where.dataset}: {int((offsets < 0).sum())} of {len(frames)} frames were "
            f"never written (first: frame {int(frames[np.argmax(offsets < 0)])}), though the index has them"
        )
    if where.why_h5py:
        return _read_h5py(where, frames, out, at)
    size = np.full(len(frames), where.frame_bytes - sum(where.edge_bytes), np.int64)
    if where.dtype == out.dtype:
        _native(where, offsets, at * out.dtype.itemsize, size, out, threads)
        return int(size.sum())
    scratch = np.empty((len(frames), int(size[0]) // where.dtype.itemsize if len(size) else 0), where.dtype)
    _native(where, offsets, np.cumsum(size) - size, size, scratch, threads)
    _scatter(scratch, out, at)
    return scratch.nbytes


def _native(where: FrameMap, offsets, at, size, out: np.ndarray, threads: int | None) -> None:
    try:
        from .. import _io
    except ImportError as e:
        raise BackendUnavailable(f"the module shotsieve._io is not built ({e}): install the package") from e
    try:
        _io.read_extents(
            str(where.path), np.ascontiguousarray(offsets), at, size, out, threads or usable_cpus()
        )
    except OSError as e:
        raise UnreadableData(f"dataset {where.dataset}: {e.strerror or e}") from e


def _scatter(frames: np.ndarray, out: np.ndarray, at: np.ndarray) -> None:
    flat = out.reshape(-1)
    for frame, begin in zip(frames, at, strict=True):
        flat[begin : begin + frame.size] = frame.reshape(-1)


def _read_h5py(where: FrameMap, frames: np.ndarray, out: np.ndarray, at: np.ndarray) -> int:
    cells = int(np.prod(where.lead[1:], dtype=np.int64))
    rows = frames // cells
    # One call per stretch of consecutive rows: index lists cost h5py two hundred times as much.
    edges = np.flatnonzero(
        np.concatenate([[True], (rows[1:] != rows[:-1]) & (rows[1:] != rows[:-1] + 1), [True]])
    )
    total = 0
    with opened(where.path) as f:
        for a, b in itertools.pairwise(edges):
            first, last = int(rows[a]), int(rows[b - 1])
            try:
                block = f[where.dataset][first : last + 1]
            except DAMAGE as e:
                raise UnreadableData(
                    f"{where.path}: dataset {where.dataset}: rows {first} to {last} cannot be read "
                    f"({reason(e)})"
                ) from e
            total += block.nbytes
            block = block.reshape(-1, *where.frame)
            if any(where.edges):
                block = block[..., where.edges[0] : block.shape[-2] - where.edges[1], :]
            _scatter(block[frames[a:b] - first * cells], out, at[a:b])
    return total


def _why_h5py(f: h5py.File, d: h5py.Dataset, frame: tuple[int, ...]) -> str:
    plist = d.id.get_create_plist()
    if d.is_virtual:
        return "it is virtual"
    if d.external:
        return "its data is in an external file"
    if plist.get_nfilters():
        return f"it is compressed ({', '.join(_filter_name(plist, i) for i in range(plist.get_nfilters()))})"
    if f.userblock_size:
        return "the file has a user block"
    if not d.dtype.isnative:
        return f"its numbers are {d.dtype.str}, not of this machine's byte order"
    if plist.get_layout() == h5py.h5d.COMPACT:
        return "it is stored inside the file's metadata"
    if d.chunks is not None and d.chunks[len(d.shape) - len(frame) :] != frame:
        return f"its chunks {d.chunks} hold parts of frames"
    return ""


def _filter_name(plist, i: int) -> str:
    number, _, _, name = plist.get_filter(i)
    return name.decode("ascii", "replace") or _PLUGINS.get(number, f"filter {number}")


def _check_filters(path: Path, d: h5py.Dataset) -> None:
    """HDF5 speaks of folders where a plugin is missing: say what is missing, and what helps."""
    plist = d.id.get_create_plist()
    for i in range(plist.get_nfilters()):
        number = plist.get_filter(i)[0]
        if not (h5py.h5z.filter_avail(number) or (register_plugins() and h5py.h5z.filter_avail(number))):
            raise UnreadableData(
                f"{path}: dataset {d.name.lstrip('/')} is compressed by {_filter_name(plist, i)} (HDF5 "
                f"filter {number}), a plugin that is not installed here. Install it (pip install hdf5plugin, "
                "which is found then), or set HDF5_PLUGIN_PATH to its folder; or, where the plugin is, "
                "rewrite the file without it: h5repack -f GZIP=1 IN OUT"
            )


def _chunks(f: h5py.File, d: h5py.Dataset, lead_axes: int, *, direct: bool):
    lead = d.shape[:lead_axes]
    if d.chunks is None:
        offset = d.id.get_offset() if direct else None
        if not direct:
            return lead, None
        return lead, np.full((1,) * lead_axes, -1 if offset is None else offset, np.int64)
    chunk = d.chunks[:lead_axes]
    grid = tuple(-(-n // c) for n, c in zip(lead, chunk, strict=True))
    offset = np.full(grid, -1, np.int64)
    whole = int(np.prod(d.chunks, dtype=np.int64)) * d.dtype.itemsize
    sizes = set()

    def take(info) -> None:
        where = tuple(o // c for o, c in zip(info.chunk_offset, chunk, strict=False))
        if len(where) == lead_axes and all(w < g for w, g in zip(where, grid, strict=True)):
            offset[where] = info.byte_offset
            sizes.add(info.size)

    d.id.chunk_iter(take)
    if direct and sizes - {whole}:
        raise RuntimeError(f"chunks of {sorted(sizes)} bytes where all should have {whole}")
    return chunk, offset


def _check_virtual(path: Path, d: h5py.Dataset) -> None:
    """HDF5 hands out fill values where a virtual dataset's files are missing: find that out first."""
    for source in d.virtual_sources():
        if source.file_name == ".":
            continue
        target = path.parent / source.file_name
        with opened(target) as f:
            if source.dset_name not in f:
                raise UnreadableData(
                    f"{path}: dataset {d.name} points at {source.dset_name} in {target}, which is not there"
                )
