"""Packed constants: how near they are to those that are not, what stays exact, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve import detectors
from shotsieve.constants.packed import (
    GAIN_SHARE,
    HIGH_GAIN_PHOTON,
    OFFSET_STEP,
    PackingLimits,
    is_packed,
    pack,
    packed_shape,
    unpack,
)
from shotsieve.errors import BadInput

AGIPD = detectors.load("AGIPD1M")
PIXELS = 4096
LIMITS = PackingLimits([0, 1, 2], AGIPD.adc_max, 1.0)


def agipd_table(seed: int, energy: float = 9.3, spread: float = 0.03, planes: int = 8) -> np.ndarray:
    """Folded constants of one cell as AGIPD has them, in photons: see the facility's own ranges."""
    rng = np.random.default_rng(seed)
    table = np.empty((1, planes, PIXELS), "f4")
    levels = (5000, 6600, 7800)
    for plane in range(2):
        table[0, plane] = np.floor((levels[plane] + levels[plane + 1]) / 2 + rng.normal(0, 100, PIXELS))
    for stage, (offset, ratio) in enumerate(zip((5000, 8000, 8600), (1, 30, 134), strict=True)):
        table[0, 2 + stage] = offset + rng.normal(0, 250, PIXELS)
        gain = ratio / (7.2 * energy * (1 + spread * rng.normal(0, 1, PIXELS).clip(-6, 6)))
        table[0, 5 + stage] = np.where(rng.random(PIXELS) < 0.01, np.nan, gain)
    if planes == 10:
        table[0, 8:] = np.ceil(table[0, 2:4] + 500)
    return table


def values(adc: np.ndarray, table: np.ndarray, stage: int) -> np.ndarray:
    """Return calibrated values as the kernels calculate them, float32."""
    return (adc.astype("f4") - table[0, 2 + stage]) * table[0, 5 + stage]


@given(st.integers(0, 10**6), st.floats(5, 25), st.floats(0.005, 0.1), st.sampled_from([8, 10]))
@settings(max_examples=30, deadline=None)
def test_values_of_agipd(seed, energy, spread, planes):
    """Any word of 14 bits: 0.01 photon in high gain, and the bounds of the page in the other stages."""
    exact = agipd_table(seed, energy, spread, planes)
    made = pack(exact, AGIPD, 3, [0], LIMITS)
    assert is_packed(made.table)
    assert not made.table[..., 6:8].any()
    back = unpack(made.table)
    words = np.random.default_rng(seed).integers(0, 16384, (6, PIXELS))
    words[0], words[1] = 0, AGIPD.adc_max
    for stage in range(3):
        offset, gain = exact[0, 2 + stage].astype("f8"), exact[0, 5 + stage].astype("f8")
        good = np.isfinite(gain)
        np.testing.assert_array_equal(np.isnan(back[0, 5 + stage]), ~good)
        range_ = np.nanmax(gain) - np.nanmin(gain)
        step = OFFSET_STEP if np.ptp(offset[good]) > 8000 else OFFSET_STEP / 2
        for adc in words:
            off = np.abs(values(adc, back, stage).astype("f8") - values(adc, exact, stage))[good]
            bound = np.abs(gain) * step / 2 + np.abs(adc - offset) * (range_ / 131068 + 2e-7 * gain)
            assert (off <= 1.001 * bound[good]).all()
            if stage == 0:
                rounding = 2.0**-22 * AGIPD.adc_max * np.nanmax(gain)  # of the two float32 values
                assert off.max() <= made.high_gain_error + rounding
                assert off.max() <= HIGH_GAIN_PHOTON
    assert 0 < made.high_gain_error <= HIGH_GAIN_PHOTON


@given(st.integers(0, 10**6), st.sampled_from([8, 10]))
@settings(max_examples=10, deadline=None)
def test_levels_compare_with_every_word_as_before(seed, planes):
    rng = np.random.default_rng(seed)
    exact = agipd_table(seed, planes=planes)
    levels = np.concatenate(
        [[np.nan, np.inf, 65535, 65536, 1e9, 1, 2], rng.integers(3, 60000, PIXELS - 9), [5, 9]]
    )
    exact[0, 0] = np.where(levels == 65535, 7, levels)
    exact[0, 1] = np.where(levels < 3, [-1e9, -np.inf][seed % 2], levels)
    below = np.concatenate([[np.nan, -np.inf, -3, 0, 1, 65535], rng.integers(2, 60000, PIXELS - 6)])
    if planes == 10:
        exact[0, 8] = below
        exact[0, 9] = np.where(
            below == 1, 2, np.where(below == 65535, [np.inf, 65536, 70000][seed % 3], below)
        )
    back = unpack(pack(exact, AGIPD, 3, [0], LIMITS).table)
    words = np.array([0, 1, 2, 3, 16383, 65533, 65534, *rng.integers(0, 65535, 300)])[:, None]
    for plane in (0, 1):
        np.testing.assert_array_equal(words > exact[0, plane], words > back[0, plane])
    for plane in range(8, planes):
        np.testing.assert_array_equal(words < exact[0, plane], words < back[0, plane])


