"""Growing datasets of one axis, in chunks of many entries, whose bytes do not depend on how they came."""

from __future__ import annotations

import h5py
import numpy as np

from .encoded import encode_chunk, filter_options

CHUNK = 1 << 16
"""Entries of a chunk."""


class FlatDataset:
    """A dataset of one axis that grows.

    Parameters
    ----------
    group : h5py.Group
    name : str
    dtype : str
        Little-endian NumPy dtype.
    compressed : bool or str
        As for `shotsieve.write.chunks.RowDataset`.

    Notes
    -----
    Promise: exact; the same entries give the same bytes, however they are cut into calls.

    Examples
    --------
    >>> pixel = FlatDataset(group, "pixel", "<u2", True)    # doctest: +SKIP
    >>> pixel.append(np.arange(5))    # doctest: +SKIP
    """

    def __init__(self, group: h5py.Group, name: str, dtype: str, compressed: bool | str) -> None:
        self.dtype, self.compressed = np.dtype(dtype), compressed
        self._waiting: list[np.ndarray] = []
        self._stored = self._held = 0
        self.dataset = group.create_dataset(
            name,
            shape=(0,),
            maxshape=(None,),
            chunks=(CHUNK,),
            dtype=self.dtype,
            **filter_options(compressed),
        )

    def __len__(self) -> int:
        return self._stored + self._held

    def append(self, entries: np.ndarray) -> None:
        """Append entries; full chunks are written at once."""
        self._waiting.append(entries.astype(self.dtype))
        self._held += len(entries)
        if self._held >= CHUNK:
            held = np.concatenate(self._waiting)
            full = self._held // CHUNK * CHUNK
            self._store(held[:full])
            self._waiting, self._held = [held[full:]], self._held - full

    def finish(self) -> None:
        """Write what is left; the rest of its chunk is 0."""
        held = np.concatenate([np.zeros(0, self.dtype), *self._waiting])
        self._waiting, self._held = [], 0
        if len(held):
            self._store(held)

    def _store(self, entries: np.ndarray) -> None:
        self.dataset.resize(self._stored + len(entries), axis=0)
        for start in range(0, len(entries), CHUNK):
            chunk = np.zeros(CHUNK, self.dtype)
            part = entries[start : start + CHUNK]
            chunk[: len(part)] = part
            packed = encode_chunk(chunk, self.dtype, self.compressed)
            self.dataset.id.write_direct_chunk((self._stored + start,), packed)
        self._stored += len(entries)
