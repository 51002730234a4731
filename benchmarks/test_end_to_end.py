"""`reduce`: a raw run on disk in, a reduced run on disk out; against merely reading the same files.

A simulated AGIPD-1M run of 16 modules. The files have just been written, so they are read from the system's
page cache: what is measured is the pipeline, not the disk. Blocks are smaller than usual, so that a small run
takes the slots of the ring through several turns, as a long run does.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import numpy as np
import pytest
import records
import shotsieve
from shotsieve import backend as backends
from shotsieve.backend import usable_cpus
from shotsieve.bench.rounds import fastest, interleave
from shotsieve.constants.container import Constants
from shotsieve.errors import BackendUnavailable
from shotsieve.simulate import SimulatedRun, SpiParameters, simulate_spi

ROUNDS, BLOCK_BYTES = 5, 64_000_000
LIT = {"calibrate": {}, "measure": {"lit": {"threshold": "0.7 photon"}}}
KEEP = {"keep": {"rule": "lit_fraction[3] > 0.06"}}
RECIPES: dict[str, dict[str, Any]] = {
    "table only": LIT,
    "corrected": {**LIT, **KEEP, "write": {"content": "corrected"}},
    "raw": {**LIT, **KEEP, "write": {"content": "raw"}},
}


@dataclass
class RunOnDisk:
    """A simulated run, its constants as an own file, and how fast files and memory are read (bytes/s)."""

    run: SimulatedRun
    constants: Path
    folder: Path
    rounds: int
    read_rate: float
    memory_rate: float


def read_files(files: list[Path], buffers: list[bytearray]) -> None:
    """Read files with as many threads as there are buffers, each again and again into its own."""

    def some(number: int) -> None:
        for file in files[number :: len(buffers)]:
            with file.open("rb", buffering=0) as stream:
                while stream.readinto(buffers[number]):
                    pass

    with ThreadPoolExecutor(len(buffers)) as pool:
        list(pool.map(some, range(len(buffers))))


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory, quick: bool) -> RunOnDisk:
    folder = tmp_path_factory.mktemp("end_to_end")
    parameters = SpiParameters(n_trains=1, n_cells=4, modules=(0, 3)) if quick else SpiParameters(n_trains=12)
    run = simulate_spi(folder / "sim", parameters)
    constants = folder / "constants.h5"
    Constants.open(run.constants).save(constants)
    rounds = 2 if quick else ROUNDS
    files = [Path(file) for file in run.files]
    buffers = [bytearray(16 << 20) for _ in range(usable_cpus())]
    memory = np.ones((1 << 20 if quick else 1 << 28), "u1")
    readers = machine.readers(memory, usable_cpus())
    seconds = interleave({"files": lambda: read_files(files, buffers), **readers}, rounds)
    file_bytes = sum(file.stat().st_size for file in files)
    _, memory_seconds = fastest({name: min(seconds[name]) for name in readers})
    read_rate = file_bytes / min(seconds["files"])
    return RunOnDisk(run, constants, folder, rounds, read_rate, memory.nbytes / memory_seconds)


@pytest.mark.parametrize("variant", RECIPES)
@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_reduce(on_disk: RunOnDisk, variant: str, backend: str, record: Callable, benchmark: Any) -> None:
    """Shots per second of the whole pipeline; preparing (opening, folding constants) is told apart."""
    try:
        chosen = backends.get(backend)
    except BackendUnavailable as error:
        pytest.skip(str(error))
    out = on_disk.folder / f"{backend}-{variant.replace(' ', '-')}"
    results: list[shotsieve.Result] = []

    def run() -> None:
        results.append(
            shotsieve.reduce(
                on_disk.run.raw,
                RECIPES[variant],
                out,
                constants=on_disk.constants,
                backend=backend,
                overwrite=True,
                block_bytes=BLOCK_BYTES,
            )
        )

    benchmark.pedantic(run, rounds=on_disk.rounds, warmup_rounds=1)
    check(results[-1], on_disk, variant)
    made = reduce_record(on_disk, variant, backend, chosen.detail, results[1:], benchmark.stats.stats.min)
    record(made)


def check(result: shotsieve.Result, on_disk: RunOnDisk, variant: str) -> None:
    """Every shot is accounted for, and the bright hits are kept where a rule decides."""
    result.accounts.check()
    fates = result.table.counts()
    assert sum(fates.values()) == len(on_disk.run.truth.hit)
    if "keep" in RECIPES[variant]:
        assert 0 < fates["kept"] < len(result.table)
        assert on_disk.run.truth.hit[result.table.fate == 0].mean() > 0.5
        assert len(result.files) == len(on_disk.run.parameters.modules)


def reduce_record(
    on_disk: RunOnDisk, variant: str, backend: str, device: str, results: list[shotsieve.Result], whole: float
) -> dict[str, Any]:
    """Make the record of one recipe from the round with the shortest run."""
    best = min(results, key=lambda result: result.performance["run_s"])
    seconds, shots = best.performance["run_s"], len(best.table)
    parameters = on_disk.run.parameters
    raw_bytes = int(best.accounts.bytes_in)
    pixels = best.table.module_pixels
    # Threshold, offset and gain of the high-gain stage, once for all trains; see test_calibrate_lit.
    constants = 3 * 4 * pixels * len(parameters.cells) * len(parameters.modules)
    least = raw_bytes + int(best.accounts.bytes_out) + constants
    gpu = backend == "cuda"
    return records.make(
        "reduce",
        backend=_level(backend),
        detector="AGIPD1M",
        shots_per_s=shots / seconds,
        gb_per_s=raw_bytes / seconds / 1e9,
        read_fraction=raw_bytes / on_disk.read_rate / seconds,
        floor_fraction=least / on_disk.memory_rate / seconds,
        peer=None,
        ratio_to_peer=None,
        threads=best.performance["threads"],
        machine=machine.describe(device if gpu else ""),
        versions=machine.versions(*(["cupy"] if gpu else [])),
        notes="rates of the run itself, as reduce reports them; whole_call_s has opening and folding of "
        "constants too; reading = the same files from the page cache",
        details={
            "variant": variant,
            "modules": len(parameters.modules),
            "cells": len(parameters.cells),
            "trains": parameters.n_trains,
            "shots": shots,
            "kept": best.table.counts()["kept"],
            "bytes_in": raw_bytes,
            "bytes_out": int(best.accounts.bytes_out),
            "bytes_touched": least,
            "block_bytes": BLOCK_BYTES,
            "rounds": len(results),
            "seconds": seconds,
            "whole_call_s": whole,
            "read_gb_per_s": on_disk.read_rate / 1e9,
            "memory_gb_per_s": on_disk.memory_rate / 1e9,
        },
    )


def _level(backend: str) -> str:
    """Return the CPU level that `reduce` took, such as cpu_v3; other backends as they are."""
    return backends.get(backend).native.__name__.rpartition("._")[2] if backend == "cpu" else backend
