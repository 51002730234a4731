"""What detector files hold beside the pixels goes along into the reduced file of the module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np

if TYPE_CHECKING:
    from ..sources.base import Source
    from ..sources.columns import Column
    from ..sources.groups import Group
    from .exdf_file import ExdfFile

LITPX = "litpx"
"""Group that is written anew: one in the input is of an earlier reduction."""


def carry_groups(file: ExdfFile, source: Source, m: int, name: str, auxiliary: bool) -> None:
    """Copy all groups and run values that stand in the module's files beside its frames.

    Promise: exact, for every train of the file.

    Parameters
    ----------
    file : ExdfFile
    source : Source
    m : int
        Column of ``shots.present``.
    name : str
        Name of the module's source in the output.
    auxiliary : bool
        REDUCTION and ERRATA sources too: they tell of the words that were recorded.

    Raises
    ------
    UnreadableData
        If an input file is damaged.
    """
    beside = source.beside
    if beside is None:
        return
    for group in beside.groups(m, auxiliary):
        if not is_old(group, source, m):
            put_columns(_made(file, group, carried_name(group, source, m, name)), group.columns)
    run = file.file["RUN"]
    for path, (value, dtype, attrs) in beside.run_values(m).items():
        run.create_dataset(path, data=value, dtype=dtype).attrs.update(attrs)


def carry_frame_columns(
    group: h5py.Group, source: Source, m: int, shots: np.ndarray, cells: int | None
) -> None:
    """Copy the kept rows of every other dataset of the frames' group.

    Parameters
    ----------
    group : h5py.Group
        That of the images; what it has already is not copied.
    source : Source
    m : int
        Column of ``shots.present``.
    shots : ndarray of int64, shape (K,) or (R, cells)
        As the rows of the images; -1 is none.
    cells : int or None
        Frames in a row, where rows are trains.
    """
    beside = source.beside
    if beside is None:
        return
    columns = beside.frame_columns(m, shots)
    put_columns(group, {name: column for name, column in columns.items() if name not in group}, cells)


def carried_name(group: Group, source: Source, m: int, name: str) -> str:
    """Return the source a group has in the output, where the module's own has the name `name`."""
    mine = group.section == "INSTRUMENT" and group.source == source.raw_names.get(source.modules[m])
    return name if mine else group.source


def is_old(group: Group, source: Source, m: int) -> bool:
    """Whether a group is written anew instead of being copied."""
    return group.name == LITPX and group.source == source.raw_names.get(source.modules[m])


def put_columns(group: h5py.Group, columns: dict[str, Column], cells: int | None = None) -> None:
    """Write columns as datasets of a group, piece by piece; values of frames as rows of `cells`, if given."""
    for name, column in columns.items():
        if cells is not None and column.of_frames:
            values = column.whole().reshape(-1, cells, *column.tail)
            dataset = group.create_dataset(name, data=values, dtype=column.dtype)
        else:
            dataset = group.create_dataset(name, shape=(column.length, *column.tail), dtype=column.dtype)
            for start, stop, values in column.blocks():
                dataset[start:stop] = values
        dataset.attrs.update(column.attrs)


def _made(file: ExdfFile, group: Group, source: str) -> h5py.Group:
    if group.section == "CONTROL":
        return file.control_group(source, group.counts)
    if group.section == "INSTRUMENT":
        return file.instrument(source, group.name, group.counts)
    return file.auxiliary(group.section, source, group.name, group.counts)
