"""The ring of slots: reading, computing and collecting overlap, and results are collected in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Slot = TypeVar("Slot")
Step = Callable[[Slot, int, int], None]


def run_ring(
    slots: Iterable[Slot], cuts: Iterable[tuple[int, int]], fill: Step, submit: Step, collect: Step
) -> None:
    """Pass every cut of a run through the slots.

    The number of slots is the back-pressure: nothing else is queued, so memory is bounded by them.

    Parameters
    ----------
    slots : iterable
        Whatever owns the buffers of one block.
    cuts : iterable of (int, int)
        Consecutive ranges of shots.
    fill : callable
        ``fill(slot, start, stop)`` reads a block; runs in a thread of its own.
    submit : callable
        Queues the device work of a filled slot; must not wait.
    collect : callable
        Waits for that work and takes the results; called in the order of the cuts. The slot is then free.

    Raises
    ------
    BaseException
        Whatever a step raised, once the reader has come to rest.
    """
    free, filling, computing = deque(slots), deque(), deque()
    pending = iter(cuts)
    with ThreadPoolExecutor(1, thread_name_prefix="shotsieve-read") as reader:

        def read_ahead() -> None:
            while free and (cut := next(pending, None)) is not None:
                slot = free.popleft()
                filling.append((slot, cut, reader.submit(fill, slot, *cut)))

        try:
            read_ahead()
            while filling or computing:
                # Submit what is read, and wait for the reader only when there is nothing to collect.
                while filling and (not computing or filling[0][2].done()):
                    slot, cut, reading = filling.popleft()
                    reading.result()
                    submit(slot, *cut)
                    computing.append((slot, cut))
                slot, cut = computing.popleft()
                collect(slot, *cut)
                free.append(slot)
                read_ahead()
        except BaseException:
            reader.shutdown(wait=True, cancel_futures=True)
            raise
