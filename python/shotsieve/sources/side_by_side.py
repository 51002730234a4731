"""Several readings at once: files of different modules wait for the disk side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..cpus import in_threads
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
    todo, unreadable, failed = deque(range(count)), [None] * count, []
    inflating: list[float] = []  # of threads

    def work() -> None:
        before = inflating_s()
        while todo:
            try:
                number = todo.popleft()
            except IndexError:
                break  # another thread was faster
            try:
                read(number)
            except UnreadableData as error:
                unreadable[number] = error
            except BaseException as error:
                failed.append(error)
                todo.clear()
        inflating.append(inflating_s() - before)

    mine = inflating_s()
    in_threads(work, min(at_once, count), todo)
    # Of the time that all of this took.
    count_inflating(sum(inflating) / max(len(inflating), 1) - (inflating_s() - mine))
    if failed:
        raise failed[0]
    return unreadable
