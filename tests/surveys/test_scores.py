"""Surveys of scores: weighted sums, rings, a second threshold, limits that follow the run."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import shotsieve
from shotsieve.errors import BadInput
from shotsieve.surveys.grid import PERMISSIVE, RECIPE
from shotsieve.surveys.rule_number import is_most
from shotsieve.surveys.suggest import suggest_rule

from .conftest import BACKEND, MODULE, look, recipe_of

SCORE = f"score_ratio[{MODULE}]"
FORMS = {"write.compression": ["gzip"], "write.rounding_relative": [0.01]}


@pytest.fixture
def scored(score_recipe):
    return copy.deepcopy(score_recipe)


@pytest.fixture(scope="module")
def score_recipe(simulated, tmp_path_factory):
    """A recipe with a likelihood ratio, rings and two thresholds, and nothing of peaks."""
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("map") / "ratio.npy"
    signal = rng.gamma(0.5, 0.1, (16, 512, 128))
    np.save(path, shotsieve.likelihood_map(signal, np.full(signal.shape, 0.1)))
    measure = {
        "lit": {"threshold": "0.7 photon", "high_threshold": "1.5 photon"},
        "rings": {"number": 3},
        "score": {"ratio": {"map": str(path)}},
    }
    return recipe_of(simulated, measure=measure, keep={"rule": f"{SCORE} > 0"})


def table_of(simulated, run, recipe, out):
    given = {key: copy.deepcopy(value) for key, value in recipe.items() if key != "write"}
    return shotsieve.reduce(run, given, out, constants=simulated.constants, backend=BACKEND).table


def test_scores_are_those_of_reductions(simulated, run, scored, tmp_path):
    found = look(run, scored, tmp_path / "s.html", simulated.constants, shots=None, scan=FORMS)
    table = table_of(simulated, run, scored, tmp_path / "red")
    np.testing.assert_array_equal(found.of(RECIPE).verdict, table.verdict)
    score = table.bounds(SCORE)[0]
    limits = [one for one in found.outcomes if one.setting.key == "keep.rule"]
    assert [one.setting.value for one in limits][:2] == ["-50", "-20"]
    for one in limits:
        np.testing.assert_array_equal(one.hit, score > float(one.setting.value))
    assert {one.setting.key for one in found.outcomes} == {RECIPE, PERMISSIVE, "keep.rule"}
    assert found.of(PERMISSIVE).hit.sum() == (score > -50).sum()
    assert found.prediction.bytes_out > 0
    rings = {**scored, "keep": {"rule": f"photons_ring_1[{MODULE}] + photons_ring_2[{MODULE}] > 500"}}
    del rings["measure"]["score"]
    found = look(run, rings, tmp_path / "r.html", simulated.constants, shots=9, scan=FORMS)
    assert found.grid.compared == f"photons_ring_1[{MODULE}] + photons_ring_2[{MODULE}]"
    assert len([one for one in found.outcomes if one.setting.key == "keep.rule"]) > 9


def test_two_thresholds_are_varied_and_stay_in_order(simulated, run, scored, tmp_path):
    recipe = {**scored, "keep": {"rule": f"lit_pixels_high[{MODULE}] > 200 and lit_pixels > 900"}}
    found = look(run, recipe, tmp_path / "s.html", simulated.constants, shots=None, scan=FORMS)
    low, high = (
        [one.setting.value for one in found.outcomes if one.setting.key == f"measure.lit.{name}"]
        for name in ("threshold", "high_threshold")
    )
    assert low[-1] == "1.4 photon"  # and not further: the second threshold is 1.5
    assert high[0] == "0.75 photon"
    recipe["measure"]["lit"] |= {"high_threshold": "2.25 photon"}
    table = table_of(simulated, run, recipe, tmp_path / "red")
    np.testing.assert_array_equal(
        found.of("measure.lit.high_threshold", "2.25 photon").verdict, table.verdict
    )
    with pytest.raises(BadInput, match=r"high_threshold.* is not above threshold"):
        look(
            run, scored, tmp_path / "n.html", simulated.constants, scan=["measure.lit.high_threshold=0.5 keV"]
        )


def test_limits_that_follow_the_run_are_varied(simulated, run, scored, tmp_path):
    level = {"kind": "adaptive", "of": SCORE, "k": 3.0, "width": "lower_quartile"}
    recipe = {**scored, "derive": {"level": level}, "keep": {"rule": f"{SCORE} > level"}}
    found = look(run, recipe, tmp_path / "s.html", simulated.constants, shots=None, scan=FORMS)
    varied = [one.setting.value for one in found.outcomes if one.setting.key == "derive.level.k"]
    assert varied == ["1", "2", "2.5", "3", "3.5", "4", "5"]
    assert found.of(PERMISSIVE).hit.sum() == found.of("derive.level.k", 1.0).hit.sum()
    recipe["derive"] = {"level": {**level, "k": 5.0}}
    table = table_of(simulated, run, recipe, tmp_path / "red")
    np.testing.assert_array_equal(found.of("derive.level.k", 5.0).verdict, table.verdict)
    with pytest.raises(BadInput, match=r"--scan derive\.other\.k: the recipe has no \[derive\.other\]"):
        look(run, recipe, tmp_path / "n.html", simulated.constants, scan=["derive.other.k=4"])


def test_a_score_that_stands_out_gets_a_limit():
    class Told:
        compared, columns, number, strict = SCORE, {"score_ratio"}, 0, True
        recipe = shotsieve.Recipe.from_dict({"calibrate": {}, "keep": {"rule": f"{SCORE} > 0"}})

    rng = np.random.default_rng(1)
    scores = np.concatenate([rng.normal(-30.5, 4, 900), rng.normal(60, 20, 60)])
    found, _ = suggest_rule(Told, scores)
    assert -12 < found.number < -8
    assert "lies" not in found.reason
    assert f"{SCORE} is -30" in found.reason
    assert suggest_rule(Told, np.zeros(0)) == (None, f"no limit is suggested: {SCORE} is known of no shot")


def test_which_side_a_limit_is_on():
    assert not is_most("score_a > level", "level")
    assert not is_most("level < score_a", "level")
    assert is_most("score_a < level and n_peaks > 3", "level")
