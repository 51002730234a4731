"""Kernels of a device by themselves: arrays that lie there, and what has to come out.

A case is made once in host memory and runs on any backend, so that a device's answer is compared with the
CPU's, bit for bit, on the very arrays that are timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from shotsieve.backend import Backend

Arrays = Mapping[str, Any]
POISON = 0x5A


@dataclass(frozen=True)
class KernelCase:
    """One way of calling a kernel.

    Attributes
    ----------
    detector : str
    frames : int
        That a call goes through.
    moved : int
        Bytes that must move: inputs that are needed read once, outputs written once.
    inputs : mapping of str to ndarray
    outputs : mapping of str to ndarray
        What they hold before the first call: poison, or what is added to. All of them are compared.
    queue : callable
        ``queue(backend, arrays, call)``, with inputs, outputs and scratch by name, and stream and threads.
    scratch : callable or None
        ``scratch(backend)``: bytes of the array named ``scratch``; 0 is None.
    exact : bool
        The promise: the same bits on every backend, or else within 1e-12.
    """

    detector: str
    frames: int
    moved: int
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    queue: Callable[[Backend, Arrays, dict[str, int]], None]
    scratch: Callable[[Backend], int] | None = None
    exact: bool = True


@dataclass
class Prepared:
    """A case in the memory of a backend."""

    case: KernelCase
    backend: Backend
    arrays: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        device, case = self.backend.device, self.case
        self.stream = device.stream()
        for name, array in (case.inputs | case.outputs).items():
            self.arrays[name] = device.empty(array.shape, array.dtype)
            device.to_device(self.arrays[name], np.ascontiguousarray(array), self.stream)
            self.wait()
        need = case.scratch(self.backend) if case.scratch is not None else 0
        self.arrays["scratch"] = device.empty((need,), "u1") if need else None

    def wait(self) -> None:
        self.backend.device.wait(self.backend.device.record(self.stream))

    def run(self, repeats: int = 1) -> None:
        """Run some calls, one after the other, and wait for the last."""
        for _ in range(repeats):
            self.case.queue(self.backend, self.arrays, self.backend.on(self.stream))
        self.wait()

    def answers(self) -> dict[str, np.ndarray]:
        """Return the outputs as they are now."""
        device, found = self.backend.device, {}
        for name, array in self.case.outputs.items():
            found[name] = device.empty_pinned(array.shape, array.dtype)
            device.to_host(found[name], self.arrays[name], self.stream)
            self.wait()
        return found


def poison(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return an output that holds what no kernel writes everywhere."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.full(size, POISON, "u1").view(dtype).reshape(shape)
