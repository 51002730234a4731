"""Averages of frames as NXdata, in ``shotsieve/averages.h5`` of a reduced run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..measure.frame_stats import FrameStats
from .nxdata import NxFile

FORMAT = "shotsieve averages"
VERSION = 1
FILE_NAME = "averages.h5"


class AverageFile(NxFile):
    """A file of averages of frames; see `NxFile`.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    settings : mapping of str to str, int, float or bool
        Attributes of the entry.

    Examples
    --------
    >>> with AverageFile(path, {}) as file:    # doctest: +SKIP
    ...     file.put_stats("cell", cells, found, (16, 512, 128), "photon")
    """

    def __init__(self, path: Path, settings: Mapping[str, object]) -> None:
        super().__init__(path, FORMAT, VERSION, "the file of averages", settings)
        self.entry.attrs["default"] = "frames"

    def put_stats(
        self, by: str | None, values: np.ndarray, found: FrameStats, shape: tuple[int, ...], unit: str
    ) -> None:
        """Write the statistics of all groups.

        Parameters
        ----------
        by : str or None
            What makes the groups; None has one of all shots.
        values : ndarray of float64, shape (G,)
        found : FrameStats
            Of shape (G, n_pixels).
        shape : tuple of int
            (modules, ss, fs).
        unit : str
        """
        axes = ("." if by is None else by, ".", ".", ".")
        group = self.data("frames", "mean", axes)
        if by is not None:
            self.put(group, by, values, "", "value of the group")
        for name, of_unit, dtype, meaning in (
            ("mean", unit, "f4", "mean of the valid values"),
            ("variance", f"{unit}^2", "f4", "variance of the valid values, over count - 1"),
            ("maximum", unit, "f4", "largest valid value"),
            ("count", "", "i4", "valid values"),
        ):
            values_of = getattr(found, name).reshape(-1, *shape).astype(dtype)
            self.put(group, name, values_of[: len(values)], of_unit, meaning)
