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
        time went; see `shotsieve.engine.clock`.
    others : dict of str to Result
        The same of the detectors beside the leading one, by label; files are those with their frames.
    """

    out: Path
    files: list[Path]
    table: Table
    accounts: Accounts
    digest: str
    performance: dict[str, Any]
    others: dict[str, Result] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        return shown.result(self)
