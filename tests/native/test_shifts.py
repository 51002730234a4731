"""calibrate_count with shifts: the offsets of tiles and pixels moved, on every backend."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from kernels import Case, calibrate, poisoned, random_case
from shotsieve.reference.calibrate import calibrate_count
from shotsieve.shifts import Tiles
from test_calibrate import SWITCHES, assert_same_bits

N_PIXELS, TILES = 1536, Tiles(4, 16, 32)


def expected(case: Case) -> dict[str, np.ndarray]:
    out = poisoned(case)
    raw, (frames, groups) = case.flat_raw(), case.lists()
    named = {"tile": "shift", "pixel": "pixel_shift", "pixel_row": "pixel_shift_row"}
    more = {named[name]: array for name, array in case.shifts.items()}
    tiles = {} if case.tiles is None else vars(case.tiles)
    calibrate_count(
        raw, frames, groups, case.table, **out, **case.params, **more, **tiles
    )  # fmt: skip
    return out


def shifted(rng: np.random.Generator, which: str, **params) -> Case:
    case = random_case(rng, n_pixels=N_PIXELS, **params)
    frames = len(case.flat_raw())
    of_tile = rng.integers(-(2**21), 2**21, (frames, TILES.count(N_PIXELS)), "i4")
    of_pixel = rng.integers(-(2**21), 2**21, (3, N_PIXELS), "i4")
    row = rng.integers(-1, 3, frames).astype("i4")
    shifts = {"tile": of_tile, "pixel": of_pixel, "pixel_row": row}
    if which == "tiles":
        shifts = {"tile": of_tile}
    if which == "pixels":
        return dataclasses.replace(case, shifts={"pixel": of_pixel, "pixel_row": row})
    return dataclasses.replace(case, shifts=shifts, tiles=TILES)


@pytest.mark.parametrize("which", ["tiles", "pixels", "both"])
@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES.keys())
def test_bits_equal_reference(native_backend, switches, which, rng):
    case = shifted(rng, which, **switches)
    assert_same_bits(calibrate(native_backend, case), expected(case))
    counts = calibrate(native_backend, case, pixels=False)["counts"]
    np.testing.assert_array_equal(counts, expected(case)["counts"])


def test_no_shift_is_a_shift_of_zero(native_backend, rng):
    case = random_case(rng, n_pixels=N_PIXELS, encoding=0, lit_threshold=0.7)
    frames = len(case.flat_raw())
    zero = {
        "tile": np.zeros((frames, TILES.count(N_PIXELS)), "i4"),
        "pixel": np.zeros((1, N_PIXELS), "i4"),
        "pixel_row": np.zeros(frames, "i4"),
    }
    with_zeros = dataclasses.replace(case, shifts=zero, tiles=TILES)
    assert_same_bits(calibrate(native_backend, with_zeros), calibrate(native_backend, case))


def test_a_shift_of_one_adu_is_one_adu():
    """A hand-made pixel: 100 ADU over an offset of 20 + 3.5, at half a unit per ADU."""
    table = np.array([50, 60, 20, 0, 0, 0.5, 1, 1], "f4").reshape(1, 8, 1)
    pixels, stage = np.zeros((1, 1), "f4"), np.zeros((1, 1), "u1")
    calibrate_count(
        np.array([[[100], [0]]], "u2"), [0], [(0, 1, 0)], table, np.zeros((1, 5), "i8"), pixels, stage,
        encoding=0, pixel_shift=np.array([[896]], "i4"), pixel_shift_row=np.zeros(1, "i4"),
    )  # fmt: skip
    assert pixels[0, 0] == (100 - 23.5) / 2


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tiles": Tiles(4, 12, 32)}, "tile_columns: expected a multiple of 8"),
        ({"tiles": Tiles(5, 16, 32)}, "tile_rows: expected a number that divides"),
        ({"tiles": Tiles(4, 16, 100)}, "row_pixels: expected the pixels of a row"),
        ({"tiles": Tiles(8, 16, 32)}, "shift: expected dtype <i4"),
    ],
)
def test_wrong_shapes_are_refused(native_backend, changes, text, rng):
    case = dataclasses.replace(shifted(rng, "tiles", encoding=0), **changes)
    with pytest.raises(ValueError, match=text):
        calibrate(native_backend, case)


def test_a_row_that_is_not_there_is_refused_on_the_cpu(native_backend, rng):
    if native_backend.name != "cpu":
        pytest.skip("lists on a device cannot be looked at")
    case = shifted(rng, "pixels", encoding=0)
    case.shifts["pixel_row"][:] = 3
    with pytest.raises(ValueError, match="pixel_shift_row: expected a row"):
        calibrate(native_backend, case)
