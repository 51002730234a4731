"""Our own HDF5 form of the constants: what `shotsieve constants convert` writes.

Layout, version 1::

    /                           attributes: format, format_version, detector, conditions and provenance (JSON)
    /modules   int32 (M,)
    /cell_ids  int32 (C,)
    /constants/<name>           (M, gain, C, ss, fs), one chunk per (gain, cell); attribute `present` (M,)

A module that lacks a constant has fill values there, and 0 in `present`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np

from .. import detectors
from ..cpus import usable_cpus
from ..detectors import Detector
from ..errors import DAMAGE, BadInput, OutputError, ShotsieveError, UnreadableData
from ..steady_file import SteadyHdf5
from ..unpack import native, unpacker_of
from .container import Constants
from .layout import DTYPES, GAIN_AXIS, check_shape

__all__ = ["FORMAT", "FORMAT_VERSION", "open_constants", "save"]

FORMAT = "shotsieve constants"
FORMAT_VERSION = 1


class _File:
    """Arrays in a file. It is opened for each read: a handle kept open would not survive a new process."""

    def __init__(self, path: Path, modules: list[int], present: dict[str, tuple[int, ...]]):
        self.path = path
        self._index = {module: i for i, module in enumerate(modules)}
        self._present = present

    def modules(self, name: str) -> tuple[int, ...]:
        return self._present.get(name, ())

    def origin(self) -> tuple[tuple[Path, ...], None]:
        return (self.path,), None

    def cells_apart(self, module: int) -> bool:
        return True

    def load(self, name: str, module: int, rows: np.ndarray) -> np.ndarray:
        try:
            with h5py.File(self.path, "r") as file:
                dataset = file["constants"][name]
                _, gains, _, *shape = dataset.shape
                out = np.empty((gains, len(rows), *shape), DTYPES[name])
                step = dataset.chunks[1] if dataset.chunks else gains
                unpack = _unpacking(dataset, out)
                # Threads do not touch HDF5: it has one lock.
                with ThreadPoolExecutor(usable_cpus()) as pool:
                    waiting = []
                    for first in range(0, gains, step):
                        planes = slice(first, min(first + step, gains))
                        for i, row in enumerate(rows.tolist()):
                            at = self._index[module], planes, row
                            if unpack is None:
                                dataset.read_direct(out, at, np.s_[planes, i])
                                continue
                            chunk = (at[0], first, row, 0, 0)
                            if dataset.id.get_chunk_info_by_coord(chunk).byte_offset is None:
                                raise ValueError("a part of it was never written")
                            skipped, stored = dataset.id.read_direct_chunk(chunk)
                            waiting.append(pool.submit(unpack, stored, skipped, planes, i))
                    for one in waiting:
                        one.result()
                return out
        except DAMAGE as error:
            raise UnreadableData(
                f"{self.path}: constants/{name} of module {module} cannot be read ({error}); "
                f"convert the constants again."
            ) from error


def _unpacking(dataset: h5py.Dataset, out: np.ndarray) -> Callable[[bytes, int, slice, int], None] | None:
    """Return what puts a stored chunk into planes of a cell of `out`; None where HDF5 has to.

    The promise is that of `shotsieve.unpack`: the same values.
    """
    gains, _, *shape = out.shape
    chunks = dataset.chunks
    if chunks is None or dataset.dtype != out.dtype:
        return None
    if gains % chunks[1] or (chunks[0], *chunks[2:]) != (1, 1, *shape):
        return None  # not as they are written here
    plist, pixels, itemsize = dataset.id.get_create_plist(), int(np.prod(shape)), out.itemsize
    filters = [plist.get_filter(number) for number in range(plist.get_nfilters())]
    nbytes = chunks[1] * pixels * itemsize
    unpacker = unpacker_of([(number, values) for number, _, values, _ in filters], itemsize, nbytes)
    if unpacker is None:
        return None
    unshuffle, flat, plane_bytes = native().unshuffle, out.reshape(-1).view("u1"), pixels * itemsize

    def unpack(stored: bytes, skipped: int, planes: slice, cell: int) -> None:
        room = np.empty(nbytes, "u1")
        chunk, shuffled = unpacker.unpack(np.frombuffer(stored, "u1"), skipped, room)
        for number, plane in enumerate(range(planes.start, planes.stop)):
            to = (plane * out.shape[1] + cell) * plane_bytes
            if shuffled:
                unshuffle(chunk, itemsize, number * pixels, pixels, flat, to)
            else:
                flat[to : to + plane_bytes] = chunk[number * plane_bytes : (number + 1) * plane_bytes]

    return unpack


def open_constants(path: Path, detector: Detector | None = None) -> Constants:
    """Open constants in our own form.

    Parameters
    ----------
    path : Path
    detector : Detector or None
        None takes the one that the file names.

    Returns
    -------
    Constants

    Raises
    ------
    BadInput
        If it is no such file, of a newer version, or of another detector.
    UnreadableData
        If the file is damaged.

    Examples
    --------
    >>> open_constants(Path("constants.h5"))  # doctest: +SKIP
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise BadInput(
                    f"{path} is an HDF5 file but holds no constants of shotsieve; make it with "
                    f"`shotsieve constants convert IN -o {path.name}`."
                )
            if (version := int(file.attrs["format_version"])) > FORMAT_VERSION:
                raise BadInput(
                    f"{path}: format version {version}; this version reads up to {FORMAT_VERSION}."
                )
            name = str(file.attrs["detector"])
            if detector is not None and detector.name != name:
                raise BadInput(f"{path}: these constants are of {name}, but the detector is {detector.name}.")
            detector = detector or detectors.load(name)
            modules = file["modules"][()].tolist()
            cell_ids = file["cell_ids"][()]
            present = {}
            for key, dataset in file["constants"].items():
                if key not in GAIN_AXIS:
                    continue  # a later version may hold more; what we know is unchanged by it
                check_shape(detector, key, dataset.shape[1:], len(cell_ids), f"{path}: constants/{key}")
                flags = dataset.attrs["present"]
                present[key] = tuple(m for m, there in zip(modules, flags, strict=True) if there)
            conditions = json.loads(file.attrs["conditions"])
            provenance = json.loads(file.attrs["provenance"])
    except ShotsieveError:
        raise
    except DAMAGE as error:
        raise UnreadableData(
            f"{path} is not a whole HDF5 file of constants ({error}); make it again."
        ) from error
    return Constants(detector, modules, cell_ids, _File(path, modules, present), conditions, provenance)


