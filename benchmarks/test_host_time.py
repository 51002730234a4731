"""`host_time`: what the main thread does for each shot beside calling kernels, which a GPU would wait for.

The chain of `chain_raw` on the CPU, where the main thread's own processor time is told apart from what it
spends in compiled functions. A device that needs no time at all would take so many shots a second and no
more: reading and writing go on in threads of their own.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import records
import shotsieve
from chain_case import RawChainCase
from shotsieve import backend as backends
from shotsieve.engine import passes, pixels

TRAINS, PULSES, ROUNDS = 16, 16, 5
BLOCK_BYTES = 256_000_000
WANTED_SHOTS_PER_S = 10_000


class MainThread:
    """Processor time of the main thread between the first block and the last, and of that in kernels."""

    def __init__(self) -> None:
        self.ring_s = self.kernels_s = 0.0

    def kernel(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a compiled function that is timed where the main thread calls it."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return function(*args, **kwargs)
            began = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.kernels_s += time.thread_time() - began

        return timed

    def ring(self, *steps: Any) -> Iterator[Any]:
        """Yield what `run_ring` does, and take its time."""
        results = RUN_RING(*steps)
        while True:
            began = time.thread_time()
            try:
                result = next(results)
            except StopIteration:
                return
            finally:
                self.ring_s += time.thread_time() - began
            yield result


RUN_RING = passes.run_ring


def test_host_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Callable, target: Callable, quick: bool
) -> None:
    """Milliseconds of the main thread per shot."""
    case = RawChainCase.make(tmp_path, *((2, 4) if quick else (TRAINS, PULSES)))
    native = backends.get("cpu").native
    times: list[MainThread] = []
    for name, function in inspect.getmembers(native, inspect.isbuiltin):
        monkeypatch.setattr(
            native, name, lambda *a, f=function, **k: times[-1].kernel(f)(*a, **k) if times else f(*a, **k)
        )
    monkeypatch.setattr(pixels, "PASS_BYTES", pixels.DEVICE_PASS_BYTES)
    monkeypatch.setattr(passes, "run_ring", lambda *steps: times[-1].ring(*steps))
    for _ in range(2 if quick else ROUNDS):
        times.append(MainThread())
        result = shotsieve.reduce(
            case.run,
            case.recipe(),
            tmp_path / "red",
            constants=case.constants,
            backend="cpu",
            overwrite=True,
            block_bytes=BLOCK_BYTES,
        )
    assert (result.table.fate == 0)[case.hit].mean() > 0.8
    host_s = [one.ring_s - one.kernels_s for one in times]
    assert all(one.kernels_s > 0 for one in times)
    shots_per_s = case.shots / min(host_s)
    record(
        records.make(
            "host_time",
            backend=native.__name__.rpartition("._")[2],
            detector="AGIPD1M",
            shots_per_s=shots_per_s,
            gb_per_s=case.file_bytes / min(host_s) / 1e9,
            read_fraction=None,
            floor_fraction=None,
            peer=None,
            ratio_to_peer=None,
            threads=1,
            notes="not a rate that was reached: shots for which the main thread has time beside the kernels, "
            "and so the most that any device is fed with; passes as on a GPU; lit pixels, photons, peaks and "
            "a 500-bin profile of every shot, a tenth is kept",
            details={
                "shots": case.shots,
                "host_ms_per_shot": [1e3 * seconds / case.shots for seconds in host_s],
                "kernels_ms_per_shot": [1e3 * one.kernels_s / case.shots for one in times],
            },
        )
    )
    target(
        shots_per_s >= WANTED_SHOTS_PER_S,
        f"host_time: the main thread has time for {shots_per_s:.0f} shots/s; {WANTED_SHOTS_PER_S} are wanted",
    )
