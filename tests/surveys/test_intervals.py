"""Intervals of shares."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.surveys.intervals import Share, share_of, weighted_share


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    # The ends have closed forms where nothing or everything was counted; the others solve the tail's sum.
    [
        (0, 10, 0.0, 1 - 0.025 ** (1 / 10)),
        (10, 10, 0.025 ** (1 / 10), 1.0),
        (1, 1, 0.025, 1.0),
        (4, 20, 0.057334, 0.436614),  # as tables have it
    ],
)
def test_known_ends(count, of, low, high):
    share = share_of(count, of)
    assert share.low == pytest.approx(low, abs=1e-6)
    assert share.high == pytest.approx(high, abs=1e-6)
    assert share.holds(count / of)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.floats(0.001, 0.999))
def test_the_true_share_is_held_as_often_as_promised(of, share):
    chance = [math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(of + 1)]
    held = sum(p for k, p in enumerate(chance) if share_of(k, of).holds(share))
    assert held >= 0.95 - 1e-9


def test_many_shots_and_none():
    share = share_of(50_000, 1_000_000)
    assert share.high - share.low == pytest.approx(2 * 1.96 * math.sqrt(0.05 * 0.95 / 1e6), rel=0.01)
    nothing = share_of(0, 0)
    assert (nothing.low, nothing.high) == (0.0, 1.0)
    assert math.isnan(nothing.value)
    assert str(nothing) == "not known (0 shots)"


def test_weights():
    yes = np.array([True] * 3 + [False] * 17)
    even = weighted_share(yes, np.full(20, 50.0))
    plain = share_of(3, 20)
    assert (even.count, even.of) == (150.0, 1000.0)
    assert (even.low, even.high) == (plain.low, plain.high)
    # One shot that stands for most says little about all.
    uneven = weighted_share(yes, np.array([1000.0] + [1.0] * 19))
    assert uneven.value == pytest.approx(1002 / 1019)
    assert uneven.low < 0.05
    assert weighted_share(np.zeros(0, bool), np.zeros(0)) == Share(0, 0, 0.0, 1.0)
