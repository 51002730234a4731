"""The ring of slots: reading, computing and collecting overlap, and results are collected in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from .reader import Reader

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
    stops taking results stops the ring, and whoever closes the iterator ends it, once the slot that is being
    filled is full. A result comes as soon as it can, also while the next block is not there yet; nor does an
    end wait for that block: one that comes later is dropped, and no slot is filled any more.

    Parameters
    ----------
    slots : iterable
        Whatever owns the buffers of one block; at least one, unless there are no blocks.
    blocks : iterable
        Whatever says what a block is; may be endless, or silent for hours. It is advanced in the thread that
        fills, which does not keep the interpreter from exiting.
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
    ValueError
        If there are blocks and no slots.
    BaseException
        Whatever a step raised, once no slot is being filled; what `blocks` or `fill` raised, once all
        earlier blocks were collected.
    """
    slots = list(slots)
    if not slots:
        for _ in blocks:
            raise ValueError("a ring of 0 slots: expected at least 1, through which blocks can pass")
        return
    computing, ended, failed = deque(), False, None
    reader = Reader(blocks, fill)
    try:
        for slot in slots:
            reader.offer(slot)
        while True:
            # Submit what is read, and wait for the reader only when there is nothing to collect.
            while not ended and (not computing or reader.ready):
                slot, block, failed = reader.take()
                if slot is None:  # what was read before is whole: it is collected first
                    ended = True
                else:
                    submit(slot, block)
                    computing.append((slot, block))
            if not computing:
                break
            slot, block = computing.popleft()
            result = collect(slot, block)
            reader.offer(slot)
            yield result
        if failed is not None:
            raise failed
    finally:
        # An error knows this frame, and so the slots: if the frame knew the error too, both would stay
        # until the garbage collector finds them.
        failed = None
        reader.stop()
