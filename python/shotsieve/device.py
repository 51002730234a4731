"""Memory, streams and events of a backend, behind one small protocol.

Three makers: NumPy for ``cpu`` (one memory, nothing to copy, work done at once), CuPy for ``cuda``, and the
emulator's for ``emu`` (a memory of its own that NumPy cannot see, and streams that run late), so that the
pipeline is written once and tested where there is no GPU.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from .errors import BackendUnavailable, NoRoom

CACHE_LINE = 64
UPLOAD_BYTES = 1 << 22
_NO_MEMORY = 2  # cudaErrorMemoryAllocation

AFTER_FORK = (
    "CUDA was used before this process was forked, and cannot be used after a fork. Start worker processes "
    "with the 'spawn' method."
)


class Device(Protocol):
    """What the pipeline asks of a device. Copies and kernels are queued on a stream; only ``wait`` waits."""

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Return an uninitialised C-contiguous array in device memory.

        Raises
        ------
        NoRoom
            If it does not fit; the text gives the sizes.
        """

    def empty_pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """Return an uninitialised NumPy array from which copies to the device run without a detour."""

    def twin(self, pinned: np.ndarray) -> Any:
        """Return the device array for a pinned one: the array itself where both memories are one."""

    def stream(self) -> Any:
        """Return a new stream; work queued on it runs in order."""

    def given_stream(self, stream: Any) -> Any:
        """Return a caller's stream (an object or integer handle) as one of ours; None: the current one."""

    def handle(self, stream: Any) -> int:
        """Return the integer that the native functions take as ``stream``."""

    def to_device(self, target: Any, source: np.ndarray, stream: Any) -> None:
        """Queue a copy of a host array into a device array of the same shape and dtype."""

    def to_host(self, target: np.ndarray, source: Any, stream: Any) -> None:
        """Queue a copy of a device array into a host array of the same shape and dtype."""

    def copy(self, target: Any, source: Any, stream: Any, every: int = 1) -> None:
        """Queue a copy between device arrays.

        `every`: of the source's rows, beginning with the first; it may lie in pinned memory then.
        """

    def own(self, array: Any, stream: Any = None) -> Any:
        """Return somebody's array in device memory as one of ours, without a copy.

        What is queued on `stream` from here on waits for the work that the array's own stream has; where the
        array names none, that is the current stream of the calling thread.
        """

    def range(self, name: str) -> AbstractContextManager[Any]:
        """Return a context that marks what is done inside for the device's profiler."""

    def record(self, stream: Any) -> Any:
        """Return an event that is reached when all work queued so far on the stream is done."""

    def wait(self, event: Any) -> None:
        """Wait on the host until the event is reached."""

    def mark(self, stream: Any) -> Any:
        """Return an event that knows when it was reached; None where the device tells no times."""

    def seconds_between(self, one: Any, other: Any) -> float:
        """Return the time from one mark to another; waits until both are reached."""

    def free_bytes(self) -> int | None:
        """Return the device memory that is free; None where it has none of its own, or no limit."""


def check_copy(target: Any, source: Any, every: int = 1) -> None:
    """Refuse a copy between arrays that do not fit each other."""
    shape = (target.shape[0] * every, *target.shape[1:]) if every > 1 else target.shape
    if shape != source.shape or target.dtype != source.dtype:
        raise ValueError(
            f"copy of {source.dtype} {source.shape} to {target.dtype} {target.shape}: expected {shape}"
        )


def check_contiguous(host: np.ndarray) -> None:
    """A temporary copy would be gone before a queued copy runs."""
    if not host.flags.c_contiguous:
        raise ValueError("a queued copy needs a C-contiguous host array")


