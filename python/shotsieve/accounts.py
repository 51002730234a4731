"""Accounts: what became of every shot of a run, and a check that the sum is right."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from . import shown
from .errors import ShotsieveError
from .keep import kept_misses, unread
from .table import FATES, ModuleStatus, Table

if TYPE_CHECKING:
    from .sources.base import Source

_REJECTED = ("suspect", "duplicate", "inconsistent")
_WHY = {  # what is said of a module, by status
    "missing": ModuleStatus.MISSING,
    "no_constants": ModuleStatus.NO_CONSTANTS,
    "unreadable": ModuleStatus.UNREADABLE,
}
_FAULT = "This is a fault of shotsieve, and its output is not to be trusted; please report it"
_MEANINGS = {
    "suspect": "rejected: the train is flagged as suspect",
    "duplicate": "rejected: the same shot again",
    "inconsistent": "rejected: the modules disagree",
    "unreadable": "in the files, but damaged",
    "missing": "not in the files",
}


@dataclass(frozen=True)
class Split:
    """A number of shots, by what became of them."""

    kept: int = 0
    dropped: int = 0

    @property
    def total(self) -> int:
        return self.kept + self.dropped


@dataclass
class Accounts:
    """What became of every shot.

    ``expected = kept + dropped + suspect + duplicate + inconsistent + unreadable + missing``; everything else
    is counted inside kept and dropped.

    Attributes
    ----------
    detector, source : str
        Family and name of the detector.
    trains : int
        Trains of the run, empty ones included.
    expected, kept, dropped, suspect, duplicate, inconsistent, unreadable, missing : int
        Numbers of shots.
    undecided : Split
        Shots whose verdict is unknown.
    partial : Split
        Shots with a module that could not be measured: missing, unreadable or without constants.
    no_dark_data : Split
        Of these, shots with a module that has no constants for their memory cell (bit NO_DARK_DATA).
    companions : int
        Shots that the rule refuses, kept because their row of cells or their train is kept whole.
    misses : int
        Shots that are kept by chance alone.
    not_read : int
        Shots that were dropped without having been read, since the recipe selects others.
    modules : dict of str to dict of str to int
        For modules that are not complete: number of shots, of those kept or dropped, that are ``missing``,
        have ``no_constants`` or are ``unreadable``.
    bytes_in, bytes_out : int or None
        Raw bytes read and bytes of the output.
    notes : list of str
        The odd things met, in words.
    performance : dict
        What depends on the machine (backend, device, threads, run_s, shots_per_s); never in `to_json`.

    Examples
    --------
    >>> Accounts("AGIPD1M", "DET", trains=1, expected=3, kept=1, dropped=1, missing=1).check()
    """

    detector: str
    source: str
    trains: int
    expected: int
    kept: int = 0
    dropped: int = 0
    suspect: int = 0
    duplicate: int = 0
    inconsistent: int = 0
    unreadable: int = 0
    missing: int = 0
    undecided: Split = field(default_factory=Split)
    partial: Split = field(default_factory=Split)
    no_dark_data: Split = field(default_factory=Split)
    companions: int = 0
    misses: int = 0
    not_read: int = 0
    modules: dict[str, dict[str, int]] = field(default_factory=dict)
    bytes_in: int | None = None
    bytes_out: int | None = None
    notes: list[str] = field(default_factory=list)
    performance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_run(
        cls,
        source: Source,
        table: Table,
        *,
        bytes_in: int | None = None,
        bytes_out: int | None = None,
        notes: Iterable[str] = (),
        performance: Mapping[str, Any] | None = None,
    ) -> Accounts:
        """Count a table against the source it was made from.

        Parameters
        ----------
        source : Source
            Says what was expected and what is missing; its notes come first.
        table : Table
            With all fates, verdicts and module statuses set.
        bytes_in, bytes_out : int, optional
            Raw bytes read and bytes written.
        notes : iterable of str
            Further notes.
        performance : mapping, optional
            What depends on the machine.

        Returns
        -------
        Accounts
            Not yet checked; see `check`.

        Notes
        -----
        Promise: exact.
        """
        return cls(
            detector=source.detector.name,
            source=source.name,
            trains=len(source.trains),
            expected=int(np.asarray(source.trains.expected, "i8").sum()),
            missing=int(source.missing_shots),
            **counts_of(table),
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            notes=[*source.notes, *notes],
            performance=dict(performance or {}),
        )

    @property
    def rejected(self) -> int:
        """Shots that were never asked: suspect, duplicate or inconsistent."""
        return sum(getattr(self, name) for name in _REJECTED)

    @property
    def _asked(self) -> int:
        return self.kept + self.dropped - self.not_read

    def check(self) -> None:
        """Check that every shot is accounted for.

        Raises
        ------
        ShotsieveError
            If the sum is off, or a number inside kept or dropped is larger than it; the text shows the sum.
        """
        parts = {name: getattr(self, name) for name in (*FATES, "missing")}
        total = sum(parts.values())
        if total != self.expected or min(parts.values()) < 0:
            shown = " + ".join(f"{number} {name}" for name, number in parts.items())
            raise ShotsieveError(
                f"the accounts of {self.source} do not add up: expected {self.expected} shots, but {shown} = "
                f"{total}. {_FAULT}"
            )
        for name in ("undecided", "partial", "no_dark_data"):
            inside = getattr(self, name)
            if inside.kept > self.kept or inside.dropped > self.dropped:
                raise ShotsieveError(
                    f"the accounts of {self.source} do not add up: {inside} {name}, "
                    f"but {self.kept} kept and {self.dropped} dropped. {_FAULT}"
                )

    def to_dict(self, *, performance: bool = False) -> dict[str, Any]:
        """Return the accounts as plain values, with the share of undecided shots.

        Parameters
        ----------
        performance : bool
            Whether what depends on the machine goes in.
        """
        out = asdict(self)
        asked = self._asked
        out["undecided_share"] = self.undecided.total / asked if asked else 0.0
        out["ratio"] = self.bytes_in / self.bytes_out if self.bytes_in and self.bytes_out else None
        out["rejected"] = self.rejected
        if not performance:
            del out["performance"]
        return out

    @classmethod
    def from_json(cls, text: str) -> Accounts:
        """Read what `to_json` wrote."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Accounts:
        """Take what `to_dict` gave."""
        names = [field.name for field in fields(cls) if field.name in told]
        splits = ("undecided", "partial", "no_dark_data")
        return cls(**{name: Split(**told[name]) if name in splits else told[name] for name in names})

    def to_json(self, *, performance: bool = False) -> str:
        """Return `to_dict` as JSON; without `performance` the same run gives the same text everywhere."""
        return json.dumps(self.to_dict(performance=performance), indent=2, sort_keys=True)

    def _repr_html_(self) -> str:
        return shown.accounts(self)

    def summary(self) -> str:
        """Return the accounts as lines for a terminal."""
        lines = [f"{self.detector} {self.source}: {self.trains} trains", ""]
        width = len(f"{self.expected:,}")

        def row(name: str, number: int, remark: str = "") -> None:
            share = f"{100 * number / self.expected:5.1f} %" if self.expected else "      -"
            lines.append(f"  {name:<14}{number:>{width},}  {share}  {remark}".rstrip())

        row("expected", self.expected)
        row("kept", self.kept, self._inside("kept"))
        row("dropped", self.dropped, self._inside("dropped"))
        for name, meaning in _MEANINGS.items():
            number = getattr(self, name)
            row(name, number, meaning if number else "")
        lines.append("")
        asked = self._asked
        share = f" ({100 * self.undecided.total / asked:.1f} % of the shots measured)" if asked else ""
        lines.append(f"  {'undecided':<14}{self.undecided.total:>{width},}{share}")
        alike: dict[str, list[int]] = {}
        for module, counts in self.modules.items():
            said = ", ".join(f"{n:,} {why.replace('_', ' ')}" for why, n in counts.items() if n)
            alike.setdefault(said, []).append(int(module))
        for said, modules in alike.items():
            name = f"module{'s' if len(modules) > 1 else ''} {_ranges(modules)}"
            lines.append(f"  {name:<13} {said}")
        if self.bytes_in is not None and self.bytes_out is not None:
            ratio = f", ratio {self.bytes_in / self.bytes_out:.1f}" if self.bytes_out else ""
            lines.append(f"  {'bytes':<14}{_size(self.bytes_in)} in, {_size(self.bytes_out)} out{ratio}")
        if self.performance:
            lines.append(f"  {'speed':<14}{self._speed()}")
        lines += [f"  {'note':<14}{note}" for note in self.notes]
        return "\n".join(lines) + "\n"

    def _inside(self, fate: str) -> str:
        remarks = {
            "undecided": getattr(self.undecided, fate),
            "partial": getattr(self.partial, fate),
            "without constants": getattr(self.no_dark_data, fate),
            "companions": self.companions if fate == "kept" else 0,
            "misses kept at random": self.misses if fate == "kept" else 0,
            "not read": self.not_read if fate == "dropped" else 0,
        }
        said = ", ".join(f"{number:,} {name}" for name, number in remarks.items() if number)
        return f"of these {said}" if said else ""

    def _speed(self) -> str:
        told = dict(self.performance)
        rate, seconds = told.get("shots_per_s"), told.get("run_s")
        parts = [f"{rate:,.0f} shots/s" if rate is not None else "", f"in {seconds:.2f} s" if seconds else ""]
        where = " ".join(str(told[key]) for key in ("backend", "device") if told.get(key))
        parts.append(f"on {where}" if where else "")
        if told.get("threads") and "thread" not in where:
            parts.append(f"({told['threads']} threads)")
        return " ".join(part for part in parts if part)


