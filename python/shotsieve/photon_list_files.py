"""The photon lists of one module in the files of a reduced run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from .errors import DAMAGE, BadInput, UnreadableData
from .photon_list import PhotonList
from .write.photon_lists import LIST, MASK_LIST, MASKS, SHOTS, has_lists

if TYPE_CHECKING:
    from collections.abc import Iterator


class ModuleLists:
    """Photon lists of one module; rows are counted through all of its files.

    Parameters
    ----------
    files : sequence of (Path, str)
        Each with the name of the module's source in it, in the order of their trains.
    frame_shape : tuple of int
        Of a frame.

    Attributes
    ----------
    train_id, pulse_id : ndarray of uint64, shape (N,)
    cell_id : ndarray of uint16, shape (N,)
    number : ndarray of uint32, shape (N,)
        Pixels that hold photons.

    Raises
    ------
    BadInput
        If a file has no photon lists.
    UnreadableData
        If a file cannot be read.

    Examples
    --------
    >>> lists.frames(np.arange(3))[0].shape    # doctest: +SKIP
    (3, 512, 128)
    """

    def __init__(self, files: Sequence[tuple[Path, str]], frame_shape: tuple[int, ...]) -> None:
        self.frame_shape = tuple(frame_shape)
        self._pixels = int(np.prod(self.frame_shape))
        self._paths = [path for path, _ in files]
        self._files: list[h5py.File] = []
        self._groups: list[h5py.Group] = []
        found: list[dict[str, np.ndarray]] = []
        for path, source in files:
            with self._reading(path):
                self._files.append(h5py.File(path))
                group = self._files[-1][f"INSTRUMENT/{source}"]
                if not has_lists(group):
                    raise BadInput(
                        f"{path} has no photon lists: a reduction writes them with [write] content = "
                        '"photon_list"'
                    )
                self._groups.append(group)
                found.append({name: values[:] for name, values in group[SHOTS].items()})
        self._ends = np.cumsum([len(one["trainId"]) for one in found])
        for name, key in (("train_id", "trainId"), ("pulse_id", "pulseId"), ("cell_id", "cellId")):
            setattr(self, name, np.concatenate([one[key] for one in found]))
        self._shots = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
        self.number = self._shots["number"]
        self.count_dtype = self._groups[0][LIST]["count"].dtype

    def __len__(self) -> int:
        return len(self.number)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def lists(self, rows: np.ndarray) -> PhotonList:
        """Return the lists of some rows.

        Parameters
        ----------
        rows : ndarray of int, shape (k,)

        Returns
        -------
        PhotonList
        """
        first, (pixel, count) = self._entries(rows, LIST, ("pixel", "count"), "first", "number")
        return PhotonList(self.frame_shape, first, pixel.astype("u4"), count)

    def mask_entries(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where masks differ from the whole ones: first int64 (k + 1,), pixel int64, bits uint32."""
        names = ("pixel", "bits")
        first, (pixel, bits) = self._entries(rows, MASK_LIST, names, "maskFirst", "maskNumber")
        return first, pixel.astype("i8"), bits

    def whole_masks(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield each whole mask, uint32 (pixels,), and which of the rows it is of, int64 positions."""
        for number, here in self._by_file(rows):
            needed = self._shots["mask"][rows[here]]
            for row in np.unique(needed).tolist():
                with self._reading(self._paths[number]):
                    mask = self._groups[number][MASKS]["mask"][row]
                yield mask.reshape(-1), here[needed == row]

    def masks(self, rows: np.ndarray) -> np.ndarray:
        """Return the masks of some rows, uint32 (k, *frame_shape)."""
        rows = np.asarray(rows)
        out = np.empty((len(rows), self._pixels), "u4")
        for mask, places in self.whole_masks(rows):
            out[places] = mask
        first, pixel, bits = self.mask_entries(rows)
        for k, mask in enumerate(out):
            mine = slice(first[k], first[k + 1])
            mask[pixel[mine]] = bits[mine]
        return out.reshape(-1, *self.frame_shape)

    def sums(self, rows: np.ndarray, labels: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return photons and good pixels of each row by label, int64 (k, number)."""
        lists, (first, own, bits) = self.lists(rows), self.mask_entries(rows)
        photons, pixels = np.zeros((2, len(rows), number), "i8")
        for mask, places in self.whole_masks(rows):
            fine = mask == 0
            of_whole = np.bincount(labels[fine & (labels >= 0)], minlength=number)
            for k in places.tolist():
                usable, pixels[k] = fine, of_whole
                differs = slice(first[k], first[k + 1])
                if first[k] < first[k + 1]:
                    usable = fine.copy()
                    usable[own[differs]] = bits[differs] == 0
                    change = usable[own[differs]].astype("i8") - fine[own[differs]]
                    label = labels[own[differs]]
                    np.add.at(pixels[k], label[label >= 0], change[label >= 0])
                listed = slice(lists.first[k], lists.first[k + 1])
                pixel, label = lists.pixel[listed], labels[lists.pixel[listed]]
                use = usable[pixel] & (label >= 0)
                # Weights of bincount are float64, exact below 2^53.
                photons[k] = np.bincount(label[use], lists.count[listed][use], number).astype("i8")
        return photons, pixels

    def good(self, rows: np.ndarray) -> np.ndarray:
        """Return the pixels that are masked in none of some rows, bool (*frame_shape)."""
        rows = np.asarray(rows)
        first, pixel, bits = self.mask_entries(rows)
        bad = np.zeros(self._pixels, "i8")  # in how many rows
        for mask, places in self.whole_masks(rows):
            bad += len(places) * (mask != 0)
            for k in places.tolist():
                own = slice(first[k], first[k + 1])
                bad[pixel[own]] += (bits[own] != 0).astype("i8") - (mask[pixel[own]] != 0)
        return (bad == 0).reshape(self.frame_shape)

    def frames(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the frames of some rows: photons and masks, (k, *frame_shape), as they were counted."""
        return self.lists(rows).dense(), self.masks(rows)

    def _entries(
        self, rows: np.ndarray, group: str, names: tuple[str, ...], first: str, number: str
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Read entries of some rows; those of rows that follow one another in one go."""
        rows = np.asarray(rows)
        numbers = self._shots[number][rows].astype("i8")
        begin = np.concatenate([np.zeros(1, "i8"), np.cumsum(numbers)])
        out = [np.empty(begin[-1], self._groups[0][group][name].dtype) for name in names]
        for number_of_file, here in self._by_file(rows):
            cuts = np.flatnonzero(np.diff(rows[here]) != 1) + 1
            for part in np.split(here, cuts):
                start = int(self._shots[first][rows[part[0]]])
                size = int(begin[part[-1] + 1] - begin[part[0]])
                for array, name in zip(out, names, strict=True):
                    with self._reading(self._paths[number_of_file]):
                        dataset = self._groups[number_of_file][group][name]
                        held = dataset[start : start + size]
                    if len(held) != size:
                        raise UnreadableData(
                            f"{self._paths[number_of_file]}: {group}/{name} ends before the list of a shot "
                            "does: entries are gone; `shotsieve check` says what is damaged"
                        )
                    array[begin[part[0]] : begin[part[-1] + 1]] = held
        return begin, out

    def _by_file(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield numbers of files, and positions of the rows that stand in each."""
        file_of = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(file_of).tolist():
            yield number, np.flatnonzero(file_of == number)

    @contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        try:
            yield
        except BadInput:
            raise
        except DAMAGE as err:
            raise UnreadableData(
                f"{path}: photon lists cannot be read ({err}): `shotsieve check` says what is damaged"
            ) from err
