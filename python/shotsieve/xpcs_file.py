"""Correlations over time of a reduced run, as xarray."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .side_file import opened, xarray_for
from .write.xpcs import FILE_NAME, FORMAT, VERSION

if TYPE_CHECKING:
    import xarray

_COORDS = ("q", "q_low", "q_high", "phi_low", "phi_high")


def open_xpcs(path: str | os.PathLike[str]) -> xarray.Dataset:
    """Read ``shotsieve/xpcs.h5``; needs xarray.

    Parameters
    ----------
    path : path-like
        The file, or the output folder of a reduction.

    Returns
    -------
    xarray.Dataset
        Of the average ``g2``, ``g2_errors`` (bin, lag) and ``trains`` (bin); ``g2_of_train`` (train, bin,
        lag), ``flags``, ``intensity``, ``pixels`` (train, bin); for each stride ``baseline_S``,
        ``baseline_S_errors`` (bin) and ``baseline_S_of_train`` (train, bin); where they were made
        ``two_time`` and ``two_time_errors`` (bin, time_1, time_2). How sums were made is told by ``method``,
        ``two_time_method`` and ``baseline_S_method`` (train), str: events, matrix, lags, event_lags, or
        empty where there are none; files of an earlier version lack them. Coordinates: ``lag`` in frames,
        ``seconds`` (lag), ``train``, ``q`` and the edges of the bins. Attributes are the settings.

    Raises
    ------
    BadInput
        If the file is something else, or xarray is not installed.
    UnreadableData
        If it cannot be read.

    Examples
    --------
    >>> shotsieve.open_xpcs("OUT")["g2"].isel(bin=0).plot()    # doctest: +SKIP
    """
    xr = xarray_for("open_xpcs")
    with opened(path, FILE_NAME, FORMAT, VERSION, "the file of correlations over time") as file:
        entry = file["entry"]
        average, trains = entry["average"], entry["trains"]
        of_train, curve = ("train", "bin"), ("bin", "lag")
        found = {name: (curve, average[name][()]) for name in ("g2", "g2_errors")}
        found |= {
            "trains": ("bin", average["trains"][()]),
            "g2_of_train": (("train", *curve), trains["g2"][()]),
        }
        found |= {name: (of_train, trains[name][()]) for name in ("flags", "intensity", "pixels")}
        found |= {name: ("train", trains[name][()].astype("U")) for name in trains if name.endswith("method")}
        for name in entry:
            if name.startswith("baseline_"):
                for end in ("", "_errors"):
                    found[f"{name}{end}"] = ("bin", entry[name][f"all_pairs{end}"][:, 0])
                found[f"{name}_of_train"] = (of_train, trains[name][()])
        coords = {"lag": average["lag_frames"][()], "seconds": ("lag", average["lag"][()])}
        coords |= {"train": trains["trainId"][()]}
        coords |= {name: ("bin", average[name][()]) for name in _COORDS if name in average}
        if "two_time" in entry:
            data, square = entry["two_time"], ("bin", "time_1", "time_2")
            found |= {f"two_time{end}": (square, data[f"correlation{end}"][()]) for end in ("", "_errors")}
            coords |= {axis: data[axis][()] for axis in square[1:]}
        return xr.Dataset(found, coords, dict(entry.attrs))
