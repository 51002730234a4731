"""What a measurement runs on: the machine in words, versions, and how fast memory is read and copied."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from .._version import __version__
from ..cpus import usable_cpus

if TYPE_CHECKING:
    from ..backend import Backend


def describe(device: str = "") -> str:
    """Return processor and core count in words, a GPU in front when there is one; never a host name."""
    cpu = f"{_cpu_model()}, {usable_cpus()} cores"
    return f"{device}, {cpu}" if device else cpu


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    model = found.get("model name", platform.machine())
    if "cpu family" in found:
        # Virtual machines hide the product number, but not the generation.
        model += f" (family {found['cpu family']}, model {found.get('model', '?')})"
    return model


def last_level_cache() -> int:
    """Return the bytes of the largest cache of the first core, 0 where the system does not tell."""
    largest = 0
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text(encoding="ascii").strip()
        unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
        largest = max(largest, int(text.rstrip("KMG")) * unit)
    return largest


def versions(*more: str) -> dict[str, str]:
    """Return the versions a measurement depends on; `more` names further imported packages."""
    found = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "h5py": h5py.__version__,
        "shotsieve": __version__,
    }
    return found | {name: sys.modules[name].__version__ for name in more}


def readers(words: np.ndarray, threads: int = 1) -> dict[str, Callable[[], object]]:
    """Return several ways of merely reading an array once; the fastest of them is the rate of reading.

    Parameters
    ----------
    words : ndarray, C-contiguous
        Whatever lies in memory; its size is a multiple of 8 bytes.
    threads : int
        Threads that read at the same time, each its own part (NumPy releases the interpreter lock).

    Returns
    -------
    dict of str to callable
    """
    flat = words.reshape(-1).view("u8")
    reductions = {"or": np.bitwise_or.reduce, "sum": np.sum, "max": np.max}
    if threads == 1:
        return {name: (lambda f=f: f(flat)) for name, f in reductions.items()}
    parts = np.array_split(flat, threads)
    pool = ThreadPoolExecutor(threads)  # lives as long as the functions; starting it is no part of reading
    return {name: (lambda f=f: list(pool.map(f, parts))) for name, f in reductions.items()}


def copies(backend: Backend, n_bytes: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Return ways of copying memory, each with the bytes that it reads and writes.

    Parameters
    ----------
    backend : Backend
    n_bytes : int
        Size of the arrays; larger than the caches.

    Returns
    -------
    dict of str to (callable, int)
        ``copy`` in host memory by all threads; where the device has a memory of its own also ``to device``
        and ``to host`` through pinned memory (bytes that cross the bus), and ``device copy``.
    """
    device, threads = backend.device, backend.threads
    host = [device.empty_pinned((n_bytes,), "u1") for _ in range(2)]
    for array in host:
        array[:] = 1
    pool = ThreadPoolExecutor(threads)
    parts = list(zip(*(np.array_split(array, threads) for array in host), strict=True))
    found = {"copy": (lambda: list(pool.map(lambda pair: np.copyto(*pair), parts)), 2 * n_bytes)}
    twins = [device.twin(array) for array in host]
    if twins[0] is host[0]:
        return found
    stream = device.stream()

    def waiting(queue: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            queue()
            device.wait(device.record(stream))

        return run

    return found | {
        "to device": (waiting(lambda: device.to_device(twins[0], host[0], stream)), n_bytes),
        "to host": (waiting(lambda: device.to_host(host[1], twins[0], stream)), n_bytes),
        "device copy": (waiting(lambda: device.copy(twins[1], twins[0], stream)), 2 * n_bytes),
    }
