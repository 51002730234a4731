"""The REDUCTION section of a reduced file: what became of every frame, and checksums of those kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .._version import __version__
from ..keep import kept_misses, unread
from ..table import FATES, ModuleStatus
from .checksums import CHUNK_BYTES
from .litpx import counts_per_train

if TYPE_CHECKING:
    import h5py

    from ..detectors import Detector
    from ..sources.base import ShotList
    from ..table import Table
    from .exdf_file import ExdfFile
    from .labels import Labels

CHECKSUMS = "checksum"
"""Index group of the checksums, beside that of the images."""

SLOT = "slot"
"""Among the checksums: the place of a stored frame in its train, where not all of a train are stored."""

GONE = ("framesDropped", "framesRejected", "framesUnreadable")
"""What beside ``framesKept`` makes up ``framesBefore``."""


def write_making(file: ExdfFile, name: str, params: Mapping[str, Any]) -> None:
    """Write how a file was made: into RUN under `name`, and as attributes of its root."""
    file.run_values(name, params)
    file.root_attributes({"writer": f"shotsieve {__version__}", **params})


def write_trains(
    file: ExdfFile,
    name: str,
    detector: Detector,
    shots: ShotList,
    m: int,
    kept: np.ndarray,
    table: Table | None,
) -> None:
    """Write the numbers of frames of every train, and which memory cells were kept. Promise: exact.

    Parameters
    ----------
    file : ExdfFile
    name : str
        Of the auxiliary source.
    detector : Detector
    shots : ShotList
    m : int
        The module, as a column of ``shots.present``.
    kept : ndarray of int64, shape (K,)
        Its shots that are in the file.
    table : Table or None
        Row for row the shots; without it only what is before and after is told.
    """
    trains = file.train_ids
    group = file.auxiliary("REDUCTION", name, detector.group, np.ones(len(trains)))
    lost = None if table is None else table.module_status[:, m] == ModuleStatus.UNREADABLE
    numbers = numbers_of_trains(
        trains, detector.max_cells, shots.train_id, shots.cell_id, shots.present[:, m], kept, table, lost
    )
    for key, values in numbers.items():
        group[key] = values


def numbers_of_trains(
    trains: np.ndarray,
    max_cells: int,
    train_id: np.ndarray,
    cell_id: np.ndarray,
    present: np.ndarray,
    kept: np.ndarray,
    table: Table | None,
    lost: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return what a file of a module tells of its frames for every train. Promise: exact.

    Parameters
    ----------
    trains : ndarray of uint64, shape (T,)
        Of the file, increasing; each shot that has a place in the index is of one of them.
    max_cells : int
        Memory cells of the detector.
    train_id, cell_id : ndarray, shape (S,)
        Of every shot.
    present : ndarray of bool, shape (S,)
        Whether the module recorded it.
    kept : ndarray of int64, shape (K,)
        Rows of the shots that are in the file.
    table : Table or None
        Row for row the shots; without it only what is before and after is told.
    lost : ndarray of bool, shape (S,), optional
        Whether the module's frame could not be read.

    Returns
    -------
    dict of str to ndarray
        uint32 (T,) for each number of frames; ``framePattern`` uint8 (T, max_cells), 1 for a kept cell.

    Examples
    --------
    >>> ids, cells, here = np.array([7, 7, 9]), np.array([0, 1, 0]), np.ones(3, bool)
    >>> told = numbers_of_trains(np.array([7, 8, 9]), 2, ids, cells, here, np.array([1]), None)
    >>> told["framesBefore"].tolist(), told["framePattern"].tolist()
    ([2, 0, 1], [[0, 1], [0, 0], [0, 0]])
    """
    # Train 0 is padding for every reader of the format.
    counted = train_id > 0
    which = {"framesBefore": counted & present, "framesKept": kept}
    if table is not None:
        which |= accounts_of_frames(table, present, counted, lost)
    numbers = {key: counts_per_train(trains, train_id[chosen]).astype("u4") for key, chosen in which.items()}
    pattern = np.zeros((len(trains), max_cells), "u1")
    cell = cell_id[kept]
    known = (cell >= 0) & (cell < max_cells)
    pattern[np.searchsorted(trains, train_id[kept][known]), cell[known]] = 1
    return {**numbers, "framePattern": pattern}


