"""Photon lists in the files of a reduced run: the pixels that hold photons, and the masks beside them.

Groups of a module's source, each with an index of its own:

``photons``          a row for each kept shot: its labels, and which entries of the others are its
``photonList``       pixel and count, shot after shot
``photonMask``       whole masks: of the first shot of a memory cell, and of any that differs widely
``photonMaskList``   pixel and bits of a shot where its mask is not that whole one
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xxhash

from ..cpus import usable_cpus
from ..errors import OutputError
from ..photon_list import PhotonList
from ..sources.corrected_files import LISTS
from .checksums import CHUNK_BYTES, chunk_checksum
from .chunks import RowDataset
from .flat import FlatDataset

if TYPE_CHECKING:
    import h5py

    from ..sources.base import ShotList
    from .exdf_file import ExdfFile

SHOTS, LIST, MASKS, MASK_LIST = "photons", LISTS, "photonMask", "photonMaskList"
"""Index groups of a module's source."""

CHECKSUM = "checksum"
WIDELY = 16
"""A mask that differs in more than one pixel of so many from that of its cell is stored whole."""


class Entry(NamedTuple):
    """What is stored of the mask of a shot: the row of a whole mask, and pixels that have other bits."""

    row: int
    pixel: np.ndarray
    bits: np.ndarray


def checksum_of(photons: Sequence[np.ndarray], mask: Sequence[np.ndarray], whole: bytes) -> bytes:
    """Return the checksum of what is stored of one shot.

    Parameters
    ----------
    photons : (pixel, count)
        As they are stored.
    mask : (pixel, bits)
        As they are stored.
    whole : bytes
        Checksum of the whole mask beside them.

    Notes
    -----
    XXH3 with 128 bits over the bytes of all, one after the other, little-endian.
    """
    state = xxhash.xxh3_128(whole)
    for array in (*photons, *mask):
        state.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).view("u1"))
    return state.digest()


class Masks:
    """Masks of one module: which are stored whole, and how the others differ from these.

    The whole mask of a shot is the last that was stored for its memory cell, or one with the same bits. So
    what is stored follows from the shots and their order alone.

    Attributes
    ----------
    added : list of (int, ndarray)
        Cell and mask of those that are to be stored, since it was emptied.

    Examples
    --------
    >>> masks = Masks()
    >>> one = np.zeros(64, "u4")
    >>> masks.of(5, one).row, masks.of(5, one).pixel.size, len(masks.added)
    (0, 0, 1)
    >>> other = one.copy()
    >>> other[7] = 1
    >>> entry = masks.of(5, other)
    >>> entry.row, entry.pixel.tolist(), entry.bits.tolist()
    (0, [7], [1])
    """

    def __init__(self) -> None:
        self.added: list[tuple[int, np.ndarray]] = []
        self._row_of: dict[bytes, int] = {}
        self._whole: list[np.ndarray] = []
        self._of_cell: dict[int, int] = {}

    def of(self, cell: int, mask: np.ndarray) -> Entry:
        """Return what is stored of a mask, uint32 (pixels,)."""
        row = self._of_cell.get(cell)
        if row is not None:
            pixel = np.flatnonzero(mask != self._whole[row])
            if len(pixel) * WIDELY <= len(mask):
                return Entry(row, pixel, mask[pixel])
        key = chunk_checksum(mask.view("u1"))
        row = self._row_of.get(key)
        if row is None:
            row = self._row_of[key] = len(self._whole)
            self._whole.append(mask.copy())
            self.added.append((cell, self._whole[row]))
        self._of_cell[cell] = row
        return Entry(row, np.zeros(0, "i8"), np.zeros(0, "u4"))


