"""Interleaved rounds: all that is compared runs once per round, so that it shares the machine's moods."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

ROUNDS = 7


def interleave(
    functions: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    before: Callable[[str], object] = lambda name: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Run functions in turns.

    Parameters
    ----------
    functions : mapping of str to callable
        Each must have done its work when it returns.
    rounds : int
        One more round comes first and is not counted: it faults pages in and warms caches.
    before : callable
        Called with the name before each function; its time does not count.
    clock : callable
        Where time is read; ``time.process_time`` leaves out what other programs take of a busy machine.

    Returns
    -------
    dict of str to list of float
        Seconds of each round.

    Examples
    --------
    >>> len(interleave({"nothing": lambda: None}, rounds=3)["nothing"])
    3
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            before(name)
            began = clock()
            function()
            took = clock() - began
            if number:
                seconds[name].append(took)
    return seconds


def minima(seconds: Mapping[str, list[float]], prefix: str = "") -> dict[str, float]:
    """Return the least time of every function whose name begins with `prefix`, without the prefix."""
    return {name[len(prefix) :]: min(times) for name, times in seconds.items() if name.startswith(prefix)}


def fastest(times: Mapping[str, float]) -> tuple[str, float]:
    """Return name and time of the fastest."""
    name = min(times, key=times.__getitem__)
    return name, times[name]
