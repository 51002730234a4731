"""Memory, streams and events of a backend, behind one small protocol.

Three makers: NumPy for ``cpu`` (one memory, nothing to copy, work done at once), CuPy for ``cuda``, and the
emulator's for ``emu`` (a memory of its own that NumPy cannot see, and streams that run late), so that the
pipeline is written once and tested where there is no GPU.
"""

from __future__ import annotations

import ctypes
import math
import time
import weakref
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from .errors import NoRoom

CACHE_LINE = 64


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

    def copy(self, target: Any, source: Any, stream: Any) -> None:
        """Queue a copy between device arrays, once work that the source's own stream has is done."""

    def own(self, array: Any) -> Any:
        """Return somebody's array in device memory as one of ours, without a copy."""

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


def _check_copy(target: Any, source: Any) -> None:
    if target.shape != source.shape or target.dtype != source.dtype:
        raise ValueError(
            f"copy between {source.dtype} {source.shape} and {target.dtype} {target.shape}: shape and "
            f"dtype must agree"
        )


def _check_contiguous(host: np.ndarray) -> None:
    """A temporary copy would be gone before a queued copy runs."""
    if not host.flags.c_contiguous:
        raise ValueError("a queued copy needs a C-contiguous host array")


def _no_room(shape: tuple[int, ...], dtype: DTypeLike, free: int, total: int) -> NoRoom:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return NoRoom(
        f"the device has no room for another {size / 1e6:.1f} MB: {free / 1e6:.1f} MB of its "
        f"{total / 1e6:.1f} MB are free"
    )


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
        _check_copy(target, source)
        if target.ctypes.data != source.ctypes.data:
            np.copyto(target, source)

    to_host = copy = to_device

    def own(self, array: np.ndarray) -> np.ndarray:
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

        self._cupy = cupy
        self._empty_pinned = cupyx.empty_pinned
        # Some builds of CuPy come without NVTX, and their ranges are an error.
        self._range = cupyx.profiler.time_range if cupy.cuda.nvtx.available else nullcontext

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        try:
            array = self._cupy.empty(shape, dtype)
        except self._cupy.cuda.memory.OutOfMemoryError:
            _, total = self._cupy.cuda.Device().mem_info
            raise _no_room(shape, dtype, self.free_bytes(), int(total)) from None
        # The pool hands out memory in the order of the current stream, and we use it on streams of our own.
        self._cupy.cuda.get_current_stream().synchronize()
        return array

    def empty_pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        return self._empty_pinned(shape, dtype)

    def twin(self, pinned: np.ndarray) -> Any:
        return self.empty(pinned.shape, pinned.dtype)

    def stream(self) -> Any:
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
        return stream.ptr

    def to_device(self, target: Any, source: np.ndarray, stream: Any) -> None:
        _check_copy(target, source)
        _check_contiguous(source)
        target.set(source, stream=stream)

    def to_host(self, target: np.ndarray, source: Any, stream: Any) -> None:
        _check_copy(target, source)
        _check_contiguous(target)
        source.get(stream=stream, out=target, blocking=False)

    def copy(self, target: Any, source: Any, stream: Any) -> None:
        _check_copy(target, source)
        theirs = self.given_stream(source.__cuda_array_interface__.get("stream"))
        stream.wait_event(theirs.record())
        target.data.copy_from_device_async(source.data, target.nbytes, stream)

    def own(self, array: Any) -> Any:
        return self._cupy.asarray(array)

    def range(self, name: str) -> AbstractContextManager[Any]:
        return self._range(f"shotsieve {name}")

    def record(self, stream: Any) -> Any:
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


