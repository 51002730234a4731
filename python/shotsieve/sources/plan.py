"""From the rows that every module recorded to one list of shots: which belong together, which are odd.

What happens to every odd thing a run can hold (counts go to ``Plan.notes`` and to the status of the shots):

===========================================  =================================================================
In the files                                 Outcome
===========================================  =================================================================
modules disagree on the frames of a train    matched by pulseId; a shot that a module with data in that train
                                             lacks is INCONSISTENT, the other shots of the train are OK
equal counts, different pulseIds             as above: only pulses that all of these modules have are OK
cellIds of one shot differ                   INCONSISTENT: constants are looked up by cellId
module has no rows in a train                ``present`` is False for it in that train; the shots are OK
module file absent                           ``present`` is False for it everywhere
a train is empty in all modules              counted as missing shots: the usual number of shots of a train
a train is short in all modules              noted, when at least half of the trains agree on the usual number
all trains are empty                         error
sequence file without trains                 nothing happens
same train in two files of a module,         rows of the earlier file are used, those of the later are
or twice in one file                         DUPLICATE
pulseId twice in one train of a module       the first row is used, the others are DUPLICATE
trainIds out of order                        sorted
pulseIds not sorted in a train               sorted
train flagged suspect in all files with data SUSPECT
train flagged suspect in some of them        the modules of those files count as absent in that train
suspect train without data                   listed, but no shots are expected of it
===========================================  =================================================================

A shot has one status; SUSPECT goes before DUPLICATE before INCONSISTENT. No row is ever forgotten: each is
behind one module of one shot, or belongs to a suspect train of a module that is then absent (and noted).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import BadInput
from .base import ShotList, ShotStatus, TrainList
from .exdf import train_text

MAX_KEY = 1 << 62


@dataclass(frozen=True)
class Part:
    """The rows of one module in one file.

    Attributes
    ----------
    module : int
        Position of the module on axis 1 of the source.
    train_id, timestamp : ndarray of uint64, shape (T,)
    good : ndarray of bool, shape (T,)
        False for suspect trains.
    first, count : ndarray of int64, shape (T,)
        Frames of each train: ``first .. first + count``.
    pulse_id : ndarray of uint64, shape (N,), or None
        Of every frame of the dataset; None: the index in the train is the key.
    cell_id : ndarray of int32, shape (N,)
    frames : int
        Length of the dataset in frames.
    """

    module: int
    train_id: np.ndarray
    timestamp: np.ndarray
    good: np.ndarray
    first: np.ndarray
    count: np.ndarray
    pulse_id: np.ndarray | None
    cell_id: np.ndarray
    frames: int


@dataclass(frozen=True)
class Plan:
    """All shots of a run, and behind which frame each of them is.

    Attributes
    ----------
    shots : ShotList
    trains : TrainList
    where : ndarray of int32 or int64, shape (S, M)
        Frame of a module: counted through all its parts one after the other, -1 where absent.
    base : list of ndarray of int64
        For each module: first number of each of its parts in `where`, and the end.
    missing_shots : int
    notes : list of str
    """

    shots: ShotList
    trains: TrainList
    where: np.ndarray
    base: list[np.ndarray]
    missing_shots: int
    notes: list[str] = field(default_factory=list)


@dataclass
class _Rows:
    """The frames of one module that have a train: number, train, pulse and cell of each."""

    frame: np.ndarray
    train: np.ndarray
    pulse: np.ndarray
    cell: np.ndarray
    turn: np.ndarray
    copy: np.ndarray


def build_plan(parts: Sequence[Part], modules: Sequence[int]) -> Plan:
    """Match the rows of all modules into shots.

    Parameters
    ----------
    parts : sequence of Part
        In reading order: of two files that hold the same train the earlier one counts.
    modules : sequence of int
        Numbers of the modules along the module axis; those without any part are absent everywhere.

    Returns
    -------
    Plan

    Raises
    ------
    BadInput
        When no module has any frame in any train.

    Notes
    -----
    Promise: exact; the order of the modules and of the rows in the files does not matter.

    Examples
    --------
    >>> one = np.array([1], "u8")
    >>> first, count, pulses = np.array([0]), np.array([2]), np.array([4, 0], "u8")
    >>> part = Part(0, one, one, one > 0, first, count, pulses, np.arange(2), 2)
    >>> build_plan([part], [0]).shots.pulse_id
    array([0, 4], dtype=uint64)
    """
    notes: list[str] = []
    n_modules = len(modules)
    train_id, timestamp, real = _all_trains(parts)
    good, bad = _data_by_train(parts, train_id, n_modules)
    if not (good.any() or bad.any()):
        raise BadInput(
            f"all {len(train_id)} trains are empty in all modules ({train_text(train_id)}): the detector "
            "recorded nothing in this run"
        )
    suspect = bad.any(1) & ~good.any(1)
    _note_suspect(notes, train_id, suspect, good, bad)

    rows: list[_Rows | None] = []
    base: list[np.ndarray] = []
    for module in range(n_modules):
        own = [p for p in parts if p.module == module]
        base.append(np.concatenate([[0], np.cumsum([p.frames for p in own])]).astype(np.int64))
        rows.append(_module_rows(own, base[-1], train_id, suspect, f"module {modules[module]}", notes))
    keys, key = _keys(rows, notes, train_id)
    shots, where = _match(rows, keys, key, train_id, suspect, base, n_modules, notes)
    expected, missing = _expected(shots, train_id, real, notes)
    _note_absent(notes, good | bad, modules, train_id)
    return Plan(shots, TrainList(train_id, timestamp, expected), where, base, missing, notes)


def _all_trains(parts: Sequence[Part]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every train of any part: ids, timestamps, and whether any file takes it for a real one."""
    ids = np.concatenate([p.train_id for p in parts] or [np.zeros(0, np.uint64)]).astype(np.uint64)
    train_id, at = np.unique(ids, return_inverse=True)
    timestamp, real = np.zeros(len(train_id), np.uint64), np.zeros(len(train_id), bool)
    if len(ids):
        np.maximum.at(timestamp, at, np.concatenate([p.timestamp for p in parts]))
        np.logical_or.at(real, at, np.concatenate([p.good for p in parts]))
    return train_id, timestamp, real