def counts_of(table: Table) -> dict[str, Any]:
    """Return what the accounts tell that follows from the table alone.

    Parameters
    ----------
    table : Table
        With all fates, verdicts and module statuses set.

    Returns
    -------
    dict of str to int, Split or dict
        By the names of the attributes of `Accounts`: all but what only the source knows.

    Notes
    -----
    Promise: exact.

    Examples
    --------
    >>> told = counts_of(Table([7], [0], [0], modules=(3,), module_pixels=100))
    >>> told["kept"], told["undecided"], told["modules"]
    (1, Split(kept=1, dropped=0), {})
    """
    kept = table.fate == FATES.index("kept")
    dropped = table.fate == FATES.index("dropped")
    by_chance = kept_misses(table)
    skipped = unread(table)
    asked = ((kept | dropped) & ~skipped)[:, None]

    def split(which: np.ndarray) -> Split:
        return Split(int((which & kept).sum()), int((which & dropped).sum()))

    modules = {}
    for column, module in enumerate(table.modules):
        status = table.module_status[:, column : column + 1]
        counts = {why: int(((status == code) & asked).sum()) for why, code in _WHY.items()}
        if any(counts.values()):
            modules[str(module)] = counts
    return {
        **table.counts(),
        "undecided": split(table.verdict < 0),
        "partial": split(~table.ok().all(1) & ~skipped),
        "no_dark_data": split((table.module_status == ModuleStatus.NO_CONSTANTS).any(1)),
        "companions": int((kept & (table.verdict == 0) & ~by_chance).sum()),
        "misses": int(by_chance.sum()),
        "not_read": int(skipped.sum()),
        "modules": modules,
    }


def _ranges(numbers: list[int]) -> str:
    """Write 1, 3, 4, 5 as ``1,3-5``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
