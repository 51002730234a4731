"""Checksums: of whole files, which nobody can forge, and of single chunks, which say where damage is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import xxhash

from ..cpus import usable_cpus

CHUNK_BYTES = 16


def chunk_checksum(chunk: bytes | memoryview) -> bytes:
    """Return the checksum of a stored chunk: XXH3 with 128 bits, as its canonical bytes.

    Examples
    --------
    >>> chunk_checksum(b"").hex()
    '99aa06d3014798d86001c324468d497f'
    """
    return xxhash.xxh3_128_digest(chunk)


def sha256_of_all(paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of files, several read at a time."""
    with ThreadPoolExecutor(usable_cpus()) as pool:
        return list(pool.map(sha256_of, paths))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, as text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
