"""Angular correlations of a reduced run, as xarray."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .side_file import opened, xarray_for
from .write.xcca import FILE_NAME, FORMAT, VERSION

if TYPE_CHECKING:
    import xarray

_BY = "average_by_"


def open_xcca(path: str | os.PathLike[str]) -> xarray.Dataset:
    """Read ``shotsieve/xcca.h5``; needs xarray.

    Parameters
    ----------
    path : path-like
        The file, or the output folder of a reduction.

    Returns
    -------
    xarray.Dataset
        Of all shots ``correlation`` and ``pairs``, float64 (q_1, q_2, delta), or (q, delta) with
        ``diagonal``, and ``shots``; where ``average`` named a column NAME, ``correlation_by_NAME``, float32
        (NAME, q_1, q_2, delta), and ``shots_by_NAME`` (NAME). Coordinates: centres of the rings, in the unit
        that `units` of each says, ``q_edges`` (edge), ``delta`` in degrees, and the values of NAME. With
        another radial axis ``two_theta`` or ``r`` stands in place of ``q``. Attributes are the settings.

    Raises
    ------
    BadInput
        If the file is something else, or xarray is not installed.
    UnreadableData
        If it cannot be read.

    Notes
    -----
    Promise: exact; the numbers of the file. All of it is read into memory.

    Examples
    --------
    >>> shotsieve.open_xcca("OUT")["correlation"].isel(q_1=40, q_2=40).plot()    # doctest: +SKIP
    """
    xr = xarray_for("open_xcca")
    with opened(path, FILE_NAME, FORMAT, VERSION, "the file of angular correlations") as file:
        entry = file["entry"]
        average = entry["average"]
        axes = [str(name) for name in average.attrs["axes"]]
        found = {name: (axes, average[name][()]) for name in ("correlation", "pairs")}
        found["shots"] = ((), average["shots"][()])
        coords = {axis: (axis, average[axis][()], {"units": average[axis].attrs["units"]}) for axis in axes}
        edges = next(name for name in average if name.endswith("_edges"))
        coords[edges] = ("edge", average[edges][()], {"units": average[edges].attrs["units"]})
        for name in entry:
            if name.startswith(_BY):
                group, by = entry[name], name.removeprefix(_BY)
                coords[by] = group[by][()]
                found[f"correlation_by_{by}"] = ([by, *axes], group["correlation"][()])
                found[f"shots_by_{by}"] = (by, group["shots"][()])
        return xr.Dataset(found, coords, dict(entry.attrs))
