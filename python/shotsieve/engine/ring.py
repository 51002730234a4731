"""The ring of slots: reading, computing and collecting overlap, and results are collected in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Slot = TypeVar("Slot")
Block = TypeVar("Block")
Result = TypeVar("Result")


def run_ring(
    slots: Iterable[Slot],
    blocks: Iterable[Block],
    fill: Callable[[Slot, Block], None],
    submit: Callable[[Slot, Block], None],
    collect: Callable[[Slot, Block], Result],
) -> Iterator[Result]:
    """Pass blocks through the slots, and yield what comes out.

    The number of slots is the back-pressure: nothing else is queued, so memory is bounded by them. Whoever
    stops taking results stops the ring, and whoever closes the iterator ends it.

    Parameters
    ----------
    slots : iterable
        Whatever owns the buffers of one block.
    blocks : iterable
        Whatever says what a block is; may be endless.
    fill : callable
        ``fill(slot, block)`` reads a block; runs in a thread of its own.
    submit : callable
        Queues the device work of a filled slot; must not wait.
    collect : callable
        Waits for that work and returns the result; called in the order of the blocks. The slot is then free.

    Yields
    ------
    result
        What `collect` returned, in the order of the blocks.

    Raises
    ------
    BaseException
        Whatever a step raised, once the reader has come to rest.
    """
    free, filling, computing = deque(slots), deque(), deque()
    pending = iter(blocks)
    with ThreadPoolExecutor(1, thread_name_prefix="shotsieve-read") as reader:

        def read_ahead() -> None:
            while free and (block := next(pending, None)) is not None:
                slot = free.popleft()
                filling.append((slot, block, reader.submit(fill, slot, block)))

        try:
            read_ahead()
            while filling or computing:
                # Submit what is read, and wait for the reader only when there is nothing to collect.
                while filling and (not computing or filling[0][2].done()):
                    slot, block, reading = filling.popleft()
                    reading.result()
                    submit(slot, block)
                    computing.append((slot, block))
                slot, block = computing.popleft()
                result = collect(slot, block)
                free.append(slot)
                read_ahead()
                yield result
        except BaseException:
            reader.shutdown(wait=True, cancel_futures=True)
            raise
