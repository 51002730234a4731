"""Hits and blanks kept by their number of peaks, full form: at least 1,000 hits and 20,000 blanks of each
background. The tests have a short form.
"""

from __future__ import annotations

from collections.abc import Callable

import peak_efficiency
import pytest
from peak_scores import no_worse


def test_hits_are_kept_and_blanks_are_not(
    record: Callable, quick: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """99.5 % of the judged hits, 0.05 % of the blanks or less, and spots found as well as by OM."""
    plan = (
        peak_efficiency.Plan(hits=20, blanks=40, om_blanks=20, parts=2, modules=(3, 10))
        if quick
        else peak_efficiency.Plan()
    )
    made = peak_efficiency.make_record(plan, peak_efficiency.run(plan))
    with capsys.disabled():
        print("\n" + "\n".join(peak_efficiency.table_lines(made)))
    record(made)
    cases = [case for case in made["details"]["cases"] if case["judged"]]
    assert {(case["setting"], case["background"]) for case in cases} == set(peak_efficiency.JUDGED)
    for case in cases:
        check_shots(case, quick)
        if "om" in case:
            check_scores(case)


def check_shots(case: dict, quick: bool) -> None:
    """Compare a case with what is asked of hits and blanks."""
    what = f"setting {case['setting']}, {case['background']} photons/px"
    for reading, (hits, kept, *_) in case["hits"].items():
        if not quick:
            assert hits >= peak_efficiency.MIN_JUDGED, f"{what} ({reading}): {hits} hits to judge"
        allowed = (1 - peak_efficiency.MIN_HITS_KEPT) * hits
        assert hits - kept <= allowed, f"{what} ({reading}): {kept} of {hits} hits kept"
    blanks, kept, *_ = case["blanks"]
    if not quick:
        assert blanks >= peak_efficiency.MIN_BLANKS
    assert kept <= peak_efficiency.MAX_BLANKS_KEPT * blanks, f"{what}: {kept} of {blanks} blanks kept"


def check_scores(case: dict) -> None:
    """Compare recall and precision with OM's on the same frames."""
    what = f"setting {case['setting']}, {case['background']} photons/px"
    for low, _, ours, others in case["om"]["only_ours_only_om"]:
        assert no_worse(ours, others), f"{what}, from {low} photons: only ours {ours}, only OM {others}"
    for ours, others in zip(case["scores"]["precision"], case["om"]["scores"]["precision"], strict=True):
        false, others_false = (row[2] - row[3] for row in (ours, others))
        assert no_worse(others_false, false), (
            f"{what}, peaks from {ours[0]} photons: {false} of {ours[2]} not real, of OM {others_false} of "
            f"{others[2]}"
        )
