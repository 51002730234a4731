"""What sums have come to, as arrays by name: so that they can be put away and go on growing later."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

State = dict[str, np.ndarray]


def joined(**parts: Mapping[str, np.ndarray]) -> State:
    """Put several states into one, each under its name.

    Examples
    --------
    >>> sorted(joined(a={"n": np.zeros(1)}, b={"n": np.ones(1)}))
    ['a/n', 'b/n']
    """
    return {f"{part}/{name}": values for part, state in parts.items() for name, values in state.items()}


def under(state: Mapping[str, np.ndarray], part: str) -> State:
    """Take one of them out again.

    Examples
    --------
    >>> under({"a/n": 1, "b/n": 2, "ab/n": 3}, "a")
    {'n': 1}
    """
    start = f"{part}/"
    return {name.removeprefix(start): values for name, values in state.items() if name.startswith(start)}
