"""Photon lists in place of frames: the same sums, bit for bit, and no frames on the way."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import shotsieve
from shotsieve.errors import BadInput
from shotsieve.photon_list import PhotonList

# More places than events are sorted at a time, bins of no pixel and of one, pixels of none.
PIXELS, FRAMES = 6000, 21


@pytest.fixture
def labels(rng):
    labels = rng.integers(-1, 4, PIXELS)
    labels[labels == 2] = 0
    labels[7] = 4
    return labels


@pytest.fixture
def photons(rng):
    return rng.poisson(rng.choice([0.02, 0.3], PIXELS), (3, FRAMES, PIXELS)).astype("u1")


def listed(photons):
    return [PhotonList.of(train) for train in photons]


def same(found, wanted):
    for name in ("sums", "left", "right", "pixels", "intensity"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        assert getattr(found, name).dtype == getattr(wanted, name).dtype
    np.testing.assert_array_equal(found.correlation(), wanted.correlation())


@pytest.mark.parametrize("stride", [0, 1])
def test_two_time_of_lists_is_that_of_frames(backend_name, photons, labels, stride):
    given = {"stride": stride, "backend": backend_name}
    found = shotsieve.two_time(listed(photons), labels, **given)
    assert found.method == "events"
    same(found, shotsieve.two_time(photons, labels, **given))


@pytest.mark.parametrize("scheme", ["lumma", "doubling"])
def test_multitau_and_g2_of_lists_are_those_of_frames(backend_name, photons, labels, scheme):
    for one, how in (
        (shotsieve.multitau, {"scheme": scheme}),
        (shotsieve.g2, {}),
        (shotsieve.g2, {"how": "mean"}),
    ):
        found, wanted = (one(x, labels, backend=backend_name, **how) for x in (listed(photons), photons))
        for name in ("per_train", "intensity", "flags", "lags", "pairs"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_a_mask_batches_threads_and_shapes_of_frames(photons, labels, rng, monkeypatch):
    frames, shaped = photons.reshape(3, FRAMES, 60, 100), labels.reshape(60, 100)
    valid = rng.random((60, 100)) < 0.9
    wanted = shotsieve.two_time(frames, shaped, valid=valid, backend="cpu")
    # One train in each call, parts of bins.
    monkeypatch.setattr("shotsieve.measure.event_summer.SUMS_BYTES", 1)
    monkeypatch.setattr("shotsieve.measure.correlation_bins.MOST_PLACES", 1000)
    lists = [PhotonList.of(train.astype("u2")) for train in frames]
    for threads in (1, 3):
        same(shotsieve.two_time(lists, shaped, valid=valid, backend="cpu", threads=threads), wanted)
    one = shotsieve.two_time(lists[1], shaped, valid=valid, backend="cpu")
    np.testing.assert_array_equal(one.sums[0], wanted.sums[1])


def test_empty_frames_and_trains(backend_name, labels):
    frames = np.zeros((2, 5, PIXELS), "u1")
    frames[1, 3, :50] = 1
    same(*(shotsieve.two_time(x, labels, backend=backend_name) for x in (listed(frames), frames)))


def test_no_frames_are_made_of_lists(monkeypatch):
    """352 frames of a million pixels would take 352 MB in bytes."""
    pixels, frames, lit = 1_000_000, 352, 200
    rng = np.random.default_rng(3)
    pixel = np.sort(rng.integers(0, pixels // lit, (frames, lit)) + np.arange(lit) * (pixels // lit))
    first = np.arange(frames + 1) * lit
    given = PhotonList((pixels,), first, pixel.reshape(-1).astype("u4"), np.ones(first[-1], "u1"))
    monkeypatch.setattr(PhotonList, "dense", None)
    labels = np.zeros(pixels, int)
    tracemalloc.start()
    found = shotsieve.two_time(given, labels, backend="cpu")
    shotsieve.multitau(given, labels, backend="cpu")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.intensity.sum() == first[-1]
    assert peak < 100e6


def broken(**changes):
    whole = {"first": [0, 2, 3], "pixel": [0, 2, 1], "count": [1, 3, 1]} | changes
    dtypes = {"first": "i8", "pixel": "u4", "count": "u1"}
    return PhotonList((4,), **{name: np.array(values, dtypes[name]) for name, values in whole.items()})


@pytest.mark.parametrize(
    ("lists", "how", "text"),
    [
        (broken(pixel=[0, 4, 1]), {}, "pixels below 4"),
        (broken(pixel=[2, 0, 1]), {}, "ascend in each frame"),
        (broken(pixel=[2, 2, 1]), {}, "ascend in each frame"),
        (broken(first=[0, 2, 4]), {}, "number of entries"),
        (broken(first=[0, 4, 3]), {}, "from 0 to the number"),
        (broken(count=[1, 128, 1]), {}, "counts from 0 to 128"),
        (broken(), {"counts": False}, "they hold counts"),
        (broken(), {"method": "matrix"}, "without frames"),
        (broken(), {"bins": np.zeros((2, 2), int)}, "bins of shape"),
        (broken(), {"valid": np.ones((2, 4), bool)}, "the same pixels in all frames"),
        ([broken(), broken().part(0, 1)], {}, "trains of one length"),
    ],
)
def test_what_lists_cannot_be_is_told(lists, how, text):
    given = {"bins": np.zeros(4, int), "backend": "cpu", **how}
    with pytest.raises(BadInput, match=text):
        shotsieve.two_time(lists, **given)


def test_the_fourier_transform_needs_frames():
    with pytest.raises(BadInput, match="frames on the host"):
        shotsieve.g2(broken(), np.zeros(4, int), method="fft", backend="cpu")


@pytest.mark.parametrize("diagonal", [None, "raw"])
def test_g2_by_events_is_that_of_the_two_time_correlation(backend_name, labels, rng, diagonal, monkeypatch):
    """Sums along lags, without every pair of frames: the same bits, of frames and of lists."""
    monkeypatch.setattr("shotsieve.measure.event_lags.LONG", 1)
    photons = rng.poisson(0.03, (2, 11, PIXELS)).astype("u1")
    photons[0, 4] = photons[1, 2:] = 0  # frames without photons, bins with one frame
    photons[1, 0, :] = labels == 4  # and with one photon
    bins = shotsieve.CorrelationBins.of(labels, [0, 1, 1, 0, 2])
    wanted = shotsieve.two_time(photons, bins, method="matrix", backend="cpu").g2("ratio", diagonal)
    for given, method in ((photons, "auto"), (photons, "events"), (listed(photons), "auto")):
        found = shotsieve.g2(given, bins, method=method, diagonal=diagonal, backend=backend_name)
        for name in ("per_train", "intensity", "flags", "lags", "pairs"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)


def test_lags_in_any_scheme(backend_name, photons, labels):
    """Some twice, some that no pair of frames has, levels without one."""
    scheme = shotsieve.LagScheme(((0, 3), (0, 0), (0, 3), (2, 1), (2, 4), (4, 0), (4, 1)))
    found, wanted = (
        shotsieve.multitau(x, labels, scheme=scheme, backend=backend_name) for x in (listed(photons), photons)
    )
    np.testing.assert_array_equal(found.per_train, wanted.per_train)
