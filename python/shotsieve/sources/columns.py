"""Datasets of a run that are copied: rows of several files as rows of one, a bounded piece at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np

from ..errors import DAMAGE, UnreadableData
from .exdf import RunFile, opened, reason, train_text

PIECE_BYTES = 16_000_000


@dataclass(frozen=True, eq=False)
class Taken:
    """What is taken of one file.

    Attributes
    ----------
    file : RunFile
    rows : ndarray of int64, shape (n,)
        Rows of its dataset; where `Column.per_row` is more than 1, frames counted through its rows.
    to : ndarray of int64, shape (n,)
        Where they go.
    """

    file: RunFile
    rows: np.ndarray
    to: np.ndarray


@dataclass(frozen=True, eq=False)
class Column:
    """One dataset that is copied.

    Attributes
    ----------
    path : str
        In its files.
    length : int
        Rows it comes to.
    tail : tuple of int
        Shape of a row.
    dtype : numpy.dtype
        As HDF5 has it, text included.
    taken : sequence of Taken
    per_row : int
        How many of what is taken lie in one row of the files: more than 1 where a row is a train of frames.
    of_frames : bool
        Whether each frame has a value of its own; else a row of the files has one.
    attrs : mapping
        Attributes: units and the like.
    """

    path: str
    length: int
    tail: tuple[int, ...]
    dtype: np.dtype
    taken: Sequence[Taken]
    per_row: int = 1
    of_frames: bool = True
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def pieces(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (where they go, values), never more than some megabytes of a file at once.

        Raises
        ------
        UnreadableData
            If a file is damaged.
        """
        row_bytes = max(1, self.dtype.itemsize * int(np.prod(self.tail)) * self.per_row)
        block = max(1, PIECE_BYTES // row_bytes)
        for one in self.taken:
            order = np.argsort(one.rows, kind="stable")
            frames, to = one.rows[order], one.to[order]
            at = frames // self.per_row
            with opened(one.file.path) as f:
                start = 0
                while start < len(at):
                    stop = int(np.searchsorted(at, at[start] + block))
                    low, high = int(at[start]), int(at[stop - 1]) + 1
                    try:
                        values = f[self.path][low:high].reshape(-1, *self.tail)
                    except DAMAGE as err:
                        raise UnreadableData(
                            f"{one.file.path}: {self.path}: rows {low} to {high - 1} cannot be read "
                            f"({reason(err)}); this affects trains {train_text(one.file.train_id)}"
                        ) from err
                    yield to[start:stop], values[frames[start:stop] - low * self.per_row]
                    start = stop

    def whole(self) -> np.ndarray:
        """Return all rows; 0 where nothing goes."""
        out = np.zeros((self.length, *self.tail), self.dtype)
        for to, values in self.pieces():
            out[to] = values
        return out

    def blocks(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (start, stop, values) of consecutive rows, for a dataset that is written in ranges."""
        for to, values in self.pieces():
            order = np.argsort(to, kind="stable")
            edges = np.flatnonzero(np.diff(to[order]) != 1) + 1
            for part in np.split(order, edges):
                if len(part):
                    yield int(to[part[0]]), int(to[part[-1]]) + 1, values[part]


def plain_attributes(item: h5py.Dataset) -> dict[str, Any]:
    """Return the attributes of a dataset that mean the same in another file: texts and numbers."""
    return {
        name: value
        for name, value in item.attrs.items()
        if isinstance(value, str) or np.asarray(value).dtype.kind in "biufSU"
    }
