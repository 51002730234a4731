"""Sums of dark frames: every backend against the reference, the same integers in any order and cut."""

from __future__ import annotations

import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.errors import BadInput
from shotsieve.measure.darks import DarkSums, DarkWords, dark_words, moments
from shotsieve.reference import darks as reference

WORDS = {
    "levels": dark_words(detectors.load("AGIPD1M"), 0),
    "high": dark_words(detectors.load("JUNGFRAU"), 0),
    "low": dark_words(detectors.load("JUNGFRAU"), 2),
    "packed": DarkWords(value_mask=0x0FFF, code_shift=12, code_mask=3, code=2, most=4095),
    "second": DarkWords(
        value_plane=1, code_plane=1, value_mask=0x0FFF, code_shift=12, code_mask=3, most=4095
    ),
    "wrapped": DarkWords(zero_as=256, most=511),
}


def make_raw(rng, name, frames=37, pixels=1300):
    """Words with every special one among them."""
    raw = rng.integers(0, 2**16, (frames, 2, pixels), dtype="u2")
    near = rng.random(raw.shape) < 0.8
    raw[near] = rng.integers(0, 16384, int(near.sum()))
    if name in ("high", "low"):
        raw[:, 1] = rng.choice([0, 1, 2, 3, 3, 0], raw[:, 1].shape)
    special = rng.random((frames, pixels)) < 0.1
    raw[:, 0][special] = rng.choice(
        [0, 1, 255, 256, 511, 512, 4095, 16382, 16383, 16384, 65535], special.sum()
    )
    return raw


def gate_of(rng, rows, pixels):
    low = rng.integers(0, 9000, (rows, pixels), dtype="u2")
    return low, (low + rng.integers(0, 5000, low.shape)).astype("u2")


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("name", WORDS)
def test_same_sums_as_the_reference(native_backend, name, gated, rng):
    words, raw, rows = WORDS[name], make_raw(rng, name), 3
    row = rng.integers(0, rows, len(raw))
    frames = np.flatnonzero(rng.random(len(raw)) < 0.9)  # others are absent
    gate = gate_of(rng, rows, raw.shape[2]) if gated else None
    keys = {"low": gate[0], "high": gate[1]} if gated else {}
    want = reference.dark_sums(
        raw, frames, row[frames], rows, levels=words.has_levels, **keys, **words.kernel_args()
    )
    sums = DarkSums(native_backend, rows, raw.shape[2], words, gate)
    # In another order, and cut into blocks of any size.
    for part in np.array_split(rng.permutation(frames), rng.integers(1, 5)):
        sums.add(raw, part, row[part])
    for kind, values in want.items():
        np.testing.assert_array_equal(sums.fetch(kind), values, kind)
    np.testing.assert_array_equal(sums.frames_in, np.bincount(row[frames], minlength=rows))
    inside = want["count"] + want["wrong"] + want.get("outside", 0)
    np.testing.assert_array_equal(inside, np.repeat(sums.frames_in[:, None], raw.shape[2], axis=1))


def test_a_row_out_of_range_is_left_out(native_backend):
    sums = DarkSums(native_backend, 1, 4, DarkWords())
    device = native_backend.device
    pinned = [device.empty_pinned((2,), "i4") for _ in range(2)]
    pinned[0][:], pinned[1][:] = [0, 0], [1, -1]
    there = [device.twin(one) for one in pinned]
    raw = device.empty_pinned((1, 1, 4), "u2")
    raw[:] = 9
    twin = device.twin(raw)
    for target, source in zip((*there, twin), (*pinned, raw), strict=True):
        device.to_device(target, source, sums.stream)
    native_backend.native.dark_sums(twin, *there, **sums._sums, stream=device.handle(sums.stream), threads=2)
    device.wait(device.record(sums.stream))
    assert not sums.fetch("count").any()


def test_sums_hold_to_the_last_frame_and_not_one_more(native_backend):
    """65,537 words of 65,535 are the largest sum of 32 bits."""
    words, most = DarkWords(level_plane=1), 65537
    assert words.most_frames == most
    sums = DarkSums(native_backend, 1, 3, words)
    raw = np.full((1, 2, 3), 65535, "u2")
    sums.add(raw, np.zeros(most, int), np.zeros(most, int))
    for kind in ("", "level_"):
        assert (sums.fetch(f"{kind}sum") == 2**32 - 1).all()
        assert (sums.fetch(f"{kind}squares") == most * 65535**2).all()
    assert (sums.values().std == 0).all()
    assert (sums.levels().mean == 65535).all()
    with pytest.raises(BadInput, match="more than 65537 frames"):
        sums.add(raw, [0], [0])


def test_means_and_spreads_are_those_of_numpy(native_backend, rng):
    values = rng.normal(9000, 7, (80, 1, 500)).round().astype("u2")
    sums = DarkSums(native_backend, 1, 500, DarkWords(most=16383))
    sums.add(values, np.arange(80), np.zeros(80, int))
    found = sums.values()
    np.testing.assert_allclose(found.mean[0], values[:, 0].mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(found.std[0], values[:, 0].std(axis=0, ddof=1), rtol=1e-6)


def test_one_sample_has_no_spread_and_none_has_no_mean():
    count, total = np.array([[0, 1, 2]], "u4"), np.array([[0, 7, 14]], "u4")
    found = moments(count, total, np.array([[0, 49, 98]], "u8"))
    np.testing.assert_array_equal(found.mean, np.array([[np.nan, 7, 7]], "f4"))
    np.testing.assert_array_equal(found.std, np.array([[np.nan, np.nan, 0]], "f4"))


def test_sizes_are_told_before_the_start(native_backend):
    with pytest.raises(BadInput, match=r"352 cells of 65536 pixels take 0\.83 GB; there are 0\.10 GB"):
        DarkSums(native_backend, 352, 65536, WORDS["levels"], most_bytes=10**8)


def test_wrong_arrays_are_refused(native_backend):
    sums = DarkSums(native_backend, 1, 10, DarkWords())
    with pytest.raises(ValueError, match="count"):
        sums.add(np.zeros((3, 1, 11), "u2"), [0], [0])
    with pytest.raises(ValueError, match="code_plane"):
        DarkSums(native_backend, 1, 4, DarkWords(code_plane=1, code_mask=3)).add(
            np.zeros((3, 1, 4), "u2"), [0], [0]
        )
