"""Whole photons as integers: never wrapped around, never negative, masked where they do not fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from shotsieve.write.content import FrameForm
from shotsieve.write.photons import DTYPES, PhotonCounts

OUT_OF_RANGE = 1 << 12
VALUES = hnp.arrays(np.float32, (4, 8), elements=st.floats(-1e7, 1e7, width=32) | st.just(np.nan))


def one_by_one(value, counts):
    """Return the photons of a pixel, by Python's own numbers."""
    y = np.float32(value) * np.float32(counts.per_unit)
    if not y > 0:
        return 0
    whole = math.floor(y)
    return whole + (np.float32(y - np.float32(whole)) >= np.float32(counts.rounding_threshold))


@given(
    VALUES,
    hnp.arrays(np.uint32, (4, 8)),
    st.sampled_from(DTYPES),
    st.floats(2.0**-10, 1.0),
    st.sampled_from([1.0, 1 / 9.3, 0.25]),
)
def test_pixel_by_pixel(values, mask, dtype, threshold, per_unit):
    counts = PhotonCounts(per_unit, threshold, dtype)
    out, found = np.full((4, 8), 99, dtype), mask.copy()
    beyond = counts.count(values, found, out)
    largest = np.iinfo(dtype).max
    true = np.array([one_by_one(value, counts) for value in values.ravel()]).reshape(4, 8)
    np.testing.assert_array_equal(out, np.minimum(true, largest))
    np.testing.assert_array_equal(found, np.where(true > largest, mask | OUT_OF_RANGE, mask))
    assert beyond == (true > largest).sum()


@pytest.mark.parametrize("dtype", DTYPES)
def test_edges(dtype):
    largest = np.iinfo(dtype).max
    values = np.array([[largest, largest + 0.4375, largest + 0.5, 1e7, -1e7, -0.5, 0.5, 0.49999997]], "f4")
    mask, out = np.zeros(values.shape, "u4"), np.empty(values.shape, dtype)
    assert PhotonCounts(1.0, dtype=dtype).count(values, mask, out) == 2
    assert out.tolist() == [[largest, largest, largest, largest, 0, 0, 1, 0]]
    assert mask.tolist() == [[0, 0, OUT_OF_RANGE, OUT_OF_RANGE, 0, 0, 0, 0]]


def test_frames_are_made_in_threads_and_pixels_out_of_range_counted():
    values = np.random.default_rng(1).uniform(-5, 300, (5, 3, 16, 8)).astype("f4")
    values[1, 2, 3, 4] = np.nan
    form = FrameForm("photons", "photon", "gzip", photons=PhotonCounts(1.0, dtype="uint8"))
    frames = {
        "data": values.copy(),
        "gain": np.zeros(values.shape, "u1"),
        "mask": np.zeros(values.shape, "u4"),
    }
    made = form.apply(frames)
    assert set(made) == set(frames)
    assert made["data"].dtype == np.dtype(form.dtype) == np.uint8
    np.testing.assert_array_equal(made["data"], np.clip(np.floor(np.nan_to_num(values) + 0.5), 0, 255))
    assert form.out_of_range == np.count_nonzero(made["mask"] == OUT_OF_RANGE) > 100
    assert str(form.out_of_range) in form.summary()


def test_modules_that_are_not_written_are_not_counted():
    form = FrameForm("photons", "photon", "gzip", photons=PhotonCounts(1.0, dtype="uint8"))
    frames = {"data": np.full((2, 3, 1, 4), 1000.0, "f4"), "mask": np.zeros((2, 3, 1, 4), "u4")}
    found = form.apply(frames, modules=[0, 2])
    assert form.out_of_range == 2 * 2 * 4
    assert (found["mask"][:, [0, 2]] == OUT_OF_RANGE).all()
    assert not found["mask"][:, 1].any()
