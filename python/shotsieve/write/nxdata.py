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
ROWS_WRITTEN = 512  # at least; more of the curves than that are not in memory
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
        self._growing: dict[str, _Growing] = {}
        self._out = self._stack.enter_context(created(path, form, version, what))
        self._stack.push(self._write_rest)
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
        """Add rows to all growing datasets of a group; many are written at a time, the last at the end."""
        name = group.name
        if name not in self._growing:
            self._growing[name] = _Growing({key: group[key] for key in values})
        self._growing[name].add(values)
        self._out.check()

    def _write_rest(self, exc_type: object, *_: object) -> None:
        if exc_type is None:
            with self.writing():
                for growing in self._growing.values():
                    growing.write(1)

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


class _Growing:
    """Rows on their way to the datasets of a group, so that HDF5 is asked for many at a time.

    Written are multiples of `ROWS_WRITTEN`, so that the bytes of a file do not depend on how rows came.
    """

    def __init__(self, datasets: Mapping[str, h5py.Dataset]) -> None:
        self._datasets = datasets
        self._waiting: dict[str, list[np.ndarray]] = {name: [] for name in datasets}
        self._rows = 0

    def add(self, values: Mapping[str, np.ndarray]) -> None:
        """Take rows, of which copies are made."""
        for name, rows in values.items():
            with np.errstate(over="ignore", invalid="ignore"):
                self._waiting[name].append(np.array(rows, self._datasets[name].dtype))
        self._rows += len(rows)
        self.write(ROWS_WRITTEN)

    def write(self, unit: int) -> None:
        """Write as many rows as there are, a multiple of `unit`."""
        count = self._rows - self._rows % unit
        if not count:
            return
        for name, dataset in self._datasets.items():
            rows, start = np.concatenate(self._waiting[name]), len(dataset)
            dataset.resize(start + count, axis=0)
            dataset[start:] = rows[:count]
            self._waiting[name] = [rows[count:].copy()]
        self._rows -= count
