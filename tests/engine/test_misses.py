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


def test_a_split_run_keeps_the_same_misses(simulated, make_recipe, link_run, tmp_path):
    """Sequence by sequence, or train by train in processes of their own: the same shots as in one go."""
    sim = simulated("second_sequence")
    options = {"constants": sim.constants, "backend": "cpu"}
    recipe = make_recipe(keep=KEEP)
    whole = shotsieve.reduce(sim.raw, recipe, tmp_path / "whole", **options)
    kept = kept_of(whole.table)
    found = []
    for part in ("S00000", "S00001"):
        raw = link_run(sim.raw, tmp_path / part / "r0001")
        for file in raw.glob(f"*AGIPD0*{part}*"):
            file.unlink()
        result = shotsieve.reduce(raw, recipe, tmp_path / f"out-{part}", **options)
        found += kept_of(result.table)
    assert len(found) == len(set(found))
    assert set(found) == kept
    path = tmp_path / "recipe.toml"
    path.write_text(Recipe.from_dict(recipe).dumps_toml())
    trains = np.unique(whole.table.train_id).tolist()
    command = [sys.executable, "-m", "shotsieve", "reduce", str(sim.raw), "--recipe", str(path)]
    command += ["--constants", str(sim.constants), "--backend", "cpu"]
    running = [
        subprocess.Popen(
            [*command, "--set", f"select.rule=train_id == {train}", "-o", str(tmp_path / f"train-{train}")],
            stdout=subprocess.DEVNULL,
        )
        for train in trains
    ]
    assert [process.wait() for process in running] == [0] * len(trains)
    tables = [shotsieve.Table.open(tmp_path / f"train-{train}") for train in trains]
    assert set().union(*map(kept_of, tables)) == kept


def keys(table):
    return zip(table.train_id.tolist(), table.pulse_id.tolist(), strict=True)


def kept_of(table):
    return {key for key, fate in zip(keys(table), table.fate, strict=True) if fate == 0}
