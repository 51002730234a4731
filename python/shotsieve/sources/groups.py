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
        counts, parts = np.zeros(len(train_ids), np.int64), {}
        pieces: list[tuple[int, dict[str, np.ndarray]]] = []
        for file in files:
            if group not in file.instrument.get(source, ()):
                continue
            with opened(file.path) as f:
                first, count = file.index(f, source, group)
                at = np.searchsorted(train_ids, file.train_id)
                inside = at < len(train_ids)
                inside[inside] = train_ids[at[inside]] == file.train_id[inside]
                for k in np.flatnonzero(inside & (count > 0)):
                    if counts[at[k]] == 0:
                        counts[at[k]] = count[k]
                        pieces.append(
                            (int(at[k]), _rows(f, file, f"INSTRUMENT/{source}/{group}", first[k], count[k]))
                        )
        for _, rows in sorted(pieces, key=lambda piece: piece[0]):
            for key, values in rows.items():
                parts.setdefault(key, []).append(values)
        if any(sum(map(len, values)) != counts.sum() for values in parts.values()):
            raise UnreadableData(
                f"{source}/{group}: its files hold different datasets: they cannot be joined"
            )
        yield group, counts, {key: np.concatenate(values) for key, values in parts.items()}


def _rows(f: h5py.File, file: RunFile, where: str, first: int, count: int) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[first : first + count]

    try:
        f[where].visititems(take)
    except DAMAGE as err:
        raise UnreadableData(f"{file.path}: {where} cannot be read ({reason(err)})") from err
    if short := [name for name, values in found.items() if len(values) != count]:
        raise UnreadableData(f"{file.path}: {where}/{short[0]} has fewer rows than its index says")
    return found
