"""The REDUCTION section of a reduced file: what became of every frame, and checksums of those kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..keep import kept_misses, unread
from ..table import FATES
from .checksums import CHUNK_BYTES
from .litpx import counts_per_train

if TYPE_CHECKING:
    import h5py

    from ..detectors import Detector
    from ..sources.base import ShotList
    from ..table import Table
    from .exdf_file import ExdfFile

CHECKSUMS = "checksum"
"""Index group of the checksums, beside that of the images."""

SLOT = "slot"
"""Among the checksums: the place of a stored frame in its train, where not all of a train are stored."""

GONE = ("framesDropped", "framesRejected", "framesUnreadable")
"""What beside ``framesKept`` makes up ``framesBefore``."""


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
    # Train 0 is padding for every reader of the format.
    counted = shots.train_id > 0
    which = {"framesBefore": counted & shots.present[:, m], "framesKept": kept}
    if table is not None:
        which |= accounts_of_frames(table, shots.present[:, m], counted)
    for key, chosen in which.items():
        group[key] = counts_per_train(trains, shots.train_id[chosen]).astype("u4")
    pattern = np.zeros((len(trains), detector.max_cells), "u1")
    cell = shots.cell_id[kept]
    known = (cell >= 0) & (cell < detector.max_cells)
    pattern[np.searchsorted(trains, shots.train_id[kept][known]), cell[known]] = 1
    group["framePattern"] = pattern


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
        group[plane] = np.frombuffer(b"".join(found), "u1").reshape(-1, CHUNK_BYTES)
    if slots is not None:
        group[SLOT] = np.asarray(slots, "u2")


def stored_frames(
    file: h5py.File, name: str, images: h5py.Group, cell_key: str
) -> tuple[np.ndarray, ...] | None:
    """Return which frames of a file of trains are stored, if some are not: row and place of each, int64 (n,).

    Parameters
    ----------
    file : h5py.File
        Open.
    name : str
        Of the module's source.
    images : h5py.Group
        Its group of frames.
    cell_key : str

    Returns
    -------
    rows, slots : ndarray of int64, or None
        None where all frames of the rows are there.
    """
    checksums = file[f"REDUCTION/SHOTSIEVE/{name}/{CHECKSUMS}"]
    if SLOT not in checksums:
        return None
    trains, count = file["INDEX/trainId"][:], file[f"INDEX/SHOTSIEVE/{name}/{CHECKSUMS}/count"][:]
    rows = np.searchsorted(images["trainId"][:], np.repeat(trains, count.astype("i8")))
    slots = checksums[SLOT][:].astype(np.int64)
    cells = images[cell_key].shape[1]
    if len(rows) != len(slots) or (
        len(slots) and (slots.max() >= cells or rows.max() >= len(images[cell_key]))
    ):
        raise ValueError(f"{CHECKSUMS}/{SLOT} does not fit the rows of the frames")
    return rows, slots


def accounts_of_frames(table: Table, present: np.ndarray, counted: np.ndarray) -> dict[str, np.ndarray]:
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
    """
    here = counted & present
    asked = table.fate <= FATES.index("dropped")
    unreadable = table.fate == FATES.index("unreadable")
    return {
        "framesDropped": here & (table.fate == FATES.index("dropped")),
        "framesRejected": here & ~asked & ~unreadable,
        "framesUnreadable": here & unreadable,
        "framesMissing": counted & ~present & asked,
        "framesUndecided": here & asked & (table.verdict == -1) & ~unread(table),
        "framesByChance": here & kept_misses(table),
    }
