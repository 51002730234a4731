"""Kernels by themselves, data on the device: bytes that must move over the rate of a device copy.

On a GPU at full size; with --quick also on the emulator, at sizes that show that everything runs. The answer
of the first call is compared with the CPU's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import machine
import numpy as np
import pytest
import records
from kernel_case import Prepared
from kernel_cases import BINS, CASES
from shotsieve import backend as backends
from shotsieve.backend import Backend
from shotsieve.bench.machine import copies
from shotsieve.bench.rounds import ROUNDS, interleave
from shotsieve.measure.two_time import two_time

REPEATS = 5
MOST_MS = {"pair_sums, products": 1.0, "pair_sums, events": 1.0}
"""Of 352 frames of a million pixels that lie on an H200."""


@pytest.fixture(scope="module")
def copy_rate(device: Backend, quick: bool) -> float:
    """Bytes that a copy on the device reads and writes in a second."""
    copy, moved = copies(device, 1 << (20 if quick else 30))["device copy"]
    return moved / min(interleave({"copy": copy}, ROUNDS)["copy"])


def check(name: str, exact: bool, found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    for key, values in wanted.items():
        if exact:
            np.testing.assert_array_equal(found[key].view("u1"), values.view("u1"), err_msg=f"{name}: {key}")
        else:
            np.testing.assert_allclose(found[key], values, rtol=1e-12, atol=1e-9, err_msg=f"{name}: {key}")


@pytest.mark.parametrize("name", CASES)
def test_kernel(
    name: str, device: Backend, copy_rate: float, record: Callable, target: Callable, quick: bool
) -> None:
    """Its answer, its time and its share of the floor."""
    case = CASES[name](quick)
    there, here = Prepared(case, device), Prepared(case, backends.get("cpu"))
    for one in (there, here):
        one.run()
    check(name, case.exact, there.answers(), here.answers())
    del here
    repeats = 1 if quick else REPEATS
    seconds = interleave({name: lambda: there.run(repeats)}, 1 if quick else ROUNDS)[name]
    ours = min(seconds) / repeats
    record(
        records.make(
            "kernels",
            backend=device.name,
            detector=case.detector,
            shots_per_s=case.frames / ours,
            gb_per_s=case.moved / ours / 1e9,
            read_fraction=None,
            floor_fraction=case.moved / copy_rate / ours,
            peer=None,
            ratio_to_peer=None,
            threads=1,
            machine=machine.describe(device.detail),
            versions=machine.versions(*(["cupy"] if device.name == "cuda" else [])),
            notes="data on the device; frames/s of what kernel_cases.py describes; GB/s of the bytes that "
            "must move; floor: these over a device copy, read and written bytes counted",
            details={
                "variant": name,
                "frames": case.frames,
                "ms": 1e3 * ours,
                "ms_most": 1e3 * max(seconds) / repeats,
                "moved_bytes": case.moved,
                "copy_gb_per_s": copy_rate / 1e9,
                "equal": "bit for bit" if case.exact else "within 1e-12",
            },
        )
    )
    if not quick and name in MOST_MS:
        target(1e3 * ours < MOST_MS[name], f"{name}: {1e3 * ours:.3f} ms, wanted {MOST_MS[name]}")


def test_two_time_call(device: Backend, record: Callable, quick: bool) -> None:
    """The whole call of the array API on frames that lie on the device; sums come to the host."""
    frames = CASES["pair_sums, products"](quick).inputs["frames"]
    _, n, pixels = frames.shape
    labels = np.repeat(np.arange(BINS), pixels // BINS)
    there, stream = device.device.empty(frames.shape, frames.dtype), device.device.stream()
    device.device.to_device(there, frames, stream)
    device.device.wait(device.device.record(stream))

    def call() -> Any:
        return two_time(there, labels, backend=device, method="matrix")

    wanted = two_time(frames, labels, backend="cpu")
    np.testing.assert_array_equal(call().sums, wanted.sums)
    seconds = min(interleave({"call": call}, 1 if quick else ROUNDS)["call"])
    record(
        records.make(
            "kernels",
            backend=device.name,
            detector="none",
            shots_per_s=n / seconds,
            gb_per_s=frames.nbytes / seconds / 1e9,
            read_fraction=None,
            floor_fraction=None,
            peer=None,
            ratio_to_peer=None,
            threads=1,
            machine=machine.describe(device.detail),
            versions=machine.versions(*(["cupy"] if device.name == "cuda" else [])),
            notes="whole call of shotsieve.two_time on frames on the device, sums on the host",
            details={"variant": "two_time, whole call", "frames": n, "pixels": pixels, "ms": 1e3 * seconds},
        )
    )
