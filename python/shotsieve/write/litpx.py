"""The measures of every shot of a run, as rows beside the reduced images of each module."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..table import ModuleStatus

if TYPE_CHECKING:
    from ..table import Table
    from .exdf_file import ExdfFile

CELL = "cellId"
"""Name of the cell dataset where the images of a detector have none."""

# Names of the facility's own group, so that its tools read ours; a score needs all three.
COLUMNS = {"litPixels": "lit_pixels", "unmaskedPixels": "unmasked_pixels", "totalIntensity": "intensity"}
STATUS_MEANING = (
    "0 ok; 1 module missing; 2 no constants for the cell; 3 unreadable; 4 rejected before it was measured."
    " Where it is not 0 the counts are unknown, stored as 0 lit of 0 unmasked pixels"
)


@dataclass(frozen=True)
class LitPixels:
    """Rows of the ``litpx`` group: every distinct shot of the run, whatever became of it.

    All modules get all rows, also those of trains they missed (status 1): EXtra-data's ``trains()`` stacks
    the group over modules and fails where their numbers of rows differ.

    Attributes
    ----------
    train_id, pulse_id : ndarray of uint64 (R,)
        Keys, sorted and without repetition (readers match by binary search).
    cell_id : ndarray of int32 (R,)
        Memory cells.
    status : ndarray of uint8 (R, M)
        See `STATUS_MEANING`.
    values : dict of str to ndarray of int64 (R, M)
        ``litPixels``, ``unmaskedPixels``, ``totalIntensity``; 0 where the status is not 0.
    """

    train_id: np.ndarray
    pulse_id: np.ndarray
    cell_id: np.ndarray
    status: np.ndarray
    values: dict[str, np.ndarray]


def collect(table: Table, present: np.ndarray) -> LitPixels | None:
    """Take the rows of the ``litpx`` group out of a table.

    Parameters
    ----------
    table : shotsieve.table.Table
        One row per shot of the run, sorted by (train_id, pulse_id).
    present : ndarray of bool (S, M)
        Which modules recorded which shot.

    Returns
    -------
    LitPixels or None
        None when lit pixels were not measured.

    Notes
    -----
    Promise: exact. The intensity is truncated to an integer, as the facility's group has it.

    Examples
    --------
    >>> rows = collect(table, source.shots.present)    # doctest: +SKIP
    """
    if not set(COLUMNS.values()) <= table.measures.keys():
        return None
    train_id, pulse_id, rows = table.train_id, table.pulse_id, distinct(table)
    status = np.where(present[rows], table.module_status[rows], np.uint8(ModuleStatus.MISSING))
    ok = status == ModuleStatus.OK
    values = {
        name: np.trunc(np.where(ok, table.measures[column][rows], 0)).astype("i8")
        for name, column in COLUMNS.items()
    }
    return LitPixels(train_id[rows], pulse_id[rows], table.cell_id[rows], status, values)


def distinct(table: Table) -> np.ndarray:
    """Return one row of a table for each key (train_id, pulse_id), in the order of the keys.

    Parameters
    ----------
    table : Table

    Returns
    -------
    ndarray of int64 (R,)
        Of a key that was recorded twice the row that was measured, if any was.

    Examples
    --------
    >>> from shotsieve.table import Table
    >>> table = Table([7, 7, 7], [4, 0, 4], [0, 1, 2], modules=(0,), module_pixels=100)
    >>> table.set_module_status(2, [0])
    >>> distinct(table).tolist()
    [1, 2]
    """
    order = np.lexsort((~table.ok().any(axis=1), table.pulse_id, table.train_id))
    ids = np.stack([table.train_id[order], table.pulse_id[order]])
    return order[np.concatenate([[True], (ids[:, 1:] != ids[:, :-1]).any(axis=0)])] if len(order) else order


def counts_per_train(train_ids: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Count rows by train.

    Parameters
    ----------
    train_ids : ndarray of uint64 (T,)
        Trains of the file, increasing.
    rows : ndarray of uint64 (R,)
        Train of each row; each must be among `train_ids`.

    Returns
    -------
    ndarray of int64 (T,)
        Rows of each train.

    Examples
    --------
    >>> counts_per_train(np.array([4, 5, 6]), np.array([4, 4, 6])).tolist()
    [2, 0, 1]
    """
    return np.bincount(np.searchsorted(train_ids, rows), minlength=len(train_ids))


