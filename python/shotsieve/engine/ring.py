"""The ring of slots: reading, computing and collecting overlap, and results are collected in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Slot = TypeVar("Slot")
Block = TypeVar("Block")
Result = TypeVar("Result")
_END = object()


def run_ring(
    slots: Iterable[Slot],
    blocks: Iterable[Block],
    fill: Callable[[Slot, Block], None],
    submit: Callable[[Slot, Block], None],
    collect: Callable[[Slot, Block], Result],
) -> Iterator[Result]:
    """Pass blocks through the slots, and yield what comes out.

    The number of slots is the back-pressure: nothing else is queued, so memory is bounded by them. Whoever
    stops taking results stops the ring, and whoever closes the iterator ends it, once the block that is being
    read is there. A result comes as soon as it can, also while the next block is not there yet.

    Parameters
    ----------
    slots : iterable
        Whatever owns the buffers of one block.
    blocks : iterable
        Whatever says what a block is; may be endless. It is advanced in the thread that fills.
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
        Whatever a step raised, once the reader has come to rest; what `blocks` or `fill` raised, once all
        earlier blocks were collected.
    """
    free, filling, computing = deque(slots), deque(), deque()
    pending, ended, failed = iter(blocks), False, None
    with ThreadPoolExecutor(1, thread_name_prefix="shotsieve-read") as reader:

        def take(slot: Slot) -> Block:
            block = next(pending, _END)
            if block is not _END:
                fill(slot, block)
            return block

        def read_ahead() -> None:
            while free and not ended:
                slot = free.popleft()
                filling.append((slot, reader.submit(take, slot)))

        try:
            read_ahead()
            while filling or computing:
                # Submit what is read, and wait for the reader only when there is nothing to collect.
                while filling and (not computing or filling[0][1].done()):
                    slot, reading = filling.popleft()
                    try:
                        block = reading.result()
                    except Exception as error:  # what was read before is whole: it is collected first
                        block, failed = _END, error
                    if block is _END:
                        ended = True
                        for _, later in filling:
                            later.cancel()
                        filling.clear()
                        break
                    submit(slot, block)
                    computing.append((slot, block))
                if computing:
                    slot, block = computing.popleft()
                    result = collect(slot, block)
                    free.append(slot)
                    read_ahead()
                    yield result
            if failed is not None:
                raise failed
        except BaseException:
            reader.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            # An error knows this frame, and so the slots: if the frame knew the error too, both would stay
            # until the garbage collector finds them.
            failed = reading = None
