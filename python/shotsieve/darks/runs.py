"""Dark runs: opened, told apart by gain stage, and the trains of them that are used."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..cell_order import same_order, shown_order
from ..errors import BadInput
from ..measure.darks import DarkWords, dark_words
from ..sources.base import ShotStatus, Source
from ..sources.run import open_run

STAGES = ("high", "medium", "low")
_CONDITIONS = {
    "cells": 0,
    "rate_mhz": 0.06,
    "integration_time": 1e-3,
    "gain_setting": 0,
    "bias_voltage": 1.0,
    "parallel_gain": 0,
    "memory_cell_order": None,
}
"""What dark runs of one set must agree on, and how closely; None: orders of memory cells, as `same_order`."""


@dataclass
class DarkRun:
    """A dark run of one gain stage.

    Attributes
    ----------
    label : str
        What it is called: the name of its folder.
    source : Source
    stage : int
    good : ndarray of bool, shape (S,)
        Shots that are used.
    trains : int
        Trains that are used.
    dropped : dict of str to int
        Why trains are not, and how many.
    zero_as : int
        What a stored 0 stands for, with one gain stage.
    samples : ndarray of int64, shape (3,)
        Samples that count, are wrong, and lie outside the gate: filled when the run was read.
    noises : list of (float, float)
        Median noise of each module with and without the common mode of banks, ADU: filled where it is
        subtracted.
    """

    label: str
    source: Source
    stage: int = -1
    good: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    trains: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    zero_as: int = 0
    samples: np.ndarray = field(default_factory=lambda: np.zeros(3, np.int64))
    noises: list[tuple[float, float]] = field(default_factory=list)

    @property
    def words(self) -> DarkWords:
        """How samples of the run are read."""
        return dark_words(self.source.detector, self.stage, self.zero_as)

    @property
    def name(self) -> str:
        """Label and stage in words."""
        return f"{self.label} (taken as {STAGES[self.stage]} gain)"

    @property
    def cell_ids(self) -> np.ndarray:
        """Memory cells of the shots that are used, ascending."""
        return np.unique(self.source.shots.cell_id[self.good])

    @property
    def modules(self) -> list[int]:
        """Modules that recorded something."""
        there = self.source.shots.present[self.good].any(axis=0)
        return [module for module, has in zip(self.source.modules, there, strict=True) if has]


def open_dark_runs(
    runs: Sequence[Any],
    detector: Any = None,
    source: str | None = None,
    parallel_gain: bool | None = None,
    modules: Sequence[int] | None = None,
) -> list[DarkRun]:
    """Open dark runs, and choose the trains that are used.

    Parameters
    ----------
    runs : sequence
        Each what `open_run` takes, or a source.
    detector, source, parallel_gain
        As for `open_run`.
    modules : sequence of int or None
        Those that are looked at; a run may lack some of them. None: all.

    Returns
    -------
    list of DarkRun
        Without a stage yet.

    Raises
    ------
    BadInput
        If they are not of one detector, were taken under different conditions, or one is given twice; if a
        module is in no run, or a run has none of them.
    """
    if not runs:
        raise BadInput("dark: no run was given")
    found = []
    for number, run in enumerate(runs):
        opened = (
            run if isinstance(run, Source) else open_run(run, detector, source, parallel_gain=parallel_gain)
        )
        found.append(DarkRun(_label(run, opened, number), opened))
    if modules is not None:
        _choose_modules(found, modules)
    for one in found:
        one.good, one.trains, one.dropped = choose_trains(one.source)
    first = found[0]
    for number, other in enumerate(found[1:], 1):
        if other.source.detector.name != first.source.detector.name:
            raise BadInput(
                f"{first.label} is a run of {first.source.detector.name}, {other.label} of "
                f"{other.source.detector.name}: dark runs of one set are of one detector"
            )
        if first.source.paths and other.source.name != first.source.name:
            raise BadInput(
                f"{first.label} is a run of {first.source.name}, {other.label} of "
                f"{other.source.name}: say with "
                "--source which detector is meant"
            )
        for one in found[:number]:  # a value that the first does not say may still differ between others
            _check_alike(one, other)
    for number, one in enumerate(found):
        for other in found[:number]:
            if set(one.source.paths) & set(other.source.paths):
                raise BadInput(
                    f"{other.label} and {one.label} are the same run: each gain stage needs a run of its own"
                )
    return found


def _choose_modules(runs: Sequence[DarkRun], modules: Sequence[int]) -> None:
    """Leave the modules that are wanted to every run."""
    there = sorted({module for run in runs for module in run.source.modules})
    if not modules or (unknown := [module for module in modules if module not in there]):
        what = f"there is no module {unknown[0]}" if modules else "no module is named"
        raise BadInput(f"--modules: {what}; the runs have {', '.join(map(str, there))}")
    for run in runs:
        own = [module for module in run.source.modules if module in modules]
        if not own:
            raise BadInput(f"--modules: {run.label} has none of {', '.join(map(str, modules))}")
        run.source = run.source.of_modules(own)


def _label(run: Any, source: Source, number: int) -> str:
    """Return what a run is called; never with the folders above it, which differ from place to place."""
    if isinstance(run, str | os.PathLike):
        return os.path.basename(os.path.normpath(os.fspath(run)))
    return source.name if isinstance(run, Source) else f"run {number + 1}"


def _check_alike(first: DarkRun, other: DarkRun) -> None:
    for name, closely in _CONDITIONS.items():
        a, b = getattr(first.source.mode, name), getattr(other.source.mode, name)
        if a is None or b is None:
            continue
        if not (same_order(a, b) if closely is None else abs(a - b) <= closely):
            a, b = (shown_order(value) if closely is None else f"{value:g}" for value in (a, b))
            raise BadInput(
                f"{name} is {a} in {first.label} and {b} in {other.label}: dark runs of one set "
                f"are taken "
                "under the same conditions"
            )


def choose_trains(source: Source) -> tuple[np.ndarray, int, dict[str, int]]:
    """Choose the trains of a dark run that are used.

    A train is dropped for the first of these that is true: a shot of it has not the status OK (suspect,
    duplicate, inconsistent); a frame of it has a status that is not 0; a module that recorded other trains is
    missing; it has another number of frames than most.

    Parameters
    ----------
    source : Source

    Returns
    -------
    good : ndarray of bool, shape (S,)
        Shots of the trains that are used.
    trains : int
    dropped : dict of str to int
        Reason -> trains, those that are empty in all modules included.
    """
    shots = source.shots
    ids, train, counts = np.unique(shots.train_id, return_inverse=True, return_counts=True)
    n = len(ids)
    present = shots.present
    recorded = present.any(axis=0)
    odd = np.bincount(train, shots.status != ShotStatus.OK, n) > 0
    told = getattr(source, "odd_frames", None)
    failed = np.bincount(train, np.zeros(len(train)) if told is None else told(), n) > 0
    lacking = np.bincount(train, (~present[:, recorded]).any(axis=1), n) > 0
    often = np.bincount(counts[~odd & ~failed & ~lacking])
    usual = int(np.flatnonzero(often == often.max())[-1]) if often.size else 0
    reasons = {
        "suspect, duplicate or inconsistent": odd,
        "a frame whose status is not 0": failed & ~odd,
        "a module missing": lacking & ~odd & ~failed,
        f"not the usual {usual} frames": (counts != usual) & ~odd & ~failed & ~lacking,
    }
    dropped = {reason: int(which.sum()) for reason, which in reasons.items() if which.any()}
    if empty := len(source.trains) - n:
        dropped["empty"] = empty
    used = ~np.any(list(reasons.values()), axis=0)
    return used[train], int(used.sum()), dropped


def check_enough(runs: Sequence[DarkRun], least: int) -> None:
    """Refuse runs with too few frames.

    Parameters
    ----------
    runs : sequence of DarkRun
    least : int
        Frames that every memory cell of a run must have.

    Raises
    ------
    BadInput
        The text says how many there are, and why others were dropped.
    """
    for run in runs:
        cells = run.source.shots.cell_id[run.good]
        held = np.bincount(cells - cells.min()) if len(cells) else np.zeros(1, int)
        fewest = int(held[held > 0].min(initial=10**9)) if len(cells) else 0
        if fewest < least:
            told = "; ".join(f"{count} trains: {reason}" for reason, count in run.dropped.items())
            told += _seldom(run)
            raise BadInput(
                f"{run.label}: a memory cell has {fewest} frames in the {run.trains} trains that "
                f"can be used, and at "
                f"least {least} are needed (--min-frames)" + (f". Dropped: {told}" if told else "")
            )


def _seldom(run: DarkRun) -> str:
    """Say which modules recorded something in less than half of the shots; empty where none did."""
    held = run.source.shots.present.sum(axis=0)
    seldom = [
        str(module)
        for module, n in zip(run.source.modules, held.tolist(), strict=True)
        if 0 < n < held.max() / 2
    ]
    told = f"; hardly anything is there of module {', '.join(seldom)}: name the others with --modules"
    return told if seldom else ""


def conditions_of(runs: Sequence[DarkRun], fixed: bool) -> dict[str, Any]:
    """Return the conditions under which the constants hold.

    Parameters
    ----------
    runs : sequence of DarkRun
    fixed : bool
        Whether the runs are of fixed gain modes; the constants are then for these modes: the name of one, or
        a list of several.
    """
    found: dict[str, Any] = {}
    for name in _CONDITIONS:
        known = [value for run in runs if (value := getattr(run.source.mode, name)) is not None]
        if known:
            found[name] = known[0]
    if runs[0].source.detector.stages == 1:
        return found
    if not fixed:
        found["gain_mode"] = "adaptive"
    else:
        modes = [f"fixed_{STAGES[run.stage]}" for run in runs]
        found["gain_mode"] = modes if len(modes) > 1 else modes[0]
    return found
