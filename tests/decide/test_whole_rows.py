"""Rows of memory cells that are kept or dropped as one, against a slow definition."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shotsieve.cli import main
from shotsieve.decide import Rule
from shotsieve.errors import BadInput
from shotsieve.keep import PROBABILITY, Keeper, chosen, kept_misses
from shotsieve.sources.base import cut_ranges
from shotsieve.table import Table

ROW = 4


@st.composite
def runs(draw):
    """Trains of memory cells in any order, with what the rule sees of each shot."""
    trains = draw(st.lists(st.lists(st.integers(0, 19), min_size=1, max_size=20, unique=True), max_size=5))
    train = np.repeat(np.arange(len(trains)) + 10, [len(cells) for cells in trains])
    cell = np.array([cell for cells in trains for cell in cells], int)
    lit = np.array(draw(st.lists(st.integers(0, 9), min_size=len(cell), max_size=len(cell))), int)
    return train, cell, lit


def table_of(train, cell, lit):
    pulse = np.arange(len(train)) * 3
    table = Table(train, pulse, cell, modules=(0,), module_pixels=100, measures=["lit_pixels"])
    table.set_module_status(slice(None), np.zeros((len(train), 1), "u1"))
    table.set_measure("lit_pixels", slice(None), lit.reshape(-1, 1))
    return table


def row_keeper(**options):
    return Keeper(Rule.parse("lit_pixels > 8", ["lit_pixels"]), whole="row", row_cells=ROW, **options)


@given(runs(), st.sampled_from([0.0, 0.3]))
def test_rows_are_those_of_the_slow_definition(run, misses):
    train, cell, lit = run
    table, own = table_of(*run), row_keeper(misses=misses, seed=3)
    own.prepare(table)
    kept = own.decide(table, np.arange(len(table)))
    for shot in range(len(table)):
        row = [
            s for s in range(len(table)) if train[s] == train[shot] and cell[s] // ROW == cell[shot] // ROW
        ]
        hit = any(lit[s] > 8 for s in row)
        lucky = misses > 0 and bool(chosen(misses, 3, [train[shot]], [cell[shot] // ROW])[0])
        assert kept[shot] == (hit or lucky)
        if misses:
            assert table.columns[PROBABILITY][shot] == (1.0 if hit else misses)
            assert kept_misses(table)[shot] == (lucky and not hit)
        # The verdict stays that of the shot: its companions are told apart.
        assert table.verdict[shot] == (lit[shot] > 8)


@given(runs(), st.integers(1, 25))
def test_blocks_cut_no_row_and_decide_the_same(run, room):
    train, cell, _ = run
    cuts = cut_ranges(train, cell // ROW, shot_bytes=10, max_bytes=10 * room)
    assert [start for start, _ in cuts] == [0, *[stop for _, stop in cuts]][: len(cuts)]
    assert sum(stop - start for start, stop in cuts) == len(train)
    key = train * 100 + cell // ROW
    for start, stop in cuts:
        assert not set(key[start:stop]) & set(np.concatenate([key[:start], key[stop:]]))
        if stop - start > room:  # then nothing of it could be cut off
            assert len(set(train[start:stop])) == 1
            for at in range(start + 1, stop):
                assert set(key[start:at]) & set(key[at:stop])
    whole, parts = table_of(*run), table_of(*run)
    own = row_keeper(misses=0.2, seed=1)
    for table in (whole, parts):
        own.prepare(table)
    kept = own.decide(whole, np.arange(len(whole)))
    mine = [own.decide(parts, np.arange(start, stop)) for start, stop in cuts]
    assert np.array_equal(kept, np.concatenate([np.zeros(0, bool), *mine]))
    assert np.array_equal(whole.columns[PROBABILITY], parts.columns[PROBABILITY])


def test_cuts_of_usual_trains_are_multiples_of_a_row():
    cell = np.tile(np.arange(352), 2)
    cuts = cut_ranges(np.repeat([1, 2], 352), cell // 32, shot_bytes=1, max_bytes=100)
    assert cuts[:4] == [(0, 96), (96, 192), (192, 288), (288, 352)]
    assert cuts[4:] == [(start + 352, stop + 352) for start, stop in cuts[:4]]


@pytest.mark.parametrize(
    ("options", "text"), [({"whole": "cell"}, "whole = 'cell'"), ({"whole": "row"}, "rows of 0 memory cells")]
)
def test_wrong_values_are_refused(options, text):
    with pytest.raises(BadInput, match=text):
        Keeper(**options)


def write_table(folder, detector=None):
    folder.mkdir()
    table = table_of(np.repeat([7, 8], 40), np.tile(np.arange(40), 2), np.eye(80, dtype=int)[35] * 9)
    table.save(folder / "table.h5")
    if detector:
        (folder / "accounts.json").write_text(json.dumps({"detector": detector}))
    return folder / "table.h5"


def decide(capsys, *arguments):
    code = main(["decide", *map(str, arguments), "--json"])
    told = capsys.readouterr()
    return json.loads(told.out) if code == 0 else told.err


def test_the_command_line(tmp_path, capsys):
    path = write_table(tmp_path / "t")
    rule = ("--rule", "lit_pixels > 8")
    assert decide(capsys, path, *rule)["kept"] == 1
    assert decide(capsys, path, *rule, "--whole-rows", 32)["kept"] == 8
    assert decide(capsys, path, *rule, "--whole-trains")["kept"] == 40
    assert "give one" in decide(capsys, path, *rule, "--whole-rows", 32, "--whole-trains")
    assert "from 1" in decide(capsys, path, *rule, "--whole-rows", 0)


def test_the_command_line_takes_rows_from_a_recipe(tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[keep]\nrule = "lit_pixels > 8"\nwhole = "row"\n')
    alone, beside = write_table(tmp_path / "a"), write_table(tmp_path / "b", "AGIPD1M")
    assert "--whole-rows 32" in decide(capsys, alone, "--recipe", recipe)
    assert decide(capsys, alone, "--recipe", recipe, "--whole-rows", 8)["kept"] == 8
    assert decide(capsys, beside, "--recipe", recipe)["kept"] == 8
    recipe.write_text('[[detector]]\nname = "AGIPD1M"\n' + recipe.read_text())
    assert decide(capsys, alone, "--recipe", recipe)["kept"] == 8
    recipe.write_text(recipe.read_text().replace('"row"', '"train"'))
    assert decide(capsys, alone, "--recipe", recipe)["kept"] == 40