def _data_by_train(parts: Sequence[Part], train_id: np.ndarray, n_modules: int):
    """(T, M): modules with data in a train, by files that call it good, and by files that call it suspect."""
    good = np.zeros((len(train_id), n_modules), bool)
    bad = np.zeros_like(good)
    for p in parts:
        at = np.searchsorted(train_id, p.train_id)
        full = p.count > 0
        good[at[full & p.good], p.module] = True
        bad[at[full & ~p.good], p.module] = True
    return good, bad


def _module_rows(
    own: list[Part], base: np.ndarray, train_id: np.ndarray, suspect: np.ndarray, name: str, notes: list[str]
) -> _Rows | None:
    """Frames of one module, each with how often its train was there before (`turn`)."""
    seen = np.zeros(len(train_id), np.int64)
    got: list[tuple[np.ndarray, ...]] = []
    unsorted = 0
    for p, begin in zip(own, base, strict=False):
        at = np.searchsorted(train_id, p.train_id)
        # Of a train that some file calls good, only such files are used.
        use = np.flatnonzero((p.count > 0) & (p.good | suspect[at]))
        if len(use) == 0:
            continue
        train, count = at[use], p.count[use]
        # The same train can also stand twice in one file: number these in their order.
        order = np.argsort(train, kind="stable")
        turn = np.empty(len(use), np.int64)
        turn[order] = _rank(train[order])
        turn += seen[train]
        np.add.at(seen, train, 1)
        within = _within(count)
        frame = np.repeat(p.first[use], count) + within
        slot = np.repeat(train, count)
        pulse = within.astype(np.uint64) if p.pulse_id is None else p.pulse_id[frame]
        back = (pulse[1:] <= pulse[:-1]) & (within[1:] > 0)
        unsorted += len(np.unique(slot[1:][back & (pulse[1:] < pulse[:-1])]))
        got.append((frame + begin, slot, pulse, p.cell_id[frame], np.repeat(turn, count)))
    if not got:
        return None
    if unsorted:
        notes.append(f"{name}: pulseIds not in order in {unsorted} trains; they were sorted")
    frame, train, pulse, cell, turn = (np.concatenate(c) for c in zip(*got, strict=True))
    return _Rows(frame, train, pulse, cell, turn, np.zeros(0, np.int64))


