"""Averages of frames as NXdata, in ``shotsieve/averages.h5`` of a reduced run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..measure.frame_stats import FrameStats
from .nxdata import NxFile

FORMAT = "shotsieve averages"
VERSION = 1
FILE_NAME = "averages.h5"


@dataclass(frozen=True)
class Groups:
    """What the groups of averages are.

    Attributes
    ----------
    by : str or None
        What makes the groups; None has one of all shots.
    values : ndarray of float64, shape (G,)
    meaning : str
        Of the values.
    edges : tuple of float, length G + 1, or None
        Where they are bins.
    shots : ndarray of int64, shape (G,)
        In each of them.
    """

    by: str | None
    values: np.ndarray
    meaning: str
    edges: tuple[float, ...] | None
    shots: np.ndarray


def write_averages(
    path: Path,
    settings: Mapping[str, object],
    groups: Groups,
    found: Iterable[FrameStats],
    shape: tuple[int, ...],
    unit: str,
) -> None:
    """Write the statistics of all groups into a file of their own.

    Promise: exact; the same statistics give the same bytes.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    settings : mapping of str to str, int, float or bool
        Attributes of the entry.
    groups : Groups
    found : iterable of FrameStats
        One group after the other, of shape (n_pixels,): all of them may take more memory than there is.
    shape : tuple of int
        (modules, ss, fs).
    unit : str

    Raises
    ------
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> write_averages(path, {}, groups, found, (16, 512, 128), "photon")    # doctest: +SKIP
    """
    with NxFile(path, FORMAT, VERSION, "the file of averages", settings) as file:
        file.entry.attrs["default"] = "frames"
        by = groups.by
        group = file.data("frames", "mean", ("." if by is None else by, ".", ".", "."))
        if by is not None:
            file.put(group, by, groups.values, "", groups.meaning)
        if groups.edges is not None:
            file.put(group, "edges", np.asarray(groups.edges), "", f"edges of the bins of {by}")
        file.put(group, "shots", groups.shots, "", "shots of the group")
        datasets = {
            name: file.room(group, name, (len(groups.values), *shape), dtype, of_unit, meaning)
            for name, of_unit, dtype, meaning in (
                ("mean", unit, "f4", "mean of the valid values"),
                ("variance", f"{unit}^2", "f4", "variance of the valid values, over count - 1"),
                ("maximum", unit, "f4", "largest valid value"),
                ("count", "", "i4", "valid values"),
            )
        }
        for row, of_group in enumerate(found):
            for name, dataset in datasets.items():
                dataset[row] = getattr(of_group, name).reshape(shape).astype(dataset.dtype)
            file.check()
