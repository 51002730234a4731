"""Where the time of a reduction goes, step by step, and the same as ranges for NVIDIA's profilers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .slot_times import slots_text

READ, MAKE_KEPT, WRITE = "read", "make kept", "write"
BESIDE = (READ, WRITE)
"""Steps that have a thread of their own, beside all others."""

STEPS = {
    READ: "reading raw words into pinned memory; in a thread of its own, beside all other steps",
    "queue": "copies and kernels of a block, queued",
    "wait for counts": "until the counts of a block are there",
    "pixels": "calibrating to pixels, peaks, profiles, regions, averages",
    "decide": "measures into the table, and the rule",
    MAKE_KEPT: "kept shots to pixels and stages",
    "hand over": "until what was kept before is written",
    WRITE: "masks, compression, checksums and files; in a thread of its own, beside all other steps",
    "finish": "indices of the files of a part, and putting these on the disk",
    "commit": "checksums of these files, and what says that the part is complete",
}
"""What the steps are; all but those in `BESIDE` follow each other."""


class StepClock:
    """Adds up the time of steps. Steps of several threads may run at once.

    Parameters
    ----------
    device : Device
        Marks the steps for its profiler.

    Attributes
    ----------
    seconds : dict of str to float
        By step, in the order of `STEPS`; only those that were taken.

    Examples
    --------
    >>> from shotsieve.device import HostDevice
    >>> clock = StepClock(HostDevice())
    >>> with clock.step("decide"):
    ...     pass
    >>> list(clock.seconds)
    ['decide']
    """

    def __init__(self, device: Any) -> None:
        self._device, self._lock = device, threading.Lock()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Take the time of what is done inside."""
        began = time.perf_counter()
        try:
            with self._device.range(name):
                yield
        finally:
            took = time.perf_counter() - began
            with self._lock:
                self._seconds[name] = self._seconds.get(name, 0.0) + took

    @property
    def seconds(self) -> dict[str, float]:
        with self._lock:
            return {name: self._seconds[name] for name in STEPS if name in self._seconds}


def profile_text(performance: Mapping[str, Any]) -> str:
    """Return the steps of a reduction as lines for a terminal.

    Parameters
    ----------
    performance : mapping
        ``prepare_s``, ``run_s``, ``steps_s`` and ``slots_s`` of a result.
    """
    total, steps = performance["run_s"], performance["steps_s"]
    lines = [
        f"  {'where the time went':<22}{total:>9.2f} s after {performance['prepare_s']:.2f} s of preparation"
    ]
    for name, seconds in steps.items():
        share = f"{100 * seconds / total:>5.0f} %" if total else ""
        lines.append(f"    {name:<20}{seconds:>9.2f} s {share}   {STEPS[name]}")
    rest = total - sum(seconds for name, seconds in steps.items() if name not in BESIDE)
    share = f"{100 * rest / total:>5.0f} %" if total else ""
    lines.append(
        f"    {'other':<20}{rest:>9.2f} s {share}   waiting for the reader, and all that is not above"
    )
    return "\n".join(lines) + "\n" + slots_text(performance.get("slots_s", ()))
