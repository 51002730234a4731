"""Two measurements side by side: ``python benchmarks/compare.py BEFORE AFTER``.

Each is a report of ``shotsieve bench --json``, or a file of ``history/``, of which the last record of every
detector, backend and variant counts.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import records
from rich.console import Console
from shotsieve.bench.report import compare
from shotsieve.bench.run import load


def read(path: Path) -> dict[str, Any]:
    """Read a report, or records as the rows of one.

    Raises
    ------
    BadInput
        If the file is no report.
    ValueError
        If a record is not complete.
    """
    if not path.is_file() or not path.read_text(encoding="utf-8").lstrip().startswith("["):
        return load(path)
    rows = []
    for record in records.load(path):
        stage = " ".join(filter(None, [record["name"], record["details"].get("variant"), record["backend"]]))
        rows.append({"detector": record["detector"], "stage": stage, "shots_per_s": record["shots_per_s"]})
    return {"rows": rows}


def main() -> None:
    """Print both rates of every stage, and the ratio."""
    parser = argparse.ArgumentParser(description="compare reports of shotsieve bench, or files of history/")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    given = parser.parse_args()
    Console().print(compare(read(given.before), read(given.after)))


if __name__ == "__main__":
    main()
