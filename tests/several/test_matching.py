"""Columns of another detector, and what it keeps, against sums over every shot one by one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.engine.matching import Match, MatchKeeper, declare_joined, joined_names
from shotsieve.errors import BadInput
from shotsieve.keep import PROBABILITY, Keeper
from shotsieve.recipe import Recipe
from shotsieve.table import FATES, ModuleStatus, Table

RULE = {"keep": {"rule": "b_lit_pixels[2] > 1 or b_lit_fraction[4] > 1 or b_intensity > 0"}}


def job(name, table, rule=None):
    """As much of a job as is looked at."""
    source = SimpleNamespace(detector=detectors.load(name), name=name, shots=table)
    return SimpleNamespace(source=source, table=table, recipe=Recipe.from_dict(rule or {}), keeper=Keeper())


def random_table(rng, pulses, modules=(2, 4)):
    """Shots of some of 8 trains, with modules that are missing and shots that were rejected."""
    trains = np.sort(rng.choice(np.arange(100, 108), 6, replace=False))
    keys = [(t, p) for t in trains for p in sorted(rng.choice(pulses, rng.integers(1, 5), replace=False))]
    train, pulse = np.array(keys).T
    table = Table(train, pulse, pulse, modules, 100, ["lit_pixels", "unmasked_pixels", "intensity"])
    shape = (len(table), len(modules))
    table.set_module_status(slice(None), rng.choice(4, shape, p=[0.85, 0.05, 0.05, 0.05]))
    table.set_measure("unmasked_pixels", slice(None), rng.integers(0, 100, shape))
    lit = rng.integers(0, 100, shape) % (table.measures["unmasked_pixels"] + 1)
    table.set_measure("lit_pixels", slice(None), lit)
    table.set_measure("intensity", slice(None), rng.integers(-500, 500, shape) / 128)
    table.add_column("roi_a_mean", np.where(rng.random(len(table)) < 0.1, np.nan, rng.random(len(table))))
    table.fate[:] = rng.choice(len(FATES), len(table), p=[0.4, 0.4, 0.05, 0.05, 0.05, 0.05])
    table.module_status[table.fate > 1] = 4
    return table


def names_of(table, rule=RULE):
    return joined_names("b", table, Recipe.from_dict(rule))


@pytest.fixture
def pair(rng):
    def make(lead, other):
        one, two = random_table(rng, 6), random_table(rng, 6)
        declare_joined(one, "b", two, Recipe.from_dict(RULE))
        match = Match(job(lead, one, RULE), job(other, two), "b")
        match.fill()
        return one, two, match

    return make


def test_which_columns_there_are(rng):
    table = random_table(rng, 6)
    plain = ["n_modules", "lit_pixels", "unmasked_pixels", "intensity", "lit_fraction", "roi_a_mean"]
    single = ["lit_pixels[2]", "lit_fraction[4]"]
    assert names_of(table) == {f"b_{name}": name for name in [*plain, *single]}


def test_by_train_and_pulse(pair):
    one, two, match = pair("AGIPD1M", "AGIPD1M")
    assert match.by_pulse
    for mine, theirs in names_of(two).items():
        low, high = one.bounds(mine)
        its = two.bounds(theirs)
        for shot, key in enumerate(zip(one.train_id, one.pulse_id, strict=True)):
            at = np.flatnonzero((two.train_id == key[0]) & (two.pulse_id == key[1]) & (two.fate <= 1))
            expected = (its[0][at[0]], its[1][at[0]]) if len(at) else (-np.inf, np.inf)
            assert (low[shot], high[shot]) == expected, mine


@pytest.mark.parametrize(
    "names", [("AGIPD1M", "JUNGFRAU"), ("JUNGFRAU", "AGIPD1M"), ("JUNGFRAU", "JUNGFRAU")]
)
def test_by_train(pair, names):
    one, two, match = pair(*names)
    assert not match.by_pulse
    ok = two.ok()
    for mine, theirs in names_of(two).items():
        low, high = one.bounds(mine)
        its = two.bounds(theirs)
        for shot, train in enumerate(one.train_id):
            at = np.flatnonzero((two.train_id == train) & (two.fate != FATES.index("duplicate")))
            expected = (-np.inf, np.inf)
            if len(at) and theirs.startswith("lit_fraction"):
                picked = [1] if "[4]" in theirs else [0, 1]
                good = ok[at][:, picked]
                lit, all_ = (
                    two.measures[name][at][:, picked][good].sum()
                    for name in ("lit_pixels", "unmasked_pixels")
                )
                more = 100 * (~good).sum()
                if all_ > 0:
                    expected = (lit / (all_ + more), (lit + more) / (all_ + more))
            elif len(at) and theirs.partition("[")[0] in two.measures:
                expected = (its[0][at].sum(), its[1][at].sum())
            elif len(at):
                expected = (its[0][at].min(), its[1][at].max())
            assert (low[shot], high[shot]) == expected, mine


@pytest.mark.parametrize("names", [("AGIPD1M", "AGIPD1M"), ("AGIPD1M", "JUNGFRAU"), ("JUNGFRAU", "AGIPD1M")])
def test_what_is_kept_with_the_leading_one(pair, names, rng):
    one, two, match = pair(*names)
    one.verdict[:] = np.where(one.fate == 0, rng.choice([-1, 0, 1], len(one)), rng.choice([-1, 0], len(one)))
    one.add_column(PROBABILITY, np.where((one.fate == 0) & (one.verdict != 0), 1.0, 0.25))
    two.fate[two.fate <= 1] = 0
    rows = np.flatnonzero(two.fate == 0)
    keeper = MatchKeeper(match=match)
    keeper.prepare(two)
    keep = keeper.decide(two, rows)
    order = {0: 0, -1: 1, 1: 2}
    for row, kept in zip(rows, keep, strict=True):
        mine = (one.train_id == two.train_id[row]) & (one.fate <= 1)
        if match.by_pulse:
            mine &= one.pulse_id == two.pulse_id[row]
        states = set(two.module_status[row].tolist())
        lost = ModuleStatus.UNREADABLE in states and not states & {ModuleStatus.OK, ModuleStatus.NO_CONSTANTS}
        assert kept == ((one.fate[mine] == 0).any() and not lost)
        assert FATES[two.fate[row]] == ("unreadable" if lost else "kept" if kept else "dropped")
        assert two.verdict[row] == max(one.verdict[mine].tolist(), key=order.get, default=0)
        chance = 1 - np.prod(1 - one.columns[PROBABILITY][mine])
        np.testing.assert_allclose(two.columns[PROBABILITY][row], chance, atol=1e-12)


def test_names_that_are_taken(rng):
    one, two = random_table(rng, 6), random_table(rng, 6)
    one.add_column("b_intensity", np.zeros(len(one)))
    with pytest.raises(BadInput, match="b_intensity is a column already"):
        declare_joined(one, "b", two, Recipe())


def test_the_table_keeps_them(pair, tmp_path):
    one, _, _ = pair("AGIPD1M", "JUNGFRAU")
    one.save(tmp_path / "table.h5")
    again = Table.open(tmp_path / "table.h5")
    assert again == one
    assert again.meanings == one.meanings
    part = again.part([2, 0])
    for ends, whole in zip(part.bounds("b_intensity"), one.bounds("b_intensity"), strict=True):
        assert ends.tolist() == whole[[2, 0]].tolist()
    again.joined["b_intensity"][0][0] = -12345
    assert again != one
    frame = pytest.importorskip("pandas") and one.to_dataframe()
    low, high = one.bounds("b_lit_pixels")
    assert frame["b_lit_pixels"].isna().tolist() == (low != high).tolist()
    xarray = pytest.importorskip("xarray") and one.to_xarray()
    np.testing.assert_array_equal(xarray["b_lit_pixels"], np.where(low == high, low, np.nan))
