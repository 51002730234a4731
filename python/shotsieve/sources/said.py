"""What a run is said to lack when it is opened: modules, trains, and shots that go with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import detectors
from ..detectors import Detector
from .base import ShotList, ShotStatus
from .choose import modules_text
from .exdf import RunFile, train_text
from .inputs import Inputs


def module_notes(modules: Sequence[int], inputs: Inputs, found: detectors.Found) -> list[str]:
    """Say which modules are absent in all shots, and whether the run has them.

    Parameters
    ----------
    modules : sequence of int
        Those that the detector has.
    inputs : Inputs
    found : Found
        The detector's data that is read.
    """
    # An object of EXtra-data may leave out modules that the run has.
    recorded = detectors.match({s for f in inputs.files for s in f.instrument})
    there = {m for f in recorded if f.raw == found.raw and f.name == found.name for m in f.modules}
    gone = [m for m in modules if m not in found.modules]
    notes = []
    if absent := [m for m in gone if m not in there]:
        notes.append(f"no file has data of {modules_text(absent)}: absent in all shots")
    if unselected := [m for m in gone if m in there]:
        notes.append(f"{modules_text(unselected)} of the run not selected by the caller: absent in all shots")
    return notes


def train_notes(inputs: Inputs, used: Sequence[RunFile]) -> list[str]:
    """Say which trains were not looked at, are out of order, or are in other files alone.

    Parameters
    ----------
    inputs : Inputs
    used : sequence of RunFile
        The files that frames are read of.
    """
    notes = []
    mixed = [f for f in dict.fromkeys(used) if (f.train_id[1:] <= f.train_id[:-1]).any()]
    if mixed:
        notes.append(f"trainIds are out of order in {len(mixed)} files (first: {mixed[0].path.name}); sorted")
    if inputs.trains is not None:
        notes.append(
            f"{len(inputs.trains)} trains were selected by the caller; the others were not looked at"
        )
        return notes
    seen = np.unique(np.concatenate([f.train_id for f in used]))
    others = [f.train_id[f.good] for f in inputs.files]
    unseen = np.setdiff1d(np.concatenate(others), seen)
    if len(unseen):
        notes.append(f"trains {train_text(unseen)} are in other files of the run, in none of the detector's")
    return notes


def reject_parts_of_trains(d: Detector, shots: ShotList) -> list[str]:
    """Reject the shots of trains that cannot be kept whole, where the format cannot hold a part of a train.

    Parameters
    ----------
    d : Detector
        One that keeps whole trains.
    shots : ShotList
        `status` is changed in place.

    Returns
    -------
    list of str
        What was rejected, and why.
    """
    notes, status, train_id = [], shots.status, shots.train_id
    beside = np.isin(train_id, train_id[status == ShotStatus.INCONSISTENT]) & (status == ShotStatus.OK)
    if beside.any():
        status[beside] = ShotStatus.INCONSISTENT
        notes.append(
            f"{int(beside.sum())} shots stand beside such shots in trains "
            f"{train_text(train_id[beside])}; {d.name} stores whole trains, so they were rejected too"
        )
    # All rows of a file have the same number of cells, so trains with another number do not fit in.
    trains, held = np.unique(train_id[status == ShotStatus.OK], return_counts=True)
    often = np.bincount(held)
    usual = int(np.flatnonzero(often == often.max())[-1]) if len(held) else 0
    if (odd := trains[held != usual]).size:
        other = np.isin(train_id, odd) & (status == ShotStatus.OK)
        status[other] = ShotStatus.INCONSISTENT
        notes.append(
            f"{len(odd)} trains do not hold the usual {usual} shots: {train_text(odd)}; "
            f"{d.name} stores whole trains of one length, so they were rejected"
        )
    return notes
