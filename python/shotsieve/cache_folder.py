"""A folder of arrays that were costly to make: plain NumPy files, which are mapped when they are used again.

An entry is a folder, named by a hash of all that its arrays were made from::

    tables-<hash>/entry.json        what it was made from, and what belongs to the arrays
    tables-<hash>/<name>.npy        the arrays; 64 bytes or a multiple of it before the first number

An entry appears by one rename, once all of it is on the disk, and is never written to again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

__all__ = ["FORMAT", "CacheFolder", "Damaged", "Entry", "Kept"]

FORMAT = 1
_ENTRY, _MAKING, _SEEN = "tables-", ".making-", "seen"
_HEADER = "entry.json"
_PIECE = 1 << 26
_ABANDONED_S = 86_400
"""What was begun so long ago is of a process that was killed."""


class Damaged(Exception):
    """An entry that is not as it was written; the text says what is wrong."""


class Kept(NamedTuple):
    """What an entry holds.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Read-only, mapped from the files.
    values : dict of str to object
        What belongs to them.
    """

    arrays: dict[str, np.ndarray]
    values: dict[str, Any]


class Entry(NamedTuple):
    """An entry as it is listed.

    Attributes
    ----------
    name : str
    nbytes : int
        Of all its files.
    told, about : dict
        What it was made from, and what else is known of it; empty where its header cannot be read.
    fault : str
        What is wrong with it; empty if nothing is.
    """

    name: str
    nbytes: int
    told: dict[str, Any]
    about: dict[str, Any]
    fault: str


class CacheFolder:
    """Entries in a folder, which is made once there is one.

    Several processes may use it at once: whoever is ready last leaves what the first has put there.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen = path / _SEEN
        """Where checksums of files are remembered."""

    def load(self, told: Mapping[str, Any]) -> Kept | None:
        """Map what was made from the same; None where nothing was.

        Raises
        ------
        Damaged
            If the entry is not whole, or of another version.
        OSError
            If it cannot be read.
        """
        folder = self._place(told)
        if not folder.is_dir():
            return None
        header = _header(folder)
        if _text(header["told"]) != _text(told):
            raise Damaged(f"{folder} was made from something else than its name says")
        arrays = {name: _mapped(folder / f"{name}.npy", of) for name, of in header["arrays"].items()}
        return Kept(arrays, header["values"])

    def save(
        self,
        told: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        values: Mapping[str, Any],
        about: Mapping[str, Any],
    ) -> None:
        """Put arrays into the folder, under what they were made from; what stands there already stays.

        Parameters
        ----------
        told : mapping
            All that the arrays depend on; of what JSON knows.
        arrays : mapping of str to ndarray
        values : mapping
            What belongs to them.
        about : mapping
            What a list of entries may say beside.

        Raises
        ------
        OSError
            If they cannot be written; nothing of them is left then.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._sweep()
        need, free = sum(array.nbytes for array in arrays.values()), shutil.disk_usage(self.path).free
        if free < need:
            text = f"{need / 1e9:.3g} GB are needed, {free / 1e9:.3g} GB are free"
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {text}")
        making = self.path / f"{_MAKING}{secrets.token_hex(8)}"
        making.mkdir()
        try:
            header = {
                "format": FORMAT,
                "told": json.loads(_text(told)),
                "values": dict(values),
                "about": dict(about),
                "arrays": {name: _written(making / f"{name}.npy", array) for name, array in arrays.items()},
            }
            text = json.dumps({**header, "checksum": _checksum(header)}, indent=1, sort_keys=True)
            with open(making / _HEADER, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                _flush(file)
            _flush_folder(making)
            try:
                os.rename(making, self._place(told))
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            _flush_folder(self.path)
        finally:
            shutil.rmtree(making, ignore_errors=True)

    def remove(self, told: Mapping[str, Any]) -> None:
        """Remove an entry; who has mapped it goes on with what it has."""
        self._remove(self._place(told))

    def entries(self, thorough: bool = False) -> list[Entry]:
        """List the entries, by name.

        Parameters
        ----------
        thorough : bool
            Read all arrays, and compare their checksums.
        """
        found = []
        for folder in self._folders(_ENTRY):
            told, about, fault = {}, {}, ""
            try:
                header = _header(folder)
                told, about = header["told"], header["about"]
                for name, of in header["arrays"].items():
                    array = _mapped(folder / f"{name}.npy", of)
                    if thorough and _sum(array) != of["xxh3_128"]:
                        fault = f"{name}.npy does not have the bytes that were written"
            except (OSError, Damaged) as error:
                fault = str(error)
            with suppress(FileNotFoundError):  # another process has just removed it
                nbytes = sum(path.stat().st_size for path in folder.iterdir())
                found.append(Entry(folder.name, nbytes, told, about, fault))
        return found

    def clear(self) -> None:
        """Remove all entries, remembered checksums and what was left behind; nothing else in the folder."""
        for folder in [*self._folders(_ENTRY), *self._folders(_MAKING)]:
            self._remove(folder)
        shutil.rmtree(self.seen, ignore_errors=True)

    def _folders(self, begin: str) -> list[Path]:
        # A file of such a name is somebody else's.
        return [path for path in sorted(self.path.glob(f"{begin}*")) if path.is_dir()]

    def _place(self, told: Mapping[str, Any]) -> Path:
        return self.path / f"{_ENTRY}{hashlib.sha256(_text(told).encode()).hexdigest()[:32]}"

    def _remove(self, folder: Path) -> None:
        # Under another name first, so that nobody finds half of it.
        gone = self.path / f"{_MAKING}{secrets.token_hex(8)}"
        with suppress(FileNotFoundError):
            os.rename(folder, gone)
            shutil.rmtree(gone)

    def _sweep(self) -> None:
        """Remove what killed processes have left behind."""
        for folder in self._folders(_MAKING):
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > _ABANDONED_S:
                    shutil.rmtree(folder)


def _text(told: Mapping[str, Any]) -> str:
    return json.dumps(told, sort_keys=True, default=lambda number: number.item())  # numbers of NumPy


def _checksum(header: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(header).encode()).hexdigest()


def _sum(array: np.ndarray) -> str:
    return xxhash.xxh3_128(np.ascontiguousarray(array).reshape(-1).view("u1")).hexdigest()


def _header(folder: Path) -> dict[str, Any]:
    """Read and check the header of an entry."""
    try:
        header = json.loads((folder / _HEADER).read_text("utf-8"))
        version, checksum = header["format"], header.pop("checksum")
        if version != FORMAT:
            raise Damaged(f"{folder} is of version {version}, and this program reads {FORMAT}")
        if _checksum(header) != checksum:
            raise Damaged(f"{folder}/{_HEADER} was changed after it was written")
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{folder}/{_HEADER} is not whole ({error})") from None
    return header


def _mapped(path: Path, of: Mapping[str, Any]) -> np.ndarray:
    """Map an array, once its file has the length and the form that the header tells."""
    try:
        with open(path, "rb") as file:
            if (size := os.fstat(file.fileno()).st_size) != of["bytes"]:
                raise Damaged(f"{path} has {size} bytes, and {of['bytes']} were written")
            np.lib.format.read_magic(file)
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
            if list(shape) != of["shape"] or dtype.str != of["dtype"] or by_columns:
                raise Damaged(
                    f"{path} holds {dtype.str} {shape}, and {of['dtype']} {of['shape']} was written"
                )
            start = file.tell()
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (FileNotFoundError, ValueError) as error:
        raise Damaged(f"{path} is not whole ({error})") from None
    memory.madvise(mmap.MADV_WILLNEED)
    return np.frombuffer(memory, dtype, offset=start).reshape(shape)


def _written(path: Path, array: np.ndarray) -> dict[str, Any]:
    """Write an array and wait until it is on the disk; return what the header tells of it."""
    array = np.ascontiguousarray(array)
    flat = array.reshape(-1).view("u1")
    with open(path, "wb", buffering=0) as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        for start in range(0, flat.size, _PIECE):
            rest = memoryview(flat[start : start + _PIECE])
            while rest:
                rest = rest[file.write(rest) :]
        _flush(file)
        size = file.tell()
    return {"shape": list(array.shape), "dtype": array.dtype.str, "bytes": size, "xxh3_128": _sum(array)}


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    at = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(at)
    finally:
        os.close(at)
