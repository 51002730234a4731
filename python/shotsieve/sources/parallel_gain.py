"""Parallel gain of LPD: a train holds all frames in high gain, then all in medium, then all in low gain."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np

from ..errors import BadInput
from .exdf import train_text
from .plan import Part


def first_thirds(part: Part, notes: list[str], path: Path) -> tuple[Part, np.ndarray]:
    """Take the first third of the frames of each train for its shots; the ids of the others are junk.

    Promise: exact.

    Parameters
    ----------
    part : Part
        All frames of a module in a file.
    notes : list of str
        Told of trains whose number of frames three does not divide: the module counts as absent there.
    path : Path
        Of the file.

    Returns
    -------
    part : Part
        With a third of the frames in each train.
    step : ndarray of int64, shape (N,)
        For every frame of a first third: how many frames further on that of the next stage is.

    Raises
    ------
    BadInput
        If no train of the file has such a number of frames.

    Examples
    --------
    >>> one = np.array([1], "u8")
    >>> ids = np.array([0, 4, 9, 9, 9, 9], "u8")
    >>> part = Part(0, one, one, one > 0, np.array([0]), np.array([6]), ids, ids.astype("i4"), 6)
    >>> thirds, step = first_thirds(part, [], Path("a.h5"))
    >>> thirds.count.tolist(), step[:2].tolist()
    ([2], [2, 2])
    """
    odd = part.count % 3 != 0
    if odd.any():
        if not (part.count[~odd] > 0).any():
            raise BadInput(
                f"{path}: parallel gain needs three frames of every pulse, but three divides that of "
                f"no train ({sorted(set(part.count[odd].tolist()))} in {train_text(part.train_id[odd])}): "
                "set [calibrate] parallel_gain = false if the run was not taken so"
            )
        notes.append(
            f"{path.name}: {int(odd.sum())} trains do not hold three frames of every pulse (parallel gain), "
            f"{train_text(part.train_id[odd])}; the module counts as absent there"
        )
    count = np.where(odd, 0, part.count // 3)
    step = np.zeros(part.frames, np.int64)
    for first, number in zip(part.first, count, strict=True):
        step[first : first + number] = number
    return dataclasses.replace(part, count=count), step


def in_thirds(shots: np.ndarray, trains: np.ndarray) -> np.ndarray:
    """Repeat the shots of each train three times, one block after the other.

    Parameters
    ----------
    shots : ndarray of int64, shape (K,)
        By train.
    trains : ndarray, shape (K,)
        Train of each.

    Returns
    -------
    ndarray of int64, shape (3 K,)

    Examples
    --------
    >>> in_thirds(np.array([0, 1, 5]), np.array([7, 7, 9])).tolist()
    [0, 1, 0, 1, 0, 1, 5, 5, 5]
    """
    edges = np.flatnonzero(np.concatenate([[True], trains[1:] != trains[:-1], [True]])) if len(trains) else []
    blocks = [np.tile(shots[a:b], 3) for a, b in itertools.pairwise(edges)]
    return np.concatenate(blocks) if blocks else shots[:0]
