"""Frames in memory through the calibrating kernel: batches, lists, what comes back, on whatever device."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .calibrate import COUNTS, OUT_OF_RANGE, STAGE_BITS, list_frames, queue_calibration
from .calibrated_frames import IMAGES, CalibratedFrames
from .cpus import usable_cpus
from .device import upload
from .frame_masks import make_masks, sparse_masks
from .linearise import Lineariser
from .lit_by_noise import merged
from .measure.lit import lit_measures
from .shift_finder import make_finder

if TYPE_CHECKING:
    from .backend import Backend
    from .bank_mode import BankModeParams
    from .calibrate import CalibrateParams
    from .common_mode import CommonModeParams
    from .detectors import Detector
    from .folded_tables import Tables
    from .lit_by_noise import LitByNoise
    from .write.photons import PhotonCounts

BATCH_BYTES = 64_000_000
"""Raw bytes that are calibrated at once, where they have to be copied to a device."""


class FrameQueue:
    """Folded constants on a device, and the way of frames through the kernel.

    Promise: exact; the same bits on every backend and in batches of any size.

    Parameters
    ----------
    backend : Backend
    detector : Detector
    tables : Tables
    params : CalibrateParams
    frame_shape : tuple of int
        (modules, planes, ss, fs) of the raw words of a shot.
    mode : CommonModeParams, BankModeParams or None
        Of shifts; none over rows of cells, which frames of unknown trains do not have.
    photons : PhotonCounts or None
        Needed for the output ``photon_counts``.
    by_noise : LitByNoise or None
        Where pixels are lit by their own noise: frames are then counted twice, if such counts are asked for.

    Examples
    --------
    >>> queue = FrameQueue(backend, detector, tables, params, (1, 2, 512, 128))    # doctest: +SKIP
    >>> queue.on_host(raw, tables.rows(cell_ids), ("data",)).data.shape    # doctest: +SKIP
    (352, 1, 512, 128)
    """

    def __init__(
        self,
        backend: Backend,
        detector: Detector,
        tables: Tables,
        params: CalibrateParams,
        frame_shape: tuple[int, ...],
        mode: CommonModeParams | BankModeParams | None = None,
        photons: PhotonCounts | None = None,
        by_noise: LitByNoise | None = None,
    ) -> None:
        self.backend, self.detector, self.tables, self.params = backend, detector, tables, params
        self.frame_shape, self._mode, self._photons = frame_shape, mode, photons
        self._lineariser = Lineariser(backend, tables.linear)
        self._table = self._upload(tables.table)
        self._by_noise = by_noise
        self._noise_table = None if by_noise is None else self._upload(by_noise.table)

    def _upload(self, table: np.ndarray) -> Any:
        if len(table) == 0:
            table = np.zeros((1, *table.shape[1:]), table.dtype)  # a row that no frame has
        return upload(self.backend.device, table)

    def _passes(self, outputs: tuple[str, ...]) -> int:
        """How many times frames are counted."""
        return 2 if self._by_noise is not None and {"lit_pixels", "unmasked_pixels"} & set(outputs) else 1

    def on_host(self, raw: np.ndarray, rows: np.ndarray, outputs: tuple[str, ...]) -> CalibratedFrames:
        """Calibrate words in host memory, batch by batch where the device has a memory of its own.

        Parameters
        ----------
        raw : ndarray of uint16, shape (n, M, planes, ss, fs), C-contiguous
        rows : ndarray of int32, shape (n, M)
            Rows of the tables, -1 without constants: words of such frames are not looked at.
        outputs : tuple of str

        Returns
        -------
        CalibratedFrames
        """
        n, device = len(rows), self.backend.device
        pixels = (self.frame_shape[0], self.detector.pixels)
        found = self._images(n, outputs, np.empty)
        counts = [np.empty((n * pixels[0], COUNTS), "i8") for _ in range(self._passes(outputs))]
        shot_bytes = 2 * int(np.prod(self.frame_shape))
        batch = n if self.backend.name == "cpu" else max(1, BATCH_BYTES // shot_bytes)
        stream = device.stream()
        for first in range(0, n, max(batch, 1)):
            part = slice(first, min(first + batch, n))
            counted = [of_pass[part.start * pixels[0] : part.stop * pixels[0]] for of_pass in counts]
            pinned = {name: array[part] for name, array in found.items()}
            if self.backend.name == "cpu":
                self._queue(raw[part], rows[part], pinned, counted, stream)
                continue
            twins = {name: device.twin(array) for name, array in pinned.items()}
            words, numbers = device.twin(raw[part]), [device.twin(of_pass) for of_pass in counted]
            device.to_device(words, raw[part], stream)
            used = self._queue(words, rows[part], twins, numbers, stream)
            for name, array in pinned.items():
                device.to_host(array, twins[name], stream)
            for of_pass, there in zip(counted, numbers, strict=True):
                device.to_host(of_pass, there, stream)
            device.wait(device.record(stream))
            del used
        if "photon_counts" in outputs:
            found["photons"] = self._count_photons(found["pixels"], found["stage"])
        return self._answer(rows, outputs, found, counts)

    def on_device(
        self, raw: Any, rows: np.ndarray, outputs: tuple[str, ...], stream: Any
    ) -> CalibratedFrames:
        """Calibrate words on the device; images stay there, and photons and masks, made here, follow.

        Parameters
        ----------
        raw : array of uint16 on the device, shape (n, M, planes, ss, fs), C-contiguous
        rows, outputs
            As for `on_host`.
        stream : stream, int or None
            None takes what `raw` names, else the current one.

        Returns
        -------
        CalibratedFrames
        """
        device, n = self.backend.device, len(rows)
        given = raw.__cuda_array_interface__.get("stream") if stream is None else stream
        stream = device.given_stream(given)
        found = self._images(n, outputs, device.empty)
        shape = (n * self.frame_shape[0], COUNTS)
        counts = [device.empty_pinned(shape, "i8") for _ in range(self._passes(outputs))]
        numbers = [device.twin(of_pass) for of_pass in counts]
        used = self._queue(device.own(raw), rows, found, numbers, stream)
        for of_pass, there in zip(counts, numbers, strict=True):
            device.to_host(of_pass, there, stream)
        if {"photon_counts", "mask", "sparse_mask"} & set(outputs):
            found["on_host"] = np.empty(found["stage"].shape, "u1")
            device.to_host(found["on_host"], found["stage"], stream)
        if "photon_counts" in outputs:
            pixels = np.empty(found["pixels"].shape, "f4")
            device.to_host(pixels, found["pixels"], stream)
        device.wait(device.record(stream))
        del used
        if "photon_counts" in outputs:
            found["photons"] = self._count_photons(pixels, found["on_host"])
        answer = self._answer(rows, outputs, found, [np.array(of_pass) for of_pass in counts])
        made = {name: getattr(answer, name) for name in ("photon_counts", "mask") if name in outputs}
        if not made:
            return answer
        there = {name: device.twin(array) for name, array in made.items()}
        for name, array in made.items():
            device.to_device(there[name], array, stream)
        device.wait(device.record(stream))
        return replace(answer, **there)

    def _images(self, n: int, outputs: tuple[str, ...], empty: Any) -> dict[str, Any]:
        """Make room for pixels and stages, where an image is asked for: the kernel writes both or none."""
        if not set(outputs) & set(IMAGES):
            return {}
        shape = (n, self.frame_shape[0], self.detector.pixels)
        return {"pixels": empty(shape, "f4"), "stage": empty(shape, "u1")}

    def _queue(
        self, raw: Any, rows: np.ndarray, images: dict[str, Any], counts: list[Any], stream: Any
    ) -> list[Any]:
        """Queue the calibration of some shots; return what must live until it is done.

        `counts` are those of the calibration and, where there is a second pass, by the noise.
        """
        n, modules = rows.shape
        if n == 0:
            return []
        device, flat = self.backend.device, (n * modules, self.detector.pixels)
        pinned, lists = [], []
        for values in list_frames(np.ones_like(rows, bool), rows):
            pinned.append(device.empty_pinned(values.shape, values.dtype))
            pinned[-1][:] = values
            lists.append(device.twin(pinned[-1]))
            device.to_device(lists[-1], pinned[-1], stream)
        raw = raw.reshape(flat[0], self.detector.plane_count, flat[1])
        words = self._lineariser.buffer(raw.shape)
        inputs = (self._lineariser.queue(raw, *lists, words, stream), *lists, self._table)
        finder = shifts = None
        if self._mode is not None:
            finder = make_finder(self.backend, self._mode, flat[1], flat[0])
            shots = (np.ones_like(rows, bool), rows, None, None)  # trains and cells: not looked at
            shifts = finder.queue(*inputs, *shots, stream)
        queue_calibration(
            self.backend,
            *inputs,
            counts[0],
            self.params,
            **{name: array.reshape(*flat) for name, array in images.items()},
            shifts=shifts,
            stream=stream,
        )
        for own in counts[1:]:
            told = (*inputs[:-1], self._noise_table, own, self._by_noise.params)
            queue_calibration(self.backend, *told, shifts=shifts, stream=stream)
        return [*pinned, *lists, words, finder]

    def _count_photons(self, pixels: np.ndarray, stage: np.ndarray) -> np.ndarray:
        """Return whole photons of calibrated pixels; of pixels with too many the stage byte is flagged."""
        photons, frames = self._photons, (-1, pixels.shape[-1])
        out = np.empty(pixels.shape, photons.dtype)
        values, whole, flagged = pixels.reshape(frames), out.reshape(frames), stage.reshape(frames)

        def one(frame: int) -> None:
            beyond = np.zeros(frames[1], "u4")
            if photons.count(values[frame], beyond, whole[frame]):
                # Masks are made of stage bytes: both forms of them then have the bit, as masks of files do.
                flagged[frame, beyond != 0] |= np.uint8(OUT_OF_RANGE)

        with ThreadPoolExecutor(usable_cpus()) as pool:
            for _ in pool.map(one, range(len(values))):
                pass
        return out

    def _answer(
        self, rows: np.ndarray, outputs: tuple[str, ...], found: dict[str, Any], counts: list[np.ndarray]
    ) -> CalibratedFrames:
        known, told, stage = rows >= 0, {}, found.get("on_host", found.get("stage"))
        shape = (*rows.shape, *self.detector.frame_shape)
        if "data" in outputs:
            told["data"] = found["pixels"].reshape(*shape)
        if "photon_counts" in outputs:
            told["photon_counts"] = found["photons"].reshape(*shape)
        if "mask" in outputs:
            told["mask"] = make_masks(stage, rows, self.tables).reshape(shape)
        if "sparse_mask" in outputs:
            usual = max(self.params.fixed_stage, 0)
            told["sparse_mask"] = sparse_masks(stage, rows, self.tables, usual)
        if "gain" in outputs:
            told["gain"] = found["stage"].reshape(*shape) & np.uint8(STAGE_BITS)
        counted = merged(*counts) if len(counts) > 1 else counts[0]
        numbers = lit_measures(counted.reshape(*rows.shape, COUNTS), bool(self.params.to_photon), True)
        for name in set(outputs) & numbers.keys():
            nothing = np.nan if name == "intensity" else -1
            told[name] = np.where(known, numbers[name], nothing)
        return CalibratedFrames(**told, known=known)
