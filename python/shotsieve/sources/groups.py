"""What detector files hold beside the frames: groups of their own with rows for every train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import h5py
import numpy as np

from ..errors import DAMAGE, UnreadableData
from .columns import Column, Taken, plain_attributes
from .exdf import RunFile, opened, reason

AUXILIARY = ("ERRATA", "REDUCTION")


@dataclass(frozen=True, eq=False)
class Group:
    """One index group.

    Attributes
    ----------
    section : {"INSTRUMENT", "CONTROL", "REDUCTION", "ERRATA"}
    source : str
    name : str
        Empty for a control source.
    counts : ndarray of int64, shape (T,)
        Rows of each train.
    columns : dict of str to Column
        Its datasets, by their path in the group.
    """

    section: str
    source: str
    name: str
    counts: np.ndarray
    columns: dict[str, Column]


def join_group(
    files: Sequence[RunFile], section: str, source: str, name: str, train_ids: np.ndarray
) -> Group:
    """Return an index group for some trains and in their order.

    Promise: exact. Where a train is in two files the first one's rows are taken.

    Parameters
    ----------
    files : sequence of RunFile
        Those that have the group, in order.
    section, source, name : str
    train_ids : ndarray of uint64, shape (T,)
        Increasing.

    Raises
    ------
    UnreadableData
        If a file is damaged, or its datasets are not those of the first.
    """
    where = f"{section}/{source}/{name}".rstrip("/")
    counts = np.zeros(len(train_ids), np.int64)
    found: list[tuple[RunFile, np.ndarray, np.ndarray, np.ndarray]] = []
    described: list[dict[str, tuple]] = []
    for file in files:
        with opened(file.path) as f:
            first, count = file.index(f, source, name)
            at = np.minimum(np.searchsorted(train_ids, file.train_id), max(len(train_ids) - 1, 0))
            # Of a train that stands twice in one file the first rows count, too.
            order = np.flatnonzero((count > 0) & np.isin(file.train_id, train_ids))
            new = order[np.unique(at[order], return_index=True)[1]]
            new = new[counts[at[new]] == 0]
            counts[at[new]] = count[new]
            found.append((file, at[new], first[new], count[new]))
            described.append(_described(f, file, where, int((first + count)[new].max(initial=0))))
    if any(one.keys() != described[0].keys() for one in described) or any(
        one[key][:2] != described[0][key][:2] for one in described for key in described[0]
    ):
        raise UnreadableData(f"{where}: its files hold different datasets, so they cannot be joined")
    begin = np.cumsum(counts) - counts
    taken = [Taken(file, ranges(first, count), ranges(begin[at], count)) for file, at, first, count in found]
    total = int(counts.sum())
    columns = {
        key: Column(f"{where}/{key}", total, tail, dtype, taken, attrs=attrs)
        for key, (tail, dtype, attrs) in described[0].items()
    }
    return Group(section, source, name, counts, columns)


def auxiliary_groups(f: h5py.File) -> list[tuple[str, str, str]]:
    """Return (section, source, group) of every auxiliary source that a file lists.

    Parameters
    ----------
    f : h5py.File
        Open.

    Examples
    --------
    >>> auxiliary_groups(f)    # doctest: +SKIP
    [('ERRATA', 'TRAINS_OUTSIDE_BUFFER_RANGE', 'event')]
    """
    listed = []
    for section in AUXILIARY:
        path = f"METADATA/auxiliarySources/{section}"
        for entry in f[path][:].reshape(-1) if path in f else ():
            text = entry.decode("utf-8", "replace") if isinstance(entry, bytes) else str(entry)
            source, _, group = text.rstrip("\0").removeprefix(f"{section}/").rpartition("/")
            if source:
                listed.append((section, source, group))
    return listed


def ranges(first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """``first .. first + count`` of each, one after the other."""
    within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(first, count) + within


def _described(f: h5py.File, file: RunFile, where: str, rows: int) -> dict[str, tuple]:
    """Shape of a row, dtype and attributes of every dataset of a group."""
    found: dict[str, tuple] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            if not item.shape or len(item) < rows:
                raise UnreadableData(
                    f"{file.path}: {where}/{name} has {len(item) if item.shape else 0} rows, and its index "
                    f"tells of {rows}"
                )
            found[name] = (item.shape[1:], item.dtype, plain_attributes(item))

    try:
        f[where].visititems(take)
    except DAMAGE as err:
        raise UnreadableData(f"{file.path}: {where} cannot be read ({reason(err)})") from err
    return found
