"""Everything that the detector's own files hold beside its frames, for those who copy it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ..errors import DAMAGE, UnreadableData
from .columns import Column, Taken, plain_attributes
from .exdf import RunFile, opened, reason
from .groups import Group, auxiliary_groups, join_group

if TYPE_CHECKING:
    from ..detectors import Detector
    from .plan import Plan

OURS = "SHOTSIEVE"
"""First word of what an earlier reduction said of itself: it is told anew, of this one."""


class Beside:
    """What the files of a detector hold beside its frames.

    A file belongs to the first module with frames in it: what is no module's own (control data, run values,
    auxiliary sources) is given out with that module, once.

    Parameters
    ----------
    detector : Detector
    names : sequence of str
        Recorded name of each module on axis 1; empty where no file has it.
    files : sequence of sequence of RunFile
        Of each module, in reading order.
    frames : sequence of sequence of int
        Frames of the module in each of these files.
    steps : sequence of sequence of ndarray or None
        In parallel gain: how far it is from a frame in each of them to that of the next stage.
    plan : Plan
    detectors : set of str
        Sources that hold frames of any detector.
    notes : list of str
        Gets what cannot be copied, in words.

    Examples
    --------
    >>> [group.name for group in source.beside.groups(3)]    # doctest: +SKIP
    ['detector', 'header', 'trailer']
    """

    def __init__(
        self,
        detector: Detector,
        names: Sequence[str],
        files: Sequence[Sequence[RunFile]],
        frames: Sequence[Sequence[int]],
        steps: Sequence[Sequence[np.ndarray | None]],
        plan: Plan,
        detectors: set[str],
        notes: list[str],
    ) -> None:
        self._steps = steps
        self._detector, self._names, self._files, self._frames = detector, names, files, frames
        self._plan, self._detectors, self._notes = plan, detectors, notes
        self._trains = plan.trains.train_id[plan.trains.train_id > 0]
        self._first_shot = 0
        self._owner: dict[Path, int] = {}
        for m in np.flatnonzero(plan.shots.present.any(axis=0)).tolist():
            for file in files[m]:
                self._owner.setdefault(file.path, m)

    def part(self, trains: np.ndarray, first_shot: int) -> Beside:
        """Return the same for some trains alone, whose shots are counted from the first of them.

        Parameters
        ----------
        trains : ndarray of uint64
        first_shot : int
            Index of their first shot among all.
        """
        other = copy.copy(self)
        other._trains, other._first_shot = self._trains[np.isin(self._trains, trains)], first_shot
        return other

    def groups(self, m: int, auxiliary: bool = True) -> Iterator[Group]:
        """Yield the index groups: those of the module beside its frames, then what is no module's own.

        Parameters
        ----------
        m : int
            Column of ``shots.present``.
        auxiliary : bool
            REDUCTION and ERRATA sources too.

        Yields
        ------
        Group
            For every train with a number, in their order.

        Raises
        ------
        UnreadableData
            If a file is damaged, or its datasets are not those of the first.
        """
        name, having = self._names[m], {}
        for file in self._distinct(m):
            for group in file.instrument.get(name, ()):
                having.setdefault(("INSTRUMENT", name, group), []).append(file)
        having.pop(("INSTRUMENT", name, self._detector.group), None)
        for key in sorted(having):
            yield join_group(having[key], *key, self._trains)
        having = {}
        for file in self._owned(m):
            listed = [("CONTROL", source, "") for source in file.control]
            for source in file.instrument.keys() - self._detectors:
                listed += [("INSTRUMENT", source, group) for group in file.instrument[source]]
            if auxiliary:
                with opened(file.path) as f:
                    listed += [key for key in auxiliary_groups(f) if not _ours(key[1])]
            for key in listed:
                having.setdefault(key, []).append(file)
        for key in sorted(having):
            yield join_group(having[key], *key, self._trains)

    def run_values(self, m: int) -> dict[str, tuple[np.ndarray, Any, dict[str, Any]]]:
        """Return the values at the start of the run that stand in the files: path -> (value, dtype, attrs).

        Paths are those below ``RUN``; of several files the first that has a value says it. `m` is as in
        `groups`.
        """
        found: dict[str, tuple[np.ndarray, Any, dict[str, Any]]] = {}

        def take(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and not _ours(name):
                found.setdefault(name, (item[()], item.dtype, plain_attributes(item)))

        for file in self._owned(m):
            with opened(file.path) as f:
                try:
                    if "RUN" in f:
                        f["RUN"].visititems(take)
                except DAMAGE as err:
                    raise UnreadableData(f"{file.path}: RUN cannot be read ({reason(err)})") from err
        return found

    def frame_columns(self, m: int, shots: np.ndarray) -> dict[str, Column]:
        """Return the other datasets of the group of the frames: one value per frame, or per train of frames.

        Parameters
        ----------
        m : int
            Column of ``shots.present``.
        shots : ndarray of int64, shape (K,) or (R, cells)
            Of the module, for detectors that store frames, or trains; -1 is none. In parallel gain a shot may
            stand there three times, for its frames in high, medium and low gain.

        Returns
        -------
        dict of str to Column
            By name. Of trains those with a value per frame have R * cells rows, else R.
        """
        matrix = shots if shots.ndim == 2 else shots[:, None]
        detector, base = self._detector, self._plan.base[m]
        where = self._plan.where[matrix + self._first_shot, m].astype(np.int64)
        every = np.where(matrix >= 0, where, -1)
        stage = _turns(shots)[:, None] if detector.encoding == "parallel" else None
        known = {*detector.planes, "trainId", detector.pulse_key, detector.cell_key}
        columns: dict[str, list] = {}
        used = 0
        for number, (file, frames) in enumerate(zip(self._files[m], self._frames[m], strict=True)):
            mine = (every >= base[number]) & (every < base[number + 1])
            if not frames or (len(shots) and not mine.any()):
                continue
            used += 1
            there = self._plan.where[:, m]
            there = there[(there >= base[number]) & (there < base[number + 1])]
            with opened(file.path) as f:
                group = f[f"INSTRUMENT/{self._names[m]}/{detector.group}"]
                inside = frames // len(group[detector.planes[0]])
                frame, step = every - base[number], self._steps[m][number]
                last = there.max() - base[number]
                if step is not None:
                    frame = np.where(mine, frame + stage * step[np.where(mine, frame, 0)], frame)
                    last += 2 * step[last]
                rows = int(last) // inside + 1
                for name, kind in _datasets(group, known, rows, inside, detector.layout == "trains").items():
                    columns.setdefault(name, []).append((file, kind, mine, frame, inside))
        made = {}
        for name, parts in columns.items():
            kinds = [(kind[:3], inside) for _, kind, _, _, inside in parts if kind]
            if len(kinds) < used or any(kind != kinds[0] for kind in kinds):
                note = (
                    f"{detector.group}.{name} of {self._names[m]} is not copied: its files do not all have "
                    "it in one form and with a value for every row"
                )
                if note not in self._notes:  # by another part
                    self._notes.append(note)
                continue
            made[name] = self._column(m, name, parts, matrix)
        return made

    def _column(self, m: int, name: str, parts: list, matrix: np.ndarray) -> Column:
        tail, dtype, of_frames, attrs = parts[0][1]
        taken = []
        for file, _, mine, frame, inside in parts:
            if of_frames:
                to = np.flatnonzero(mine.ravel())
                taken.append(Taken(file, frame.ravel()[to], to))
            else:  # a value of the whole row: that of the train's first frame
                lead = np.where(mine, frame, np.iinfo(np.int64).max).min(axis=1)
                to = np.flatnonzero(mine.any(axis=1))
                taken.append(Taken(file, lead[to] // inside, to))
        per_row = parts[0][4] if of_frames else 1
        path = f"INSTRUMENT/{self._names[m]}/{self._detector.group}/{name}"
        length = matrix.size if of_frames else len(matrix)
        return Column(path, length, tail, dtype, taken, per_row, of_frames, attrs)

    def _distinct(self, m: int) -> list[RunFile]:
        return list(dict.fromkeys(self._files[m]))

    def _owned(self, m: int) -> list[RunFile]:
        return [file for file in self._distinct(m) if self._owner.get(file.path) == m]


def _turns(shots: np.ndarray) -> np.ndarray:
    """Which time it is that a shot stands in a list in which each stands once, or three times: 0, 1, 2."""
    turn = np.zeros(len(shots), np.int64)
    if len(np.unique(shots)) < len(shots):
        turn[np.argsort(shots, kind="stable")] = np.arange(len(shots)) % 3
    return turn


def _ours(name: str) -> bool:
    return name.partition("/")[0] == OURS


def _datasets(
    group: h5py.Group, known: set[str], rows: int, inside: int, trains: bool
) -> dict[str, tuple | None]:
    """Datasets of a group: name -> (shape of a value, dtype, of frames, attrs); None with too few rows."""
    found: dict[str, tuple | None] = {}

    def take(name: str, item: object) -> None:
        if not isinstance(item, h5py.Dataset) or name in known:
            return
        if not item.shape or len(item) < rows:
            found[name] = None
            return
        of_frames = not trains or item.shape[1:2] == (inside,)
        tail = item.shape[1 + (trains and of_frames) :]
        found[name] = (tail, item.dtype, of_frames, plain_attributes(item))

    group.visititems(take)
    return found
