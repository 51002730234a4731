"""What a reduction lost, told from the misses that it kept at random."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from shotsieve.surveys.misses import Reduction, false_negatives

from .conftest import BACKEND, MODULE, look, recipe_of

STRICT, JUDGE = 12, 6
NAME = f"n_peaks[{MODULE}]"


@pytest.fixture(scope="module")
def reduced(simulated, run, tmp_path_factory):
    """By a rule that is too strict, with half of the misses."""
    recipe = recipe_of(simulated, keep={"rule": f"{NAME} >= {STRICT}", "misses": 0.5, "seed": 3})
    out = tmp_path_factory.mktemp("red") / "r0001"
    return shotsieve.reduce(run, recipe, out, simulated.constants, BACKEND)


@pytest.fixture(scope="module")
def really_lost(reduced):
    """Share of the shots that the looser rule calls hits which the strict one does not keep."""
    peaks = reduced.table.measures["n_peaks"].sum(axis=1)
    hits = peaks >= JUDGE
    assert hits.sum() > 15
    return float((hits & (peaks < STRICT)).sum() / hits.sum())


SCAN = {
    "measure.peaks.threshold": ["4 photon"],
    "measure.peaks.min_snr": [5.0],
    "measure.peaks.min_pix_count": [1],
    "measure.peaks.max_pix_count": [200],
    "keep.rule": [JUDGE, STRICT],
    "write.compression": ["none"],
}


def test_the_reduced_run_tells_what_it_lost(simulated, reduced, really_lost, tmp_path):
    recipe = recipe_of(
        simulated, calibrate={"photon_energy": "9.3 keV"}, keep={"rule": f"{NAME} >= {STRICT}"}
    )
    recipe["detector"][0]["data"] = "corrected"
    found = look(reduced.out, recipe, tmp_path / "s.html", shots=None, scan=SCAN)
    assert len(found.sample.rows) == reduced.accounts.kept
    at = [one.setting.key for one in found.outcomes].index("keep.rule")
    lost = found.false_negatives[at]
    assert found.outcomes[at].setting.value == str(JUDGE)
    assert lost.holds(really_lost)
    assert lost.high - lost.low < 0.8
    assert lost.value == pytest.approx(really_lost, abs=0.25)
    # By its own rule it lost nothing.
    own = found.false_negatives[at + 1]
    assert (own.count, own.value, own.low) == (0, 0, 0)


def test_so_does_the_raw_run_with_its_table(simulated, run, reduced, really_lost, tmp_path):
    recipe = recipe_of(simulated, keep={"rule": f"{NAME} >= {STRICT}"})
    found = look(
        run, recipe, tmp_path / "s.html", simulated.constants, shots=None, scan=SCAN, misses=reduced.out
    )
    at = [one.setting.key for one in found.outcomes].index("keep.rule")
    assert found.false_negatives[at].holds(really_lost)
    np.testing.assert_array_equal(
        found.sample.rows, np.flatnonzero(reduced.table.fate == 0)
    )  # those that were kept, and no others


def test_the_arithmetic():
    """Eighty dropped shots, a quarter of them kept: two of twenty are hits, so about eight of eighty."""
    nothing = np.zeros(0, bool)
    reduction = Reduction(nothing, nothing, by_rule=10, refused=80)
    hit = np.array([True] * 10 + [True] * 2 + [False] * 18)
    probability = np.array([1.0] * 10 + [0.25] * 20)
    lost = false_negatives(hit, probability, reduction)
    assert (lost.count, lost.of) == (8.0, 18.0)
    assert 0 < lost.low < lost.value < lost.high < 1
    unknown = false_negatives(hit[:10], probability[:10], reduction)
    assert (unknown.low, unknown.high) == (0.0, 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_its_interval_holds_the_truth(seed):
    """As often as promised, drawn many times; the ends are wider than they had to be."""
    rng = np.random.default_rng(seed)
    nothing, held = np.zeros(0, bool), []
    for _ in range(60):
        hits_kept, hits_lost, misses = 60, 12, 1500
        kept = rng.random(hits_lost + misses) < 0.1
        hit = np.concatenate([np.ones(hits_kept, bool), (np.arange(hits_lost + misses) < hits_lost)[kept]])
        probability = np.concatenate([np.ones(hits_kept), np.full(int(kept.sum()), 0.1)])
        reduction = Reduction(nothing, nothing, hits_kept, hits_lost + misses)
        held.append(false_negatives(hit, probability, reduction).holds(hits_lost / (hits_kept + hits_lost)))
    assert np.mean(held) >= 0.95
