"""Scores against the reference on every backend, bit for bit, and what a map may be."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from kernels import download, upload
from shotsieve.errors import BadInput
from shotsieve.measure.scores import ScorePlan, SpiScores, likelihood_map
from shotsieve.reference import scores as reference

SHAPE = (3, 9, 1000)  # more pixels of a module than a tile of any backend holds


@pytest.fixture
def frames(rng):
    values = rng.gamma(0.2, 4, (7, *SHAPE)).astype("f4") - np.float32(0.4)
    values[rng.random(values.shape) < 0.02] = np.nan
    values[rng.random(values.shape) < 0.001] = np.inf
    values[rng.random(values.shape) < 0.001] = 9e6
    values[2, 1] = np.nan
    return values


@pytest.fixture
def maps(rng):
    signal = rng.gamma(0.3, 0.1, SHAPE)
    return {
        "ratio": likelihood_map(signal, signal * 0.3 + 0.01),
        "signed": rng.normal(0, 3, SHAPE).astype("f4"),
        "weak": (1e-6 * rng.random(SHAPE)).astype("f4"),
        "heavy": rng.normal(0, 1e5, (2, *SHAPE)),
    }


OF = {"signed": "values", "heavy": "values"}


@pytest.fixture
def plan(rng, maps):
    rings = rng.integers(-1, 5, SHAPE)
    rules = {"of": OF, "to_photon": 0.7, "threshold": 1.1, "rounding_threshold": 0.6, "value_limit": 1e6}
    return ScorePlan.make(maps, SHAPE, rings=rings, **rules)


def expected(plan, frames):
    sums = np.full((len(frames), plan.shape[0], plan.width), -7, "i8")
    arrays = (plan.arrays.get("ring"), plan.arrays.get("map"))
    reference.score_sums(frames.reshape(len(frames), *plan.shape), *arrays, sums, **plan.rules)
    return sums


@pytest.mark.parametrize("threads", [1, 3])
def test_same_bits_as_the_reference(native_backend, frames, plan, threads):
    stream = native_backend.device.stream()
    flat = upload(native_backend, frames.reshape(len(frames), *plan.shape), stream)
    arrays = [upload(native_backend, plan.arrays[name], stream) for name in ("ring", "map")]
    sums = upload(native_backend, np.full((len(frames), plan.shape[0], plan.width), -7, "i8"), stream)
    on = native_backend.on(stream, threads)
    native_backend.native.score_sums(flat, *arrays, sums, **plan.rules, **on)
    np.testing.assert_array_equal(download(native_backend, sums, stream), expected(plan, frames))


def test_a_score_is_the_weighted_sum(frames, maps, plan):
    """An independent sum in float64, and the promise about the weights' rounding."""
    found = plan.result(expected(plan, frames))
    good = np.abs(frames) <= 1e6
    counted = np.where(good, frames, 0).astype("f8")
    scaled = np.maximum(counted.astype("f4") * np.float32(0.7), 0)
    photons = np.floor(scaled) + (scaled - np.floor(scaled) >= np.float32(0.6))
    for k, (name, given) in enumerate(maps.items()):
        weight, constant = given if given.shape[0] == 2 else (given, np.zeros(SHAPE))
        amount = counted if name in OF else photons
        own = (np.where(good, weight * amount - constant, 0)).sum(axis=(2, 3))
        bound = 0.5 * plan.steps[k] * (np.abs(amount) + good).sum(axis=(2, 3))
        values = np.abs(weight).astype("f8") * good / 256 if name in OF else np.zeros(SHAPE)
        slack = values.sum(axis=(-2, -1)) + 1e-9 * np.abs(weight * amount).sum(axis=(2, 3))
        assert (np.abs(found.scores[..., k] - own) <= bound + slack).all(), name
    assert (found.lit == (good & (frames > np.float32(1.1))).sum(axis=(2, 3))).all()


def test_frames_in_memory_in_any_batches(native_backend, frames, maps, plan):
    scores = SpiScores(maps, SHAPE, of=OF, to_photon=0.5, threshold=2.0, backend=native_backend)
    whole = scores(frames)
    parts = [scores(frame) for frame in frames]
    for name in ("scores", "lit"):
        np.testing.assert_array_equal(getattr(whole, name), [getattr(part, name) for part in parts])
    assert whole.rings.shape == (7, 3, 0)
    assert whole["ratio"].shape == (7,)
    np.testing.assert_array_equal(whole["ratio"][3], parts[3]["ratio"])


