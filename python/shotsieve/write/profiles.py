"""Profiles of shots and their averages as NXdata, in ``shotsieve/profiles.h5`` of a reduced run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..side_file import opened
from .nxdata import NxFile

if TYPE_CHECKING:
    import h5py

    from ..measure.average import Average

FORMAT = "shotsieve profiles"
VERSION = 1
FILE_NAME = "profiles.h5"


class ProfileFile(NxFile):
    """A file of profiles that grows block by block; see `NxFile`.

    Group ``profiles`` has a row for every shot that was measured, ``average`` is that of the run, and
    ``average_by_<name>`` has a row for every group.

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
        super().__init__(path, FORMAT, VERSION, "the file of profiles", settings)
        self.axis, self.unit, self.intensity_unit = axis, unit, intensity_unit
        self.centres, self.edges = centres, edges
        self.entry.attrs["default"] = "average"
        self._rows: h5py.Group | None = None

    def _radial(self, name: str, first_axis: str | None) -> h5py.Group:
        """Make a group of curves with their axis."""
        axes = (self.axis,) if first_axis is None else (first_axis, self.axis)
        group = self.data(name, "intensity", axes)
        self.put(group, self.axis, self.centres, self.unit, "centres of the bins")
        self.put(group, f"{self.axis}_edges", self.edges, self.unit, "edges of the bins")
        return group

    def append(
        self, keys: Mapping[str, np.ndarray], intensity: np.ndarray, errors: np.ndarray, pixels: np.ndarray
    ) -> None:
        """Add the profiles of some shots.

        Parameters
        ----------
        keys : mapping of str to ndarray, shape (k,)
            Those of `shotsieve.write.nxdata.KEYS`.
        intensity, errors : ndarray, shape (k, n)
            Stored as float32; NaN in bins without a pixel, and errors where there is no error model.
        pixels : ndarray, shape (k, n)
            How many pixels were summed.
        """
        curves = {"intensity": intensity, "intensity_errors": errors, "pixels": pixels}
        self.extend(self._shots(), curves | dict(keys))

    def take(self, path: Path) -> None:
        """Add the profiles of another such file."""
        with opened(path, path.name, FORMAT, VERSION, "the file of profiles") as other:
            if "profiles" in other["entry"]:
                with self.writing():
                    rows = self._shots()
                self.take_rows(rows, other["entry/profiles"])

    def _shots(self) -> h5py.Group:
        """Return the group that has a row for every shot; it begins with the first."""
        if self._rows is None:
            n, unit = len(self.centres), self.intensity_unit
            self._rows = self._radial("profiles", ".")
            self.grow(self._rows, "intensity", n, "f4", unit, "weighted mean of the pixels of each bin")
            self.grow(self._rows, "intensity_errors", n, "f4", unit, "standard error of the mean")
            self.grow(self._rows, "pixels", n, "f4", "", "pixels that were summed")
            self.grow_keys(self._rows)
        return self._rows

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
        data = self._radial("average" if group is None else f"average_by_{group}", group)
        if group is not None:
            self.put(data, group, values, "", "value of the group")
        unit = self.intensity_unit
        self.put(data, "intensity", average.intensity, unit, "average over shots")
        self.put(data, "intensity_errors", average.errors, unit, "standard error, from those of the shots")
        self.put(data, "intensity_spread", average.spread, unit, "standard error, from differences of shots")
        self.put(data, "shots", average.shots, "", "shots that filled each bin")
