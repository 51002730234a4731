"""Compaction: kept rows, in their order, on every backend."""

from __future__ import annotations

import numpy as np
import pytest
from kernels import compact


@pytest.mark.parametrize("n", [1, 31, 32, 33, 255, 256, 257, 1000])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9, 1.0])
def test_kept_rows_in_order(native_backend, n, share, rng):
    source = rng.integers(0, 256, (n, 48), "u1")
    keep = rng.random(n) < share
    found = compact(native_backend, source, keep, capacity=n)
    kept = np.flatnonzero(keep)
    assert found["count"][0] == len(kept)
    np.testing.assert_array_equal(found["index"][: len(kept)], kept)
    np.testing.assert_array_equal(found["index"][len(kept) :], -1)
    np.testing.assert_array_equal(found["target"][: len(kept)], source[kept])
    assert (found["target"][len(kept) :] == 0xEE).all()


def test_any_non_zero_byte_keeps(native_backend):
    keep = np.array([0, 1, 255, 0, 2], "u1")
    found = compact(native_backend, np.arange(80, dtype="u1").reshape(5, 16), keep, capacity=5)
    assert found["index"][:3].tolist() == [1, 2, 4]


def test_no_row_is_written_beyond_the_capacity(native_backend, rng):
    source = rng.integers(0, 255, (100, 16), "u1")
    found = compact(native_backend, source, np.ones(100, bool), capacity=7)
    assert found["count"][0] == 100
    np.testing.assert_array_equal(found["target"], source[:7])


def test_rows_that_are_not_whole_words_are_refused(native_backend):
    with pytest.raises(ValueError, match="multiple of 16"):
        compact(native_backend, np.zeros((4, 20), "u1"), np.ones(4, bool), capacity=4)
