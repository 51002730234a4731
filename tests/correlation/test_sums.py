"""Sums of products: every backend and method against the reference, exactly."""

from __future__ import annotations

import numpy as np
import pytest
from shotsieve.errors import BadInput
from shotsieve.measure import correlation_bins
from shotsieve.measure.correlation_bins import CorrelationBins, PartPlan
from shotsieve.measure.multitau import _by_fft
from shotsieve.measure.pair_summer import PairSummer
from shotsieve.reference import correlation as reference

# Lengths that fill tiles, and that do not; more pixels than a list, a stretch, a packed row or a slice has.
SHAPES = [(2, 5, 700), (1, 67, 150), (1, 131, 300), (1, 1, 3), (1, 2, 15000)]


def make(rng, trains, frames, pixels, bins=4, rate=0.3):
    """Counts, and labels in no order: bins of no pixel and of one pixel among them."""
    counts = rng.poisson(rate, (trains, frames, pixels)).astype("u1")
    labels = np.sort(rng.integers(-1, bins - 2, pixels))
    moved = rng.random(pixels) < 0.2
    labels[moved] = rng.permutation(labels[moved])
    labels[rng.integers(pixels)] = bins - 1
    return counts, labels, bins


def summer(backend, labels, bins, threads=None):
    return PairSummer(backend, PartPlan.make(labels, bins), threads, None)


