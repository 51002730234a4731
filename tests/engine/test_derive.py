"""Decisions that need the whole table: thresholds that follow the run, top fractions, lists, unions."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.cli import main
from shotsieve.derive import fill, listed, rank, robust_threshold, windows
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.recipe import Recipe
from shotsieve.table import Table


@pytest.fixture
def reduce(simulated, make_recipe, tmp_path):
    def run(derive, rule, name="usual", out="r", **options):
        sim = simulated(name)
        recipe = make_recipe(derive=derive, keep={"rule": rule})
        return shotsieve.reduce(
            sim.raw, recipe, tmp_path / out, **{"constants": sim.constants, "backend": "cpu", **options}
        )

    return run


def expected_top(reduced, share):
    """The brightest shots by the plain recipe's own table."""
    table = reduced("usual").table
    lit = table.measures["lit_pixels"][:, 3].astype(float)
    higher = (lit[None, :] > lit[:, None]).sum(axis=1) / len(lit)
    return higher < share


def test_the_top_fraction(reduce, reduced, backend_name, read_module):
    result = reduce({"order": {"kind": "rank", "of": "lit_pixels[3]"}}, "order < 0.25", backend=backend_name)
    kept = result.table.fate == 0
    np.testing.assert_array_equal(kept, expected_top(reduced, 0.25))
    assert 0 < kept.sum() < len(kept)
    whole, shots = read_module(reduced("usual"), 3), np.flatnonzero(reduced("usual").table.fate == 0)
    mine, again = read_module(result, 3), np.flatnonzero(kept)
    both = np.intersect1d(shots, again)
    assert len(both)
    for key in ("image.data", "image.gain", "image.mask", "image.trainId", "image.pulseId"):
        np.testing.assert_array_equal(
            mine[key][np.searchsorted(again, both)], whole[key][np.searchsorted(shots, both)]
        )


def test_blocks_change_no_byte_and_a_check_agrees(reduce, simulated, digest):
    derive = {
        "level": {"kind": "adaptive", "of": "lit_pixels[3]", "k": 3.0, "window": 2},
        "order": {"kind": "rank", "of": "lit_pixels[3]", "per_cell": True},
    }
    rule = "lit_pixels[3] > level or order < 0.3"
    results = [reduce(derive, rule, out=str(n), block_bytes=n) for n in (1, 256_000_000)]
    assert digest(results[0].out) == digest(results[1].out)
    assert results[0].digest == results[1].digest
    report = check(results[0].out)
    sim = simulated("usual")
    check_against(report, sim.raw, constants=sim.constants, backend="cpu")
    assert report.ok, report.summary()
    with pytest.raises(BadInput, match="a sample cannot be checked"):
        check_against(report, sim.raw, constants=sim.constants, backend="cpu", sample=0.5)


def test_a_window_with_too_few_shots_leaves_them_undecided(reduce):
    result = reduce({"level": {"kind": "adaptive", "of": "lit_pixels[3]", "k": 3.0}}, "lit_pixels[3] > level")
    assert np.isnan(result.table.columns["level"]).all()  # 12 shots are no statistics
    assert (result.table.verdict == -1).all()
    assert result.accounts.kept == 12


def test_a_list_and_a_union(reduce, reduced, tmp_path):
    table = reduced("usual").table
    path = tmp_path / "wanted.txt"
    path.write_text(
        f"# wanted\n{table.train_id[0]} {table.pulse_id[1]}  # one shot\n{table.train_id[-1]}\n\n"
    )
    result = reduce({"wanted": {"kind": "list", "file": str(path)}}, "wanted == 1 or lit_pixels[3] > 1000")
    named = (np.arange(12) == 1) | (table.train_id == table.train_id[-1])
    np.testing.assert_array_equal(result.table.columns["wanted"], named)
    np.testing.assert_array_equal(result.table.fate == 0, named | (table.fate == 0))