def test_one_map_of_some_modules_of_a_detector(frames, maps, plan):
    """Modules that are taken out of a map do not lie in memory as it did."""
    whole = np.repeat(maps["ratio"], 2, axis=1)
    places = list(range(0, 2 * SHAPE[0], 2))
    alone = SpiScores({"ratio": whole[:, places]}, SHAPE)
    np.testing.assert_array_equal(
        alone(frames)["ratio"], SpiScores({"ratio": maps["ratio"]}, SHAPE)(frames)["ratio"]
    )


def test_a_masked_pixel_leaves_out_its_share_of_the_constant():
    """A dead frame scores 0; the score of half a detector is that of a map of this half."""
    signal, background = np.full((1, 2, 4), 0.5), np.full((1, 2, 4), 0.1)
    score = SpiScores({"s": likelihood_map(signal, background)}, (1, 2, 4), backend="cpu")
    frame = np.ones((1, 2, 4), "f4")
    assert score(np.full_like(frame, np.nan))["s"] == 0
    np.testing.assert_allclose(score(frame)["s"], 8 * (np.log(6) - 0.5), rtol=1e-6)
    frame[0, 0] = np.nan
    np.testing.assert_allclose(score(frame)["s"], 4 * (np.log(6) - 0.5), rtol=1e-6)


def test_the_largest_values_do_not_overflow():
    """Every pixel at the limit, with the largest weights of one sign: the sum is right, not wrapped."""
    shape, limit = (1, 512, 128), 1e7
    weights = np.full(shape, 1e3)
    for of in ("photons", "values"):
        score = SpiScores({"w": weights}, shape, of=of, value_limit=limit, backend="cpu")
        for sign in (1, -1):
            total = score(np.full(shape, sign * limit, "f4"))["w"]
            want = sign * limit * 1e3 * 65536 if of == "values" or sign > 0 else 0.0
            np.testing.assert_allclose(total, want, rtol=1e-4)


@pytest.mark.parametrize(
    ("maps", "options", "text"),
    [
        ({"m": np.ones((2, 9, 1000))}, {}, r"map m is float64 \(2, 9, 1000\): expected weights of shape"),
        ({"m": np.full(SHAPE, np.nan)}, {}, "27000 values that are not finite"),
        ({"m": np.zeros(SHAPE)}, {}, "no weight other than 0"),
        ({str(k): np.ones(SHAPE) for k in range(5)}, {}, "5 maps: expected at most 4"),
        ({"m": np.ones(SHAPE)}, {"of": "light"}, "of = 'light': expected one of photons, values"),
        ({"m": np.ones(SHAPE)}, {"to_photon": 0.0}, "how many one unit of the values is, is not known"),
        ({"m": np.stack([np.ones(SHAPE), np.full(SHAPE, 1e9)])}, {}, "cannot be summed exactly"),
        ({}, {"rings": np.full(SHAPE, -1)}, "at least one pixel in a ring"),
        ({}, {"rings": np.full(SHAPE, 64)}, "at most 64 rings"),
        ({}, {"rings": np.zeros(SHAPE)}, "expected whole numbers of shape"),
    ],
)
def test_wrong_maps_are_refused(maps, options, text):
    with pytest.raises(BadInput, match=text):
        SpiScores(maps, SHAPE, backend="cpu", **options)


@pytest.mark.parametrize(
    ("signal", "background", "text"),
    [
        ([1.0], [1.0, 2.0], "signal has shape"),
        ([-1.0], [1.0], "signal has values below 0"),
        ([1.0], [np.nan], "background has values below 0 or not finite"),
        ([1.0], [0.0], "1 pixels expect signal on no background"),
    ],
)
def test_wrong_expectations_are_refused(signal, background, text):
    with pytest.raises(BadInput, match=text):
        shotsieve.likelihood_map(signal, background)


def test_wrong_arrays_are_refused(native_backend, plan):
    stream = native_backend.device.stream()
    pixels = upload(native_backend, np.zeros((2, *plan.shape), "f4"), stream)
    ring = upload(native_backend, plan.arrays["ring"], stream)
    sums = upload(native_backend, np.zeros((2, 3, 6), "i8"), stream)
    call = native_backend.native.score_sums
    with pytest.raises(ValueError, match="ring, n_rings"):
        call(pixels, ring, None, sums, **native_backend.on(stream))
    with pytest.raises(ValueError, match="sums"):
        call(pixels, ring, None, sums, n_rings=6, **native_backend.on(stream))