@pytest.mark.parametrize("events", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_counts_equal_the_reference(native_backend, events, shape, rng):
    counts, labels, bins = make(rng, *shape)
    counts.flat[0] = 127
    sums, of_frames = summer(native_backend, labels, bins).pairs(counts, None, events)
    for train, frames in enumerate(counts):
        np.testing.assert_array_equal(sums[train], reference.two_time_sums(frames, labels, bins))
        np.testing.assert_array_equal(of_frames[train], reference.frame_sums(frames, labels, bins))


@pytest.mark.parametrize("events", [True, False])
def test_two_trains_equal_the_reference(native_backend, events, rng):
    counts, labels, bins = make(rng, 2, 139, 600)
    others = rng.poisson(0.2, (2, 37, 600)).astype("u1")
    sums, _ = summer(native_backend, labels, bins).pairs(counts, others, events)
    for train in range(2):
        want = reference.two_time_sums(counts[train], labels, bins, others[train])
        np.testing.assert_array_equal(sums[train], want)


def test_events_matrix_and_fourier_transform_agree(native_backend, rng):
    counts, labels, bins = make(rng, 1, 40, 900, rate=0.08)
    own = summer(native_backend, labels, bins)
    both = [own.pairs(counts, None, events)[0][0] for events in (True, False)]
    np.testing.assert_array_equal(*both)
    transformed = reference.lag_sums_fft(counts[0], labels, bins)
    np.testing.assert_array_equal(np.rint(transformed), reference.lag_sums(both[0]))
    ours, of_frames = _by_fft(counts, CorrelationBins.of(labels))
    there = np.unique(labels[labels >= 0])
    np.testing.assert_array_equal(ours[0][there], reference.lag_sums(both[0])[there])
    np.testing.assert_array_equal(of_frames[0][there], reference.frame_sums(counts[0], labels, bins)[there])


def test_largest_counts_of_the_largest_part_do_not_overflow(native_backend):
    pixels = correlation_bins.MOST_PLACES + 70
    counts = np.full((1, 2, pixels), 127, "u1")
    for events in (True, False):
        sums, of_frames = summer(native_backend, np.zeros(pixels, int), 1).pairs(counts, None, events)
        assert (sums == 127 * 127 * pixels).all()
        assert (of_frames == 127 * pixels).all()


@pytest.mark.parametrize("events", [True, False])
def test_counts_beyond_a_signed_byte_are_refused(native_backend, events):
    counts = np.zeros((1, 3, 10), "u1")
    counts[0, 1, 4] = 128
    with pytest.raises(BadInput, match=r"counts from 0 to 128: expected 0 to 127"):
        summer(native_backend, np.zeros(10, int), 1).pairs(counts, None, events)


@pytest.mark.parametrize("others", [False, True])
def test_values_have_the_same_bits_everywhere(native_backend, others, rng):
    from shotsieve import backend

    _, labels, bins = make(rng, 1, 1, 1300)
    values = rng.normal(100, 30, (2, 19, 1300)).astype("f4")
    second = rng.normal(1, 1, (2, 18, 1300)).astype("f4") if others else None
    sums, of_frames = summer(native_backend, labels, bins).pairs(values, second, False)
    want, want_frames = summer(backend.get("cpu"), labels, bins).pairs(values, second, False)
    np.testing.assert_array_equal(sums, want)
    np.testing.assert_array_equal(of_frames, want_frames)
    exact = reference.two_time_sums(values[0], labels, bins, None if second is None else second[0])
    np.testing.assert_allclose(sums[0], exact, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_lags_equal_the_reference(native_backend, dtype, rng):
    from shotsieve import backend

    counts, labels, bins = make(rng, 2, 37, 260)
    entries = [(0, 0), (0, 1), (0, 36), (1, 0), (1, 3), (2, 2), (3, 1), (5, 0)]
    frames = counts if dtype == "u1" else (counts + rng.normal(0, 0.1, counts.shape)).astype("f4")
    sums, of_frames = summer(native_backend, labels, bins).lags(frames, np.array(entries, "i4"))
    ours = summer(backend.get("cpu"), labels, bins).lags(frames, np.array(entries, "i4"))
    np.testing.assert_array_equal(sums, ours[0])
    np.testing.assert_array_equal(of_frames, ours[1])
    for train in range(2):
        want = reference.multitau_sums(frames[train], labels, bins, entries)[0]
        if dtype == "u1":
            np.testing.assert_array_equal(sums[train], want)
        np.testing.assert_allclose(sums[train], want, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("events", [True, False])
def test_neither_threads_nor_batches_change_counts(native_backend, events, others, rng, monkeypatch):
    from shotsieve.measure import pair_summer

    counts, labels, bins = make(rng, 3, 23, 900)
    second = rng.poisson(0.2, (3, 9, 900)).astype("u1") if others else None
    want = summer(native_backend, labels, bins, 1).pairs(counts, second, events)
    monkeypatch.setattr(pair_summer, "SUMS_BYTES", 1)
    for threads in (1, 2, 5):
        found = summer(native_backend, labels, bins, threads).pairs(counts, second, events)
        for got, expected in zip(found, want, strict=True):
            np.testing.assert_array_equal(got, expected)


def test_neither_threads_nor_batches_change_anything(rng, monkeypatch):
    from shotsieve import backend
    from shotsieve.measure import pair_summer

    cpu = backend.get("cpu")
    values = rng.normal(10, 3, (3, 11, 800)).astype("f4")
    _, labels, bins = make(rng, 1, 1, 800)
    lags = np.array([(0, 1), (1, 1)], "i4")
    want = summer(cpu, labels, bins, 1).pairs(values, None, False)
    want_lags = summer(cpu, labels, bins, 1).lags(values, lags)
    monkeypatch.setattr(pair_summer, "SUMS_BYTES", 1)
    for got, expected in zip(
        [
            *summer(cpu, labels, bins, 3).pairs(values, None, False),
            *summer(cpu, labels, bins, 3).lags(values, lags),
        ],
        [*want, *want_lags],
        strict=True,
    ):
        np.testing.assert_array_equal(got, expected)


def test_parts_cover_every_pixel_once(rng, monkeypatch):
    monkeypatch.setattr(correlation_bins, "MOST_PLACES", 50)
    labels = rng.integers(-1, 5, 731)
    labels[labels == 3] = 2
    plan = PartPlan.make(labels, 5)
    arrays = plan.arrays
    assert sorted(arrays["order"]) == np.flatnonzero(labels >= 0).tolist()
    assert (np.diff(arrays["part_start"]) <= 50).all()
    for part, b in enumerate(plan.part_bin):
        places = slice(*arrays["part_start"][part : part + 2])
        assert (labels[arrays["order"][places]] == b).all()
        runs = arrays["runs"][slice(*arrays["part_run"][part : part + 2])]
        spread = [range(pixel, pixel + n) for _, pixel, n in runs]
        assert [p for run in spread for p in run] == arrays["order"][places].tolist()
