"""The kept shots of a part of a run, as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInput
from ..sources.base import ShotStatus
from .part import PartOfRun

if TYPE_CHECKING:
    from ..sources.base import Source


def shots_per_train(source: Source) -> int:
    """Return how many shots a train has at most, where whole trains are rows: all kept ones have as many."""
    good = source.shots.train_id[source.shots.status == ShotStatus.OK]
    return int(np.unique(good, return_counts=True)[1].max(initial=1))


class KeptShots:
    """Checks and collects what is kept.

    Parameters
    ----------
    source : PartOfRun
    train_ids : ndarray of uint64
        Trains that the files have.
    whole : int
        Shots of a train that is kept as a whole; 0 where shots are kept one by one.
    """

    def __init__(self, source: PartOfRun, train_ids: np.ndarray, whole: int) -> None:
        self._source, self._train_ids, self._whole = source, train_ids, whole
        self._shots: list[np.ndarray] = []
        self._present: list[np.ndarray] = []

    def check(self, shots: np.ndarray, present: np.ndarray) -> None:
        """Look at further shots, int64 (k,), of which modules have frames, bool (k, M).

        Raises
        ------
        BadInput
            If order or trains are wrong, or a module keeps other shots of a train than the others.
        """
        last = self._shots[-1][-1] if self._shots else -1
        if shots[0] <= last or (np.diff(shots) <= 0).any():
            raise BadInput("write: kept shots must come in ascending order, each once")
        recorded = self._source.shots
        if shots[-1] >= len(recorded) or not np.isin(recorded.train_id[shots], self._train_ids).all():
            raise BadInput("write: a kept shot belongs to a train that is not in the source's list of trains")
        if (present & ~recorded.present[shots]).any():
            raise BadInput("write: frames are given for a module that did not record the shot")
        train = recorded.train_id[shots]
        # The last shot of the call before may belong to the same train.
        ids = np.concatenate([recorded.train_id[k[-1:]] for k in self._shots[-1:]] + [train])
        seen = np.concatenate([p[-1:] for p in self._present[-1:]] + [present])
        split = (ids[1:] == ids[:-1]) & (seen[1:] != seen[:-1]).any(axis=1)
        if split.any():
            raise BadInput(
                f"write: train {ids[1:][split][0]}: a module has frames for some of the kept shots only; it"
                " must have all of them or none"
            )
        if self._whole:
            numbers, counts = np.unique(train, return_counts=True)
            short = counts != self._whole
            if short.any():
                raise BadInput(
                    f"write: train {numbers[short][0]} comes with {counts[short][0]} of {self._whole} shots;"
                    " this detector stores whole trains, so a train is kept or dropped as a whole"
                )

    def add(self, shots: np.ndarray, present: np.ndarray) -> None:
        """Take shots that were checked, and whose frames are written."""
        self._shots.append(shots)
        self._present.append(present)

    def of_module(self, m: int) -> np.ndarray:
        """Return the kept shots that a module has frames of, int64."""
        shots = [shots[present[:, m]] for shots, present in zip(self._shots, self._present, strict=True)]
        return np.concatenate([np.zeros(0, "i8"), *shots])
