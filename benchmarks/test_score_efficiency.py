"""Weak hits kept by each score, full form: the whole detector. The tests have a short form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import score_efficiency
from score_efficiency import MAX_LIT_KEPT, MIN_RATIO_KEPT, WEAK, Plan, kept_by


def test_weak_hits_are_kept(record: Callable, quick: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """90 % of hits of 200 photons by the likelihood ratio, where lit pixels keep less than 15 %."""
    plan = Plan(hits=20, misses=100, modules=(3, 4)) if quick else Plan()
    found = score_efficiency.run(plan)
    made = score_efficiency.make_record(found)
    with capsys.disabled():
        print("\n" + "\n".join(score_efficiency.table_lines(made)))
    if not quick:
        hits, kept = kept_by(found, "likelihood ratio")[WEAK]
        assert kept >= MIN_RATIO_KEPT * hits
        hits, kept = kept_by(found, "lit pixels")[WEAK]
        assert kept < MAX_LIT_KEPT * hits
    record(made)
