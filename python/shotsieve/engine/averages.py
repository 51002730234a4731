"""Averages of frames: which group every shot belongs to, the sums on the device, and what is made of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..measure.frame_stats import FrameStats, FrameSums, accumulator_bytes
from ..measure.pump_probe import DARK, OFF, ON, Difference
from ..measure.state import State, joined, under
from ..write.averages import FILE_NAME, write_averages
from .profiles import GROUPS

if TYPE_CHECKING:
    from ..backend import Backend
    from ..table import Table
    from .job import Job
    from .pump_probe import PumpProbeJob

SHARE_OF_MEMORY = 0.5


@dataclass
class FrameGroups:
    """Statistics of frames by groups, decided before the first shot; a part of a job that sees pixels.

    Attributes
    ----------
    group : ndarray of int64, shape (S,)
        Group of every shot; -1 for none.
    scale : ndarray of float64, shape (S,) or None
        What the frame of every shot is multiplied with.
    n_groups : int
    shape : tuple of int
        (modules, ss, fs), or (modules, strips).
    """

    group: np.ndarray
    scale: np.ndarray | None
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
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        most = int(SHARE_OF_MEMORY * memory)
        try:
            self.sums = FrameSums(backend, self.n_groups, int(np.prod(self.shape)), shots, most)
        except BadInput as err:
            raise BadInput(f"averages of frames: {err}") from None
        self._added = np.zeros((2, self.n_groups))
        return self

    def measure(self, pixels: Any, shots: np.ndarray, stream: Any) -> None:
        """Add some shots, and wait."""
        group = self.group[shots]
        here = group >= 0
        if not here.any():
            return
        scale = np.ones(len(shots)) if self.scale is None else self.scale[shots]
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

    def mean_scale(self, group: int) -> float:
        """Return the mean of what the frames of a group were multiplied with; 0 without any."""
        shots, scales = self._added[:, group]
        return float(scales / shots) if shots else 0.0


@dataclass
class AverageJob:
    """``[measure.average]``: mean, variance, maximum and count of every pixel, by groups.

    Attributes
    ----------
    frames : FrameGroups
    by : str or None
    values : ndarray of float64, shape (G,)
        Of the groups; one NaN for all shots.
    unit : str
    """

    frames: FrameGroups
    by: str | None
    values: np.ndarray
    unit: str
    _folder: Path | None = None

    def stage(self, backend: Backend, shots: int) -> FrameGroups:
        """Return the measure with buffers for so many shots."""
        return self.frames.stage(backend, shots)

    def open(self, folder: Path) -> None:
        """Remember where the file goes; it is written at the end."""
        self._folder = folder

    def begin(self, table: Table) -> None:
        """Take the table of the next block; a shot of a group that was not foreseen belongs to none."""
        if self.by is None:
            self.frames.group = np.zeros(len(table), np.int64)
            return
        column = _column(table, self.by)
        at = np.minimum(np.searchsorted(self.values, column), len(self.values) - 1)
        self.frames.group = np.where(self.values[at] == column, at, -1)

    def close(self, complete: bool = True) -> None:
        """Write the averages, if all shots were seen."""
        if not complete or self._folder is None or self.frames.sums is None:
            return
        path, settings = self._folder / FILE_NAME, self.settings(self.unit)
        found, shape = self.frames.result(), self.frames.shape
        write_averages(path, settings, self.by, self.values, found, shape, self.unit)

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
        return {"average.by": self.by or "all", "average.unit": unit}

    def summary(self) -> str:
        """Return one sentence for the accounts."""
        return (
            f"averages of frames: {len(self.values)} groups by {self.by or 'nothing'}, "
            f"{self.frames.n_bytes / 1e6:.0f} MB of accumulators"
        )


def make_average_job(job: Job) -> AverageJob:
    """Prepare the averages of a job.

    Raises
    ------
    BadInput
        If the column does not exist.
    """
    by, table = job.recipe.measure.average.by, job.table
    readable = job.source.readable
    shape = (len(job.source.modules), *job.source.detector.frame_shape)
    group = np.full(len(table), -1, np.int64)
    if by is None:
        group[readable] = 0
        return AverageJob(FrameGroups(group, None, 1, shape), None, np.full(1, np.nan), job.unit)
    if by not in GROUPS and by not in table.columns:
        known = ", ".join([*GROUPS, *table.columns])
        raise BadInput(f'[measure.average] by = "{by}": the run has no such column; expected one of {known}')
    column = _column(table, by)
    known = readable[~np.isnan(column[readable])]
    values, group[known] = np.unique(column[known], return_inverse=True)
    return AverageJob(FrameGroups(group, None, max(len(values), 1), shape), by, values, job.unit)


def _column(table: Table, by: str) -> np.ndarray:
    return getattr(table, GROUPS[by]).astype("f8") if by in GROUPS else table.columns[by]


def pump_probe_frames(pump: PumpProbeJob, job: Job) -> FrameGroups:
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
    shape = (len(job.source.modules), *job.source.detector.frame_shape)
    return FrameGroups(group, scale, 2 * delays + 1, shape)


def frames_difference(pump: PumpProbeJob, frames: FrameGroups) -> Difference:
    """Turn the statistics of the groups into the difference of frames."""
    found, delays = frames.result(), len(pump.delays)
    mean, errors = found.mean, found.errors
    if pump.section.subtract_dark:
        dark, dark_errors = mean[-1], errors[-1]
        for row in range(2 * delays):
            factor = frames.mean_scale(row)
            mean[row] = mean[row] - factor * dark
            errors[row] = np.hypot(errors[row], factor * dark_errors)
    on, off = mean[:delays], mean[delays : 2 * delays]
    shots = found.count[:delays], found.count[delays : 2 * delays]
    if pump.reference is not None:
        off = np.broadcast_to(pump.reference.reshape(-1).astype("f8"), on.shape)
        errors[delays : 2 * delays] = 0.0
    return Difference.of(on, off, errors[:delays], errors[delays : 2 * delays], *shots)
