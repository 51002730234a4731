"""Lit memory cells from the frames alone: the pattern that the simulation had, or an error."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from shotsieve.errors import BadInput
from shotsieve.measure.lit_cells import cells_text, find_lit_cells
from shotsieve.select import parse_cells
from shotsieve.simulate import SpiParameters, simulate_spi


def counts(rng, lit, trains=30, dark=20.0, bright=80.0, hits=0.1):
    """Lit pixels of every cell: noise in dark cells, background in lit ones, and a few hits."""
    cells = len(lit)
    level = np.where(lit, bright, dark) * rng.uniform(0.9, 1.1, cells)
    pixels = rng.poisson(np.tile(level, (trains, 1))).astype("f8")
    pixels += (rng.random(pixels.shape) < hits) * lit * rng.uniform(100, 1e4, pixels.shape)
    return np.repeat(np.arange(trains), cells), np.tile(np.arange(cells), trains), pixels.ravel()


@pytest.mark.parametrize("cells", [8, 64, 352])
def test_the_right_cells(cells, rng):
    lit = rng.random(cells) < 0.5
    lit[:2] = False, True
    found = find_lit_cells(*counts(rng, lit))
    np.testing.assert_array_equal(found.lit, lit)
    assert found.of(np.array([0, 1, cells])).tolist()[:2] == [0.0, 1.0]
    assert np.isnan(found.of(np.array([cells]))[0])


def test_all_alike_is_an_error(rng):
    for level in (np.ones(64, bool), np.zeros(64, bool)):
        with pytest.raises(BadInput, match="all may be lit or all dark"):
            find_lit_cells(*counts(rng, level, hits=0))


def test_a_pattern_that_changes_is_an_error(rng):
    first, second = np.arange(64) % 2 == 1, np.arange(64) % 4 == 1
    a, b = counts(rng, first, 20), counts(rng, second, 10)
    together = [
        np.concatenate([x, y + (20 if k == 0 else 0)]) for k, (x, y) in enumerate(zip(a, b, strict=True))
    ]
    with pytest.raises(BadInput, match=r"changes within the run: in trains 20 to 29 cells 3:64:4"):
        find_lit_cells(*together)


def test_cells_as_text_are_what_a_selection_reads(rng):
    for _ in range(50):
        cells = np.flatnonzero(rng.random(40) < rng.random())
        if len(cells):
            read = np.concatenate([np.arange(*part) for part in parse_cells(cells_text(cells))])
            assert sorted(read) == cells.tolist()


@pytest.fixture(scope="module")
def without_machine(tmp_path_factory):
    options = {"n_trains": 6, "n_cells": 8, "modules": (3, 4), "background": 0.05, "hit_rate": 0.2,
               "dark_cells": (2, 5), "xgm": False, "time_server": False, "truth_stage": False}  # fmt: skip
    usual = simulate_spi(tmp_path_factory.mktemp("usual"), SpiParameters(**options))
    changing = SpiParameters(**options, later_from=4, later_dark_cells=(3, 6), seed=2)
    return usual, simulate_spi(tmp_path_factory.mktemp("changing"), changing)


def test_a_run_without_machine_data(without_machine, tmp_path):
    run = without_machine[0]
    recipe = {
        "annotate": {"pattern": "images"},
        "select": {"frames": "lit"},
        "calibrate": {"photon_energy": "9.3 keV"},
        "keep": {"rule": "xray == 1"},
    }
    result = shotsieve.reduce(run.raw, recipe, tmp_path / "r", constants=run.constants, backend="cpu")
    lit = run.truth.n_pulses > 0
    np.testing.assert_array_equal(result.table.columns["xray"] == 1, lit)
    np.testing.assert_array_equal(result.table.fate == 0, lit)
    assert result.accounts.not_read == (~lit).sum()
    note = "lit memory cells, found from the frames of 6 trains: 1, 3:5, 6:8 (5 of 8)"
    assert note in result.accounts.notes
    assert np.isnan(result.table.columns["n_pulses"]).all()


def test_what_the_frames_cannot_say(without_machine, tmp_path):
    usual, changing = without_machine
    recipe = {"annotate": {"pattern": "images"}, "calibrate": {"photon_energy": "9.3 keV"}}
    with pytest.raises(BadInput, match="changes within the run"):
        shotsieve.reduce(changing.raw, recipe, tmp_path / "c", constants=changing.constants, backend="cpu")
    with pytest.raises(BadInput, match=r"add a \[calibrate\] section"):
        shotsieve.reduce(usual.raw, {"annotate": {"pattern": "images"}}, tmp_path / "n", backend="cpu")
    assert not (tmp_path / "c").exists()
