"""Asking a rule of a table of five million shots, without touching a frame."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import records
from shotsieve.bench.rounds import ROUNDS, interleave, minima
from shotsieve.cli_decide import replay
from shotsieve.table import Table

SHOTS, PULSES, MODULES = 5_000_000, 352, 16
RULE = "lit_pixels > 9000 * pulse_energy"
MOST_SECONDS = 2.0


def make_table(shots: int) -> Table:
    """A run of AGIPD-1M with lit pixels of every module, and pulse energies."""
    rng, at = np.random.default_rng(1), np.arange(shots)
    measures = ["lit_pixels"]
    table = Table(at // PULSES + 1, at % PULSES, at % PULSES, range(MODULES), 65536, measures)
    table.set_module_status(slice(None), np.zeros((shots, MODULES), "u1"))
    table.set_measure("lit_pixels", slice(None), rng.integers(0, 1000, (shots, MODULES)))
    table.add_column("pulse_energy", rng.random(shots))
    return table


def test_a_rule_is_asked_again(tmp_path: Path, record: Callable, target: Callable, quick: bool) -> None:
    """The whole command as a process of its own, on a file in the page cache; and the replay in memory."""
    shots = 20_000 if quick else SHOTS
    table = make_table(shots)
    path = tmp_path / "table.h5"
    table.save(path)
    words = [
        sys.executable,
        "-m",
        "shotsieve",
        "decide",
        str(path),
        "--rule",
        RULE,
        "--misses",
        "0.01",
        "--json",
    ]
    said: list[str] = []

    def command() -> None:
        said.append(subprocess.run(words, check=True, capture_output=True, text=True).stdout)

    functions = {"command": command, "replay": lambda: replay(table, RULE, misses=0.01)}
    seconds = interleave(functions, 2 if quick else ROUNDS)
    least = minima(seconds)["command"]
    changed = replay(table, RULE, misses=0.01)
    lit = table.measures["lit_pixels"].sum(axis=1)
    hits = lit > 9000 * table.columns["pulse_energy"]
    assert json.loads(said[-1])["kept"] == changed["kept"]
    assert changed["kept"] == hits.sum() + changed["misses"]
    assert abs(changed["misses"] - 0.01 * (~hits).sum()) < 6 * np.sqrt(0.01 * (~hits).sum()) + 1
    record(
        records.alone(
            "decide",
            detector="AGIPD1M",
            shots_per_s=shots / least,
            notes="the command as a process, file in the page cache, least of the rounds; no frame is read",
            details={
                "shots": shots,
                "rule": RULE,
                "seconds": least,
                "replay_s": minima(seconds)["replay"],
                "rounds": len(seconds["command"]),
            },
        )
    )
    if not quick:
        target(least < MOST_SECONDS, f"decide on {shots} shots: {least:.2f} s, wanted {MOST_SECONDS} s")