def no_room(shape: tuple[int, ...], dtype: DTypeLike, free: int, total: int) -> NoRoom:
    """Return the error of an array that does not fit."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return NoRoom(
        f"the device has no room for another {size / 1e6:.1f} MB: {free / 1e6:.1f} MB of its "
        f"{total / 1e6:.1f} MB are free"
    )


def upload(device: Device, array: np.ndarray) -> Any:
    """Return an array of the device's memory with the content of one of the host's, which may go away then.

    Parameters
    ----------
    device : Device
    array : ndarray
        C-contiguous.

    Examples
    --------
    >>> upload(HostDevice(), np.arange(3))
    array([0, 1, 2])
    """
    target, stream = device.twin(array), device.stream()
    # In pieces: what is not pinned may be copied once more on its way.
    rows = max(1, UPLOAD_BYTES * len(array) // max(array.nbytes, 1))
    for start in range(0, len(array), rows):
        device.to_device(target[start : start + rows], array[start : start + rows], stream)
        device.wait(device.record(stream))
    return target


class HostDevice:
    """The CPU: host and device memory are one, and a stream does everything at once."""

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        # Large arrays of NumPy begin 16 bytes behind a cache line, so that wide loads touch two lines each.
        size = math.prod(shape) * np.dtype(dtype).itemsize
        memory = np.empty(size + CACHE_LINE, np.uint8)
        begin = -memory.ctypes.data % CACHE_LINE
        return memory[begin : begin + size].view(dtype).reshape(shape)

    def empty_pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        return self.empty(shape, dtype)

    def twin(self, pinned: np.ndarray) -> np.ndarray:
        return pinned

    def stream(self) -> None:
        return None

    def given_stream(self, stream: Any) -> None:
        return None

    def handle(self, stream: None) -> int:
        return 0

    def to_device(self, target: np.ndarray, source: np.ndarray, stream: None) -> None:
        check_copy(target, source)
        if target.ctypes.data != source.ctypes.data:
            np.copyto(target, source)

    to_host = to_device

    def copy(self, target: np.ndarray, source: np.ndarray, stream: None, every: int = 1) -> None:
        self.to_device(target, source[::every], stream)

    def own(self, array: np.ndarray, stream: None = None) -> np.ndarray:
        return array

    def range(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def record(self, stream: None) -> None:
        return None

    def wait(self, event: None) -> None:
        return None

    def mark(self, stream: None) -> float:
        return time.perf_counter()

    def seconds_between(self, one: float, other: float) -> float:
        return other - one

    def free_bytes(self) -> None:
        return None


class CupyDevice:
    """A GPU through CuPy: its memory pools, pinned memory, non-blocking streams and events."""

    def __init__(self) -> None:
        import cupy
        import cupyx
        import cupyx.profiler

        self._cupy, self._pid = cupy, os.getpid()
        self._empty_pinned = cupyx.empty_pinned
        # Some builds of CuPy come without NVTX, and their ranges are an error.
        self._range = cupyx.profiler.time_range if cupy.cuda.nvtx.available else nullcontext

    def _check_process(self) -> None:
        """Refuse what was made before a fork: CUDA answers there with errors that name no cause, or hangs."""
        if os.getpid() != self._pid:
            raise BackendUnavailable(AFTER_FORK)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        self._check_process()
        try:
            array = self._cupy.empty(shape, dtype)
        except self._cupy.cuda.memory.OutOfMemoryError:
            _, total = self._cupy.cuda.Device().mem_info
            raise no_room(shape, dtype, self.free_bytes(), int(total)) from None
        # The pool hands out memory in the order of the current stream, and we use it on streams of our own.
        self._cupy.cuda.get_current_stream().synchronize()
        return array

    def empty_pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        self._check_process()
        try:
            return self._empty_pinned(shape, dtype)
        except self._cupy.cuda.runtime.CUDARuntimeError as error:
            if error.status != _NO_MEMORY:
                raise
            size = math.prod(shape) * np.dtype(dtype).itemsize
            raise NoRoom(
                f"the host has no room for another {size / 1e6:.1f} MB of pinned memory: "
                "take smaller blocks, or fewer in flight"
            ) from None

    def twin(self, pinned: np.ndarray) -> Any:
        return self.empty(pinned.shape, pinned.dtype)

    def stream(self) -> Any:
        self._check_process()
        return self._cupy.cuda.Stream(non_blocking=True)

    def given_stream(self, stream: Any) -> Any:
        if stream is None:
            return self._cupy.cuda.get_current_stream()
        if not isinstance(stream, int):
            return stream
        Stream = self._cupy.cuda.Stream
        if hasattr(Stream, "from_external"):  # since CuPy 14, which would do away with ExternalStream
            return Stream.from_external(_StreamHandle(stream))
        return self._cupy.cuda.ExternalStream(stream)

    def handle(self, stream: Any) -> int:
        self._check_process()  # every kernel asks for it
        return stream.ptr

    def to_device(self, target: Any, source: np.ndarray, stream: Any) -> None:
        check_copy(target, source)
        check_contiguous(source)
        target.set(source, stream=stream)

    def to_host(self, target: np.ndarray, source: Any, stream: Any) -> None:
        check_copy(target, source)
        check_contiguous(target)
        source.get(stream=stream, out=target, blocking=False)

    def copy(self, target: Any, source: Any, stream: Any, every: int = 1) -> None:
        check_copy(target, source, every)
        runtime = self._cupy.cuda.runtime
        if isinstance(source, np.ndarray):
            check_contiguous(source)
            begin = source.ctypes.data
        else:
            begin = source.data.ptr
        if every == 1:
            runtime.memcpyAsync(target.data.ptr, begin, target.nbytes, runtime.memcpyDefault, stream.ptr)
            return
        rows, row = len(target), target[:1].nbytes
        told = (target.data.ptr, row, begin, every * row, row, rows, runtime.memcpyDefault)
        runtime.memcpy2DAsync(*told, stream.ptr)

    def own(self, array: Any, stream: Any = None) -> Any:
        if stream is not None:
            theirs = self.given_stream(array.__cuda_array_interface__.get("stream"))
            stream.wait_event(theirs.record())
        return self._cupy.asarray(array)

    def range(self, name: str) -> AbstractContextManager[Any]:
        return self._range(f"shotsieve {name}")

    def record(self, stream: Any) -> Any:
        self._check_process()
        event = self._cupy.cuda.Event(block=True, disable_timing=True)
        event.record(stream)
        return event

    def wait(self, event: Any) -> None:
        event.synchronize()

    def mark(self, stream: Any) -> Any:
        event = self._cupy.cuda.Event(block=True)
        event.record(stream)
        return event

    def seconds_between(self, one: Any, other: Any) -> float:
        one.synchronize()
        other.synchronize()
        return 1e-3 * self._cupy.cuda.get_elapsed_time(one, other)

    def free_bytes(self) -> int:
        free, _ = self._cupy.cuda.Device().mem_info
        return int(free) + self._cupy.get_default_memory_pool().free_bytes()


class _StreamHandle:
    """A stream of somebody else, as CUDA's stream protocol has it."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._handle  # version of the protocol
