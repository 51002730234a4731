"""Two reports of ``shotsieve bench --json`` side by side: ``python benchmarks/compare.py BEFORE AFTER``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from shotsieve.bench.report import compare
from shotsieve.bench.run import load


def main() -> None:
    """Print both rates of every stage, and the ratio."""
    parser = argparse.ArgumentParser(description="compare two reports of shotsieve bench")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    given = parser.parse_args()
    Console().print(compare(load(given.before), load(given.after)))


if __name__ == "__main__":
    main()
