"""How a run is cut into parts, each of which is measured, written and complete on its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..write.part import Part

if TYPE_CHECKING:
    from ..sources.base import Source

TRAINS = 500
"""Trains of a part where the recipe writes nothing and so does not say."""


def cut_parts(source: Source, trains: int = TRAINS) -> list[Part]:
    """Cut a run into parts. The plan follows from run and number alone.

    Parameters
    ----------
    source : Source
    trains : int
        Trains of a part, of all that any file of the run mentions, the last part may have fewer; 0 cuts where
        the files of the run begin.

    Returns
    -------
    list of Part
        At least one; together they hold every train and every shot once, in order.
    """
    number = len(source.trains)
    if trains > 0:
        edges = list(range(0, number, trains)) or [0]
    else:
        begins = np.searchsorted(source.trains.train_id, np.array(source.sequences, "u8"))
        edges = sorted({0, *begins[begins < number].tolist()})
    edges.append(number)
    bounds = [source.trains.train_id[edge] for edge in edges[1:-1]]
    shots = [0, *np.searchsorted(source.shots.train_id, bounds).tolist(), len(source.shots)]
    return [
        Part(k, slice(edges[k], edges[k + 1]), slice(shots[k], shots[k + 1])) for k in range(len(edges) - 1)
    ]


def blocks_of(part: Part, readable: np.ndarray, cuts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what lies in a part of ranges of readable shots.

    Parameters
    ----------
    part : Part
    readable : ndarray of int64
        Rows of the shots that are read, ascending.
    cuts : sequence of (int, int)
        Ranges of `readable`, one after the other.

    Examples
    --------
    >>> blocks_of(Part(1, slice(1, 2), slice(10, 20)), np.arange(30), [(0, 8), (8, 16), (16, 30)])
    [(10, 16), (16, 20)]
    """
    low, high = np.searchsorted(readable, [part.shots.start, part.shots.stop]).tolist()
    inside = ((max(start, low), min(stop, high)) for start, stop in cuts)
    return [(start, stop) for start, stop in inside if start < stop]
