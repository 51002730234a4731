"""Small HDF5 files in the folder ``shotsieve`` of a reduced run: the table, the list of peaks."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .cpus import usable_cpus
from .errors import BadInput, OutputError, ShotsieveError, UnreadableData
from .steady_file import SteadyHdf5

if TYPE_CHECKING:
    from types import ModuleType

    import h5py

FOLDER = "shotsieve"


@contextmanager
def created(path: str | os.PathLike[str], form: str, version: int, what: str) -> Iterator[SteadyHdf5]:
    """Write a file of a named form; the same content gives the same bytes (no dates, fixed order).

    Parameters
    ----------
    path : path-like
        Replaced if it exists.
    form, version : str, int
        Stored as attributes, and asked for by `opened`.
    what : str
        What error texts call it.

    Yields
    ------
    SteadyHdf5

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    try:
        # A fixed format version keeps the bytes from depending on the HDF5 library that is installed.
        with SteadyHdf5(path, ("earliest", "v110")) as out:
            out.file.attrs["format"] = form
            out.file.attrs["version"] = version
            yield out
    except OSError as err:
        raise OutputError(f"{what} {path} cannot be written: {err}") from err


def xarray_for(who: str) -> ModuleType:
    """Import xarray, which is optional.

    Raises
    ------
    BadInput
        If it is not installed; the text begins with who asks.
    """
    try:
        import xarray
    except ImportError:
        raise BadInput(f"{who} needs xarray, which is not installed: pip install xarray") from None
    return xarray


def put(group: h5py.Group, name: str, values: np.ndarray, unit: str, meaning: str) -> None:
    """Write a dataset that says what it holds."""
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if values.size else {}
    dataset = group.create_dataset(name, data=values, track_times=False, **packed)
    dataset.attrs["unit"] = unit
    dataset.attrs["meaning"] = meaning


def get(dataset: h5py.Dataset) -> np.ndarray:
    """Read all of a dataset; what `put` wrote is inflated in threads, which HDF5 does in one.

    Parameters
    ----------
    dataset : h5py.Dataset
        Of an open file; whatever else it is than shuffled and deflated chunks is left to HDF5.

    Returns
    -------
    ndarray

    Raises
    ------
    OSError
        If a chunk is damaged or missing.

    Notes
    -----
    Promise: exact; what ``dataset[()]`` gives.
    """
    if not _is_packed(dataset):
        return dataset[()]
    values = np.empty(dataset.shape, dataset.dtype)
    dtype, shape, name = dataset.dtype, dataset.chunks, dataset.name

    def unpack(place: tuple[slice, ...], stored: bytes) -> None:
        chunk = _unpacked(stored, dtype, shape, name)
        values[place] = chunk[tuple(slice(along.stop - along.start) for along in place)]

    with ThreadPoolExecutor(usable_cpus()) as pool:
        waiting = []
        for place in dataset.iter_chunks():
            # Threads do not touch HDF5: it has one lock.
            skipped, stored = dataset.id.read_direct_chunk(tuple(along.start for along in place))
            if skipped:  # a filter mask: this chunk lacks one of the filters
                values[place] = dataset[place]
            else:
                waiting.append(pool.submit(unpack, place, stored))
        for one in waiting:
            one.result()
    return values


def _is_packed(dataset: h5py.Dataset) -> bool:
    """Whether all chunks are there, and are as `put` makes them."""
    import h5py

    if dataset.chunks is None or not dataset.size or dataset.dtype.kind not in "iuf":
        return False
    filters = dataset.id.get_create_plist()
    known = [filters.get_filter(number)[0] for number in range(filters.get_nfilters())]
    if known != [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE]:
        return False
    chunks = math.prod(-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    return dataset.id.get_num_chunks() == chunks


def _unpacked(stored: bytes, dtype: np.dtype, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Inflate a chunk, and bring the bytes of each value together again."""
    from isal import isal_zlib

    number = math.prod(shape)
    try:
        flat = isal_zlib.decompress(stored, bufsize=number * dtype.itemsize)
    except isal_zlib.error as err:
        raise OSError(f"a chunk of {name} cannot be inflated: {err}") from err
    if len(flat) != number * dtype.itemsize:
        raise OSError(f"a chunk of {name} holds {len(flat)} bytes, expected {number * dtype.itemsize}")
    planes = np.frombuffer(flat, "u1").reshape(dtype.itemsize, number)
    values = np.zeros((number, dtype.itemsize), "u1")
    for at, plane in enumerate(planes):
        # The upper bytes of a count are 0 nearly always, and bytes far apart are slow to write.
        if plane.any():
            values[:, at] = plane
    return values.view(dtype).reshape(shape)


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
    except ShotsieveError:
        raise  # also of another file, which is written from this one
    except (OSError, KeyError) as err:
        raise UnreadableData(f"{what} {path} cannot be read: {err}") from err
