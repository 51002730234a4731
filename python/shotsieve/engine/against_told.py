"""What an output says of its trains and shots, against what the source of the run tells."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from ..accounts import Accounts
from ..check import files_of, reduction_of
from ..errors import DAMAGE
from ..sources.base import ShotStatus
from ..table import ModuleStatus
from ..write import litpx
from ..write.part import Part, PartOfRun
from ..write.reduction import numbers_of_trains

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..table import Table
    from .job import Job

_OF_THE_MAKING = ("bytes_in", "bytes_out", "notes")


def other_accounts(job: Job, stored: Table, side: Path) -> list[str]:
    """Compare the accounts of an output with those that its table and the run give.

    Parameters
    ----------
    job : Job
        Of the run; nothing is read yet.
    stored : Table
        Of the output, of the same shots.
    side : Path
        Folder of ``accounts.json``.

    Returns
    -------
    list of str
        Faults. Notes and numbers of bytes are not compared: they tell how it was made.
    """
    told = json.loads((side / "accounts.json").read_text(encoding="utf-8"))
    now = json.loads(Accounts.from_run(job.source, stored).to_json())
    names = sorted((now.keys() | told.keys()) - {*_OF_THE_MAKING, "ratio"})
    return [
        f"accounts: {name} is {now.get(name)} in the run, the output says {told.get(name)}"
        for name in names
        if now.get(name) != told.get(name)
    ]


def other_trains(job: Job, stored: Table, out: Path) -> list[str]:
    """Compare index and numbers of frames of every data file with the run.

    Parameters
    ----------
    job : Job
        With something to write.
    stored : Table
        Of the output, of the same shots.
    out : Path

    Returns
    -------
    list of str
        Faults: trains that are gone or new, timestamps, flags, numbers of frames, lit pixels.
    """
    source, faults = job.source, []
    every = source.trains.train_id[source.trains.train_id > 0]
    for m, module in enumerate(source.modules):
        if module not in job.modules or not source.shots.present[:, m].any():
            continue
        found = [np.zeros(0, "u8")]
        for path in files_of(out, source.detector, module):
            try:
                with h5py.File(path) as file:
                    name = reduction_of(file, source.detector)
                    if name.startswith(f"{source.name}/"):
                        found.append(file["INDEX/trainId"][:])
                        faults += [f"{path.name}: {fault}" for fault in _of_file(file, name, job, stored, m)]
            except DAMAGE as err:
                faults.append(f"{path.name} cannot be read: {err}")
        trains = np.concatenate(found)
        if not np.array_equal(trains, every):
            gone, new = np.setdiff1d(every, trains), np.setdiff1d(trains, every)
            faults.append(
                f"the index of module {module} has other trains than the run: {_few(gone)} gone, "
                f"{_few(new)} new"
            )
    return faults


def _of_file(file: h5py.File, name: str, job: Job, stored: Table, m: int) -> Iterator[str]:
    source, detector = job.source, job.source.detector
    trains = file["INDEX/trainId"][:]
    part = PartOfRun.of(source, Part.with_trains(source, trains))
    shots, real = part.shots, part.trains.train_id > 0
    if not np.array_equal(part.trains.train_id[real], trains):
        yield "INDEX/trainId has not the trains that the run has from its first to its last"
        return
    if not np.array_equal(file["INDEX/timestamp"][:], part.trains.timestamp[real]):
        yield "INDEX/timestamp is not that of the run"
    suspect = np.isin(trains, shots.train_id[shots.status == ShotStatus.SUSPECT])
    if not np.array_equal(file["INDEX/flag"][:], np.where(suspect, 0, 1)):
        yield "INDEX/flag does not say which trains of the run are suspect"
    table = stored.part(part.rows)
    group = file[f"REDUCTION/SHOTSIEVE/{name}/{detector.group}"]
    present = shots.present[:, m]
    # What is kept was compared with the table before, by the output alone.
    kept = np.zeros(0, "i8")
    lost = table.module_status[:, m] == ModuleStatus.UNREADABLE
    told = numbers_of_trains(
        trains, detector.max_cells, shots.train_id, shots.cell_id, present, kept, table, lost
    )
    for key in sorted(told.keys() - {"framesKept", "framePattern"}):
        if not np.array_equal(group[key][:], told[key]):
            yield f"{key} is not what the run gives"
    lit = litpx.collect(table, shots.present)
    if lit is not None:
        yield from _status(file, name, job, replace(lit, values={}), m)


def _status(file: h5py.File, name: str, job: Job, lit: litpx.LitPixels, m: int) -> Iterator[str]:
    """Status of every shot in the group of lit pixels; its values are those of the table, as was seen."""
    detector, made = job.source.detector, {}
    now = file[f"INSTRUMENT/{name}/litpx/status"][:]
    if detector.layout == "trains":
        litpx.write_trains(made, lit, m, detector.cell_key or litpx.CELL, now.shape[1])
    else:
        litpx.write_frames(made, lit, m, detector.cell_key or litpx.CELL)
    if not np.array_equal(now, made["status"]):
        yield "litpx/status does not say which shots of the run the module recorded"


def _few(trains: np.ndarray) -> str:
    if not len(trains):
        return "none"
    return ", ".join(map(str, trains[:3].tolist())) + (" ..." if len(trains) > 3 else "")
