"""Angles and corrections of pixels against formulas written down another way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.errors import BadInput
from shotsieve.geometry import Geometry, PixelMap
from shotsieve.geometry.tile import HEXAGON, HEXAGON_ROW, LoosePixels, Tile

HC_KEV_NM = 1.2398419843320025


@pytest.fixture
def tilted(rng):
    """Two tiles, one tilted, one shifted along the beam, and a gap in the slab."""
    one = Tile((0, 6, 0, 9), np.array([-4e-4, 3e-4, 0.1]), np.array([0, 2e-4, 0]), np.array([2e-4, 0, 0]))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    other = one.moved(turn, np.array([0.02, -0.03, 0.15]))
    other = Tile((8, 14, 0, 9), other.corner, other.ss_vec, other.fs_vec)
    return PixelMap((one, other), (14, 9), 0.1, 9.3, "test")


def test_positions_of_a_panel(two):
    pixels = PixelMap.from_geometry(Geometry.from_text(two, module_shape=(4, 8)), 0.3)
    g = Geometry.from_text(two, module_shape=(4, 8))
    np.testing.assert_allclose(pixels.centres, g.positions() + np.array([0, 0, 0.3]), rtol=0, atol=1e-15)
    assert pixels.corners.shape == (8, 8, 4, 3)
    assert pixels.corners.dtype == pixels.centres.dtype == np.float64
    np.testing.assert_allclose(pixels.corners.mean(axis=2), pixels.centres, rtol=0, atol=1e-15)
    # By hand: p1 has its corner at (10.5, 30) px, columns run down, rows along x.
    np.testing.assert_allclose(pixels.centres[4, 0], [(10.5 + 0.5) / 5000, (30 - 0.5) / 5000, 0.3])
    np.testing.assert_allclose(pixels.corners[4, 0, 1], [(10.5 + 1) / 5000, 30 / 5000, 0.3])
    assert pixels.rectangles().tolist() == g.rectangles().tolist()
    # The file's own camera length and energy are there when nothing else is said.
    assert PixelMap.from_geometry(g).distance_m == 0.2
    np.testing.assert_allclose(PixelMap.from_geometry(g).q(), g.momentum_transfer(), rtol=1e-14)


def test_angles_another_way(tilted):
    position = tilted.centres.reshape(-1, 3)
    assert np.isnan(position.reshape(14, 9, 3)[6:8]).all()
    direction = position / np.linalg.norm(position, axis=1, keepdims=True)
    k = 2 * np.pi * 9.3 / HC_KEV_NM
    q = k * np.linalg.norm(direction - [0, 0, 1], axis=1).reshape(14, 9)
    np.testing.assert_allclose(tilted.q(), q, rtol=1e-9)
    np.testing.assert_allclose(tilted.q(9.3, "1/A"), q / 10, rtol=1e-9)
    two_theta = np.arccos(direction[:, 2]).reshape(14, 9)
    np.testing.assert_allclose(tilted.two_theta(), two_theta, rtol=1e-8)
    np.testing.assert_allclose(tilted.two_theta("deg"), np.degrees(two_theta), rtol=1e-8)
    np.testing.assert_allclose(
        tilted.r("mm"), 1e3 * np.abs(position[:, 0] + 1j * position[:, 1]).reshape(14, 9)
    )
    chi = np.angle(position[:, 0] + 1j * position[:, 1]).reshape(14, 9)
    np.testing.assert_allclose(tilted.chi(), chi)
    np.testing.assert_allclose(tilted.chi("deg"), np.degrees(chi))
    for factor, offset in ((0.99, 0.0), (-0.5, 0.3)):
        term = 1 + np.cos(two_theta) ** 2 - factor * np.cos(2 * (chi + offset)) * np.sin(two_theta) ** 2
        np.testing.assert_allclose(tilted.polarisation(factor, offset), term / 2, rtol=1e-12)
    for unit, same in (
        ("q_A^-1", tilted.q(unit="1/A")),
        ("2th_deg", tilted.two_theta("deg")),
        ("r_m", tilted.r()),
    ):
        np.testing.assert_array_equal(tilted.radial(unit), same)


def test_incidence_knows_each_tile(tilted):
    first, second = tilted.tiles
    for tile, rows in ((first, slice(0, 6)), (second, slice(8, 14))):
        normal = np.cross(tile.fs_vec, tile.ss_vec)
        ray = tilted.centres[rows]
        cos = np.abs(ray @ normal) / np.linalg.norm(normal) / np.linalg.norm(ray, axis=-1)
        np.testing.assert_allclose(tilted.solid_angle()[rows], cos**3, rtol=1e-12)
        np.testing.assert_allclose(
            tilted.absorption(0.4)[rows], (1 - np.exp(np.log(0.4) / cos)) / 0.6, rtol=1e-12
        )
    assert (tilted.absorption(0.0)[:6] == 1).all()  # nothing gets through: the path does not matter


def test_which_way_rows_and_columns_run_does_not_matter():
    """Solid angles stay positive for mirrored tiles, where pyFAI's are negative."""
    there = Tile((0, 4, 0, 6), np.array([0, 0, 0.1]), np.array([0, 2e-4, 1e-5]), np.array([2e-4, 0, 0]))
    back = Tile((0, 4, 0, 6), there.corner + 6 * there.fs_vec, there.ss_vec, -there.fs_vec)
    one, other = (PixelMap((tile,), (4, 6), 0.1) for tile in (there, back))
    np.testing.assert_allclose(other.solid_angle()[:, ::-1], one.solid_angle(), rtol=1e-12)
    np.testing.assert_allclose(other.absorption(0.3)[:, ::-1], one.absorption(0.3), rtol=1e-12)
    assert one.solid_angle().min() > 0


