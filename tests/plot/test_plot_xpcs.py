"""Fits and pictures of correlations over time."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import shotsieve
import xarray
from shotsieve.errors import BadInput
from shotsieve.xpcs_fit import _weighting, stretched

RATES = np.array([2e4, 8e4])  # 1/s
STEP = 1e-6


@pytest.fixture
def found():
    """Two bins of twelve trains, with noise, as `shotsieve.open_xpcs` gives them; the last is left out."""
    rng, lag = np.random.default_rng(7), np.arange(40)
    true = np.stack([stretched(lag * STEP, 1.0, 0.3, rate, 1.3) for rate in RATES])
    g2 = true + rng.normal(0, 0.002, (12, 2, 40))
    g2[-1] += 1.0
    data = {
        "g2": (("bin", "lag"), g2[:-1].mean(axis=0)),
        "g2_errors": (("bin", "lag"), g2[:-1].std(axis=0, ddof=1) / np.sqrt(11)),
        "g2_of_train": (("train", "bin", "lag"), g2),
        "flags": (("train", "bin"), np.array([[0, 0]] * 11 + [[64, 64]], "u1")),
        "intensity": (("train", "bin"), np.ones((12, 2))),
        "two_time": (("bin", "time_1", "time_2"), true[:, abs(lag[:, None] - lag)]),
    }
    coords = {"lag": lag, "seconds": ("lag", lag * STEP), "time_1": lag * STEP, "time_2": lag * STEP}
    coords |= {
        name: ("bin", np.array([low, low + 0.01])) for name, low in (("q_low", 0.01), ("q_high", 0.02))
    }
    coords["q"] = ("bin", np.array([0.015, 0.025]))
    told = {
        "xpcs.of": "photons",
        "xpcs.weights": "intensity",
        "xpcs.unit": "q_A^-1",
        "xpcs.seconds_per_frame": STEP,
    }
    yield xarray.Dataset(data, coords, told)
    plt.close("all")


def test_a_fit_finds_what_was_put_in(found):
    fits = shotsieve.fit_g2(found)
    for name, true in (("contrast", 0.3), ("rate", RATES), ("stretch", 1.3)):
        assert (abs(fits[name] - true) < 4 * fits[f"{name}_error"]).all(), name
        assert (fits[f"{name}_error"] < 0.05 * np.max(true)).all()
    assert fits["fitted"].all()
    assert (fits["baseline_error"] == 0).all()
    free = shotsieve.fit_g2(found, baseline=None, stretch=1.3)
    assert (abs(free["baseline"] - 1) < 0.01).all()
    assert (free["stretch"] == 1.3).all()


def test_errors_of_few_trains_hold_the_noise_of_the_weights(found):
    """Eight trains tell badly how far a lag scatters; errors say what the weights made of it add."""
    rng, true = np.random.default_rng(3), found["two_time"].values[:, 0, :16]
    few = found.isel(lag=slice(16), train=slice(8), bin=[1, 1]).copy(deep=True)
    off = []
    for _ in range(20):
        g2 = true[1] + rng.normal(0, 0.01, (8, 2, 16))
        few["g2_of_train"][:] = g2
        few["g2"][:], few["g2_errors"][:] = g2.mean(axis=0), g2.std(axis=0, ddof=1) / np.sqrt(8)
        fits = shotsieve.fit_g2(few, stretch=1.3)
        for name, value in (("contrast", 0.3), ("rate", RATES[1])):
            off.extend(((fits[name] - value) / fits[f"{name}_error"]).values)
    # Student's t with 7 degrees of freedom: 1.18.
    assert 0.8 < np.std(off) < 1.3
    assert np.mean(np.abs(off) > 3) <= 0.05


def test_weights_are_of_neighbouring_lags_and_of_lag_0_by_itself():
    lag, sigma = np.arange(6.0), np.array([9.0, 1, 2, 3, 2, 1])
    found = _weighting(sigma, lag, np.ones(6)) ** 2
    np.testing.assert_allclose(found, [81, 14 / 3, 18 / 4, 19 / 5, 18 / 4, 14 / 3])
    later = _weighting(sigma, lag + 1, np.ones(6)) ** 2
    assert later[1] == pytest.approx((81 + 1 + 4 + 9) / 4)
    for unknown in (np.full(6, np.nan), np.zeros(6)):
        np.testing.assert_array_equal(_weighting(unknown, lag, lag), lag)


def test_lags_without_a_time_and_bins_without_values(found):
    found["seconds"][:] = np.nan
    found["g2"][0] = np.nan
    fits = shotsieve.fit_g2(found)
    assert fits["fitted"].values.tolist() == [False, True]
    assert np.isnan(fits["rate"][0])
    assert fits["rate"][1] == pytest.approx(RATES[1] * STEP, rel=0.05)
    found.attrs["xpcs.of"] = "keV"  # noise on lag 0
    found["g2"][:, 0] = 50.0
    assert shotsieve.fit_g2(found)["contrast"][1] == pytest.approx(0.3, rel=0.1)
    assert shotsieve.plot.g2(found).get_xlabel() == "lag (frames)"


def test_what_is_drawn(found):
    ax = shotsieve.plot.g2(found)
    assert ax.get_xlabel() == "lag (us)"
    points, line = ax.containers[0].lines[0], next(one for one in ax.lines if len(one.get_xdata()) == 200)
    np.testing.assert_allclose(points.get_xdata(), np.arange(1, 40))
    np.testing.assert_allclose(points.get_ydata(), found["g2"][0, 1:])
    np.testing.assert_allclose(
        line.get_ydata(), stretched(line.get_xdata() * 1e-6, 1.0, 0.3, RATES[0], 1.3), atol=0.005
    )
    image = shotsieve.plot.two_time(found, 1).images[0]
    np.testing.assert_array_equal(image.get_array(), found["two_time"][1])
    ax = shotsieve.plot.decay_rates(found, stretch=1.3)
    np.testing.assert_allclose(ax.containers[0].lines[0].get_ydata(), RATES, rtol=0.05)
    assert ax.get_ylabel() == "decay rate (1/s)"


def test_what_is_not_there_is_refused(found):
    with pytest.raises(BadInput, match="bin 2: expected 0 to 1"):
        shotsieve.plot.g2(found, [2])
    with pytest.raises(BadInput, match="two_time = true"):
        shotsieve.plot.two_time(found.drop_vars("two_time"))
