"""common_mode and cell_common_mode: every backend gives the bits of the reference, which is right."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from kernels import Case, random_case
from mode_case import ADU, KINDS, REFERENCE, SIGMA, asics, cells, dark_case, params, rows_of_cells
from shotsieve.common_mode import list_units
from shotsieve.shifts import Tiles


def with_noise(rng: np.random.Generator, case: Case) -> Case:
    """The same with lit and switched pixels, bad ones, missing frames and frames without constants."""
    lit = rng.random(case.raw.shape[:2] + case.raw.shape[3:]) < 0.3
    case.raw[:, :, 0][lit] += 300
    switched = rng.random(lit.shape) < 0.1
    case.raw[:, :, 1][switched] = 3 if case.params["encoding"] == 1 else 8000
    odd = np.array([np.nan, np.inf, -np.inf, 1e30], "f4")
    where = rng.random(case.table.shape) < 0.01
    case.table[where] = rng.choice(odd, where.sum())
    case.rows[-1], case.present[0] = -1, False
    return case


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_bits_equal_reference(native_backend, kind, rng):
    case, _ = dark_case(rng, shots=6, rows=2, **kind)
    case = with_noise(rng, case)
    how = params(**case.params)
    wanted = asics(REFERENCE, case, how)
    np.testing.assert_array_equal(asics(native_backend, case, how), wanted)
    assert (wanted[0] == 77).all()
    assert (wanted[-1] == 77).all()
    assert (wanted[1:-1] != 0).any() == (kind.get("fixed_stage") != 1)


def test_random_words_and_constants(native_backend, rng):
    case = random_case(rng, n_pixels=1024, encoding=0)
    how = params(tiles=Tiles(4, 64, 128), low=-2000 * ADU, high=2000 * ADU, fraction=0.01)
    wanted = asics(REFERENCE, case, how)
    np.testing.assert_array_equal(asics(native_backend, case, how), wanted)


def test_the_injected_common_mode_is_found(native_backend, rng):
    """To 1.3 sigma / sqrt(dark pixels), each of 192 ASICs, with 85 % of their pixels lit."""
    case, mode = dark_case(rng, shots=96)
    lit = rng.random((96, 8192)) < 0.8
    case.raw[:, 0, 0] += (200 * lit).astype("u2")
    found = asics(native_backend, case, params()) / ADU
    # The rms of so many is known to 5 %.
    error = (found - mode) / (SIGMA / np.sqrt((1 - 0.8) * 4096))
    assert np.sqrt(np.mean(error**2)) < 1.3


def test_dark_fraction_just_below_and_above(native_backend):
    """614 of 4096 pixels are less than 0.15 of them, 615 are more: strictly more is asked for."""
    raw = np.full((2, 1, 2, 8192), 5200, "u2")
    raw[:, 0, 1] = 0
    table = np.tile(np.array([7000, 9000, 5000, 0, 0, 1, 1, 1], "f4")[:, None], (1, 1, 8192))
    first = np.arange(8192) % 128 < 64
    for shot, dark in enumerate((614, 615)):
        raw[shot, 0, 0, np.flatnonzero(first)[:dark]] = 5010
    case = Case(raw, np.zeros((2, 1), "i4"), np.ones((2, 1), bool), table)
    for backend in (REFERENCE, native_backend):
        assert asics(backend, case, params()).tolist() == [[0, 0], [10 * ADU, 0]]
        exact = params(fraction=615 / 4096)  # exactly the share is not more
        assert asics(backend, case, exact).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("what", ["lit", "switched", "masked", "nan offset"])
def test_an_asic_without_dark_pixels_is_left_alone(native_backend, what, rng):
    case, _ = dark_case(rng)
    if what == "lit":
        case.raw[:, 0, 0] += 1000
    if what == "switched":
        case.raw[:, 0, 1] = 7500
    if what == "masked":
        case.table[:, 5] = np.nan
    if what == "nan offset":
        case.table[:, 2] = np.nan
    for backend in (REFERENCE, native_backend):
        assert not asics(backend, case, params()).any()


def test_a_bad_pixel_does_not_count(native_backend, rng):
    """A masked pixel at the edge of the range would move the mean."""
    case, _ = dark_case(rng, shots=1)
    without = asics(REFERENCE, case, params())
    case.table[0, 2, 5], case.table[0, 5, 5] = case.raw[0, 0, 0, 5] - 29.0, np.nan
    values = np.delete(case.raw[0, 0, 0, :].astype("f8") - case.table[0, 2], 5)
    assert np.isfinite(values).all()
    for backend in (REFERENCE, native_backend):
        found = asics(backend, case, params())
        assert abs(found - without).max() <= 2
        assert (found != 0).all()


def test_the_range_has_both_its_ends(native_backend):
    table = np.tile(np.array([7000, 9000, 5000, 0, 0, 1, 1, 1], "f4")[:, None], (1, 1, 8192))
    raw = np.zeros((2, 1, 2, 8192), "u2")
    raw[0, 0, 0], raw[1, 0, 0] = 5030, 5031
    case = Case(raw, np.zeros((2, 1), "i4"), np.ones((2, 1), bool), table)
    for backend in (REFERENCE, native_backend):
        found = asics(backend, case, params())
        assert found.tolist() == [[30 * ADU] * 2, [0, 0]]


def test_later_iterations_see_what_earlier_left(native_backend, rng):
    """A common mode near the end of the range shows a part of the noise only; every iteration shows more."""
    case, mode = dark_case(rng, shots=8)
    case.raw[:, 0, 0] += 15
    errors = []
    for n_itr in (1, 4):
        found = asics(native_backend, case, params(n_itr=n_itr)) / ADU
        np.testing.assert_array_equal(found * ADU, asics(REFERENCE, case, params(n_itr=n_itr)))
        errors.append(np.abs(found - mode - 15).max())
    assert errors[1] < 0.6 < errors[0]


def test_threads_and_groups_do_not_matter(native_backend, rng):
    case, _ = dark_case(rng, shots=20, rows=3)
    how, wanted = params(), asics(native_backend, case, params())
    for threads in (1, 3):
        backend = dataclasses.replace(native_backend, threads=threads)
        np.testing.assert_array_equal(asics(backend, case, how), wanted)
    for shot in (0, 7, 19):
        one = Case(case.raw[[shot]], case.rows[[shot]], case.present[[shot]], case.table, case.params)
        np.testing.assert_array_equal(asics(native_backend, one, how)[0], wanted[shot])


def test_it_starts_where_it_is_told_to(native_backend, rng):
    case, _ = dark_case(rng, shots=2)
    case.raw[:, 0, 0] -= 400  # a baseline far outside the dark range
    start = np.full((2, 2), -400 * ADU, "i4")
    for backend in (REFERENCE, native_backend):
        assert not asics(backend, case, params()).any()
    wanted = asics(REFERENCE, case, params(), start, add=True)
    np.testing.assert_array_equal(asics(native_backend, case, params(), start, add=True), wanted)
    assert np.abs(wanted / ADU + 400).max() < 25


@pytest.mark.parametrize("kind", [KINDS["adaptive"], KINDS["forced"], KINDS["code"]])
def test_cells_bits_equal_reference(native_backend, kind, rng):
    case, pattern = rows_of_cells(rng, kind)
    units = list_units(case.present, case.rows, np.full(16, 7), np.arange(16), 8)
    how = params(row_cells=8, **case.params)
    wanted = cells(REFERENCE, case, units, how)
    error = (wanted / ADU - pattern) / (SIGMA / np.sqrt(8))
    assert np.sqrt(np.mean(error**2)) < 1.3
    np.testing.assert_array_equal(cells(native_backend, case, units, how), wanted)
    shift = rng.integers(-5 * ADU, 5 * ADU, (16, 2), "i4")
    wanted = cells(REFERENCE, case, units, how, wanted, shift)
    again = cells(native_backend, case, units, how, cells(native_backend, case, units, how), shift)
    np.testing.assert_array_equal(again, wanted)
    of_pixel = {"pixel_shift": wanted, "pixel_shift_row": units.of_frame}
    case = dataclasses.replace(case, shifts=of_pixel)
    how = params(row_cells=8, **case.params)
    np.testing.assert_array_equal(asics(native_backend, case, how), asics(REFERENCE, case, how))


def test_a_pixel_needs_its_share_of_dark_cells(native_backend, rng):
    """Of 8 cells strictly more than 0.25: 3 are enough, 2 are not."""
    case, _ = rows_of_cells(rng, KINDS["adaptive"])
    case.raw[:, 0, 0] = 6500
    case.table[:, 2] = 5000
    case.raw[:2, 0, 0, 0], case.raw[:3, 0, 0, 1] = 5004, 5004
    units = list_units(case.present, case.rows, np.full(16, 7), np.arange(16), 8)
    for backend in (REFERENCE, native_backend):
        found = cells(backend, case, units, params(row_cells=8, fraction=0.25))
        assert found[0, :2].tolist() == [0, 4 * ADU]
        assert not found[:, 2:].any()


def test_only_whole_rows_are_units():
    """A single cell is no row: its mean would be its own value."""
    cell = np.array([0, 1, 2, 3, 4, 8, 9, 10, 11, 32])
    present, rows = np.ones((10, 2), bool), np.zeros((10, 2), "i4")
    rows[0, 1] = -1
    units = list_units(present, rows, np.full(10, 7), cell, 4)
    assert units.frames.tolist() == [[0, 2, 4, 6], [10, 12, 14, 16], [11, 13, 15, 17]]
    assert (units.of_frame[8:10] == -1).all()
    assert units.of_frame[18] == -1
    twice = list_units(present[:4], np.zeros((4, 2), "i4"), np.full(4, 7), np.array([0, 1, 2, 2]), 4)
    assert twice.frames.shape == (0, 4)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"low": 5, "high": 4}, "low, high: expected low"),
        ({"high": 3000 * ADU}, "stays below 2\\^31"),
        ({"n_itr": 0}, "n_itr: expected at least 1"),
        ({"tiles": Tiles(64, 128, 128)}, "at most 4096 pixels"),
        ({"fixed_stage": 3}, "fixed_stage: expected"),
    ],
)
def test_wrong_values_are_refused(native_backend, changes, text, rng):
    case, _ = dark_case(rng)
    with pytest.raises(ValueError, match=text):
        asics(native_backend, case, params(**changes))
