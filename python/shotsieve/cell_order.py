"""The order in which a train fills memory cells, as a text that people, recipes and constants share."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from .errors import BadInput

__all__ = ["ANY", "order_of", "read_order", "same_order", "shown_order"]

ANY = "any"
"""What a recipe says where constants of any order will do."""

_RUN = re.compile(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?")


def order_of(cells: Iterable[int]) -> str:
    """Write an order of memory cells as ranges.

    Parameters
    ----------
    cells : iterable of int
        Memory cells, as a train fills them.

    Returns
    -------
    str

    Examples
    --------
    >>> order_of([4, 5, 6, 0, 1])
    '4-6,0-1'
    """
    return _written((int(cell), int(cell)) for cell in cells)


def read_order(text: object, option: str = "memory_cell_order") -> str:
    """Bring an order of memory cells into the one form in which it is kept.

    Parameters
    ----------
    text : str
        Ranges, or every cell with a comma behind it, as the facility's database has it.
    option : str
        What the error calls it.

    Returns
    -------
    str
        As `order_of` writes it.

    Raises
    ------
    BadInput
        If it is neither.

    Examples
    --------
    >>> read_order("4,5,6,0,1,"), read_order("4 - 6, 0, 1")
    ('4-6,0-1', '4-6,0-1')
    """
    found = [_RUN.fullmatch(part) for part in str(text).strip().removesuffix(",").split(",")]
    pairs = [(int(hit[1]), int(hit[2] or hit[1])) for hit in found if hit]
    if len(pairs) < len(found) or any(first > last for first, last in pairs):
        raise BadInput(
            f"{option} = {text!r}: expected memory cells in the order in which a train fills them, as "
            '"0-509", "12-511,0-11" or "0,1,2,"'
        )
    return _written(pairs)


def same_order(one: str, other: str) -> bool:
    """Whether constants of one order are those of the other.

    Orders that never go back to a lower cell are alike, however many cells they have: the facility
    does not tell them apart either.

    Parameters
    ----------
    one, other : str

    Returns
    -------
    bool

    Examples
    --------
    >>> same_order("0-509", "0-99"), same_order("0-509", "12-511,0-11")
    (True, False)
    """
    try:
        one, other = read_order(one), read_order(other)
    except BadInput:
        return one == other
    return one == other or (_ascending(one) and _ascending(other))


def shown_order(text: str, most: int = 48) -> str:
    """Return an order that is long as its begin and the number of its cells.

    Examples
    --------
    >>> shown_order("0,2,4,6,8,10,12", 8)
    '0,2,4,6, ... (7 cells)'
    """
    if len(text) <= most:
        return text
    cells = sum(last - first + 1 for first, last in _pairs(text))
    return f"{text[:most].rpartition(',')[0]}, ... ({cells} cells)"


def _written(pairs: Iterable[tuple[int, int]]) -> str:
    """Write ranges (first, last), those that go on from one to the next as one."""
    merged: list[tuple[int, int]] = []
    for first, last in pairs:
        if merged and merged[-1][1] + 1 == first:
            first = merged.pop()[0]
        merged.append((first, last))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in merged)


def _pairs(text: str) -> list[tuple[int, int]]:
    """Return the ranges of a text in the form in which orders are kept."""
    found = [part.partition("-") for part in text.split(",")]
    return [(int(first), int(last or first)) for first, _, last in found]


def _ascending(text: str) -> bool:
    return all(before[1] <= after[0] for before, after in itertools.pairwise(_pairs(text)))
