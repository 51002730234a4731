"""Shots of several detectors that belong together: columns for the rule, and what is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInput
from ..keep import PROBABILITY, Keeper, can_be_read, settle
from ..table import FATES, Bounds, Table
from ..table_columns import KNOWN_COLUMNS, Column

if TYPE_CHECKING:
    from ..detectors import Detector
    from ..recipe import Recipe
    from .job import Job

_DROPPED, _DUPLICATE = FATES.index("dropped"), FATES.index("duplicate")


def counts_pulses(detector: Detector) -> bool:
    """Whether shots of a detector tell their pulse; otherwise they belong to a train as a whole."""
    return bool(detector.pulse_key) and detector.layout == "frames"


def joined_names(label: str, other: Table, recipe: Recipe) -> dict[str, str]:
    """Name the columns that the leading detector's table gets of another one.

    Parameters
    ----------
    label : str
        Of the other detector.
    other : Table
        Its table, with everything declared that will be measured.
    recipe : Recipe
        Of the leading detector. Columns of single modules are made where its [keep] or [derive] asks.

    Returns
    -------
    dict of str to str
        Names there, by names here: ``{"jf_lit_pixels": "lit_pixels", ...}``. What the machine knows of a shot
        is not among them.
    """
    texts = [section.of or "" for section in recipe.derive.values()]
    texts += [recipe.keep.rule] if recipe.keep is not None else []
    single = re.compile(r"(\w+)\s*\[\s*(\d+)\s*\]")
    asked = {f"{name}[{int(module)}]" for text in texts for name, module in single.findall(text)}
    left_out = {"train_id", "pulse_id", "cell_id", PROBABILITY, *KNOWN_COLUMNS}
    named = {f"{label}_{name}": name for name in other.names() if name not in left_out}
    return {mine: theirs for mine, theirs in named.items() if "[" not in mine or mine in asked}


def declare_joined(table: Table, label: str, other: Table, recipe: Recipe) -> None:
    """Make room for the columns of another detector; all is unknown until `Match.fill`.

    Raises
    ------
    BadInput
        If a name is taken.
    """
    taken = {*table.names(), *table.explain(), *recipe.derive}
    meanings = other.describe()
    for mine, theirs in joined_names(label, other, recipe).items():
        if mine in taken:
            raise BadInput(
                f"{mine} is a column already, and the {theirs} of the detector with the label {label}: give "
                "the column another name, or the detector another label"
            )
        column = meanings.get(theirs.partition("[")[0], Column("", theirs.replace("_", " ")))
        unknown = np.full(len(table), np.inf)
        table.add_joined(mine, -unknown, unknown, column.unit, f"of {label}: {column.meaning}")


class Match:
    """Which shots of another detector belong to which shots of the leading one.

    Promise: exact; it follows from the two tables alone.

    Where both detectors count pulses, the shot of the same train and pulse; else all of the same train.

    Parameters
    ----------
    lead, other : Job
        Of the same run.
    label : str
        Of the other.

    Raises
    ------
    BadInput
        If they have no train in common.
    """

    def __init__(self, lead: Job, other: Job, label: str) -> None:
        self.lead, self.other, self.label = lead, other, label
        self.by_pulse = counts_pulses(lead.source.detector) and counts_pulses(other.source.detector)
        mine, theirs = lead.source.shots.train_id, other.source.shots.train_id
        if not np.intersect1d(mine, theirs).size:
            raise BadInput(
                f"{lead.source.name} and {other.source.name} (label {label}) have no train in common: "
                f"{_span(mine)} and {_span(theirs)}. Are both of this run? Reduce them one by one"
            )

    # ------------------------------------------------------------------ columns

    def fill(self) -> None:
        """Give the leading table the columns of the other, whose measures are complete."""
        lead, other = self.lead.table, self.other.table
        gather = self._gather_pulses() if self.by_pulse else self._gather_trains()
        for mine, theirs in joined_names(self.label, other, self.lead.recipe).items():
            column = lead.meanings[mine]
            lead.add_joined(mine, *gather(theirs), column.unit, column.meaning)

    def _gather_pulses(self) -> Callable[[str], Bounds]:
        """Return what gives a column of the same train and pulse; unknown where there is no such shot."""
        other = self.other.table
        rows = np.flatnonzero(other.fate <= _DROPPED)
        at = _find(self.lead.table, other, rows)

        def gather(name: str) -> Bounds:
            low, high = other.bounds(name)
            return _picked(low[rows], at, -np.inf), _picked(high[rows], at, np.inf)

        return gather

    def _gather_trains(self) -> Callable[[str], Bounds]:
        """Return what gives a column over all shots of the same train; unknown where there is none.

        What is measured is summed; of anything else it is known that it lies between the shots' values.
        """
        other = self.other.table
        rows = np.flatnonzero(other.fate != _DUPLICATE)
        trains, train = np.unique(other.train_id[rows], return_inverse=True)
        at = _places(trains, self.lead.table.train_id)

        def total(values: np.ndarray) -> np.ndarray:
            return np.bincount(train, values[rows], len(trains))

        def summed(name: str) -> Bounds:
            low, high = other.bounds(name)
            return total(low), total(high)

        def fraction(name: str) -> Bounds:
            # As in `Table.bounds`: unknown modules pull it down most when unlit, up most when all lit.
            single = name.removeprefix("lit_fraction")
            lit, unmasked = (
                total(other.bounds(f"{n}{single}")[0]) for n in ("lit_pixels", "unmasked_pixels")
            )
            picked = [other.modules.index(int(single[1:-1]))] if single else slice(None)
            unknown = total((~other.ok()[:, picked]).sum(1).astype("f8"))
            more = unknown * float(other.module_pixels)
            exists = unmasked > 0
            whole = np.where(exists, unmasked + more, 1)
            return np.where(exists, lit / whole, -np.inf), np.where(exists, (lit + more) / whole, np.inf)

        def between(name: str) -> Bounds:
            low, high = other.bounds(name)
            least, greatest = np.full(len(trains), np.inf), np.full(len(trains), -np.inf)
            np.minimum.at(least, train, low[rows])
            np.maximum.at(greatest, train, high[rows])
            return least, greatest

        def gather(name: str) -> Bounds:
            base = name.partition("[")[0]
            how = summed if base in other.measures else fraction if base == "lit_fraction" else between
            low, high = how(name)
            return _picked(low, at, -np.inf), _picked(high, at, np.inf)

        return gather

    # ------------------------------------------------------------------ what is kept

    def decide(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Say of shots of the other detector what was decided about those they belong to.

        Parameters
        ----------
        rows : ndarray of int, shape (n,)

        Returns
        -------
        keep : ndarray of bool, shape (n,)
            Whether a kept shot is among them.
        verdict : ndarray of int8, shape (n,)
            1 where the verdict of one is true, else -1 where that of one is unknown, else 0.
        probability : ndarray of float64, shape (n,), or None
            With which one of them is kept; None where nothing is kept by chance.
        """
        lead, other = self.lead.table, self.other.table
        asked = np.flatnonzero(lead.fate <= _DROPPED)
        kept = lead.fate[asked] == FATES.index("kept")
        verdict, chance = lead.verdict[asked], lead.columns.get(PROBABILITY)
        part = other.part(rows)
        if self.by_pulse:
            at = _find(part, lead, asked)
            if chance is not None:
                chance = chance[asked]
        else:
            trains, train = np.unique(lead.train_id[asked], return_inverse=True)
            at = _places(trains, part.train_id)
            kept = _any(kept, train, len(trains))
            true, unknown = (_any(verdict == value, train, len(trains)) for value in (1, -1))
            verdict = np.where(true, 1, np.where(unknown, -1, 0)).astype("i1")
            if chance is not None:
                unit = self.lead.keeper.units(lead, asked)[1]
                chance = _chance_of_trains(chance[asked], train, unit, len(trains))
        probability = None if chance is None else _picked(chance, at, 0.0)
        return _picked(kept, at, False), _picked(verdict, at, 0), probability


