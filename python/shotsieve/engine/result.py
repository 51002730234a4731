"""What a reduction returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import shown
from ..accounts import Accounts
from ..table import Table


@dataclass(frozen=True)
class Result:
    """What a reduction gave.

    Attributes
    ----------
    out : Path
        The folder of the reduced run.
    files : list of Path
        Data files in it: for each part of the run one per module, and a CXI file where the recipe asks for
        it; then copies of other files. Empty where only the table was wanted.
    table : Table
        One row per shot of the run.
    accounts : Accounts
        What became of every shot.
    digest : str
        SHA-256 over the ledger; kept elsewhere, it proves that the output is the one that was written.
    performance : dict
        Seconds, shots per second, backend, threads: what depends on the machine. ``steps_s`` says where the
        time went, ``slots_s`` that of each slot; see `shotsieve.engine.clock` and ``slot_times``.
    others : dict of str to Result
        The same of the detectors beside the leading one, by label; files are those with their frames.
    slot_spans : list of list of (str, float, float)
        Of each slot the latest things that were done with its blocks: what, begin and end in s.
    """

    out: Path
    files: list[Path]
    table: Table
    accounts: Accounts
    digest: str
    performance: dict[str, Any]
    others: dict[str, Result] = field(default_factory=dict)
    slot_spans: list[list[tuple[str, float, float]]] = field(default_factory=list, repr=False)

    def _repr_html_(self) -> str:
        return shown.result(self)
