"""The second pass: some shots of a block calibrated to pixels, which then stand together on the device."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calibrate import COUNTS, list_frames, queue_calibration
from ..write.kept import shots_per_train

if TYPE_CHECKING:
    from ..backend import Backend
    from ..linearise import Lineariser
    from .blocks import Slot
    from .job import Job

PASS_BYTES = 1 << 26
"""Raw bytes of shots that are calibrated to pixels at once; bounds the memory of the pass."""

DEVICE_PASS_BYTES = 4 * PASS_BYTES
"""The same on a GPU, where what the host does for each pass takes longer than its kernels."""


def shots_together(job: Job) -> int:
    """Return how many shots are handed over together: those of a train where files hold whole trains."""
    source = job.source
    if source.detector.keep_unit == "shot":
        return 1
    return max(source.detector.row_cells, shots_per_train(source))


def most_kept(job: Job, block_shots: int) -> int:
    """Return how many kept shots are handed over at once, at most: half a pass, since one half is written
    while the other is made; whole trains where the detector's files hold these.
    """
    shot_bytes = len(job.source.modules) * job.source.detector.frame_bytes
    return max(shots_together(job), min(block_shots, PASS_BYTES // 2 // shot_bytes))


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
        # No fewer than there are threads: the peak finder works shot by shot.
        at_once = DEVICE_PASS_BYTES if backend.name == "cuda" else PASS_BYTES
        wanted = max(at_once // self.shot_bytes, backend.threads)
        self.shots = max(shots_together(job), min(block_shots, wanted))
        frames = self.shots * self.modules
        self._frames = device.empty_pinned((frames,), "i4")
        self._places = device.empty_pinned((frames,), "i4")
        self._groups = device.empty_pinned((frames, 3), "i4")
        self._kept: deque[dict[str, np.ndarray]] = deque()
        self._device_frames = device.twin(self._frames)
        self._device_places = device.twin(self._places)
        self._device_groups = device.twin(self._groups)
        self._counts = device.empty_pinned((frames, COUNTS), "i8")
        self._device_counts = device.twin(self._counts)
        self.pixels = device.empty((self.shots, self.modules, self.n_pixels), "f4")
        self.stage = device.empty((self.shots, self.modules, self.n_pixels), "u1")
        self.candidates = None
        if job.peaks is not None:
            self.candidates = device.empty((self.shots, self.modules * self.n_pixels // 32), "u4")

    def queue(
        self,
        slot: Slot,
        at: np.ndarray,
        present: np.ndarray,
        rows: np.ndarray,
        pixels: Any = None,
        stage: Any = None,
    ) -> None:
        """Queue the calibration of some shots of a slot on its stream.

        Parameters
        ----------
        slot : Slot
        at : ndarray of int, shape (k,)
            Positions of the shots in the block; their pixels stand in this order.
        present : ndarray of bool, shape (k, M)
        rows : ndarray of int32, shape (k, M)
            Rows of the table, -1 without constants.
        pixels, stage : float32 and uint8 on the device, optional
            Where to, by default the attributes of these names.
        """
        pixels, stage = self.pixels if pixels is None else pixels, self.stage if stage is None else stage
        k, device, stream = len(at), self.backend.device, slot.stream
        most = self.job.tables.most_together
        # Frames that were not recorded are listed too, without constants: their pixels become NaN.
        places, groups = list_frames(np.ones_like(present), np.where(present, rows, np.int32(-1)), most)
        frames = at[places // self.modules] * self.modules + places % self.modules
        for name, values in (("frames", frames), ("places", places), ("groups", groups)):
            pinned, target = getattr(self, f"_{name}"), getattr(self, f"_device_{name}")
            pinned[: len(values)] = values
            device.to_device(target[: len(values)], pinned[: len(values)], stream)
        flat = k * self.modules
        candidates = None
        if self.candidates is not None:
            candidates = self.candidates[:k].reshape(flat, self.n_pixels // 32)
        lists = self._device_frames[: len(frames)], self._device_groups[: len(groups)]
        of_block = len(slot.shots_in)
        raw = slot.device_raw[:of_block].reshape(of_block * self.modules, self.planes, self.n_pixels)
        queue_calibration(
            self.backend,
            self._lineariser.queue(raw, *lists, slot.words, stream),
            *lists,
            self.table,
            self._device_counts[:flat],
            self.job.params,
            pixels=pixels[:k].reshape(flat, self.n_pixels),
            stage=stage[:k].reshape(flat, self.n_pixels),
            candidates=candidates,
            places=self._device_places[:flat],
            shifts=slot.shifts,
            stream=stream,
        )

    def queue_counts(self, slot: Slot, at: np.ndarray) -> None:
        """Queue the copy of what the pass counted into the counts of a slot; `at` as in `queue`."""
        device, k = self.backend.device, len(at)
        if np.array_equal(at, np.arange(at[0], at[0] + k)):
            counted = slice(int(at[0]) * self.modules, (int(at[0]) + k) * self.modules)
            device.to_host(slot.counts[counted], self._device_counts[: k * self.modules], slot.stream)
            return
        device.to_host(self._counts[: k * self.modules], self._device_counts[: k * self.modules], slot.stream)
        device.wait(device.record(slot.stream))
        shots = slot.counts.reshape(self.block_shots, self.modules, COUNTS)
        shots[at] = self._counts[: k * self.modules].reshape(k, self.modules, COUNTS)

    def keep(
        self, slot: Slot, at: np.ndarray, present: np.ndarray, rows: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Calibrate shots as `queue`, and wait; return them on the host, with room for their masks.

        They are good until this is called for the second time after: one set is written while the other is
        filled.

        Returns
        -------
        dict of str to ndarray, shape (k, M, n)
            ``pixels`` float32, ``stage`` uint8, and ``mask`` uint32, which holds nothing yet.
        """
        device, k, stream = self.backend.device, len(at), slot.stream
        if len(self._kept) < 2:
            shape = (most_kept(self.job, self.block_shots), self.modules, self.n_pixels)
            dtypes = {"pixels": "f4", "stage": "u1"}
            new = {name: device.empty_pinned(shape, dtype) for name, dtype in dtypes.items()}
            self._kept.append({**new, "mask": np.empty(shape, "u4")})
        else:
            self._kept.rotate()
        kept = {name: room[:k] for name, room in self._kept[-1].items()}
        slot.times.mark("compute")
        if isinstance(self.pixels, np.ndarray):  # on the host nothing is copied
            self.queue(slot, at, present, rows, kept["pixels"], kept["stage"])
        else:
            self.queue(slot, at, present, rows)
            slot.times.mark("copy out")
            for name in ("pixels", "stage"):
                device.to_host(kept[name], getattr(self, name)[:k], stream)
        device.wait(device.record(stream))
        slot.times.mark("")
        return kept
