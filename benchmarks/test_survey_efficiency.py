"""Hits kept by the rule that a survey suggests, full form: 200 judged hits and more among 95 % misses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import survey_efficiency


def test_hits_are_kept_at_the_settings_that_are_suggested(
    record: Callable, quick: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """99.5 % of the hits with 20 interior spots are kept, and few misses are."""
    quickly = {"parts": 1, "trains": 8, "cells": 8, "hit_rate": 0.15, "sample": 64}
    plan = survey_efficiency.Plan(**quickly if quick else {})
    made = survey_efficiency.make_record(plan, survey_efficiency.run(plan))
    with capsys.disabled():
        print("\n" + "\n".join(survey_efficiency.table_lines(made)))
    record(made)
    told = made["details"]
    if not quick:
        assert told["judged"] >= survey_efficiency.MIN_JUDGED
        assert None not in told["rules"]
    assert told["judged_kept"] >= survey_efficiency.MIN_KEPT * told["judged"]
    assert told["misses_kept"] <= 0.01 * told["misses"]
    assert told["ratio"] > 5 or quick
