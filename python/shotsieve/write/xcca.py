"""Angular correlations as NXdata, in ``shotsieve/xcca.h5`` of a reduced run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .nxdata import NxFile

if TYPE_CHECKING:
    import h5py

    from ..measure.angular import AngularCorrelation

FORMAT = "shotsieve angular correlation"
VERSION = 1
FILE_NAME = "xcca.h5"

Axis = tuple[str, str, np.ndarray, np.ndarray]


def write_xcca(
    path: Path,
    settings: Mapping[str, object],
    axis: Axis,
    run: AngularCorrelation,
    by: str | None = None,
    values: np.ndarray | None = None,
    groups: Iterable[AngularCorrelation] = (),
) -> None:
    """Write the correlation of a run, and those of groups, into a file of their own.

    Parameters
    ----------
    path : Path
        Replaced if it exists.
    settings : mapping of str to str, int, float or bool
        Attributes of the entry.
    axis : (str, str, ndarray, ndarray)
        Name of the radial axis, its unit, centres and edges of the rings.
    run : AngularCorrelation
    by : str or None
        Name of the column whose values make the groups.
    values : ndarray, shape (G,), or None
    groups : iterable of AngularCorrelation
        Taken one by one.

    Raises
    ------
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> write_xcca(path, {}, ("q", "q_A^-1", centres, edges), run)    # doctest: +SKIP
    """
    with NxFile(path, FORMAT, VERSION, "the file of angular correlations", settings) as file:
        file.entry.attrs["default"] = "average"
        data = _group(file, "average", axis, run, None)
        file.put(data, "correlation", run.correlation, "", "angular correlation of two rings")
        file.put(data, "pairs", run.pairs, "", "what the sum of products was divided by")
        file.put(data, "shots", np.int64(run.n_frames), "", "shots that were correlated")
        if by is None:
            return
        data = None
        for row, one in enumerate(groups):
            if data is None:
                data = _group(file, f"average_by_{by}", axis, one, by)
                file.put(data, by, values, "", "value of the group")
                shape = (len(values), *one.correlation.shape)
                file.put(data, "correlation", np.full(shape, np.nan, "f4"), "", "as that of the run")
                file.put(data, "shots", np.zeros(len(values), "i8"), "", "shots of the group")
            data["correlation"][row] = one.correlation
            data["shots"][row] = one.n_frames


def _group(file: NxFile, name: str, axis: Axis, like: AngularCorrelation, by: str | None) -> h5py.Group:
    """Make a group with its axes: the group's value, one ring or two, the angle between."""
    radial, unit, centres, edges = axis
    rings = (radial,) if like.correlation.ndim == 2 else (f"{radial}_1", f"{radial}_2")
    data = file.data(name, "correlation", (*([] if by is None else [by]), *rings, "delta"))
    for ring in rings:
        file.put(data, ring, centres, unit, "centres of the rings")
    file.put(data, f"{radial}_edges", edges, unit, "edges of the rings")
    file.put(data, "delta", like.delta, "deg", "angle from the first ring's point to the second's")
    return data
