"""Regions as masks: against brute force, and against each other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.errors import BadInput
from shotsieve.geometry import PixelMap
from shotsieve.geometry.tile import Tile
from shotsieve.measure import regions


@pytest.fixture(scope="module")
def pixels():
    tile = Tile(
        (0, 60, 0, 50), np.array([-0.005, -0.0055, 0.1]), np.array([0, 2e-4, 0]), np.array([2e-4, 0, 0])
    )
    return PixelMap((tile,), (60, 50), 0.1, 9.3, "a tile")


def test_rectangles_of_slab_and_module():
    slab = regions.rectangle((60, 50), (32, 37), (4, 9))
    module = regions.rectangle((60, 50), (2, 7), (4, 9), module=1, module_ss=30)
    np.testing.assert_array_equal(slab, module)
    assert slab.sum() == 25
    assert slab[32:37, 4:9].all()


def test_rings_share_all_pixels(pixels):
    radial = pixels.radial("r_mm")
    limits = [0, 1, 3.5, radial.max() + 1]
    rings = [regions.ring(pixels, "r_mm", *pair) for pair in itertools.pairwise(limits)]
    np.testing.assert_array_equal(np.sum(rings, axis=0), 1)
    assert (radial[rings[1]] >= 1).all()
    assert (radial[rings[1]] < 3.5).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(-360, 360), st.floats(20, 340))
def test_sectors_share_a_ring(pixels, start, width):
    one = regions.sector(pixels, "r_mm", 0.5, 4, start, start + width)
    other = regions.sector(pixels, "r_mm", 0.5, 4, start + width, start + 360)
    ring = regions.ring(pixels, "r_mm", 0.5, 4)
    # A pixel at the very limit may be in both or none, by rounding.
    assert np.count_nonzero(one ^ other ^ ring) <= 1


def test_a_sector_across_the_cut(pixels):
    chi = pixels.chi("deg")
    mask = regions.sector(pixels, "r_mm", 0.5, 4, 170, 190)
    ring = regions.ring(pixels, "r_mm", 0.5, 4)
    np.testing.assert_array_equal(mask, ring & ((chi >= 170) | (chi < -170)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 9))
def test_polygons_by_winding_number(seed, n):
    rng = np.random.default_rng(seed)
    turn = np.sort(rng.uniform(0, 2 * np.pi, n))
    corners = np.stack([20 + 15 * np.cos(turn), 25 + 20 * np.sin(turn)], axis=1)
    x, y = np.meshgrid(np.arange(40.0), np.arange(50.0))
    # Of a convex polygon: on the left of every side.
    inside = np.ones(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        inside &= (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0
    if not inside.any():
        return
    found = regions.polygon(x, y, corners)
    assert np.count_nonzero(found != inside) <= 2  # points on a side
    np.testing.assert_array_equal(found, regions.polygon(x, y, corners[::-1]))


def test_a_polygon_in_the_laboratory(pixels):
    x, y = (pixels.centres[..., axis] * 1e3 for axis in range(2))
    square = regions.polygon(x, y, [(-1, -1), (1, -1), (1, 1), (-1, 1)])
    np.testing.assert_array_equal(square, (np.abs(x) < 1) & (np.abs(y) < 1))


def test_projections_label_rows_and_columns():
    mask = regions.rectangle((10, 8), (2, 5), (3, 7))
    by_column = regions.projection(mask, "fs")
    by_row = regions.projection(mask, "ss")
    assert by_column[2:5, 3:7].tolist() == [[0, 1, 2, 3]] * 3
    assert by_row[2:5, 3].tolist() == [0, 1, 2]
    assert (by_row[~mask] == -1).all()


WRONG = {
    "empty rectangle": (lambda p: regions.rectangle((9, 9), (3, 3), (0, 2)), "is empty"),
    "rectangle beyond the slab": (lambda p: regions.rectangle((9, 9), (3, 10), (0, 2)), "leaves the slab"),
    "no such module": (
        lambda p: regions.rectangle((9, 9), (0, 1), (0, 2), module=3, module_ss=3),
        "module 3",
    ),
    "ring upside down": (lambda p: regions.ring(p, "r_mm", 2, 1), "lower limit first"),
    "ring without pixels": (lambda p: regions.ring(p, "r_mm", 900, 901), "pixels run from"),
    "sector of two turns": (lambda p: regions.sector(p, "r_mm", 0, 1, 0, 720), "one turn"),
    "line": (lambda p: regions.polygon(np.zeros((2, 2)), np.zeros((2, 2)), [(0, 0), (1, 1)]), "three"),
    "polygon elsewhere": (
        lambda p: regions.polygon(np.zeros((2, 2)), np.zeros((2, 2)), [(5, 5), (6, 5), (6, 6)]),
        "no pixel lies inside",
    ),
    "axis": (lambda p: regions.projection(np.ones((2, 2), bool), "x"), '"ss" or "fs"'),
    "no region": (lambda p: regions.label_entries({}, (2, 2)), "there is none"),
    "empty region": (lambda p: regions.label_entries({"a": np.zeros((2, 2), bool)}, (2, 2)), "no pixel"),
    "mask of numbers": (lambda p: regions.label_entries({"a": np.ones((2, 2))}, (2, 2)), "expected bool"),
    "labels below 0": (lambda p: regions.label_entries(np.full((2, 2), -1), (2, 2)), "every label"),
    "labels of floats": (lambda p: regions.label_entries(np.ones((2, 2)), (2, 2)), "whole numbers"),
    "mask that lies down": (
        lambda p: regions.label_entries({"a": np.ones((3, 2), bool)}, (2, 3)),
        "expected bool",
    ),
    "labels that lie down": (lambda p: regions.label_entries(np.zeros((3, 2), int), (2, 3)), "expected"),
    "labels in a row": (lambda p: regions.label_entries(np.zeros(6, int), (2, 3)), "expected"),
    "labels of another shape": (lambda p: regions.label_entries(np.ones((2, 3), int), (2, 2)), "expected"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_regions(pixels, what):
    make, text = WRONG[what]
    with pytest.raises(BadInput, match=text):
        make(pixels)
