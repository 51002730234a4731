"""Baselines on one core: the noise peak of every frame, checked by the reference, beside NumPy.

The module of `common_mode`, darker by some ADU in every frame. A shot is the whole detector: sixteen such
frames.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import machine
import numpy as np
import pytest
import records
from lit_case import NOISE, LitCase, OnDevice, make_case
from shotsieve.backend import Backend
from shotsieve.baseline import queue_baseline, wavelets
from shotsieve.bench.rounds import ROUNDS, interleave, minima
from shotsieve.reference.baseline import baseline
from test_calibrate_lit import cpu_backends

HOW = {"encoding": 0, "fixed_stage": -1, "lowest": -5000 * 256}
PEER_FRAMES = 8


class Baselines:
    """The case on a backend, and the baselines of its frames."""

    def __init__(self, case: LitCase, backend: Backend) -> None:
        self.on, self.wavelets = OnDevice(case, backend), wavelets(np.full(case.cells, NOISE))
        self.shift = np.zeros((case.frames, 16), "i4")

    def run(self) -> None:
        on = self.on
        inputs = (on.raw, on.frames, on.groups, on.table, *self.wavelets)
        queue_baseline(on.backend, *inputs, self.shift, **HOW, stream=on.stream)


def numpy_peak(words: np.ndarray, planes: np.ndarray, taps: np.ndarray, reach: np.ndarray) -> int:
    """One frame as a careful user of NumPy would do it, in 1/256 ADU."""
    good = (words[1] <= planes[0]) & np.isfinite(planes[5])
    values = np.rint((words[0][good].astype("f4") - planes[2][good]) * np.float32(256)).astype("i8")
    values = values[values <= 50 * 256]
    low, best = -2000 * 256, 0
    for h, (bins, width) in enumerate(((210, 10 * 256), (200, 2 * 256))):
        index = (values - low) // width
        histogram = np.bincount(index[(index >= 0) & (index < bins)], minlength=bins)
        responses = []
        for half, far in zip(taps[h].astype("i8"), reach[h], strict=True):
            wavelet = np.concatenate([half[far:0:-1], half[: far + 1]])
            responses.append(np.convolve(histogram, wavelet)[far : far + bins])
        best = low + int(np.argmax(responses)) % bins * width + width // 2
        low = best - 200 * 256
    return best


@pytest.fixture(scope="module")
def case(quick: bool) -> LitCase:
    made = make_case(cells=3, trains=2) if quick else make_case()
    lower = np.random.default_rng(3).integers(0, 300, (made.trains, made.cells, 1))
    made.raw[:, :, 0] -= np.minimum(made.raw[:, :, 0], lower).astype("u2")
    return made


def test_one_core(record: Callable, quick: bool, case: LitCase) -> None:
    found = {name: Baselines(case, backend) for name, backend in cpu_backends(1).items()}
    functions: dict[str, Callable[[], object]] = {name: one.run for name, one in found.items()}
    raw = case.raw.reshape(case.frames, 2, case.pixels)
    some = np.arange(min(PEER_FRAMES, case.frames))
    rows = some % case.cells
    taps, reach = wavelets(np.full(case.cells, NOISE))
    functions["numpy"] = lambda: [
        numpy_peak(raw[f], case.table[r], taps[r], reach[r]) for f, r in zip(some, rows, strict=True)
    ]
    load = os.getloadavg()[0]
    least = minima(interleave(functions, 2 if quick else ROUNDS, clock=time.process_time))
    wanted, peaks = np.zeros((case.frames, 16), "i4"), functions["numpy"]()
    groups = [(k, k + 1, row) for k, row in enumerate(rows)]
    baseline(raw, some, groups, case.table, taps, reach, wanted, **HOW)
    shots = case.frames / case.module_count
    for name, one in found.items():
        np.testing.assert_array_equal(one.shift[some], wanted[some])
        np.testing.assert_array_equal(one.shift[some, 0], peaks)
        ours = least[name]
        record(
            records.make(
                "baseline",
                backend=name,
                detector="AGIPD1M",
                shots_per_s=shots / ours,
                gb_per_s=case.raw.nbytes / ours / 1e9,
                floor_fraction=None,
                versions=machine.versions(),
                notes="noise peaks; one module measured, shots/s are of the whole detector; CPU time, least "
                f"of the rounds, load average {load:.1f} before",
                details={"frames": case.frames, "cells": case.cells, "ms_per_shot": 1e3 * ours / shots},
                read_fraction=None,
                peer="NumPy, frame by frame",
                ratio_to_peer=least["numpy"] / len(some) * case.frames / ours,
                threads=1,
            )
        )