def solid_angle_of_triangle(a, b, c):
    """Van Oosterom and Strackee, IEEE Trans. Biomed. Eng. 30 (1983) 125."""
    la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    top = (a * np.cross(b, c)).sum(axis=-1)
    bottom = la * lb * lc + (a * b).sum(-1) * lc + (a * c).sum(-1) * lb + (b * c).sum(-1) * la
    return 2 * np.arctan2(np.abs(top), bottom)


@pytest.mark.parametrize("hexagons", [False, True])
def test_solid_angle_in_steradian(hexagons):
    ss = np.array([0, 1e-4 * (HEXAGON_ROW if hexagons else 1), 2e-5])
    more = (HEXAGON,) if hexagons else ()
    tile = Tile((0, 7, 0, 8), np.array([1e-2, -2e-2, 0.1]), ss, np.array([1e-4, 0, 0]), *more)
    pixels = PixelMap((tile,), (7, 8), 0.1)
    loose = PixelMap((LoosePixels(tile.rect, tile.corners()),), (7, 8), 0.1)
    c = pixels.corners
    fan = [
        solid_angle_of_triangle(c[:, :, 0], c[:, :, i], c[:, :, i + 1])
        for i in range(1, pixels.n_corners - 1)
    ]
    np.testing.assert_allclose(pixels.solid_angle(absolute=True), sum(fan), rtol=2e-6)
    np.testing.assert_allclose(loose.solid_angle(absolute=True), pixels.solid_angle(absolute=True), rtol=1e-9)
    np.testing.assert_allclose(loose.solid_angle(), pixels.solid_angle(), rtol=1e-9)
    np.testing.assert_allclose(loose.centres, pixels.centres, rtol=0, atol=1e-15)


def test_hexagons_are_regular_and_touch():
    tile = Tile(
        (0, 4, 0, 5), np.array([0, 0, 1.0]), np.array([0, HEXAGON_ROW, 0]), np.array([1.0, 0, 0]), HEXAGON
    )
    corners, centres = tile.corners()[..., :2], tile.centres()[..., :2]
    np.testing.assert_allclose(np.linalg.norm(corners - centres[:, :, None], axis=-1), 1 / np.sqrt(3))
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=2), axis=-1)
    np.testing.assert_allclose(sides, 1 / np.sqrt(3))
    gap = np.linalg.norm(centres.reshape(-1, 1, 2) - centres.reshape(1, -1, 2), axis=-1)
    assert np.isclose(gap[gap > 0].min(), 1)
    assert np.isclose(gap, 1).sum(axis=1).max() == 6  # neighbours of a pixel inside
    points = np.unique(corners.reshape(-1, 2).round(9), axis=0)
    assert len(points) < corners[..., 0].size / 2  # corners are shared


def test_corner_azimuths_do_not_jump():
    # Rows straddle the negative x axis, where chi jumps from pi to -pi.
    tile = Tile((0, 4, 0, 6), np.array([-2e-3, -3e-4, 0.1]), np.array([0, 2e-4, 0]), np.array([2e-4, 0, 0]))
    pixels = PixelMap((tile,), (4, 6), 0.1)
    radial, chi = pixels.corner_values("r_mm")
    assert radial.shape == chi.shape == (4, 6, 4)
    assert np.ptp(chi, axis=-1).max() < 0.5
    assert (np.abs(chi - pixels.chi()[..., None]) <= np.pi).all()
    assert np.abs(chi).max() > np.pi
    x, y = 1e3 * pixels.corners[..., 0], 1e3 * pixels.corners[..., 1]
    np.testing.assert_allclose(radial * np.exp(1j * chi), x + 1j * y, atol=1e-12)
    q, _ = pixels.corner_values("1/nm", 9.3)
    np.testing.assert_allclose(q.mean(axis=-1), pixels.q(9.3), rtol=2e-2)


