"""Small things about HDF5 that every file written here shares."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

# HDF5 1.10 is the oldest library at the facility that opens what we write; a fixed bound also keeps the
# bytes of a file from depending on the library that happens to be installed.
LIBVER = ("v110", "v110")
STRING = h5py.string_dtype()


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
