"""Pump-probe differences of plain arrays: modes of EXtra-foam, dark frames, delays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.errors import BadInput
from shotsieve.measure.pump_probe import DARK, NEITHER, OFF, ON, PumpProbe, PumpProbeParams


def foam_average(mode, on, off, trains, values, reference):
    """EXtra-foam's pump-probe processor, train by train: the last pumped and the last other average in turn.

    From its documentation (modes "reference as off", "same train", "even/odd train on"); moving averages
    over the whole run are then plain means.
    """
    ons, offs = [], []
    for train in np.unique(trains):
        here = values[trains == train]
        even = train % 2 == 0
        if mode == "reference_as_off":
            ons.append(here[on].mean(axis=0))
            offs.append(reference)
        elif mode == "same_train":
            ons.append(here[on].mean(axis=0))
            offs.append(here[off].mean(axis=0))
        elif even == (mode == "even_train_on"):
            ons.append(here[on].mean(axis=0))
        else:
            offs.append(here[off].mean(axis=0))
    return np.mean(ons, axis=0), np.mean(offs, axis=0)


@pytest.mark.parametrize("mode", ["same_train", "even_train_on", "odd_train_on", "reference_as_off"])
def test_modes_of_extra_foam(mode, rng):
    trains = np.repeat(np.arange(100, 120), 8).astype("u8")
    values = rng.random((len(trains), 5))
    reference = rng.random(5)
    params = PumpProbeParams(mode, "0::2", "1::2" if mode == "same_train" else "0:6")
    state = params.states(trains, None, None)
    sums = PumpProbe(5, 1, reference=reference if mode == "reference_as_off" else None)
    for one, value in zip(state, values, strict=True):
        sums.add(int(one), 0, value, np.ones(5))
    found = sums.result()
    off = np.s_[1::2] if mode == "same_train" else np.s_[0:6]
    want_on, want_off = foam_average(mode, np.s_[0::2], off, trains, values, reference)
    np.testing.assert_allclose(found.on[0], want_on, rtol=1e-12)
    np.testing.assert_allclose(found.off[0], want_off, rtol=1e-12)
    np.testing.assert_allclose(found.difference[0], want_on - want_off, rtol=1e-9)
    np.testing.assert_allclose(found.relative[0], (want_on - want_off) / want_off, rtol=1e-9)


def test_states_by_the_laser():
    trains = np.array([1, 1, 1, 1, 1], "u8")
    pump = np.array([0, 1, 2, 3, np.nan])
    params = PumpProbeParams()
    assert params.states(trains, pump, None).tolist() == [DARK, OFF, DARK, ON, NEITHER]
    assert PumpProbeParams(on="0:3").states(trains, pump, None).tolist() == [
        DARK,
        OFF,
        DARK,
        NEITHER,
        NEITHER,
    ]
    with pytest.raises(BadInput, match="does not tell"):
        params.states(trains, None, None)
    xray = np.array([0, 1, 1, 1, np.nan])
    same = PumpProbeParams("same_train", "0::2", "1::2").states(trains, None, xray)
    assert same.tolist() == [DARK, OFF, ON, OFF, ON]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_against_plain_averages(data):
    """Any order of kinds, monitors and dark frames: averages as NumPy has them, to rounding."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    estimator = data.draw(st.sampled_from(["ratio_of_sums", "mean_of_ratios"]))
    n, delays, shots = 3, 2, data.draw(st.integers(12, 40))
    state = rng.choice([ON, OFF, DARK, NEITHER], shots)
    state[:8] = [ON, OFF] * 4
    delay = rng.integers(-1, delays, shots)
    delay[:8] = [0, 0, 1, 1] * 2
    state[8:12] = DARK
    norm, monitor = rng.uniform(0.5, 2, (shots, n)), rng.uniform(0.5, 3, shots)
    signal = rng.uniform(1, 9, (shots, n)) * norm
    norm[5, 1] = 0
    sums = PumpProbe(n, delays, estimator, subtract_dark=True)
    for row in range(shots):
        sums.add(int(state[row]), int(delay[row]), signal[row], norm[row], float(monitor[row]))
    found = sums.result()
    dark = signal[state == DARK].sum(0) / norm[state == DARK].sum(0)
    for code, got in ((ON, found.on), (OFF, found.off)):
        for d in range(delays):
            for i in range(n):
                use = (state == code) & (delay == d) & (norm[:, i] > 0)
                y, x = signal[use, i] - dark[i] * norm[use, i], norm[use, i] * monitor[use]
                want = y.sum() / x.sum() if estimator == "ratio_of_sums" else np.mean(y / x)
                np.testing.assert_allclose(got[d, i], want, rtol=1e-9, atol=1e-9)
    assert not (found.difference_errors < 0).any()  # NaN with a single shot of a kind


def test_errors_are_those_of_repeated_experiments(rng):
    """The spread of many differences is what each says of itself."""
    pulls = []
    for _ in range(300):
        sums = PumpProbe(1, 1)
        for _ in range(40):
            monitor = rng.uniform(0.5, 1.5)
            for state, mean in ((ON, 12.0), (OFF, 10.0)):
                sums.add(state, 0, np.array([rng.poisson(mean * monitor * 5)]) / 5, np.ones(1), monitor)
        found = sums.result()
        pulls.append((found.difference[0, 0] - 2) / found.difference_errors[0, 0])
        pulls.append((found.relative[0, 0] - 0.2) / found.relative_errors[0, 0])
    assert 0.85 < np.std(pulls) < 1.2
    assert abs(np.mean(pulls)) < 0.3


def test_bins_of_the_delay():
    delay = np.array([0.1, 0.1, -2.0, 5.0, np.nan])
    values, where = PumpProbeParams().bin_of(delay, 5)
    assert values.tolist() == [-2.0, 0.1, 5.0]
    assert where.tolist() == [1, 1, 0, 2, -1]
    centres, where = PumpProbeParams(edges=(-1.0, 0.5, 5.0)).bin_of(delay, 5)
    assert centres.tolist() == [-0.25, 2.75]
    assert where.tolist() == [0, 0, -1, 1, -1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "lasers"}, "one of laser"),
        ({"mode": "same_train", "on": "0::2", "off": "0::3"}, "share shots"),
        ({"on": "-3:"}, "slice of places"),
        ({"on": "a"}, "slice of places"),
        ({"on": "0::0"}, "slice of places"),
        ({"edges": (1.0,)}, "at least two edges"),
        ({"edges": (1.0, 0.0)}, "ascending"),
    ],
)
def test_wrong_parameters(options, words):
    with pytest.raises(BadInput, match=words):
        PumpProbeParams(**options)