class EmulatedArray:
    """A block of the emulator's device memory: shape and dtype, but no way for NumPy to look inside."""

    def __init__(
        self, native: ModuleType, shape: tuple[int, ...], dtype: np.dtype, base: Any = None, pointer: int = 0
    ):
        self._native = native
        self._base = base
        self.shape = shape
        self.dtype = dtype
        self.nbytes = math.prod(shape) * dtype.itemsize
        self.pointer = pointer if base is not None else native.malloc(max(self.nbytes, 1))

    def __del__(self) -> None:
        if self._base is None and getattr(self, "pointer", 0):
            self._native.free(self.pointer)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "version": 3,
            "strides": None,
            "stream": None,
        }

    def __getitem__(self, rows: slice) -> EmulatedArray:
        start, stop, step = rows.indices(self.shape[0])
        if step != 1:
            raise IndexError("device memory is cut into contiguous rows only")
        row_bytes = self.nbytes // self.shape[0] if self.shape[0] else 0
        shape = (max(0, stop - start), *self.shape[1:])
        return EmulatedArray(self._native, shape, self.dtype, self, self.pointer + start * row_bytes)

    def reshape(self, *shape: int) -> EmulatedArray:
        known = math.prod(n for n in shape if n != -1)
        size = math.prod(self.shape)
        full = tuple(size // known if n == -1 else n for n in shape)
        if math.prod(full) != size:
            raise ValueError(f"cannot reshape {self.shape} into {shape}")
        return EmulatedArray(self._native, full, self.dtype, self, self.pointer)

    def view(self, dtype: DTypeLike) -> EmulatedArray:
        new = np.dtype(dtype)
        last = self.shape[-1] * self.dtype.itemsize // new.itemsize
        return EmulatedArray(self._native, (*self.shape[:-1], last), new, self, self.pointer)


class EmulatedDevice:
    """The emulator: poisoned device memory and streams whose work runs only when somebody waits.

    `memory_bytes` limits its memory, as that of a small card; None takes whatever the host has.
    """

    def __init__(self, native: ModuleType, memory_bytes: int | None = None) -> None:
        self._native, self.memory_bytes = native, memory_bytes
        self._arrays: weakref.WeakSet[EmulatedArray] = weakref.WeakSet()

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> EmulatedArray:
        free = self.free_bytes()
        if free is not None and math.prod(shape) * np.dtype(dtype).itemsize > free:
            raise _no_room(shape, dtype, free, self.memory_bytes)
        array = EmulatedArray(self._native, tuple(shape), np.dtype(dtype))
        self._arrays.add(array)
        return array

    def empty_pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        pointer = self._native.host_alloc(max(size, 1))
        memory = (ctypes.c_ubyte * size).from_address(pointer)
        weakref.finalize(memory, self._native.host_free, pointer)  # once no array looks at it any more
        return np.frombuffer(memory, dtype).reshape(shape)

    def twin(self, pinned: np.ndarray) -> EmulatedArray:
        return self.empty(pinned.shape, pinned.dtype)

    def stream(self) -> int:
        return self._native.stream_create()

    def given_stream(self, stream: int | None) -> int:
        return self.stream() if stream is None else stream

    def handle(self, stream: int) -> int:
        return stream

    def to_device(self, target: EmulatedArray, source: np.ndarray, stream: int) -> None:
        _check_copy(target, source)
        _check_contiguous(source)
        self._native.memcpy_async(target.pointer, source.ctypes.data, source.nbytes, stream)

    def to_host(self, target: np.ndarray, source: EmulatedArray, stream: int) -> None:
        _check_copy(target, source)
        _check_contiguous(target)
        self._native.memcpy_async(target.ctypes.data, source.pointer, target.nbytes, stream)

    def copy(self, target: EmulatedArray, source: EmulatedArray, stream: int) -> None:
        _check_copy(target, source)
        self._native.memcpy_async(target.pointer, source.pointer, target.nbytes, stream)

    def own(self, array: Any) -> EmulatedArray:
        if isinstance(array, EmulatedArray):
            return array
        told = array.__cuda_array_interface__
        if told.get("strides") is not None:
            raise ValueError("the emulator takes C-contiguous arrays only")
        return EmulatedArray(
            self._native, tuple(told["shape"]), np.dtype(told["typestr"]), array, told["data"][0]
        )

    def range(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def record(self, stream: int) -> int:
        event = self._native.event_create()
        self._native.event_record(event, stream)
        return event

    def wait(self, event: int) -> None:
        self._native.event_synchronize(event)
        self._native.event_destroy(event)

    def mark(self, stream: int) -> None:
        return None  # work runs when somebody waits: its times would mean nothing

    def seconds_between(self, one: None, other: None) -> float:
        raise RuntimeError("the emulator tells no times")

    def free_bytes(self) -> int | None:
        if self.memory_bytes is None:
            return None
        return self.memory_bytes - sum(array.nbytes for array in self._arrays)
