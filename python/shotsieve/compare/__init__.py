"""Our calibration of a raw run beside the corrected files of the facility: what differs, by stage and bit."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import shown
from ..constants import Constants
from ..cpus import usable_cpus
from ..engine.embed import BlockResult, Engine
from ..errors import BadInput
from ..recipe import Measure, Recipe
from ..recipe_sections import Calibrate, Write
from ..sources.base import Source
from ..table import Table
from .corrected import CorrectedRun, Frames
from .findings import Finding, findings, frames_alone
from .statistics import Statistics

__all__ = ["DEFAULT_SAMPLE", "TOLERANCES", "RunComparison", "compare_runs"]

DEFAULT_SAMPLE = 20
"""Trains that are looked at unless more are asked for."""

TOLERANCES = {"ADU": 0.05, "keV": 1e-3, "photon": 1e-3}
"""By how much values may differ, by unit, before they are told; beside a share of 1e-5."""

_SLOTS = 2


@dataclass(frozen=True)
class RunComparison:
    """What was found.

    Attributes
    ----------
    detector, name : str
        Family, and name in the run.
    unit : str
        Of our values.
    trains : ndarray of uint64
        That were looked at.
    shots : int
        Compared, with at least one module.
    modules : tuple of int
    tolerance : float
        In the unit.
    corrected : dict
        What the corrected run has: dtype, and whether there is a gain and a mask of any module.
    statistics : Statistics
    findings : list of Finding
    notes : list of str
    """

    detector: str
    name: str
    unit: str
    trains: np.ndarray
    shots: int
    modules: tuple[int, ...]
    tolerance: float
    corrected: Mapping[str, Any]
    statistics: Statistics
    findings: list[Finding]
    notes: list[str]

    def shares(self) -> dict[str, float]:
        """Return the shares of what differs: values beyond the tolerance, gains, and bad pixels."""
        found = self.statistics
        n, differ = found.moments[..., 0].sum(), found.moments[..., 1].sum()
        wrong = found.gains.sum() - np.trace(found.gains.sum(axis=0)[:, :3])
        return {
            "values": float(differ / n) if n else 0.0,
            "gains": float(wrong / found.gains.sum()) if found.gains.any() else 0.0,
            "bad": float(found.bad[:, 1:3].sum() / found.bad.sum()) if found.bad.any() else 0.0,
        }

    def _repr_html_(self) -> str:
        return shown.comparison(self)

    def within(self, share: float = 0.0) -> bool:
        """Whether no larger share differs: of values, of gains, of bad pixels; and nothing is missing."""
        missing = any(one.kind in ("shots", "cells", "nothing") for one in self.findings)
        return not missing and all(value <= share for value in self.shares().values())


def compare_runs(
    raw: Any,
    corrected: Any,
    constants: Constants | str | os.PathLike[str] | None = None,
    recipe: Recipe | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    *,
    trains: Sequence[int] | None = None,
    sample: int = DEFAULT_SAMPLE,
    modules: Sequence[int] | None = None,
    tolerance: float | None = None,
    dropped_last: int = 0,
    backend: str = "auto",
    force: bool = False,
    progress: Callable[[int, int, int], None] | None = None,
) -> RunComparison:
    """Calibrate a raw run and compare with a corrected one, frame by frame.

    Promise: exact; our values are those that `shotsieve.reduce` writes, and counts depend on no order. Frames
    come in blocks of a row of memory cells, so that memory is bounded.

    Parameters
    ----------
    raw : Source or path
        The raw run, as for `shotsieve.reduce`.
    corrected : path, sequence of path, or DataCollection
        The facility's corrected files of the same run, or a run that was reduced to corrected frames.
    constants : Constants, path or None
        None takes what the recipe names.
    recipe : Recipe, mapping, path or None
        Only its detector and its [calibrate] count; None takes all defaults.
        `shotsieve constants convert METADATA --recipe FILE` makes the one of a correction.
    trains : sequence of int or None
        Trains to look at; None: those of the sample.
    sample : int
        Number of trains, evenly spread over those that both have; 0: all.
    modules : sequence of int or None
        None: those that both have.
    tolerance : float or None
        Values differ beyond it, in our unit; None takes `TOLERANCES`.
    dropped_last : int
        So many last frames of every train and module the correction left out, as it does of LPD in parallel
        gain (its parameter drop-last-frames-parallelgain). Where they are not there the notes count them, and
        nothing is missing; where they are, they are compared.
    backend : {"auto", "cpu", "cuda", "emu"}
    force : bool
        Accept constants whose conditions disagree with the run.
    progress : callable or None
        Called with shots done, shots in all, bytes.

    Returns
    -------
    RunComparison

    Raises
    ------
    BadInput
        If the runs, or constants and run, do not belong together.
    UnreadableData
        If a file is damaged.

    Examples
    --------
    >>> found = compare_runs("raw/r0022", "proc/r0022", "constants.h5")  # doctest: +SKIP
    >>> [one.text for one in found.findings]  # doctest: +SKIP
    """
    from ..sources.run import open_run

    if isinstance(dropped_last, bool) or dropped_last != int(dropped_last) or dropped_last < 0:
        raise BadInput(f"dropped_last = {dropped_last}: expected a number of frames, from 0")
    recipe = _calibration_alone({"calibrate": {}} if recipe is None else recipe)
    place, source = recipe.detector, raw
    if not isinstance(raw, Source):
        source = open_run(raw, place.name, place.source, parallel_gain=recipe.calibrate.parallel_gain)
    there = CorrectedRun(corrected, source.detector, source.name)
    both = [m for m in source.modules if m in there.modules and m in source.raw_names]
    wanted = tuple(both if modules is None else modules)
    if not wanted or (absent := [m for m in wanted if m not in both]):
        what = f"module {absent[0]}" if wanted else "any module"
        raise BadInput(f"{source.name}: {what} is not in both runs; those in both: {both or 'none'}")
    chosen = _chosen(source, there, trains, sample)
    source_trains = np.unique(source.shots.train_id[source.readable])
    shots = np.isin(source.shots.train_id, chosen)
    source = source.selected(shots)
    if not len(source.readable):
        raise BadInput(f"{source.name}: the raw run has no readable shot in the {len(chosen)} chosen trains")
    unit = recipe.calibrate.steps.unit(recipe.calibrate.unit)
    tolerance = TOLERANCES[unit] if tolerance is None else float(tolerance)
    cells = np.unique(source.shots.cell_id[source.readable])
    found = Statistics(wanted, cells, source.detector.shape, recipe.calibrate.steps.bad_bits, tolerance)
    pairs = _Pairs(source, there, wanted, found, int(dropped_last))
    with (
        contextlib.closing(pairs),
        Engine(
            recipe,
            constants,
            backend=backend,
            detector=source.detector.name,
            modules=source.modules,
            cells=cells,
            mode=source.mode,
            block_shots=_block_shots(source),
            slots=_SLOTS,
            force=force,
        ) as engine,
    ):
        done = 0
        for result in engine.run(source):
            pairs.add(result)
            done += len(result.table)
            if progress is not None:
                progress(done, len(source.readable), 0)
        notes = [
            *_alone(source_trains, there.trains, trains),
            *source.notes,
            *(f"corrected run: {note}" for note in there.notes),
            *pairs.told_dropped(),
            *engine.notes,
        ]
    told: dict[str, Any] = {"dtype": str(there.dtype)}
    told["gain"], told["mask"] = (
        not set(own).isdisjoint(wanted) for own in (there.with_gain, there.with_mask)
    )
    missing = [] if modules is not None else _modules_alone(source, there, both, chosen)
    named = [*missing, *pairs.findings(chosen), *findings(found, unit)]
    return RunComparison(
        source.detector.name,
        source.name,
        unit,
        chosen,
        pairs.shots,
        wanted,
        tolerance,
        told,
        found,
        named,
        notes,
    )


def _calibration_alone(given: Any) -> Recipe:
    """Return a recipe that calibrates every shot and does nothing else."""
    recipe = Recipe.of(given)
    if recipe.calibrate is None:
        recipe = dataclasses.replace(recipe, calibrate=Calibrate())
    return dataclasses.replace(
        recipe, select=None, measure=Measure(), derive={}, keep=None, redu=None, write=Write(), others={}
    )


def _chosen(source: Source, there: CorrectedRun, trains: Sequence[int] | None, sample: int) -> np.ndarray:
    """Return the trains that are looked at."""
    ours = np.unique(source.shots.train_id[source.readable])
    both = np.intersect1d(ours, there.trains)
    if trains is not None:
        chosen = np.unique(np.asarray(trains, "u8"))
        if absent := [int(train) for train in chosen if train not in both]:
            raise BadInput(f"train {absent[0]} is not in both runs; there are {_span(both)}")
        return chosen
    if not len(both):
        raise BadInput(
            f"the raw run has trains {_span(ours)}, the corrected one {_span(there.trains)}: none in common. "
            "Are they of the same run?"
        )
    if sample <= 0 or sample >= len(both):
        return both
    return both[np.linspace(0, len(both) - 1, sample).round().astype(int)]


def _alone(ours: np.ndarray, theirs: np.ndarray, asked: Sequence[int] | None) -> list[str]:
    """Say how many trains are in one run alone, unless some were asked for."""
    sides = (("raw", np.setdiff1d(ours, theirs)), ("corrected", np.setdiff1d(theirs, ours)))
    return [
        f"trains in the {side} run only, which are not compared: {_span(trains)}"
        for side, trains in sides
        if len(trains) and asked is None
    ]


def _modules_alone(
    source: Source, there: CorrectedRun, both: Sequence[int], chosen: np.ndarray
) -> list[Finding]:
    """Name modules that one run alone has, with their frames of the chosen trains."""
    held = source.shots.present[source.readable].sum(axis=0).tolist()
    counts = [(module, "raw", n) for module, n in zip(source.modules, held, strict=True)]
    counts += [(module, "corrected", there.count(module, chosen)) for module in there.modules]
    return [frames_alone(*one) for one in counts if one[0] not in both and one[2]]


def _span(trains: np.ndarray) -> str:
    return f"{trains[0]} to {trains[-1]} ({len(trains)})" if len(trains) else "none"


def _block_shots(source: Source) -> int:
    """Return how many shots have to stay together: a row of memory cells, or a train."""
    detector = source.detector
    shot_bytes = 2 * len(source.modules) * detector.plane_count * int(np.prod(detector.shape))
    cuts: Iterator[int] = (stop - start for start, stop in source.cuts(detector.row_cells * shot_bytes))
    return max(cuts)


class _Pairs:
    """Brings our frames together with theirs, and counts what has no counterpart."""

    def __init__(
        self,
        source: Source,
        there: CorrectedRun,
        modules: tuple[int, ...],
        found: Statistics,
        dropped_last: int,
    ) -> None:
        self.source, self.there, self.modules, self.found = source, there, modules, found
        self._dropped_last = dropped_last
        self.shots = 0
        self._pool = ThreadPoolExecutor(usable_cpus())
        self.alone = np.zeros(len(modules), np.int64)
        self.dropped = np.zeros(len(modules), np.int64)
        self.other_cells = np.zeros(len(modules), np.int64)
        self.matched = np.zeros(len(modules), np.int64)

    def add(self, result: BlockResult) -> None:
        """Compare the frames of a block."""
        table, frames = result.table.part(result.kept), result.frames
        modules = range(len(self.modules))
        seen = list(self._pool.map(lambda at: self._add(at, table, frames, result.present), modules))
        self.shots += int(np.any(seen, axis=0).sum())

    def _add(
        self, at: int, table: Table, frames: Mapping[str, np.ndarray], present: np.ndarray
    ) -> np.ndarray:
        """Compare the frames of one module; return which shots it has in both."""
        module = self.modules[at]
        column = self.source.modules.index(module)
        where = self.there.locate(module, table.train_id, table.pulse_id)
        here = present[:, column]
        alone = here & (where < 0)
        if self._dropped_last and alone.any():
            dropped = alone & self._among_last(column, table)
            self.dropped[at] += np.count_nonzero(dropped)
            alone &= ~dropped
        self.alone[at] += np.count_nonzero(alone)
        both = here & (where >= 0)
        pairs = np.flatnonzero(both)
        self.matched[at] += len(pairs)
        theirs = self.there.cells[module][where[pairs]]
        ours = table.cell_id[pairs]
        self.other_cells[at] += np.count_nonzero((theirs >= 0) & (theirs != ours))
        for cell in np.unique(ours):
            mine = pairs[ours == cell]
            shape = (len(mine), *self.source.detector.shape)
            parts = (frames[name][mine, column].reshape(shape) for name in ("data", "gain", "mask"))
            row = int(np.searchsorted(self.found.cell_ids, cell))
            self.found.add(at, row, Frames(*parts), self.there.read(module, where[mine]))
        return both

    def _among_last(self, column: int, table: Table) -> np.ndarray:
        """Return which shots are among the last of their train that a module has."""
        shots = self.source.shots
        last = np.zeros(len(table), bool)
        for train in np.unique(table.train_id):
            pulses = np.sort(shots.pulse_id[(shots.train_id == train) & shots.present[:, column]])
            mine = table.train_id == train
            last[mine] = np.isin(table.pulse_id[mine], pulses[-self._dropped_last :])
        return last

    def told_dropped(self) -> list[str]:
        """Say what became of frames that the correction is said to leave out."""
        if not self._dropped_last:
            return []
        frames = "frame" if self._dropped_last == 1 else f"{self._dropped_last} frames"
        return [
            f"the last {frames} of every train and module may be in the raw run alone, as was said; of such "
            f"frames, which are not missing, there are {int(self.dropped.sum()):,}"
        ]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    def findings(self, trains: np.ndarray) -> list[Finding]:
        """Name frames without counterpart."""
        result = []
        for at, module in enumerate(self.modules):
            theirs = self.there.count(module, trains) - int(self.matched[at])
            for number, side in ((int(self.alone[at]), "raw"), (theirs, "corrected")):
                if number:
                    result.append(frames_alone(module, side, number))
            if number := int(self.other_cells[at]):
                text = f"module {module}: {number:,} frames are of another memory cell in the corrected run"
                result.append(Finding("cells", text, {"module": module, "frames": number}))
        return result
