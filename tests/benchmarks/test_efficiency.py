"""Rates of keeping, short form: one seed of 200 hits and 2,000 misses; the full form is a benchmark."""

from __future__ import annotations

import efficiency
import numpy as np
import pytest
import shotsieve
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.detector import DetectorModel
from shotsieve.simulate.memory import spi_source

# Of about 70 bright hits one may be lost: the full form, with some 700 a seed, asks for 99 %.
MIN_EFFICIENCY = 0.98
SHORT = efficiency.Plan(hits=200, misses=2000, cells=4)


@pytest.fixture(scope="module")
def run():
    return efficiency.run_seed(SHORT, seed=1)


@pytest.mark.parametrize("scaled", [False, True])
def test_bright_hits_are_kept_and_misses_are_not(run, scaled):
    found = efficiency.summary([run], scaled)
    assert found["misses_kept"] <= 0.01
    assert found["bright_hits"] >= 50
    assert found["efficiency"] >= MIN_EFFICIENCY
    faint = [(n, kept) for _, stop, n, kept, *_ in found["curve"] if stop is not None and stop <= 2]
    hits, kept = np.sum(faint, axis=0)
    assert hits >= 10
    assert kept < 0.5 * hits  # the rule decides by brightness: it does not keep everything


def test_scaling_by_the_pulse_energy_reaches_fainter_hits(run):
    plain, scaled = efficiency.judge(run, False), efficiency.judge(run, True)
    assert scaled.kept[run.hit].sum() > plain.kept[run.hit].sum()


def test_reduce_with_the_rule_keeps_what_its_replay_keeps(tmp_path):
    plan = efficiency.Plan(hits=20, misses=60, cells=4)
    parameters = plan.parameters(2)
    source, truth = spi_source(parameters, plan.shot_strengths(2))
    constants = constants_in_memory(parameters, DetectorModel(2, 4))
    counted = shotsieve.reduce(
        source, efficiency.RECIPE, tmp_path / "counted", constants=constants, backend="cpu"
    )
    replayed = efficiency.judge(efficiency.Run(2, counted.table, truth.hit, np.zeros(80), 0.0), scaled=True)
    recipe = {**efficiency.RECIPE, "keep": {"rule": replayed.rule}}
    ruled = shotsieve.reduce(source, recipe, tmp_path / "ruled", constants=constants, backend="cpu")
    np.testing.assert_array_equal(ruled.table.fate == 0, replayed.kept)
    assert 0 < replayed.kept.sum() < 80


def test_the_threshold_keeps_no_more_misses_than_it_may():
    rng = np.random.default_rng(1)
    for n in (100, 999, 20_000):
        for scores in (rng.poisson(1300, n).astype(float), rng.gamma(25, 4e-4, n)):
            threshold = efficiency.quantile_threshold(scores)
            assert (scores > threshold).mean() <= 0.01
            assert (scores > 0.9999 * threshold).mean() > 0.009 or n < 1000


def test_binomial_interval_holds_the_share():
    assert efficiency.binomial_interval(0, 0) == (0.0, 1.0)
    for kept, n in ((0, 10), (5, 10), (10, 10), (990, 1000)):
        low, high = efficiency.binomial_interval(kept, n)
        assert 0 <= low <= kept / n <= high <= 1
