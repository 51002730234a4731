"""What a measurement ran on, and at which commit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from shotsieve.bench.machine import describe, last_level_cache, readers, versions

__all__ = ["ROOT", "commit", "describe", "last_level_cache", "quickest_read", "readers", "versions"]

ROOT = Path(__file__).resolve().parent.parent


def quickest_read(least: Mapping[str, float]) -> float:
    """Return the least time in s of the functions named ``read ...``, by name as `interleave` has them."""
    return min(seconds for name, seconds in least.items() if name.startswith("read"))


def commit() -> str:
    """Return the commit; with ``-dirty`` when tracked files differ from it.

    Without git it is what SHOTSIEVE_COMMIT says, else ``unknown``.
    """

    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/history")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("SHOTSIEVE_COMMIT", "unknown")
    return f"{head}-dirty" if changed else head
