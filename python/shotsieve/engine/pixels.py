"""The second pass: some shots of a block gathered on the device and calibrated to pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..calibrate import COUNTS, list_frames, queue_calibration
from ..compact import queue_compaction
from ..frame_masks import make_masks
from ..shifts import Shifts

if TYPE_CHECKING:
    from ..backend import Backend
    from ..linearise import Lineariser
    from .blocks import Slot
    from .job import Job

PASS_BYTES = 1 << 26
"""Raw bytes of shots that are calibrated to pixels at once; bounds the memory of the pass."""


class PixelPass:
    """Buffers for a few shots, and the way from a block's raw words to pixels on the device.

    Parameters
    ----------
    backend : Backend
    job : Job
    table : float32 (R, P, n_pixels) on the device
        Folded constants.
    block_shots : int
        Shots of the largest block.
    lineariser : Lineariser

    Attributes
    ----------
    shots : int
        Most shots of a pass.
    pixels, stage : float32 and uint8 (shots, M, n_pixels) on the device
        What the last pass left. Frames that were not recorded, or have no constants, are NaN.
    candidates : uint32 (shots, M * n_pixels / 32) on the device, or None
        Bits of the pixels that may belong to a peak; None where no peaks are searched.
    """

    def __init__(
        self, backend: Backend, job: Job, table: Any, block_shots: int, lineariser: Lineariser
    ) -> None:
        self.backend, self.job, self.table, self.block_shots = backend, job, table, block_shots
        self._lineariser = lineariser
        detector, device = job.source.detector, backend.device
        self.modules, self.n_pixels = len(job.source.modules), detector.pixels
        self.planes = detector.plane_count
        self.shot_bytes = 2 * self.modules * self.planes * self.n_pixels
        together = detector.row_cells if detector.keep_unit == "train" else 1
        # No fewer than there are threads: the peak finder works shot by shot.
        wanted = max(PASS_BYTES // self.shot_bytes, backend.threads)
        self.shots = max(together, min(block_shots, wanted))
        frames = self.shots * self.modules
        self._keep = device.empty_pinned((block_shots,), "u1")
        self._frames = device.empty_pinned((frames,), "i4")
        self._groups = device.empty_pinned((frames, 3), "i4")
        self._pinned: dict[str, np.ndarray] = {}
        self._masks: np.ndarray | None = None
        self._device_keep = device.twin(self._keep)
        self._device_frames = device.twin(self._frames)
        self._device_groups = device.twin(self._groups)
        self._device_index = device.empty((block_shots,), "i4")
        self._device_count = device.empty((1,), "i4")
        self._device_raw = device.empty((self.shots, self.modules, self.planes, self.n_pixels), "u2")
        self._words = lineariser.buffer((self.shots, self.modules, self.planes, self.n_pixels))
        self._counts = device.empty_pinned((frames, COUNTS), "i8")
        self._device_counts = device.twin(self._counts)
        self._tile = self._row = self._device_row = None
        if job.common_mode is not None:
            tiles = job.common_mode.tiles
            if tiles is not None:
                self._tile = device.empty((self.shots, self.modules * tiles.count(self.n_pixels)), "i4")
            self._row = device.empty_pinned((frames,), "i4")
            self._device_row = device.twin(self._row)
        self.pixels = device.empty((self.shots, self.modules, self.n_pixels), "f4")
        self.stage = device.empty((self.shots, self.modules, self.n_pixels), "u1")
        self.candidates = None
        if job.peaks is not None:
            self.candidates = device.empty((self.shots, self.modules * self.n_pixels // 32), "u4")

    def queue(self, slot: Slot, at: np.ndarray, present: np.ndarray, rows: np.ndarray) -> None:
        """Queue the gathering and calibration of some shots of a slot on its stream.

        Parameters
        ----------
        slot : Slot
        at : ndarray of int, shape (k,)
            Positions of the shots in the block, ascending.
        present : ndarray of bool, shape (k, M)
        rows : ndarray of int32, shape (k, M)
            Rows of the table, -1 without constants.
        """
        k, device, stream = len(at), self.backend.device, slot.stream
        if at[-1] - at[0] == k - 1:
            raw = slot.device_raw[int(at[0]) : int(at[0]) + k]  # they stand together already
        else:
            self._gather(slot, at)
            raw = self._device_raw[:k]
        most = self.job.tables.most_together
        # Frames that were not recorded are listed too, without constants: their pixels become NaN.
        frames, groups = list_frames(np.ones_like(present), np.where(present, rows, np.int32(-1)), most)
        for name, values in (("frames", frames), ("groups", groups)):
            pinned, target = getattr(self, f"_{name}"), getattr(self, f"_device_{name}")
            pinned[: len(values)] = values
            device.to_device(target[: len(values)], pinned[: len(values)], stream)
        flat = k * self.modules
        candidates = None
        if self.candidates is not None:
            candidates = self.candidates[:k].reshape(flat, self.n_pixels // 32)
        lists = self._device_frames[: len(frames)], self._device_groups[: len(groups)]
        raw = raw.reshape(flat, self.planes, self.n_pixels)
        queue_calibration(
            self.backend,
            self._lineariser.queue(raw, *lists, self._words, stream),
            *lists,
            self.table,
            self._device_counts[:flat],
            self.job.params,
            pixels=self.pixels[:k].reshape(flat, self.n_pixels),
            stage=self.stage[:k].reshape(flat, self.n_pixels),
            candidates=candidates,
            shifts=self._shifts(slot, at),
            stream=stream,
        )

    def _shifts(self, slot: Slot, at: np.ndarray) -> Shifts | None:
        """Return the shifts of some shots of a slot, gathered where they do not stand together."""
        if slot.shifts is None:
            return None
        k, found, device = len(at), slot.shifts, self.backend.device
        tile = None
        if found.tile is not None:
            tiles = found.tiles.count(self.n_pixels)
            source = found.tile.reshape(len(slot.shots_in), self.modules * tiles)
            for first in np.split(np.arange(k), np.flatnonzero(np.diff(at) != 1) + 1):
                start, stop = int(at[first[0]]), int(at[first[-1]]) + 1
                device.copy(self._tile[int(first[0]) : int(first[-1]) + 1], source[start:stop], slot.stream)
            tile = self._tile[:k].reshape(k * self.modules, tiles)
        if found.pixel is None:
            return Shifts(tile, found.tiles)
        number = k * self.modules
        self._row[:number] = slot.finder.of_frame.reshape(-1, self.modules)[at].reshape(-1)
        device.to_device(self._device_row[:number], self._row[:number], slot.stream)
        return Shifts(tile, found.tiles, found.pixel, self._device_row[:number])

    def _gather(self, slot: Slot, at: np.ndarray) -> None:
        """Queue the gathering of the raw words of some shots."""
        device, stream = self.backend.device, slot.stream
        self._keep[:] = 0
        self._keep[at] = 1
        device.to_device(self._device_keep, self._keep, stream)
        queue_compaction(
            self.backend,
            slot.device_raw.reshape(self.block_shots, self.shot_bytes // 2).view("u1"),
            self._device_keep,
            self._device_index,
            self._device_count,
            self._device_raw.reshape(self.shots, self.shot_bytes // 2).view("u1"),
            stream,
        )

    def queue_counts(self, slot: Slot, at: np.ndarray) -> None:
        """Queue the copy of what the pass counted into the counts of a slot; `at` as in `queue`."""
        counted = slice(int(at[0]) * self.modules, (int(at[-1]) + 1) * self.modules)
        device, k = self.backend.device, len(at)
        if at[-1] - at[0] == k - 1:
            device.to_host(slot.counts[counted], self._device_counts[: k * self.modules], slot.stream)
            return
        device.to_host(self._counts[: k * self.modules], self._device_counts[: k * self.modules], slot.stream)
        device.wait(device.record(slot.stream))
        shots = slot.counts.reshape(self.block_shots, self.modules, COUNTS)
        shots[at] = self._counts[: k * self.modules].reshape(k, self.modules, COUNTS)

    def masks(self, stage: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the masks of shots that were fetched, uint32 (k, M, n); good as long as these."""
        if self._masks is None:
            self._masks = np.empty(self.stage.shape, "u4")
        return make_masks(stage, rows, self.job.tables, self._masks[: len(stage)])

    def fetch(self, k: int, stream: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return pixels and stages of the first `k` shots on the host, and wait: float32, uint8 (k, M, n).

        They are good until something is queued again.
        """
        device = self.backend.device
        for name in ("pixels", "stage"):
            source = getattr(self, name)
            if name not in self._pinned:
                on_host = isinstance(source, np.ndarray)  # then nothing is copied
                self._pinned[name] = source if on_host else device.empty_pinned(source.shape, source.dtype)
            device.to_host(self._pinned[name][:k], source[:k], stream)
        device.wait(device.record(stream))
        return self._pinned["pixels"][:k], self._pinned["stage"][:k]
