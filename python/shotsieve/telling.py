"""What is told to whoever watches, beside the results: lines on standard error."""

from __future__ import annotations

import sys
from contextlib import suppress

_said: set[str] = set()


def tell(text: str, once: bool = False) -> None:
    """Write a line to standard error; one that is full or closed ends nothing.

    Parameters
    ----------
    text : str
    once : bool
        Not again what this process has said.

    Examples
    --------
    >>> tell("averages take 2 GB")
    """
    if once and text in _said:
        return
    _said.add(text)
    if sys.stderr is None:  # print would take standard output, which is the user's
        return
    with suppress(OSError, ValueError):
        print(f"shotsieve: {text}", file=sys.stderr)
