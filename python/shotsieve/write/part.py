"""A part of a run, with the face that a writer looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..sources.base import ShotList, TrainList

if TYPE_CHECKING:
    from ..detectors import Detector
    from ..sources.base import RunMeta, Source
    from ..sources.beside import Beside


@dataclass(frozen=True)
class Part:
    """Consecutive trains of a run.

    Attributes
    ----------
    number : int
        From 0: the sequence number of its files.
    trains : slice
        Of ``source.trains``.
    shots : slice
        Of ``source.shots``: all shots of these trains.
    """

    number: int
    trains: slice
    shots: slice

    @classmethod
    def whole(cls, source: Source) -> Part:
        """Return the run as one part."""
        return cls(0, slice(0, len(source.trains)), slice(0, len(source.shots)))

    @classmethod
    def with_trains(cls, source: Source, train_ids: np.ndarray) -> Part:
        """Return the part from the first to the last of some trains; without any nothing of the run."""
        if not len(train_ids):
            return cls(0, slice(0, 0), slice(0, 0))
        trains, shots = source.trains.train_id, source.shots.train_id
        low, high = train_ids[0], train_ids[-1]
        return cls(
            0,
            slice(int(np.searchsorted(trains, low)), int(np.searchsorted(trains, high, side="right"))),
            slice(int(np.searchsorted(shots, low)), int(np.searchsorted(shots, high, side="right"))),
        )


@dataclass(frozen=True)
class PartOfRun:
    """The shots and trains of a part; of the rest of the source what writers ask for.

    Attributes
    ----------
    source : Source
        The run.
    number : int
        Of the part.
    rows : slice
        Shots of the part among those of the run.
    detector, name, modules, raw_names, meta, shots, trains
        As `shotsieve.sources.base.Source`.
    """

    source: Source
    number: int
    rows: slice
    detector: Detector
    name: str
    modules: tuple[int, ...]
    raw_names: dict[int, str]
    meta: RunMeta
    shots: ShotList
    trains: TrainList

    @classmethod
    def of(cls, source: Source, part: Part | None = None) -> PartOfRun:
        """Return a part of a source, by default all of it."""
        part = part or Part.whole(source)
        shots = ShotList(**{name: values[part.shots] for name, values in vars(source.shots).items()})
        trains = TrainList(**{name: values[part.trains] for name, values in vars(source.trains).items()})
        face = (source.detector, source.name, source.modules, source.raw_names, source.meta)
        return cls(source, part.number, part.shots, *face, shots, trains)

    @property
    def beside(self) -> Beside | None:
        """What the files of the detector hold beside its frames, of these trains; see `Source`."""
        beside = self.source.beside
        return None if beside is None else beside.part(self.trains.train_id, self.rows.start)
