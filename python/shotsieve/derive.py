"""Columns that follow from the whole table: thresholds that follow the run, ranks, lists of shots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import BadInput, nearest
from .keep import unread
from .table import FATES, Table

if TYPE_CHECKING:
    from .recipe_sections import Derived

FEWEST = 20
"""Shots that a window needs for a threshold; with fewer it is unknown."""

WHOLE_TABLE = ("adaptive", "rank")
"""Kinds that can be computed only once every shot was measured."""

_ROBUST = 1.4826  # the standard deviation of a normal distribution over its median absolute deviation
_MEANINGS = {
    "adaptive": "median of {of} + {k:g} times its robust width{where}",
    "rank": "share of the shots with a higher {of}{where}; 0 is the highest",
    "list": "1 where the shot is listed in {file}",
}


def declare(table: Table, sections: Mapping[str, Derived], folder: Path) -> None:
    """Add the columns to a table: those of lists with their values, the others unknown until `fill`.

    Parameters
    ----------
    table : Table
    sections : mapping of str to Derived
    folder : Path
        What names of files are relative to.

    Raises
    ------
    BadInput
        If a list cannot be read or has none of the table's shots, or a name is taken or not known.
    """
    for name, section in sections.items():
        if name in table.columns:
            raise BadInput(f"[derive.{name}]: there is a column {name} already; give it another name")
        if section.of is not None and section.of not in (known := table.names()):
            raise BadInput(
                f"[derive.{name}] of: there is no column {section.of!r}.{nearest(section.of, known)} There "
                f"are {', '.join(known)}"
            )
        values = np.full(len(table), np.nan)
        if section.kind == "list":
            values = listed(table, folder / Path(section.file).expanduser()).astype("f8")
        where = " in its memory cell" if section.per_cell else ""
        where += f", in windows of {section.window} trains" if section.window else ""
        meaning = _MEANINGS[section.kind].format(**{**vars(section), "where": where})
        table.add_column(name, values, "", meaning)


def fill(table: Table, sections: Mapping[str, Derived]) -> None:
    """Compute the columns that need every shot, one after the other.

    Promise: exact; the same for any block size, backend and cut of the run into files.

    Only shots that were measured count; where a shot's own value is not known exactly, neither is its rank.

    Parameters
    ----------
    table : Table
        With the columns of `declare`, and every measure.
    sections : mapping of str to Derived
    """
    for name, section in sections.items():
        if section.kind not in WHOLE_TABLE:
            continue
        asked, low, known = _asked(table, section)
        out = np.full(len(table), np.nan)
        for shots in windows(table, asked, section.window, section.per_cell):
            values = low[shots[known[shots]]]
            if section.kind == "adaptive":
                out[shots] = robust_threshold(values, section.k)
            else:
                out[shots[known[shots]]] = rank(values)
        table.columns[name][:] = out


def robust_threshold(values: np.ndarray, k: float) -> float:
    """Return median + k * 1.4826 * median absolute deviation; NaN for fewer than `FEWEST` values.

    Examples
    --------
    >>> round(robust_threshold(np.array([1.0, 2.0, 3.0, 4.0, 900.0] * 4), 2), 4)
    5.9652
    """
    if len(values) < FEWEST:
        return np.nan
    median = np.median(values)
    return float(median + k * _ROBUST * np.median(np.abs(values - median)))


def per_train(table: Table, name: str, section: Derived, train_id: np.ndarray) -> dict[str, np.ndarray]:
    """Return an adaptive threshold by train, with the two numbers that it was made of.

    Promise: exact; ``value`` is the column itself, and what `fill` computed it from is computed once more.

    Parameters
    ----------
    table : Table
        After `fill`.
    name : str
        Of the column.
    section : Derived
        Of kind ``"adaptive"``, and not by memory cell: then a train has many thresholds.
    train_id : ndarray of uint64 (T,)

    Returns
    -------
    dict of str to ndarray of float64 (T,)
        ``value`` = ``mu`` + k * ``sig``: threshold, median and robust width; NaN where there are none.
    """
    asked, low, known = _asked(table, section)
    found = {key: np.full(len(train_id), np.nan) for key in ("value", "mu", "sig")}
    for shots in windows(table, asked, section.window, False):
        values = low[shots[known[shots]]]
        if len(values) < FEWEST:
            continue
        here = np.isin(train_id, table.train_id[shots])
        median = np.median(values)
        found["value"][here] = table.columns[name][shots[0]]
        found["mu"][here] = median
        found["sig"][here] = _ROBUST * np.median(np.abs(values - median))
    return found


def _asked(table: Table, section: Derived) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which shots count, the column that a section is made of, and where that is known exactly."""
    asked = (table.fate <= FATES.index("dropped")) & ~unread(table)
    low, high = table.bounds(section.of)
    return asked, low, asked & (low == high)


def rank(values: np.ndarray) -> np.ndarray:
    """Return for each value the share of all values that are higher.

    Examples
    --------
    >>> rank(np.array([5.0, 9.0, 5.0, 1.0])).tolist()
    [0.25, 0.0, 0.25, 0.75]
    """
    ordered = np.sort(values)
    higher = len(values) - np.searchsorted(ordered, values, side="right")
    return higher / max(len(values), 1)


def windows(table: Table, asked: np.ndarray, window: int | None, per_cell: bool) -> Iterator[np.ndarray]:
    """Yield the shots that are compared with each other: rows of the table, each once.

    Parameters
    ----------
    table : Table
    asked : ndarray of bool, shape (S,)
        The others are in no window.
    window : int or None
        Trains of a window; windows follow each other through all trains of the table, and the last one is
        at least half as long. None is one window.
    per_cell : bool
        Each memory cell on its own.
    """
    rows = np.flatnonzero(asked)
    if not len(rows):
        return
    trains, place = np.unique(table.train_id, return_inverse=True)
    group = np.zeros(len(table), np.int64)
    if window is not None:
        number = max(1, (len(trains) + window // 2) // window)
        group = np.minimum(place // window, number - 1)
    if per_cell:
        cells, cell = np.unique(table.cell_id, return_inverse=True)
        group = group * len(cells) + cell
    order = rows[np.argsort(group[rows], kind="stable")]
    yield from np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def listed(table: Table, path: Path) -> np.ndarray:
    """Return which shots a text file lists, bool (S,).

    Parameters
    ----------
    table : Table
    path : Path
        Lines of a train id, or a train and a pulse id, with spaces or a comma between; a train alone is all
        of its shots. What follows a # is left out.

    Raises
    ------
    BadInput
        If it cannot be read, a line is something else, or no shot of the table is listed.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise BadInput(f"the list of shots {path} cannot be read: {err}") from err
    whole, single = set(), set()
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        if len(words) > 2 or not all(word.isdecimal() for word in words):
            raise BadInput(f"{path}, line {number}: {line!r} is no train id, and no train and pulse id")
        ids = tuple(map(int, words))
        (whole if len(ids) == 1 else single).add(ids)
    found = np.fromiter(
        (
            (train,) in whole or (train, pulse) in single
            for train, pulse in zip(table.train_id.tolist(), table.pulse_id.tolist(), strict=True)
        ),
        bool,
        len(table),
    )
    if not found.any():
        raise BadInput(f"the list of shots {path} has none of the run's {len(table)} shots")
    return found
