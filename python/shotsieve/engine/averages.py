"""Averages of frames: which group every shot belongs to, the sums on the device, and what is made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..measure.frame_stats import FrameStats, FrameSums, accumulator_bytes
from ..measure.pump_probe import DARK, OFF, ON, Difference
from ..measure.state import State, joined, under
from ..memory import half_of_memory
from ..write.averages import FILE_NAME, Groups, write_averages
from .grouping import Grouping, make_grouping

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..backend import Backend
    from ..table import Table
    from .job import Job
    from .pump_probe import PumpProbeJob


@dataclass
class FrameGroups:
    """Statistics of frames by groups; a part of a job that sees pixels.

    Attributes
    ----------
    n_groups : int
    shape : tuple of int
        (modules, ss, fs), or (modules, strips).
    """

    n_groups: int
    shape: tuple[int, ...]
    sums: FrameSums | None = None
    _added: np.ndarray | None = None  # shots and sum of their scales, by group

    @property
    def n_bytes(self) -> int:
        """Bytes of the accumulators."""
        return accumulator_bytes(self.n_groups, int(np.prod(self.shape)))

    def stage(self, backend: Backend, shots: int) -> FrameGroups:
        """Make the accumulators; this is the measure itself."""
        check_room([self], backend)
        self.sums = FrameSums(backend, self.n_groups, int(np.prod(self.shape)), shots)
        self._added = np.zeros((2, self.n_groups))
        return self

    def add(self, pixels: Any, group: np.ndarray, scale: np.ndarray, stream: Any) -> None:
        """Add some frames, and wait.

        Parameters
        ----------
        pixels : float32 (k, n_pixels) on the device
        group : ndarray of int64, shape (k,)
            -1 for none.
        scale : ndarray of float64, shape (k,)
            What the frame of every shot is multiplied with.
        stream : stream of the device
        """
        here = group >= 0
        if not here.any():
            return
        self.sums.add(pixels, group, stream, scale)
        np.add.at(self._added, (slice(None), group[here]), np.stack([np.ones(here.sum()), scale[here]]))

    def snapshot(self) -> State:
        """Return the accumulators; `restore` goes on from them."""
        return {"added": self._added, **joined(sums=self.sums.snapshot())}

    def restore(self, state: State) -> None:
        """Take what `snapshot` returned; after `stage`."""
        self._added = state["added"].copy()
        self.sums.restore(under(state, "sums"))

    def result(self) -> FrameStats:
        """Return the statistics of all groups, pixels in one axis."""
        return self.sums.result()

    def shots(self) -> np.ndarray:
        """Return how many shots each group has so far, int64 (G,)."""
        return np.zeros(self.n_groups, "i8") if self._added is None else self._added[0].astype("i8")

    def mean_scale(self, group: int) -> float:
        """Return the mean of what the frames of a group were multiplied with; 0 without any."""
        shots, scales = self._added[:, group]
        return float(scales / shots) if shots else 0.0


@dataclass
class KnownGroups(FrameGroups):
    """Statistics of frames whose groups are decided before the first shot.

    Attributes
    ----------
    group : ndarray of int64, shape (S,)
        Group of every shot; -1 for none.
    scale : ndarray of float64, shape (S,)
        What the frame of every shot is multiplied with.
    """

    group: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    scale: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def measure(self, pixels: Any, shots: np.ndarray, stream: Any) -> None:
        """Add some shots, and wait."""
        self.add(pixels, self.group[shots], self.scale[shots], stream)


@dataclass
class AverageJob:
    """``[measure.average]``: mean, variance, maximum and count of every pixel, by groups.

    It is asked after all other measures of the same shots, so that its groups may follow from these.

    Attributes
    ----------
    frames : FrameGroups
    grouping : Grouping
    table : Table
        What the groups follow from.
    unit : str
    bins : str or None
        As the recipe has them.
    """

    frames: FrameGroups
    grouping: Grouping
    table: Table
    unit: str
    bins: str | None = None
    _folder: Path | None = None

    @property
    def at_end(self) -> bool:
        """Whether groups are known only once all shots were measured: frames are then read once more."""
        return self.grouping.at_end

    def stage(self, backend: Backend, shots: int) -> AverageJob:
        """Make the accumulators; this is the measure itself."""
        self.frames.stage(backend, shots)
        return self

    @property
    def asks_for_measures(self) -> bool:
        """Whether groups follow from what was measured on the same shots."""
        return self.grouping.of_measures

    def measure(self, pixels: Any, shots: np.ndarray, stream: Any) -> None:
        """Add some shots, and wait."""
        self.frames.add(pixels, self.grouping.of(self.table, shots), np.ones(len(shots)), stream)

    def open(self, folder: Path) -> None:
        """Remember where the file goes; it is written at the end."""
        self._folder = folder

    def begin(self, table: Table) -> None:
        """Take the table of the next block; a shot of a group that was not foreseen belongs to none."""
        self.table = table

    def close(self, complete: bool = True) -> None:
        """Write the averages, if all shots were seen."""
        if not complete or self._folder is None or self.frames.sums is None:
            return
        write_averages(
            self._folder / FILE_NAME,
            self.settings(self.unit),
            Groups(
                self.grouping.by,
                self.grouping.values,
                self.grouping.meaning,
                self.grouping.edges,
                self.frames.shots(),
            ),
            self.frames.sums.each(),
            self.frames.shape,
            self.unit,
        )

    def take(self, folder: Path) -> None:
        """Nothing: there are no rows of shots."""

    def snapshot(self) -> State:
        """Return the accumulators; `restore` goes on from them."""
        return self.frames.snapshot()

    def restore(self, state: State) -> None:
        """Take what `snapshot` returned; after `stage`."""
        self.frames.restore(state)

    def settings(self, unit: str) -> dict[str, Any]:
        """Return what the output says of the averages."""
        told = {"average.by": self.grouping.by or "all", "average.unit": unit}
        return told if self.bins is None else {**told, "average.bins": self.bins}

    def summary(self) -> str:
        """Return one sentence for the accounts."""
        again = (
            "; their groups follow from the whole run, whose frames were read twice" if self.at_end else ""
        )
        return f"{self._what()}, {self.frames.n_bytes / 1e6:.0f} MB of accumulators{again}"

    def plan(self) -> str:
        """Return one sentence for who waits for it to begin."""
        return f"{self._what()} take {self.frames.n_bytes / 1e9:.2f} GB of memory"

    def _what(self) -> str:
        return f"averages of frames: {self.frames.n_groups} groups by {self.grouping.by or 'nothing'}"


def make_average_job(job: Job, beforehand: Iterable[str]) -> AverageJob:
    """Prepare the averages of a job, once all else that is measured is declared in its table.

    Parameters
    ----------
    job : Job
    beforehand : iterable of str
        Columns whose values are known before the first shot.

    Raises
    ------
    BadInput
        If shots cannot be told apart as the recipe says.
    """
    section = job.recipe.measure.average
    try:
        grouping = make_grouping(job, section.by, section.bins, beforehand)
    except BadInput as err:
        raise BadInput(f"[measure.average] {err}") from None
    frames = FrameGroups(len(grouping.values), _shape(job))
    return AverageJob(frames, grouping, job.table, job.unit, section.bins)


def check_room(frames: Sequence[FrameGroups], backend: Backend) -> None:
    """Refuse accumulators that do not fit together.

    Raises
    ------
    BadInput
        The text gives their size, and what there is.
    """
    room = {"half of this machine's memory": half_of_memory()}
    if (free := backend.device.free_bytes()) is not None:
        room["what is free on the device"] = free
    needed = sum(one.n_bytes for one in frames)
    for what, most in room.items():
        if needed > most:
            of = " and of ".join(
                f"{one.n_groups} groups of {int(np.prod(one.shape))} pixels" for one in frames
            )
            raise BadInput(
                f"averages of frames: statistics of {of} take {needed / 1e9:.2f} GB; {what} is "
                f"{most / 1e9:.2f} GB: take fewer groups"
            )


def room_for_averages(jobs: Iterable[Job], backend: Backend) -> str | None:
    """Say what memory the averages of frames of a run take, before it begins; None where it has none.

    Parameters
    ----------
    jobs : iterable of Job
        Of all detectors: their accumulators are there at the same time.
    backend : Backend

    Raises
    ------
    BadInput
        If they do not fit; the text gives the sizes.
    """
    told, frames = [], []
    for job in jobs:
        for one in job.pixel_jobs:
            if isinstance(one, AverageJob):
                frames.append(one.frames)
                told.append(one.plan())
        if job.pump is not None and job.pump.frames is not None:
            frames.append(job.pump.frames)
            told.append(f"differences of frames take {job.pump.frames.n_bytes / 1e9:.2f} GB of memory")
    check_room(frames, backend)
    return "; ".join(told) or None


def _shape(job: Job) -> tuple[int, ...]:
    return (len(job.source.modules), *job.source.detector.frame_shape)


def pump_probe_frames(pump: PumpProbeJob, job: Job) -> KnownGroups:
    """Return the groups of a pump-probe difference: on by delay, off by delay, dark."""
    delays = len(pump.delays)
    group = np.full(len(pump.state), -1, np.int64)
    inside = (pump.bin >= 0) & (pump.monitor > 0)
    for state, first in ((ON, 0), (OFF, delays)):
        here = (pump.state == state) & inside
        group[here] = first + pump.bin[here]
    group[pump.state == DARK] = 2 * delays
    scale = np.ones(len(group))
    divided = group < 2 * delays
    scale[divided & inside] = 1 / pump.monitor[divided & inside]
    return KnownGroups(2 * delays + 1, _shape(job), group=group, scale=scale)


def frames_differences(pump: PumpProbeJob, frames: FrameGroups) -> Iterator[Difference]:
    """Turn the statistics of the groups into differences of frames, one delay after the other."""
    sums, delays = frames.sums, len(pump.delays)
    if not delays:  # nobody knows the delay of any shot: arrays of no delay
        yield Difference.of(*np.zeros((6, 0, sums.n_pixels)))
        return
    dark = sums.of(2 * delays) if pump.section.subtract_dark else None

    def average(row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found = sums.of(row)
        if dark is None:
            return found.mean, found.errors, found.count
        factor = frames.mean_scale(row)
        return found.mean - factor * dark.mean, np.hypot(found.errors, factor * dark.errors), found.count

    for delay in range(delays):
        (on, on_errors, on_shots), (off, off_errors, off_shots) = average(delay), average(delays + delay)
        if pump.reference is not None:
            off, off_errors = pump.reference.reshape(-1).astype("f8"), np.zeros(len(on))
        parts = (on, off, on_errors, off_errors, on_shots, off_shots)
        yield Difference.of(*(part[None] for part in parts))
