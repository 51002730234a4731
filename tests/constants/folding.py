"""What tests of kept constants share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from shotsieve.folded_tables import Tables


def names(cache: Path) -> list[str]:
    return sorted(folder.name for folder in cache.glob("tables-*"))


def assert_same(one: Tables, other: Tables) -> None:
    for field in dataclasses.fields(Tables):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes()), field.name
        elif field.name != "sha256":
            assert a == b, field.name
