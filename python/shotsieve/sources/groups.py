"""What detector files hold beside the frames: groups of their own with rows for every train."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import h5py
import numpy as np

from ..errors import UnreadableData
from .exdf import DAMAGE, RunFile, opened, reason


def other_groups(
    files: Sequence[RunFile], source: str, but: str, train_ids: np.ndarray
) -> Iterator[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
    """Yield the index groups of a source but one, for some trains and in their order.

    Promise: exact. Where a train is in two files the first one's rows are taken.

    Parameters
    ----------
    files : sequence of RunFile
        Those that have the source, in order.
    source : str
    but : str
        The group that is left out: that of the frames.
    train_ids : ndarray of uint64, shape (T,)

    Yields
    ------
    group : str
    counts : ndarray of int64, shape (T,)
        Rows of each train.
    rows : dict of str to ndarray
        Of each dataset, by its path in the group.

    Raises
    ------
    UnreadableData
        If a file is damaged, or its datasets are not those of the first.
    """
    names = sorted({group for file in files for group in file.instrument.get(source, ())} - {but})
    for group in names:
        counts = np.zeros(len(train_ids), np.int64)
        places, parts = [], []
        for file in files:
            if group not in file.instrument.get(source, ()):
                continue
            with opened(file.path) as f:
                first, count = file.index(f, source, group)
                at = np.minimum(np.searchsorted(train_ids, file.train_id), max(len(train_ids) - 1, 0))
                new = (count > 0) & (train_ids[at] == file.train_id) & (counts[at] == 0)
                counts[at[new]] = count[new]
                within = np.arange(count[new].sum()) - np.repeat(
                    np.cumsum(count[new]) - count[new], count[new]
                )
                rows = np.repeat(first[new], count[new]) + within
                places.append(np.repeat(at[new], count[new]))
                parts.append(_rows(f, file, f"INSTRUMENT/{source}/{group}", rows))
        if any(part.keys() != parts[0].keys() for part in parts):
            raise UnreadableData(
                f"{source}/{group}: its files hold different datasets, so they cannot be joined"
            )
        order = np.argsort(np.concatenate(places), kind="stable")
        yield group, counts, {key: np.concatenate([part[key] for part in parts])[order] for key in parts[0]}


def _rows(f: h5py.File, file: RunFile, where: str, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return some rows of every dataset of a group; these are small, so each is read as a whole."""
    found: dict[str, np.ndarray] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            if len(item) <= rows.max(initial=-1):
                raise UnreadableData(
                    f"{file.path}: {where}/{name} has {len(item)} rows, and its index tells of more"
                )
            found[name] = item[()][rows]

    try:
        f[where].visititems(take)
    except DAMAGE as err:
        raise UnreadableData(f"{file.path}: {where} cannot be read ({reason(err)})") from err
    return found
