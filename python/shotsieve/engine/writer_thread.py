"""The thread that writes what is kept of one block while the next ones are measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .clock import WRITE

if TYPE_CHECKING:
    from .clock import StepClock
    from .passes import FramesOf
    from .writers import KeptWriters


class WriterThread:
    """Passes all that is kept on to its writers in a thread of its own, in order; a `FrameSink` itself.

    One call of `append` is under way at most: the next waits for it. So memory is bounded, whoever fills two
    sets of buffers in turn never fills one that is being written, and what the disk refuses is raised by the
    next call.

    Parameters
    ----------
    writers : KeptWriters
        Open; what they can write before any shot is kept is written beside the first blocks.
    clock : StepClock
        Takes the time of the step ``write``.

    Examples
    --------
    >>> sink = WriterThread(KeptWriters(job, folder, part), clock)    # doctest: +SKIP
    """

    def __init__(self, writers: KeptWriters, clock: StepClock) -> None:
        self._writers, self._clock = writers, clock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="shotsieve-write")
        try:
            self._task = self._pool.submit(self._timed, writers.begin)
        except BaseException:  # the system gives no more threads
            writers.abort()
            raise

    @property
    def notes(self) -> list[str]:
        """What the writers note, once they are finished."""
        return self._writers.notes

    def append(
        self,
        shots: np.ndarray,
        present: np.ndarray,
        make: FramesOf,
        peaks: Sequence[np.ndarray] = (),
    ) -> None:
        """Take kept shots, whose frames are made in the thread too; see `KeptWriters.append`."""

        def write() -> None:
            try:
                self._writers.append(shots, present, make(), peaks)
            except (RuntimeError, MemoryError) as error:
                # It is raised while a later block is at work, which would else be blamed.
                error.add_note(f"while kept shots were written, the first of them row {shots[0]}")
                raise

        self._task.result()
        self._task = self._pool.submit(self._timed, write)

    def finish(self) -> list[Path]:
        """Complete all files and return them."""
        self._task.result()
        self._pool.shutdown()
        return self._writers.finish()

    def abort(self) -> None:
        """Give up, once nothing is being written."""
        try:
            self._pool.shutdown(cancel_futures=True)
        finally:  # also where the wait is interrupted: what is being written meets a closed file
            self._writers.abort()

    def _timed(self, do: Callable[[], None]) -> None:
        with self._clock.step(WRITE):
            do()