def write_checksums(
    file: ExdfFile,
    name: str,
    row_trains: np.ndarray,
    digests: Mapping[str, Sequence[bytes]],
    slots: Sequence[int] | None = None,
) -> None:
    """Write the checksum of each stored chunk, row by row as the images: uint8 (rows, 16).

    Parameters
    ----------
    file : ExdfFile
    name : str
        Of the auxiliary source.
    row_trains : ndarray of uint64, shape (rows,)
    digests : mapping of str to sequence of bytes
        By the name of the dataset.
    slots : sequence of int, optional
        Place in its train of each frame, where trains are rows of which only some cells are stored; then
        there is a row of checksums for each stored frame, and none for the others.
    """
    group = file.auxiliary("REDUCTION", name, CHECKSUMS, counts_per_train(file.train_ids, row_trains))
    for plane, found in digests.items():
        # One dataset each, also of a plane that stands in a group of its own.
        group[plane.replace("/", ".")] = np.frombuffer(b"".join(found), "u1").reshape(-1, CHUNK_BYTES)
    if slots is not None:
        group[SLOT] = np.asarray(slots, "u2")


def stored_frames(file: h5py.File, name: str, labels: Labels) -> tuple[np.ndarray, ...] | None:
    """Return which frames of a file of trains are stored, if some are not: row and place of each, int64 (n,).

    Parameters
    ----------
    file : h5py.File
        Open.
    name : str
        Of the module's source.
    labels : Labels
        Of its group of frames.

    Returns
    -------
    rows, slots : ndarray of int64, or None
        None where all frames of the rows are there.
    """
    checksums = file[f"REDUCTION/SHOTSIEVE/{name}/{CHECKSUMS}"]
    if SLOT not in checksums:
        return None
    trains, count = file["INDEX/trainId"][:], file[f"INDEX/SHOTSIEVE/{name}/{CHECKSUMS}/count"][:]
    rows = np.searchsorted(labels.row_train, np.repeat(trains, count.astype("i8")))
    slots = checksums[SLOT][:].astype(np.int64)
    if len(rows) != len(slots) or (
        len(slots) and (slots.max() >= labels.per_row or rows.max() >= len(labels.row_train))
    ):
        raise ValueError(f"{CHECKSUMS}/{SLOT} does not fit the rows of the frames")
    return rows, slots


def accounts_of_frames(
    table: Table, present: np.ndarray, counted: np.ndarray, lost: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return what became of the frames of a module, beside being kept: a bool array (S,) for each key.

    ``framesBefore = framesKept + framesDropped + framesRejected + framesUnreadable`` for every train;
    ``framesMissing`` are those of shots that the module lacks, ``framesUndecided`` and ``framesByChance`` are
    counted inside the others.

    Parameters
    ----------
    table : Table
        Of all shots.
    present, counted : ndarray of bool, shape (S,)
        Whether the module has a frame of the shot; whether the shot has a place in the index.
    lost : ndarray of bool, shape (S,), optional
        Whether that frame could not be read.
    """
    here = counted & present
    asked = table.fate <= FATES.index("dropped")
    unreadable = table.fate == FATES.index("unreadable")
    lost = unreadable if lost is None else unreadable | (lost & asked)
    return {
        "framesDropped": here & (table.fate == FATES.index("dropped")) & ~lost,
        "framesRejected": here & ~asked & ~unreadable,
        "framesUnreadable": here & lost,
        "framesMissing": counted & ~present & asked,
        "framesUndecided": here & asked & (table.verdict == -1) & ~unread(table),
        "framesByChance": here & kept_misses(table),
    }