@given(x=st.floats(-0.2, 0.2), y=st.floats(-0.2, 0.2), z=st.floats(0.05, 5), energy=st.floats(1, 30))
@settings(max_examples=60, deadline=None)
def test_q_of_any_pixel(x, y, z, energy):
    step = 1e-5
    tile = Tile((0, 1, 0, 1), np.array([x, y, z]), np.array([0, step, 0]), np.array([step, 0, 0]))
    pixels = PixelMap((tile,), (1, 1), z)
    ray = np.array([x + step / 2, y + step / 2, z])
    half = 0.5 * np.arccos(min(1.0, ray[2] / np.linalg.norm(ray)))
    expected = 4 * np.pi * np.sin(half) * energy / HC_KEV_NM
    assert pixels.q(energy)[0, 0] == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert 0 < pixels.solid_angle()[0, 0] <= 1
    assert 0 <= pixels.polarisation(1.0)[0, 0] <= 1


def test_the_beam_centre_is_no_special_case():
    tile = Tile((0, 1, 0, 1), np.array([-1e-4, -1e-4, 0.1]), np.array([0, 2e-4, 0]), np.array([2e-4, 0, 0]))
    pixels = PixelMap((tile,), (1, 1), 0.1)
    for value, expected in ((pixels.q(9.3), 0), (pixels.solid_angle(), 1), (pixels.polarisation(0.9, 1), 1)):
        np.testing.assert_allclose(value, expected, atol=1e-12)
    assert np.isfinite(pixels.corner_values("q_A^-1", 9.3)).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: p.q(), "needs photon_energy_kev.*give it"),
        (lambda p: p.q(9300), "Was .*9300 eV.* meant"),
        (lambda p: p.q(0), "0.1 ... 200"),
        (lambda p: p.q("9.3 keV"), "photon_energy_kev = '9.3 keV'; expected a number"),
        (
            lambda p: p.q(9.3, "1/Å"),
            "unit = '1/Å' is not a unit of q; expected one of 1/nm, 1/A.*Did you mean",
        ),
        (lambda p: p.q(9.3, "deg"), "not a unit of q"),
        (lambda p: p.two_theta("degree"), "Did you mean 'deg'"),
        (lambda p: p.chi("radian"), "not a unit of chi; expected rad or deg.*Did you mean 'rad'"),
        (lambda p: p.r("1/nm"), "not a unit of r"),
        (lambda p: p.radial("q_A-1", 9.3), r"Did you mean 'q_A\^-1'"),
        (lambda p: p.corner_values("q_nm^-1"), "needs photon_energy_kev"),
        (lambda p: p.polarisation(1.2), "factor = 1.2; expected -1"),
        (lambda p: p.polarisation(0.9, np.nan), "axis_offset"),
        (lambda p: p.absorption(1), "t0 = 1; expected"),
        (lambda p: p.absorption("x"), "t0 = 'x'; expected a number"),
    ],
)
def test_wrong_questions(two, call, words):
    text = two.replace("photon_energy = 9300", "photon_energy = 0")
    with pytest.raises(BadInput, match=words):
        call(PixelMap.from_geometry(Geometry.from_text(text), 0.2))


@pytest.mark.parametrize(
    ("distance", "words"),
    [
        (0, "distance_m = 0: expected a distance above 0"),
        (-0.2, "above 0"),
        (np.nan, "above 0"),
        (200, "distance_m = 200.*Was it meant in mm"),
        ("0.2 m", "expected a number, in m"),
    ],
)
def test_impossible_distances(two, distance, words):
    with pytest.raises(BadInput, match=words):
        PixelMap.from_geometry(Geometry.from_text(two), distance)


def test_a_distance_that_nobody_knows(two):
    unknown = Geometry.from_text(two.replace("clen = 0.2", "clen = /LCLS/detector_1/EncoderValue"))
    with pytest.raises(BadInput, match="distance_m is not given, and geometry leaves it to the data files"):
        PixelMap.from_geometry(unknown)
    with pytest.raises(BadInput, match=r"expected a shotsieve.geometry.Geometry or the path"):
        PixelMap.from_geometry(3, 0.2)


def test_a_panel_before_the_sample(two):
    before = Geometry.from_text(two + "p1/coffset = -0.3\n")
    with pytest.raises(BadInput, match=r"a panel lies at z = -0.1 m, at or before the sample"):
        PixelMap.from_geometry(before, 0.2)


def test_tiles_that_cannot_be(tilted):
    first, second = tilted.tiles
    for tiles, words in (
        ((), "no tile"),
        ((first, first), "lies on another"),
        ((Tile((10, 16, 0, 9), first.corner, first.ss_vec, first.fs_vec),), "leaves the slab"),
        ((Tile(first.rect, first.corner * np.nan, first.ss_vec, first.fs_vec),), "not finite"),
        (
            (first, Tile(second.rect, second.corner, second.ss_vec, second.fs_vec, HEXAGON)),
            "expected one kind",
        ),
    ):
        with pytest.raises(BadInput, match=words):
            PixelMap(tiles, (14, 9), 0.1)
