"""The oracle of the peak finder on frames whose answer follows by hand from the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from shotsieve.reference.peaks import FILTERS
from shotsieve.reference.peaks_margin import FIRM

from .cases import Case, cases, grid, put, random_case

FLT_MAX = float(np.finfo("f4").max)
# 3 where ss + fs is even, else 1: mean 2, sigma 1, whatever is not a spot.
CHECKER = np.float32(2 + (-1) ** np.add.outer(np.arange(16), np.arange(16)))
EMPTY = np.zeros((16, 16), "f4")
# With local_bg_radius = 1 the disc around (8, 8) has 11 pixels: (-2, 0), (-1, -1..1), (0, -2..1), (1, -1..1).
# Without its centre: six pixels of 3 and four of 1.
RING = {"background": 22 / 10, "sigma": np.sqrt(58 / 10 - 2.2**2)}


def checker(*pixels, **changes):
    return Case.flat(put(CHECKER, *pixels), threshold=10, local_bg_radius=1, **changes)


def positions(found):
    return [(float(peak["fs"]), float(peak["ss"]), int(peak["n_pixels"])) for peak in found.records]


def no_peak(found, **rejected):
    assert len(found.records) == 0
    assert found.rejected == dict.fromkeys(FILTERS, 0) | rejected


def test_every_number_of_one_pixel():
    found = checker((8, 8, 50)).oracle()
    (peak,) = found.records
    assert (peak["fs"], peak["ss"], peak["panel"], peak["n_pixels"]) == (8, 8, 0, 1)
    expected = {**RING, "total": 47.8, "max": 47.8, "snr": 47.8 / np.sqrt(0.96)}
    for name, value in expected.items():
        assert peak[name] == pytest.approx(value, rel=1e-12), name
    assert found.members[0].tolist() == [8 * 16 + 8]
    assert found.threshold.tolist() == [FLT_MAX] * 10 + [10]
    assert found.offset[10] == pytest.approx((2 * 256 - 3) / 255)
    assert found.rejected == dict.fromkeys(FILTERS, 0)
    assert found.margin[0] > 0.1
    assert not found.loose.any()


def test_exactly_five_passes_each_of_which_takes_the_largest_outlier():
    outliers = 10.0 ** np.arange(1, 8)
    frame = np.concatenate([np.tile([-1.0, 1.0], 100), outliers])
    found = Case.flat(frame[None, :], threshold=2).oracle()
    # The fifth pass works without the four largest.
    mean, square = 1110 / 203, (200 + 1e2 + 1e4 + 1e6) / 203
    assert found.offset[10] == pytest.approx(mean, rel=1e-12)
    assert found.threshold[10] == pytest.approx(mean + 5 * np.sqrt(square - mean**2), rel=1e-12)


def test_the_given_threshold_also_limits_what_is_clipped():
    # 1 % of the pixels are 1: mean plus five sigmas is 0.51, but they are below the threshold and stay.
    frame = np.zeros((20, 50), "f4")
    frame[::2, 7] = 1
    found = Case.flat(frame, threshold=3).oracle()
    assert found.threshold[10] == 3
    assert found.offset[10] == 0.01


def test_bins_are_rounded_half_to_even_and_counted_over_masked_pixels_too():
    radius = np.full((16, 16), 2.5, "f4")
    radius[:4], radius[0, 0] = 3.5, 6.2
    mask = np.ones((16, 16), bool)
    mask[0, 0] = False
    found = Case.flat(put(CHECKER, *[(s, f, 5) for s in range(4) for f in range(16)]), radius=radius,
                      mask=mask, threshold=10).oracle()  # fmt: skip
    assert len(found.offset) == 8
    assert found.offset[2] == 2
    # Nothing lies strictly between equal limits: a constant bin is empty in pass two and four.
    assert found.offset[4] == 5
    assert found.threshold[4] == 10
    assert found.threshold[[3, 5, 6, 7]].tolist() == [FLT_MAX] * 4


@pytest.mark.parametrize(
    ("at", "counts"),
    [
        ((8, 6), True),
        ((6, 8), True),
        ((8, 10), False),
        ((10, 8), False),
        ((7, 7), True),
        ((9, 9), True),
        ((6, 7), False),
    ],
)
def test_the_disc_runs_from_minus_r_to_r_minus_1(at, counts):
    (peak,) = checker((8, 8, 50), (*at, 9)).oracle().records
    before = float(CHECKER[at])
    expected = (22 - before + 9) / 10 if counts else 2.2
    assert peak["background"] == pytest.approx(expected, rel=1e-12)


def test_what_equals_the_threshold_is_neither_strong_nor_background():
    found = checker((8, 8, 50), (8, 7, 10)).oracle()
    (peak,) = found.records
    assert peak["n_pixels"] == 1
    assert peak["background"] == pytest.approx(21 / 9, rel=1e-12)
    assert found.margin[0] > FIRM, "10 > 10 does not hang on rounding"


def test_the_threshold_is_rounded_to_float32():
    noise = np.float32(0.01) * CHECKER
    for value, peaks in ((np.float32(0.1), 0), (np.nextafter(np.float32(0.1), np.float32(1)), 1)):
        found = Case.flat(put(noise, (8, 8, value)), threshold=0.1, min_snr=2).oracle()
        assert len(found.records) == peaks


def test_a_pixel_on_the_border_is_no_component_and_one_beside_it_takes_it_in():
    no_peak(checker((0, 6, 50), (15, 9, 50), (6, 0, 50), (9, 15, 50), (0, 0, 50)).oracle())
    assert positions(checker((0, 6, 50), (1, 7, 50)).oracle()) == [(6.5, 0.5, 2)]


def test_diagonal_neighbours_are_connected_and_a_knights_move_is_not():
    assert positions(checker((8, 8, 50), (9, 9, 50), min_pix_count=2).oracle()) == [(8.5, 8.5, 2)]
    assert positions(checker((8, 8, 50), (9, 7, 150)).oracle()) == [(7.25, 8.75, 2)]
    assert positions(checker((8, 8, 50), (9, 10, 50)).oracle()) == [(8, 8, 1), (10, 9, 1)]


def test_touching_spots_are_one_peak():
    spots = [(6, 6, 50), (6, 7, 20), (6, 8, 50), (5, 6, 15), (7, 8, 15)]
    assert positions(checker(*spots).oracle()) == [(7, 6, 5)]


def test_order_is_that_of_the_first_pixel_off_the_border():
    # The right one begins in row 0, but both have their first interior pixel in row 1.
    found = checker((0, 12, 50), (1, 12, 50), (1, 4, 40), (0, 1, 30), (1, 1, 30)).oracle()
    assert positions(found) == [(1, 0.5, 2), (4, 1, 1), (12, 0.5, 2)]


def test_members_are_sorted_also_where_the_component_winds():
    found = checker((3, 5, 20), (4, 4, 20), (5, 5, 20), (4, 6, 20), (4, 5, 6)).oracle()
    assert found.members[0].tolist() == [53, 68, 70, 85]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_count_as_masked(bad):
    mask = np.ones((16, 16), bool)
    mask[8, 7] = False
    masked = checker((8, 8, 50), (8, 7, 500), mask=mask).oracle()
    found = checker((8, 8, 50), (8, 7, bad)).oracle()
    assert found.records.tobytes() == masked.records.tobytes()
    assert found.records["n_pixels"].tolist() == [1]
    assert found.records["background"][0] == pytest.approx(21 / 9, rel=1e-12)


def test_another_strong_pixel_is_not_background():
    assert checker((8, 8, 50), (8, 6, 60)).oracle().records["background"][1] == pytest.approx(19 / 9)


@pytest.mark.parametrize(("first", "centre"), [(8, 8), (9, 10)])
def test_the_centre_of_the_ring_is_rounded_half_to_even(first, centre):
    pair = [(8, first, 50), (8, first + 1, 50)]
    plain = checker(*pair).oracle()
    assert plain.margin[0] > FIRM, "two numbers add up to the same in either order"
    for fs in range(centre - 4, centre + 5):
        if first <= fs <= first + 1:
            continue
        changed = checker(*pair, (8, fs, 9)).oracle().records["background"][0]
        assert (changed != plain.records["background"][0]) == (centre - 2 <= fs <= centre + 1), fs


def test_the_ring_is_cut_by_the_panel_and_centred_on_weights_above_the_offset():
    # Raw weights -1 and 8 are centred on 8 / 7, weights 99 and 108 on 0.52.
    frame = CHECKER - 102
    case = Case.flat(put(frame, (1, 1, -1), (1, 2, 8)), threshold=-50, local_bg_radius=1)
    (peak,) = case.oracle().records
    assert peak["fs"] == pytest.approx((8 * 2 - 1) / 7)
    # Around (1, 2): (0, 1..3), (1, 0..3), (2, 1..3) without two members; (-1, 2) is outside.
    ring = [frame[0, 1], frame[0, 2], frame[0, 3], frame[1, 0], frame[1, 3], *frame[2, 1:4]]
    assert peak["background"] == pytest.approx(np.mean(ring), rel=1e-12)


def test_sizes_are_inclusive():
    spots = [(4, 4, 50), (8, 8, 50), (8, 9, 50), (12, 3, 50), (12, 4, 50), (12, 5, 50)]
    case = {n: checker(*spots, min_pix_count=n, max_pix_count=n).oracle() for n in (1, 2, 3, 4)}
    for n, found in case.items():
        assert found.records["n_pixels"].tolist() == ([n] if n < 4 else [])
        assert found.rejected["too_few_pixels"] == n - 1
        assert found.rejected["too_many_pixels"] == max(3 - n, 0)
    assert case[1].rejected_margin["too_many_pixels"].shape == (2,)


def test_weights_that_cancel():
    background = CHECKER - 12
    kept = Case.flat(put(background, (8, 5, -1), (8, 6, 1.5)), threshold=-4)
    assert positions(kept.oracle()) == [(8, 8, 2)], (
        "the raw values are the weights, not those above background"
    )
    no_peak(kept.with_frame(put(background, (8, 5, -1), (8, 6, 1))).oracle(), no_weight=1)
    no_peak(kept.with_frame(put(background, (8, 13, -1), (8, 14, 1.5))).oracle(), outside_panel=1)
    # The divisor is the absolute sum: 5 * -1.5 + 6 * 1 over 0.5 is -3.
    no_peak(kept.with_frame(put(background, (8, 5, -1.5), (8, 6, 1))).oracle(), outside_panel=1)


def test_a_background_pixel_higher_than_the_peak():
    # Row 4 is a bin of its own, 18 +- 8, whose threshold is 42: its pixels are background up to there.
    radius = np.full((16, 16), 10, "f4")
    radius[4] = 20
    spot = [(ss, fs, 25) for ss in (6, 7, 8) for fs in (6, 7, 8)]
    row = [(4, fs, 18 + 8 * (-1) ** fs) for fs in range(16)]
    case = Case.flat(put(CHECKER, *spot, *row), radius=radius, threshold=10, min_snr=3,
                     local_bg_radius=2)  # fmt: skip
    no_peak(case.oracle(), background_higher=1)
    higher = case.with_frame(put(case.frame, (7, 7, 27)))
    assert positions(higher.oracle())[0][2] == 9
    assert case.oracle().rejected_margin["background_higher"][0] > 0.03
    equal = case.with_frame(put(case.frame, (7, 7, 26))).oracle()
    assert len(equal.records) == 1, "only a higher one rejects"
    assert equal.margin[0] > FIRM, "26 < 26 does not hang on rounding"


def test_empty_background_hides_every_peak():
    # Zeros: sigma 0, so nothing passes the strict limits; the spot alone is positive, and constant too.
    found = Case.flat(put(EMPTY, (8, 8, 50))).oracle()
    no_peak(found)
    assert (found.threshold[10], found.offset[10]) == (FLT_MAX, 0)
    assert not found.bins_at_risk.any(), "whole numbers: every sum is exact"
    spot = [(8 + i, 8 + j, 50 - 9 * (abs(i) + abs(j))) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    no_peak(Case.flat(put(EMPTY, *spot)).oracle())


def test_a_noise_floor_finds_them():
    found = Case.flat(put(EMPTY, (8, 8, 50)), noise_floor=0.125).oracle()
    (peak,) = found.records
    assert (peak["background"], peak["sigma"], peak["snr"]) == (0, 0.125, 400)
    assert found.threshold[10] == 3
    floor = 30.0
    (peak,) = checker((8, 8, 250), noise_floor=floor).oracle().records
    assert peak["sigma"] == pytest.approx(np.hypot(floor, RING["sigma"]), rel=1e-12)
    noise = checker(noise_floor=floor).oracle()
    assert noise.threshold[10] == pytest.approx(2 + 5 * np.hypot(floor, 1), rel=1e-12)
    assert noise.threshold[0] == 150, "an empty bin: min_snr * noise_floor, here above the threshold"


@pytest.mark.parametrize(
    ("constant", "threshold", "rejected"),
    [(1.0, 4.0, {"low_snr": 1}), (7.0, 10.0, {"low_snr": 1}), (1024.0, 1027.0, {"low_snr": 1}),
     (-2.0, 1.0, {})],
)  # fmt: skip
def test_constant_background_has_no_sigma(constant, threshold, rejected):
    # A positive constant comes back in the fourth pass and the spot is strong, but its ring has sigma 0.
    no_peak(Case.flat(put(EMPTY + constant, (8, 8, constant + 50)), threshold=threshold).oracle(), **rejected)


def test_a_spot_among_scattered_photons():
    frame = EMPTY.copy()
    frame[::4, ::4] = 1
    # In the disc of radius 6 cut at 5: rows and columns 4, 8, 12 around (8, 8), the spot itself apart.
    (peak,) = Case.flat(put(frame, (8, 8, 50)), min_snr=2).oracle().records
    assert peak["background"] == 8 / 110
    assert peak["sigma"] == pytest.approx(np.sqrt(8 / 110 - (8 / 110) ** 2), rel=1e-12)


def test_the_range_of_radii_is_exclusive_and_leaves_everything():
    radius = np.full((16, 16), 10, "f4")
    radius[8, 7], radius[7, 8] = 5, 20
    case = checker((8, 8, 50), (8, 7, 9), (7, 8, 9), radius=radius, min_res=5, max_res=20)
    (peak,) = case.oracle().records
    assert peak["background"] == pytest.approx(20 / 8, rel=1e-12)
    (peak,) = checker((8, 8, 50), (8, 7, 9), (7, 8, 9), radius=radius, min_res=4.9).oracle().records
    assert peak["background"] == pytest.approx(38 / 10, rel=1e-12)


def test_nothing_crosses_the_border_of_a_panel():
    pixels = [(6, 7, 50), (6, 8, 50), (6, 6, 50)]
    whole = checker(*pixels).oracle()
    assert positions(whole) == [(7, 6, 3)]
    halves = checker(*pixels, panels=grid(16, 16, 16, 8)).oracle()
    assert positions(halves) == [(6.5, 6, 2)], "(6, 8) is on the border of its panel"
    assert halves.records["background"][0] != whole.records["background"][0]


def test_panels_come_in_their_order_and_nothing_outside_them_is_used():
    pixels = [(3, 3, 50), (3, 12, 60), (12, 3, 70), (12, 12, 80)]
    panels = grid(16, 16, 8, 8)[[2, 0, 3]]
    found = checker(*pixels, panels=panels).oracle()
    assert positions(found) == [(3, 12, 1), (3, 3, 1), (12, 12, 1)]
    assert found.records["panel"].tolist() == [0, 1, 2]
    blanked = put(CHECKER, *pixels)
    blanked[:8, 8:] = np.nan
    assert checker(*pixels, panels=panels).with_frame(blanked).oracle().records.tobytes() == (
        found.records.tobytes()
    )


def test_the_stale_entry_of_older_programs():
    background = np.concatenate([CHECKER] * 4)
    panels = grid(64, 16, 32, 16)
    # The first peak leaves (8, 5) in the second slot; in the second panel the spot at (41, 6) lies beside it.
    pixels = [(8, 4, 50), (8, 5, 50), (34, 12, 50), (41, 6, 40)]
    case = Case.flat(put(background, *pixels), panels=panels, threshold=10)
    assert positions(case.oracle()) == [(4.5, 8, 2), (12, 34, 1), (6, 41, 1)]
    joined = case.oracle(compat="om-23.8")
    assert positions(joined)[0] == (4.5, 8, 2)
    assert positions(joined)[1] == pytest.approx(((50 * 12 + 40 * 6) / 90, (50 * 34 + 40 * 41) / 90, 2))
    # A slot that was never written holds the corner of the panel.
    corner = Case.flat(put(CHECKER, (8, 8, 50), (0, 0, 50)), threshold=10)
    assert positions(corner.oracle()) == [(8, 8, 1)]
    assert positions(corner.oracle(compat="om-23.8")) == [(4, 4, 2)]


def test_an_unknown_compat_is_refused():
    with pytest.raises(ValueError, match=r"'om-99': expected None or 'om-23\.8'"):
        checker().oracle(compat="om-99")


def test_a_transposed_frame_has_the_transposed_peaks(rng):
    for _ in range(20):
        case = random_case(rng)
        mask = None if case.mask is None else case.mask.T
        panels = None if case.panels is None else case.panels[:, [2, 3, 0, 1]]
        turned = Case(case.frame.T, case.radius.T, mask, panels, case.params).oracle()
        found = case.oracle()
        if found.loose.any() or turned.loose.any():
            continue
        shape, strip = case.frame.shape, case.frame.shape[::-1]
        there = {tuple(np.ravel_multi_index(np.unravel_index(m, strip)[::-1], shape).tolist())
                 for m in turned.members}  # fmt: skip
        back = [tuple(sorted(m)) for m in there]
        assert sorted(back) == sorted(tuple(m.tolist()) for m in found.members)
        assert turned.rejected == found.rejected


@settings(max_examples=50, deadline=None)
@given(cases())
def test_components_are_strong_touching_and_alone(case):
    found = case.oracle()
    bins = np.rint(np.nan_to_num(case.radius)).astype(int)
    with np.errstate(invalid="ignore"):
        strong = np.isfinite(case.frame) & (case.frame > found.threshold[bins])
    if case.mask is not None:
        strong &= case.mask
    taken = np.zeros(case.frame.shape, bool)
    for members, peak in zip(found.members, found.records, strict=True):
        assert len(members) == peak["n_pixels"]
        assert case.params["min_pix_count"] <= len(members) <= case.params["max_pix_count"]
        at = np.unravel_index(members, case.frame.shape)
        assert strong[at].all()
        assert not taken[at].any()
        taken[at] = True
        assert peak["snr"] >= case.params["min_snr"]
        assert peak["total"] == pytest.approx(
            case.frame[at].astype("f8").sum() - len(members) * peak["background"], rel=1e-9, abs=1e-9
        )
    order = list(zip(found.records["panel"].tolist(), strict=True))
    assert order == sorted(order)