class _Module:
    """Lists of one module in its file."""

    def __init__(
        self,
        file: ExdfFile,
        source: str,
        shape: tuple[int, ...],
        dtype: str,
        packed: Mapping[str, bool | str],
    ) -> None:
        self.file, self.source = file, source
        small = int(np.prod(shape)) <= 1 << 16
        place = "<u2" if small else "<u4"
        groups = {name: file.instrument(source, name) for name in (SHOTS, LIST, MASKS, MASK_LIST)}
        self._shots = groups[SHOTS]
        self._entries = [
            FlatDataset(groups[LIST], "pixel", place, packed["data"]),
            FlatDataset(groups[LIST], "count", dtype, packed["data"]),
            FlatDataset(groups[MASK_LIST], "pixel", place, packed["mask"]),
            FlatDataset(groups[MASK_LIST], "bits", "<u4", packed["mask"]),
        ]
        self._mask = RowDataset(groups[MASKS], "mask", shape, "<u4", packed["mask"])
        self._mask_cells: list[int] = []
        self._mask_shots: list[int] = []
        self._whole = groups[MASKS]
        self._masks = Masks()
        self._place = np.dtype(place)
        self._number: list[int] = []
        self._mask_number: list[int] = []
        self._row: list[int] = []
        self.digests: list[bytes] = []

    def append(self, shots: list[int], cells: list[int], photons: PhotonList, masks: np.ndarray) -> None:
        """Append frames: photons (k), masks uint32 (k, pixels)."""
        for k, (shot, cell, mask) in enumerate(zip(shots, cells, masks, strict=True)):
            entry = self._masks.of(cell, mask)
            for of_cell, whole in self._masks.added:
                at = self._mask.grow(1)
                self._mask.store(at, *self._mask.encode(whole.reshape(self._mask.row_shape)))
                self._mask_cells.append(of_cell)
                self._mask_shots.append(shot)
            self._masks.added.clear()
            mine = slice(photons.first[k], photons.first[k + 1])
            listed = photons.pixel[mine].astype(self._place), photons.count[mine]
            differs = entry.pixel.astype(self._place), entry.bits
            # Shot by shot: what stands where in the file must not depend on how shots are cut into calls.
            for dataset, entries in zip(self._entries, (*listed, *differs), strict=True):
                dataset.append(entries)
            self.digests.append(checksum_of(listed, differs, self._mask.digests[entry.row]))
            self._number.append(int(photons.first[k + 1] - photons.first[k]))
            self._mask_number.append(len(entry.pixel))
            self._row.append(entry.row)

    def finish(self, kept: np.ndarray, shots: ShotList) -> None:
        """Write what is left, labels, index and checksums; `kept` are the shots that were appended."""
        for dataset in self._entries:
            dataset.finish()
        trains = self.file.train_ids
        at = np.searchsorted(trains, shots.train_id[kept])
        number, differs = np.array(self._number, "u4"), np.array(self._mask_number, "u4")
        labels = {
            "trainId": shots.train_id[kept],
            "pulseId": shots.pulse_id[kept],
            "cellId": shots.cell_id[kept].astype("u2"),
            "first": _first(number),
            "number": number,
            "mask": np.array(self._row, "u4"),
            "maskFirst": _first(differs),
            "maskNumber": differs,
        }
        for name, values in labels.items():
            self._shots[name] = values
        of_masks = np.searchsorted(trains, shots.train_id[np.array(self._mask_shots, "i8")])
        self._whole["trainId"] = trains[of_masks]
        self._whole["cellId"] = np.array(self._mask_cells, "u2")
        self._shots["first"].attrs["meaning"] = f"first entry of the shot in {LIST}"
        self._shots["maskFirst"].attrs["meaning"] = f"first entry of the shot in {MASK_LIST}"
        self._shots["mask"].attrs["meaning"] = f"row of its mask in {MASKS}"
        counted = {SHOTS: (at, None), LIST: (at, number), MASK_LIST: (at, differs), MASKS: (of_masks, None)}
        counts = {
            name: np.bincount(rows, weights, minlength=len(trains)).astype("u8")
            for name, (rows, weights) in counted.items()
        }
        for name, count in counts.items():
            self.file.set_counts(self.source, name, count)
        for name, digests in ((SHOTS, self.digests), (MASKS, self._mask.digests)):
            group = self.file.auxiliary("REDUCTION", f"SHOTSIEVE/{self.source}", name, counts[name])
            group[CHECKSUM] = np.frombuffer(b"".join(digests), "u1").reshape(-1, CHUNK_BYTES)


class PhotonListFiles:
    """Photon lists of the modules of a part of a run, in the files that the frames kept whole stand in.

    Promise: exact; the same frames give the same bytes, however they are cut into calls of `append`.

    Parameters
    ----------
    shots : ShotList
        Of the part.
    shape : tuple of int
        Of a frame.
    dtype : str
        Of the counts.
    packed : mapping of str to bool or str
        How ``data`` and ``mask`` are compressed.

    Examples
    --------
    >>> lists = PhotonListFiles(source.shots, (512, 128), "<u2", packed)    # doctest: +SKIP
    """

    def __init__(
        self, shots: ShotList, shape: tuple[int, ...], dtype: str, packed: Mapping[str, bool | str]
    ) -> None:
        self._shots, self._shape, self._dtype, self._packed = shots, shape, dtype, packed
        self._modules: dict[int, _Module] = {}

    def open(self, m: int, file: ExdfFile, source: str) -> None:
        """Begin the lists of a module."""
        self._modules[m] = _Module(file, source, self._shape, self._dtype, self._packed)

    def append(self, shots: np.ndarray, present: np.ndarray, frames: Mapping[str, np.ndarray]) -> None:
        """Append kept shots; see `shotsieve.write.exdf.ReducedRunWriter.append`.

        Raises
        ------
        BadInput
            If the frames are no photons.
        OutputError
            If the disk refuses.
        """

        def add(m: int) -> None:
            rows = np.flatnonzero(present[:, m])
            if not len(rows):
                return
            photons = PhotonList.of(frames["data"][rows, m].reshape(len(rows), -1), threads=1)
            masks = frames["mask"][rows, m].reshape(len(rows), -1)
            cells = self._shots.cell_id[shots[rows]].tolist()
            self._modules[m].append(shots[rows].tolist(), cells, photons, masks)

        # A pool per call costs well under a millisecond, and none is left standing to hang in a forked child.
        with ThreadPoolExecutor(usable_cpus()) as pool:
            try:
                list(pool.map(add, self._modules))
            except (OSError, RuntimeError) as err:
                raise OutputError(f"photon lists could not be written ({err})") from err

    def finish(self, m: int, kept: np.ndarray) -> None:
        """Complete the lists of a module; `kept` are its shots."""
        self._modules[m].finish(kept, self._shots)


def pieces(whole: np.ndarray, unit: np.ndarray) -> list[slice]:
    """Cut shots behind every unit that is kept whole, so that frames follow the lists of their own shots.

    Parameters
    ----------
    whole : ndarray of bool, shape (K,)
    unit : ndarray of int, shape (K,)
        What is written as one: shots, or trains.

    Examples
    --------
    >>> pieces(np.array([False, True, True, False]), np.array([0, 1, 1, 2]))
    [slice(0, 3, None), slice(3, 4, None)]
    """
    last = np.append(unit[1:] != unit[:-1], True)
    edges = [0, *(np.flatnonzero(whole & last) + 1).tolist()]
    edges += [len(whole)] if edges[-1] < len(whole) else []
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _first(number: np.ndarray) -> np.ndarray:
    return (np.cumsum(number, dtype="u8") - number).astype("u8")


def has_lists(group: h5py.Group | Mapping[str, Any]) -> bool:
    """Whether a module's source in a file holds photon lists."""
    return SHOTS in group and LIST in group
