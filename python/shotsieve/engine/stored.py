"""The frames of a module in all files of a reduced run, by the key of their shot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from ..check import reduction_of
from ..write.labels import read_labels
from ..write.reduction import stored_frames

if TYPE_CHECKING:
    from ..detectors import Detector


class StoredModule:
    """The files of one module.

    Parameters
    ----------
    paths : sequence of Path
    detector : Detector
    key : callable
        Makes one number of the train and the pulse of frames; of train and cell where there are no pulses.

    Attributes
    ----------
    files : list of h5py.File
    cells : int
        Frames in a row.
    seen : ndarray of bool, shape (n,)
        Which frames were asked for.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        detector: Detector,
        key: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> None:
        files = [h5py.File(path) for path in paths]
        self._groups = [f[f"INSTRUMENT/{reduction_of(f, detector)}/{detector.group}"] for f in files]
        self.files, self.cells = files, 1
        keys, there = [], []
        for file, group in zip(files, self._groups, strict=True):
            labels = read_labels(group, detector)
            self.cells = labels.per_row
            by_cell = detector.layout == "trains" and detector.cell_key
            keys.append(key(labels.train, labels.cell if by_cell else labels.pulse))
            stored = stored_frames(file, reduction_of(file, detector), labels)
            there.append(np.full(len(keys[-1]), stored is None))
            if stored is not None:
                there[-1][stored[0] * self.cells + stored[1]] = True
        self._ends = np.cumsum([len(found) for found in keys])
        every, here = np.concatenate(keys), np.flatnonzero(np.concatenate(there))
        self._order = here[np.argsort(every[here], kind="stable")]
        self._known = every[self._order]
        # What is not stored is not there to be seen.
        self.seen = ~np.concatenate(there)

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Look for frames.

        Returns
        -------
        there : ndarray of bool, shape (n,)
        rows : ndarray of int64
            Of those that are there, counted through all files.
        """
        if not len(self._known):
            return np.zeros(len(keys), bool), np.zeros(0, "i8")
        place = np.minimum(np.searchsorted(self._known, keys), len(self._known) - 1)
        there = self._known[place] == keys
        rows = self._order[place[there]]
        self.seen[rows] = True
        return there, rows

    def differs(self, name: str, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return which frames are not the stored ones, bit for bit; those of a file are read in one go."""
        wrong = np.zeros(len(rows), bool)
        file_of = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(file_of).tolist():
            here = np.flatnonzero(file_of == number)
            first = rows[here] - (self._ends[number - 1] if number else 0)
            low, high = first.min() // self.cells, first.max() // self.cells + 1
            stored = self._groups[number][name][low:high].reshape(-1, *values.shape[1:])
            stored, mine = stored[first - low * self.cells], values[here].astype(stored.dtype, copy=False)
            bits = [np.ascontiguousarray(a).reshape(len(here), -1).view("u1") for a in (mine, stored)]
            wrong[here] = (bits[0] != bits[1]).any(axis=1)
        return wrong

    def close(self) -> None:
        """Close the files."""
        for file in self.files:
            file.close()
