"""Where the frames of one dataset lie: asked of HDF5 once, before any of them is read."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from ..errors import DAMAGE, UnreadableData
from ..filters import register_plugins
from ..unpack import Unpacker, unpacker_of
from .exdf import opened, reason
from .virtual_rows import Shown, covered, rows_of

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
        library does not say (datasets that h5py reads, and which are not chunked). Of a virtual dataset
        that h5py reads it says alone which frames have all of their data.
    unpacker : Unpacker or None
        Undoes the filters of a chunk; None where there are none, and for datasets that h5py reads.
    stored, skipped : ndarray of int64, ndarray of uint32 or None
        Bytes of every chunk in the file, and its mask of filters that were not applied; with an `unpacker`.
    pieces : tuple of Piece
        Of a virtual dataset: the datasets that it shows, where these are whole rows.
    edges : (int, int)
        Rows at the start and at the end of a frame, all planes one after the other, that are left out.
    """

    path: Path
    dataset: str
    lead: tuple[int, ...]
    frame: tuple[int, ...]
    dtype: np.dtype
    why_h5py: str
    chunk: tuple[int, ...]
    offset: np.ndarray | None
    unpacker: Unpacker | None = None
    stored: np.ndarray | None = None
    skipped: np.ndarray | None = None
    pieces: tuple[Piece, ...] = ()
    edges: tuple[int, int] = (0, 0)

    @property
    def frame_bytes(self) -> int:
        return int(np.prod(self.frame, dtype=np.int64)) * self.dtype.itemsize

    @property
    def row_frames(self) -> int:
        """Frames of one row: 1, or the memory cells of a train."""
        return int(np.prod(self.lead[1:], dtype=np.int64))

    @property
    def edge_bytes(self) -> tuple[int, int]:
        """Bytes of the rows of `edges`."""
        row = self.frame[-1] * self.dtype.itemsize
        return self.edges[0] * row, self.edges[1] * row

    @property
    def read_bytes(self) -> int:
        """Bytes of a frame that are read."""
        return self.frame_bytes - sum(self.edge_bytes)

    def without_edges(self, detector: Detector) -> FrameMap:
        """Return this layout without the rows that are none of the detector's sensor, if it has them."""
        if self.frame == detector.recorded_shape or not any(detector.edge_rows):
            return self
        pieces = tuple(replace(one, where=one.where.without_edges(detector)) for one in self.pieces)
        return replace(self, edges=detector.edge_rows, pieces=pieces)

    def first_plane(self) -> FrameMap:
        """Return this layout without the planes after the first: of it alone the bytes are read."""
        behind = int(np.prod(self.frame[:-1], dtype=np.int64)) - self.frame[-2]
        pieces = tuple(replace(one, where=one.where.first_plane()) for one in self.pieces)
        return replace(self, edges=(0, behind), pieces=pieces)

    def chunks_of(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the chunk of each frame, counted on the grid of chunks, and the frame's place in it."""
        at = np.unravel_index(frames, self.lead)
        grid = tuple(-(-n // c) for n, c in zip(self.lead, self.chunk, strict=True))
        chunk = np.ravel_multi_index(tuple(i // c for i, c in zip(at, self.chunk, strict=True)), grid)
        inner = np.ravel_multi_index(tuple(i % c for i, c in zip(at, self.chunk, strict=True)), self.chunk)
        return chunk, inner

    def offsets(self, frames: np.ndarray) -> np.ndarray | None:
        """Byte offset of each frame (int64), -1 where it was never written, None where it is not known.

        In a dataset with filters it is the offset of the frame's chunk.
        """
        if self.offset is None:
            return None
        chunk, inner = self.chunks_of(frames)
        at = self.offset.reshape(-1)[chunk]
        if self.unpacker is not None:
            return at
        return np.where(at < 0, -1, at + inner * self.frame_bytes + self.edge_bytes[0])


@dataclass(frozen=True)
class Piece:
    """Rows of a virtual dataset that are rows of another one.

    Attributes
    ----------
    rows : range
        Rows of the virtual dataset.
    first : int
        Row of the other dataset that the first of them is.
    where : FrameMap
        The other dataset.
    """

    rows: range
    first: int
    where: FrameMap


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
            _check_filters(path, d)
            if d.is_virtual:
                return _map_virtual(path, dataset, d, lead_axes)
            why, unpacker = _how(f, d, frame)
            chunk, offset, stored, skipped = _chunks(d, lead_axes, unpacker, direct=not why)
            if not why:
                base = _base(f, d, offset)
                if base is None:
                    why, unpacker = "the file has a user block", None
                else:
                    offset = np.where(offset < 0, offset, offset + base)
            return FrameMap(
                path, dataset, lead, frame, d.dtype, why, chunk, offset, unpacker, stored, skipped
            )
        except UnreadableData:
            raise
        except DAMAGE as e:
            raise UnreadableData(
                f"{path}: dataset {dataset}: its layout cannot be read ({reason(e)}); the file is damaged"
            ) from e


def _how(f: h5py.File, d: h5py.Dataset, frame: tuple[int, ...]) -> tuple[str, Unpacker | None]:
    """Return why h5py has to read a dataset, or an empty string and what undoes its filters."""
    plist = d.id.get_create_plist()
    if d.external:
        return "its data is in an external file", None
    if not d.dtype.isnative:
        return f"its numbers are {d.dtype.str}, not of this machine's byte order", None
    if plist.get_layout() == h5py.h5d.COMPACT:
        return "it is stored inside the file's metadata", None
    if d.chunks is not None and d.chunks[len(d.shape) - len(frame) :] != frame:
        return f"its chunks {d.chunks} hold parts of frames", None
    number = plist.get_nfilters()
    if not number:
        return "", None
    filters = [plist.get_filter(i) for i in range(number)]
    nbytes = int(np.prod(d.chunks, dtype=np.int64)) * d.dtype.itemsize
    unpacker = unpacker_of([(code, values) for code, _, values, _ in filters], d.dtype.itemsize, nbytes)
    if unpacker is None:
        return f"it is compressed ({', '.join(_filter_name(plist, i) for i in range(number))})", None
    return "", unpacker


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


def _chunks(d: h5py.Dataset, lead_axes: int, unpacker: Unpacker | None, *, direct: bool):
    """Return the shape of a chunk; offsets, stored bytes and masks of all chunks, where these are known."""
    lead = d.shape[:lead_axes]
    if d.chunks is None:
        if not direct:
            return lead, None, None, None
        offset = d.id.get_offset()
        return lead, np.full((1,) * lead_axes, -1 if offset is None else offset, np.int64), None, None
    chunk = d.chunks[:lead_axes]
    grid = tuple(-(-n // c) for n, c in zip(lead, chunk, strict=True))
    offset = np.full(grid, -1, np.int64)
    stored, skipped = np.zeros(grid, np.int64), np.zeros(grid, np.uint32)
    whole = int(np.prod(d.chunks, dtype=np.int64)) * d.dtype.itemsize

    def take(info) -> None:
        where = tuple(o // c for o, c in zip(info.chunk_offset, chunk, strict=False))
        if len(where) == lead_axes and all(w < g for w, g in zip(where, grid, strict=True)):
            offset[where], stored[where], skipped[where] = info.byte_offset, info.size, info.filter_mask

    d.id.chunk_iter(take)
    if unpacker is not None:
        return chunk, offset, stored, skipped
    if direct and (sizes := set(np.unique(stored[offset >= 0]).tolist()) - {whole}):
        raise RuntimeError(f"chunks of {sorted(sizes)} bytes where all should have {whole}")
    return chunk, offset, None, None


def _base(f: h5py.File, d: h5py.Dataset, offset: np.ndarray) -> int | None:
    """Return what is to be added to offsets in a file with a user block; None where that cannot be told.

    Versions of HDF5 differ in whether they count from the file's begin: its own bytes tell.
    """
    if not f.userblock_size or not (offset >= 0).any():
        return 0
    first = np.unravel_index(int(np.argmax(offset >= 0)), offset.shape)
    if d.chunks is None:
        wanted = d[:1].tobytes()
    else:
        corner = (*(i * c for i, c in zip(first, d.chunks, strict=False)), *(0,) * (d.ndim - len(first)))
        wanted = d.id.read_direct_chunk(corner)[1]
    with open(f.filename, "rb") as raw:
        fits = []
        for base in (0, f.userblock_size):
            raw.seek(int(offset[first]) + base)
            if raw.read(len(wanted)) == wanted:
                fits.append(base)
    return fits[0] if len(fits) == 1 else None


def _map_virtual(path: Path, dataset: str, d: h5py.Dataset, lead_axes: int) -> FrameMap:
    """Find the datasets that a virtual one shows; h5py reads it where these are not whole rows."""
    lead, frame = d.shape[:lead_axes], d.shape[lead_axes:]
    pieces: list[Piece] = []
    shown: list[Shown] = []
    simple = True
    for source in d.virtual_sources():
        target = path if source.file_name == "." else path.parent / source.file_name
        # HDF5 hands out fill values where a file is missing: find that out first.
        with opened(target) as f:
            if source.dset_name not in f:
                raise UnreadableData(
                    f"{path}: dataset {d.name} points at {source.dset_name} in {target}, which is not there"
                )
            other = f[source.dset_name]
            alike = (other.dtype, other.shape[1:], other.is_virtual) == (d.dtype, d.shape[1:], False)
            shape, rows, its = (
                other.shape,
                rows_of(source.vspace, d.shape),
                rows_of(source.src_space, other.shape),
            )
        simple = simple and alike and rows is not None and its is not None and len(rows) == len(its)
        where = map_frames(target, source.dset_name, lead_axes if alike else 1)
        shown.append(Shown(source.vspace, source.src_space, shape, partial(_written_rows, where)))
        if simple:
            pieces.append(Piece(rows, its.start, where))
    pieces.sort(key=lambda piece: piece.rows.start)
    if any(a.rows.stop > b.rows.start for a, b in itertools.pairwise(pieces)) or not simple:
        why = "it is virtual, and does not show whole rows of other datasets"
        there = covered(d.shape, lead_axes, shown)
        if there is None:
            raise UnreadableData(
                f"{path}: dataset {dataset} is virtual, and its mappings are such that the frames they have "
                "data of cannot be counted: HDF5 would give zeros for the others. Give the files that it "
                "shows, or map regular blocks of them"
            )
        return FrameMap(path, dataset, lead, frame, d.dtype, why, (1,) * lead_axes, np.where(there, 0, -1))
    slow = next((f"it shows data of which {p.where.why_h5py}" for p in pieces if p.where.why_h5py), "")
    # One that shows nothing has no frame that was ever written.
    offset = None if pieces else np.full((1,) * lead_axes, -1, np.int64)
    return FrameMap(path, dataset, lead, frame, d.dtype, slow, lead, offset, pieces=tuple(pieces))


def _written_rows(where: FrameMap, rows: np.ndarray) -> np.ndarray:
    """Return which rows of a dataset have data, as far as the library says, bool (n,)."""
    cells = where.row_frames
    frames = (rows[:, None] * cells + np.arange(cells)).reshape(-1)
    offsets = where.offsets(frames)
    if where.pieces:
        there = np.zeros(len(rows), bool)
        for piece in where.pieces:
            mine = (rows >= piece.rows.start) & (rows < piece.rows.stop)
            theirs = rows[mine] - piece.rows.start + piece.first
            mine[mine] = theirs < piece.where.lead[0]
            there[mine] = _written_rows(piece.where, theirs[theirs < piece.where.lead[0]])
        return there
    return np.ones(len(rows), bool) if offsets is None else (offsets >= 0).reshape(-1, cells).all(axis=1)
