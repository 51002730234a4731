"""The engine on a GPU: whole AGIPD-1M trains from pinned memory and from files, beside what the bus and the
disk cache give.

On a GPU at full size; with --quick also on the emulator, at sizes that show that everything runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np
import pytest
import records
import shotsieve
from device_chain_case import Events, overlap, train_case, write_files
from shotsieve.backend import Backend
from shotsieve.bench import stages
from shotsieve.bench.cases import Case
from shotsieve.bench.machine import copies
from shotsieve.bench.rounds import interleave, minima
from shotsieve.bench.stages import EngineStage
from shotsieve.sources.run import open_run

ROUNDS, TRAINS, SHOTS, CELLS = 5, 2, 352, 16
FILE_TRAINS, BLOCK_BYTES = 48, 256_000_000
LATENCIES = 15
MIN_OF_BUS, MIN_SHOTS, MAX_LATENCY_S, MIN_OF_READING, MAX_LOADING_S = 0.85, 10_000, 0.1, 0.95, 60
VARIANTS: dict[str, dict[str, Any]] = {
    "lit": stages.SECTIONS["lit"],
    "chain": {"measure": stages.CHAIN["measure"]},
    "chain, hits kept": stages.CHAIN,
}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, quick: bool) -> Case:
    folder = tmp_path_factory.mktemp("chain")
    return train_case(folder, 1, 3, 2, 2) if quick else train_case(folder, 16, SHOTS, CELLS, TRAINS)


def take(record: Callable, device: Backend, case: Case, seconds: float, **more: Any) -> dict[str, Any]:
    """Make a record of all trains of a case in some seconds."""
    shots = more.pop("shots", case.shots)
    n_bytes = case.raw.nbytes // case.shots * shots
    fields = {"read_fraction": None, "floor_fraction": None, "peer": None, "ratio_to_peer": None} | more
    made = records.make(
        "device_chain",
        backend=device.name,
        detector="AGIPD1M",
        shots_per_s=shots * case.whole / seconds,
        gb_per_s=n_bytes / seconds / 1e9,
        threads=device.threads,
        machine=machine.describe(device.detail),
        versions=machine.versions(*(["cupy"] if device.name == "cuda" else [])),
        **fields,
    )
    record(made)
    return made


@pytest.mark.parametrize("variant", VARIANTS)
def test_from_pinned_memory(
    variant: str, device: Backend, case: Case, record: Callable, target: Callable, quick: bool
) -> None:
    """Trains one after the other, each in lent memory; the bus is measured in the same rounds."""
    stage = EngineStage(case, device, VARIANTS[variant])
    stage.run()
    stage.check()
    copy, moved = copies(device, 1 << (20 if quick else 30))["to device"]
    least = minima(interleave({"run": stage.run, "bus": copy}, 1 if quick else ROUNDS))
    stage.check()
    rate = moved / least["bus"]
    details: dict[str, Any] = {"variant": variant, "trains": len(case.raw), "shots": case.raw.shape[1]}
    details |= {"to_device_gb_per_s": rate / 1e9, "kept_shots": stage.kept_shots()}
    if device.name == "cuda":
        import cupy

        events = Events(cupy, stage.engine.backend.device, case.raw[0].nbytes // 2)
        with events.watch():
            stage.run()
        details["overlap"] = overlap(events.spans)
    late = stage.latencies(2 if quick else LATENCIES)
    details["latency_ms"] = {f"p{p}": 1e3 * float(np.percentile(late, p)) for p in (50, 99)}
    stage.engine.close()
    made = take(
        record, device, case, least["run"], floor_fraction=case.raw.nbytes / rate / least["run"],
        notes="shotsieve.Engine, words in memory it lends; floor: words over the rate of the bus; latency: "
        "submit of one train to its table; overlap: by events on the device",
        details=details,
    )  # fmt: skip
    if quick:
        return
    what, share, shots = f"{variant} on cuda", made["floor_fraction"], made["shots_per_s"]
    if variant == "chain":
        target(share >= MIN_OF_BUS, f"{what}: {share:.2f} of the bus, wanted {MIN_OF_BUS}")
        target(shots > MIN_SHOTS, f"{what}: {shots:.0f} shots/s, wanted {MIN_SHOTS}")
        beside = details["overlap"]["work_beside_copies"]
        target(beside > 0.5, f"{what}: {beside:.2f} of the work beside copies, wanted half")
    worst = details["latency_ms"]["p99"]
    target(worst < 1e3 * MAX_LATENCY_S, f"{what}: {worst:.0f} ms from submit to table, wanted less than 100")


def test_from_files(device: Backend, tmp_path: Path, record: Callable, target: Callable, quick: bool) -> None:
    """A raw run in the page cache: counting it, against merely reading it into a pinned block."""
    case = train_case(tmp_path, 1, 2, 2, 1) if quick else train_case(tmp_path, 16, CELLS, CELLS, 1)
    trains = 2 if quick else FILE_TRAINS
    folder = write_files(tmp_path, case, trains)
    recipe = {
        "calibrate": {"gain_mode": "adaptive", "photon_energy": "9.3 keV"},
        "measure": stages.LIT,
    }
    source = open_run(folder)
    cuts = source.cuts(BLOCK_BYTES)
    shape = (len(source.modules), *case.raw.shape[3:])
    block = device.device.empty_pinned((max(stop - start for start, stop in cuts), *shape), "u2")

    def read() -> None:
        for start, stop in cuts:
            source.read(start, stop, block[: stop - start])

    results = []

    def run() -> None:
        results.append(
            shotsieve.reduce(
                folder, recipe, tmp_path / "out", constants=case.constants, backend=device.name,
                overwrite=True, block_bytes=BLOCK_BYTES, force=True,
            )
        )  # fmt: skip

    reading = min(interleave({"read": read, "run": run}, 1 if quick else 3)["read"])
    lit = results[-1].table.measures["lit_pixels"][:, list(case.modules)].sum(axis=1)
    np.testing.assert_array_equal(lit, np.tile(case.lit[0], trains))
    seconds = min(result.performance["run_s"] for result in results[1:])
    made = take(
        record, device, case, seconds, shots=len(lit), read_fraction=reading / seconds,
        notes="reduce, table only, files in the page cache, preparation left out; reading: the same files "
        "into a pinned block by the same threads",
        details={
            "variant": "from files",
            "read_gb_per_s": len(lit) * case.raw[0, 0].nbytes / reading / 1e9,
            "prepare_s": results[-1].performance["prepare_s"],
            "steps_s": results[-1].performance["steps_s"],
        },
    )  # fmt: skip
    if not quick:
        share = made["read_fraction"]
        target(share >= MIN_OF_READING, f"from files: {share:.2f} of reading, wanted {MIN_OF_READING}")


def test_full_constants(
    device: Backend, tmp_path: Path, record: Callable, target: Callable, quick: bool
) -> None:
    """Constants of all 352 cells: how long until they lie on the device, and one train with them."""
    size = (1, 3, 3) if quick else (16, SHOTS, SHOTS)
    case = train_case(tmp_path, *size, 1)
    began = time.perf_counter()
    stage = EngineStage(case, device, VARIANTS["chain"])
    loading = time.perf_counter() - began
    stage.run()
    stage.check()
    seconds = min(interleave({"run": stage.run}, 1 if quick else 3)["run"])
    stage.engine.close()
    take(
        record, device, case, seconds,
        notes="one train with constants of every cell; loading_s: folding and copying of constants in "
        "memory, and making room for trains",
        details={"variant": "full constants", "cells": len(case.constants.cell_ids), "loading_s": loading},
    )  # fmt: skip
    if not quick:
        target(loading <= MAX_LOADING_S, f"full constants: {loading:.0f} s to load, wanted {MAX_LOADING_S}")
