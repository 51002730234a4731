"""Where the time of every slot goes: what is done with the block in it, and how long it only waits."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..sources.chunks import inflating_s

KINDS = {
    "read": "from the files into pinned memory",
    "inflate": "undoing the compression of what is read, in the threads that read it",
    "copy in": "to the device",
    "compute": "kernels",
    "copy out": "pixels and counts of the device to the host",
    "write": "deciding, and handing over what is kept: waiting until what was kept before is written",
    "wait": "with a block in it, of which nothing of the above goes on",
}
"""What a slot's time is spent on."""

SPANS = 300
"""Spans of a slot that are kept, for the picture: the latest."""


class SlotTimes:
    """The times of one slot, from events of its device and the host's clock.

    Parameters
    ----------
    device : Device
    stream : stream of the device
        The slot's.

    Attributes
    ----------
    seconds : dict of str to float
        By kind; what the device does not tell (the emulator has no times) is in none but ``wait``.
    spans : deque of (str, float, float)
        Kind, begin and end of the latest, on the clock `time.perf_counter`.

    Examples
    --------
    >>> from shotsieve.device import HostDevice
    >>> times = SlotTimes(HostDevice(), None)
    >>> times.take()
    >>> with times.host("write"):
    ...     pass
    >>> times.release()
    >>> [kind for kind, *_ in times.spans]
    ['write']
    """

    def __init__(self, device: Any, stream: Any) -> None:
        self._device, self._stream = device, stream
        self.seconds = dict.fromkeys(KINDS, 0.0)
        self.spans: deque[tuple[str, float, float]] = deque(maxlen=SPANS)
        # Events tell times between each other: one of them is laid on the host's clock.
        self._zero = device.mark(stream)
        if self._zero is not None:
            device.seconds_between(self._zero, self._zero)
        self._zero_s = time.perf_counter()
        self._marks: list[tuple[str, Any]] = []
        self._begin, self._spent = self._zero_s, 0.0

    def take(self) -> None:
        """A block comes into the slot."""
        self._marks.clear()  # of a block that failed
        self._begin, self._spent = time.perf_counter(), 0.0

    def mark(self, kind: str) -> None:
        """Say that what is queued from here on is of this kind; "" is nothing."""
        event = self._device.mark(self._stream)
        if event is not None:
            self._marks.append((kind, event))

    @contextmanager
    def host(self, kind: str) -> Iterator[None]:
        """Take the time of what is done inside, on the host."""
        began, inflated = time.perf_counter(), inflating_s()
        try:
            yield
        finally:
            ended = time.perf_counter()
            middle = max(began, ended - (inflating_s() - inflated))
            self._add(kind, began, middle)
            self._add("inflate", middle, ended)

    def release(self) -> None:
        """The block is done with: nothing of it is queued any more."""
        marks, self._marks = self._marks, []
        at = [self._zero_s + self._device.seconds_between(self._zero, event) for _, event in marks]
        for (kind, _), began, ended in zip(marks, at, at[1:], strict=False):
            self._add(kind, began, ended)
        self.seconds["wait"] += max(0.0, time.perf_counter() - self._begin - self._spent)

    def _add(self, kind: str, began: float, ended: float) -> None:
        if kind and ended > began:
            self.seconds[kind] += ended - began
            self._spent += ended - began
            self.spans.append((kind, began, ended))


def join(told: list[dict[str, Any]], slots: Sequence[SlotTimes]) -> None:
    """Add what slots of a pass tell to what those of earlier passes did: seconds by kind, and spans."""
    for number, times in enumerate(slots):
        if number == len(told):
            told.append({"seconds": dict.fromkeys(KINDS, 0.0), "spans": deque(maxlen=SPANS)})
        for kind, seconds in times.seconds.items():
            told[number]["seconds"][kind] += seconds
        told[number]["spans"].extend(times.spans)


def slots_text(slots: Sequence[dict[str, float]]) -> str:
    """Return the seconds of each slot by kind as lines for a terminal.

    Examples
    --------
    >>> print(slots_text([{"read": 1.5, "wait": 0.5}]), end="")
      slot      read      wait   seconds
         0      1.50      0.50
    """
    if not slots:
        return ""
    lines = ["  slot" + "".join(f"{kind:>10}" for kind in slots[0]) + "   seconds"]
    for number, seconds in enumerate(slots):
        lines.append(f"  {number:>4}" + "".join(f"{value:>10.2f}" for value in seconds.values()))
    return "\n".join(lines) + "\n"
