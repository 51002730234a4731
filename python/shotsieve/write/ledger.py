"""The ledger of a reduced run: what it was made from, what it consists of, and one digest over all of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._version import __version__
from ..errors import BadInput
from .checksums import sha256_of_all
from .output import SIDE

FILE_NAME = "ledger.json"
FORMAT, VERSION = "shotsieve ledger", 1
_SHA256 = "sha256 "
REPORT = "report.html"
"""Made by another program's pictures, and again at any time."""
UNLISTED = (f"{SIDE}/{FILE_NAME}", f"{SIDE}/machine.json", REPORT)
"""Files of an output that the ledger does not list: itself, and what differs from machine to machine."""


@dataclass(frozen=True)
class Ledger:
    """What a reduced run consists of.

    Attributes
    ----------
    files : dict of str to dict
        For each file of the output, by its path in it: ``bytes`` and ``sha256``.
    inputs : list of str
        Names and sizes of the files it was made from, and their checksums where they were asked for.
    accounts : dict of str to int
        Numbers of shots by what became of them; see `counted`.
    made_by : str
        Program and version.

    Examples
    --------
    >>> ledger = Ledger({}, ["a.h5, 10 bytes"], {"expected": 0}, "shotsieve 0")
    >>> Ledger.loads(ledger.dumps()) == ledger
    True
    """

    files: dict[str, dict[str, Any]]
    inputs: list[str]
    accounts: dict[str, int]
    made_by: str

    @classmethod
    def make(
        cls,
        folder: Path,
        inputs: Iterable[str],
        accounts: Mapping[str, int],
        known: Mapping[str, dict[str, Any]] | None = None,
    ) -> Ledger:
        """List every file of an output. Promise: exact.

        Parameters
        ----------
        folder : Path
            The output, complete but for the ledger.
        inputs : iterable of str
        accounts : mapping of str to int
        known : mapping of str to dict, optional
            Files, by name, that were read and listed before; all others are read.
        """
        files = dict(known or {})
        paths = [folder / name for name in names_in(folder) if name not in files]
        for path, found in zip(paths, sha256_of_all(paths), strict=True):
            files[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": found}
        return cls(files, list(inputs), dict(accounts), f"shotsieve {__version__}")

    @property
    def digest(self) -> str:
        """SHA-256 over all that the ledger says; whoever keeps it elsewhere can tell whether that changed."""
        return hashlib.sha256(_canonical(self._content()).encode()).hexdigest()

    def dumps(self) -> str:
        """Return the ledger as text; the same output gives the same text."""
        return json.dumps({**self._content(), "digest": self.digest}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def loads(cls, text: str, name: str = "the ledger") -> Ledger:
        """Read what `dumps` wrote.

        Raises
        ------
        BadInput
            If it is no ledger of ours, or was changed since.
        """
        try:
            told = json.loads(text)
            known = {key: told[key] for key in ("files", "inputs", "accounts", "made_by")}
            digest, kind = told["digest"], (told["format"], told["version"])
        except (ValueError, KeyError, TypeError) as err:
            raise BadInput(f"{name} cannot be read: it is no ledger of shotsieve ({err!r})") from None
        if kind != (FORMAT, VERSION):
            raise BadInput(f"{name} is a {kind[0]!r} of version {kind[1]}; expected {FORMAT!r}, {VERSION}")
        ledger = cls(**known)
        if ledger.digest != digest:
            raise BadInput(
                f"{name} was changed after it was written: its digest is {digest}, and what it says now has "
                f"{ledger.digest}"
            )
        return ledger

    @classmethod
    def load(cls, out: Path) -> Ledger:
        """Read the ledger of a reduced run.

        Raises
        ------
        BadInput
            If there is none, or as `loads`.
        """
        path = out / SIDE / FILE_NAME
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as err:
            raise BadInput(f"{path} cannot be read, so {out} cannot be checked: {err}") from None
        return cls.loads(text, str(path))

    def _content(self) -> dict[str, Any]:
        return {"format": FORMAT, "version": VERSION, **vars(self)}


def counted(name: str, label: str = "") -> str:
    """Return what a ledger calls a number of the accounts, of one of several detectors by its label.

    Examples
    --------
    >>> counted("kept"), counted("kept", "jf")
    ('kept', 'jf.kept')
    """
    return f"{label}.{name}" if label else name


def names_in(folder: Path) -> list[str]:
    """List the files of an output that belong into its ledger, by their paths in it.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of str
        Sorted. Without the map that EXtra-data leaves in every run that it opens.
    """
    found = (entry.relative_to(folder).as_posix() for entry in folder.rglob("*") if entry.is_file())
    return sorted(name for name in found if name not in UNLISTED and name != "karabo_data_map.json")


def with_checksums(names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Return names of files, each with the SHA-256 of its file. Every file is read."""
    found = sha256_of_all(paths)
    return [f"{name}, {_SHA256}{text}" for name, text in zip(names, found, strict=True)]


def told_checksums(inputs: Iterable[str]) -> dict[str, str]:
    """Return the checksums that lines of `with_checksums` tell, by the line without it."""
    return {name: text for name, mark, text in (line.rpartition(f", {_SHA256}") for line in inputs) if mark}


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
