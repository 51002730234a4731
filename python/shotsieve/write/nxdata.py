"""NeXus files that grow block by block: groups of curves with a row for every shot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OutputError
from ..side_file import created

if TYPE_CHECKING:
    import h5py
    from numpy.typing import DTypeLike

KEYS = {"trainId": "u8", "pulseId": "u8", "cellId": "i4"}
"""What every row says of its shot."""

ROWS_OF_CHUNK = 64
ROWS_AT_ONCE = 4096


class NxFile:
    """A file with one NXentry, whose NXdata groups name signal and axes, so that NeXus readers plot them.

    Promise: exact; the same rows give the same bytes, however they were cut into blocks.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    form, version : str, int
        See `shotsieve.side_file.created`.
    what : str
        What error texts call it.
    settings : mapping of str to str, int, float or bool
        What was asked for; attributes of the entry.

    Examples
    --------
    >>> with NxFile(path, "shotsieve profiles", 1, "the file of profiles", {}) as file:    # doctest: +SKIP
    ...     group = file.data("profiles", "intensity", (".", "q"))
    """

    def __init__(
        self, path: Path, form: str, version: int, what: str, settings: Mapping[str, object]
    ) -> None:
        self._stack = ExitStack()
        self._growing: dict[tuple[str, str], h5py.Dataset] = {}
        self._out = self._stack.enter_context(created(path, form, version, what))
        file = self._out.file
        file.attrs["default"] = "entry"
        self.entry = file.create_group("entry", track_order=True)
        self.entry.attrs["NX_class"] = "NXentry"
        for name, value in settings.items():
            self.entry.attrs[name] = value

    def __enter__(self) -> NxFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)

    def data(self, name: str, signal: str, axes: tuple[str, ...]) -> h5py.Group:
        """Make an NXdata group; an axis "." has no values."""
        group = self.entry.create_group(name, track_order=True)
        group.attrs["NX_class"] = "NXdata"
        group.attrs["signal"] = signal
        group.attrs["axes"] = np.array(axes, dtype=object)
        for place, axis in enumerate(axes):
            if axis != ".":
                group.attrs[f"{axis}_indices"] = place
        return group

    def put(self, group: h5py.Group, name: str, values: np.ndarray, unit: str, meaning: str) -> None:
        """Write a whole dataset."""
        self._describe(group.create_dataset(name, data=values, track_times=False), unit, meaning)

    def room(
        self, group: h5py.Group, name: str, shape: tuple[int, ...], dtype: DTypeLike, unit: str, meaning: str
    ) -> h5py.Dataset:
        """Make a dataset that is filled later, piece by piece, and return it."""
        dataset = group.create_dataset(name, shape, dtype, track_times=False)
        self._describe(dataset, unit, meaning)
        return dataset

    def grow(self, group: h5py.Group, name: str, length: int, dtype: str, unit: str, meaning: str) -> None:
        """Make a dataset without rows yet, of so many values each; 0 is one value without an axis."""
        tail = (length,) if length else ()
        chunks = (ROWS_OF_CHUNK if length else 4096, *tail)
        shape, most = (0, *tail), (None, *tail)
        dataset = group.create_dataset(name, shape, dtype, maxshape=most, chunks=chunks, track_times=False)
        self._describe(dataset, unit, meaning)

    def grow_keys(self, group: h5py.Group) -> None:
        """Make the datasets that say which shot each row is of."""
        for name, dtype in KEYS.items():
            self.grow(group, name, 0, dtype, "", f"{name} of each row")

    def extend(self, group: h5py.Group, values: Mapping[str, np.ndarray]) -> None:
        """Add rows to all growing datasets of a group."""
        for name, rows in values.items():
            dataset = self._dataset(group, name)
            start = len(dataset)
            dataset.resize(start + len(rows), axis=0)
            dataset[start:] = rows
        self._out.check()

    def _dataset(self, group: h5py.Group, name: str) -> h5py.Dataset:
        """Return a growing dataset, which is looked up once: with each block is too often."""
        if (group.name, name) not in self._growing:
            self._growing[group.name, name] = group[name]
        return self._growing[group.name, name]

    def check(self) -> None:
        """Raise what the disk refused so far, for those who fill for long."""
        self._out.check()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Tell what the disk refuses as an error of this file, also while another one is read."""
        try:
            yield
        except (OSError, RuntimeError) as err:
            raise OutputError(f"{self._out.path}: rows could not be written ({err})") from err

    def take_rows(self, group: h5py.Group, other: h5py.Group) -> None:
        """Add all rows that a group of the same kind in another file has."""
        growing = [name for name, dataset in group.items() if dataset.maxshape[0] is None]
        for start in range(0, len(other[growing[0]]), ROWS_AT_ONCE):
            rows = {name: other[name][start : start + ROWS_AT_ONCE] for name in growing}
            with self.writing():
                self.extend(group, rows)

    @staticmethod
    def _describe(dataset: h5py.Dataset, unit: str, meaning: str) -> None:
        dataset.attrs["units"] = unit
        dataset.attrs["long_name"] = meaning
