"""Rows of trains in which dropped memory cells take no room: one chunk per cell, written or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np

from .chunks import RowDataset

if TYPE_CHECKING:
    from ..sources.base import ShotList

FILL = {"gain": 0, "mask": 0xFFFFFFFF}
"""What a dropped cell reads as; pixel values read as NaN, photons as 0."""

NO_CELL = 255
"""Memory cell of a place in a train that no shot has; EXtra-data takes it for a missing one."""


class TrainCells:
    """Which row and which place of it each frame of a module goes to.

    Rows are the trains with a frame that is kept. A place is that of the frame in its train.

    Parameters
    ----------
    shots : ShotList
        Of a detector that counts frames in the train, as its ``pulse_id``.
    cells : int
        Places in a row.

    Attributes
    ----------
    trains : list of int
        Of each row.
    rows, slots : list of int
        Of each frame, in the order in which they came.

    Examples
    --------
    >>> places = TrainCells(source.shots, 16)    # doctest: +SKIP
    >>> places.add(np.array([3, 5]))    # doctest: +SKIP
    """

    def __init__(self, shots: ShotList, cells: int) -> None:
        self._shots, self.cells = shots, cells
        self.trains: list[int] = []
        self.rows: list[int] = []
        self.slots: list[int] = []

    def add(self, shots: np.ndarray) -> None:
        """Take further shots, ascending; the last row goes on where its train does."""
        trains = self._shots.train_id[shots].tolist()
        for train, slot in zip(trains, self._shots.pulse_id[shots].tolist(), strict=True):
            if not self.trains or self.trains[-1] != train:
                self.trains.append(train)
            self.rows.append(len(self.trains) - 1)
            self.slots.append(slot)

    def shots_of_rows(self) -> np.ndarray:
        """Return all shots of the rows, kept or not, int64 (rows, cells); -1 where there is none."""
        shots = self._shots
        trains = np.asarray(self.trains, "u8")
        first = np.flatnonzero(
            np.isin(shots.train_id, trains) & (shots.pulse_id < self.cells) & (shots.status == 0)
        )
        out = np.full((len(trains), self.cells), -1, np.int64)
        out[np.searchsorted(trains, shots.train_id[first]), shots.pulse_id[first].astype(int)] = first
        return out


class CellDataset(RowDataset):
    """A dataset of trains whose chunk is one cell; cells that are never stored take no room.

    Parameters
    ----------
    group, name, dtype, compressed
        As for `RowDataset`.
    frame : tuple of int
        Shape of one cell's frame.
    places : TrainCells
        Knows of every frame before it comes.

    Attributes
    ----------
    digests : list of bytes
        Checksum of each stored frame, in the order of `places`.

    Notes
    -----
    Promise: exact; as `RowDataset`.

    Examples
    --------
    >>> data = CellDataset(group, "adc", (512, 1024), "<f4", False, places)    # doctest: +SKIP
    """

    def __init__(
        self,
        group: h5py.Group,
        name: str,
        frame: tuple[int, ...],
        dtype: str,
        compressed: bool | str,
        places: TrainCells,
    ) -> None:
        self._places = places
        nothing = 0 if np.dtype(dtype).kind in "iu" else np.nan
        super().__init__(
            group, name, frame, dtype, compressed, cells=places.cells, fill=FILL.get(name, nothing)
        )

    def grow(self, count: int) -> int:
        """Make room for the rows that are known of, and return the number of frames stored so far."""
        self.dataset.resize(len(self._places.trains), axis=0)
        return len(self.digests)

    def store(self, index: int, chunk: bytes | np.ndarray, digest: bytes) -> None:
        """Store one encoded frame, the next; see `RowDataset.store`."""
        place = (self._places.rows[index], self._places.slots[index])
        self.dataset.id.write_direct_chunk((*place, *(0,) * len(self.row_shape)), chunk)
        self.digests.append(digest)