def _keys(rows: list[_Rows | None], notes: list[str], train_id: np.ndarray):
    """One integer per frame that orders by train, pulse and copy; frames of each module sorted by it.

    Returns the integer keys per module, and (pulses, copies per pulse): how they are put together.
    """
    some = [r for r in rows if r is not None]
    largest = max(int(r.pulse.max()) for r in some)
    pulses = None
    if largest >= 1 << 24:
        # Bogus pulse IDs can be anything: number those that occur.
        pulses = np.unique(np.concatenate([np.unique(r.pulse) for r in some]))
    n_pulses = largest + 1 if pulses is None else len(pulses)
    turns = 1 + max(int(r.turn.max()) for r in some)
    for r in some:
        number = (r.pulse if pulses is None else np.searchsorted(pulses, r.pulse)).astype(np.int64)
        k = (r.train * n_pulses + number) * turns + r.turn
        order = np.argsort(k, kind="stable")
        k = k[order]
        r.frame, r.train, r.pulse, r.cell, r.turn = (
            a[order] for a in (r.frame, r.train, r.pulse, r.cell, r.turn)
        )
        r.copy = _rank(k)
    repeats = 1 + max(int(r.copy.max()) for r in some)
    copies = turns * repeats
    if (len(train_id) * n_pulses + 1) * copies >= MAX_KEY:
        raise BadInput(
            f"{len(train_id)} trains, {n_pulses} pulses and {copies} repetitions of a pulse are more than a "
            "run can hold: its IDs are damaged"
        )
    keys: list[np.ndarray | None] = []
    for r in rows:
        if r is None:
            keys.append(None)
            continue
        number = (r.pulse if pulses is None else np.searchsorted(pulses, r.pulse)).astype(np.int64)
        r.copy = r.turn * repeats + r.copy
        keys.append((r.train * n_pulses + number) * copies + r.copy)
    return keys, (pulses, n_pulses, copies)


def _match(rows, keys, key, train_id, suspect, base, n_modules: int, notes: list[str]):
    """Put the frames of all modules with the same key into one shot, and give it its status."""
    pulses, n_pulses, copies = key
    every = _union([k for k in keys if k is not None])
    n = len(every)
    train, rest = np.divmod(every, n_pulses * copies)
    pulse, copy = np.divmod(rest, copies)
    largest = max(int(b[-1]) for b in base)
    where = np.full((n, n_modules), -1, np.int32 if largest < 2**31 else np.int64)
    cell = np.full(n, -1, np.int32)
    differ = np.zeros(n, bool)
    # Modules that have data in a train must have each of its shots.
    lacking = np.zeros(n, bool)
    for module, (r, k) in enumerate(zip(rows, keys, strict=True)):
        if r is None:
            continue
        at = slice(None) if len(k) == n else np.searchsorted(every, k)
        where[at, module] = r.frame
        mine = np.full(n, -1, np.int32)
        mine[at] = r.cell
        have = where[:, module] >= 0
        fresh = have & (cell < 0)
        differ |= have & (cell >= 0) & (cell != mine)
        cell[fresh] = mine[fresh]
        active = np.zeros(len(train_id), bool)
        active[r.train[r.copy == 0]] = True
        lacking |= active[train] & ~have
    status = np.zeros(n, np.uint8)
    status[lacking | differ] = ShotStatus.INCONSISTENT
    status[copy > 0] = ShotStatus.DUPLICATE
    status[suspect[train]] = ShotStatus.SUSPECT
    _note_odd(notes, status, lacking, differ, train_id[train])
    shots = ShotList(
        train_id=train_id[train],
        pulse_id=pulse.astype(np.uint64) if pulses is None else pulses[pulse],
        cell_id=cell,
        present=where >= 0,
        status=status,
    )
    return shots, where


