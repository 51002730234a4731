"""The list of peaks outside the program: HDF5 and pandas."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import BadInput, UnreadableData
from .measure.peaks import FILTERS
from .peak_list import PEAKS, SHOTS, PeakList
from .side_file import FOLDER, created, opened, put

if TYPE_CHECKING:
    import pandas

FORMAT = "shotsieve peaks"
VERSION = 1
FILE_NAME = "peaks.h5"
"""Name of the list in the folder ``shotsieve`` of a reduced run."""

_PANELS = "ss_start, ss_stop, fs_start, fs_stop of the panels that were searched, in the slab; stop exclusive"


def save(peaks: PeakList, path: str | os.PathLike[str]) -> None:
    """Write a list of peaks as one HDF5 file.

    Groups ``shots`` (one value per shot; ``first`` has one more and tells which peaks are a shot's) and
    ``peaks`` (one value per peak). Every dataset has the attributes ``unit`` and ``meaning``.

    Parameters
    ----------
    peaks : PeakList
    path : path-like
        The file; it is replaced if it exists.

    Raises
    ------
    OutputError
        If the file cannot be written.

    Notes
    -----
    Promise: exact; the same list gives the same bytes (no dates are stored, the order is fixed).

    Examples
    --------
    >>> save(peaks, "peaks.h5")    # doctest: +SKIP
    """
    described = peaks.describe()
    with created(path, FORMAT, VERSION, "the list of peaks") as out:
        file = out.file
        file.attrs["modules"] = np.array(peaks.modules, "i4")
        file.attrs["module_shape"] = np.array(peaks.module_shape, "i4")
        file.attrs["unit"] = peaks.unit
        file.attrs["filters"] = ",".join(FILTERS)
        for title, columns in (("shots", SHOTS), ("peaks", PEAKS)):
            group = file.create_group(title, track_order=True)
            for name in columns:
                put(group, name, getattr(peaks, name), described[name].unit, described[name].meaning)
        if peaks.panels is not None:
            put(file, "panels", peaks.panels, "pixel", _PANELS)


def load(path: str | os.PathLike[str]) -> PeakList:
    """Read a list of peaks that `save` wrote.

    Parameters
    ----------
    path : path-like
        The file, or the output folder of a reduction (its ``shotsieve/peaks.h5`` is read).

    Returns
    -------
    PeakList
        Equal to the one that was saved.

    Raises
    ------
    BadInput
        If the file is something else, or of a newer version.
    UnreadableData
        If it cannot be read, or is damaged.

    Examples
    --------
    >>> peaks = load("red/r0001")    # doctest: +SKIP
    """
    if Path(path).is_dir() and not (Path(path) / FOLDER / FILE_NAME).exists():
        raise BadInput(f"{path} holds no list of peaks ({FOLDER}/{FILE_NAME}): [measure.peaks] makes one")
    with opened(path, FILE_NAME, FORMAT, VERSION, "the list of peaks") as file:
        columns = {name: file["shots"][name][()] for name in SHOTS}
        columns |= {name: file["peaks"][name][()] for name in PEAKS}
        about = {
            "modules": file.attrs["modules"].tolist(),
            "module_shape": file.attrs["module_shape"].tolist(),
            "unit": str(file.attrs["unit"]),
            "panels": file["panels"][()] if "panels" in file else None,
        }
    try:
        return PeakList(**columns, **about)
    except BadInput as err:
        raise UnreadableData(f"the list of peaks {path} is damaged: {err}") from err


def to_dataframe(peaks: PeakList) -> pandas.DataFrame:
    """Return one row per peak; shots without peaks have none.

    Parameters
    ----------
    peaks : PeakList

    Returns
    -------
    pandas.DataFrame
        shot (row of the table), train_id, pulse_id, cell_id, the columns of a peak, and slab_ss. Units are in
        ``frame.attrs["units"]``.

    Raises
    ------
    ImportError
        If pandas is not installed.

    Examples
    --------
    >>> to_dataframe(peaks).groupby("module").size()    # doctest: +SKIP
    """
    import pandas as pd

    shot = peaks.shot()
    columns = {"shot": shot, **{n: getattr(peaks, n)[shot] for n in ("train_id", "pulse_id", "cell_id")}}
    columns |= {name: getattr(peaks, name) for name in PEAKS}
    out = pd.DataFrame({**columns, "slab_ss": peaks.slab_ss()})
    units = {name: column.unit for name, column in peaks.describe().items() if column.unit}
    out.attrs["units"] = {**units, "slab_ss": "pixel"}
    return out
