"""Two-time correlation, g2 and multi-tau of arrays, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from foreign import Named
from shotsieve.errors import BadInput
from shotsieve.measure.correlation_lags import ALL_EMPTY, EMPTY_FRAMES, NO_PIXELS, ONE_PIXEL
from shotsieve.reference import correlation as reference

LABELS = np.repeat([0, 1, -1, 2], [300, 200, 20, 80])


@pytest.fixture
def photons(rng):
    return rng.poisson(0.4, (3, 12, 600)).astype("u1")


def test_two_time_equals_the_reference(backend_name, photons):
    found = shotsieve.two_time(photons, LABELS, backend=backend_name)
    for train, frames in enumerate(photons):
        want = reference.two_time(frames, LABELS, 3)
        np.testing.assert_allclose(found.correlation()[train], want, rtol=1e-12)
        np.testing.assert_allclose(
            found.g2("mean").per_train[train], reference.g2_of_ratios(want), rtol=1e-12
        )
    assert not found.flags.any()


def test_pixels_that_differ_between_frames_have_valid_counts_of_their_own(backend_name, photons, rng):
    valid = rng.random(photons.shape[1:]) < 0.8
    found = shotsieve.two_time(photons, LABELS, valid=valid, backend=backend_name)
    for train, frames in enumerate(photons):
        want = reference.two_time(frames, LABELS, 3, valid)
        np.testing.assert_allclose(found.correlation()[train], want, rtol=1e-12)
    inside = LABELS == 1
    both = valid[2, inside] & valid[7, inside]
    assert found.pixels[0, 1, 2, 7] == both.sum()
    values = np.where(valid, photons.astype("f4") + 0.25, np.nan)
    other = shotsieve.two_time(values, LABELS, backend=backend_name)
    for train in range(3):
        want = reference.two_time(photons[train] + 0.25, LABELS, 3, valid, counts=False)
        np.testing.assert_allclose(other.correlation()[train], want, rtol=1e-12)


def test_masks_of_trains_and_strides(photons, rng):
    valid = rng.random(photons.shape) < 0.7
    found = shotsieve.two_time(photons, LABELS, valid=valid, stride=2, backend="cpu")
    used = np.where(valid, photons, 0)
    want = reference.two_time_sums(used[0], LABELS, 3, used[2])
    np.testing.assert_array_equal(found.sums[0], want)
    n = reference.two_time_sums(valid[0], LABELS, 3, valid[2])
    left = reference.two_time_sums(used[0], LABELS, 3, valid[2])
    right = reference.two_time_sums(used[2], LABELS, 3, valid[0]).swapaxes(1, 2)
    np.testing.assert_allclose(found.correlation()[0], n * want / (left * right), rtol=1e-12)


def test_a_mask_of_the_detector_is_the_same_as_labels_without(photons):
    mask = np.ones(600, bool)
    mask[[3, 250, 599]] = False
    masked = shotsieve.g2(photons, LABELS, valid=mask, backend="cpu").per_train
    np.testing.assert_array_equal(
        masked, shotsieve.g2(photons, np.where(mask, LABELS, -1), backend="cpu").per_train
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_the_baseline_correlates_with_later_trains(backend_name, photons, stride):
    found = shotsieve.two_time(photons, LABELS, stride=stride, backend=backend_name)
    assert found.sums.shape == (3 - stride, 3, 12, 12)
    early, late = photons[0], photons[stride]
    sums = reference.two_time_sums(early, LABELS, 3, late)
    norm = reference.frame_sums(early, LABELS, 3)[..., None] * reference.frame_sums(late, LABELS, 3)[:, None]
    sizes = np.array([300, 200, 80])[:, None, None]
    np.testing.assert_allclose(found.correlation()[0], sizes * sums / norm, rtol=1e-12)


def test_ratio_of_sums_by_every_method(backend_name, photons):
    methods = ("events", "matrix", "fft")
    found = [shotsieve.g2(photons, LABELS, method=m, backend=backend_name) for m in methods]
    np.testing.assert_array_equal(found[0].per_train, found[1].per_train)
    np.testing.assert_allclose(found[2].per_train, found[0].per_train, rtol=1e-9)
    sums = reference.two_time_sums(photons[1], LABELS, 3)
    of_frames = reference.frame_sums(photons[1], LABELS, 3)
    norm = reference.lag_sums(of_frames[:, :, None] * of_frames[:, None])
    want = np.array([300, 200, 80])[:, None] * reference.lag_sums(sums) / norm
    np.testing.assert_allclose(found[0].per_train[1][:, 1:], want[:, 1:], rtol=1e-12)


@pytest.mark.parametrize("scheme", ["lumma", "doubling"])
def test_multitau_equals_the_reference(backend_name, rng, scheme):
    photons = rng.poisson(0.4, (2, 45, 600))
    found = shotsieve.multitau(photons, LABELS, scheme=scheme, diagonal="raw", backend=backend_name)
    entries = list(shotsieve.LagScheme.named(scheme, 45).entries)
    sums, early, late, pairs = reference.multitau_sums(photons[1], LABELS, 3, entries)
    want = sums * pairs * np.array([300, 200, 80])[:, None] / (early * late)
    np.testing.assert_allclose(found.per_train[1], want, rtol=1e-12)
    np.testing.assert_array_equal(found.pairs, pairs)
    assert found.lags.max() < 45


def test_the_corrected_diagonal_is_not_biased_at_few_photons():
    """Twelve photons a frame: over the squared sum the diagonal would be a twelfth too low."""
    photons = np.random.default_rng(5).poisson(0.2, (2000, 20, 60))
    found = shotsieve.two_time(photons, np.zeros(60, int), backend="cpu")
    every = np.diagonal(found.correlation()[:, 0], 0, 1, 2)
    error = np.nanstd(every) / np.sqrt(every.size)
    assert abs(np.nanmean(every) - 1) < 4 * error < 0.03
    for how in ("ratio", "mean"):
        mean, error = (part[0] for part in found.g2(how).average("equal"))
        assert (abs(mean - 1) < 4.5 * error).all()
        assert error[0] < 0.01


def test_multitau_at_the_first_level_has_the_sums_of_two_time(photons):
    """Where every frame has the same sum, both normalisations are the same too."""
    photons = np.repeat(photons[:, :1], 12, axis=1)
    for row in range(12):
        photons[:, row] = np.roll(photons[:, 0], row, axis=-1)
    one = np.zeros(600, int)
    slow = shotsieve.multitau(photons, one, backend="cpu")
    every = shotsieve.g2(photons, one, backend="cpu")
    np.testing.assert_allclose(slow.per_train[..., 1:8], every.per_train[..., 1:8], rtol=1e-12)


def test_the_corrected_diagonal_is_free_of_the_noise_of_counting(rng):
    """Poisson counts of one rate have no contrast: the corrected diagonal averages to 1, the raw one does "
    "not."""
    photons = rng.poisson(0.1, (4, 30, 4000))
    found = shotsieve.two_time(photons, np.zeros(4000, int), backend="cpu")
    t = np.arange(30)
    corrected = found.correlation()[:, 0, t, t]
    error = corrected.std(ddof=1) / np.sqrt(corrected.size)
    assert abs(corrected.mean() - 1) < 5 * error
    assert found.correlation("raw")[:, 0, t, t].mean() > 8
    beside = found.correlation("neighbours")
    raw = found.correlation("raw")
    np.testing.assert_allclose(beside[0, 0, 0, 0], raw[0, 0, 0, 1])
    np.testing.assert_allclose(beside[0, 0, 5, 5], (raw[0, 0, 4, 5] + raw[0, 0, 5, 6]) / 2)