def test_bad_sections(reduce, tmp_path):
    empty = tmp_path / "empty.txt"
    empty.write_text("1 2\n")
    odd = tmp_path / "odd.txt"
    odd.write_text("1500000000 4 7\n")
    for derive, text in (
        ({"order": {"kind": "rank"}}, "lacks of"),
        ({"order": {"kind": "rank", "of": "lit_pixels", "k": 2.0}}, "does not take k"),
        ({"order": {"kind": "rank", "of": "brightness"}}, "no column 'brightness'"),
        ({"order": {"kind": "rank", "of": "lit_pixels", "window": 0}}, "window = 0"),
        ({"pulse_energy": {"kind": "rank", "of": "lit_pixels"}}, "a column pulse_energy already"),
        ({"order": {"kind": "best", "of": "lit_pixels"}}, "adaptive, rank, scaled, value, list"),
        ({"order": {"kind": "list", "file": str(empty)}}, "none of the run's 12 shots"),
        ({"order": {"kind": "list", "file": str(odd)}}, "line 1"),
        ({"order": {"kind": "list", "file": "no/where.txt"}}, "cannot be read"),
        ({"order": 3}, "derive.NAME"),
    ):
        with pytest.raises(BadInput, match=text):
            reduce(derive, "order < 0.5")


def test_the_recipe_reads_back(tmp_path):
    given = {"derive": {"a": {"kind": "adaptive", "of": "n", "k": 2.0}}, "write": {"content": "raw"}}
    recipe = Recipe.from_dict(given)
    path = tmp_path / "r.toml"
    path.write_text(recipe.dumps_toml())
    assert Recipe.load(path) == recipe
    assert recipe.derive["a"].window is None


# ---------------------------------------------------------------------- the arithmetic


def make_table(rng, trains=50, cells=6):
    ids, cell = np.repeat(np.arange(1, trains + 1), cells), np.tile(np.arange(cells), trains)
    table = Table(ids, cell * 4, cell, modules=(0, 1), module_pixels=9)
    lit = rng.poisson(20 + 10 * cell[:, None], (len(ids), 2))
    status = rng.choice([0, 0, 0, 0, 1], lit.shape).astype("u1")
    table.set_module_status(slice(None), status)
    table.set_measure("lit_pixels", slice(None), np.where(status == 0, lit, 0))
    table.set_fate(slice(None), "dropped")
    table.set_fate(slice(3, 5), "suspect")
    return table


