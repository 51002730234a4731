"""A part of a run, with the face that a writer looks at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..sources.base import ShotList, TrainList

if TYPE_CHECKING:
    from ..sources.base import RunMeta, Source


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
    name, modules, raw_names, meta, shots, trains
        As `shotsieve.sources.base.Source`.
    """

    source: Source
    number: int
    rows: slice
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
        face = (source.name, source.modules, source.raw_names, source.meta)
        return cls(source, part.number, part.shots, *face, shots, trains)

    def other_groups(self, m: int) -> Iterator[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
        """What the files of a module hold beside the frames; see `Source.other_groups`."""
        trains = self.source.trains.train_id
        which = np.isin(trains[trains > 0], self.trains.train_id)
        for key, counts, rows in self.source.other_groups(m):
            mine = np.repeat(which, counts)
            yield key, counts[which], {path: values[mine] for path, values in rows.items()}