def test_static_bins_keep_a_gradient_from_faking_contrast(rng):
    rate = np.linspace(0.05, 2.0, 3000)
    photons = rng.poisson(rate, (2, 8, 3000))
    one = np.zeros(3000, int)
    fine = shotsieve.CorrelationBins.of(np.arange(3000) // 100, np.zeros(30, int))
    beside = np.triu_indices(8, 1)
    wide, narrow = (
        shotsieve.two_time(photons, b, backend="cpu").average()[0][0][beside].mean() for b in (one, fine)
    )
    assert wide > 1.2
    assert abs(narrow - 1) < 0.08  # its standard error is 0.01
    found = shotsieve.multitau(photons, fine, backend="cpu")
    assert found.per_train.shape == (2, 1, 8)
    assert np.abs(found.average()[0][0, 1:4] - 1).max() < 0.15


def test_averages_over_trains_have_weights_and_errors(photons):
    found = shotsieve.g2(photons, LABELS, backend="cpu")
    mean, error = found.average("equal")
    np.testing.assert_allclose(mean, found.per_train.mean(axis=0))
    np.testing.assert_allclose(error, found.per_train.std(axis=0, ddof=1) / np.sqrt(3))
    first, unknown = found.average([1, 0, 0])
    np.testing.assert_array_equal(first, found.per_train[0])
    assert np.isnan(unknown).all()
    by_light = np.average(found.per_train, axis=0, weights=found.intensity[..., None] * np.ones(12))
    np.testing.assert_allclose(found.average()[0], by_light)
    np.testing.assert_allclose(
        found.to_xarray()["g2"].sel(lag=3).values, found.average()[0][:, 3], rtol=1e-15
    )


def test_bins_of_few_pixels_and_empty_frames_are_flagged(photons):
    labels = np.where(np.arange(600) == 5, 1, 0)
    labels[10:] = 3
    photons[:, :, 10:] = 0
    photons[:, :, 5] += 1  # else all of its frames may be empty or hold one photon
    photons[0, 4, :5] = photons[0, 4, 6:10] = 0
    found = shotsieve.two_time(photons, labels, backend="cpu")
    assert found.flags[0, 1] & ONE_PIXEL
    assert found.flags[0, 2] == NO_PIXELS
    assert found.flags[0, 3] == EMPTY_FRAMES | ALL_EMPTY
    assert found.flags[0, 0] & EMPTY_FRAMES
    by_fft = shotsieve.g2(photons, labels, method="fft", backend="cpu")
    np.testing.assert_array_equal(by_fft.flags, found.flags)
    for result in (found.g2(), found.g2("mean"), shotsieve.multitau(photons, labels, backend="cpu"), by_fft):
        # A frame of one photon has no pair of its own, which multi-tau does not ask for.
        assert (result.flags | 4 == found.flags | 4).all()
        assert (result.flags & ~found.flags == 0).all()
        assert (result.flags[np.isnan(result.per_train).any(axis=2)] != 0).all()
    assert np.isfinite(found.g2().per_train[0, 0, 0])


@pytest.mark.parametrize("method", ["auto", "events", "matrix", "fft"])
def test_frames_of_one_photon_leave_no_nan_without_a_flag(method):
    """None is empty, yet none has a pair with itself."""
    photons = np.zeros((1, 6, 40), "u1")
    photons[0, np.arange(6), [3, 3, 5, 3, 9, 3]] = 1
    found = shotsieve.g2(photons, np.zeros(40, int), method=method, backend="cpu")
    assert np.isnan(found.per_train[0, 0, 0])
    assert found.flags[0, 0] & EMPTY_FRAMES
    for stride, trains in ((0, 2), (1, 2)):
        both = shotsieve.two_time(
            np.repeat(photons, trains, 0), np.zeros(40, int), stride=stride, backend="cpu"
        )
        assert (both.flags[np.isnan(both.correlation()).any(axis=(2, 3))] != 0).all()


@pytest.mark.parametrize("rate", [0.02, 0.2])
def test_few_photons_go_by_events_and_many_by_a_matrix(rate, rng):
    """The switch is told, and changes nothing."""
    photons = rng.poisson(rate, (1, 40, 5000)).astype("u1")
    labels = np.zeros(5000, int)
    found = shotsieve.two_time(photons, labels, backend="cpu")
    assert found.method == ("events" if rate < 0.1 else "matrix")
    for method in ("events", "matrix"):
        other = shotsieve.two_time(photons, labels, method=method, backend="cpu")
        assert other.method == method
        np.testing.assert_array_equal(other.sums, found.sums)


@pytest.mark.parametrize(
    "call", [shotsieve.multitau, shotsieve.g2, lambda *a, **k: shotsieve.g2(*a, method="fft", **k)]
)
def test_bytes_beyond_a_signed_one_are_refused_by_every_way(call):
    photons = np.zeros((4, 60), "u1")
    photons[1, 7] = 128
    with pytest.raises(BadInput, match="counts from 0 to 128: expected 0 to 127"):
        call(photons, np.zeros(60, int), backend="cpu")
    without = np.where(np.arange(60) == 7, -1, 0)  # in no bin a pixel may hold anything
    assert np.isfinite(call(photons + (photons == 0), without, backend="cpu").per_train).all()


BAD = [
    ({"frames": [np.zeros((4, 600), "u1"), np.zeros((5, 600), "u1")]}, "trains of 4 to 5 frames"),
    ({"frames": []}, "there is no train"),
    ({"frames": np.zeros((0, 600), "u1")}, "at least one frame"),
    ({"frames": np.zeros((4, 599), "u1")}, r"pixels of shape \(600,\)"),
    ({"frames": np.full((4, 600), 128)}, "counts from 128 to 128: expected 0 to 127"),
    ({"frames": np.full((4, 600), -1)}, "counts from -1"),
    ({"frames": np.full((4, 600), 0.5), "counts": True}, "photon counts are needed"),
    ({"frames": np.full((4, 600), np.inf, "f4")}, "infinities"),
    ({"frames": np.zeros((4, 600), "f4"), "method": "events"}, "events are made of photon counts"),
    ({"method": "fast"}, "method = 'fast'"),
    ({"stride": 3}, "stride = 3 with 3 trains"),
    ({"bins": np.full(600, -1)}, "at least one pixel in a bin"),
    ({"bins": np.zeros(600)}, "expected whole numbers"),
    ({"valid": np.ones(599, bool)}, "valid has dtype bool"),
    ({"valid": np.ones(600, "u1")}, "valid has dtype uint8"),
]


@pytest.mark.parametrize(("given", "text"), BAD, ids=[text for _, text in BAD])
def test_bad_input_is_told(photons, given, text):
    arguments = {"frames": photons, "bins": LABELS, "backend": "cpu"} | given
    with pytest.raises(BadInput, match=text):
        shotsieve.two_time(**arguments)


def test_what_multitau_and_g2_refuse(photons, rng):
    valid = rng.random((12, 600)) < 0.5
    with pytest.raises(BadInput, match="same for all in multitau"):
        shotsieve.multitau(photons, LABELS, valid=valid, backend="cpu")
    with pytest.raises(BadInput, match="scheme = 'log'"):
        shotsieve.multitau(photons, LABELS, scheme="log", backend="cpu")
    with pytest.raises(BadInput, match="method = 'fft' gives"):
        shotsieve.g2(photons, LABELS, method="fft", stride=1, backend="cpu")
    with pytest.raises(BadInput, match="corrected' is for photon"):
        shotsieve.g2(photons.astype("f4"), LABELS, diagonal="corrected", backend="cpu")
    with pytest.raises(BadInput, match="one for each train"):
        shotsieve.g2(photons, LABELS, backend="cpu").average([1.0])


def test_counts_in_other_types_are_the_same(photons):
    want = shotsieve.two_time(photons, LABELS, backend="cpu").sums
    for given, counts in ((photons.astype("i8"), None), (photons.astype("f4"), True)):
        np.testing.assert_array_equal(
            shotsieve.two_time(given, LABELS, counts=counts, backend="cpu").sums, want
        )
    one = shotsieve.two_time(photons[0].reshape(12, 20, 30), LABELS.reshape(20, 30), backend="cpu")
    np.testing.assert_array_equal(one.sums[0], want[0])


def test_bins_of_a_geometry():
    from shotsieve.geometry import PixelMap
    from shotsieve.geometry.tile import Tile

    corner, step = np.array([-0.005, -0.005, 1.0]), 1e-4
    tile = Tile((0, 100, 0, 100), corner, np.array([0, step, 0]), np.array([step, 0, 0]))
    pixels = PixelMap((tile,), (100, 100), 1.0, 9.0)
    q, chi = pixels.q(), np.mod(pixels.chi("deg"), 360)
    bins = shotsieve.correlation_bins(pixels, [0.05, 0.1, 0.2], [0, 180, 360], static=(2, 3))
    assert (bins.n_bins, bins.n_static) == (4, 24)
    own = (bins.labels >= 0) & (bins.dynamic[bins.labels] == 2)
    np.testing.assert_array_equal(own, (q >= 0.1) & (q <= 0.2) & (chi < 180))
    finest = bins.labels == 1  # the second azimuth of the first ring
    np.testing.assert_array_equal(finest, (q >= 0.05) & (q < 0.075) & (chi >= 60) & (chi < 120))
    with pytest.raises(BadInput, match="no pixel lies between"):
        shotsieve.correlation_bins(pixels, [50, 60])
    with pytest.raises(BadInput, match="q_edges"):
        shotsieve.correlation_bins(pixels, [0.2, 0.1])


def upload(device, array):
    """Copy an array to a device, and wait for it."""
    pinned, stream = device.empty_pinned(array.shape, array.dtype), device.stream()
    pinned[...] = array
    there = device.twin(pinned)
    device.to_device(there, pinned, stream)
    device.wait(device.record(stream))
    return there


def test_frames_on_a_device_stay_there(device_name, photons):
    """Counts and values that are on the device already give what those of the host give."""
    from shotsieve import backend as backends

    backend = backends.get(device_name)
    device = backend.device
    for given in (photons, photons.astype("f4")):
        there = upload(device, given)
        for stride in (0, 1):
            want = shotsieve.two_time(given, LABELS, stride=stride, backend="cpu")
            found = shotsieve.two_time(there, LABELS, stride=stride, backend=backend)
            np.testing.assert_array_equal(found.sums, want.sums)
            np.testing.assert_array_equal(found.correlation(), want.correlation())
    with pytest.raises(BadInput, match="the backend is cpu"):
        shotsieve.two_time(there, LABELS, backend="cpu")
    wrong = device.empty((2, 600), "u2")
    with pytest.raises(BadInput, match="expected uint8 counts or float32 values"):
        shotsieve.two_time(wrong, LABELS, backend=backend)


@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize(
    ("measure", "options"),
    [
        ("g2", {}),
        ("g2", {"how": "mean"}),
        ("g2", {"stride": 1}),
        ("g2", {"diagonal": "raw", "method": "matrix"}),
        ("multitau", {}),
        ("multitau", {"scheme": "doubling"}),
    ],
)
def test_g2_and_multitau_of_frames_on_a_device_are_those_of_the_host(
    device_name, photons, measure, options, values
):
    from shotsieve import backend as backends

    backend, function = backends.get(device_name), getattr(shotsieve, measure)
    given = photons + np.float32(0.25) if values else photons
    there, good = upload(backend.device, given), np.arange(600) % 7 != 0
    for valid in (None, good):
        want = function(given, LABELS, valid=valid, backend="cpu", **options)
        for frames in (given, there):
            found = function(frames, LABELS, valid=valid, backend=backend, **options)
            for name in ("lags", "pairs", "per_train", "intensity", "flags"):
                np.testing.assert_array_equal(getattr(found, name), getattr(want, name), err_msg=name)


@pytest.mark.parametrize("measure", ["two_time", "multitau"])
def test_work_is_queued_behind_what_makes_the_frames(device_name, photons, measure, monkeypatch):
    """A stream of our own would not wait for the caller's."""
    from shotsieve import backend as backends
    from shotsieve.measure.pair_summer import PairSummer

    backend, made, taken = backends.get(device_name), PairSummer.__init__, []
    device, function = backend.device, getattr(shotsieve, measure)

    def make(self, *given):
        made(self, *given)
        taken.append(device.handle(self.stream))

    monkeypatch.setattr(PairSummer, "__init__", make)
    pinned, stream, mine = device.empty_pinned(photons.shape, "u1"), device.stream(), device.stream()
    pinned[...] = photons
    there = device.twin(pinned)
    device.to_device(there, pinned, stream)
    frames = Named(there, device.handle(stream))
    for asked, expected in ((None, stream), (mine, mine)):
        device.wait(device.record(stream))
        function(frames, LABELS, backend=backend, stream=asked)
        assert taken.pop() == device.handle(expected)
