"""The one way through the frames of a survey: every setting is asked of each frame while it is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..derive import WHOLE_TABLE
from ..keep import lots
from ..measure.peak_finder import PeakFinder
from ..measure.peaks import FILTERS, PeakParams, PeakPlan
from ..table import ModuleStatus, Table
from .forms import FRAMES
from .sample import SALT

if TYPE_CHECKING:
    from ..backend import Backend
    from ..engine.job import Job
    from ..engine.passes import FramesOf
    from .forms import Forms
    from .grid import Grid
    from .sample import Sample

TOGETHER = 16
"""Frames that are searched at a time."""

STRONGEST, NEAR = 1, 2
"""Frames that are drawn: hits with the highest score; hits and misses, each, next to the limit."""


@dataclass
class Counts:
    """What one way to measure found; rows are those of the sample.

    Attributes
    ----------
    lit, lit_high, peaks : ndarray of int64, shape (n, M), or None
    rejected : ndarray of int64, shape (n, 6)
        Components that each of `shotsieve.measure.peaks.FILTERS` rejected.
    """

    lit: np.ndarray | None
    lit_high: np.ndarray | None
    peaks: np.ndarray | None
    rejected: np.ndarray


@dataclass(order=True)
class Example:
    """A frame that is drawn.

    Attributes
    ----------
    score : float
        What the rule compares first.
    row : int
        Of the table.
    frame : ndarray of float32, shape (M, ss, fs)
    peaks : ndarray of PEAK_DTYPE
    """

    score: float
    row: int
    frame: np.ndarray = field(compare=False)
    peaks: np.ndarray = field(compare=False)


@dataclass
class Projection:
    """The largest value that every pixel had in some shots."""

    frame: np.ndarray | None = None
    shots: int = 0

    def add(self, frames: np.ndarray) -> None:
        """Take more shots, (k, M, ss, fs); NaN is no value."""
        if not len(frames):
            return
        most = np.fmax.reduce(frames, axis=0)
        self.frame = most if self.frame is None else np.fmax(self.frame, most)
        self.shots += len(frames)


class Scanner:
    """Takes calibrated frames as a writer does, and writes none; see `shotsieve.engine.passes.FrameSink`.

    Parameters
    ----------
    job : Job
        That keeps every shot of the sample, as corrected frames.
    grid : Grid
    forms : Forms
    sample : Sample
    backend : Backend
    seed : int

    Attributes
    ----------
    seen : ndarray of bool, shape (n,)
        Shots of the sample that had a frame.
    encoded : ndarray of int
        Rows of the sample that `forms` encoded, in order.
    counts : dict
        `Counts` by what `Setting.measured` says.
    hits, misses : Projection
        By the recipe's rule.
    strongest, above, below : list of Example
    """

    def __init__(
        self, job: Job, grid: Grid, forms: Forms, sample: Sample, backend: Backend, seed: int
    ) -> None:
        self.notes: list[str] = []
        self._job, self._grid, self._forms, self._backend = job, grid, forms, backend
        self._rows, n, modules = sample.rows, len(sample.rows), len(job.source.modules)
        self.seen, self.encoded = np.zeros(n, bool), []
        self.counts: dict[Any, Counts] = {}
        self._lit: dict[float, np.ndarray] = {}
        self._peaks: dict[PeakParams, tuple[np.ndarray, np.ndarray]] = {}
        self._finders: dict[PeakParams, PeakFinder] = {}
        for setting in grid.settings:
            lit = high = peaks = None
            rejected = np.zeros((n, len(FILTERS)), "i8")
            if setting.lit is not None:
                lit = self._lit.setdefault(setting.lit, np.zeros((n, modules), "i8"))
            if setting.lit_high is not None:
                high = self._lit.setdefault(setting.lit_high, np.zeros((n, modules), "i8"))
            if setting.peaks is not None:
                empty = np.zeros((n, modules), "i8"), rejected
                peaks, rejected = self._peaks.setdefault(setting.peaks, empty)
            self.counts[setting.measured] = Counts(lit, high, peaks, rejected)
        for params in self._peaks:
            self._finders[params] = PeakFinder(backend, _plan(job.peaks.plan, params), TOGETHER)
        table = job.table
        lot = lots(SALT + 1 + seed, table.train_id[self._rows], table.pulse_id[self._rows]) / 2.0**64
        self._encode_hit, self._encode_miss = lot < 3 * FRAMES / n, lot < FRAMES / (2 * n)
        self.hits, self.misses = Projection(), Projection()
        self.strongest: list[Example] = []
        self.above: list[Example] = []
        self.below: list[Example] = []
        derived = {name for name, one in grid.recipe.derive.items() if one.kind in WHOLE_TABLE}
        self.decides_late = bool(derived & set(grid.settings[0].rule.names))

    def append(
        self,
        shots: np.ndarray,
        present: np.ndarray,
        make: FramesOf,
        peaks: Sequence[np.ndarray] = (),
    ) -> None:
        """Take shots: measure them in every setting, encode some, look at them."""
        table, frames = self._job.table, make()
        pixels = self._pixels(shots, frames)
        at = np.searchsorted(self._rows, shots)
        self.seen[at] = True
        for threshold, counts in self._lit.items():
            limit = np.float32(threshold)
            for k in range(len(shots)):
                counts[at[k]] = (pixels[k] > limit).reshape(counts.shape[1], -1).sum(axis=1)
        for first in range(0, len(shots), TOGETHER):
            self._search(at[first : first + TOGETHER], pixels[first : first + TOGETHER])
        part, rule = table.part(shots), self._grid.settings[0].rule
        hit, score = np.zeros(len(shots), bool), np.zeros(len(shots))
        if not self.decides_late:
            bounds = {name: part.bounds(name) for name in rule.names}
            hit = rule.evaluate(bounds) == 1
            score = np.broadcast_to(rule.sides(bounds)[0].left[0], hit.shape)
            self.hits.add(pixels[hit])
            self.misses.add(pixels[~hit])
            self._look(shots, hit, score, pixels, peaks)
        for k in np.flatnonzero(np.where(hit, self._encode_hit[at], self._encode_miss[at])):
            self._forms.encode({name: values[k] for name, values in frames.items()}, present[k])
            self.encoded.append(int(at[k]))

    def finish(self) -> list[Path]:
        """Nothing was written."""
        return []

    def abort(self) -> None:
        """Nothing has to be taken back."""

    def table(self, measured: tuple[Any, ...]) -> Table:
        """Return the shots of the sample that were seen, with what a setting measured."""
        rows = self._rows[self.seen]
        part, counts = self._job.table.part(rows), self.counts[measured]
        if counts.lit is not None:
            part.take_measure("lit_pixels", counts.lit[self.seen])
        if counts.lit_high is not None:
            part.take_measure("lit_pixels_high", counts.lit_high[self.seen])
        if counts.peaks is not None:
            part.take_measure("n_peaks", counts.peaks[self.seen])
        return part

    # ------------------------------------------------------------------ inside

    def _pixels(self, shots: np.ndarray, frames: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return values as measures see them, float32 (k, M, ss, fs): NaN where nothing counts."""
        values, job = frames["data"].astype("f4", copy=False), self._job
        hidden = (job.table.module_status[shots] != ModuleStatus.OK)[:, :, None, None]
        if job.source.detector.is_corrected:  # here the mask alone says what is bad
            hidden = hidden | (frames["mask"] & np.uint32(job.params.mask_bad) != 0)
        return np.where(hidden, np.float32(np.nan), values) if hidden.any() else values

    def _search(self, at: np.ndarray, pixels: np.ndarray) -> None:
        """Search some shots, as many as there is room for, with every setting."""
        if not self._finders:
            return
        device, n = self._backend.device, len(at)
        stream = device.stream()
        host = device.empty_pinned((n, pixels[0].size), "f4")
        host[:] = pixels.reshape(n, -1)
        there = device.twin(host)
        device.to_device(there, host, stream)
        module = self._job.peaks.module_of_panel
        known = (self._job.table.module_status[self._rows[at]] == ModuleStatus.OK).any(axis=1)
        for params, finder in self._finders.items():
            counts, rejected = self._peaks[params]
            found = finder.find(there, None, stream)
            of_module = np.zeros((n, counts.shape[1]), "i8")
            np.add.at(of_module, (slice(None), module), found.panel_counts)
            counts[at] = np.where(known[:, None], of_module, 0)
            rejected[at] = found.rejected

    def _look(
        self, shots: np.ndarray, hit: np.ndarray, score: np.ndarray, pixels: np.ndarray, peaks: Any
    ) -> None:
        """Keep the frames that will be drawn."""

        def keep(which: list[Example], at: np.ndarray, sign: int, most: int) -> None:
            for k in at.tolist():
                value = sign * float(score[k])
                if len(which) < most or value > min(which).score:
                    found = peaks[k] if len(peaks) else np.zeros(0)
                    which.append(Example(value, int(shots[k]), pixels[k].copy(), found))
                    which.sort(reverse=True)
                    del which[most:]

        keep(self.strongest, np.flatnonzero(hit), 1, STRONGEST)
        keep(self.above, np.flatnonzero(hit), -1, NEAR)
        keep(self.below, np.flatnonzero(~hit), 1, NEAR)


def _plan(plan: PeakPlan, params: PeakParams) -> PeakPlan:
    """Return a plan with other parameters, of those that do not choose the pixels."""
    arrays = plan.arrays
    if params.local_bg_radius != plan.params.local_bg_radius:
        arrays = {**arrays, "ring": params.ring()}
    return dataclasses.replace(plan, params=params, arrays=arrays)
