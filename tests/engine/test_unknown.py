"""Nothing is dropped for want of knowledge: what was taken away leaves shots undecided, and they are kept."""

import json

import numpy as np
import pytest
import shotsieve
from shotsieve.constants import Constants
from shotsieve.table import FATES, ModuleStatus, Table

NO_DARK_DATA = 1 << 3


@pytest.fixture
def reduce_to(places):
    """Reduce a simulated run into a new folder."""

    def reduce(sim, recipe, run=None, constants=None):
        given = sim.constants if constants is None else constants
        out = places / f"r{len(list(places.iterdir())):04d}"
        return shotsieve.reduce(run or sim.raw, recipe, out, constants=given, backend="cpu")

    return reduce


def check_undecided(result, expected):
    """Check that exactly the expected shots are undecided, and that the output says how many."""
    table, accounts = result.table, result.accounts
    kept = table.fate == FATES.index("kept")
    np.testing.assert_array_equal(table.verdict < 0, expected)
    number = int(expected.sum())
    assert number > 0
    assert accounts.undecided.kept == (expected & kept).sum()
    assert accounts.undecided.total == number
    share = number / (accounts.kept + accounts.dropped)
    told = json.loads((result.out / "shotsieve" / "accounts.json").read_text())
    assert told["undecided_share"] == share
    assert f"({100 * share:.1f} % of the shots measured)" in accounts.summary()
    assert Table.open(result.out) == table
    accounts.check()
    return kept


def test_without_xgm_no_hit_is_lost(simulated, reduce_to, make_recipe):
    sim = simulated("no_xgm")
    rule = "lit_pixels[3] > 1000 and pulse_energy > 0.5"
    result = reduce_to(sim, make_recipe(keep={"rule": rule}))
    # A miss is a miss whatever its energy; only of hits the energy would have to be known.
    kept = check_undecided(result, sim.truth.hit)
    np.testing.assert_array_equal(kept, sim.truth.hit)

    dropped = reduce_to(sim, make_recipe(keep={"rule": rule, "undecided": "drop"}))
    kept = check_undecided(dropped, sim.truth.hit)
    assert not kept.any()
    assert dropped.accounts.undecided.dropped == sim.truth.hit.sum()

    with_xgm = reduce_to(simulated("usual"), make_recipe(keep={"rule": rule}))
    assert with_xgm.accounts.undecided.total == 0
    np.testing.assert_array_equal(with_xgm.table.verdict == 1, simulated("usual").truth.hit)


def test_without_one_module_no_hit_is_lost(simulated, reduced, tmp_path, link_run, make_recipe):
    """The sum over the whole detector is not known without module 3, so that no miss can be told."""
    sim = simulated("whole")
    run = link_run(sim.raw, tmp_path / "r0001", leave_out="AGIPD03")
    recipe = make_recipe(keep={"rule": "lit_fraction > 0.01"})
    out = tmp_path / "red"
    result = shotsieve.reduce(run, recipe, out, constants=sim.constants, backend="cpu")
    table = result.table
    low, high = table.bounds("lit_fraction")
    whole_low, whole_high = reduced("whole").table.bounds("lit_fraction")
    assert (low <= whole_low).all()
    assert (whole_high <= high).all()
    kept = check_undecided(result, ~(low > 0.01))
    assert kept[sim.truth.hit].all()
    assert len(result.files) == 15
    assert result.accounts.modules == {"3": {"missing": 9, "no_constants": 0, "unreadable": 0}}


def test_a_rule_that_is_met_without_the_module_is_met(simulated, reduce_to, tmp_path, link_run, make_recipe):
    """A count with a module missing is a lower bound: what is enough already stays enough."""
    sim = simulated("usual")
    run = link_run(sim.raw, tmp_path / "r0001", leave_out="AGIPD04")
    rule = "lit_pixels[3] > 1000 or lit_pixels[4] > 1000"
    result = reduce_to(sim, make_recipe(keep={"rule": rule}), run)
    kept = check_undecided(result, ~sim.truth.hit)
    assert kept.all()
    np.testing.assert_array_equal(result.table.verdict == 1, sim.truth.hit)
    dropping = reduce_to(sim, make_recipe(keep={"rule": rule, "undecided": "drop"}), run)
    kept = check_undecided(dropping, ~sim.truth.hit)
    np.testing.assert_array_equal(kept, sim.truth.hit)


