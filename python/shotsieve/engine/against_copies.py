"""What was copied into a reduced run, against the run it is of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from ..write.carried import carried_name, is_old
from ..write.checksums import sha256_of

if TYPE_CHECKING:
    from ..sources.base import Source
    from ..sources.columns import Column


def changed_files(out: Path, source: Source) -> list[str]:
    """Return what is wrong with the files that were copied as they are."""
    wrong = []
    for path in source.others:
        copy = out / path.name
        if not copy.is_file() or sha256_of(copy) != sha256_of(path):
            wrong.append(f"{path.name} is not the file of the run")
    return wrong


def changed_groups(file: h5py.File, source: Source, m: int, name: str, auxiliary: bool) -> list[str]:
    """Return what is wrong with the groups that were copied into the file of a module.

    Parameters
    ----------
    file : h5py.File
        Open.
    source : Source
    m : int
        The module, as a column of ``shots.present``.
    name : str
        Of its source in the file.
    auxiliary : bool
        Whether REDUCTION and ERRATA sources were copied.
    """
    if source.beside is None:
        return []
    wrong = []
    for group in source.beside.groups(m, auxiliary):
        if is_old(group, source, m):
            continue
        where = f"{carried_name(group, source, m, name)}/{group.name}".rstrip("/")
        index = file.get(f"INDEX/{where}/count")
        if index is None or not np.array_equal(index[:], group.counts):
            wrong.append(f"the index of {where}")
        wrong += changed_columns(file, f"{group.section}/{where}", group.columns)
    for path, (value, _, _) in source.beside.run_values(m).items():
        if f"RUN/{path}" not in file or not _equal(file[f"RUN/{path}"][()], value):
            wrong.append(f"RUN/{path}")
    return [_text(file, what) for what in wrong]


def changed_frame_columns(
    file: h5py.File, where: str, source: Source, m: int, shots: np.ndarray, cells: int | None
) -> list[str]:
    """Return what is wrong with the values beside the frames of a module that were copied row by row.

    Parameters
    ----------
    file : h5py.File
        Open.
    where : str
        Path of the group of the frames.
    source, m, shots, cells
        As for `carry_frame_columns`.
    """
    if source.beside is None:
        return []
    columns = source.beside.frame_columns(m, shots)
    made = {name for name in ("gain", "mask") if name in file[where]} - set(source.detector.planes)
    columns = {name: column for name, column in columns.items() if name not in made}
    return [_text(file, what) for what in changed_columns(file, where, columns, cells)]


def changed_columns(
    file: h5py.File, where: str, columns: dict[str, Column], cells: int | None = None
) -> list[str]:
    """Return the paths of datasets that do not hold what their columns give."""
    wrong = []
    for key, column in columns.items():
        path = f"{where}/{key}"
        rows = column.length // (cells if cells is not None and column.of_frames else 1)
        same = path in file and len(file[path]) == rows
        if same and rows != column.length:
            same = _equal(file[path][()], column.whole().reshape(-1, cells, *column.tail))
        elif same:
            same = all(_equal(file[path][start:stop], values) for start, stop, values in column.blocks())
        if not same:
            wrong.append(path)
    return wrong


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc" and other.dtype.kind in "fc")


def _text(file: h5py.File, what: str) -> str:
    return f"{Path(file.filename).name}: {what} is not what the run has"
