"""The emulator's device: memory that NumPy cannot see, and streams whose work runs late."""

from __future__ import annotations

import ctypes
import math
import weakref
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .device import check_contiguous, check_copy, no_room


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
            raise no_room(shape, dtype, free, self.memory_bytes)
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
        check_copy(target, source)
        check_contiguous(source)
        self._native.memcpy_async(target.pointer, source.ctypes.data, source.nbytes, stream)

    def to_host(self, target: np.ndarray, source: EmulatedArray, stream: int) -> None:
        check_copy(target, source)
        check_contiguous(target)
        self._native.memcpy_async(target.ctypes.data, source.pointer, target.nbytes, stream)

    def copy(self, target: EmulatedArray, source: Any, stream: int, every: int = 1) -> None:
        check_copy(target, source, every)
        begin = source.ctypes.data if isinstance(source, np.ndarray) else source.pointer
        rows = target.shape[0] if every > 1 else 1
        row = target.nbytes // max(rows, 1)
        for at in range(rows):
            self._native.memcpy_async(target.pointer + at * row, begin + at * every * row, row, stream)

    def own(self, array: Any, stream: int | None = None) -> EmulatedArray:
        told = array.__cuda_array_interface__
        if stream is not None and told.get("stream") is not None:
            event = self.record(told["stream"])
            self._native.stream_wait_event(stream, event)
            self._native.event_destroy(event)
        if isinstance(array, EmulatedArray):
            return array
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