def _expected(shots: ShotList, train_id: np.ndarray, real: np.ndarray, notes: list[str]):
    """Shots per train: those it holds, or the usual number for a real train without any."""
    held = np.bincount(np.searchsorted(train_id, shots.train_id), minlength=len(train_id))
    proper = (shots.status == ShotStatus.OK) | (shots.status == ShotStatus.INCONSISTENT)
    counts = np.bincount(np.searchsorted(train_id, shots.train_id[proper]), minlength=len(train_id))
    filled = counts > 0
    # The most frequent number; of several equally frequent ones the largest, to claim no loss too small.
    usual = 0
    if filled.any():
        often = np.bincount(counts[filled])
        usual = int(np.flatnonzero(often == often.max())[-1])
        short = filled & (counts < usual)
        # Without a majority nobody can say which number of shots was meant.
        if short.any() and 2 * often[usual] >= filled.sum():
            notes.append(
                f"{int(short.sum())} trains hold fewer shots than the usual {usual}: "
                f"{train_text(train_id[short])}; not counted as missing"
            )
    empty = (held == 0) & real
    expected = np.where(empty, usual, held).astype(np.int32)
    missing = usual * int(empty.sum())
    if empty.any():
        notes.append(
            f"{int(empty.sum())} of {len(train_id)} trains are empty in all modules: "
            f"{train_text(train_id[empty])}; counted as {missing} missing shots ({usual} a train, as usual)"
        )
    return expected, missing


def _rank(ordered: np.ndarray) -> np.ndarray:
    """How many equal values stand before each value of a sorted array."""
    n = len(ordered)
    starts = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if n else np.zeros(0, bool)
    first = np.maximum.accumulate(np.where(starts, np.arange(n), 0)) if n else np.zeros(0, np.int64)
    return np.arange(n) - first


def _within(count: np.ndarray) -> np.ndarray:
    """0..count for each count, one after the other."""
    ends = np.cumsum(count)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - count, count)


def _union(keys: list[np.ndarray]) -> np.ndarray:
    """Sorted union of sorted arrays; nearly always they are all equal, which costs only a comparison."""
    every = max(keys, key=len)
    other = [k for k in keys if k is not every and not (len(k) == len(every) and np.array_equal(k, every))]
    return np.unique(np.concatenate([every, *other])) if other else every


def _note_suspect(notes: list[str], train_id, suspect, good, bad) -> None:
    if suspect.any():
        notes.append(
            f"{int(suspect.sum())} suspect trains (flag 0): {train_text(train_id[suspect])}; rejected"
        )
    partly = bad & good.any(1)[:, None]
    if partly.any():
        notes.append(
            f"{int(partly.any(1).sum())} trains are suspect (flag 0) in the files of some modules only: "
            f"{train_text(train_id[partly.any(1)])}; these modules count as absent there"
        )


def _note_odd(notes: list[str], status, lacking, differ, train) -> None:
    odd = status == ShotStatus.INCONSISTENT
    for which, why in (
        (status == ShotStatus.DUPLICATE, "have a train or pulse that was recorded before"),
        (odd & lacking, "are missing in modules that have other shots of the train"),
        (odd & differ & ~lacking, "have different cellIds in different modules"),
    ):
        if which.any():
            notes.append(f"{int(which.sum())} shots {why}, in trains {train_text(train[which])}; rejected")


def _note_absent(notes: list[str], data: np.ndarray, modules: Sequence[int], train_id: np.ndarray) -> None:
    """Modules that missed trains in which others have data."""
    full = data.any(1)
    for at, module in enumerate(modules):
        gone = full & ~data[:, at]
        if gone.any() and data[:, at].any():
            trains = train_text(train_id[gone])
            notes.append(f"module {module} has no data in {int(gone.sum())} trains: {trains}")
