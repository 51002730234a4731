"""Rates of keeping, full form: five seeds of 2,000 hits and 20,000 misses. The tests have a short form."""

from __future__ import annotations

from collections.abc import Callable

import efficiency
import pytest


def test_bright_hits_are_kept(record: Callable, quick: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """99 % of hits of 5 sigma or more are kept, 1 % of the misses or less, by either rule in every seed."""
    plan = efficiency.Plan(hits=100, misses=220) if quick else efficiency.Plan()
    runs = efficiency.run_seeds(plan, [1, 2] if quick else [1, 2, 3, 4, 5])
    made = efficiency.make_record(plan, runs)
    with capsys.disabled():
        print("\n" + "\n".join(efficiency.table_lines(made)))
    for rule in ("lit", "lit_over_pulse_energy"):
        found = made["details"][rule]
        assert found["misses_kept"] <= efficiency.MISSES_KEPT
        assert all(seed["misses_kept"] <= efficiency.MISSES_KEPT for seed in found["seeds"])
        if not quick:
            assert found["efficiency"] >= efficiency.MIN_EFFICIENCY
            assert all(seed["efficiency"] >= efficiency.MIN_EFFICIENCY for seed in found["seeds"])
    record(made)
