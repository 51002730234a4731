"""Frames that stand in the files of a reduced run: whose they are, and whether they are what was written."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from .check_lists import WHOLE_SEED, WHOLE_SHARE, wrong_lists
from .check_told import thirds_of
from .cpus import usable_cpus
from .errors import DAMAGE
from .keep import kept_whole
from .sources.parallel_gain import in_thirds
from .write.checksums import chunk_checksum
from .write.labels import read_labels
from .write.photon_lists import SHOTS
from .write.reduction import CHECKSUMS, GONE, SLOT, stored_frames

if TYPE_CHECKING:
    from .check import Report
    from .detectors import Detector
    from .table import Table

CHUNKS_TOGETHER = 64


def check_frames(
    file: h5py.File,
    name: str,
    source: str,
    detector: Detector,
    table: Table,
    kept: np.ndarray,
    settings: Mapping[str, Any],
    report: Report,
) -> None:
    """Check that a file of a module has the frames, or lists, of the shots that the table tells as kept.

    Parameters
    ----------
    file : h5py.File
        Open.
    name : str
        Of the file.
    source : str
        Of the module.
    detector : Detector
    table : Table
    kept : ndarray of bool, shape (S,)
        Shots that should be in it.
    settings : mapping
        Of ``settings.json``.
    report : Report
        Faults are added.
    """
    images = file[f"INSTRUMENT/{source}/{detector.group}"]
    told = file[f"REDUCTION/SHOTSIEVE/{source}/{detector.group}"]
    labels = read_labels(images, detector)
    count = file[f"INDEX/{source}/{detector.group}/count"][:] * labels.per_row
    stored = stored_frames(file, source, labels)
    if WHOLE_SHARE in settings:
        wrong, chunks = wrong_lists(file, source, detector, table, kept)
        report.faults += [f"{name}: {fault}" for fault in wrong]
        report.chunks += chunks
        by_train = detector.layout == "trains" and stored is None
        share, seed = settings[WHOLE_SHARE], settings[WHOLE_SEED]
        kept = kept & kept_whole(share, seed, table.train_id, table.pulse_id, by_train)
    here, kept = slice(None), np.flatnonzero(kept)
    if thirds_of(file, source):  # three frames of every shot; what is told is of shots
        count, kept = count // 3, in_thirds(kept, table.train_id[kept])
    if stored is not None:
        count = file[f"INDEX/SHOTSIEVE/{source}/{CHECKSUMS}/count"][:]
        here = stored[0] * labels.per_row + stored[1]
    if WHOLE_SHARE in settings:  # what became of the frames is told of the lists
        count = file[f"INDEX/{source}/{SHOTS}/count"][:]
    if not np.array_equal(told["framesKept"][:], count):
        number = told["framesKept"][:].sum()
        report.faults.append(f"{name}: framesKept is {number}, and {count.sum()} are there")
    sums = told["framesKept"][:] + sum(told[key][:] for key in GONE)
    for train in file["INDEX/trainId"][:][sums != told["framesBefore"][:]][:3]:
        report.faults.append(f"{name}: the frames of train {train} do not add up")
    if (told["framePattern"][:].sum(axis=1) > told["framesKept"][:]).any():
        report.faults.append(f"{name}: framePattern has more frames than were kept")
    keys = [("train", labels.train[here], table.train_id), ("cell", labels.cell[here], table.cell_id)]
    if detector.layout != "trains":
        keys.append(("pulse", labels.pulse[here], table.pulse_id))
    for what, found, expected in keys:
        if not np.array_equal(found, expected[kept]):
            report.faults.append(
                f"{name}: it has {len(found)} frames, and the table {len(kept)} that were kept; their "
                f"{what} ids differ"
            )
            break
    checksums = file[f"REDUCTION/SHOTSIEVE/{source}/{CHECKSUMS}"]
    # A list: h5py holds its lock while somebody iterates, and a thread of the pool that frees an object of
    # h5py would wait for it for ever.
    for plane, sums in list(checksums.items()):
        if plane == SLOT:
            continue
        dataset = images[plane.replace(".", "/")]
        starts = np.zeros((len(sums), dataset.ndim), "i8")
        starts[:, 0] = np.arange(len(sums)) if stored is None else stored[0]
        if stored is not None:
            starts[:, 1] = stored[1]
            if (chunks := dataset.id.get_num_chunks()) != len(sums):
                report.faults.append(f"{name}: {plane} has {chunks} chunks, and {len(sums)} frames were kept")
        for number in wrong_chunks(dataset, starts, sums[:], report):
            row = int(starts[number, 0])
            place = f"row {row}" if stored is None else f"row {row} place {starts[number, 1]}"
            report.faults.append(
                f"{name}: {plane} of {place} (train {images['trainId'][row]}) is not what was written"
            )


def wrong_chunks(dataset: h5py.Dataset, starts: np.ndarray, sums: np.ndarray, report: Report) -> list[int]:
    """Return which chunks have other stored bytes than their checksum says; they begin at `starts`."""
    wrong: list[int] = []

    def stored(number: int) -> bytes:
        try:
            return dataset.id.read_direct_chunk(tuple(starts[number].tolist()))[1]
        except DAMAGE:
            return b""

    with ThreadPoolExecutor(usable_cpus()) as pool:
        for start in range(0, len(sums), CHUNKS_TOGETHER):
            rows = range(start, min(start + CHUNKS_TOGETHER, len(sums)))
            found = pool.map(chunk_checksum, [stored(row) for row in rows])
            wrong += [row for row, digest in zip(rows, found, strict=True) if digest != sums[row].tobytes()]
    report.chunks += len(sums)
    return wrong