def test_what_is_exact():
    """Gains of one value, as in ADU, whole and quarter offsets, bad pixels and pixels without an offset."""
    exact = agipd_table(1)
    exact[0, 5:8] = 1
    exact[0, 2:5] = np.rint(4 * exact[0, 2:5]) / 4
    exact[0, 2:8, 7] = np.nan
    exact[0, 6, 9] = np.nan
    exact[0, 3, 9] = 1e30  # the offset of a bad pixel may be anything
    made = pack(exact, AGIPD, 3, [0], LIMITS)
    back = unpack(made.table)
    good = np.isfinite(exact[0, 5:8])
    np.testing.assert_array_equal(back[0, 2:5][good], exact[0, 2:5][good])
    np.testing.assert_array_equal(back[0, 5:8], exact[0, 5:8])
    assert np.isnan(back[0, 5:8, 7]).all()
    assert made.high_gain_error == 0


def test_planes_of_one_stage_and_without_a_good_pixel():
    detector = detectors.load("DSSC1M")
    rng = np.random.default_rng(2)
    exact = np.stack([rng.uniform(30, 60, PIXELS), rng.uniform(0.5, 0.6, PIXELS)]).astype("f4")[None]
    made = pack(exact, detector, 1, [5], PackingLimits.of(detector, "adaptive", False, "keV", 1.0))
    off = np.abs(unpack(made.table) - exact).max(axis=-1)[0]
    assert off[0] <= 2**-10
    assert off[1] <= 0.1 / 131068 + 6e-8  # and the rounding of float32
    dead = np.full((1, 8, PIXELS), np.nan, "f4")
    assert np.isnan(unpack(pack(dead, AGIPD, 0, [0], LIMITS).table)[:, 5:]).all()


def test_the_same_bits_in_any_company():
    """A cell is packed alone: alike with whatever others, and as often as one likes."""
    tables = np.concatenate([agipd_table(seed) for seed in range(4)])
    together = pack(tables, AGIPD, 3, range(4), LIMITS).table
    for at in range(4):
        np.testing.assert_array_equal(
            together[at], pack(tables[at : at + 1], AGIPD, 3, [at], LIMITS).table[0]
        )


def full_frame(at: int, plane: int, value: float) -> np.ndarray:
    """The constants above on a whole module, with one odd pixel."""
    table = np.tile(agipd_table(3), 16)
    table[0, 5:8, at] = 1 / 60
    table[0, plane, at] = value
    return table


@pytest.mark.parametrize(
    ("plane", "value", "match"),
    [
        (5, 40.0, r"module 3, cell 17: the gains of stage 0 go from .* to 40, .*pixel \(2, 44\)"),
        (
            5,
            0.2,
            r"stage 0 go from .* off by up to 0\.\d+ photon in high gain, and 0\.01 is allowed",
        ),
        (
            7,
            900.0,
            r"stage 2 go from .* to 900, .*off by .* of the median, and 2\.4e-04 is allowed",
        ),
        (
            3,
            60000.0,
            r"offsets of gain stage 1 go .* to 60000 ADU \(pixel \(2, 44\)\).*steps of 0\.25 ADU",
        ),
    ],
)
def test_what_does_not_fit_is_refused(plane, value, match):
    table = full_frame(300, plane, value)
    with pytest.raises(BadInput, match=match) as caught:
        pack(table, AGIPD, 3, [17], LIMITS)
    assert "[calibrate] mask" in str(caught.value)
    assert "packed_constants = false" in str(caught.value)
    table[0, 5:8, 300] = np.nan  # once it is bad, it does not matter
    assert pack(table, AGIPD, 3, [17], LIMITS).high_gain_error < HIGH_GAIN_PHOTON


def test_a_stage_that_the_run_cannot_be_in_is_not_looked_at():
    table = full_frame(300, 5, 40.0)
    limits = PackingLimits.of(AGIPD, "fixed_medium", False, "photon", 9.3)
    assert limits.stages == [1]
    assert pack(table, AGIPD, 3, [17], limits).high_gain_error > 0


def test_bounds_of_16_bits():
    assert GAIN_SHARE < 2**-11  # better than float16 in any case
    assert 2 * np.prod(packed_shape(16 * 352, 8, 65536)) < 6e9
    assert 2 * np.prod(packed_shape(1, 8, 65536)) / 65536 == pytest.approx(16, abs=0.01)