@pytest.mark.parametrize("window", [None, 7, 30, 200])
@pytest.mark.parametrize("per_cell", [False, True])
def test_against_a_plain_rendering(rng, window, per_cell):
    table = make_table(rng)
    sections = Recipe.from_dict(
        {
            "derive": {
                "level": {"kind": "adaptive", "of": "lit_pixels", "k": 2.5, "per_cell": per_cell}
                | ({"window": window} if window else {}),
                "order": {"kind": "rank", "of": "lit_pixels", "per_cell": per_cell}
                | ({"window": window} if window else {}),
            }
        }
    ).derive
    for name in sections:
        table.add_column(name, np.full(len(table), np.nan))
    fill(table, sections)
    known, rejected = (table.module_status == 0).all(axis=1), table.fate > 1
    value = table.measures["lit_pixels"].sum(axis=1)
    blocks = 1 if window is None else max(1, round(50 / window + 1e-9))
    for s in range(len(table)):
        block = 0 if window is None else min((int(table.train_id[s]) - 1) // window, blocks - 1)
        mine = [
            value[t]
            for t in range(len(table))
            if known[t]
            and not rejected[t]
            and (window is None or min((int(table.train_id[t]) - 1) // window, blocks - 1) == block)
            and (not per_cell or table.cell_id[t] == table.cell_id[s])
        ]
        level, order = table.columns["level"][s], table.columns["order"][s]
        if rejected[s] or len(mine) < 20:
            assert np.isnan(level)
        else:
            median = np.median(mine)
            assert level == median + 2.5 * 1.4826 * np.median(np.abs(np.array(mine) - median))
        if rejected[s] or not known[s]:
            assert np.isnan(order)
        else:
            assert order == sum(v > value[s] for v in mine) / len(mine)


def test_every_asked_shot_is_in_one_window(rng):
    table = make_table(rng)
    asked = table.fate <= 1
    found = np.concatenate(list(windows(table, asked, 7, per_cell=True)))
    np.testing.assert_array_equal(np.sort(found), np.flatnonzero(asked))
    assert list(windows(table, np.zeros(len(table), bool), 7, per_cell=True)) == []


def test_small_numbers(tmp_path):
    assert np.isnan(robust_threshold(np.ones(19), 3))
    assert robust_threshold(np.ones(20), 3) == 1
    assert len(rank(np.zeros(0))) == 0
    path = tmp_path / "list.txt"
    path.write_text("7,4\n")
    assert listed(Table([7, 7], [0, 4], [0, 1], (0,), 9), path).tolist() == [False, True]


# ---------------------------------------------------------------------- from a table


def test_a_table_instead_of_measuring(simulated, reduced, make_recipe, tmp_path, read_module):
    sim, before = simulated("usual"), reduced("usual")
    recipe = make_recipe(keep={"rule": "lit_pixels[3] > 1000 or cell_id == 1"})
    options = {"constants": sim.constants, "backend": "cpu"}
    whole = shotsieve.reduce(sim.raw, recipe, tmp_path / "whole", **options)
    again = shotsieve.reduce(sim.raw, recipe, tmp_path / "again", table=before.out, **options)
    np.testing.assert_array_equal(again.table.fate, whole.table.fate)
    assert again.accounts.bytes_in == whole.accounts.bytes_in * whole.accounts.kept // 12  # kept shots alone
    for module in (3, 4):
        mine, theirs = read_module(again, module), read_module(whole, module)
        assert mine.keys() == theirs.keys()
        for key in mine:
            np.testing.assert_array_equal(mine[key], theirs[key])
    assert any("nothing was measured" in note for note in again.accounts.notes)
    assert not any("other settings" in note for note in again.accounts.notes)
    report = check_against(check(again.out), sim.raw, constants=sim.constants, backend="cpu")
    assert report.ok, report.summary()


def test_a_table_of_other_settings_is_told(simulated, reduced, make_recipe, tmp_path):
    sim, before = simulated("usual"), reduced("usual")
    changed = make_recipe(calibrate={"offset": True, "photon_energy": "9.4 keV"})
    changed["measure"] = {"lit": {"threshold": "0.95 photon"}}

    def notes(table, name):
        made = shotsieve.reduce(
            sim.raw, changed, tmp_path / name, constants=sim.constants, backend="cpu", table=table
        )
        return [note for note in made.accounts.notes if "other settings" in note]

    for table in (before.out, before.out / "shotsieve" / "table.h5"):
        (note,) = notes(table, str(table.is_dir()))
        assert 'calibrate.photon_energy was not set, is "9.4 keV"' in note
        assert "mode.photon_energy_kev was 9.3, is 9.4" in note
        assert re.search(r'measure\.lit\.threshold was "0.\d+ photon", is "0.95 photon"', note)
    assert notes(before.table, "in memory") == []
    damaged = tmp_path / "t"
    damaged.mkdir()
    before.table.save(damaged / "table.h5")
    assert notes(damaged / "table.h5", "alone") == []
    (damaged / "settings.json").write_text("{")
    (note,) = notes(damaged / "table.h5", "damaged")
    assert "settings.json beside it cannot be understood" in note


def test_tables_that_do_not_fit(simulated, reduced, make_recipe, tmp_path):
    sim = simulated("usual")
    other = reduced("selected_cells").table
    with pytest.raises(BadInput, match="of another run"):
        shotsieve.reduce(sim.raw, make_recipe(), tmp_path / "r", constants=sim.constants, table=other)
    assert not (tmp_path / "r").exists()


def test_decide_by_a_recipe(reduced, tmp_path, capsys):
    """What `decide` says of a table is what reducing would do."""
    out = str(reduced("usual").out)
    path = tmp_path / "r.toml"
    path.write_text(
        '[derive.order]\nkind = "rank"\nof = "lit_pixels[3]"\n'
        '[keep]\nrule = "order < 0.25"\nundecided = "drop"\n'
    )
    assert main(["decide", out, "--recipe", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kept"] == expected_top(reduced, 0.25).sum()
    # A rule of its own may use the recipe's columns.
    assert main(["decide", out, "--recipe", str(path), "--rule", "order < 0.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == expected_top(reduced, 0.5).sum()
    assert main(["decide", out]) == 1
    assert "nothing to decide by" in capsys.readouterr().err
