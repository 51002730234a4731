"""Reductions whose costs are counted: of this process, or of a program that is looked at from outside."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import shotsieve
from shotsieve.constants import Constants

FRAME = 2 * 2 * 65536
MEASURED = {"calibrate": {}, "measure": {"lit": {"threshold": "0.7 photon"}}}
RECIPES = {"measured": MEASURED, "kept": MEASURED | {"write": {"content": "corrected"}}}


def reduce(raw: Path, constants: Constants, out: Path, recipe: str) -> Any:
    """Reduce a run of one module in blocks of a train, two at a time."""
    return shotsieve.reduce(
        raw, RECIPES[recipe], out, constants=constants, backend="cpu", block_bytes=FRAME, slots=2
    )


def mark(text: str) -> None:
    """Do a system call that tells who traces them where we are."""
    os.path.exists(f"/{text}/")


def main(constants: str, out: str, *raws: str) -> None:
    """Reduce runs and write their frames, each between two marks."""
    opened = Constants.open(constants)
    reduce(Path(raws[0]), opened, Path(out) / "warm", "kept")
    for number, raw in enumerate(raws):
        mark(f"begin {number}")
        reduce(Path(raw), opened, Path(out) / str(number), "kept")
        mark("end")


if __name__ == "__main__":
    main(*sys.argv[1:])
