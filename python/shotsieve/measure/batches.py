"""Frames in batches that bound memory, on their way through a backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from .arrays import (
    check_contiguous,
    check_threads,
    device_frames,
    frames_on_device,
    host_frames,
    is_batch,
    is_on_device,
)

if TYPE_CHECKING:
    from ..backend import Backend

FRAMES_PER_THREAD = 16
"""Frames that a thread of the CPU handles in one call: as many as a vector has lanes."""

BATCH_BYTES = 256_000_000
"""Frames that are copied to a device at once."""

FRAMES_ON_DEVICE, BESIDE_BYTES = 1024, 1_000_000_000
"""Most frames of a call where they are on the device already, and most bytes that it may need beside."""


class Batches:
    """Frames of a caller, checked, and cut into batches on the device.

    Parameters
    ----------
    frames : array, shape (F, rows, columns), (F, modules, ss, fs), or one frame
        See `shotsieve.measure.arrays.host_frames`.
    slab : (int, int)
    backend : Backend
    stream : stream, int or None
    threads : int or None
    who : str
        Begins the errors' texts.
    variance, mask : array of the frames' shape, or None
    beside : int
        Bytes of device memory that the work needs for each frame, beside the frames.

    Attributes
    ----------
    shots : int
    room : int
        Most frames of a batch.
    several : bool
        Whether the frames had an axis of frames.
    stream : stream of the device

    Raises
    ------
    BadInput
        If shapes disagree, or values cannot become float32 without loss.
    """

    def __init__(
        self,
        frames: Any,
        slab: tuple[int, int],
        backend: Backend,
        stream: Any,
        threads: int | None,
        who: str,
        *,
        variance: Any = None,
        mask: Any = None,
        beside: int = 1,
    ) -> None:
        check_threads(threads, who)
        device, self.backend = backend.device, backend
        there = frames_on_device(frames, backend, who)
        self._mover = None
        if there is None:
            self._pixels, self.several = host_frames(frames, slab, who)
            self.shots = len(self._pixels)
            self.stream = device.stream() if stream is None else device.given_stream(stream)
            for name, given in (("variance", variance), ("mask", mask)):
                if is_on_device(given):
                    raise BadInput(
                        f"{who}: the {name} is on a GPU and the frames are in host memory: copy it there"
                    )
        else:
            self._pixels, self.several, self.stream = device_frames(there, slab, backend, stream, who)
            self.shots = self._pixels.shape[0]
        self._given = {
            "variance": _beside(variance, slab, self.shots, backend, who),
            "bad": bad_pixels(mask, slab, self.shots, backend, who),
        }
        most = FRAMES_PER_THREAD * (threads or backend.threads)
        if there is not None:
            # A GPU is busy only with many frames at once.
            most = min(FRAMES_ON_DEVICE, BESIDE_BYTES // beside)
        elif backend.name != "cpu":
            most = BATCH_BYTES // (4 * slab[0] * slab[1])
        self.room = max(1, min(self.shots, most))
        if backend.name != "cpu":
            self._mover = Mover(device, self.stream, self.room, at_once=there is not None)

    def __iter__(self) -> Iterator[tuple[slice, Any, dict[str, Any]]]:
        """Yield which frames, their pixels, and variance and bad pixels, all on the device.

        Each batch has to be done before the next is asked for. Without frames there is one empty batch.
        """
        for start in range(0, max(self.shots, 1), self.room):
            part = slice(start, min(start + self.room, self.shots))
            given = {name: None if array is None else array[part] for name, array in self._given.items()}
            pixels = self._pixels[part]
            if self._mover is not None:
                # What is in host memory; masks may be there where frames are on the device.
                pixels = self._mover.moved("pixels", pixels)
                given = {n: None if a is None else self._mover.moved(n, a) for n, a in given.items()}
            yield part, pixels, given


class Mover:
    """Pinned buffers, one for each array, through which batches go to a device.

    `at_once` waits for each copy: where frames are on the device, nobody need wait for what becomes of them.
    """

    def __init__(self, device: Any, stream: Any, room: int, at_once: bool) -> None:
        self.device, self.stream, self.room, self.at_once = device, stream, room, at_once
        self._buffers: dict[str, tuple[np.ndarray, Any]] = {}

    def moved(self, name: str, values: Any) -> Any:
        """Return a batch on the device; the batch before is done, since each is waited for."""
        if not isinstance(values, np.ndarray):
            return values
        if name not in self._buffers:
            pinned = self.device.empty_pinned((self.room, *values.shape[1:]), values.dtype)
            self._buffers[name] = (pinned, self.device.twin(pinned))
        pinned, there = self._buffers[name]
        n = len(values)
        pinned[:n] = values
        self.device.to_device(there[:n], pinned[:n], self.stream)
        if self.at_once:
            self.device.wait(self.device.record(self.stream))
        return there[:n]


def bad_pixels(mask: Any, slab: tuple[int, int], shots: int, backend: Backend, who: str) -> Any:
    """Return the masks of frames as uint8 or uint32 (S, n_pixels), not 0 where a pixel is bad; None for None.

    Raises
    ------
    BadInput
        If dtype or shape is another.
    """
    if mask is None:
        return None
    there = frames_on_device(mask, backend, who)
    mask = np.asarray(mask) if there is None else there
    shape, dtype = tuple(mask.shape), np.dtype(mask.dtype)
    count = (shape[0] if is_batch(shape, slab, f"{who}: the mask of the frames") else 1) if shape else 0
    if dtype not in (np.dtype(bool), np.dtype("u1"), np.dtype("u4")) or count != shots:
        raise BadInput(
            f"{who}: the mask of the frames is {dtype} {shape}: expected bool, uint8 or uint32 in "
            "the shape of the frames, not 0 where a pixel is bad"
        )
    if there is None:
        mask = np.ascontiguousarray(mask)
    else:
        check_contiguous(mask, f"{who}: masks")
    mask = mask.reshape(shots, slab[0] * slab[1])
    return mask.view("u1") if dtype.kind == "b" else mask


def _beside(given: Any, slab: tuple[int, int], shots: int, backend: Backend, who: str) -> Any:
    if given is None:
        return None
    who = f"{who}: variance"
    there = frames_on_device(given, backend, who)
    if there is None:
        values, _ = host_frames(given, slab, who)
    else:
        values, _, _ = device_frames(there, slab, backend, None, who)
    if values.shape[0] != shots:
        raise BadInput(f"{who} of {values.shape[0]} frames, and {shots} frames: expected one of each")
    return values
