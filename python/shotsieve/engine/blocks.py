"""One block through the stages: read, calibrate and count, decide, compact, calibrate what is kept, write."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calibrate import list_frames, make_masks, queue_calibration
from ..compact import queue_compaction
from ..measure.lit import lit_measures
from .job import Job, module_status

if TYPE_CHECKING:
    from ..backend import Backend
    from ..write.exdf import ReducedRunWriter

KEPT_BYTES = 32_000_000
"""Raw bytes of kept shots that are calibrated to pixels at once; bounds the memory of the second pass."""


class Slot:
    """Buffers of one block: pinned host memory, its twin on the device, a stream and its last event."""

    def __init__(self, backend: Backend, shots: int, modules: int, planes: int, pixels: int) -> None:
        device = backend.device
        self.shots, self.modules = shots, modules
        self.raw = device.empty_pinned((shots, modules, planes, pixels), "u2")
        self.frames = device.empty_pinned((shots * modules,), "i4")
        self.groups = device.empty_pinned((shots * modules, 3), "i4")
        self.counts = device.empty_pinned((shots * modules, 4), "i8")
        self.device_raw = device.twin(self.raw)
        self.device_frames = device.twin(self.frames)
        self.device_groups = device.twin(self.groups)
        self.device_counts = device.twin(self.counts)
        self.stream = device.stream()
        self.event: Any = None


class KeptFrames:
    """Buffers of the second pass, in which kept shots are gathered and calibrated to pixels."""

    def __init__(
        self, backend: Backend, block: int, shots: int, modules: int, planes: int, pixels: int
    ) -> None:
        device = backend.device
        self.shots = shots
        self.keep = device.empty_pinned((block,), "u1")
        self.frames = device.empty_pinned((shots * modules,), "i4")
        self.groups = device.empty_pinned((shots * modules, 3), "i4")
        self.pixels = device.empty_pinned((shots, modules, pixels), "f4")
        self.stage = device.empty_pinned((shots, modules, pixels), "u1")
        self.device_keep = device.twin(self.keep)
        self.device_frames = device.twin(self.frames)
        self.device_groups = device.twin(self.groups)
        self.device_pixels = device.twin(self.pixels)
        self.device_stage = device.twin(self.stage)
        self.device_index = device.empty((block,), "i4")
        self.device_count = device.empty((1,), "i4")
        self.device_raw = device.empty((shots, modules, planes, pixels), "u2")
        self.device_counts = device.empty((shots * modules, 4), "i8")


class BlockRunner:
    """The three steps of the ring for one job: `fill`, `submit`, `collect`.

    Parameters
    ----------
    job : Job
    backend : Backend
    writer : ReducedRunWriter or None
        Takes kept frames; None where only the table is wanted.
    block_shots : int
        Shots of the largest block.
    progress : callable or None
        Called as ``progress(done_shots, all_shots, bytes_read)`` after each block.
    """

    def __init__(
        self,
        job: Job,
        backend: Backend,
        writer: ReducedRunWriter | None,
        block_shots: int,
        progress: Callable[[int, int, int], None] | None = None,
    ) -> None:
        self.job, self.backend, self.device, self.writer = job, backend, backend.device, writer
        self.progress = progress
        self.bytes_read = 0
        detector = job.source.detector
        self.modules, self.pixels = len(job.source.modules), detector.pixels
        self.planes = detector.plane_count
        self.frame_bytes = 2 * self.planes * self.pixels
        self.block_shots = block_shots
        # A recipe without rule and without counting needs no pass over all frames.
        self.on_device = job.params is not None and (job.counts_frames or job.content == "corrected")
        if self.on_device:
            self.table = self._upload(job.tables.table)
        if self.on_device and writer is not None and job.content == "corrected":
            together = detector.row_cells if detector.keep_unit == "train" else 1
            shots = max(together, min(block_shots, KEPT_BYTES // (self.modules * self.frame_bytes)))
            self.kept = KeptFrames(backend, block_shots, shots, self.modules, self.planes, self.pixels)

    def make_slot(self) -> Slot:
        """Return the buffers of one more block in flight."""
        return Slot(self.backend, self.block_shots, self.modules, self.planes, self.pixels)

    def _upload(self, array: np.ndarray) -> Any:
        """Copy an array to the device once, and wait: the host copy may go away."""
        if len(array) == 0:
            return self.device.empty((1, *array.shape[1:]), array.dtype)
        target = self.device.twin(array)
        stream = self.device.stream()
        self.device.to_device(target, array, stream)
        self.device.wait(self.device.record(stream))
        return target

    # ------------------------------------------------------------------ the steps of the ring

    def fill(self, slot: Slot, start: int, stop: int) -> None:
        """Read a block into a slot's pinned buffer."""
        detector = self.job.source.detector
        out = slot.raw[: stop - start].reshape(-1, self.modules, self.planes, *detector.shape)
        self.job.source.read(start, stop, out)

    def submit(self, slot: Slot, start: int, stop: int) -> None:
        """Queue the copies and the counting of a block; waits for nothing."""
        if not self.on_device:
            return
        n = stop - start
        self.device.to_device(slot.device_raw[:n], slot.raw[:n], slot.stream)
        if not self.job.counts_frames:
            return
        present, rows = self._block(start, stop)
        self._list(slot, present, rows, slot.stream)
        queue_calibration(
            self.backend,
            slot.device_raw[:n].reshape(n * self.modules, self.planes, self.pixels),
            slot.device_frames[: self._listed],
            slot.device_groups[: self._grouped],
            self.table,
            slot.device_counts[: n * self.modules],
            self.job.params,
            stream=slot.stream,
        )
        self.device.to_host(
            slot.counts[: n * self.modules], slot.device_counts[: n * self.modules], slot.stream
        )
        slot.event = self.device.record(slot.stream)

    def collect(self, slot: Slot, start: int, stop: int) -> None:
        """Wait for the counts of a block, decide, and write what is kept."""
        job, table, n = self.job, self.job.table, stop - start
        shots = job.source.readable[start:stop]
        present, rows = self._block(start, stop)
        table.set_module_status(shots, module_status(present, rows if self.on_device else None))
        if self.on_device and job.counts_frames:
            self.device.wait(slot.event)
            counts = slot.counts[: n * self.modules].reshape(n, self.modules, 4)
            counts = np.where((present & (rows >= 0))[..., None], counts, 0)  # absent frames were not counted
            for name, values in lit_measures(counts, job.params.to_photon > 0).items():
                table.set_measure(name, shots, values)
        keep = self._decide(shots)
        if self.writer is not None and keep.any():
            self._write(slot, start, np.flatnonzero(keep), present, rows)
        self.bytes_read += int(present.sum()) * self.frame_bytes
        if self.progress is not None:
            self.progress(stop, len(job.source.readable), self.bytes_read)

    # ------------------------------------------------------------------ parts of the steps

    def _block(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return which frames of a block are there, and the rows of their constants, both (n, M)."""
        source = self.job.source
        shots = source.readable[start:stop]
        present = source.shots.present[shots]
        if self.job.tables is None:
            return present, np.full(present.shape, -1, "i4")
        return present, self.job.tables.rows(source.shots.cell_id[shots])

    def _list(self, buffers: Slot | KeptFrames, present: np.ndarray, rows: np.ndarray, stream: Any) -> None:
        """Queue the upload of the list of frames; remembers how long the lists are."""
        frames, groups = list_frames(present, rows)
        self._listed, self._grouped = len(frames), len(groups)
        buffers.frames[: len(frames)] = frames
        buffers.groups[: len(groups)] = groups
        self.device.to_device(buffers.device_frames[: len(frames)], buffers.frames[: len(frames)], stream)
        self.device.to_device(buffers.device_groups[: len(groups)], buffers.groups[: len(groups)], stream)

    def _decide(self, shots: np.ndarray) -> np.ndarray:
        """Give every shot of a block its verdict and its fate; return which are kept, bool (n,)."""
        job, table = self.job, self.job.table
        verdict = np.ones(len(shots), "i1")
        if job.rule is not None:
            part = table.part(shots)
            verdict = job.rule.evaluate({name: part.bounds(name) for name in job.rule.names})
        table.set_verdict(shots, verdict)
        undecided = job.recipe.keep is None or job.recipe.keep.undecided == "keep"
        keep = (verdict == 1) | ((verdict == -1) & undecided)
        if job.source.detector.keep_unit == "train":
            # One kept shot keeps its train: the file format cannot hold a part of one.
            keep = np.isin(table.train_id[shots], table.train_id[shots][keep])
        table.set_fate(shots[keep], "kept")
        return keep

    def _write(self, slot: Slot, start: int, at: np.ndarray, present: np.ndarray, rows: np.ndarray) -> None:
        """Hand kept shots to the writer; `at` are their positions in the block."""
        shots = self.job.source.readable[start + at]
        frame = self.job.source.detector.shape
        if self.job.content == "raw":
            raw = slot.raw[at].reshape(len(at), self.modules, self.planes, *frame)
            self.writer.append(shots, present[at], {"raw": raw})
            return
        room = self._room(shots)
        for first in range(0, len(at), room):
            part = at[first : first + room]
            data, stage = self._calibrate_kept(slot, part, present[part], rows[part])
            mask = make_masks(stage, np.where(present[part], rows[part], -1), self.job.tables)
            shape = (len(part), self.modules, *frame)
            frames = {
                "data": data.reshape(shape),
                "gain": (stage & 3).reshape(shape),
                "mask": mask.reshape(shape),
            }
            self.writer.append(shots[first : first + room], present[part], frames)

    def _room(self, shots: np.ndarray) -> int:
        """Shots per call of the writer; where trains are kept whole, it gets whole trains."""
        if self.job.source.detector.keep_unit == "shot":
            return self.kept.shots
        trains = self.job.table.train_id[shots]
        cells = int(np.count_nonzero(trains == trains[0]))
        return self.kept.shots - self.kept.shots % cells

    def _calibrate_kept(
        self, slot: Slot, at: np.ndarray, present: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gather kept shots on the device and calibrate them to pixels: float32 and uint8, (K, M,
        n_pixels)."""
        k, n, device, stream = len(at), self.block_shots, self.device, slot.stream
        buffers = self.kept
        buffers.keep[:] = 0
        buffers.keep[at] = 1
        device.to_device(buffers.device_keep, buffers.keep, stream)
        row_bytes = self.modules * self.frame_bytes
        queue_compaction(
            self.backend,
            slot.device_raw.reshape(n, row_bytes // 2).view("u1"),
            buffers.device_keep,
            buffers.device_index,
            buffers.device_count,
            buffers.device_raw.reshape(buffers.shots, row_bytes // 2).view("u1"),
            stream,
        )
        self._list(buffers, present, rows, stream)
        queue_calibration(
            self.backend,
            buffers.device_raw[:k].reshape(k * self.modules, self.planes, self.pixels),
            buffers.device_frames[: self._listed],
            buffers.device_groups[: self._grouped],
            self.table,
            buffers.device_counts[: k * self.modules],
            self.job.params,
            pixels=buffers.device_pixels[:k].reshape(k * self.modules, self.pixels),
            stage=buffers.device_stage[:k].reshape(k * self.modules, self.pixels),
            stream=stream,
        )
        device.to_host(buffers.pixels[:k], buffers.device_pixels[:k], stream)
        device.to_host(buffers.stage[:k], buffers.device_stage[:k], stream)
        device.wait(device.record(stream))
        return buffers.pixels[:k], buffers.stage[:k]
