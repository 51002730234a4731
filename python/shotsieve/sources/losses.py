"""What of a run cannot be read, where that is a counted loss and no error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from .base import ShotList
from .exdf import train_text
from .extents import FrameMap, Loss, find_losses

_SAID = {Loss.NEVER_WRITTEN: "never written", Loss.UNREADABLE: "cannot be read", Loss.DAMAGED: "damaged"}
_SHOWN = 6  # stretches of frames that are named


@dataclass(frozen=True)
class Frames:
    """Frames of a module in one dataset, of one train.

    Attributes
    ----------
    module : int
        Position on the module axis.
    name : str
        File and dataset, in words.
    frames : ndarray of int64, shape (n,)
        Of the dataset.
    where : callable
        Gives the map of the dataset, or raises `UnreadableData`.
    """

    module: int
    name: str
    frames: np.ndarray
    where: Callable[[], FrameMap]

    def find_losses(self) -> np.ndarray:
        """Return the `Loss` of each, uint8 (n,)."""
        try:
            return find_losses(self.where(), self.frames)
        except OSError:  # UnreadableData is one
            return np.full(len(self.frames), Loss.UNREADABLE, np.uint8)


@dataclass
class Losses:
    """Which modules of which trains cannot be read: found out once per train, before it is first read.

    A file of the European XFEL format has the frames of a train that are kept for a module, or none. So a
    module of which one frame cannot be read is lost in that train, whichever of its shots are asked for, in
    whatever blocks: that makes the loss the same for every order, pass and selection.

    Attributes
    ----------
    shots : ShotList
    frames : ndarray of bool, shape (S, M)
        What is lost, of the trains that were looked at.
    """

    shots: ShotList
    frames: np.ndarray = field(init=False)
    _seen: set[int] = field(default_factory=set, repr=False)
    _met: list[tuple[int, str, Loss, np.ndarray]] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.frames = np.zeros(self.shots.present.shape, bool)

    def look(self, rows: np.ndarray, frames_of: Callable[[np.ndarray], Iterable[Frames]]) -> np.ndarray:
        """Return what is lost of some shots, bool (n, M).

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
        frames_of : callable
            Gives the frames of some shots, which are those of a train, by dataset.
        """
        with self._lock:
            for train in np.unique(self.shots.train_id[rows]).tolist():
                if train not in self._seen:
                    self._seen.add(train)
                    self._look_at(train, frames_of)
        return self.frames[rows]

    def _look_at(self, train: int, frames_of: Callable[[np.ndarray], Iterable[Frames]]) -> None:
        first, last = np.searchsorted(self.shots.train_id, np.array([train, train + 1], "u8"))
        rows = np.arange(first, last)
        for one in frames_of(rows):
            lost = one.find_losses()
            for why in np.unique(lost[lost > 0]).tolist():
                self._met.append((train, one.name, Loss(why), one.frames[lost == why]))
                self.frames[rows, one.module] = self.shots.present[rows, one.module]

    def notes(self, trains: np.ndarray) -> list[str]:
        """Say what is lost of some trains, uint64 (T,), by file and reason."""
        here = set(trains.tolist())
        by_file: dict[tuple[str, Loss], list[tuple[int, np.ndarray]]] = {}
        for train, name, why, frames in self._met:
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
