"""What of a run cannot be read, where that is a counted loss and no error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import LateLoss, UnreadableData
from ..telling import tell
from .base import ShotList
from .exdf import train_text
from .extents import FrameMap, Loss, find_losses

_SAID = {
    Loss.NEVER_WRITTEN: "never written",
    Loss.UNREADABLE: "cannot be read",
    Loss.DAMAGED: "damaged",
    Loss.UNSTEADY: "cannot be read each time",
}
_SHOWN = 6  # stretches of frames that are named


@dataclass(frozen=True)
class Frames:
    """Frames of a module in one dataset, of one train.

    Attributes
    ----------
    module : int
        Position on the module axis.
    path : Path
        The file.
    name : str
        File and dataset, in words.
    frames : ndarray of int64, shape (n,)
        Of the dataset.
    where : callable
        Gives the map of the dataset, or raises `UnreadableData`.
    """

    module: int
    path: Path
    name: str
    frames: np.ndarray
    where: Callable[[], FrameMap]

    def find_losses(self, reading: bool = False) -> np.ndarray:
        """Return the `Loss` of each, uint8 (n,); see `extents.find_losses`."""
        try:
            return find_losses(self.where(), self.frames, reading=reading)
        except OSError:  # UnreadableData is one
            return np.full(len(self.frames), Loss.UNREADABLE, np.uint8)


FramesOf = Callable[[np.ndarray], Iterable[Frames]]
"""Gives the frames of some shots, which are those of a train, by dataset."""


@dataclass
class Losses:
    """Which modules of which trains cannot be read: found out once per train, before it is first read.

    A file of the European XFEL format has the frames of a train that are kept for a module, or none. So a
    module of which one frame cannot be read is lost in that train, whichever of its shots are asked for, in
    whatever blocks: that makes the loss the same for every order, pass and selection.

    That a disk refuses frames which are stored as they are is seen only when they are asked for: reading all
    of them twice would double the time of runs that are in order. Where frames of the train were given out
    before, that is a `LateLoss`; the rest of a file that has refused once is read before it is given out.

    Attributes
    ----------
    shots : ShotList
    frames : ndarray of bool, shape (S, M)
        What is lost, of the trains that were looked at.
    """

    shots: ShotList
    frames: np.ndarray = field(init=False)
    _seen: set[int] = field(default_factory=set, repr=False)
    _given: set[int] = field(default_factory=set, repr=False)
    _doubted: set[int | Path] = field(default_factory=set, repr=False)  # trains and files
    _met: dict[tuple[int, str, Loss], np.ndarray] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.frames = np.zeros(self.shots.present.shape, bool)

    def begin(self) -> None:
        """Take notice that the run is read from its begin, and what was given out before is thrown away."""
        with self._lock:
            self._given.clear()
            if self._doubted:
                self._seen.clear()

    def take(self, lost: np.ndarray, given: np.ndarray) -> None:
        """Take over from an earlier reader what it could not read, bool (S, M), and gave out, int64 (n,)."""
        with self._lock:
            self.frames |= lost
        self.give(given)

    def doubt(self, trains: np.ndarray) -> None:
        """Read every frame of some trains, uint64 (T,), before one of them is given out."""
        with self._lock:
            self._doubted |= set(trains.tolist())

    def look(self, rows: np.ndarray, frames_of: FramesOf) -> np.ndarray:
        """Return what is lost of some shots, bool (n, M).

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
        frames_of : FramesOf

        Raises
        ------
        LateLoss
            If something of a train is lost of which frames were given out before.
        """
        with self._lock:
            for train in np.unique(self.shots.train_id[rows]).tolist():
                if train not in self._seen:
                    self._seen.add(train)
                    before = self.frames[self._rows(train)]
                    for one in frames_of(self._rows(train)):
                        self._look_at(train, one, not self._doubted.isdisjoint((train, one.path)))
                    if train in self._given and (self.frames[self._rows(train)] != before).any():
                        raise LateLoss("; ".join(self._texts({train})))
        return self.frames[rows]

    def give(self, rows: np.ndarray) -> None:
        """Take notice that frames of some shots, int64 (n,), were read and are given out."""
        with self._lock:
            self._given.update(self.shots.train_id[rows].tolist())

    def read_again(
        self,
        module: int,
        trains: np.ndarray,
        read: Callable[[np.ndarray], None],
        frames_of: FramesOf,
        error: UnreadableData,
    ) -> None:
        """Read train by train what could not be read at once; a module that fails again is lost in the train.

        Parameters
        ----------
        module : int
            Position on the module axis.
        trains : ndarray of uint64, shape (n,)
            Of each frame that was to be read.
        read : callable
            Reads some of these frames, bool (n,).
        frames_of : FramesOf
        error : UnreadableData
            What came of reading all.

        Raises
        ------
        LateLoss
            If frames of such a train were given out before.
        """
        late, lost = [], False
        for train in np.unique(trains).tolist():
            try:
                read(trains == train)
            except UnreadableData as again:
                error, lost = again, True
                if self._lose(train, module, frames_of):
                    late.append(train)
        if not lost:
            tell(f"{error}; it was read again, and then all could be read", once=True)
        if late:
            raise LateLoss(f"{error}; this affects trains {train_text(np.array(late, 'u8'))}") from error

    def _lose(self, train: int, module: int, frames_of: FramesOf) -> bool:
        """Count a module of a train as lost; return whether frames of the train were given out before."""
        with self._lock:
            mine = [one for one in frames_of(self._rows(train)) if one.module == module]
            self._doubted.update(one.path for one in mine)
            found = [self._look_at(train, one, reading=True) for one in mine]
            if not any(found):
                # A disk that refuses some of the time: it is not asked until the answer is the wished one.
                for one in mine:
                    self._note(train, one, Loss.UNSTEADY, one.frames)
            return train in self._given

    def _look_at(self, train: int, one: Frames, reading: bool) -> bool:
        """Note which of some frames cannot be read; return whether there are any."""
        lost = one.find_losses(reading)
        for why in np.unique(lost[lost > 0]).tolist():
            self._note(train, one, Loss(why), one.frames[lost == why])
        return bool(lost.any())

    def _note(self, train: int, one: Frames, why: Loss, frames: np.ndarray) -> None:
        key, rows = (train, one.name, why), self._rows(train)
        self._met[key] = np.union1d(self._met.get(key, frames), frames)
        self.frames[rows, one.module] = self.shots.present[rows, one.module]

    def _rows(self, train: int) -> np.ndarray:
        first, last = np.searchsorted(self.shots.train_id, np.array([train, train + 1], "u8"))
        return np.arange(first, last)

    def notes(self, trains: np.ndarray) -> list[str]:
        """Say what is lost of some trains, uint64 (T,), by file and reason."""
        return self._texts(set(trains.tolist()))

    def _texts(self, here: set[int]) -> list[str]:
        by_file: dict[tuple[str, Loss], list[tuple[int, np.ndarray]]] = {}
        for (train, name, why), frames in self._met.items():
            if train in here:
                by_file.setdefault((name, why), []).append((train, frames))
        return [
            f"{name}: {_frames_text(np.concatenate([frames for _, frames in met]), _SAID[why])}; the module "
            f"counts as unreadable in trains {train_text(np.array([train for train, _ in met], 'u8'))}"
            for (name, why), met in sorted(by_file.items())
        ]


def _frames_text(frames: np.ndarray, said: str) -> str:
    frames = np.unique(frames)
    edges = np.flatnonzero(np.diff(frames) != 1)
    starts, stops = frames[np.r_[0, edges + 1]].tolist(), frames[np.r_[edges, len(frames) - 1]].tolist()
    words = [str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, stops, strict=True)]
    shown = ", ".join(words[:_SHOWN]) + (", ..." if len(words) > _SHOWN else "")
    return f"{len(frames)} frame{'s' if len(frames) > 1 else ''} {said} ({shown})"
