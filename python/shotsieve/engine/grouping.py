"""Which group every shot belongs to: all, a key, a column, bins of a measure, or the verdict of the rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..derive import WHOLE_TABLE
from ..errors import BadInput, nearest
from ..keep import PROBABILITY
from ..measure.value_bins import bin_of, check_edges, edges_of, middles
from ..table_columns import KEYS, KNOWN_COLUMNS, known_exactly

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..decide import Rule
    from ..table import Table
    from .job import Job

GROUPS = {"train": "train_id", "cell": "cell_id"}
"""Keys of the table, by what recipes call them."""

VERDICT = "verdict"
VERDICTS = (-1.0, 0.0, 1.0)
"""Undecided, misses, hits: the groups by verdict."""

_SAID_OF_VERDICT = "verdict of the rule: 1 hit, 0 miss, -1 undecided"


@dataclass(frozen=True)
class Grouping:
    """How shots are told apart.

    Promise: exact; the group of a shot follows from its own row of the table.

    Attributes
    ----------
    by : str or None
        Key, column, or "verdict"; None has one group of all shots.
    values : ndarray of float64, shape (G,)
        Of the groups; the middles of bins; one NaN for all shots.
    edges : tuple of float or None
        Of bins; None makes a group of each value.
    rule : Rule or None
        Whose verdict is asked for.
    of_measures : bool
        Whether it is known only once a shot was measured.
    at_end : bool
        Whether the group of a shot is known only once all shots were measured.

    Examples
    --------
    >>> from shotsieve.table import Table
    >>> table = Table([7, 7], [0, 4], [0, 1], modules=(0,), module_pixels=100)
    >>> Grouping("cell", np.array([0.0, 1.0])).of(table, np.arange(2)).tolist()
    [0, 1]
    """

    by: str | None
    values: np.ndarray
    edges: tuple[float, ...] | None = None
    rule: Rule | None = None
    of_measures: bool = False
    at_end: bool = False

    @property
    def meaning(self) -> str:
        """What the values are."""
        if self.rule is not None:
            return _SAID_OF_VERDICT
        return "value of the group" if self.edges is None else "middle of the bin"

    def of(self, table: Table, shots: np.ndarray) -> np.ndarray:
        """Return the groups of some shots, int64 (k,); -1 where it is not known, or none.

        Parameters
        ----------
        table : Table
            Holds what is asked for, of these shots.
        shots : ndarray of int, shape (k,)
            Rows of the table.
        """
        if self.by is None:
            return np.zeros(len(shots), np.int64)
        part = table.part(shots)
        if self.rule is not None:
            told = self.rule.evaluate({name: part.bounds(name) for name in self.rule.names})
            return told.astype(np.int64) + 1
        column = known_exactly(*part.bounds(GROUPS.get(self.by, self.by)))
        if self.edges is not None:
            return bin_of(column, self.edges)
        at = np.minimum(np.searchsorted(self.values, column), len(self.values) - 1)
        return np.where(self.values[at] == column, at, -1)


def make_grouping(job: Job, by: str | None, bins: str | None, beforehand: Iterable[str]) -> Grouping:
    """Prepare the groups of ``[measure.average]``.

    Parameters
    ----------
    job : Job
        With its rule, and all that will be measured declared in its table.
    by, bins : str or None
        As the recipe has them.
    beforehand : iterable of str
        Columns whose values are known before the first shot.

    Returns
    -------
    Grouping

    Raises
    ------
    BadInput
        If there is no such column, no rule to give a verdict, or no bins of what is measured.
    """
    if by is None:
        return Grouping(None, np.full(1, np.nan))
    late = known_at_end(job)
    if by == VERDICT:
        rule = job.keeper.rule
        if rule is None:
            raise BadInput(
                'by = "verdict" tells hits and misses apart, and this detector has no rule of its own that '
                "says which is which: add [keep] rule, or group by something else"
            )
        return Grouping(
            by, np.array(VERDICTS), rule=rule, of_measures=True, at_end=not late.isdisjoint(rule.names)
        )
    table, column = job.table, GROUPS.get(by, by)
    check_name(table, "by", by, more=(VERDICT,))
    of_measures = column not in {*KEYS, *beforehand}
    if bins is not None:
        edges = edges_of(bins, "bins")
        check_edges(edges, "bins")
        return Grouping(by, middles(edges), edges, None, of_measures, at_end=column in late)
    if of_measures:
        raise BadInput(
            f'by = "{by}" is known only once a shot was measured: say which values make a group, as in '
            'bins = "0 10 100"'
        )
    values = known_exactly(*table.part(job.source.readable).bounds(column))
    values = np.unique(values[~np.isnan(values)])
    return Grouping(by, values if len(values) else np.full(1, np.nan))


def check_column(table: Table, option: str, name: str, keys: Iterable[str] = ()) -> None:
    """Refuse a column that the table does not have before the first shot.

    Parameters
    ----------
    table : Table
    option : str
        What asks for it, for the error text.
    name : str
    keys : iterable of str
        What it may be beside a column: `GROUPS`.

    Raises
    ------
    BadInput
        The text gives the columns that there are.
    """
    known = [*keys, *table.columns]
    if name not in known:
        raise BadInput(
            f'{option} = "{name}": the run has no such column; expected one of '
            f"{', '.join(known) or '(there is none)'}"
        )


def column_of(table: Table, by: str) -> np.ndarray:
    """Return a key of `GROUPS`, or a column, of every shot, float64 (S,); NaN where it is unknown.

    Examples
    --------
    >>> from shotsieve.table import Table
    >>> column_of(Table([7], [0], [3], modules=(0,), module_pixels=100), "cell").tolist()
    [3.0]
    """
    return getattr(table, GROUPS[by]).astype("f8") if by in GROUPS else table.columns[by]


def known_at_end(job: Job) -> set[str]:
    """Return the columns that are known only once all shots were measured."""
    return {name for name, section in job.recipe.derive.items() if section.kind in WHOLE_TABLE}


def check_name(table: Table, option: str, by: str, more: Iterable[str] = ()) -> None:
    """Refuse what is neither a key of `GROUPS` nor a column of the table, measured ones among them.

    Parameters
    ----------
    table : Table
        In which all that will be measured is declared.
    option : str
        What asks for it, for the error text.
    by : str
    more : iterable of str
        What else might have been meant.

    Raises
    ------
    BadInput
        The text gives what there is.
    """
    names = [name for name in table.names() if name not in KNOWN_COLUMNS or name in table.columns]
    names = [name for name in names if name != PROBABILITY]
    if GROUPS.get(by, by) in names:
        return
    known = [*GROUPS, *more, *(name for name in names if "[" not in name)]
    raise BadInput(
        f'{option} = "{by}": the run has no such column.{nearest(by, known)} Expected one of '
        f"{', '.join(known)}"
    )
