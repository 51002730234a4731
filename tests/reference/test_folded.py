"""The float32 reference by hand: what each bit and each count is."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shotsieve.constants import Steps, fold
from shotsieve.reference.calibrate import calibrate_count, calibrate_count_folded, calibrate_unfolded

NAN_BITS = 0x7FC00000


def table(*planes, pixels=1):
    return np.repeat(np.float32(planes)[None, :, None], pixels, axis=2)


def words(*pairs):
    """One frame; a pixel for each (adc, gain word)."""
    return np.array(pairs, np.uint16).T[None]


PLAIN = (100, 200, 10, 20, 30, 1, 2, 4)
JUNGFRAU = (np.nan, np.nan, 3000, 15000, 14500, 1 / 41, -1 / 1.439, -1 / 0.1145)


def run(raw, planes, cell_row=(0,), **options):
    return calibrate_count_folded(raw, cell_row, table(*planes, pixels=raw.shape[2]), **options)


def test_known_values_of_a_jungfrau():
    raw = words((3369, 0), (13561, 1), (13355, 3), (5000, 2))
    result = run(raw, JUNGFRAU, encoding=1)
    assert result.pixels[0, :3] == pytest.approx([9, 1000, 10000], rel=1e-6)
    assert np.isnan(result.pixels[0, 3])
    assert result.stage[0].tolist() == [0, 1, 2, 0x40]
    assert result.counts[0, 1] == 3


def test_special_words_of_a_jungfrau():
    raw = words((0, 3), (0, 1), (0x3FFF, 3), (0, 0), (0x3FFF, 0), (0x3FFF, 1), (7, 4), (7, 0xFFFF))
    result = run(raw, JUNGFRAU, encoding=1)
    flags = (result.stage[0] & 0xF0).tolist()
    assert flags == [0x20, 0x20, 0x40, 0, 0, 0, 0x40, 0x40]
    assert np.isfinite(result.pixels[0]).tolist() == [flag == 0 for flag in flags]


def test_codes_that_do_not_fit_a_fixed_gain():
    raw = words((4000, 0), (4000, 1), (4000, 3), (4000, 2))
    for stage, fitting in ((0, 0), (1, 1), (2, 2)):
        result = run(raw, JUNGFRAU, encoding=1, fixed_stage=stage)
        assert (result.stage[0] & 0x40 == 0).tolist() == [i == fitting for i in range(4)]
        assert (result.stage[0] & 3).tolist() == [0, 1, 2, 0]


def test_fixed_gain_ignores_thresholds_and_forcing():
    raw = words((1000, 0), (1000, 150), (1000, 65535))
    result = run(raw, (*PLAIN, 65535, 65535), encoding=0, fixed_stage=1)
    assert result.stage[0].tolist() == [1, 1, 1]
    assert result.pixels[0].tolist() == [1960, 1960, 1960]


def test_lit_is_strictly_above():
    raw = words((10, 0), (11, 0), (12, 0))
    result = run(raw, PLAIN, encoding=0, lit_threshold=1.0)
    assert result.counts[0].tolist() == [1, 3, 3 * 128, 0, 0]
    # 0.7 in float32 is not above 0.7 in float32.
    planes = (100, 200, 0, 0, 0, 0.7, 1, 1)
    assert run(words((1, 0)), planes, encoding=0, lit_threshold=0.7).counts[0, 0] == 0
    assert run(raw, PLAIN, encoding=0).counts[0, 0] == 0


def test_candidates_are_from_the_threshold_on():
    raw = words((10, 0), (11, 0), (12, 0), *[(0, 0)] * 29, (20, 0))
    result = run(raw, PLAIN, encoding=0, candidate_threshold=1.0)
    assert result.counts[0, 4] == 3
    assert result.candidates.tolist() == [[0b110, 0b1]]
    # 0.7 in float32 is not below 0.7 in float32.
    planes = (100, 200, 0, 0, 0, 0.7, 1, 1)
    assert run(words((1, 0)), planes, encoding=0, candidate_threshold=0.7).counts[0, 4] == 1
    masked = (100, 200, 0, 0, 0, np.nan, 1, 1)
    assert run(words((1, 0)), masked, encoding=0, candidate_threshold=-1.0).counts[0, 4] == 0
    without = run(raw, PLAIN, encoding=0)
    assert (without.counts[0, 4], without.candidates.tolist()) == (0, [[0, 0]])


def test_masked_pixels_count_nothing():
    planes = (100, 200, 10, 20, 30, np.nan, np.nan, np.nan)
    result = run(
        words((1000, 0), (1000, 150), (1000, 250)), planes, encoding=0, lit_threshold=-1, to_photon=1
    )
    assert result.counts[0].tolist() == [0, 0, 0, 0, 0]
    assert (result.pixels.view(np.uint32) == NAN_BITS).all()
    assert result.stage[0].tolist() == [0x10, 0x11, 0x12]


def test_out_of_range_and_infinite():
    planes = (100, 200, 0, 0, 0, 1e4, 3e38, 1)
    raw = words((1000, 0), (1001, 0), (2, 150), (0, 150))
    result = run(raw, planes, encoding=0)
    assert (result.stage[0] & 0xF0).tolist() == [0, 0x20, 0x10, 0]
    assert result.pixels[0, 0] == 1e7


def test_no_constants():
    result = run(words((1000, 150)), PLAIN, cell_row=(-1,), encoding=0, lit_threshold=0, to_photon=1)
    assert result.stage.tolist() == [[0x80]]
    assert result.counts.tolist() == [[0, 0, 0, 0, 0]]
    assert result.pixels.view(np.uint32).tolist() == [[NAN_BITS]]


@pytest.mark.parametrize(
    ("adc", "threshold", "photons"),
    [
        (0.5, 0.5, 1),
        (1.5, 0.5, 2),
        (2.5, 0.5, 3),
        (-0.5, 0.5, 0),
        (-1.5, 0.5, -1),
        (0.69, 0.7, 0),
        (0.7, 0.7, 1),
    ],
)
def test_rounding(adc, threshold, photons):
    gain = np.float32(adc)
    planes = (100, 200, 0, 0, 0, gain, 1, 1)
    options = {"encoding": 0, "rounding_threshold": float(np.float32(threshold))}
    rounded = run(words((1, 0)), planes, round_photons=True, to_photon=1, **options)
    assert rounded.pixels[0, 0] == photons
    assert rounded.counts[0].tolist()[2:4] == [photons * 128, max(photons, 0)]
    plain = run(words((1, 0)), planes, to_photon=1, **options)
    assert plain.pixels[0, 0] == gain
    assert plain.counts[0, 3] == max(photons, 0)


def test_just_below_one_half_is_not_rounded_up():
    below = np.nextafter(np.float32(0.5), np.float32(0))
    planes = (100, 200, 0, 0, 0, below, 1, 1)
    result = run(words((1, 0)), planes, encoding=0, round_photons=True)
    assert result.pixels[0, 0] == 0  # floor(x + 0.5) would give 1


def test_set_min_is_for_medium_gain_only():
    raw = words((0, 0), (0, 150), (0, 250))
    assert run(raw, PLAIN, encoding=0, set_min=True).pixels[0].tolist() == [-10, 0, -120]
    assert run(raw, PLAIN, encoding=0).pixels[0].tolist() == [-10, -40, -120]


def test_intensity_rounds_half_to_even():
    planes = (100, 200, 0, 0, 0, 1 / 256, 1, 1)
    assert run(words((1, 0), (3, 0)), planes, encoding=0).counts[0, 2] == 0 + 2


def test_frames_and_groups():
    raw = np.concatenate([words((100 * i, 0)) for i in range(4)])
    counts = np.full((4, 5), -7, np.int64)
    pixels = np.full((4, 1), -7, np.float32)
    stage = np.full((4, 1), 7, np.uint8)
    rows = np.concatenate([table(*PLAIN), table(100, 200, 0, 0, 0, 1, 1, 1)])
    groups = np.int32([[0, 2, 1], [2, 3, -1]])
    calibrate_count(
        raw, np.int32([3, 0, 1]), groups, rows, counts, pixels, stage, encoding=0, lit_threshold=5
    )
    assert counts.tolist() == [[0, 1, 0, 0, 0], [0] * 5, [-7] * 5, [1, 1, 300 * 128, 0, 0]]
    assert pixels[:, 0].tolist()[2:] == [-7, 300]
    assert stage[:, 0].tolist() == [0, 0x80, 7, 0]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), photon=st.booleans())
def test_counts_are_those_of_the_pixels(agipd, make_constants, make_words, seed, photon):
    rng = np.random.default_rng(seed)
    constants = make_constants(agipd, rng, 2)
    folded = fold(constants, agipd, 0, [0, 1], Steps(), "photon" if photon else "keV", 9.3)
    raw = make_words(agipd, rng, 3)
    result = calibrate_count_folded(
        raw, [0, 1, 1], folded.table, encoding=0, lit_threshold=0.7, to_photon=1 if photon else 1 / 9.3
    )
    good = (result.stage & 0xF0) == 0
    np.testing.assert_array_equal(good, np.isfinite(result.pixels))
    assert (result.pixels[~good].view(np.uint32) == NAN_BITS).all()
    lit = (result.pixels > np.float32(0.7)).sum(axis=1)
    np.testing.assert_array_equal(result.counts[:, 0], lit)
    np.testing.assert_array_equal(result.counts[:, 1], good.sum(axis=1))
    scaled = np.rint(np.where(good, result.pixels, 0).astype(np.float64) * 128)
    np.testing.assert_array_equal(result.counts[:, 2], scaled.sum(axis=1))


def test_mask_of_the_oracle():
    raw = words((100, 0), (100, 0), (100, 0), (100, 2), (0, 3))
    bits = np.zeros((3, 1, 5), np.uint32)
    bits[:, 0, 1], bits[:, 0, 2] = 1 << 0 | 1 << 17, 1 << 16
    gain = np.ones((3, 1, 5))
    gain[:, 0, 0] = np.nan
    result = calibrate_unfolded(
        np.concatenate([raw, raw]),
        [0, -1],
        offset=np.zeros((3, 1, 5)),
        adu_per_kev=gain,
        bad_pixels=bits,
        encoding=1,
        bad_bits=0xFFFFFFFF & ~(1 << 16),
    )
    assert result.mask[0].tolist() == [1 << 11, 1 | 1 << 17, 1 << 16, 1 << 21, 1 << 12]
    assert np.isfinite(result.pixels[0]).tolist() == [False, False, True, False, False]
    assert result.mask[1].tolist() == [1 << 3] * 5
    assert np.isnan(result.pixels[1]).all()
