"""A reduction in parts, killed at each of its calls in turn and at random times, and resumed each time.

The suite has the short form, tests/faults. Takes about twenty minutes.
"""

from __future__ import annotations

import dataclasses
import importlib
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import records
from shotsieve.simulate import SpiParameters, simulate_spi

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
faults = importlib.import_module("faults.server")

TIMES = 100
RECIPES = {"one pass": faults.RECIPE, "two passes": faults.LATE}
COLUMNS = ["calls", "killed_at_a_call", "killed_at_a_time", "done_before_the_kill", "resumed_equal"]


def small_run() -> SpiParameters:
    """Return what is simulated: two parts of a train each."""
    return dataclasses.replace(faults.SIMULATED, n_trains=2)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """Start a server for a recipe."""
    shim = faults.build_shim(tmp_path_factory.mktemp("shim"))
    if shim is None:
        pytest.skip("needs a C compiler and Linux")
    sim = simulate_spi(tmp_path_factory.mktemp("simulated"), small_run())
    return lambda text: faults.Server(shim, tmp_path_factory.mktemp("served"), sim, text)


@pytest.mark.parametrize("name", RECIPES)
def test_every_call_in_turn(name: str, serve: Callable, record: Callable, quick: bool) -> None:
    """Nothing partial under the final name, and resumed the bytes of an undisturbed run, after every kill."""
    began, rng = time.perf_counter(), np.random.default_rng(1)
    server = serve(RECIPES[name].replace("trains_per_file = 2", "trains_per_file = 1"))
    expected, calls = server.undisturbed()
    counts = dict.fromkeys(COLUMNS[1:], 0)
    longest = server("again")["seconds"] * 1e6
    shutil.rmtree(server.folder / "again")

    def kill(mode: str, at: int) -> None:
        status = server("out", mode, at)["status"]
        assert status in (-signal.SIGKILL, 0), (mode, at)
        key = f"killed_at_a_{'call' if mode == 'kill' else 'time'}"
        counts[key if status else "done_before_the_kill"] += 1
        server.nothing_partial("out", expected)
        server.resumed("out", expected)
        counts["resumed_equal"] += 1

    for point in range(1, calls + 1, 100 if quick else 1):
        kill("kill", point)
    while counts["killed_at_a_time"] < (2 if quick else TIMES):
        # Microseconds from the first call that changes the folder.
        kill("time", int(rng.integers(0, longest)))
    server.close()
    shots = 2 * counts["resumed_equal"] * small_run().n_trains * small_run().n_cells
    rate = shots / (time.perf_counter() - began)
    record(
        records.make(
            "kill_everywhere",
            backend="cpu",
            detector="AGIPD1M",
            shots_per_s=rate,
            gb_per_s=rate * 2 * 2 * 2 * 65536 / 1e9,
            read_fraction=None,
            floor_fraction=None,
            peer=None,
            ratio_to_peer=None,
            threads=2,
            notes="not a rate but a proof: after every kill nothing partial stood under the final name, and "
            "the resumed output had the bytes of an undisturbed one",
            details={"variant": name, "calls": calls, **counts},
        )
    )
