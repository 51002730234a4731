"""What is measured on calibrated pixels: Bragg peaks, profiles, regions of interest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from ..measure.peak_finder import PeakFinder, Peaks

if TYPE_CHECKING:
    from pathlib import Path

    from ..backend import Backend
    from ..measure.state import State
    from ..table import Table
    from .blocks import Slot
    from .job import Job
    from .pixels import PixelPass


T = TypeVar("T")


class PixelStage(Protocol):
    """A measure that looks at the pixels of every shot.

    One with a true attribute `asks_for_measures` finds in the table what was measured on the same shots. One
    with a true attribute `any_order` may get some shots of a block after later ones; it keeps what it found
    until it is told to `deliver` that, in the order of the shots.
    """

    def measure(self, pixels: Any, shots: np.ndarray, stream: Any) -> None:
        """Measure some shots, and wait for the result.

        Parameters
        ----------
        pixels : float32 (k, rows * columns) on the device
        shots : ndarray of int, shape (k,)
            Rows of the table.
        stream : stream of the device
        """


class InTable:
    """A measure of which all that is known stands in the table: no file is its own, and no sum goes on."""

    table: Table

    def open(self, folder: Path) -> None:
        """Do nothing."""

    def rows_go_to(self, sink: Any) -> None:
        """Do nothing."""

    def begin(self, table: Table) -> None:
        """Take the table of the next block, which has the columns."""
        self.table = table

    def close(self, complete: bool = True) -> None:
        """Do nothing."""

    def take(self, folder: Path) -> None:
        """Do nothing."""

    def snapshot(self) -> State:
        """Return nothing."""
        return {}

    def restore(self, state: State) -> None:
        """Take what `snapshot` returned."""


class PixelStages:
    """All measures of a job that need pixels, over one pass of calibration.

    Parameters
    ----------
    backend : Backend
    job : Job
    second : PixelPass

    Attributes
    ----------
    records : dict of int to ndarray
        Peaks of the shots of the block that was measured last.
    """

    def __init__(self, backend: Backend, job: Job, second: PixelPass) -> None:
        self.job, self.second = job, second
        self.finder = None
        if job.peaks is not None:
            self.finder = PeakFinder(backend, job.peaks.plan, second.shots)
        self.stages: list[PixelStage] = [part.stage(backend, second.shots) for part in job.pixel_jobs]
        if job.pump is not None and job.pump.frames is not None:
            self.stages.append(job.pump.frames.stage(backend, second.shots))
        self.records: dict[int, np.ndarray] = {}

    @property
    def looks_at_all(self) -> bool:
        """Whether every shot is calibrated to pixels, so that it is counted on the way."""
        return bool(self.stages)

    def measure(
        self,
        slot: Slot,
        shots: np.ndarray,
        worth: np.ndarray,
        present: np.ndarray,
        rows: np.ndarray,
        counted: Callable[[np.ndarray], None],
    ) -> None:
        """Measure the shots of a block; one without a frame that could be calibrated stays unknown.

        Where every shot is looked at, the slot's counts are filled too.

        Parameters
        ----------
        slot : Slot
        shots : ndarray of int, shape (n,)
            Rows of the table.
        worth : ndarray of bool, shape (n,)
            Shots with a candidate pixel: the others have no peaks, and for these alone are not looked at.
        present : ndarray of bool, shape (n, M)
        rows : ndarray of int32, shape (n, M)
            Rows of the constants, -1 without.
        counted : callable
            Told of positions in the block whose counts are in the slot, before the measures that may group
            shots by them.
        """
        self.records = {}
        known = (present & (rows >= 0)).any(axis=1)
        looked_at = known if self.stages else worth
        if self.finder is not None:
            without = shots[known & ~looked_at]
            self._store(without, Peaks.empty(len(without), len(self.job.peaks.module_of_panel)))
        wanted, held = np.flatnonzero(looked_at), [stage for stage in self.stages if _any_order(stage)]
        by_cell = len(held) == len(self.stages)
        if by_cell:  # so that the constants of a cell are read once for all of its trains
            wanted = wanted[np.argsort(slot.cell_id[wanted], kind="stable")]
        for part in map(np.sort, cut(wanted, self.second.shots)):
            self.second.queue(slot, part, present[part], rows[part])
            if self.looks_at_all:
                self.second.queue_counts(slot, part)
            k, stream, device = len(part), slot.stream, self.second.backend.device
            pixels = self.second.pixels[:k].reshape(k, self.second.modules * self.second.n_pixels)
            if self.finder is not None:
                found = self.finder.find(pixels, self.second.candidates[:k], stream)
                self._store(shots[part], found)
                self.records |= zip(shots[part].tolist(), found, strict=True)
            told = False
            for stage in self.stages:
                if getattr(stage, "asks_for_measures", False) and not told:
                    device.wait(device.record(stream))
                    counted(part)
                    told = True
                stage.measure(pixels, shots[part], stream)
                if _any_order(stage) and not by_cell:
                    stage.deliver()
        if by_cell:
            for stage in held:
                stage.deliver()

    def _store(self, shots: np.ndarray, found: Peaks) -> None:
        self.job.table.set_measure("n_peaks", shots, self.job.peaks.store(shots, found))


def _any_order(stage: PixelStage) -> bool:
    return getattr(stage, "any_order", False)


def in_order(found: list[tuple[np.ndarray, T]], per_shot: Iterable[str]) -> tuple[np.ndarray, T]:
    """Join what was found of some shots at a time, and sort it by shots.

    Parameters
    ----------
    found : list of (ndarray of int, shape (k,), dataclass)
        Shots, and what was found of them.
    per_shot : iterable of str
        Attributes that are arrays with an entry for every shot, or None; the others are the same in all.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> one = Peaks.empty(1, 2)
    >>> in_order([(np.array([7]), one), (np.array([3]), one)], ["panel_counts"])[0].tolist()
    [3, 7]
    """
    shots = np.concatenate([shots for shots, _ in found])
    order = np.argsort(shots)
    first, joined = found[0][1], {}
    for name in per_shot:
        if getattr(first, name) is not None:
            joined[name] = np.concatenate([getattr(one, name) for _, one in found])[order]
    return shots[order], replace(first, **joined)


def shot_keys(table: Table, shots: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a file says of the shots of its rows; see `shotsieve.write.nxdata.KEYS`."""
    return {
        "trainId": table.train_id[shots],
        "pulseId": table.pulse_id[shots],
        "cellId": table.cell_id[shots],
    }


def cut(positions: np.ndarray, most: int) -> list[np.ndarray]:
    """Cut positions into parts of at most so many.

    Examples
    --------
    >>> [part.tolist() for part in cut(np.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    return [positions[first : first + most] for first in range(0, len(positions), most)]
