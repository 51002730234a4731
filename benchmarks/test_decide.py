"""Asking a rule of a table of five million shots, without touching a frame."""

from __future__ import annotations

from collections.abc import Callable

import machine
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


def test_a_rule_is_asked_again(record: Callable, target: Callable, quick: bool) -> None:
    """In memory: verdicts and fates of all shots, with misses kept at random."""
    shots = 20_000 if quick else SHOTS
    table = make_table(shots)
    seconds = interleave({"decide": lambda: replay(table, RULE, misses=0.01)}, 2 if quick else ROUNDS)
    least = minima(seconds)["decide"]
    changed = replay(table, RULE, misses=0.01)
    lit = table.measures["lit_pixels"].sum(axis=1)
    hits = lit > 9000 * table.columns["pulse_energy"]
    assert changed["kept"] == hits.sum() + changed["misses"]
    assert abs(changed["misses"] - 0.01 * (~hits).sum()) < 6 * np.sqrt(0.01 * (~hits).sum()) + 1
    record(
        records.make(
            "decide",
            backend="cpu",
            detector="AGIPD1M",
            shots_per_s=shots / least,
            gb_per_s=0.0,
            read_fraction=None,
            floor_fraction=None,
            peer=None,
            ratio_to_peer=None,
            threads=1,
            versions=machine.versions(),
            notes="table in memory, least of the rounds; no frame is read",
            details={"shots": shots, "rule": RULE, "seconds": least, "rounds": len(seconds["decide"])},
        )
    )
    if not quick:
        target(least < MOST_SECONDS, f"decide on {shots} shots: {least:.2f} s, wanted {MOST_SECONDS} s")
