"""Words that eight bits cannot hold, where a stored 0 is taken for 256: the run then has nine bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import BadInput


def refuse_nine_bits(
    words: np.ndarray,
    zero_as: int,
    who: str,
    remedy: str,
    present: np.ndarray | None = None,
    modules: Sequence[int] = (),
    trains: np.ndarray | None = None,
) -> None:
    """Refuse words above what a stored 0 is taken for: they have more bits, and a 0 of theirs is a 0.

    Parameters
    ----------
    words : ndarray of uint16, shape (n, M, ...)
        In host memory.
    zero_as : int
        What a stored 0 is taken for; with 0 nothing is looked at.
    who, remedy : str
        Begin and end the error's text.
    present : ndarray of bool, shape (n, M), or None
        Frames that were recorded; the others may be anything. None: all.
    modules : sequence of int
        Numbers of the M modules, for the error's text; without them and trains it has no place.
    trains : ndarray of int, shape (n,), or None

    Raises
    ------
    BadInput
        If a word is above `zero_as`. Promise: with any such word, wherever it is.

    Examples
    --------
    >>> refuse_nine_bits(np.array([[0, 256]], "u2"), 256, "run", "...")
    >>> refuse_nine_bits(np.array([[0, 300]], "u2"), 0, "run", "...")
    >>> refuse_nine_bits(np.array([[0, 300]], "u2"), 256, "run", "...")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
        ...
    BadInput: run: found a word of 300
    """
    if not zero_as or words.size == 0:
        return
    highest = words.reshape(*words.shape[:2], -1).max(axis=2)
    if present is not None:
        highest = np.where(present, highest, 0)
    if highest.max() <= zero_as:
        return
    shot, module = np.unravel_index(int(highest.argmax()), highest.shape)
    where = ""
    if trains is not None and len(modules):
        where = f" in module {modules[module]} of train {trains[shot]}"
    raise BadInput(
        f"{who}: found a word of {highest.max()}{where}, and eight bits hold none above {zero_as}: the run "
        f"was taken with nine bits, in which a stored 0 is 0 and not {zero_as}. {remedy}"
    )
