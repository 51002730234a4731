"""What is complete of an output that grows part by part, so that an interrupted reduction can go on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np

from ..errors import BadInput, UnreadableData
from .checksums import sha256_of_all
from .hdf5 import sync

PLAN = "plan.json"
_TOLD = "told"


@dataclass(frozen=True)
class Entry:
    """One part that is complete.

    Attributes
    ----------
    rows : dict of str to ndarray
        What was measured on the shots of the part.
    files : dict of str to dict
        Of each of its data files, by name: ``bytes`` and ``sha256``.
    bytes_read : int
    out_of_range : int
        Written pixels whose value did not fit.
    notes : list of str
    met : list of str
        What was first noted of the source while the part was read or written.
    """

    rows: dict[str, np.ndarray] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    bytes_read: int = 0
    out_of_range: int = 0
    notes: list[str] = field(default_factory=list)
    met: list[str] = field(default_factory=list)


class Journal:
    """A folder that says which parts of an output are complete.

    A part is complete when its entry stands under its final name: it is written under another one, put on the
    disk and linked, after all that it tells of was put on the disk. Whatever no entry tells of is worthless.

    Parameters
    ----------
    folder : Path
        Made by `begin`.
    data : Path
        Where the files of the parts are.
    keeps : bool
        Whether a later process may go on; otherwise only files are told of.

    Examples
    --------
    >>> journal = Journal(folder, data)    # doctest: +SKIP
    >>> journal.begin({"recipe": text})    # doctest: +SKIP
    >>> journal.step("write").commit(Entry(files={}), {}, [data / "a.h5"])    # doctest: +SKIP
    """

    def __init__(self, folder: Path, data: Path, keeps: bool = True) -> None:
        self.folder, self.data, self.keeps = folder, data, keeps

    @property
    def complete(self) -> int:
        """Number of parts that are complete, in all steps."""
        return len(list(self.folder.glob("*.npz")))

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Begin a reduction, or go on with one that has the same plan; what is incomplete is removed.

        Parameters
        ----------
        plan : mapping of str to JSON values
            All that the bytes of the output depend on.

        Raises
        ------
        BadInput
            If the folder is of another plan; the text names what differs.
        """
        text = json.dumps(plan, sort_keys=True)
        path = self.folder / PLAN
        if not path.is_file():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            sync(self.folder.parent)  # this folder's own name, and that of the data
            _put(path, lambda file: file.write(text.encode()))
        elif changed := _differing(json.loads(path.read_text(encoding="utf-8")), json.loads(text)):
            raise BadInput(
                f"the interrupted reduction cannot be resumed, since this has changed: {', '.join(changed)}. "
                "Give what it was begun with, or add --overwrite (from Python: overwrite=True) instead of "
                "--resume to begin anew"
            )
        self.clean()
        self._verify()

    def _verify(self) -> None:
        """Make sure that the files of complete parts are what they were: a fault of the disk shows here."""
        known = self.files()
        there = [name for name in known if (self.data / name).is_file()]
        found = dict(zip(there, sha256_of_all([self.data / name for name in there]), strict=True))
        for name, told in known.items():
            if found.get(name) != told["sha256"]:
                raise UnreadableData(
                    f"{self.data / name} is not as it was when its part was complete: the interrupted "
                    "reduction cannot be resumed; add --overwrite instead of --resume to begin anew"
                )

    def step(self, name: str) -> Step:
        """Return one of the steps of a reduction, in each of which all parts are passed."""
        return Step(self, name)

    def files(self) -> dict[str, dict[str, Any]]:
        """Return size and checksum of the data files of all complete parts, by name."""
        told: dict[str, dict[str, Any]] = {}
        for path in sorted(self.folder.glob("*.npz")):
            told |= _files(path)
        return told

    def clean(self) -> None:
        """Remove everything that belongs to no complete part, here and among the data."""
        entries = {path.stem for path in self.folder.glob("*.npz")}
        for entry in self.folder.iterdir():
            step, _, number = entry.stem.rpartition("-")
            last = f"{step}-{int(number) + 1:05d}" not in entries if number.isdigit() else False
            stays = entry.name == PLAN or (entry.stem in entries and (entry.suffix != ".sums" or last))
            if not stays:
                _remove(entry)
        known = self.files()
        for entry in self.data.rglob("*"):
            if entry.is_file() and entry.relative_to(self.data).as_posix() not in known:
                _remove(entry)

    def remove(self) -> None:
        """Remove the journal."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Step:
    """One way through all parts of a run; see `Journal.step`."""

    def __init__(self, journal: Journal, name: str) -> None:
        self.journal, self.name = journal, name
        self.complete = 0
        while self._path(self.complete, ".npz").exists():
            self.complete += 1

    def place(self, number: int) -> Path:
        """Return the folder for the rows of a part, empty if the part is not complete."""
        path = self._path(number, "")
        if number >= self.complete:
            _remove(path)
        path.mkdir(exist_ok=True)
        return path

    def entries(self) -> list[Entry]:
        """Read what was said of all complete parts.

        Raises
        ------
        UnreadableData
            If one cannot be read.
        """
        return [_entry(self._path(number, ".npz")) for number in range(self.complete)]

    def sums(self) -> dict[str, np.ndarray]:
        """Read the sums over all complete parts."""
        return _arrays(self._path(self.complete - 1, ".sums")) if self.complete else {}

    def commit(self, entry: Entry, sums: Mapping[str, np.ndarray], files: Sequence[Path]) -> Entry:
        """Say that the next part is complete.

        Parameters
        ----------
        entry : Entry
            Without files.
        sums : mapping of str to ndarray
            Over this part and all before it, which go on growing.
        files : sequence of Path
            Of the part, already on the disk.

        Returns
        -------
        Entry
            With the files.
        """
        journal, number = self.journal, self.complete
        listed = {
            path.relative_to(journal.data).as_posix(): {"bytes": path.stat().st_size, "sha256": found}
            for path, found in zip(files, sha256_of_all(files), strict=True)
        }
        place = self._path(number, "")
        for path in [*(place.iterdir() if place.is_dir() else ()), *([place] if place.is_dir() else ())]:
            sync(path)
        if files:
            sync(journal.data)
        if journal.keeps:
            _put(self._path(number, ".sums"), lambda file: np.savez(file, **sums))
        entry = replace(entry, files=listed)
        told = json.dumps({name: value for name, value in vars(entry).items() if name != "rows"})
        rows = {**entry.rows, _TOLD: np.array(told)}
        _put(self._path(number, ".npz"), lambda file: np.savez(file, **rows))
        self._path(number - 1, ".sums").unlink(missing_ok=True)
        self.complete += 1
        return entry

    def _path(self, number: int, suffix: str) -> Path:
        return self.journal.folder / f"{self.name}-{number:05d}{suffix}"


def _put(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Let a file appear under its name, complete and on the disk, or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(partial, path)
        partial.unlink()
    except FileExistsError:
        raise
    except OSError:
        # Not every file system has hard links; nobody else writes into this folder.
        os.rename(partial, path)
    sync(path.parent)


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as err:
        raise UnreadableData(
            f"{path} cannot be read ({err}): the interrupted reduction cannot be resumed; add --overwrite "
            "instead of --resume to begin anew"
        ) from err


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with _opened(path) as file:
        return {name: file[name] for name in file}


def _entry(path: Path) -> Entry:
    with _opened(path) as file:
        rows = {name: file[name] for name in file if name != _TOLD}
        return Entry(rows, **json.loads(str(file[_TOLD])))


def _files(path: Path) -> dict[str, dict[str, Any]]:
    with _opened(path) as file:
        return json.loads(str(file[_TOLD]))["files"]


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def _remove(entry: Path) -> None:
    if entry.is_dir():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
