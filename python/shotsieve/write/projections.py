"""Projections of regions of interest as NXdata, in ``shotsieve/projections.h5`` of a reduced run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..side_file import opened
from .nxdata import NxFile

FORMAT = "shotsieve projections"
VERSION = 1
FILE_NAME = "projections.h5"


class ProjectionFile(NxFile):
    """A file of projections that grows block by block, with a group for each region; see `NxFile`.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    regions : mapping of str to (str, ndarray)
        Of every region the axis that is kept, "ss" or "fs", and the places of its values on it, shape (n,).
    unit : str
        Of the frames.
    settings : mapping of str to str, int, float or bool
        Attributes of the entry.

    Examples
    --------
    >>> with ProjectionFile(path, {"line": ("fs", np.arange(5, 100))}, "keV", {}) as file:    # doctest: +SKIP
    ...     file.append("line", keys, sums, pixels)
    """

    def __init__(
        self,
        path: Path,
        regions: Mapping[str, tuple[str, np.ndarray]],
        unit: str,
        settings: Mapping[str, object],
    ) -> None:
        super().__init__(path, FORMAT, VERSION, "the file of projections", settings)
        self.entry.attrs["default"] = next(iter(regions))
        for name, (axis, places) in regions.items():
            group = self.data(name, "sum", (".", axis))
            self.put(group, axis, places, "pixel", "place in the slab")
            self.grow(group, "sum", len(places), "f8", unit, "sum of the valid pixels")
            self.grow(group, "pixels", len(places), "f4", "", "pixels that were summed")
            self.grow_keys(group)

    def append(self, name: str, keys: Mapping[str, np.ndarray], sums: np.ndarray, pixels: np.ndarray) -> None:
        """Add the projections of some shots of one region.

        Parameters
        ----------
        name : str
        keys : mapping of str to ndarray, shape (k,)
            Those of `shotsieve.write.nxdata.KEYS`.
        sums, pixels : ndarray of float64, shape (k, n)
            NaN where they are unknown.
        """
        self.extend(self.entry[name], {"sum": sums, "pixels": pixels} | dict(keys))

    def take(self, path: Path) -> None:
        """Add the rows of another such file."""
        with opened(path, path.name, FORMAT, VERSION, "the file of projections") as other:
            for name, group in self.entry.items():
                self.take_rows(group, other[f"entry/{name}"])
