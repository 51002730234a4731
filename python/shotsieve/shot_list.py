"""Lists of shots as text, which ``[derive.NAME] kind = "list"`` reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import BadInput, nearest
from .keep import kept_misses, unread
from .table import FATES

if TYPE_CHECKING:
    from .table import Table

WHICH = (*FATES, "undecided", "misses")
"""What may be listed: shots of a fate, those whose verdict is unknown, those kept by chance."""


def chosen(table: Table, which: str) -> np.ndarray:
    """Return which shots are of a kind, bool (S,).

    Parameters
    ----------
    table : Table
    which : str
        One of `WHICH`. Undecided shots were asked about and are kept or dropped as well.

    Raises
    ------
    BadInput
        If it is none of these.

    Examples
    --------
    >>> chosen(table, "kept").sum()    # doctest: +SKIP
    412
    """
    if which not in WHICH:
        raise BadInput(
            f"there is no list {which!r}; expected one of {', '.join(WHICH)}.{nearest(which, WHICH)}"
        )
    if which == "misses":
        return kept_misses(table)
    if which == "undecided":
        return (table.verdict == -1) & (table.fate <= FATES.index("dropped")) & ~unread(table)
    return table.fate == FATES.index(which)


def shot_list(table: Table, which: str) -> str:
    """Return lines of train and pulse id, in the order of the table, after a comment that says what they are.

    Promise: exact. Where the detector has no pulse id the second number is the index in the train.

    Parameters
    ----------
    table : Table
    which : str
        One of `WHICH`.

    Raises
    ------
    BadInput
        If it is none of these.

    Examples
    --------
    >>> print(shot_list(table, "kept"))    # doctest: +SKIP
    # kept: 2 of 24 shots
    1500000001 4
    1500000001 12
    """
    mine = chosen(table, which)
    keys = zip(table.train_id[mine].tolist(), table.pulse_id[mine].tolist(), strict=True)
    lines = [f"# {which}: {int(mine.sum())} of {len(table)} shots", *(f"{t} {p}" for t, p in keys)]
    return "\n".join(lines) + "\n"
