"""Sums over regions against NumPy, on every backend."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from shotsieve.measure.regions import projection, rectangle

SHAPE = (70, 140)


@pytest.fixture
def frames(rng):
    values = rng.integers(-500, 2**16, (19, *SHAPE)).astype("f4")
    values[rng.random(values.shape) < 0.02] = np.nan
    values[rng.random(values.shape) < 0.01] = np.inf
    values[1] = np.nan
    return values


def check(result, k, mask, frame, at):
    values = frame[mask].astype("f8")
    values = values[np.isfinite(values)]
    assert result.sum[k, at] == values.sum()
    assert result.sum_squares[k, at] == (values**2).sum()
    assert result.count[k, at] == len(values)
    if len(values) == 0:
        assert np.isnan([result.max[k, at], result.mean[k, at], result.std[k, at]]).all()
        return
    assert result.max[k, at] == values.max()
    np.testing.assert_allclose(result.mean[k, at], values.mean(), rtol=1e-13)
    np.testing.assert_allclose(result.std[k, at], values.std(), rtol=1e-9)


@pytest.mark.parametrize("overlap", [False, True], ids=["apart", "overlapping"])
def test_masks_by_name(native_backend, frames, overlap):
    masks = {"a": rectangle(SHAPE, (3, 40), (10, 90)), "b": rectangle(SHAPE, (30, 69), (95, 140))}
    if overlap:
        masks["c"] = rectangle(SHAPE, (20, 50), (0, 140))
        masks["d"] = np.ones(SHAPE, bool)
    result = shotsieve.RegionSums(masks, SHAPE, backend=native_backend)(frames)
    assert result.names == tuple(masks)
    for k, frame in enumerate(frames):
        for at, mask in enumerate(masks.values()):
            check(result, k, mask, frame, at)
    np.testing.assert_array_equal(result["b"]["sum"], result.sum[:, 1])


def test_a_label_image_and_masks_of_frames(native_backend, frames, rng):
    labels = rng.integers(-1, 9, SHAPE)
    bad = rng.random(frames.shape) < 0.1
    result = shotsieve.RegionSums(labels, SHAPE, backend=native_backend)(frames, mask=bad)
    for k in (0, 1, 7):
        for at in range(9):
            check(result, k, labels == at, np.where(bad[k], np.nan, frames[k]), at)


@pytest.mark.parametrize("axis", ["ss", "fs"])
def test_projections_are_sums_along_an_axis(native_backend, rng, axis):
    frames = rng.integers(0, 1000, (3, *SHAPE)).astype("f4")
    mask = rectangle(SHAPE, (5, 30), (20, 100))
    result = shotsieve.RegionSums(projection(mask, axis), SHAPE, backend=native_backend)(frames)
    expected = frames[:, 5:30, 20:100].sum(axis=2 if axis == "ss" else 1)
    np.testing.assert_array_equal(result.sum, expected)


def test_one_frame_and_none(frames):
    summer = shotsieve.RegionSums({"a": np.ones(SHAPE, bool)}, SHAPE, backend="cpu")
    assert summer(frames[0]).sum.shape == (1,)
    assert summer(frames[:0]).sum.shape == (0, 1)


def test_the_same_bits_whatever_the_batch(native_backend, rng):
    frames = rng.normal(0, 1, (40, *SHAPE)).astype("f4")
    summer = shotsieve.RegionSums(rng.integers(-1, 5, SHAPE), SHAPE, backend=native_backend)
    whole = summer(frames)
    for size, threads in ((1, 1), (7, 3), (32, 2)):
        parts = [summer(frames[s : s + size], threads=threads) for s in range(0, 40, size)]
        for word in ("sum", "sum_squares", "max"):
            joined = np.concatenate([getattr(part, word) for part in parts])
            np.testing.assert_array_equal(joined, getattr(whole, word))
