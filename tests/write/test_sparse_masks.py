"""Masks as one static mask per group and a list of what changed: nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from shotsieve.calibrate import NOT_FINITE, OUT_OF_RANGE, WRONG_GAIN
from shotsieve.errors import BadInput
from shotsieve.folded_tables import Tables
from shotsieve.frame_masks import make_masks, sparse_masks
from shotsieve.sparse_masks import SparseMasks, static_masks

WORDS = st.sampled_from([0, 1, 2, 3, 1 << 11, 1 << 12, 0xFFFFFFFF])


@st.composite
def cases(draw):
    frames, pixels = draw(st.integers(0, 6)), draw(st.sampled_from([(1,), (3, 2), (0,)]))
    masks = draw(npst.arrays("u4", (frames, *pixels), elements=WORDS))
    return masks, draw(npst.arrays("i4", (frames,), elements=st.integers(0, 2)))


@given(cases(), st.randoms())
@settings(max_examples=60, deadline=None)
def test_round_trip(case, random):
    masks, group = case
    sparse = SparseMasks.of(masks, group)
    np.testing.assert_array_equal(sparse.restore(), masks)
    np.testing.assert_array_equal(sparse.restore(slice(1, None, 2)), masks[1::2])
    given_static = np.full((3, *masks.shape[1:]), 2, "u4")
    other = SparseMasks.of(masks, group, given_static)
    np.testing.assert_array_equal(other.static, given_static)
    np.testing.assert_array_equal(other.restore(), masks)
    order = list(range(len(masks)))
    random.shuffle(order)
    np.testing.assert_array_equal(static_masks(masks[order], group[order]), sparse.static)


@pytest.mark.parametrize("usual", [0, 1])
def test_masks_of_a_kernel_are_made_sparse_without_the_full_ones(rng, usual):
    """Every stage, every flag, frames without constants; also with the bits of another stage as static."""
    pixels, rows = 64, np.array([[0, -1], [2, 1], [2, 2]], "i4")
    mask = rng.integers(0, 3, (3, 3, pixels)).astype("u4")
    tables = Tables(np.zeros((3, 8, pixels), "f4"), mask, rows.T, np.arange(3, dtype="i4"), bad_bits=1)
    stage = rng.integers(0, 3, (3, 2, pixels)).astype("u1")
    flags = np.array([0, NOT_FINITE, OUT_OF_RANGE, WRONG_GAIN, WRONG_GAIN | NOT_FINITE], "u1")
    stage |= flags[rng.integers(0, len(flags), stage.shape)]
    full, sparse = make_masks(stage, rows, tables), sparse_masks(stage, rows, tables, usual)
    np.testing.assert_array_equal(sparse.restore().reshape(full.shape), full)
    np.testing.assert_array_equal(sparse.static[1:], mask[:, usual])
    assert sparse.group.tolist() == [1, 0, 3, 2, 3, 3]
    some = sparse_masks(stage[1:], rows[1:], tables, usual)
    np.testing.assert_array_equal(some.static, mask[1:, usual])
    np.testing.assert_array_equal(some.restore().reshape(2, 2, pixels), full[1:])
    differ = np.count_nonzero(full.reshape(6, -1) != sparse.static[sparse.group], axis=1)
    np.testing.assert_array_equal(np.diff(sparse.first), differ)
    assert differ[1] == 0


def test_static_bits_are_those_of_most_frames():
    masks = np.array([[1, 8, 6, 0], [1, 8, 2, 4], [1, 0, 4, 4], [5, 5, 5, 5]], np.uint32)
    sparse = SparseMasks.of(masks, [0, 0, 0, 2])
    assert sparse.static.tolist() == [[1, 8, 6, 4], [0, 0, 0, 0], [5, 5, 5, 5]]
    assert sparse.first.tolist() == [0, 1, 2, 4, 4]
    assert sparse.pixel.tolist() == [3, 2, 1, 2]
    assert sparse.value.tolist() == [0, 2, 0, 4]


def test_half_of_the_frames_are_not_most():
    assert static_masks(np.array([[8], [0]], np.uint32), [0, 0]).tolist() == [[0]]


@pytest.mark.parametrize("dtype", ["u1", "u2", "u8"])
def test_other_widths(dtype):
    masks = np.random.default_rng(1).integers(0, 3, (7, 4, 5)).astype(dtype)
    sparse = SparseMasks.of(masks, np.arange(7) % 2)
    assert sparse.static.dtype == sparse.value.dtype == dtype
    np.testing.assert_array_equal(sparse.restore(), masks)


def test_what_does_not_fit_is_refused():
    masks = np.zeros((2, 3), "u4")
    for call, text in (
        (lambda: SparseMasks.of(masks.astype("i4"), [0, 0]), "masks are int32 .* expected unsigned integers"),
        (lambda: SparseMasks.of(masks, [0]), "expected one integer for each of 2 frames"),
        (lambda: SparseMasks.of(masks, [0, -1]), "groups -1 to 0; expected 0 to 0"),
        (lambda: SparseMasks.of(masks, [0, 1], masks[:1]), "groups 0 to 1; expected 0 to 0"),
        (lambda: SparseMasks.of(masks, [0, 0], np.zeros((1, 4), "u4")), r"static masks are uint32 \(4,\)"),
        (lambda: SparseMasks(masks, [0], [0, 1], [3], [1]), "pixel 3; a frame has 3"),
        (lambda: SparseMasks(masks, [0], [0, 1], [1], []), r"value has shape \(0,\); expected \(1,\)"),
        (lambda: SparseMasks(masks, [0], [1, 0], [], []), "from 0 and never falling"),
        (lambda: SparseMasks(masks, [2], [0, 0], [], []), "group 2 to 2; there are 2 static masks"),
    ):
        with pytest.raises(BadInput, match=text):
            call()
