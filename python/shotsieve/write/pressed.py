"""Chunks that HDF5's own filters make: written into a file in memory, and read back as they are stored."""

from __future__ import annotations

import threading
from functools import lru_cache

import h5py
import numpy as np

from ..errors import OutputError
from ..filters import bitshuffle_options

_LOCK = threading.Lock()


def press(frame: np.ndarray, compression: str) -> bytes:
    """Return the bytes of one chunk as HDF5 stores them; safe to call from several threads, which wait.

    Parameters
    ----------
    frame : ndarray, C-contiguous
        All values of the chunk, of the dataset's dtype.
    compression : {"bitshuffle-lz4", "bitshuffle-zstd"}

    Raises
    ------
    BadInput
        If hdf5plugin is not installed.
    OutputError
        If the filter does not do its work.

    Notes
    -----
    Promise: exact. The same bytes on one kind of processor and version of hdf5plugin only; what they hold is
    the same everywhere. HDF5 compresses in one thread at a time, whatever is asked of it.

    Examples
    --------
    >>> len(press(np.zeros((512, 128), "<f4"), "bitshuffle-lz4")) < 3000    # doctest: +SKIP
    True
    """
    with _LOCK:
        dataset = _dataset(frame.shape, frame.dtype.str, compression)
        dataset[0] = frame
        skipped, chunk = dataset.id.read_direct_chunk((0,) * dataset.ndim)
    if skipped:
        raise OutputError(f"the HDF5 filter of {compression} did not compress a chunk of {frame.shape}")
    return chunk


@lru_cache(maxsize=8)
def _dataset(shape: tuple[int, ...], dtype: str, compression: str) -> h5py.Dataset:
    # HDF5 wants each open file to have a name of its own, also where there is none on a disk. Without a cache
    # every write goes through the filter at once.
    name = f"{compression} {dtype} {shape}"
    file = h5py.File(name, "w", driver="core", backing_store=False, rdcc_nbytes=0)
    row = (1, *shape)
    return file.create_dataset("chunk", row, dtype, chunks=row, **bitshuffle_options(compression))