def _chance_of_trains(chance: np.ndarray, train: np.ndarray, unit: np.ndarray, number: int) -> np.ndarray:
    """Return the probability that a train has a kept shot, from that of its units: one choice for each."""
    pairs, at = np.unique(np.stack([train, unit.astype("i8")]), axis=1, return_inverse=True)
    of_unit, none = np.zeros(pairs.shape[1]), np.ones(number)
    np.maximum.at(of_unit, at.reshape(-1), chance)
    np.multiply.at(none, pairs[0], 1 - of_unit)
    return 1 - none


@dataclass(frozen=True)
class MatchKeeper(Keeper):
    """Keeps the shots that belong to a kept shot of the leading detector, which was decided about before.

    Attributes
    ----------
    match : Match
    """

    match: Match | None = None

    def prepare(self, table: Table) -> None:
        """Make room for the probability, where the leading detector keeps misses."""
        if PROBABILITY in self.match.lead.table.columns:
            Keeper(misses=1.0).prepare(table)

    def decide(self, table: Table, rows: np.ndarray) -> np.ndarray:
        """Give some shots their verdict and their fate; return which are kept. See `Keeper.decide`."""
        keep, verdict, probability = self.match.decide(rows)
        table.set_verdict(rows, verdict)
        if probability is not None:
            table.columns[PROBABILITY][rows] = probability
        return settle(table, rows, keep, can_be_read(table, rows))


def _any(values: np.ndarray, group: np.ndarray, number: int) -> np.ndarray:
    return np.bincount(group[values], minlength=number) > 0


def _places(sorted_ids: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return where ids stand among others, -1 where they do not."""
    if not len(sorted_ids):
        return np.full(len(ids), -1)
    at = np.minimum(np.searchsorted(sorted_ids, ids), len(sorted_ids) - 1)
    return np.where(sorted_ids[at] == ids, at, -1)


def _find(shots: Table, among: Table, rows: np.ndarray) -> np.ndarray:
    """Return for each shot which of `rows` of another table is of the same train and pulse, -1 if none is."""
    trains = np.unique(np.concatenate([shots.train_id, among.train_id]))
    keys = [
        np.searchsorted(trains, train).astype("u8") << np.uint64(32) | pulse
        for train, pulse in (
            (among.train_id[rows], among.pulse_id[rows]),
            (shots.train_id, shots.pulse_id),
        )
    ]
    return _places(keys[0], keys[1])


def _picked(values: np.ndarray, at: np.ndarray, otherwise: float | bool) -> np.ndarray:
    """Return values at places, and something else where the place is -1."""
    if not len(values):
        return np.full(len(at), otherwise)
    return np.where(at >= 0, values[at], otherwise)


def _span(trains: Iterable[int]) -> str:
    ids = np.asarray(trains)
    return f"{ids.min()} to {ids.max()}" if ids.size else "none"
