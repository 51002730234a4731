"""Columns that are scaled or calculated, and thresholds of each train, from plain tables."""

from __future__ import annotations

import numpy as np
import pytest
from shotsieve.derive import declare, fill, per_train, spread, trains_around
from shotsieve.errors import BadInput
from shotsieve.recipe import Recipe
from shotsieve.table import Table


def make_table(counts):
    train = np.repeat(100 + np.arange(len(counts)), counts)
    table = Table(train, np.arange(len(train)), np.zeros(len(train)), (0,), 64)
    table.set_module_status(slice(None), np.zeros((len(train), 1), "u1"))
    table.set_fate(slice(None), "dropped")
    return table


def derived(table, derive):
    sections = Recipe.from_dict({"derive": derive}).derive
    declare(table, sections, None)
    fill(table, sections)
    return sections


@pytest.mark.parametrize("least", [1, 6, 50])
def test_windows_around_trains(rng, least):
    """Every train once, with itself in its window, and as many known shots as asked, less two at most."""
    table = make_table(rng.integers(1, 9, 30))
    table.set_fate(4, "suspect")
    asked, known = table.fate <= 1, rng.random(len(table)) < 0.8
    seen = []
    for shots, inside in trains_around(table, asked, known, least):
        seen += shots.tolist()
        assert len(set(table.train_id[shots])) == 1
        assert known[inside].all()
        assert set(shots[known[shots]]) <= set(inside)
        assert (np.diff(inside) > 0).all()
        ends = inside.size and (inside[0] == np.flatnonzero(asked & known)[0])
        ends = ends or (inside.size and inside[-1] == np.flatnonzero(asked & known)[-1])
        assert len(inside) >= min(least, 1) - 3 if ends else len(inside) >= least - 3
    np.testing.assert_array_equal(seen, np.flatnonzero(asked))
    assert list(trains_around(table, np.zeros(len(table), bool), known, least)) == []


def test_a_drifting_background_has_a_drifting_threshold(rng):
    table = make_table([40] * 50)
    level = np.repeat(np.linspace(100, 400, 50), 40)
    table.add_column("score", rng.normal(level, 10))
    sections = derived(table, {"limit": {"kind": "adaptive", "of": "score", "k": 3.0, "around": 100}})
    limit = table.columns["limit"]
    np.testing.assert_allclose(limit, level + 30, atol=22)
    assert (np.diff(limit)[np.diff(table.train_id) == 0] == 0).all()
    trains = np.unique(table.train_id)
    found = per_train(table, "limit", sections["limit"], trains)
    np.testing.assert_array_equal(found["value"], limit[::40])
    np.testing.assert_allclose(found["mu"] + 3 * found["sig"], found["value"])


def test_a_scaled_column_is_free_of_the_pulse_energy(rng):
    table = make_table([50] * 20)
    energy = rng.uniform(500, 2000, len(table))
    table.add_column("score", 0.3 * energy)
    energy[3], energy[4], energy[5] = np.nan, 0.0, -2.0
    table.add_column("pulse_energy", energy)
    derived(table, {"free": {"kind": "scaled", "of": "score", "by": "pulse_energy"}})
    free = table.columns["free"]
    assert np.isnan(free[3:6]).all()
    rest = np.delete(free, [3, 4, 5]).reshape(-1)
    assert np.isfinite(rest).all()
    by_train = [np.ptp(free[table.train_id == t][6:]) for t in np.unique(table.train_id)]
    assert np.max(by_train) < 1e-9 * rest.max()
    np.testing.assert_allclose(rest, 0.3 * 1250, rtol=0.3)


def test_a_calculation_is_unknown_where_a_part_of_it_is(rng):
    table = make_table([3, 2])
    table.add_column("a", [1, 2, np.nan, 4, 5])
    table.add_column("b", [2, 0, 1, 1, 2])
    derived(table, {"x": {"kind": "value", "of": "a / b - max(a, 3)"}, "y": {"kind": "value", "of": "x * 2"}})
    np.testing.assert_array_equal(table.columns["x"], [-2.5, np.nan, np.nan, 0, -2.5])
    np.testing.assert_array_equal(table.columns["y"], [-5, np.nan, np.nan, 0, -5])


def test_widths_of_a_normal_distribution(rng):
    values = np.append(rng.normal(50, 4, 4000), np.full(1200, 500.0))
    for width in ("mad", "quartiles", "lower_quartile"):
        middle, factor, deviation = spread(values, width)
        assert 50 < middle < 53
        assert 3 < factor * deviation < 7.5
    assert np.isnan(spread(values[:19], "quartiles")).all()


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"kind": "scaled", "of": "a"}, "lacks by"),
        ({"kind": "scaled", "of": "a", "by": "pulse_enegy"}, "by: there is no column 'pulse_enegy'.*Did you"),
        ({"kind": "value", "of": "a > 3"}, "this is a comparison already"),
        ({"kind": "value", "of": "a) > 0 or (a"}, "expected a number made of columns, no comparison"),
        ({"kind": "value", "of": "a +"}, r"\[derive.x\] of: in the rule"),
        ({"kind": "value", "of": "c"}, "there is no column 'c'"),
        ({"kind": "value", "of": "a", "k": 2.0}, "does not take k"),
        ({"kind": "adaptive", "of": "a", "k": 1.0, "around": 0}, "around = 0: expected shots from 1"),
        ({"kind": "adaptive", "of": "a", "k": 1.0, "around": 9, "window": 2}, "no window beside it"),
        ({"kind": "adaptive", "of": "a", "k": 1.0, "around": 9, "per_cell": True}, "leave one out"),
        ({"kind": "adaptive", "of": "a", "k": 1.0, "width": "half"}, "mad, quartiles, lower_quartile"),
        ({"kind": "rank", "of": "a", "width": "quartiles"}, "does not take width"),
    ],
)
def test_wrong_sections_are_told(section, text):
    table = make_table([3])
    table.add_column("a", np.ones(3))
    with pytest.raises(BadInput, match=text):
        derived(table, {"x": section})


def test_sections_read_back(tmp_path):
    """The recipe with its defaults, as the output stores it, is the same recipe."""
    recipe = Recipe.from_dict(
        {
            "detector": [{"geometry": "a.geom"}],
            "calibrate": {"photon_energy": "9 keV"},
            "measure": {
                "lit": {"high_threshold": "2 photon"},
                "rings": {"number": 4, "high": 0.2},
                "score": {"a": {"map": "x.npy"}, "b": {"map": "f.h5:/w", "of": "values"}},
            },
            "derive": {"s": {"kind": "scaled", "of": "lit_pixels", "by": "pulse_energy"}},
        }
    )
    (tmp_path / "r.toml").write_text(recipe.dumps_toml())
    again = Recipe.load(tmp_path / "r.toml")
    assert again == recipe
    assert again.measure.scores["b"].of == "values"
    assert recipe.override({"measure.score.a.of": "values"}).measure.scores["a"].of == "values"
    with pytest.raises(BadInput, match=r"\[measure.score.a\] has no key 'maps'"):
        Recipe.from_dict({"measure": {"score": {"a": {"maps": "x.npy"}}}})
    with pytest.raises(BadInput, match=r"\[measure.rings\] needs to know where"):
        Recipe.from_dict({"calibrate": {}, "measure": {"rings": {}}})
    with pytest.raises(BadInput, match=r"\[measure.score\] sums calibrated pixels"):
        Recipe.from_dict({"measure": {"score": {"a": {"map": "x.npy"}}}})
