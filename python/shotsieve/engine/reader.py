"""The thread of a ring that advances the blocks and fills the slots."""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

GRACE_S = 0.1
"""How long a stop waits for a block that is nearly there, in s: the thread is then gone when it returns."""


class Reader:
    """Takes blocks and fills slots with them, one after the other, in a thread of its own.

    The thread is a daemon's, since nobody can end it while it waits for a block of a stream that is silent:
    those of an executor would be waited for when the interpreter exits. Meanwhile it knows no slot and, once
    it was stopped, nothing but the stream.

    Parameters
    ----------
    blocks : iterable
        Advanced in that thread, once for every slot that was offered.
    fill : callable
        ``fill(slot, block)``; runs in that thread.

    Examples
    --------
    >>> reader = Reader(iter("ab"), lambda slot, block: slot.append(block))
    >>> for slot in [[], [], []]:
    ...     reader.offer(slot)
    >>> [reader.take()[0] for _ in range(3)]
    [['a'], ['b'], None]
    >>> reader.stop()
    """

    def __init__(self, blocks: Iterable[Any], fill: Callable[[Any, Any], None]) -> None:
        self._changed = threading.Condition()
        self._fill: Callable[[Any, Any], None] | None = fill
        self._free: deque[Any] = deque()
        self._read: deque[tuple[Any, Any, BaseException | None]] = deque()
        self._stopped = self._advancing = self._filling = False
        self._thread = threading.Thread(
            target=self._work, args=(iter(blocks),), name="shotsieve-read", daemon=True
        )
        # Not while the interpreter goes down: it would stop a daemon's thread in the middle of a slot.
        atexit.register(self.stop)
        self._thread.start()

    def offer(self, slot: Any) -> None:
        """Let a slot be filled, once those that were offered before are."""
        with self._changed:
            self._free.append(slot)
            self._changed.notify_all()

    @property
    def ready(self) -> bool:
        """Whether `take` need not wait."""
        with self._changed:
            return bool(self._read)

    def take(self) -> tuple[Any, Any, BaseException | None]:
        """Wait for the next slot that is full, and return it.

        Returns
        -------
        slot, block
            None at the end of the blocks; nothing follows then.
        error : BaseException or None
            What `blocks` or `fill` raised, which is an end too.
        """
        with self._changed:
            while not self._read:
                self._changed.wait()
            return self._read.popleft()

    def stop(self) -> None:
        """Fill no more slots; return once none is being filled. The next block is not waited for."""
        atexit.unregister(self.stop)
        with self._changed:
            if self._stopped and not self._filling:
                return
            self._stopped = True
            self._fill = None
            self._free.clear()
            self._read.clear()
            self._changed.notify_all()
            if threading.current_thread() is self._thread:
                return  # the garbage collector closes a ring in whatever thread it runs in
            while self._filling:
                self._changed.wait()
            advancing = self._advancing
        self._thread.join(GRACE_S if advancing else None)

    # ------------------------------------------------------------------ the thread

    def _work(self, blocks: Iterator[Any]) -> None:
        while self._wanted() and self._step(blocks):
            pass

    def _wanted(self) -> bool:
        """Wait for a slot; return whether there is one."""
        with self._changed:
            while not (self._free or self._stopped):
                self._changed.wait()
            self._advancing = not self._stopped
            return self._advancing

    def _step(self, blocks: Iterator[Any]) -> bool:
        """Take a block, and fill a slot with it; return whether that may go on."""
        # What this frame holds is gone before the next block is waited for.
        slot = block = error = None
        try:
            block = next(blocks)
        except StopIteration:
            return self._done(None, None, None)
        except BaseException as err:
            return self._done(None, None, err)
        with self._changed:
            self._advancing = False
            if self._stopped:
                return False
            slot, fill, self._filling = self._free.popleft(), self._fill, True
        try:
            fill(slot, block)
        except BaseException as err:
            return self._done(None, None, err)
        return self._done(slot, block, error)

    def _done(self, slot: Any, block: Any, error: BaseException | None) -> bool:
        with self._changed:
            self._advancing = self._filling = False
            if not self._stopped:
                self._read.append((slot, block, error))
            self._changed.notify_all()
            return slot is not None
