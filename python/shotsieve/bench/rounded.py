"""Measured numbers with the digits that mean something."""

from __future__ import annotations

import math
from typing import Any

DIGITS = 4


def rounded(value: Any) -> Any:
    """Return plain Python values with numbers of four digits: more would be noise.

    Examples
    --------
    >>> rounded({"rate": 1234.5678, "rows": [(1, 0.123456)]})
    {'rate': 1235.0, 'rows': [[1, 0.1235]]}
    """
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.{DIGITS}g}")
    return value