def without_cell(sim, cell):
    """Return the constants of a run with one memory cell taken out of the cell axis."""
    given = Constants.open(sim.constants)
    cells = given.cell_ids[given.cell_ids != cell]
    arrays = {n: {m: given.load(n, m, cells) for m in given.modules if given.has(n, m)} for n in given.names}
    return Constants.from_arrays(given.detector, arrays, cell_ids=cells, conditions=given.conditions)


@pytest.mark.parametrize("how", ["taken out", "not a number", "axis too short"])
def test_without_constants_of_a_cell_no_hit_is_lost(
    how, simulated, reduce_to, reduced, make_recipe, read_module
):
    """However the constants say that they know nothing of a cell: unknown, flagged, kept, counted."""
    name = {"axis too short": "cells_beyond_constants", "not a number": "cell_without_constants"}
    sim = simulated(name.get(how, "usual"))
    constants = without_cell(sim, 2) if how == "taken out" else None
    missing = sim.truth.cell_id >= 2 if how == "axis too short" else sim.truth.cell_id == 2
    result = reduce_to(sim, make_recipe(), constants=constants)
    kept = check_undecided(result, missing)
    np.testing.assert_array_equal(kept, missing | sim.truth.hit)
    accounts, number = result.accounts, int(missing.sum())
    assert accounts.no_dark_data.kept == number
    assert accounts.modules["3"] == {"missing": 0, "no_constants": number, "unreadable": 0}
    assert any(f"no constants for memory cell {'2, 3' if number == 6 else '2'}" in n for n in accounts.notes)
    assert "without constants" in accounts.summary()
    status = result.table.module_status[:, [3, 4]]
    assert (status[missing] == ModuleStatus.NO_CONSTANTS).all()
    assert (status[~missing] == ModuleStatus.OK).all()

    usual = read_module(reduced("usual"), 3)
    for module in (3, 4):
        written = read_module(result, module)
        of_cell = np.isin(written["image.cellId"], sim.truth.cell_id[missing])
        assert of_cell.sum() == number
        assert np.isnan(written["image.data"][of_cell]).all()
        assert (written["image.mask"][of_cell] == NO_DARK_DATA).all()
        assert (written["image.gain"][of_cell] == 0).all()
        np.testing.assert_array_equal(written["litpx.status"] == 2, missing)
        assert (written["litpx.litPixels"][missing] == 0).all()
        assert (written["litpx.unmaskedPixels"][missing] == 0).all()
    # All other frames are what they are with complete constants.
    rest = ~np.isin(written["image.cellId"], sim.truth.cell_id[missing])
    same = ~np.isin(usual["image.cellId"], sim.truth.cell_id[missing])
    if how == "taken out":
        written = read_module(result, 3)
        np.testing.assert_array_equal(written["image.data"][rest], usual["image.data"][same])
        np.testing.assert_array_equal(written["image.mask"][rest], usual["image.mask"][same])

    dropping = make_recipe(keep={"rule": "lit_pixels[3] > 1000", "undecided": "drop"})
    kept = check_undecided(reduce_to(sim, dropping, constants=constants), missing)
    np.testing.assert_array_equal(kept, ~missing & sim.truth.hit)


@pytest.mark.parametrize("lacking", ["offset", "thresholds", "adu_per_kev"])
def test_a_module_that_lacks_a_constant_is_unknown(lacking, simulated, reduce_to, make_recipe):
    sim = simulated("usual")
    given = Constants.open(sim.constants)
    arrays = {n: {m: given.load(n, m) for m in (3, 4)} for n in given.names}
    del arrays[lacking][3]
    constants = Constants.from_arrays(given.detector, arrays, conditions=given.conditions)
    result = reduce_to(sim, make_recipe(), constants=constants)
    kept = check_undecided(result, np.ones(12, bool))
    assert kept.all()
    assert result.accounts.modules["3"]["no_constants"] == 12
    other = reduce_to(sim, make_recipe(keep={"rule": "lit_pixels[4] > 1000"}), constants=constants)
    np.testing.assert_array_equal(other.table.verdict == 1, sim.truth.hit)


def test_a_train_that_a_module_missed_is_unknown_there(simulated, reduce_to, make_recipe):
    sim = simulated("missed_train")
    result = reduce_to(sim, make_recipe(keep={"rule": "lit_pixels[4] > 1000"}))
    kept = check_undecided(result, sim.train == 1)
    np.testing.assert_array_equal(kept, (sim.train == 1) | sim.truth.hit)
