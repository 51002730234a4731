"""Bounded rounding keeps its promise for every float32 there is."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from shotsieve.errors import BadInput
from shotsieve.reference.rounding import rounded
from shotsieve.write.rounding import MANTISSA_BITS, Rounding

# Bit patterns, so that every value is as likely as any other: NaN of all kinds, infinities, subnormals, -0.
WORDS = hnp.arrays(np.uint32, st.integers(1, 64))
FLOATS = hnp.arrays(np.float32, st.integers(1, 64), elements=st.floats(width=32))
VALUES = st.one_of(WORDS.map(lambda words: words.view(np.float32)), FLOATS)
STEPS = st.one_of(st.just(0.0), st.integers(-100, 24).map(lambda power: 2.0**power))
ROUNDINGS = st.builds(Rounding, STEPS, st.integers(1, MANTISSA_BITS))
ABSOLUTE = st.one_of(st.none(), st.floats(2.0**-100, 2.0**24))
RELATIVE = st.one_of(st.none(), st.floats(2.0**-MANTISSA_BITS, 0.25))


def apply(rounding, values):
    out = values.copy()
    rounding.apply(out)
    return out


def bits(values):
    return np.ascontiguousarray(values).view(np.uint32)


@given(VALUES, ROUNDINGS)
def test_it_is_the_reference_bit_for_bit(values, rounding):
    np.testing.assert_array_equal(
        bits(apply(rounding, values)), bits(rounded(values, rounding.step, rounding.bits))
    )


@given(VALUES, ABSOLUTE, RELATIVE)
def test_the_bound_holds_for_every_finite_value(values, absolute, relative):
    if absolute is None and relative is None:
        absolute = 1.0
    out = apply(Rounding.within(absolute, relative), values)
    for x, y in zip(values[np.isfinite(values)].tolist(), out[np.isfinite(values)].tolist(), strict=True):
        half = Fraction(absolute or 0) / 2
        assert abs(Fraction(y) - Fraction(x)) <= max(half, Fraction(relative or 0) * abs(Fraction(x)))


@given(VALUES, ROUNDINGS)
def test_the_error_is_half_a_step_and_values_are_multiples(values, rounding):
    out = apply(rounding, values)
    for x, y in zip(values.tolist(), out.tolist(), strict=True):
        if not np.isfinite(x) or x == 0:
            continue
        exponent = Fraction(2) ** int(np.frexp(x)[1] - 1 - rounding.bits)
        step = max(Fraction(rounding.step), exponent)
        assert abs(Fraction(y) - Fraction(x)) <= step / 2
        largest = Fraction(float(np.finfo(np.float32).max))
        small = rounding.step == 0 and abs(x) < 2.0**-126
        if not small and abs(Fraction(x)) + step / 2 <= largest:
            assert (Fraction(y) / step).denominator == 1


@given(VALUES, ROUNDINGS)
def test_nan_zero_sign_and_infinity(values, rounding):
    out = apply(rounding, values)
    missing = np.isnan(values)
    assert (bits(out)[missing] == 0x7FC00000).all()
    np.testing.assert_array_equal(np.signbit(out)[~missing], np.signbit(values)[~missing])
    np.testing.assert_array_equal(np.isfinite(out), np.isfinite(values))
    same = (values == 0) | np.isinf(values)
    np.testing.assert_array_equal(bits(out)[same], bits(values)[same])


@given(VALUES, ROUNDINGS)
def test_twice_is_once_and_the_order_stays(values, rounding):
    out = apply(rounding, values)
    np.testing.assert_array_equal(bits(apply(rounding, out)), bits(out))
    ordered = np.sort(values[~np.isnan(values)])
    assert (np.diff(apply(rounding, ordered).astype(np.float64)[np.isfinite(ordered)]) >= 0).all()


@pytest.mark.parametrize("rounding", [Rounding(2.0**-5), Rounding(bits=7), Rounding(2.0**-5, 6)], ids=str)
def test_every_exponent_and_the_neighbours_of_every_tie(rounding):
    """Each exponent with mantissas around halves, where a rounding goes wrong if it does."""
    mantissas = np.unique([(half << shift) + near & 0x7FFFFF for shift in range(23) for half in (1, 3, 5)
                           for near in (-1, 0, 1)])  # fmt: skip
    words = (np.arange(256, dtype=np.uint32)[:, None] << 23 | mantissas.astype(np.uint32)).ravel()
    values = np.concatenate([words, words | 0x80000000]).astype(np.uint32).view(np.float32)
    expected = rounded(values, rounding.step, rounding.bits)
    np.testing.assert_array_equal(bits(apply(rounding, values)), bits(expected))


@pytest.mark.parametrize(
    ("value", "step", "expected"),
    [(0.3, 1024.0, 0.0), (1e-3, 0.5, 0.0), (-1e-30, 2.0**-5, -0.0), (512.0, 1024.0, 0.0),
     (513.0, 1024.0, 1024.0)],
)  # fmt: skip
def test_far_below_the_step_is_zero(value, step, expected):
    out = apply(Rounding(step), np.array([value], np.float32))
    np.testing.assert_array_equal(bits(out), bits(np.array([expected], np.float32)))


def test_what_is_asked_for_becomes_powers_of_two():
    assert Rounding.within(0.05, 0.01) == Rounding(2.0**-5, 6)
    assert Rounding.within(0.0625, 0.25) == Rounding(2.0**-4, 1)
    assert Rounding.within(relative=2.0**-23) == Rounding(0.0, 22)
    assert Rounding.within(absolute=3.0) == Rounding(2.0, MANTISSA_BITS)


@pytest.mark.parametrize(
    ("absolute", "relative", "words"),
    [(None, None, "expected an absolute step"), (0.0, None, "an absolute step of 0"),
     (-1.0, None, "an absolute step of -1"), (1e9, None, "an absolute step of 1e\\+09"),
     (float("nan"), None, "an absolute step of nan"), (None, 0.3, "a relative error of 0.3"),
     (None, 1e-9, "nothing to round"), (None, 0.0, "a relative error of 0")],
)  # fmt: skip
def test_bounds_that_cannot_be_kept_are_refused(absolute, relative, words):
    with pytest.raises(BadInput, match=words):
        Rounding.within(absolute, relative)


def test_steps_and_arrays_of_another_kind_are_refused():
    for step, kept in ((0.3, 5), (2.0**30, 5), (1.0, 0), (1.0, 24), (-1.0, 5)):
        with pytest.raises(BadInput, match="a power of two"):
            Rounding(step, kept)
    for values in (np.zeros(4), np.zeros((4, 4), np.float32)[:, ::2]):
        with pytest.raises(BadInput, match="contiguous float32"):
            Rounding(1.0).apply(values)
