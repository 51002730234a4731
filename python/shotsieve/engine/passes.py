"""One way through a run: its blocks through the ring, part by part, each of which is then complete."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import NoRoom, OutputError
from ..telling import tell
from ..write.journal import Entry
from ..write.part import Part
from .blocks import BlockRunner, Slot
from .clock import StepClock
from .parts import blocks_of
from .ring import run_ring
from .settle import settle
from .slot_times import join
from .state import put_rows, put_sums, rows_of, sums_of

if TYPE_CHECKING:
    import numpy as np

    from ..backend import Backend
    from ..write.journal import Step
    from .job import Job

SLOTS = 3


FramesOf = Callable[[], Mapping[str, "np.ndarray"]]
"""Makes the frames of kept shots, by plane; called once, before more of them are made."""


class FrameSink(Protocol):
    """What takes the kept frames of a part; `KeptWriters` writes them."""

    notes: list[str]

    def append(self, shots: Any, present: Any, make: FramesOf, peaks: Any = ()) -> None:
        """Take kept shots, in the order of the table. Frames are made before the next call has returned."""

    def finish(self) -> list[Path]:
        """Take notice that all shots were there, and return the files."""

    def abort(self) -> None:
        """Give up."""


Sinks = Callable[[Part, StepClock], FrameSink]


class Pass:
    """A way through the parts of a run that no earlier process has gone to the end.

    Parameters
    ----------
    job : Job
    backend : Backend
    parts : sequence of Part
    step : Step or None
        Where complete parts are told of, and were; None keeps nothing.
    sinks : callable or None
        Gives what takes the kept frames of a part.
    progress, block_bytes, slots
        As for `shotsieve.reduce`.
    **how
        `decide` and `peaks` of `BlockRunner`.

    Attributes
    ----------
    bytes_read : int
        Raw bytes, those of earlier processes included.
    notes : list of str
        Of the sinks, and what could not be read.
    tells_losses : bool
        Whether notes say what could not be read: of passes over the same shots only one does.
    """

    def __init__(
        self,
        job: Job,
        backend: Backend,
        parts: Sequence[Part],
        step: Step | None,
        sinks: Sinks | None,
        progress: Callable[[int, int, int], None] | None,
        block_bytes: int,
        slots: int = SLOTS,
        **how: Any,
    ) -> None:
        self.most = slots
        self.job, self.backend, self.step, self.sinks = job, backend, step, sinks
        self.notes: list[str] = []
        self.tells_losses = False
        self._fit(parts, block_bytes, progress, how)

    def _fit(self, parts: Sequence[Part], block_bytes: int, progress: Any, how: dict[str, Any]) -> None:
        """Make runner and slots; where the device has no room for them, fewer slots, then smaller blocks.

        Raises
        ------
        NoRoom
            If the smallest blocks do not fit either.
        """
        if self.backend.device.free_bytes() is not None:
            gc.collect()  # of an earlier pass something may still be there
        done = 0 if self.step is None else self.step.complete
        size, cut = block_bytes, self._cut(parts, block_bytes)
        while True:
            self.parts = cut
            blocks = [block for _, of_part in cut for block in of_part]
            largest = max((stop - start for start, stop in blocks), default=1)
            wanted = min(self.most, max((len(of_part) for _, of_part in cut[done:]), default=0))
            lack, self.slots = None, []
            try:
                self.runner = BlockRunner(self.job, self.backend, None, largest, progress, **how)
                while len(self.slots) < wanted:
                    self.slots.append(self.runner.make_slot())
            except NoRoom as error:
                lack = str(error)
            # Work of one block goes on beside the reading of the next where there are two.
            if lack is None or len(self.slots) >= 2:
                break
            smaller = self._cut(parts, size // 2)
            if smaller == cut:
                if not self.slots:
                    raise NoRoom(
                        f"{lack}, and blocks of {size / 1e6:.1f} MB are the smallest that this run can be "
                        "cut into: take fewer modules or cells ([select]), packed constants ([calibrate] "
                        "packed_constants = true), or a device with more memory"
                    )
                break
            size, cut = size // 2, smaller
            self.slots.clear()
            self.runner = None
            gc.collect()  # their arrays may be parts of cycles
        if lack is not None or size < block_bytes:
            number = f"{len(self.slots)} block" + ("s" if len(self.slots) != 1 else "")
            tell(
                f"{number} of {size / 1e6:.1f} MB in flight, since the device has no room for "
                f"{self.most} of {block_bytes / 1e6:.1f} MB",
                once=True,
            )

    def _cut(self, parts: Sequence[Part], block_bytes: int) -> list[tuple[Part, list[tuple[int, int]]]]:
        readable, cuts = self.job.source.readable, self.job.source.cuts(block_bytes)
        return [(part, blocks_of(part, readable, cuts)) for part in parts]

    @property
    def bytes_read(self) -> int:
        return self.runner.bytes_read

    def run(self, measures: bool) -> None:
        """Go through all parts.

        Parameters
        ----------
        measures : bool
            Something is measured on the way, which complete parts tell of.
        """
        slots, failed = self.slots, True
        try:
            done = self._resume(measures)
            for part, blocks in self.parts[done:]:
                self._run(part, blocks, slots, measures)
            for name, seconds in self.runner.clock.seconds.items():
                self.job.seconds[name] = self.job.seconds.get(name, 0.0) + seconds
            join(self.job.slot_times, [slot.times for slot in slots])
            failed = False
        finally:
            # Work may still be queued after an error; its buffers must not be reused before it is done.
            settle(self.backend.device, slots, failed)

    def _resume(self, measures: bool) -> int:
        """Take what complete parts tell; return their number."""
        if self.step is None or not self.step.complete:
            return 0
        for (part, blocks), entry in zip(self.parts, self.step.entries(), strict=False):
            self.runner.done += sum(stop - start for start, stop in blocks)
            self.runner.bytes_read += entry.bytes_read
            self.notes += entry.notes
            said = self.job.source.notes
            said += [note for note in entry.met if note not in said]
            if self.job.form is not None:
                self.job.form.out_of_range += entry.out_of_range
            if measures:
                put_rows(self.job, part, entry.rows)
        if measures:
            put_sums(self.job, self.step.sums())
        return self.step.complete

    def _run(self, part: Part, blocks: Iterable[tuple[int, int]], slots: list[Slot], measures: bool) -> None:
        runner, before, form = self.runner, self.runner.bytes_read, self.job.form
        unfit, said = 0 if form is None else form.out_of_range, len(self.job.source.notes)
        rows_go_to = self.step.place(part.number) if self.step is not None and measures else None
        sink = self.sinks(part, runner.clock) if self.sinks is not None else None
        runner.writer = sink
        try:
            for one in self.job.pixel_jobs:
                one.open(rows_go_to)
            for _ in run_ring(slots, blocks, runner.fill, runner.submit, runner.collect):
                pass
            with runner.clock.step("finish"):
                files = [] if sink is None else sink.finish()
        except BaseException:
            try:
                if sink is not None:
                    sink.abort()
            finally:
                _close_after_an_error(self.job.pixel_jobs)
            raise
        for one in self.job.pixel_jobs:
            one.close(complete=False)
        notes = [] if sink is None else list(sink.notes)
        losses = getattr(self.job.source, "losses", None)
        if losses is not None and self.tells_losses:
            notes += losses.notes(self.job.source.trains.train_id[part.trains])
        self.notes += notes
        if self.step is not None:
            with runner.clock.step("commit"):
                kept = measures and self.step.journal.keeps
                rows, sums = (rows_of(self.job, part), sums_of(self.job)) if kept else ({}, {})
                entry = Entry(
                    rows,
                    bytes_read=runner.bytes_read - before,
                    out_of_range=0 if form is None else form.out_of_range - unfit,
                    notes=notes,
                    met=self.job.source.notes[said:],
                )
                self.step.commit(entry, sums, files)


def write_sums(job: Job, side: Path, step: Step) -> None:
    """Write the files of what was measured over all parts: the rows of each, and what they come to."""
    for one in job.pixel_jobs:
        one.open(side)
        try:
            for number in range(step.complete):
                one.take(step.place(number))
        except BaseException:
            _close_after_an_error([one])
            raise
        one.close()
    if job.pump is not None:
        job.pump.write(side)


def _close_after_an_error(measures: Iterable[Any]) -> None:
    """Close files of measures; that the disk refuses this too must not hide why it is done."""
    for one in measures:
        with suppress(OSError, OutputError):
            one.close(complete=False)
