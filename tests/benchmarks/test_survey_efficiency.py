"""Hits kept by the rule that a survey suggests, short form: one run of 96 shots."""

from __future__ import annotations

import pytest
import survey_efficiency

SHORT = survey_efficiency.Plan(parts=1, trains=12, hit_rate=0.12, sample=96)


@pytest.fixture(scope="module")
def part():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shotsieve.surveys.page.write_page", lambda *told: None)
        return survey_efficiency.run_part(SHORT, seed=1)


def test_hits_with_twenty_spots_are_kept(part):
    assert part.rule is not None
    assert part.judged >= 5
    assert part.judged_kept == part.judged
    assert part.misses > 80
    assert part.misses_kept <= 1
    made = survey_efficiency.make_record(SHORT, [part])
    assert made["details"]["ratio"] > 5
    assert "times smaller" in survey_efficiency.table_lines(made)[2]
