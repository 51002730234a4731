"""Of which files constants are, and a checksum of what these hold."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from .container import Constants

__all__ = ["Origin", "content_checksum", "origin_of"]

_PIECE = 1 << 23
_SETTLED_NS = 3_000_000_000  # a file that is younger may change again within the tick of its time


class Origin(NamedTuple):
    """Where constants come from.

    Attributes
    ----------
    files : tuple of Path
        All files that their arrays are in.
    use : object
        How these are used, beside what they hold; of what JSON knows.
    """

    files: tuple[Path, ...]
    use: Any

    def stamps(self) -> list[list[Any]]:
        """Return what changes when one of the files does: place, size and times of each."""
        return [_stamp(path) for path in self.files]


def origin_of(constants: Constants) -> Origin | None:
    """Return where constants come from; None where it is not files, as of arrays in memory.

    Parameters
    ----------
    constants : Constants

    Returns
    -------
    Origin or None

    Examples
    --------
    >>> import numpy as np
    >>> origin_of(Constants.from_arrays("JUNGFRAU", {"offset": {1: np.zeros((3, 1, 512, 1024))}})) is None
    True
    """
    tell = getattr(constants._store, "origin", None)
    if tell is None:
        return None
    files, use = tell()
    cells = constants.cell_ids.tolist()
    return Origin(tuple(files), [constants.detector.name, list(constants.modules), cells, use])


def content_checksum(path: Path, remembered: Path | None = None) -> str:
    """Return a checksum of all bytes of a file (xxHash, 128 bits, as hexadecimal digits).

    Parameters
    ----------
    path : Path
    remembered : Path or None
        Folder with checksums of files that were read before: one whose place, size and times are the same
        still is not read again. None reads it.

    Returns
    -------
    str

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    stamp = _stamp(path)
    note = None if remembered is None else remembered / f"{_hash(stamp[0])}.json"
    if note is not None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(note.read_text("utf-8"))
            if told["stamp"] == stamp:
                return str(told["checksum"])
    found, piece = xxhash.xxh3_128(), bytearray(_PIECE)
    with open(path, "rb", buffering=0) as file:
        while n := file.readinto(piece):
            found.update(memoryview(piece)[:n])
    checksum = found.hexdigest()
    if note is not None and _stamp(path) == stamp and time.time_ns() - max(stamp[-2:]) > _SETTLED_NS:
        part = note.with_name(f".{note.name}.{os.getpid()}")
        with suppress(OSError):  # then it is read again the next time
            note.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps({"stamp": stamp, "checksum": checksum}), "utf-8")
            os.replace(part, note)
    return checksum


def _stamp(path: Path) -> list[Any]:
    path = path.resolve()
    found = path.stat()
    return [str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
