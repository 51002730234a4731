"""The oracle of the peak finder knows which of its decisions hang on rounding, and which do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from shotsieve.reference.peaks_margin import FIRM, exact_sum

from .cases import Case, put


@pytest.mark.parametrize("constant", [0.1, 3.3])
def test_constants_whose_squares_are_rounded_are_at_risk(constant):
    frame = np.full((64, 128), constant, "f4")
    found = Case.flat(put(frame, (30, 60, constant + 50)), threshold=constant + 3).oracle()
    assert found.bins_at_risk[10]
    assert found.doubtful[30, 60]
    assert found.loose[0] > 0
    assert (found.margin == 0).all()


def test_a_peak_at_the_limit_of_the_ratio_has_a_margin_below_1e_6(rng):
    # The spot's bin is quieter than its surroundings, so the limit does not take the spot with it.
    frame, radius = rng.normal(0, 1, (64, 128)), np.full((64, 128), 10, "f4")
    frame[40:] *= 0.01
    radius[40:], radius[20, 60:62] = 20, 20
    case = Case.flat(put(frame, (20, 60, 11), (20, 61, 12)), radius=radius, threshold=10, min_pix_count=2)
    snr = case.oracle().records["snr"][0]
    assert snr > 10
    kept = replace(case, params=case.params | {"min_snr": snr * (1 - 1e-9)}).oracle()
    assert 0 < kept.margin[0] < FIRM
    lost = replace(case, params=case.params | {"min_snr": snr * (1 + 1e-9)}).oracle()
    assert 0 < lost.rejected_margin["low_snr"][0] < FIRM
    assert lost.loose[0] == 1


def test_a_pixel_at_its_threshold_is_doubtful(rng):
    frame = put(rng.normal(0, 1, (64, 128)), (30, 60, 80), (30, 61, 4.5))
    for _ in range(30):  # the pixel is one of those that make the threshold
        limit = Case.flat(frame).oracle().threshold[10]
        frame[30, 61] = np.nextafter(np.float32(limit), np.float32(0))
    found = Case.flat(frame).oracle()
    assert found.doubtful[30, 61]
    assert found.doubtful.sum() == 1
    (margin,) = (m for m, at in zip(found.margin, found.members, strict=True) if 30 * 128 + 60 in at)
    assert margin < FIRM
    assert found.loose[0] == 2, "the pixel and the component it may belong to"


@pytest.mark.parametrize(
    ("values", "exact"),
    [
        ([0.0, 0.0], True),
        ([1.0, 2.0, 70000.0], True),
        ([0.5, 0.25, 3.0], True),
        ([float(np.float32(0.1))] * 100, True),
        ([0.1], True),
        ([0.1] * 3, False),
        ([1e-20, 1.0], False),
        ([3e38, 1.0], False),
        ([], True),
    ],
)
def test_sums_that_need_no_rounding(values, exact):
    assert exact_sum(np.array(values, "f8")) is exact
