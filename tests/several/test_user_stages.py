"""Stages of a user's own in a reduction of several detectors: each has its own, by label."""

from __future__ import annotations

import json

import numpy as np
import pytest
from shotsieve import UserStage
from shotsieve.check import check
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.table import Table

from .conftest import LIT, bytes_of, changed, kept_trains


def lit(frames):
    return {"bright": (np.asarray(getattr(frames, "get", lambda: frames)()) > 40).sum(axis=(1, 2, 3))}


def peak(frames):
    return {"peak": np.nanmax(getattr(frames, "get", lambda: frames)(), axis=(1, 2, 3))}


STAGES = {
    "": [UserStage("mine", peak, {"peak": "largest pixel"})],
    "jf": [UserStage("mine", lit, {"bright": "pixels above 40 keV"})],
}
KEEP = {"rule": "jf_bright > 1000 and peak > 0"}


def test_the_rule_sees_columns_of_all(run, places):
    recipe = changed(keep=KEEP, write={"content": "corrected", "trains_per_file": 1})
    result = run.reduce(places / "out", recipe, stages=STAGES, backend="cpu")
    jf = result.others["jf"]
    assert jf.table.columns["bright"].tolist() == [0, 2 * LIT, 0, 0, 0, 0]
    # A shot sees those of the same train, which are between these.
    low, high = result.table.bounds("jf_bright")
    assert low.tolist() == [0] * 8 + [-np.inf] * 4
    assert high.tolist() == [2 * LIT] * 4 + [0] * 4 + [np.inf] * 4
    assert result.table.verdict.tolist() == [-1] * 4 + [0] * 4 + [-1] * 4
    assert kept_trains(jf.table) == [run.trains[0]]
    assert not np.isnan(result.table.columns["peak"]).any()
    assert result.table.describe()["jf_bright"].meaning == "of jf: pixels above 40 keV"
    assert Table.open(result.out) == result.table
    for side, columns in (("", "peak"), ("jf", "bright")):
        told = json.loads((result.out / "shotsieve" / side / "settings.json").read_text())
        assert (told["stages"], told["stage.mine"]) == ("mine", columns)
    for given, number in ((STAGES, 0), ({"jf": STAGES["jf"]}, 1), ((), 2)):
        report = check_against(
            check(result.out), run.raw, constants=run.constants, backend="cpu", stages=given
        )
        assert report.ok, report.summary()
        assert len([note for note in report.notes if "not made again" in note]) == number


def test_stages_alone_are_of_the_leading_one(run, places):
    result = run.reduce(places / "out", stages=STAGES[""])
    assert "peak" in result.table.columns
    assert "bright" not in result.others["jf"].table.columns
    with pytest.raises(BadInput, match=r"stages for 'xx': the recipe has no detector with that label"):
        run.reduce(places / "not", stages={"xx": STAGES["jf"]})
    taken = [UserStage("mine", peak, {"jf_lit_pixels": ""})]
    with pytest.raises(BadInput, match="stage mine: the table has a column 'jf_lit_pixels' already"):
        run.reduce(places / "not", stages=taken)


def test_interrupted_and_resumed(run, places, interrupt_after):
    recipe = changed(keep=KEEP, write={"content": "corrected", "trains_per_file": 1})
    undisturbed = run.reduce(places / "undisturbed", recipe, stages=STAGES)
    with interrupt_after("reduce", 0):
        run.reduce(places / "out", recipe, stages=STAGES)
    other = STAGES | {"jf": [UserStage("other", lit, {"bright": ""})]}
    with pytest.raises(
        BadInput, match=r"with .*jf: stage mine \(bright\), and .*jf: stage other \(bright\)\."
    ):
        run.reduce(places / "out", recipe, stages=other, resume=True)
    result = run.reduce(places / "out", recipe, stages=STAGES, resume=True)
    assert bytes_of(result.out) == bytes_of(undisturbed.out)
