"""Small things about HDF5 that every file written here shares."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

import h5py
import numpy as np

from ..errors import BadInput, OutputError

# HDF5 1.10 is the oldest library at the facility that opens what we write; a fixed bound also keeps the
# bytes of a file from depending on the library that happens to be installed.
LIBVER = ("v110", "v110")
STRING = h5py.string_dtype()
_SYNCS = 4
"""Files at a time: they wait for the disk, and take no processor."""


def storable(value: Any) -> np.ndarray:
    """Turn a value into an array HDF5 can hold; text becomes an object array of str.

    Text of a fixed length stays as it is where its dtype says so: one that ``h5py.string_dtype`` made.

    Parameters
    ----------
    value : scalar, str, bytes or array
        What is to be stored.

    Returns
    -------
    ndarray
        Zero-dimensional for a scalar.

    Examples
    --------
    >>> storable("adaptive").dtype
    dtype('O')
    """
    array = np.asarray(value)
    if array.dtype.kind == "S" and array.dtype.metadata is None:
        array = np.char.decode(array, "utf-8")
    return array.astype(object) if array.dtype.kind == "U" else array


def stored_dtype(array: np.ndarray) -> Any:
    """Return the type an array of `storable` has in the file: variable-length text, or its own.

    Parameters
    ----------
    array : ndarray

    Returns
    -------
    dtype

    Examples
    --------
    >>> stored_dtype(np.zeros(3, "u4"))
    dtype('uint32')
    """
    return STRING if array.dtype.kind == "O" else array.dtype


def put(group: h5py.Group, name: str, array: np.ndarray) -> None:
    """Write a small dataset: what ``group.create_dataset(name, data=array)`` writes, in a third of its time.

    Parameters
    ----------
    group : h5py.Group
    name : str
        Not there yet; no path.
    array : ndarray
        Of `storable`.

    Raises
    ------
    BadInput
        If HDF5 cannot store its dtype.

    Examples
    --------
    >>> put(file["INDEX"], "trainId", train_ids)    # doctest: +SKIP
    """
    try:
        array = np.asarray(array, stored_dtype(array), order="C")
        dtype = h5py.h5t.py_create(array.dtype, logical=True)
        space = h5py.h5s.create_simple(array.shape) if array.ndim else h5py.h5s.create(h5py.h5s.SCALAR)
        dataset = h5py.h5d.create(group.id, name.encode(), dtype, space, _without_times())
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, array)
    except TypeError as err:
        where = f"{Path(group.file.filename).name}: {group.name[1:]}/{name}"
        raise BadInput(f"{where} holds {array.dtype}, which HDF5 cannot store") from err


@cache
def _without_times() -> h5py.h5p.PropDCID:
    """Return how datasets are made whose bytes do not tell when."""
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_obj_track_times(False)
    return how


def sync(path: Path) -> None:
    """Put a file or the entries of a folder on the disk: delayed write errors show here, not later.

    Parameters
    ----------
    path : Path
        File or folder.

    Raises
    ------
    OSError
        If the disk refuses.

    Examples
    --------
    >>> sync(folder / "CORR-R0001-AGIPD00-S00000.h5")    # doctest: +SKIP
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(paths: Iterable[Path]) -> None:
    """Put files on the disk, several at a time.

    Raises
    ------
    OutputError
        If the disk refuses; the text names the file.

    Examples
    --------
    >>> sync_all([])
    """

    def one(path: Path) -> None:
        try:
            sync(path)
        except OSError as err:
            raise OutputError(f"{path}: the file could not be completed ({err})") from err

    with ThreadPoolExecutor(_SYNCS) as pool:
        list(pool.map(one, paths))


class EarlySync:
    """Lets the system begin to put growing files on the disk, so that little is left to wait for at the end.

    Nothing is promised by it: a file is on the disk after `sync` alone, which tells of errors too.

    Examples
    --------
    >>> early = EarlySync()
    >>> early.begin([])
    """

    def __init__(self) -> None:
        self._thread: Thread | None = None

    def begin(self, paths: Iterable[Path]) -> None:
        """Begin with what was written to some files so far, unless an earlier call is still at work."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=_start_writing, args=(list(paths),), name="shotsieve-sync")
            with suppress(RuntimeError):  # the system gives no more threads
                self._thread.start()


_WRITE = 2  # SYNC_FILE_RANGE_WRITE: begin, and wait for nothing


def _start_writing(paths: list[Path]) -> None:
    start = getattr(ctypes.CDLL(None), "sync_file_range", None)
    for path in paths if start is not None else ():
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                start(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), _WRITE)
            finally:
                os.close(descriptor)
