"""Which frames of a virtual dataset have data, where the datasets that it shows are not whole rows of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import h5py
import numpy as np


@dataclass(frozen=True)
class Shown:
    """What one mapping of a virtual dataset shows.

    Attributes
    ----------
    to, of : h5py.h5s.SpaceID
        What is selected of the virtual dataset, and of the other one.
    shape : tuple of int
        Of the other one, as it is now.
    written : callable
        Gives which of some rows, ndarray of int64 (n,), of the other one have data, bool (n,).
    """

    to: h5py.h5s.SpaceID
    of: h5py.h5s.SpaceID
    shape: tuple[int, ...]
    written: Callable[[np.ndarray], np.ndarray]


def rows_of(space: h5py.h5s.SpaceID, shape: tuple[int, ...]) -> range | None:
    """Return the consecutive whole rows that are selected of a dataset of some shape; None if it is else.

    Parameters
    ----------
    space : h5py.h5s.SpaceID
    shape : tuple of int
    """
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return range(shape[0])
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        return None
    spans = []
    for first, stride, count, block in zip(*space.get_regular_hyperslab(), strict=True):
        if count > 1 and stride != block:
            return None
        spans.append(range(first, first + count * block))
    whole = [range(n) for n in shape[1:]]
    return spans[0] if spans[1:] == whole and spans[0].stop <= space.shape[0] else None


def covered(shape: tuple[int, ...], lead_axes: int, shown: Sequence[Shown]) -> np.ndarray | None:
    """Return which frames have all of their data; HDF5 puts its fill value where a mapping has none.

    Parameters
    ----------
    shape : tuple of int
        Of the virtual dataset.
    lead_axes : int
        Axes that count frames.
    shown : sequence of Shown
        All of its mappings. They may overlap.

    Returns
    -------
    ndarray of bool, shape `shape[:lead_axes]`; or None
        None where some selection is not that of a regular hyperslab, or goes through rows otherwise than
        what it is mapped to and is not there as a whole.

    Examples
    --------
    >>> covered((4, 512, 128), 1, []).tolist()
    [False, False, False, False]
    """
    here = np.zeros((len(shown), shape[0]), bool)
    boxes = []
    for mapping, rows in zip(shown, here, strict=True):
        found = _rows_with_data(mapping, shape)
        if found is None:
            return None
        rows[found[0]] = True
        boxes.append(np.ix_(*found[1]))
    out = np.zeros(shape[:lead_axes], bool)
    # Rows that the same mappings show are alike, and there are few kinds of them.
    kinds, kind = np.unique(here, axis=1, return_inverse=True)
    for number, mappings in enumerate(kinds.T):
        whole = np.zeros(shape[1:], bool)
        for i in np.flatnonzero(mappings):
            whole[boxes[i]] = True
        out[kind.reshape(-1) == number] = whole.reshape(*shape[1:lead_axes], -1).all(axis=-1)
    return out


def _rows_with_data(one: Shown, shape: tuple[int, ...]) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """Return rows of the virtual dataset that a mapping fills, and what it fills of each, axis by axis."""
    # What goes on for ever ends where either dataset does.
    most = max(shape[0], one.shape[0])
    to, of = _selected(one.to, shape, most), _selected(one.of, one.shape, most)
    if to is None or of is None:
        return None
    inner = [at[at < n] for at, n in zip(to[1:], shape[1:], strict=True)]
    there = all((at < n).all() for at, n in zip(of[1:], one.shape[1:], strict=True))
    each, its = (math.prod(len(at) for at in places[1:]) for places in (to, of))
    if each == its:
        rows = min(len(to[0]), len(of[0]))
        to[0], of[0] = to[0][:rows], of[0][:rows]
        good = there & (of[0] < one.shape[0]) & (to[0] < shape[0])
        good[good] = one.written(of[0][good])
        return to[0][good], inner
    # Where a row of one is not a row of the other, either all of it is there, or it is not told what is.
    there &= len(to[0]) * each == len(of[0]) * its and bool((of[0] < one.shape[0]).all())
    if there and one.written(of[0]).all():
        return to[0][to[0] < shape[0]], inner
    return None


def _selected(space: h5py.h5s.SpaceID, shape: tuple[int, ...], most: int) -> list[np.ndarray] | None:
    """Return the places along each axis whose product a selection is; None if it is no such product."""
    kind = space.get_select_type()
    if kind == h5py.h5s.SEL_ALL:
        return [np.arange(n) for n in shape]
    if kind == h5py.h5s.SEL_NONE:
        return [np.arange(0) for _ in shape]
    if kind != h5py.h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        return None
    places = []
    for axis, (first, stride, count, block) in enumerate(zip(*space.get_regular_hyperslab(), strict=True)):
        endless = h5py.h5s.UNLIMITED in (count, block)
        if endless and axis:
            return None
        count, block = (most if n == h5py.h5s.UNLIMITED else n for n in (count, block))
        places.append((first + np.arange(count)[:, None] * stride + np.arange(block)).reshape(-1))
    return places
