"""A random share of the dropped shots in the pipeline."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import shotsieve
from shotsieve.errors import BadInput
from shotsieve.keep import kept_misses
from shotsieve.recipe import Recipe

KEEP = {"rule": "lit_pixels[3] > 1000", "misses": 0.5, "seed": 3}


@pytest.fixture
def reduce(simulated, make_recipe):
    def run(out, keep, **options):
        sim = simulated("usual")
        return shotsieve.reduce(sim.raw, make_recipe(keep=keep), out, constants=sim.constants, **options)

    return run


def test_misses_are_kept_told_apart_and_written(reduce, reduced, tmp_path, backend_name, read_module):
    result = reduce(tmp_path / "r", KEEP, backend=backend_name)
    table, before = result.table, reduced("usual").table
    np.testing.assert_array_equal(table.verdict, before.verdict)
    chance = kept_misses(table)
    np.testing.assert_array_equal(table.fate == 0, (before.fate == 0) | chance)
    assert 0 < chance.sum() < (before.fate != 0).sum()
    assert not chance[before.fate == 0].any()
    assert result.accounts.misses == chance.sum()
    assert f"{chance.sum()} misses kept at random" in result.accounts.summary()
    assert len(read_module(result, 3)["image.data"]) == (table.fate == 0).sum()
    again = shotsieve.Table.open(result.out)
    np.testing.assert_array_equal(again.columns["keep_probability"], np.where(before.fate == 0, 1, 0.5))


def test_blocks_change_no_byte(reduce, tmp_path, digest):
    results = [reduce(tmp_path / str(n), KEEP, block_bytes=n) for n in (1, 256_000_000)]
    assert digest(results[0].out) == digest(results[1].out)


def test_a_share_beyond_all(reduce, tmp_path):
    with pytest.raises(BadInput, match=r"\[keep\] misses = 2"):
        reduce(tmp_path / "r", {**KEEP, "misses": 2})


@pytest.fixture
def whole(simulated, make_recipe, tmp_path):
    """A run of two sequences, its recipe, and which shots are kept of it in one go."""
    sim, recipe = simulated("second_sequence"), make_recipe(keep=KEEP)
    result = shotsieve.reduce(sim.raw, recipe, tmp_path / "whole", constants=sim.constants, backend="cpu")
    return sim, recipe, kept_of(result.table)


def test_sequence_by_sequence(whole, link_run, tmp_path):
    sim, recipe, kept = whole
    found = []
    for part in ("S00000", "S00001"):
        raw = link_run(sim.raw, tmp_path / part / "r0001")
        for file in raw.glob(f"*AGIPD0*{part}*"):
            file.unlink()
        result = shotsieve.reduce(
            raw, recipe, tmp_path / f"out-{part}", constants=sim.constants, backend="cpu"
        )
        found += kept_of(result.table)
    assert len(found) == len(set(found))
    assert set(found) == kept


def test_files_in_reversed_order(whole, link_run, tmp_path):
    sim, recipe, kept = whole
    raw = link_run(sim.raw, tmp_path / "swapped" / "r0001")
    for first in sorted(raw.glob("*AGIPD0*S00000*")):
        second, aside = first.with_name(first.name.replace("S00000", "S00001")), first.with_suffix(".aside")
        first.rename(aside)
        second.rename(first)
        aside.rename(second)
    result = shotsieve.reduce(raw, recipe, tmp_path / "out", constants=sim.constants, backend="cpu")
    assert kept_of(result.table) == kept


def test_four_processes_and_parts(whole, tmp_path):
    sim, recipe, kept = whole
    parts = {**recipe, "write": {"content": "corrected", "trains_per_file": 1}}
    result = shotsieve.reduce(sim.raw, parts, tmp_path / "parts", constants=sim.constants, backend="cpu")
    assert kept_of(result.table) == kept
    path = tmp_path / "recipe.toml"
    path.write_text(Recipe.from_dict(recipe).dumps_toml())
    command = [sys.executable, "-m", "shotsieve", "reduce", str(sim.raw), "--recipe", str(path)]
    command += ["--constants", str(sim.constants), "--backend", "cpu"]
    middle = int(np.median(result.table.train_id))
    rules = [
        f"train_id {trains} {middle} and cell_id {cells} 1" for trains in ("<", ">=") for cells in ("<=", ">")
    ]
    running = [
        subprocess.Popen(
            [*command, "--set", f"select.rule={rule}", "-o", str(tmp_path / f"quarter-{number}")],
            stdout=subprocess.DEVNULL,
        )
        for number, rule in enumerate(rules)
    ]
    assert [process.wait() for process in running] == [0] * 4
    found = [kept_of(shotsieve.Table.open(tmp_path / f"quarter-{number}")) for number in range(4)]
    assert all(found)
    assert set().union(*found) == kept


def keys(table):
    return zip(table.train_id.tolist(), table.pulse_id.tolist(), strict=True)


def kept_of(table):
    return {key for key, fate in zip(keys(table), table.fate, strict=True) if fate == 0}
