"""Several readings at once: files of different modules wait for the disk side by side."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ..errors import UnreadableData
from .chunks import count_inflating, inflating_s


def side_by_side(read: Callable[[int], None], count: int, at_once: int) -> list[UnreadableData | None]:
    """Do readings in threads, this one among them, and return what was unreadable of each.

    Parameters
    ----------
    read : callable
        Does one of them, by its number.
    count : int
    at_once : int
        How many of them at a time.

    Raises
    ------
    BaseException
        Any other error of one of them, once none is under way.

    Examples
    --------
    >>> side_by_side(print, 1, 1)
    0
    [None]
    """

    def one(number: int) -> tuple[UnreadableData | None, float]:
        before, error = inflating_s(), None
        try:
            read(number)
        except UnreadableData as unreadable:
            error = unreadable
        return error, inflating_s() - before

    if at_once < 2:
        return [one(number)[0] for number in range(count)]
    # A pool per call costs well under a millisecond, and none is left standing to hang in a forked child.
    with ThreadPoolExecutor(at_once, thread_name_prefix="shotsieve-read") as pool:
        try:
            done = list(pool.map(one, range(count)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    count_inflating(sum(seconds for _, seconds in done) / at_once)
    return [error for error, _ in done]
