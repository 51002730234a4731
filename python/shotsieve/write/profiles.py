"""Profiles of shots and their averages as NXdata, in ``shotsieve/profiles.h5`` of a reduced run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..side_file import created

if TYPE_CHECKING:
    from ..measure.average import Average

FORMAT = "shotsieve profiles"
VERSION = 1
FILE_NAME = "profiles.h5"
ROWS_OF_CHUNK = 64

KEYS = {"trainId": "u8", "pulseId": "u8", "cellId": "i4"}


class ProfileFile:
    """A file of profiles that grows block by block.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    axis : str
        Name of the radial axis: "q", "two_theta" or "r".
    unit, intensity_unit : str
    centres, edges : ndarray of float64, shape (n,) and (n + 1,)
        Bins.
    settings : mapping of str to str, int, float or bool
        What was asked for; attributes of the entry.

    Notes
    -----
    The layout is NeXus: an NXentry whose NXdata groups name their signal and axes, so that NeXus readers plot
    them. Group ``profiles`` has a row for every shot that was measured, ``average`` those of the run, and
    ``average_by_<name>`` a row for every group. Promise: exact; the same profiles give the same bytes,
    however they were cut into blocks.

    Examples
    --------
    >>> with ProfileFile(path, "q", "1/A", "keV", centres, edges, {}) as file:    # doctest: +SKIP
    ...     file.append(keys, intensity, errors, pixels)
    """

    def __init__(
        self,
        path: Path,
        axis: str,
        unit: str,
        intensity_unit: str,
        centres: np.ndarray,
        edges: np.ndarray,
        settings: Mapping[str, object],
    ) -> None:
        self.axis, self.unit, self.intensity_unit = axis, unit, intensity_unit
        self.centres, self.edges = centres, edges
        self._stack = ExitStack()
        self._file = self._stack.enter_context(created(path, FORMAT, VERSION, "the file of profiles"))
        self._file.attrs["default"] = "entry"
        self._entry = self._group(self._file, "entry", "NXentry")
        self._entry.attrs["default"] = "average"
        for name, value in settings.items():
            self._entry.attrs[name] = value
        self._rows = None

    def __enter__(self) -> ProfileFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)

    @staticmethod
    def _group(parent, name: str, kind: str):
        group = parent.create_group(name, track_order=True)
        group.attrs["NX_class"] = kind
        return group

    def _data(self, name: str, first_axis: str | None):
        """Make an NXdata group with the radial axis."""
        group = self._group(self._entry, name, "NXdata")
        axes = [self.axis] if first_axis is None else [first_axis, self.axis]
        group.attrs["signal"] = "intensity"
        group.attrs["axes"] = np.array(axes, dtype=object)
        if first_axis not in (None, "."):
            group.attrs[f"{first_axis}_indices"] = 0
        group.attrs[f"{self.axis}_indices"] = len(axes) - 1
        self._put(group, self.axis, self.centres, self.unit, "centres of the bins")
        self._put(group, f"{self.axis}_edges", self.edges, self.unit, "edges of the bins")
        return group

    @staticmethod
    def _put(group, name: str, values: np.ndarray, unit: str, meaning: str) -> None:
        dataset = group.create_dataset(name, data=values, track_times=False)
        dataset.attrs["units"] = unit
        dataset.attrs["long_name"] = meaning

    def append(
        self, keys: Mapping[str, np.ndarray], intensity: np.ndarray, errors: np.ndarray, pixels: np.ndarray
    ) -> None:
        """Add the profiles of some shots.

        Parameters
        ----------
        keys : mapping of str to ndarray, shape (k,)
            Those of `KEYS`.
        intensity, errors : ndarray, shape (k, n)
            Stored as float32; NaN in bins without a pixel, and errors where there is no error model.
        pixels : ndarray, shape (k, n)
            How many pixels were summed.
        """
        if self._rows is None:
            self._rows = self._data("profiles", ".")
            self._grow("intensity", "f4", self.intensity_unit, "weighted mean of the pixels of each bin")
            self._grow("intensity_errors", "f4", self.intensity_unit, "standard error of the mean")
            self._grow("pixels", "f4", "", "pixels that were summed")
            for name, dtype in KEYS.items():
                self._grow(name, dtype, "", f"{name} of each row", wide=False)
        values = {"intensity": intensity, "intensity_errors": errors, "pixels": pixels, **keys}
        for name, rows in values.items():
            dataset = self._rows[name]
            start = len(dataset)
            dataset.resize(start + len(rows), axis=0)
            dataset[start:] = rows

    def _grow(self, name: str, dtype: str, unit: str, meaning: str, wide: bool = True) -> None:
        tail = (len(self.centres),) if wide else ()
        dataset = self._rows.create_dataset(
            name,
            (0, *tail),
            dtype,
            maxshape=(None, *tail),
            chunks=(ROWS_OF_CHUNK if wide else 4096, *tail),
            track_times=False,
        )
        dataset.attrs["units"] = unit
        dataset.attrs["long_name"] = meaning

    def put_average(
        self, average: Average, group: str | None = None, values: np.ndarray | None = None
    ) -> None:
        """Write the average of the run, or those of groups.

        Parameters
        ----------
        average : Average
            Of shape (n,), or (G, n) with a group.
        group : str or None
            Name of the column whose values make the groups.
        values : ndarray, shape (G,), or None
        """
        data = self._data("average" if group is None else f"average_by_{group}", group)
        if group is not None:
            self._put(data, group, values, "", "value of the group")
        unit = self.intensity_unit
        self._put(data, "intensity", average.intensity, unit, "average over shots")
        self._put(data, "intensity_errors", average.errors, unit, "standard error, from those of the shots")
        self._put(data, "intensity_spread", average.spread, unit, "standard error, from differences of shots")
        self._put(data, "shots", average.shots, "", "shots that filled each bin")