def save(constants: Constants, path: Path, compression: str | None = "gzip") -> Path:
    """Write constants in our own form; see `Constants.save`.

    Parameters
    ----------
    constants : Constants
    path : Path
    compression : {"gzip", None}

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        If it cannot be written; nothing stands at `path` then.

    Examples
    --------
    >>> save(constants, Path("constants.h5"))  # doctest: +SKIP
    """
    if compression not in ("gzip", None):
        raise BadInput(f"compression = {compression!r} must be 'gzip' or None.")
    temporary = path.with_name(f".{path.name}.part")
    try:
        try:
            with SteadyHdf5(temporary, ("v110", "v110")) as out:
                _write(constants, out, compression)
            with open(temporary, "rb") as done:
                os.fsync(done.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except UnreadableData:
        raise  # the constants that are copied, not the file that is written
    except (OSError, RuntimeError) as error:  # h5py raises the latter where a file cannot be closed
        raise OutputError(f"The constants cannot be written to {path}: {error}.") from error
    return path


def _write(constants: Constants, out: SteadyHdf5, compression: str | None) -> None:
    file = out.file
    file.attrs["format"] = FORMAT
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["detector"] = constants.detector.name
    file.attrs["conditions"] = json.dumps(constants.conditions, sort_keys=True)
    file.attrs["provenance"] = json.dumps(constants.provenance, sort_keys=True)
    file["modules"] = np.array(constants.modules, "<i4")
    file["cell_ids"] = constants.cell_ids.astype("<i4")
    group = file.create_group("constants")
    filters = {"compression": compression, "compression_opts": 1, "shuffle": True} if compression else {}
    shape = constants.detector.shape
    for name in constants.names:
        present = [constants.has(name, module) for module in constants.modules]
        dataset = None
        for i, module in enumerate(constants.modules):
            if not present[i]:
                continue
            # A whole module at once: in the facility's files the cells of one pixel lie side by side.
            array = constants.load(name, module)
            if dataset is None:
                gains = len(array)
                dataset = group.create_dataset(
                    name,
                    (len(present), gains, len(constants.cell_ids), *shape),
                    DTYPES[name],
                    # A table of words is read as a whole, so it is one chunk of each cell.
                    chunks=(1, gains if name == "linearisation" else 1, 1, *shape),
                    **filters,
                )
                dataset.attrs["present"] = np.array(present, "u1")
                dataset.attrs["axes"] = "module, gain, cell, ss, fs"
            if len(array) != gains:
                raise BadInput(f"{name}: module {module} has {len(array)} gains, the others {gains}.")
            dataset[i] = array
            # What HDF5 holds back is written now: a full disk is heard of before the next module is loaded.
            file.flush()
            out.check()
