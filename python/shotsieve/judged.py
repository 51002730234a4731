"""What the shots of a table are judged by: a score for each, the limit for it, and the answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .decide import Comparison, Rule
from .errors import BadInput
from .keep import kept_misses, unread
from .table import FATES, Table
from .table_columns import known_exactly

SCORES = ("n_peaks", "lit_fraction", "lit_pixels", "photons", "intensity")
"""What a shot is judged by where no rule says so: the first that was measured."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A table, and what its shots are judged by.

    Attributes
    ----------
    table : Table
    by : str or None
        A rule, of which the first comparison counts, or a column; None takes the first of `SCORES`.
    asked : bool
        Whether `by` is a rule that is asked now: `kept` is its answer, and not what became of the shots.

    Raises
    ------
    BadInput
        From the properties of a rule that is asked now and cannot be; a rule that was asked elsewhere and
        names what the table lacks is passed over.

    Examples
    --------
    >>> table = Table([7, 7], [0, 4], [0, 1], modules=(0,), module_pixels=100, measures=["lit_pixels"])
    >>> table.set_module_status(slice(None), [[0], [0]])
    >>> table.set_measure("lit_pixels", slice(None), [[3], [9]])
    >>> judged = Judged(table, "lit_pixels > 5", asked=True)
    >>> judged.score[0], judged.score[1].tolist(), judged.limit.tolist(), judged.kept.tolist()
    ('lit_pixels', [3.0, 9.0], [5.0, 5.0], [False, True])
    """

    table: Table
    by: str | None = None
    asked: bool = False

    @cached_property
    def rule(self) -> Rule | None:
        """The rule; None where there is none, or where it asks for what this table does not have."""
        names = self.table.names()
        if not self.by or self.by in names:
            return None
        try:
            return Rule.parse(self.by, names, self.table.explain())
        except BadInput:
            if self.asked:
                raise
            return None  # of a reduced run: it asks for single modules or for another detector's columns

    @cached_property
    def comparison(self) -> Comparison | None:
        """What the first comparison of the rule says of every shot; None without one."""
        if self.rule is None:
            return None
        sides = self.rule.sides(self._bounds)
        return sides[0] if sides else None

    @cached_property
    def score(self) -> tuple[str, np.ndarray]:
        """Name and value (S,) of what shots are judged by; NaN where it is not known."""
        if self.comparison is not None:
            low, high = self.comparison.left
            return self.comparison.words[0], _known(low, high, len(self.table))
        names = self.table.names()
        for name in (self.by, *SCORES):
            if name in names:
                return name, _known(*self.table.bounds(name), len(self.table))
        return "", np.full(len(self.table), np.nan)

    @cached_property
    def limit(self) -> np.ndarray | None:
        """What the score is compared with, (S,); None without a rule."""
        if self.comparison is None:
            return None
        return _known(*self.comparison.right, len(self.table))

    @cached_property
    def kept(self) -> np.ndarray:
        """Bool (S,): shots that were kept, or that a rule that is asked now does not refuse."""
        there = self.table.fate == FATES.index("kept")
        if not self.asked or self.rule is None:
            return there
        measured = there | (self.table.fate == FATES.index("dropped"))
        return measured & ~unread(self.table) & (self.rule.evaluate(self._bounds) != 0)

    @cached_property
    def by_chance(self) -> np.ndarray:
        """Bool (S,): misses that were kept at random."""
        if self.asked and self.rule is not None:
            return np.zeros(len(self.table), bool)
        return kept_misses(self.table)

    @property
    def _bounds(self) -> dict[str, Any]:
        return {name: self.table.bounds(name) for name in self.rule.names}


def _known(low: Any, high: Any, shots: int) -> np.ndarray:
    """Return what is known exactly of a side of a comparison, which may be one number for all shots."""
    return known_exactly(np.broadcast_to(low, shots), np.broadcast_to(high, shots))