def write(
    file: ExdfFile, name: str, lit: LitPixels, module: int, cell_key: str, cells: int, unit: str
) -> None:
    """Write the group of one module into its file.

    Parameters
    ----------
    file : ExdfFile
    name : str
        Of the module's source.
    lit : LitPixels
        Rows of the run.
    module : int
        Index of the module on the module axis.
    cell_key : str
        Name of the cell dataset.
    cells : int
        Places in a row of a detector that stores trains; 0 where rows are frames.
    unit : str
        Of intensities.

    Examples
    --------
    >>> write(file, "DET/CORR/3CH0:output", lit, 3, "cellId", 0, "keV")    # doctest: +SKIP
    """
    group = file.instrument(name, "litpx")
    if cells:
        train = write_trains(group, lit, module, cell_key, cells)
    else:
        train = write_frames(group, lit, module, cell_key)
    file.set_counts(name, "litpx", counts_per_train(file.train_ids, train))
    group["status"].attrs["meaning"] = STATUS_MEANING
    group["totalIntensity"].attrs["units"] = unit


def write_frames(group: MutableMapping[str, Any], lit: LitPixels, module: int, cell_key: str) -> np.ndarray:
    """Write one row per shot.

    Parameters
    ----------
    group : h5py.Group or dict
        The ``litpx`` group of one module.
    lit : LitPixels
        Rows of the run.
    module : int
        Index of the module on the module axis.
    cell_key : str
        Name of the cell dataset, ``"cellId"``.

    Returns
    -------
    ndarray of uint64
        Train of each row written.

    Examples
    --------
    >>> write_frames(group, lit, 3, "cellId")    # doctest: +SKIP
    """
    # Train 0 is padding for every reader of the format.
    real = lit.train_id > 0
    group["trainId"], group["pulseId"] = lit.train_id[real], lit.pulse_id[real]
    group[cell_key] = lit.cell_id[real].astype("u2")
    for name, values in lit.values.items():
        group[name] = values[real, module]
    group["status"] = lit.status[real, module]
    return lit.train_id[real]


def write_trains(
    group: MutableMapping[str, Any], lit: LitPixels, module: int, cell_key: str, cells: int
) -> np.ndarray:
    """Write one row per train with the shots on the second axis, for detectors that store whole trains.

    Parameters
    ----------
    group, lit, module, cell_key
        As in `write_frames`; the cell dataset is ``"memoryCell"`` here.
    cells : int
        Shots per train: the length of the second axis. Slots without a shot have status 1.

    Returns
    -------
    ndarray of uint64
        Train of each row written.

    Examples
    --------
    >>> write_trains(group, lit, 0, "memoryCell", 16)    # doctest: +SKIP
    """
    keep = (lit.train_id > 0) & (lit.pulse_id < cells)
    trains, row = np.unique(lit.train_id[keep], return_inverse=True)
    slot = lit.pulse_id[keep].astype(int)
    group["trainId"] = trains
    columns = {name: (values[:, module], 0, "i8") for name, values in lit.values.items()}
    columns |= {
        cell_key: (lit.cell_id, 0, "u1"),
        "status": (lit.status[:, module], ModuleStatus.MISSING, "u1"),
    }
    for name, (values, fill, dtype) in columns.items():
        array = np.full((len(trains), cells), fill, dtype)
        array[row, slot] = values[keep]
        group[name] = array
    return trains
