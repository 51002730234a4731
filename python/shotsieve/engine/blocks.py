"""One block through the stages: read, calibrate and count, decide, compact, calibrate what is kept, write."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calibrate import CANDIDATES, COUNTS, list_frames, queue_calibration
from ..constants.bad_pixels import BadPixels
from ..device import upload
from ..linearise import Lineariser
from ..measure.lit import lit_measures
from ..measure.peaks import PEAK_DTYPE
from ..nine_bits import refuse_nine_bits
from ..shift_finder import make_finder
from ..sources.base import lost_of
from ..sources.corrected import without_data
from .clock import MAKE_KEPT, READ, StepClock
from .job import Job, module_status
from .kept_frames import KeptFrameMaker
from .noise_counts import NoiseCounts
from .pixels import PixelPass
from .slot_times import SlotTimes
from .stages import PixelStages, cut

if TYPE_CHECKING:
    from ..backend import Backend
    from ..shifts import Shifts
    from ..table import Table
    from .passes import FrameSink

NO_PEAKS = np.zeros(0, PEAK_DTYPE)


class Slot:
    """Buffers of one block: pinned host memory, its twin on the device, a stream and its last event."""

    def __init__(self, backend: Backend, shots: int, modules: int, planes: int, pixels: int) -> None:
        device = backend.device
        self.shots, self.modules = shots, modules
        # The second name stays: a block that lies in pinned memory already is read where it is.
        self.raw = self.own_raw = device.empty_pinned((shots, modules, planes, pixels), "u2")
        self.frames = device.empty_pinned((shots * modules,), "i4")
        self.groups = device.empty_pinned((shots * modules, 3), "i4")
        self.counts = device.empty_pinned((shots * modules, COUNTS), "i8")
        self.device_raw = device.twin(self.raw)
        self.device_frames = device.twin(self.frames)
        self.device_groups = device.twin(self.groups)
        self.device_counts = device.twin(self.counts)
        self.stream = device.stream()
        self.times = SlotTimes(device, self.stream)
        self.event: Any = None
        self.words: Any = None  # raw words made linear, where the detector needs it
        self.noise_counts: Any = None  # where pixels are lit by their own noise
        self.device_noise_counts: Any = None
        # Of the block that is in it: rows of the table, frames that are there, rows of their constants.
        self.shots_in = np.zeros(0, "i8")
        self.present = np.zeros((0, modules), bool)
        self.rows = np.zeros((0, modules), "i4")
        self.train_id = self.cell_id = np.zeros(0, "i8")
        # What is found of all its frames before they are calibrated, once it is asked for.
        self.finder: Any = None  # of the shifts, where a common mode is subtracted
        self.shifts: Shifts | None = None
        self.lost: np.ndarray | None = None
        # Where blocks come from outside: a table of their own, and raw words that are on the device already.
        self.table: Table | None = None
        self.given: Any = None

    def lose(self, lost: np.ndarray | None) -> None:
        """Take frames for absent that could not be read, bool (n, M); None: all could."""
        self.lost = lost
        if lost is not None:
            self.present = self.present & ~lost


def _names_the_block(step: Callable[..., None]) -> Callable[..., None]:
    """Let whatever fails in a step, as a device may, say in which block that was."""

    @wraps(step)
    def named(self: BlockRunner, slot: Slot, block: Any) -> None:
        try:
            step(self, slot, block)
        except (RuntimeError, MemoryError) as error:
            trains = slot.train_id
            if getattr(error, "__notes__", None):  # it was an earlier block
                raise
            where = f", trains {trains[0]} to {trains[-1]}" if len(trains) else ""
            error.add_note(f"in a block of {len(slot.shots_in)} shots of {self.job.source.name}{where}")
            raise

    return named


class BlockRunner:
    """The three steps of the ring for one job: `fill`, `submit`, `collect`.

    Parameters
    ----------
    job : Job
    backend : Backend
    writer : FrameSink or None
        Takes kept frames; None where only the table is wanted, or until a pass sets that of its part.
    block_shots : int
        Shots of the largest block.
    progress : callable or None
        Called as ``progress(done_shots, all_shots, bytes_read)`` after each block.
    decide : callable or None
        Says of some rows of the table which are kept, bool; None asks the job's keeper.
    peaks : callable or None
        Gives the peaks of a kept shot; None takes those that the runner finds.
    """

    def __init__(
        self,
        job: Job,
        backend: Backend,
        writer: FrameSink | None,
        block_shots: int,
        progress: Callable[[int, int, int], None] | None = None,
        decide: Callable[[np.ndarray], np.ndarray] | None = None,
        peaks: Callable[[int], np.ndarray] | None = None,
    ) -> None:
        self.job, self.backend, self.device, self.writer = job, backend, backend.device, writer
        # Bound methods of its own would make a cycle, and its buffers would wait for the garbage collector.
        self._decide, self._peaks = decide, peaks
        self.progress = progress
        self.bytes_read = self.done = 0
        self.clock = StepClock(backend.device)
        detector = job.source.detector
        self.modules, self.pixels = len(job.source.modules), detector.pixels
        self.planes = detector.plane_count
        self.frame_bytes = detector.frame_bytes
        self.corrected = job.params is not None and detector.is_corrected
        self.block_shots, self.second = block_shots, None
        # A recipe without rule and without counting needs no pass over all frames.
        self.on_device = job.params is not None and (
            job.counts_frames or job.needs_pixels or job.writes_pixels
        )
        if self.on_device:
            self.table = self._upload(job.tables.table)
            self.lineariser = Lineariser(backend, job.tables.linear)
        self.by_noise = None
        if job.lit_by_noise is not None:
            table = self._upload(job.lit_by_noise.table)
            self.by_noise = NoiseCounts(backend, job.lit_by_noise, table)
        if self.on_device and (job.writes_pixels or job.needs_pixels):
            self.second = PixelPass(backend, job, self.table, block_shots, self.lineariser)
        self.kept_frames = None if job.content is None else KeptFrameMaker(job, self.second, block_shots)
        self.stages = PixelStages(backend, job, self.second) if job.needs_pixels else None
        # Where all shots are calibrated to pixels, they are counted then, and not once before.
        self.counts_late = self.stages is not None and self.stages.looks_at_all

    def make_slot(self) -> Slot:
        """Return the buffers of one more block in flight."""
        slot = Slot(self.backend, self.block_shots, self.modules, self.planes, self.pixels)
        if self.on_device:
            slot.words = self.lineariser.buffer(slot.raw.shape)
        if self.by_noise is not None:
            self.by_noise.prepare(slot)
        if self.on_device and self.job.common_mode is not None:
            frames = self.block_shots * self.modules
            slot.finder = make_finder(self.backend, self.job.common_mode, self.pixels, frames)
        return slot

    def _upload(self, array: np.ndarray) -> Any:
        """Copy an array to the device, or make one of a row that no frame has."""
        if len(array) == 0:
            return self.device.empty((1, *array.shape[1:]), array.dtype)
        return upload(self.device, array)

    # ------------------------------------------------------------------ the steps of the ring

    def fill(self, slot: Slot, block: tuple[int, int]) -> None:
        """Read a block, a range of the readable shots, into a slot's pinned buffer."""
        source, detector = self.job.source, self.job.source.detector
        start, stop = block
        slot.shots_in = source.readable[start:stop]
        slot.present = source.shots.present[slot.shots_in]
        self.describe(slot, source.shots.train_id[slot.shots_in], source.shots.cell_id[slot.shots_in])
        out = slot.raw[: stop - start].reshape(-1, self.modules, self.planes, *detector.frame_shape)
        with self.clock.step(READ), slot.times.host(READ):
            source.read(start, stop, out)
        slot.lose(lost_of(source, slot.shots_in))
        self.look_at(slot, out)

    def describe(self, slot: Slot, train_id: np.ndarray, cell_id: np.ndarray) -> None:
        """Note what the shots in a slot are, and which constants they have."""
        slot.times.take()
        slot.train_id, slot.cell_id, slot.shifts = train_id, cell_id, None
        slot.rows = self.rows_of(cell_id)

    @_names_the_block
    def submit(self, slot: Slot, block: Any) -> None:
        """Queue the copies and the counting of a block; waits for nothing."""
        if self.on_device and len(slot.shots_in):
            with self.clock.step("queue"):
                self._queue(slot, len(slot.shots_in))

    def _queue(self, slot: Slot, n: int) -> None:
        slot.times.mark("copy in")
        self.upload(slot, n)
        slot.times.mark("")
        if not self.job.counts_frames or (self.counts_late and self.by_noise is None):
            return
        slot.times.mark("compute")
        frames, groups = self._list(slot, slot.present, slot.rows)
        raw = slot.device_raw[:n].reshape(n * self.modules, self.planes, self.pixels)
        words = self.lineariser.queue(raw, frames, groups, slot.words, slot.stream)
        self._find_shifts(slot, frames, groups)
        if self.by_noise is not None:
            self.by_noise.queue(slot, words, frames, groups)
        if self.counts_late:
            slot.times.mark("")
            return
        queue_calibration(
            self.backend,
            words,
            frames,
            groups,
            self.table,
            slot.device_counts[: n * self.modules],
            self.job.params,
            shifts=slot.shifts,
            stream=slot.stream,
        )
        counted = slice(n * self.modules)
        slot.times.mark("copy out")
        self.device.to_host(slot.counts[counted], slot.device_counts[counted], slot.stream)
        slot.times.mark("")
        slot.event = self.device.record(slot.stream)

    @_names_the_block
    def collect(self, slot: Slot, block: Any) -> None:
        """Wait for the counts of a block, decide, and write what is kept."""
        job, table, shots = self.job, self.job.table, slot.shots_in
        present, rows, n = slot.present, slot.rows, len(slot.shots_in)
        calibrated = rows if self.on_device or self.corrected else None
        table.set_module_status(shots, module_status(present, calibrated, slot.lost))
        counted, worth = self.on_device and job.counts_frames and n > 0, np.zeros(n, bool)
        if counted and not self.counts_late:
            with self.clock.step("wait for counts"):
                self.device.wait(slot.event)
            worth = self._counts(slot)[..., CANDIDATES].any(axis=1)
        if self.stages is not None:
            slot.times.mark("compute")
            with self.clock.step("pixels"):
                self._find_shifts(slot)
                self.stages.measure(slot, shots, worth, present, rows, lambda at: self._tell_counts(slot, at))
            slot.times.mark("")
        if counted and self.counts_late:
            self.device.wait(self.device.record(slot.stream))
        with self.clock.step("decide"), slot.times.host("write"):
            if counted:
                self._tell_counts(slot, np.arange(n))
            keep = self.decide(shots)
        if self.writer is not None and keep.any():
            self._write(slot, np.flatnonzero(keep))
        self.bytes_read += int(present.sum()) * self.frame_bytes
        self.done += n
        slot.times.release()
        if self.progress is not None:
            self.progress(self.done, len(job.source.readable), self.bytes_read)

    # ------------------------------------------------------------------ parts of the steps

    def rows_of(self, cell_id: np.ndarray) -> np.ndarray:
        """Return the rows of the constants of some shots, int32 (n, M); -1 without."""
        if self.job.tables is None:
            return np.full((len(cell_id), self.modules), -1, "i4")
        return self.job.tables.rows(cell_id)

    def look_at(self, slot: Slot, raw: np.ndarray) -> None:
        """Refuse words that the recipe misreads; frames that had no constants when calibrated are unknown."""
        if self.on_device:
            what = (self.job.params.zero_adc, self.job.source.name, "Set [calibrate] wrap256 = false")
            refuse_nine_bits(raw, *what, slot.present, self.job.source.modules, slot.train_id)
        if self.corrected and self.job.tables.bad_bits & BadPixels.NO_DARK_DATA:
            slot.rows[without_data(raw, slot.present)] = -1

    def _counts(self, slot: Slot) -> np.ndarray:
        """Return the counts of a slot's frames, int64 (n, M, 5); 0 where none was counted."""
        n = len(slot.shots_in)
        counts = slot.counts[: n * self.modules].reshape(n, self.modules, COUNTS)
        if self.by_noise is not None:
            counts = self.by_noise.into(counts, slot)
        return np.where((slot.present & (slot.rows >= 0))[..., None], counts, 0)

    def _tell_counts(self, slot: Slot, at: np.ndarray) -> None:
        """Put the counts of some shots of a slot into the table; `at` are their positions in the block."""
        if self.job.recipe.measure.lit is None:
            return
        high = self.job.counts_high and self.job.peaks is None
        measures = lit_measures(self._counts(slot)[at], self.job.params.to_photon > 0, high)
        for name, values in measures.items():
            self.job.table.set_measure(name, slot.shots_in[at], values)

    def upload(self, slot: Slot, n: int) -> None:
        """Queue the copy of a slot's raw words to the device."""
        self.device.to_device(slot.device_raw[:n], slot.raw[:n], slot.stream)

    def _list(self, slot: Slot, present: np.ndarray, rows: np.ndarray) -> tuple[Any, Any]:
        """Queue the upload of the lists of a block's frames and groups; return both on the device."""
        frames, groups = list_frames(present, rows, self.job.tables.most_together)
        listed, grouped = len(frames), len(groups)
        slot.frames[:listed] = frames
        slot.groups[:grouped] = groups
        self.device.to_device(slot.device_frames[:listed], slot.frames[:listed], slot.stream)
        self.device.to_device(slot.device_groups[:grouped], slot.groups[:grouped], slot.stream)
        return slot.device_frames[:listed], slot.device_groups[:grouped]

    def _find_shifts(self, slot: Slot, frames: Any = None, groups: Any = None) -> None:
        """Queue what finds the shifts of all frames of a slot, unless that was done before."""
        n = len(slot.shots_in)
        if slot.finder is None or slot.shifts is not None or n == 0:
            return
        if frames is None:
            frames, groups = self._list(slot, slot.present, slot.rows)
        raw = slot.device_raw[:n].reshape(n * self.modules, self.planes, self.pixels)
        lists = (slot.present, slot.rows, slot.train_id, slot.cell_id)
        slot.shifts = slot.finder.queue(raw, frames, groups, self.table, *lists, slot.stream)

    def _write(self, slot: Slot, at: np.ndarray) -> None:
        """Hand kept shots to the writer; `at` are their positions in the block."""
        for part in cut(at, self.kept_frames.at_once(slot.shots_in[at])):
            shots = slot.shots_in[part]
            with self.clock.step(MAKE_KEPT):
                if not self.job.copies_frames:
                    self._find_shifts(slot)
                frames = self.kept_frames.of(slot, part)
            with self.clock.step("hand over"), slot.times.host("write"):
                self.writer.append(shots, slot.present[part], frames, self._peaks_of(shots))

    def decide(self, shots: np.ndarray) -> np.ndarray:
        """Say of some rows of the table which are kept, bool."""
        if self._decide is not None:
            return self._decide(shots)
        return self.job.keeper.decide(self.job.table, shots)

    def _peaks_of(self, shots: np.ndarray) -> list[np.ndarray]:
        """Return the peaks of kept shots."""
        if self._peaks is not None:
            return [self._peaks(shot) for shot in shots.tolist()]
        found = {} if self.stages is None else self.stages.records
        return [found.get(shot, NO_PEAKS) for shot in shots.tolist()]
