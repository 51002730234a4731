"""Trains whose frames come one by one: the same as all at once, also after a pause."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from shotsieve.measure.correlation_lags import averaged
from shotsieve.measure.running_mean import RunningMean
from shotsieve.measure.train_correlator import (
    METHODS,
    NOT_VALID,
    TrainCorrelator,
    TrainOptions,
    shot_measures,
)

LABELS = np.repeat([0, 1, 2], [300, 299, 1])
BINS = shotsieve.CorrelationBins.of(LABELS)
TRAINS, LENGTH = 5, 6


@pytest.fixture
def photons(rng):
    frames = rng.poisson(0.7, (TRAINS, LENGTH, 600)).astype("u1")
    frames[:, 2, 300:] = 0  # a frame without counts in two bins
    return frames


def new(**options):
    use = np.arange(TRAINS) != 1
    flags = np.where(use, 16, 16 | 64).astype("u1")
    return TrainCorrelator(BINS, TrainOptions(LENGTH, **options), use, flags, "cpu")


def feed(one, frames, shots):
    for shot in shots:
        train, place = divmod(shot, LENGTH)
        one.add(train, place, frames[train, place])


@pytest.mark.parametrize("options", [{}, {"each_pair": True}, {"counts": False, "weights": "equal"}])
def test_a_pause_anywhere_changes_nothing(photons, rng, options):
    frames = photons.astype("f4") if "counts" in options else photons
    lost = rng.random(frames.shape) < 0.02
    frames[lost] = np.nan if "counts" in options else NOT_VALID
    whole = new(strides=(1, 2), **options)
    feed(whole, frames, range(TRAINS * LENGTH))
    expected = whole.snapshot()
    for stop in (0, 3, 14, 24):
        first, second = new(strides=(1, 2), **options), new(strides=(1, 2), **options)
        feed(first, frames, range(stop))
        second.restore({name: values.copy() for name, values in first.snapshot().items()})
        feed(second, frames, range(stop, TRAINS * LENGTH))
        found = second.snapshot()
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)
    assert whole.correlated == TRAINS
    assert np.isfinite(whole.baselines[1, 3:, 0]).all()


def test_what_is_missing_is_flagged(photons):
    one = new(strides=())
    feed(one, photons, [shot for shot in range(TRAINS * LENGTH) if shot != 2 * LENGTH + 4])
    alone = shotsieve.two_time(photons[0], BINS, backend="cpu").g2()
    np.testing.assert_array_equal(one.g2[0], alone.per_train[0])
    assert one.flags[0].tolist() == alone.flags[0].tolist()
    assert one.flags[0, 0] == 0
    assert (one.flags[0, 1:] & 4 == 4).all()
    assert one.flags[0, 2] & 2
    assert one.flags[1, 0] == 64
    assert one.flags[2].tolist() == [16] * 3
    assert np.isnan(one.g2[2]).all()
    # A bin of one pixel is correlated with nothing but itself: it is in no average.
    assert one.average.number[:, 1].tolist() == [3, 3, 0]
    weights = one.intensity * [[1], [0], [0], [1], [1]]
    mean, error = averaged(one.g2[:, :2], weights[:, :2])
    found = one.average.result()
    np.testing.assert_allclose(found[0][:2], mean, rtol=1e-13)
    np.testing.assert_allclose(found[1][:2], error, rtol=1e-9)


def test_a_train_without_a_valid_pixel(photons):
    one = new()
    photons[3] = NOT_VALID
    feed(one, photons, range(TRAINS * LENGTH))
    assert one.flags[3].tolist() == [1] * 3
    assert one.pixels[:, 0].tolist() == [300, 300, 300, 0, 300]


def test_a_growing_mean_is_that_of_all_at_once(rng):
    values, weights = 1 + 1e-3 * rng.normal(size=(50, 2, 3)), rng.uniform(1e4, 1e6, (50, 2))
    values[7] = np.nan
    weights[9] = 0
    mean = RunningMean((2, 3))
    for x, w in zip(values, weights, strict=True):
        mean.add(x, w)
    for found, wanted in zip(mean.result(), averaged(values, weights), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-11)
    assert (mean.number == 48).all()


def test_contrast_of_single_shots_is_not_biased():
    """Twelve photons a shot, where a division by the squared sum would be a twelfth off."""
    photons = np.random.default_rng(3).poisson(0.2, (40000, 60)).astype("u1")
    fill, contrast = shot_measures(photons, shotsieve.CorrelationBins.of(np.zeros(60, int)))
    error = np.nanstd(contrast) / np.sqrt(40000)
    assert abs(np.nanmean(contrast)) < 4 * error < 0.03
    assert fill.mean() == pytest.approx(1 - np.exp(-0.2), rel=0.01)


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("long", [False, True])
def test_every_lag_one_by_one_with_two_time_correlations_or_without(rng, monkeypatch, long, lost):
    """The same bits; long trains of few photons are correlated without the sums of every pair of frames."""
    monkeypatch.setattr("shotsieve.measure.event_lags.LONG", LENGTH if long else 512)
    frames = rng.poisson(0.05, (TRAINS, LENGTH, 600)).astype("u1")
    if lost:
        frames[:, 1, 40:60] = NOT_VALID
    one, other = new(two_time=False, strides=()), new(strides=())
    for made in (one, other):
        feed(made, frames, range(TRAINS * LENGTH))
    np.testing.assert_array_equal(one.options.lag_frames, np.arange(LENGTH))
    for name in ("g2", "intensity", "pixels", "flags"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    np.testing.assert_array_equal(one.average.sums, other.average.sums)
    labels = np.where((frames == NOT_VALID).any(axis=(0, 1)), -1, LABELS)
    for train in range(TRAINS):
        alone = shotsieve.g2(np.where(frames[train] == NOT_VALID, 0, frames[train]), labels, backend="cpu")
        np.testing.assert_array_equal(one.g2[train], alone.per_train[0])
    # Pixels that are lost are given as those of all frames, and so are in the way of no method.
    assert {METHODS[code] for code in one.methods[0]} == {"event_lags" if long else "events"}
    assert {METHODS[code] for code in other.methods[0]} == {"events"}
