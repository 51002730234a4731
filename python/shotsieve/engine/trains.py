"""Which shots of a run make up its trains, and how far apart in time their frames are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..sources.exposure import SLOT_MHZ
from ..table_columns import KEYS, known_exactly
from .grouping import GROUPS, check_name, known_at_end

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..table import Table
    from .job import Job


@dataclass(frozen=True, eq=False)
class TrainPlaces:
    """Frames of trains in the order of their pulses.

    Attributes
    ----------
    train_id : ndarray of uint64, shape (K,)
    train : ndarray of int64, shape (S,)
        Number of the train of each shot; -1 where it is no frame of one.
    place : ndarray of int64, shape (S,)
        Of each shot in its train.
    same : ndarray of bool, shape (K,)
        Trains with the pulses that most have.
    length : int
        Frames of these.
    seconds : float
        From one frame to the next; NaN where the run does not tell.
    """

    train_id: np.ndarray
    train: np.ndarray
    place: np.ndarray
    same: np.ndarray
    length: int
    seconds: float

    def use(self, table: Table, section: Any) -> np.ndarray:
        """Return which trains have a mean of the recipe's column above its limit, bool (K,); without, all.

        Raises
        ------
        BadInput
            If no train is left.
        """
        name = section.column
        if name is None:
            return np.ones(len(self.train_id), bool)
        shots = np.flatnonzero(self.train >= 0)
        total = np.bincount(self.train[shots], _known(table, name)[shots], len(self.train_id))
        with np.errstate(invalid="ignore"):
            use = total / np.bincount(self.train[shots], minlength=len(self.train_id)) > section.least
        if not use.any():
            raise BadInput(
                f'[measure.xpcs] column = "{name}", least = {section.least:g}: no train has a mean above it, '
                "or the column is unknown in one of its frames"
            )
        return use

    def uses(self, table: Table, section: Any, train: int) -> bool:
        """Return whether one train, all of whose shots were measured, has such a mean."""
        return bool(_known(table.part(self._shots[train]), section.column).mean() > section.least)

    @cached_property
    def _shots(self) -> list[np.ndarray]:
        """Shots of every train."""
        order = np.argsort(self.train, kind="stable")
        starts = np.searchsorted(self.train[order], np.arange(len(self.train_id)))
        return np.split(order, starts)[1:]


def _known(table: Table, name: str) -> np.ndarray:
    """Return a column of every shot, NaN where it is not known."""
    return known_exactly(*table.bounds(GROUPS.get(name, name)))


def known_before(job: Job, name: str | None, beforehand: Iterable[str]) -> bool:
    """Return whether the column by which trains are chosen is known before the first shot is measured.

    Parameters
    ----------
    job : Job
        With all that will be measured declared in its table.
    name : str or None
    beforehand : iterable of str
        Columns that are.

    Raises
    ------
    BadInput
        If there is no such column, or it is known only once the whole run was measured.
    """
    if name is None:
        return True
    check_name(job.table, "[measure.xpcs] column", name)
    if name in known_at_end(job):
        raise BadInput(
            f'[measure.xpcs] column = "{name}" is known only once the whole run was measured: take what it '
            "is derived from, or choose trains afterwards, from xpcs.h5, which has all of them"
        )
    return GROUPS.get(name, name) in {*KEYS, *beforehand}


def places_of(job: Job) -> TrainPlaces:
    """Find the trains of a run: their X-ray frames, as far as the run tells which they are.

    Raises
    ------
    BadInput
        If there is no train of two frames, or the frames of most trains are not equally spaced.
    """
    table, shots = job.table, job.source.readable
    if "xray" in table.columns:
        shots = shots[table.columns["xray"][shots] != 0]
    shots = shots[np.lexsort((table.pulse_id[shots], table.train_id[shots]))]
    if len(shots) == 0:
        raise BadInput("[measure.xpcs] correlates the X-ray frames of trains, and the run has none")
    train_id, first, number = np.unique(table.train_id[shots], return_index=True, return_counts=True)
    spaced_by = table.pulse_id if job.source.detector.pulse_key else table.cell_id
    pulses = [spaced_by[one] for one in np.split(shots, first[1:])]
    kinds = [one.tobytes() for one in pulses]
    # Of those that are as frequent, the longest, and of these the first.
    most = max(kinds, key=lambda kind: (kinds.count(kind), len(kind)))
    usual = pulses[kinds.index(most)].astype("i8")
    if len(usual) < 2:
        raise BadInput(
            f"[measure.xpcs] correlates the frames of a train, and most trains have {len(usual)}: expected "
            "two or more"
        )
    steps = np.unique(np.diff(usual))
    if len(steps) > 1:
        raise BadInput(
            f"[measure.xpcs]: the frames of a train are {steps.min()} to {steps.max()} pulses apart, and a "
            "lag would be no time: select equally spaced ones ([select] pulses or cells)"
        )
    rate = SLOT_MHZ if job.source.detector.pulse_key else job.mode.rate_mhz
    seconds = float(steps[0]) / (1e6 * rate) if rate else float("nan")
    train, place = np.full(len(table), -1, "i8"), np.full(len(table), -1, "i8")
    train[shots] = np.repeat(np.arange(len(train_id)), number)
    place[shots] = np.arange(len(shots)) - np.repeat(first, number)
    return TrainPlaces(
        train_id, train, place, np.array([kind == most for kind in kinds]), len(usual), seconds
    )
