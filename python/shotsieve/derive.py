"""Columns that follow from the whole table: thresholds that follow the run, ranks, lists of shots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .decide import Rule
from .errors import BadInput, nearest
from .keep import unread
from .robust import MAD_TO_SIGMA
from .table import FATES, Table
from .table_columns import known_exactly

if TYPE_CHECKING:
    from .recipe_scores import Derived

FEWEST = 20
"""Shots that a window needs for a threshold; with fewer it is unknown."""

WHOLE_TABLE = ("adaptive", "rank", "scaled", "value")
"""Kinds that can be computed only once every shot was measured."""

AROUND = 100
"""Shots that a scale is made of at least, where a recipe does not say."""

_QUARTILES = 1.34896  # the distance of its quartiles over its standard deviation, as EXtra-redu has it
_WIDTHS = {
    "mad": "robust width",
    "quartiles": "width between quartiles",
    "lower_quartile": "width below the median",
}
_MEANINGS = {
    "adaptive": "median of {of} + {k:g} times its {width}{where}",
    "rank": "share of the shots with a higher {of}{where}; 0 is the highest",
    "scaled": "{of}, scaled to the median {by}{where}",
    "value": "{of}",
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
        if section.kind == "value":
            _calculation(table, name, section)
        for key in ("of", "by") if section.kind != "value" else ():
            asked = getattr(section, key)
            if asked is None or asked in (known := table.names()):
                continue
            raise BadInput(
                f"[derive.{name}] {key}: there is no column {asked!r}.{nearest(asked, known)} There are "
                f"{', '.join(known)}"
            )
        values = np.full(len(table), np.nan)
        if section.kind == "list":
            values = listed(table, folder / Path(section.file).expanduser()).astype("f8")
        where = " in its memory cell" if section.per_cell else ""
        where += f", in windows of {section.window} trains" if section.window else ""
        around = section.around or (AROUND if section.kind == "scaled" else None)
        where += f", around trains with {around} shots" if around else ""
        told = {**vars(section), "where": where, "width": _WIDTHS[section.width]}
        meaning = _MEANINGS[section.kind].format(**told)
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
        if section.kind == "value":
            table.columns[name][:] = _calculated(table, name, section)
        elif section.kind == "scaled":
            table.columns[name][:] = _scaled(table, section)
        elif section.kind == "adaptive":
            table.columns[name][:] = _adaptive(table, section)
        elif section.kind == "rank":
            _, low, known = _asked(table, section.of)
            for shots in _groups(table, section):
                mine = shots[known[shots]]
                table.columns[name][mine] = rank(low[mine])


def _groups(table: Table, section: Derived) -> Iterator[np.ndarray]:
    return windows(table, _asked(table, section.of)[0], section.window, section.per_cell)


def _samples(table: Table, section: Derived) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield shots, and the values that their threshold is made of."""
    asked, low, known = _asked(table, section.of)
    if section.around is not None:
        for shots, inside in trains_around(table, asked, known, section.around):
            yield shots, low[inside]
        return
    for shots in _groups(table, section):
        yield shots, low[shots[known[shots]]]


def _adaptive(table: Table, section: Derived) -> np.ndarray:
    """Return the threshold of every shot."""
    out = np.full(len(table), np.nan)
    for shots, values in _samples(table, section):
        out[shots] = robust_threshold(values, section.k, section.width)
    return out


def robust_threshold(values: np.ndarray, k: float, width: str = "mad") -> float:
    """Return median + k * width, the latter as of `spread`; NaN for fewer than `FEWEST` values.

    Examples
    --------
    >>> round(robust_threshold(np.array([1.0, 2.0, 3.0, 4.0, 900.0] * 4), 2), 4)
    5.9652
    """
    middle, factor, deviation = spread(values, width)
    return middle + k * factor * deviation


