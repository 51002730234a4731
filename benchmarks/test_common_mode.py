"""Common mode of ASICs on one core: four iterations over every frame, checked by the reference, beside NumPy.

64 distinct memory cells, 8 trains, one AGIPD module; constants larger than the last-level cache. A shot is
the whole detector: sixteen such frames.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import machine
import numpy as np
import pytest
import records
from lit_case import LitCase, OnDevice, make_case
from shotsieve import backend as backends
from shotsieve import detectors
from shotsieve.backend import Backend
from shotsieve.bench.rounds import ROUNDS, interleave, minima
from shotsieve.common_mode import CommonModeParams, queue_common_mode
from shotsieve.constants import Steps
from shotsieve.reference.common_mode import common_mode
from shotsieve.shifts import Shifts
from test_calibrate_lit import cpu_backends

MAX_MS = 1.2  # per AGIPD-1M shot and core
MODE_ADU = 15.0


def with_mode(case: LitCase, seed: int = 2) -> LitCase:
    """Add a common mode to every ASIC of every frame."""
    rng = np.random.default_rng(seed)
    mode = np.rint(rng.uniform(-MODE_ADU, MODE_ADU, (case.trains, case.cells, 8, 1, 2, 1)))
    words = case.raw[:, :, 0].reshape(case.trains, case.cells, 8, 64, 2, 64)
    case.raw[:, :, 0] = (words + mode).astype("u2").reshape(case.raw[:, :, 0].shape)
    return case


class Modes:
    """The case on a backend, and the shifts of its frames."""

    def __init__(self, case: LitCase, backend: Backend) -> None:
        self.on, self.params = OnDevice(case, backend), how()
        self.host = backend.device.empty_pinned((case.frames, 16), "i4")
        self.shift = backend.device.twin(self.host)

    def run(self) -> None:
        on = self.on
        arrays = (on.raw, on.frames, on.groups, on.table, self.shift)
        queue_common_mode(on.backend, *arrays, self.params, stream=on.stream)
        on.backend.device.wait(on.backend.device.record(on.stream))

    def result(self) -> np.ndarray:
        device = self.on.backend.device
        device.to_host(self.host, self.shift, self.on.stream)
        device.wait(device.record(self.on.stream))
        return self.host


def how() -> CommonModeParams:
    return CommonModeParams.from_steps(Steps(common_mode=True), detectors.load("AGIPD1M"), "adaptive")


def numpy_mode(words: np.ndarray, table: np.ndarray) -> np.ndarray:
    """One frame as a careful user of NumPy would do it: ASICs side by side, float32; ADU (8, 2)."""
    x = (words[0].astype("f4") - table[2]).reshape(8, 64, 2, 64)
    usable = ((words[1] <= table[0]) & np.isfinite(table[5])).reshape(x.shape)
    shift = np.zeros((8, 1, 2, 1), "f4")
    for _ in range(4):
        left = x - shift
        dark = usable & (left >= -30) & (left <= 30)
        count = dark.sum(axis=(1, 3), keepdims=True)
        mean = np.where(dark, left, 0).sum(axis=(1, 3), keepdims=True) / np.maximum(count, 1)
        shift += np.where(count > 0.15 * 4096, mean, 0).astype("f4")
    return shift.reshape(16)


def check_answer(case: LitCase, found: np.ndarray) -> None:
    """Compare some frames with the reference, bit for bit, and all with NumPy."""
    raw = case.raw.reshape(case.frames, 2, case.pixels)
    params, some = how(), np.arange(0, case.frames, max(1, case.frames // 5))
    groups = [(k, k + 1, int(frame) % case.cells) for k, frame in enumerate(some)]
    wanted = np.zeros_like(found)
    least = params.least(4096)
    common_mode(raw, some, groups, case.table, wanted, **params.kernel_args(), least=least, n_itr=4)
    np.testing.assert_array_equal(found[some], wanted[some])
    for frame in range(0, case.frames, max(1, case.frames // 40)):
        peer = numpy_mode(raw[frame], case.table[frame % case.cells])
        np.testing.assert_allclose(found[frame] / 256, peer, atol=0.05)


@pytest.fixture(scope="module")
def case(quick: bool) -> LitCase:
    return with_mode(make_case(cells=3, trains=2) if quick else make_case())


def make_record(
    case: LitCase, name: str, seconds: float, load: float | None = None, **more: Any
) -> dict[str, Any]:
    busy = "" if load is None else f"; CPU time, least of the rounds, load average {load:.1f} before"
    shots = case.frames / case.module_count
    return records.make(
        "common_mode",
        backend=name,
        detector="AGIPD1M",
        shots_per_s=shots / seconds,
        gb_per_s=case.raw.nbytes / seconds / 1e9,
        floor_fraction=None,
        versions=machine.versions(),
        notes=f"ASICs, four iterations; one module measured, shots/s are of the whole detector{busy}",
        details={"frames": case.frames, "cells": case.cells, "ms_per_shot": 1e3 * seconds / shots},
        **more,
    )


def test_one_core(record: Callable, target: Callable, quick: bool, case: LitCase) -> None:
    modes = {name: Modes(case, backend) for name, backend in cpu_backends(1).items()}
    functions: dict[str, Callable[[], object]] = {name: one.run for name, one in modes.items()}
    raw = case.raw.reshape(case.frames, 2, case.pixels)
    frames = range(min(case.frames, case.cells))
    functions["numpy"] = lambda: [numpy_mode(raw[f], case.table[f % case.cells]) for f in frames]
    functions |= {f"read {name}": read for name, read in machine.readers(case.raw, 1).items()}
    load = os.getloadavg()[0]
    least = minima(interleave(functions, 2 if quick else ROUNDS, clock=time.process_time))
    read = machine.quickest_read(least)
    peer = least["numpy"] * case.frames / len(frames)
    for name, one in modes.items():
        check_answer(case, one.result())
        ours = least[name]
        record(
            make_record(
                case,
                name,
                ours,
                load,
                read_fraction=read / ours,
                peer="NumPy, frame by frame, ASICs side by side",
                ratio_to_peer=peer / ours,
                threads=1,
            )
        )
    best = min(least[name] for name in modes) * case.module_count / case.frames * 1e3
    if not quick:
        target(best <= MAX_MS, f"common mode: {best:.2f} ms a shot and core, wanted {MAX_MS}")


def test_gpu(record: Callable, quick: bool, case: LitCase) -> None:
    try:
        backend = backends.get("cuda")
    except backends.BackendUnavailable as error:
        pytest.skip(str(error))
    one = Modes(case, backend)
    least = minima(interleave({"cuda": one.run}, 2 if quick else ROUNDS))["cuda"]
    check_answer(case, one.result())
    record(make_record(case, "cuda", least, read_fraction=None, peer=None, ratio_to_peer=None, threads=1))


def test_shifted_frames_cost_little_more(target: Callable, quick: bool, case: LitCase) -> None:
    """Counting with shifts, against counting without."""
    one = Modes(case, backends.get("cpu"))
    one.on.backend = next(reversed(cpu_backends(1).values()))
    one.run()
    shifts, params = Shifts(one.shift, one.params.tiles), case.params(photons=True)
    functions = {
        "plain": lambda: one.on.run(params),
        "shifted": lambda: one.on.run(params, shifts=shifts),
    }
    least = minima(interleave(functions, 2 if quick else ROUNDS))
    ratio = least["shifted"] / least["plain"]
    if not quick:
        target(ratio < 1.6, f"counting with shifts takes {ratio:.2f} times as long, wanted 1.6 at most")
