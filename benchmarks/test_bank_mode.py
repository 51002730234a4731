"""Common mode by medians of ePix100 frames on one core, checked by the reference, beside NumPy.

Banks, rows and columns, twice, as the recipe has it; every frame has modes of its own. CPU time, in turns.
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
from detector_case import DetectorCase, case_of
from lit_case import OnDevice
from shotsieve import backend as backends
from shotsieve.backend import Backend
from shotsieve.bank_mode import BankModeParams, queue_bank_mode
from shotsieve.bench.rounds import ROUNDS, interleave, minima
from shotsieve.constants import Steps
from shotsieve.reference.bank_mode import bank_mode
from test_calibrate_lit import cpu_backends

DETECTOR = "EPIX100"
MODE_ADU = 8.0
LEAST = 10  # good pixels of a group that has a median
NUMPY_FRAMES = 4  # that NumPy does in its turn


def with_modes(case: DetectorCase, seed: int = 2) -> DetectorCase:
    """Add a mode to every bank, to its rows and to its columns, in every frame."""
    rng = np.random.default_rng(seed)
    (high, wide), (ss, fs) = case.detector.bank, case.detector.shape
    words = case.raw.reshape(case.frames, ss // high, high, fs // wide, wide)
    for frame in words:
        mode = sum(
            rng.normal(0, MODE_ADU, np.where(alike, frame.shape, 1))
            for alike in ((True, False, True, False), (True, True, True, False), (True, False, True, True))
        )
        frame[...] = np.clip(np.rint(frame + mode), 1, case.detector.adc_max)
    return case


def how(case: DetectorCase) -> BankModeParams:
    """Return what a recipe says that asks for the common mode and nothing else."""
    return BankModeParams.from_steps(Steps(common_mode=True), case.detector)


class Modes:
    """The case on a backend, and the shifts of the pixels of all frames."""

    def __init__(self, case: DetectorCase, backend: Backend) -> None:
        self.on, self.params = OnDevice(case, backend), how(case)
        self.host = backend.device.empty_pinned((case.frames, case.pixels), "i4")
        self.shift = backend.device.twin(self.host)

    def run(self) -> None:
        on = self.on
        arrays = (on.raw, on.frames, on.groups, on.table, self.shift)
        queue_bank_mode(on.backend, *arrays, self.params, on.stream)
        on.backend.device.wait(on.backend.device.record(on.stream))

    def result(self) -> np.ndarray:
        device = self.on.backend.device
        device.to_host(self.host, self.shift, self.on.stream)
        device.wait(device.record(self.on.stream))
        return self.host


def medians(x: np.ndarray, axes: tuple[int, ...], limit: float) -> np.ndarray:
    """Return the medians of what is no NaN over some axes, those that count, with axes of length 1."""
    rest = [axis for axis in range(x.ndim) if axis not in axes]
    flat = np.sort(x.transpose(*rest, *axes).reshape(*(x.shape[axis] for axis in rest), -1), axis=-1)
    count = np.count_nonzero(~np.isnan(flat), axis=-1, keepdims=True)  # NaN is sorted to the end
    last = np.maximum(count - 1, 0)
    low, high = (np.take_along_axis(flat, at, -1)[..., 0] for at in (last // 2, np.maximum(count // 2, 0)))
    found = (low + high) / 2
    found = np.where((count[..., 0] >= LEAST) & (np.abs(found) < limit), found, 0)
    return np.expand_dims(found, axes)


def numpy_modes(words: np.ndarray, table: np.ndarray, case: DetectorCase) -> np.ndarray:
    """One frame as a careful user of NumPy would do it: groups side by side, sorted; ADU (n_pixels,)."""
    (high, wide), (ss, fs) = case.detector.bank, case.detector.shape
    params = how(case)
    x = np.where(np.isfinite(table[1]), words[0] - table[0], np.float32(np.nan))
    x = x.reshape(ss // high, high, fs // wide, wide).transpose(0, 2, 1, 3)
    left = x.copy()
    for _ in range(params.passes):
        for axes in ((2, 3), (3,), (2,)):
            left -= medians(left, axes, params.limit / 256).astype("f4")
    return np.nan_to_num(x - left).transpose(0, 2, 1, 3).ravel()


def check_answer(case: DetectorCase, found: np.ndarray) -> None:
    """Compare some frames with the reference, bit for bit, and with NumPy, whose values are not rounded."""
    raw = case.raw.reshape(case.frames, 1, case.pixels)
    some = np.unique(np.linspace(0, case.frames - 1, 3).astype(int))
    groups = [(k, k + 1, int(frame) % case.cells) for k, frame in enumerate(some)]
    wanted = np.zeros_like(found)
    bank_mode(raw, some, groups, case.table, wanted, **vars(how(case)))
    for frame in some:
        np.testing.assert_array_equal(found[frame], wanted[frame])
        peer = numpy_modes(raw[frame], case.table[frame % case.cells], case)
        np.testing.assert_allclose(found[frame] / 256, peer, atol=0.05)
        assert np.std(found[frame]) / 256 > MODE_ADU


@pytest.fixture(scope="module")
def case(quick: bool) -> DetectorCase:
    return with_modes(case_of(DETECTOR, quick))


def mode_record(case: DetectorCase, name: str, seconds: float, notes: str, **more: Any) -> dict[str, Any]:
    shots = case.frames / case.module_count
    return records.make(
        "bank_mode",
        backend=name,
        detector=DETECTOR,
        shots_per_s=shots / seconds,
        gb_per_s=case.raw.nbytes / seconds / 1e9,
        floor_fraction=None,
        threads=1,
        notes=f"medians of banks, rows and columns, {how(case).passes} times; one module{notes}",
        details={"frames": case.frames, "ms_per_shot": 1e3 * seconds / shots},
        **more,
    )


def test_one_core(record: Callable, quick: bool, case: DetectorCase) -> None:
    """Every CPU level, one thread; shifts compared before anything is recorded."""
    modes = {name: Modes(case, backend) for name, backend in cpu_backends(1).items()}
    functions: dict[str, Callable[[], object]] = {name: one.run for name, one in modes.items()}
    raw, few = case.raw.reshape(case.frames, 1, case.pixels), range(min(case.frames, NUMPY_FRAMES))
    functions["numpy"] = lambda: [numpy_modes(raw[f], case.table[f % case.cells], case) for f in few]
    functions |= {f"read {name}": read for name, read in machine.readers(case.raw, 1).items()}
    load = os.getloadavg()[0]
    least = minima(interleave(functions, 2 if quick else ROUNDS, clock=time.process_time))
    read, peer = machine.quickest_read(least), least["numpy"] * case.frames / len(few)
    for name, one in modes.items():
        check_answer(case, one.result())
        notes = f"; CPU time, least of the rounds, load average {load:.1f} before"
        rates = {"read_fraction": read / least[name], "ratio_to_peer": peer / least[name]}
        told = "NumPy, frame by frame, groups side by side and sorted"
        record(mode_record(case, name, least[name], notes, peer=told, **rates))


def test_gpu(record: Callable, quick: bool, case: DetectorCase) -> None:
    try:
        backend = backends.get("cuda")
    except backends.BackendUnavailable as error:
        pytest.skip(str(error))
    one = Modes(case, backend)
    least = minima(interleave({"cuda": one.run}, 2 if quick else ROUNDS))["cuda"]
    check_answer(case, one.result())
    record(mode_record(case, "cuda", least, "", read_fraction=None, peer=None, ratio_to_peer=None))
