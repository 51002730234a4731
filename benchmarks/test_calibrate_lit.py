"""`calibrate_lit`: raw words to counts, against reading the words and against NumPy on one core.

64 distinct memory cells, 8 trains, one AGIPD module; constants larger than the last-level cache; counts only.
Everything is run in turns, seven rounds, and compared by its least time.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import machine
import numpy as np
import pytest
import records
from lit_case import LitCase, OnDevice, make_case
from numpy_peer import all_peers
from shotsieve import backend as backends
from shotsieve.backend import Backend, usable_cpus
from shotsieve.bench.rounds import ROUNDS, fastest, interleave, minima
from shotsieve.device import HostDevice
from shotsieve.errors import BackendUnavailable

LEVELS = {"cpu_v2": 2, "cpu_v3": 3, "cpu_v4": 4}
VARIANTS = {"lit": False, "lit, photons": True}
MIN_RATIO, MIN_READ_FRACTION = 25, 0.15  # goals are 50 and 0.3
# How calibration is usually written in NumPy, for any number of switched pixels: the peer of the targets.
# The quickest form for these data, which have hardly any, stands beside it in every record.
USUAL = "choose"
MIN_GPU_SHOTS = 100_000
GPU_REPEATS = 10


def cpu_backends(threads: int) -> dict[str, Backend]:
    """Return every CPU level this processor runs and that is built."""
    highest = importlib.import_module("shotsieve._cpu_v2").cpu_level()
    return {
        name: Backend("cpu", importlib.import_module(f"shotsieve._{name}"), HostDevice(), name, threads)
        for name, level in LEVELS.items()
        if level <= highest
    }


class Measured:
    """All times of one session: seconds of the rounds of everything, by name."""

    def __init__(self, quick: bool) -> None:
        self.case = make_case(cells=3, trains=2) if quick else make_case()
        self.rounds = 2 if quick else ROUNDS
        self.threads = usable_cpus()
        self.on_device: dict[tuple[str, int], OnDevice] = {}
        self.peers = {}
        functions: dict[str, Callable[[], object]] = {}
        for threads in sorted({1, self.threads}):
            for name, function in machine.readers(self.case.raw, threads).items():
                functions[f"read {threads} {name}"] = function
            for name, backend in cpu_backends(threads).items():
                device = self.on_device[name, threads] = OnDevice(self.case, backend)
                for variant, photons in VARIANTS.items():
                    params = self.case.params(photons)
                    functions[f"{variant} {threads} {name}"] = lambda d=device, p=params: d.run(p)
        for variant, photons in VARIANTS.items():
            for name, peer in all_peers(self.case, self.case.params(photons)).items():
                self.peers[variant, name] = peer
                functions[f"peer {variant} {name}"] = peer.run
        self.seconds = interleave(functions, self.rounds)


@pytest.fixture(scope="module")
def measured(quick: bool) -> Measured:
    return Measured(quick)


def check_counts(ours: np.ndarray, peer: np.ndarray, photons: bool) -> None:
    """Compare ours (frames, 5) with the peer's (frames, 4), which lack candidates: whole numbers exactly,
    intensity within the rounding of its 1/128 steps.
    """
    np.testing.assert_array_equal(ours[:, :2], peer[:, :2])
    if photons:
        np.testing.assert_array_equal(ours[:, 3], peer[:, 3])
    # Half a step per pixel at most, and the peer's float32 sum.
    bound = peer[:, 1] / 256 + 1e-4 * np.abs(peer[:, 2])
    assert (np.abs(ours[:, 2] / 128 - peer[:, 2]) <= bound).all()


def usual_form(times: dict[str, float]) -> tuple[str, float]:
    """Return the usual form of the peer, by frames or by cells, whichever is faster, and its time."""
    return fastest({name: seconds for name, seconds in times.items() if name.startswith(USUAL)})


def lit_record(measured: Measured, variant: str, name: str, threads: int) -> dict[str, Any]:
    """Make the record of one backend: peers, like any per-core figure, only for one thread."""
    case = measured.case
    ours = min(measured.seconds[f"{variant} {threads} {name}"])
    reader, reading = fastest(minima(measured.seconds, f"read {threads} "))
    details: dict[str, Any] = {
        "variant": variant,
        "frames": case.frames,
        "cells": case.cells,
        "trains": case.trains,
        "switched_share": case.switched_share,
        "constants_bytes": case.table.nbytes,
        "last_level_cache_bytes": machine.last_level_cache(),
        "bytes_touched": case.least_bytes(),
        "rounds": measured.rounds,
        "seconds": ours,
        "seconds_rounds": measured.seconds[f"{variant} {threads} {name}"],
        "module_frames_per_s": case.frames / ours,
        "read_gb_per_s": case.raw.nbytes / reading / 1e9,
        "read_by": reader,
    }
    peer = ratio = None
    notes = "one module measured, shots/s are of the whole detector; memory bandwidth = rate of reading"
    if threads == 1:
        times = minima(measured.seconds, f"peer {variant} ")
        usual, seconds = usual_form(times)
        peer, ratio = f"NumPy, cell by cell, in place ({usual}), 1 core", seconds / ours
        details["peers"] = {which: {"seconds": t, "ratio": t / ours} for which, t in times.items()}
        best, seconds = fastest(times)
        quickest = details["ratio_to_quickest_numpy"] = seconds / ours
        notes += f"; the quickest NumPy for these data ({best}) takes {quickest:.1f} times as long as we"
    return records.make(
        "calibrate_lit",
        backend=name,
        detector="AGIPD1M",
        shots_per_s=case.frames / case.module_count / ours,
        gb_per_s=case.raw.nbytes / ours / 1e9,
        read_fraction=reading / ours,
        floor_fraction=case.least_bytes() / (case.raw.nbytes / reading) / ours,
        peer=peer,
        ratio_to_peer=ratio,
        threads=threads,
        notes=notes,
        details=details,
    )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", LEVELS)
def test_per_core(
    measured: Measured,
    variant: str,
    name: str,
    record: Callable,
    target: Callable,
    benchmark: Any,
    quick: bool,
) -> None:
    """One thread: the ratio to NumPy and the share of the rate of reading."""
    if (name, 1) not in measured.on_device:
        pytest.skip(f"{name}: this processor lacks that level")
    device, params = measured.on_device[name, 1], measured.case.params(VARIANTS[variant])
    benchmark.pedantic(device.run, args=(params,), rounds=measured.rounds, warmup_rounds=1)
    for (peer_variant, _), peer in measured.peers.items():
        if peer_variant == variant:
            check_counts(device.result()[:, 0], peer.counts.reshape(-1, 4), VARIANTS[variant])
    made = lit_record(measured, variant, name, 1)
    benchmark.extra_info.update(ratio_to_peer=made["ratio_to_peer"], read_fraction=made["read_fraction"])
    record(made)
    if variant == "lit" and name == max(which for which, _ in measured.on_device) and not quick:
        judge(made, target)


def judge(made: dict[str, Any], target: Callable) -> None:
    """Compare a record with what is asked of one core."""
    what = f"calibrate_lit on {made['backend']}, 1 thread"
    ratio, share = made["ratio_to_peer"], made["read_fraction"]
    target(ratio >= MIN_RATIO, f"{what}: {ratio} x {made['peer']}, wanted {MIN_RATIO}")
    target(share >= MIN_READ_FRACTION, f"{what}: {share} of the rate of reading, wanted {MIN_READ_FRACTION}")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", LEVELS)
def test_all_threads(measured: Measured, variant: str, name: str, record: Callable) -> None:
    """All cores the process may use."""
    if (name, 1) not in measured.on_device:
        pytest.skip(f"{name}: this processor lacks that level")
    if measured.threads == 1:
        pytest.skip("this process may use one core only")
    one, all_ = measured.on_device[name, 1], measured.on_device[name, measured.threads]
    for device in (one, all_):
        device.run(measured.case.params(VARIANTS[variant]))
    np.testing.assert_array_equal(one.result(), all_.result())
    record(lit_record(measured, variant, name, measured.threads))


def device_bandwidth(device: OnDevice, rounds: int) -> dict[str, float]:
    """Return bytes per second of GPU memory: a copy (counted both ways) and a reduction of the raw words."""
    import cupy

    words = device.raw.reshape(-1).view("u8")
    target = cupy.empty_like(words)

    def timed(function: Callable[[], object]) -> float:
        def run() -> None:
            for _ in range(GPU_REPEATS):
                function()
            cupy.cuda.get_current_stream().synchronize()

        return min(interleave({"it": run}, rounds)["it"]) / GPU_REPEATS

    return {
        "copy": 2 * words.nbytes / timed(lambda: cupy.copyto(target, words)),
        "max": words.nbytes / timed(words.max),
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_cuda(variant: str, record: Callable, target: Callable, benchmark: Any, quick: bool) -> None:
    """Whole shots of AGIPD-1M, data on the device, counts only."""
    try:
        backend = backends.get("cuda")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    case = make_case(cells=3, trains=2) if quick else make_case()
    device = OnDevice(case, backend, modules=case.module_count)
    params = case.params(VARIANTS[variant])
    rounds = 2 if quick else ROUNDS
    benchmark.pedantic(device.run, args=(params, GPU_REPEATS), rounds=rounds, warmup_rounds=1)
    seconds = interleave({"run": lambda: device.run(params, GPU_REPEATS)}, rounds)["run"]
    check_device(case, device, VARIANTS[variant])
    ours = min(seconds) / GPU_REPEATS
    bandwidth = device_bandwidth(device, rounds)
    best, rate = max(bandwidth.items(), key=lambda item: item[1])
    raw_bytes, least = device.raw.nbytes, case.least_bytes() * case.module_count
    made = records.make(
        "calibrate_lit",
        backend="cuda",
        detector="AGIPD1M",
        shots_per_s=case.frames / ours,
        gb_per_s=raw_bytes / ours / 1e9,
        read_fraction=raw_bytes / rate / ours,
        floor_fraction=least / rate / ours,
        peer=None,
        ratio_to_peer=None,
        threads=1,
        machine=machine.describe(backend.detail),
        versions=machine.versions("cupy"),
        notes="16 modules, words and constants on the device; wall time with a wait after every 10 passes",
        details={
            "variant": variant,
            "frames": case.frames * case.module_count,
            "cells": case.cells,
            "trains": case.trains,
            "constants_bytes": device.table.nbytes,
            "bytes_touched": least,
            "rounds": rounds,
            "seconds": ours,
            "memory_gb_per_s": {name: value / 1e9 for name, value in bandwidth.items()},
            "bandwidth_by": best,
        },
    )
    record(made)
    if variant == "lit" and not quick:
        shots = made["shots_per_s"]
        target(
            shots >= MIN_GPU_SHOTS,
            f"calibrate_lit on cuda: {shots} shots/s, wanted {MIN_GPU_SHOTS} on an H200",
        )


def check_device(case: LitCase, device: OnDevice, photons: bool) -> None:
    """Compare a device's counts of every module with the CPU's, bit for bit."""
    host = OnDevice(case, backends.get("cpu"))
    host.run(case.params(photons))
    np.testing.assert_array_equal(device.result(), np.repeat(host.result(), device.modules, axis=1))
