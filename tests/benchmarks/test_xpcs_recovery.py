"""Speckles of known contrast and relaxation are found again within their errors, in a few runs."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("xarray")
from xpcs_recovery_case import QUANTITIES, RATES, Size, bias, deviations, recover


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [recover(seed, Size(trains=10, frames=12, pixels=6000), folder) for seed in range(6)]


def test_what_is_found_is_true_within_its_errors(runs):
    off = deviations(runs)
    every = np.concatenate([off[rate][name] for rate in RATES for name in QUANTITIES])
    assert len(every) == 72
    # The errors are neither too small nor too large.
    assert (abs(every) > 3).mean() <= 0.05
    assert 0.6 < every.std() < 1.7


def test_more_photons_tell_more(runs):
    for name in ("contrast", "diagonal", "baseline"):
        errors = [np.mean([run[rate][name][1] for run in runs]) for rate in RATES]
        assert errors[0] > 3 * errors[1] > 6 * errors[2], name


@pytest.mark.parametrize("name", ["diagonal", "baseline"])
def test_diagonal_and_baseline_are_not_biased(runs, name):
    for rate in RATES:
        value, error = bias(runs, rate, name)
        assert abs(value) < 5 * error
