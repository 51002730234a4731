"""Small HDF5 files in the folder ``shotsieve`` of a reduced run: the table, the list of peaks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import BadInput, OutputError, UnreadableData

if TYPE_CHECKING:
    import h5py

FOLDER = "shotsieve"


@contextmanager
def created(path: str | os.PathLike[str], form: str, version: int, what: str) -> Iterator[h5py.File]:
    """Write a file of a named form; the same content gives the same bytes (no dates, fixed order).

    Parameters
    ----------
    path : path-like
        Replaced if it exists.
    form, version : str, int
        Stored as attributes, and asked for by `opened`.
    what : str
        What error texts call it.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import h5py

    file = None
    try:
        # A fixed format version keeps the bytes from depending on the HDF5 library that is installed.
        file = h5py.File(path, "w", libver=("earliest", "v110"))
        file.attrs["format"] = form
        file.attrs["version"] = version
        yield file
        _finish(file)
    except BaseException as err:
        if file is not None:
            give_up(file, path)
        if isinstance(err, OSError):
            raise OutputError(f"{what} {path} cannot be written: {err}") from err
        raise


def _finish(file: h5py.File) -> None:
    """Put what HDF5 holds back into the file; it reports a full disk as one of two errors."""
    try:
        file.flush()
        file.close()
    except RuntimeError as err:
        raise OSError(str(err)) from err


def give_up(file: h5py.File, path: str | os.PathLike[str]) -> None:
    """Close a file that will not be completed; what is on the disk then is worthless.

    On a full disk HDF5 fails again when it closes, or crashes: so the space is given back before.
    """
    with suppress(OSError):
        os.truncate(path, 0)
    with suppress(OSError, RuntimeError):
        file.close()


def put(group: h5py.Group, name: str, values: np.ndarray, unit: str, meaning: str) -> None:
    """Write a dataset that says what it holds."""
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if values.size else {}
    dataset = group.create_dataset(name, data=values, track_times=False, **packed)
    dataset.attrs["unit"] = unit
    dataset.attrs["meaning"] = meaning


@contextmanager
def opened(
    path: str | os.PathLike[str], name: str, form: str, version: int, what: str
) -> Iterator[h5py.File]:
    """Read a file that `created` wrote.

    Parameters
    ----------
    path : path-like
        The file, or the output folder of a reduction.
    name : str
        Of the file in such a folder.
    form, version : str, int
        What it has to be; older versions are read.
    what : str
        What error texts call it.

    Raises
    ------
    BadInput
        If the file is something else, or of a newer version.
    UnreadableData
        If it cannot be read.
    """
    import h5py

    path = Path(path)
    if path.is_dir():
        path = path / FOLDER / name
    try:
        with h5py.File(path, "r") as file:
            found, its_version = file.attrs.get("format"), int(file.attrs.get("version", 0))
            if found != form or its_version > version:
                raise BadInput(
                    f"{path} is not a {form} of version {version}: its format is "
                    f"{found!r}, version {its_version}"
                )
            yield file
    except (OSError, KeyError) as err:
        raise UnreadableData(f"{what} {path} cannot be read: {err}") from err
