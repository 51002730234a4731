"""Lists of pixels that hold photons, on every backend, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from shotsieve import PhotonList
from shotsieve.errors import BadInput
from shotsieve.reference.photon_list import dense, list_photons


def speckled(rng, shape, share, dtype):
    largest = np.iinfo(dtype).max
    counts = rng.integers(1, largest, shape, dtype, endpoint=True)
    return np.where(rng.random(shape) < share, counts, 0).astype(dtype)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("pixels", [1, 31, 64, 257, 1000])
@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_lists_are_those_of_the_reference(native_backend, rng, dtype, pixels, share):
    frames = speckled(rng, (9, pixels), share, dtype)
    found = PhotonList.of(frames, backend=native_backend, threads=3)
    first, pixel, count = list_photons(frames)
    for name, mine, theirs in (
        ("first", found.first, first),
        ("pixel", found.pixel, pixel),
        ("count", found.count, count),
    ):
        assert mine.dtype == theirs.dtype, name
        np.testing.assert_array_equal(mine, theirs, err_msg=name)
    np.testing.assert_array_equal(found.dense(), frames)
    np.testing.assert_array_equal(dense(first, pixel, count, pixels), frames)
    np.testing.assert_array_equal(found.photons, frames.sum(axis=1, dtype="i8"))


def test_no_entry_is_written_outside_of_those_of_a_frame(native_backend):
    """A count that is too small, as of frames that changed in between, must not spoil what lies behind."""
    device, stream = native_backend.device, native_backend.device.stream()

    def there(array):
        target = device.empty(array.shape, array.dtype)
        device.to_device(target, array, stream)
        return target

    frames, first = np.ones((2, 300), "u2"), np.array([0, 5, 10], "i8")
    pixel, count = there(np.full(16, 77, "u4")), there(np.full(16, 99, "u2"))
    native_backend.native.photon_list(
        there(frames), there(first), pixel, count, **native_backend.on(stream, threads=1)
    )
    out = device.empty_pinned(pixel.shape, pixel.dtype)
    device.to_host(out, pixel, stream)
    device.wait(device.record(stream))
    assert out.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 77, 77, 77, 77, 77, 77]


@settings(max_examples=40, deadline=None)
@given(nps.arrays(st.sampled_from(["u1", "u2"]), nps.array_shapes(min_dims=2, max_dims=4, max_side=9)))
def test_dense_of_a_list_is_the_frames(frames):
    for axes in range(1, frames.ndim):
        found = PhotonList.of(frames, axes=axes)
        assert found.dense().dtype == frames.dtype
        np.testing.assert_array_equal(found.dense().reshape(frames.shape), frames)
        first, frame, count = found.by_pixel()
        turned = found.dense().reshape(len(found), -1).T
        for pixel, row in enumerate(turned):
            mine = slice(first[pixel], first[pixel + 1])
            np.testing.assert_array_equal(frame[mine], np.flatnonzero(row))
            np.testing.assert_array_equal(count[mine], row[row > 0])
        half = len(found) // 2
        np.testing.assert_array_equal(found.part(half, len(found)).dense(), found.dense()[half:])
        np.testing.assert_array_equal(found.dense(np.array([half])), found.dense()[half : half + 1])


@pytest.mark.parametrize(
    ("frames", "axes", "text"),
    [
        (np.zeros((2, 3), "f4"), None, "float32 .*expected whole photons .*PhotonCounts"),
        (np.zeros((2, 3), "i4"), None, "expected whole photons as uint8 or uint16"),
        (np.zeros(3, "u1"), None, "an axis of frames before"),
        (np.zeros((2, 3), "u1"), 2, "axes = 2: expected 1 to 1"),
        (np.zeros((2, 0), "u1"), None, "0 pixels"),
    ],
)
def test_what_is_no_photons_is_refused(frames, axes, text):
    with pytest.raises(BadInput, match=text):
        PhotonList.of(frames, axes=axes)
