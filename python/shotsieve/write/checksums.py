"""Checksums of whole files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..cpus import usable_cpus


def sha256_of_all(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of files, several read at a time."""
    with ThreadPoolExecutor(usable_cpus()) as pool:
        return list(pool.map(sha256_of, paths))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, as text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
