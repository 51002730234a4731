"""What a measurement ran on: the machine in words, versions, the commit, and how fast memory can be read."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import shotsieve
from shotsieve.backend import usable_cpus

ROOT = Path(__file__).resolve().parent.parent


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
        "shotsieve": shotsieve.__version__,
    }
    return found | {name: sys.modules[name].__version__ for name in more}


def commit() -> str:
    """Return the commit; with ``-dirty`` when tracked files differ from it.

    Without git it is what SHOTSIEVE_COMMIT says, else ``unknown``.
    """

    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/history")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("SHOTSIEVE_COMMIT", "unknown")
    return f"{head}-dirty" if changed else head


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
