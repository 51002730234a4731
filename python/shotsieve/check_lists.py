"""Photon lists that stand in the files of a reduced run: whose they are, and whether they are as written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np

from .errors import DAMAGE
from .write.checksums import chunk_checksum
from .write.photon_lists import CHECKSUM, LIST, MASK_LIST, MASKS, SHOTS, checksum_of

if TYPE_CHECKING:
    from .detectors import Detector
    from .table import Table

WHOLE_SHARE, WHOLE_SEED = "photon_list.whole", "photon_list.seed"
"""Settings of an output with photon lists: which shots have their frames too."""

_SHOWN = 5  # faults of a kind that are named one by one


def wrong_lists(
    file: h5py.File, source: str, detector: Detector, table: Table, kept: np.ndarray
) -> tuple[list[str], int]:
    """Compare the lists of a file of a module with the table, and with their checksums.

    Parameters
    ----------
    file : h5py.File
        Open.
    source : str
        Of the module.
    detector : Detector
    table : Table
    kept : ndarray of bool, shape (S,)
        Shots that should be in it.

    Returns
    -------
    faults : list of str
    chunks : int
        Whole masks and lists whose checksums were compared.
    """
    group = file[f"INSTRUMENT/{source}"]
    shots = {name: values[:] for name, values in group[SHOTS].items()}
    rows = np.flatnonzero(kept)
    for what, told in (("train", table.train_id), ("pulse", table.pulse_id), ("cell", table.cell_id)):
        if not np.array_equal(shots[f"{what}Id"], told[rows]):
            return [
                f"it has photon lists of {len(shots['trainId'])} shots, and the table {len(rows)} that were "
                f"kept; their {what} ids differ"
            ], 0
    masks = group[MASKS]["mask"]
    faults = []
    for first, number, entries in (("first", "number", LIST), ("maskFirst", "maskNumber", MASK_LIST)):
        counts = shots[number].astype("u8")
        if not np.array_equal(shots[first], np.cumsum(counts) - counts):
            faults.append(f"{SHOTS}/{first} does not fit {SHOTS}/{number}")
        for name, dataset in group[entries].items():
            if len(dataset) != counts.sum():
                faults.append(f"{entries}/{name} has {len(dataset)} entries, {SHOTS} counts {counts.sum()}")
    if (shots["mask"] >= len(masks)).any():
        faults.append(f"{SHOTS}/mask tells of masks that are not there: {MASKS} has {len(masks)}")
    if faults:
        return faults, 0
    told = file[f"REDUCTION/SHOTSIEVE/{source}"]
    whole = [row.tobytes() for row in told[MASKS][CHECKSUM][:]]
    for row, digest in enumerate(whole):
        if _stored(masks, row) != digest:
            faults.append(f"mask {row} of {MASKS} is not what was written")
    wrong = _wrong_shots(group, shots, whole, told[SHOTS][CHECKSUM][:], detector.pixels)
    for k in wrong[:_SHOWN]:
        faults.append(
            f"the photon list of train {shots['trainId'][k]} pulse {shots['pulseId'][k]} is not what was "
            "written"
        )
    if len(wrong) > _SHOWN:
        faults.append(f"{len(wrong) - _SHOWN} more photon lists are not what was written")
    return faults, len(rows) + len(whole)


def _wrong_shots(
    group: h5py.Group, shots: dict[str, np.ndarray], whole: list[bytes], sums: np.ndarray, pixels: int
) -> list[int]:
    """Return the shots whose lists have another checksum, or entries that no frame can have."""
    wrong = []
    lists, differs = group[LIST], group[MASK_LIST]
    step = 256
    for start in range(0, len(sums), step):
        mine = range(start, min(start + step, len(sums)))
        ends = [
            (int(shots[first][mine[0]]), int(shots[first][mine[-1]]) + int(shots[number][mine[-1]]))
            for first, number in (("first", "number"), ("maskFirst", "maskNumber"))
        ]
        try:
            held = [lists[name][slice(*ends[0])] for name in ("pixel", "count")]
            held += [differs[name][slice(*ends[1])] for name in ("pixel", "bits")]
        except DAMAGE:
            wrong += mine
            continue
        for k in mine:
            at, beside = int(shots["first"][k]) - ends[0][0], int(shots["maskFirst"][k]) - ends[1][0]
            one = [array[at : at + int(shots["number"][k])] for array in held[:2]]
            mask = [array[beside : beside + int(shots["maskNumber"][k])] for array in held[2:]]
            right = checksum_of(one, mask, whole[shots["mask"][k]]) == sums[k].tobytes()
            place = one[0].astype("i8")
            ordered = (np.diff(place) > 0).all() and place.max(initial=-1) < pixels and (one[1] > 0).all()
            if not (right and ordered):
                wrong.append(k)
    return wrong


def _stored(masks: h5py.Dataset, row: int) -> bytes:
    try:
        return chunk_checksum(masks.id.read_direct_chunk((row, *(0,) * (masks.ndim - 1)))[1])
    except DAMAGE:
        return b""