def spread(values: np.ndarray, width: str = "mad") -> tuple[float, float, float]:
    """Return the median of values and two factors whose product is their width; NaN for fewer than `FEWEST`.

    Parameters
    ----------
    values : ndarray of float64
    width : {"mad", "quartiles", "lower_quartile"}
        1.4826 times the median absolute deviation; or, as EXtra-redu has it, the distance of the quartiles,
        or twice that of median and lower quartile, over 1.34896.

    Examples
    --------
    >>> spread(np.arange(21.0), "quartiles")
    (10.0, 1.0, 7.413118254062389)
    """
    if len(values) < FEWEST:
        return np.nan, np.nan, np.nan
    if width == "mad":
        middle = np.median(values)
        return float(middle), MAD_TO_SIGMA, float(np.median(np.abs(values - middle)))
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    sigma = (2.0 * (middle - low) if width == "lower_quartile" else high - low) / _QUARTILES
    return float(middle), 1.0, float(sigma)


def trains_around(
    table: Table, asked: np.ndarray, known: np.ndarray, least: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each train its shots, and the known shots of the window around it: rows of the table.

    The window is the train, and on both sides as much more as makes `least` known shots; at an end of the
    run it is cut off. This is the window of EXtra-redu's ``SpiHitfinder``.

    Parameters
    ----------
    table : Table
    asked, known : ndarray of bool, shape (S,)
        Shots that are compared at all, and those of which the value is known.
    least : int
    """
    rows = np.flatnonzero(asked)
    if not len(rows):
        return
    good = known[rows]
    counted = np.cumsum(good)
    edges = np.flatnonzero(np.diff(table.train_id[rows].astype("i8"))) + 1
    for start, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(rows)], strict=True):
        first, last = counted[start], counted[stop - 1]
        more = max(0, (least - int(last - first + 1)) // 2)
        low, high = start, stop
        if more > 0:
            low = 0 if first - counted[0] < more else int(np.searchsorted(counted, first - more, "right"))
            low = min(low, start)
            high = len(rows)
            if counted[-1] - last >= more:
                high = int(np.searchsorted(counted, last + more, "left"))
        inside = rows[low:high]
        yield rows[start:stop], inside[good[low:high]]


def _scaled(table: Table, section: Derived) -> np.ndarray:
    """Return a column times the median of another around its train, over its own value of that.

    Unknown where that value is not above the least one: nothing is divided by a pulse that was not there.
    """
    _, value, known = _asked(table, section.of)
    asked, by, there = _asked(table, section.by)
    out = np.full(len(table), np.nan)
    least = 0.0 if section.least is None else section.least
    good = known & there & (by > least) & (by > 0)
    for train, shots in trains_around(table, asked, there, section.around or AROUND):
        mine = train[good[train]]
        if len(shots) and len(mine):
            out[mine] = value[mine] * (np.median(by[shots]) / by[mine])
    return out


def _calculated(table: Table, name: str, section: Derived) -> np.ndarray:
    """Return what a calculation comes to, NaN where that is not known exactly."""
    rule = _calculation(table, name, section)
    found = known_exactly(*rule.sides({word: table.bounds(word) for word in rule.names})[0].left)
    return np.where(np.isfinite(found), found, np.nan)


def _calculation(table: Table, name: str, section: Derived) -> Rule:
    """Return a rule whose only comparison has the calculation of a section of kind ``"value"`` on its left.

    Raises
    ------
    BadInput
        If it is none, or asks for a column that does not exist.
    """
    try:
        rule = Rule.parse(f"({section.of}) > 0", table.names(), explain=table.explain())
    except BadInput as err:
        raise BadInput(f"[derive.{name}] of: {err}") from None
    if any(sign in section.of for sign in "<>="):
        raise BadInput(
            f"[derive.{name}] of = {section.of!r}: expected a number made of columns, no comparison"
        )
    return rule


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
    found = {key: np.full(len(train_id), np.nan) for key in ("value", "mu", "sig")}
    for shots, values in _samples(table, section):
        here = np.isin(train_id, table.train_id[shots])
        found["mu"][here], factor, deviation = spread(values, section.width)
        found["sig"][here] = factor * deviation
        found["value"][here] = table.columns[name][shots[0]]
    return found


def _asked(table: Table, of: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which shots count, a column, and where that is known exactly."""
    asked = (table.fate <= FATES.index("dropped")) & ~unread(table)
    low, high = table.bounds(of)
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
