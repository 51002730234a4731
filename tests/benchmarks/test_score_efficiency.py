"""Weak hits kept by each score, short form: four modules next to the beam; the full form is a benchmark."""

from __future__ import annotations

import pytest
import score_efficiency
from score_efficiency import MAX_LIT_KEPT, MIN_RATIO_KEPT, WEAK, Plan, kept_by

SHORT = Plan(hits=60, misses=220, strengths=(WEAK,), modules=(3, 4, 8, 15))


@pytest.fixture(scope="module")
def run():
    return score_efficiency.run(SHORT)


def test_the_likelihood_ratio_finds_what_lit_pixels_do_not(run):
    hits, kept = kept_by(run, "likelihood ratio")[WEAK]
    assert hits == 60
    assert kept >= MIN_RATIO_KEPT * hits
    hits, kept = kept_by(run, "lit pixels")[WEAK]
    assert kept < MAX_LIT_KEPT * hits
    for score in score_efficiency.SCORES:
        misses, kept = kept_by(run, score)[0.0]
        assert kept <= 0.01 * misses


def test_a_wrong_size_still_finds_most(run):
    for score in ("same, size -33 %", "same, size +50 %"):
        hits, kept = kept_by(run, score)[WEAK]
        assert kept >= 0.75 * hits
