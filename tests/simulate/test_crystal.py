"""Unit cells, intensities and spots, against closed forms and against frames of an independent simulator."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.errors import BadInput
from shotsieve.geometry import Geometry, PixelMap
from shotsieve.geometry.tile import Tile
from shotsieve.simulate.bragg import SPOT_DTYPE, BraggDiffraction, deposit
from shotsieve.simulate.crystal import HEWL, UnitCell, random_orientation, wilson_intensities

WAVE = 9.3 / 1.2398419843320025  # 1/nm


def turned(axis: int, degrees: float) -> np.ndarray:
    i, j = [k for k in range(3) if k != axis]
    turn = np.eye(3)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
    return turn


def flat(distance: float = 0.1, side: int = 200, step: float = 2e-4) -> Tile:
    corner = np.array([-side / 2 * step, -side / 2 * step, distance])
    return Tile((0, side, 0, side), corner, np.array([0, step, 0]), np.array([step, 0, 0]))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0.5, 20), min_size=3, max_size=3),
    st.lists(st.floats(70, 110), min_size=3, max_size=3),
)
def test_reciprocal_axes_are_those_of_the_cell(edges, angles):
    cell = UnitCell(*edges, *angles)
    a, b, c = np.linalg.inv(cell.reciprocal()).T
    np.testing.assert_allclose([np.linalg.norm(v) for v in (a, b, c)], edges, rtol=1e-9)
    for first, second, angle in ((b, c, angles[0]), (a, c, angles[1]), (a, b, angles[2])):
        cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
        assert np.degrees(np.arccos(cosine)) == pytest.approx(angle, abs=1e-6)
    assert cell.volume == pytest.approx(abs(a @ np.cross(b, c)), rel=1e-9)


@pytest.mark.parametrize(
    ("cell", "symmetries"),
    [
        (UnitCell(5, 6, 7, 80, 85, 95), 2),
        (UnitCell(5, 6, 7, 90, 100, 90), 4),
        (UnitCell(5, 6, 7), 8),
        (HEWL, 16),
        (UnitCell(5, 5, 5), 48),
    ],
)
def test_lattices_have_their_symmetries(cell, symmetries):
    assert len(cell.symmetries()) == symmetries


@pytest.mark.parametrize(
    ("centering", "share"), [("P", 1), ("A", 2), ("B", 2), ("C", 2), ("I", 2), ("F", 4), ("R", 1), ("H", 3)]
)
def test_centred_lattices_lack_reflections(centering, share):
    everything = len(UnitCell(5, 6, 7).reflections(0.4))
    left = len(UnitCell(5, 6, 7, centering=centering).reflections(0.4))
    assert left == pytest.approx(everything / share, rel=0.01)


def test_reflections_reach_to_their_resolution():
    indices = HEWL.reflections(0.5)
    spacing = 1 / np.linalg.norm(indices @ HEWL.reciprocal(), axis=1)
    assert spacing.min() >= 0.5
    # As many lattice points as the sphere holds cells, but for the origin.
    assert len(indices) == pytest.approx(4 / 3 * np.pi * 0.5**-3 * HEWL.volume, rel=0.02)
    assert not (indices == 0).all(axis=1).any()


def test_intensities_are_wilsons_and_equal_where_the_lattice_is():
    indices = HEWL.reflections(0.3)
    intensity = wilson_intensities(HEWL, indices, 0.2, seed=4)
    flat_ones = wilson_intensities(HEWL, indices, 0.0, seed=4)
    np.testing.assert_array_equal(wilson_intensities(HEWL, indices[::-1], 0.2, seed=4), intensity[::-1])
    for change in HEWL.symmetries():
        np.testing.assert_array_equal(wilson_intensities(HEWL, indices @ change.T, 0.2, seed=4), intensity)
    representative = np.unique(flat_ones)
    assert len(representative) > len(indices) / 17
    # Mean and standard deviation of an exponential distribution are both 1.
    bound = 5 / np.sqrt(len(representative))
    assert abs(representative.mean() - 1) < bound
    assert abs(representative.std() - 1) < 2 * bound
    d = 1 / np.linalg.norm(indices @ HEWL.reciprocal(), axis=1)
    np.testing.assert_allclose(intensity, flat_ones * np.exp(-0.2 / (2 * d * d)), rtol=1e-12)
    assert (wilson_intensities(HEWL, indices, 0.2, seed=5) != intensity).mean() > 0.99


def test_orientations_are_rotations_without_a_preferred_direction():
    rng = np.random.default_rng(3)
    turns = np.array([random_orientation(rng) for _ in range(4000)])
    np.testing.assert_allclose(
        turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12
    )
    assert (np.linalg.det(turns) > 0).all()
    assert np.abs(turns.mean(axis=0)).max() < 5 * np.sqrt(1 / 3 / 4000)
    # The trace of a rotation evenly drawn has mean 0: an uneven draw of angles shows here.
    assert abs(np.trace(turns, axis1=1, axis2=2).mean()) < 5 / np.sqrt(4000)


def test_spots_obey_bragg():
    diffraction = BraggDiffraction([flat()], HEWL, 9.3, bandwidth=0.0, d_min_nm=0.5)
    turn = random_orientation(np.random.default_rng(8))
    spots = diffraction.spots(turn, 200)
    assert len(spots) > 20
    x, y = (spots["fs"] + 0.5 - 100) * 2e-4, (spots["ss"] + 0.5 - 100) * 2e-4
    outgoing = np.stack([x, y, np.full_like(x, 0.1)], axis=1)
    outgoing *= WAVE / np.linalg.norm(outgoing, axis=1)[:, None]
    g = np.stack([spots[n] for n in "hkl"], axis=1) @ HEWL.reciprocal() @ turn.T
    # The momentum that the photon took up is the reflection's, to the width of the reflection.
    assert np.linalg.norm(outgoing - [0, 0, WAVE] - g, axis=1).max() < 4 / (np.sqrt(2 * np.pi) * 200)


def test_larger_crystals_have_fewer_spots_and_bandwidth_more():
    turn = random_orientation(np.random.default_rng(8))

    def found(size: float, **options) -> int:
        options = {"d_min_nm": 0.5, "bandwidth": 0, **options}
        return len(BraggDiffraction([flat()], HEWL, 9.3, **options).spots(turn, size))

    assert found(200) > found(1000)
    assert found(1000, bandwidth=0.01) > found(1000)
    assert found(1000, mosaicity_mrad=5) > found(1000)


def test_tiles_that_look_away_or_miss_get_no_spots():
    turned_tile = flat().moved(turned(0, 10), np.zeros(3))
    behind = Tile(
        (0, 200, 0, 200), np.array([-0.02, -0.02, -0.1]), np.array([0, 2e-4, 0]), np.array([2e-4, 0, 0])
    )
    options = {"d_min_nm": 0.6}
    turn = random_orientation(np.random.default_rng(8))
    both = BraggDiffraction([flat(), behind], HEWL, 9.3, **options).spots(turn)
    alone = BraggDiffraction([flat()], HEWL, 9.3, **options).spots(turn)
    np.testing.assert_array_equal(both, alone)
    tilted = BraggDiffraction([turned_tile], HEWL, 9.3, **options).spots(turn)
    point = turned_tile.corner + (tilted["ss"] + 0.5)[:, None] * turned_tile.ss_vec
    point += (tilted["fs"] + 0.5)[:, None] * turned_tile.fs_vec
    g = np.stack([tilted[n] for n in "hkl"], axis=1) @ HEWL.reciprocal() @ turn.T + [0, 0, WAVE]
    cosines = np.einsum("ij,ij->i", point, g) / np.linalg.norm(point, axis=1) / np.linalg.norm(g, axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.floats(8, 22), st.floats(8, 22), st.floats(0, 1.5), st.floats(0, 1.5))
def test_deposited_light_is_the_gaussian_of_the_spot(ss, fs, width_ss, width_fs):
    spot = np.zeros(1, SPOT_DTYPE)
    spot["ss"], spot["fs"], spot["width_ss"], spot["width_fs"] = ss, fs, width_ss, width_fs
    image = np.zeros((31, 31))
    deposit(spot, np.array([1000.0]), image)
    assert image.sum() == pytest.approx(1000, rel=1e-6)
    rows, columns = np.mgrid[:31, :31]
    assert (image * rows).sum() / 1000 == pytest.approx(ss, abs=0.51 if width_ss < 0.3 else 0.05)
    assert (image * columns).sum() / 1000 == pytest.approx(fs, abs=0.51 if width_fs < 0.3 else 0.05)


@pytest.mark.parametrize(("width_ss", "width_fs"), [(2.0, 2.0), (2.1, 0.8), (6.0, 12.0), (0.0, 40.0)])
def test_no_light_of_wide_spots_is_lost(width_ss, width_fs):
    """Mosaic crystals and pink beams give spots of many pixels."""
    spot = np.zeros(1, SPOT_DTYPE)
    spot["ss"], spot["fs"], spot["width_ss"], spot["width_fs"] = 120.3, 200.0, width_ss, width_fs
    image = np.zeros((241, 401))
    deposit(spot, np.array([1000.0]), image)
    assert image.sum() == pytest.approx(1000, rel=1e-4)
    at = np.arange(401)
    assert (image.sum(0) * np.square(at - 200)).sum() / 1000 == pytest.approx(width_fs**2 + 1 / 12, rel=2e-3)
    whole = image[100:, 180:230].copy()
    part = np.zeros(whole.shape)
    spot["ss"], spot["fs"] = spot["ss"] - 100, spot["fs"] - 180
    deposit(spot, np.array([1000.0]), part)
    np.testing.assert_allclose(part, whole, rtol=1e-6, atol=1e-9)


def test_cells_given_in_angstrom_are_refused_and_not_tried():
    with pytest.raises(BadInput, match="Edges are in nm"):
        UnitCell(79.1, 79.1, 37.9).reflections(0.2)


def test_light_beyond_the_edge_is_lost():
    spot = np.zeros(1, SPOT_DTYPE)
    spot["ss"], spot["fs"], spot["width_ss"], spot["width_fs"] = -0.5, 4, 0.5, 0.5
    image = np.zeros((9, 9), np.float32)
    deposit(spot, np.array([1000.0]), image)
    assert image.sum() == pytest.approx(500, rel=1e-5)


def test_cells_of_crystfel_are_read(tmp_path):
    path = tmp_path / "c.cell"
    path.write_text("CrystFEL unit cell file version 1.0\n\ncentering = I\na = 79.1 A\nb = 8 nm\nc = 37.9 A\n"
                    "al = 90.00 deg\nbe = 91 deg\nga = 90 deg\n")  # fmt: skip
    cell = UnitCell.read(path)
    assert cell.a == pytest.approx(7.91)
    assert (cell.b, cell.beta, cell.centering) == (8.0, 91.0, "I")
    path.write_text(path.read_text().replace("c = 37.9 A\n", ""))
    with pytest.raises(BadInput, match="c = NUMBER A or nm"):
        UnitCell.read(path)
    with pytest.raises(BadInput, match="cannot be read"):
        UnitCell.read(tmp_path / "none")


def test_the_cell_of_the_field_is_ours(real_data):
    assert UnitCell.read(real_data / "sfx" / "hewl.cell") == HEWL


@pytest.mark.parametrize(
    "edges",
    [(0, 1, 1, 90, 90, 90), (1, 1, 1, 180, 90, 90), (1, 1, 1, 10, 170, 90), (1, 1, np.nan, 90, 90, 90)],
)
def test_impossible_cells_are_refused(edges):
    with pytest.raises(BadInput, match="unit cell"):
        UnitCell(*edges)
    with pytest.raises(BadInput, match="centering"):
        UnitCell(1, 1, 1, centering="Q")


@pytest.fixture(scope="module")
def foreign(real_data):
    """Frames of pattern_sim, its orientations and the detector."""
    with h5py.File(real_data / "sim" / "pattern_sim_agipd_hewl_3.h5") as file:
        frames, axes = file["data"][()], file["abc_star_per_m"][()].astype("f8") * 1e-9
    geometry = Geometry.open(real_data / "sim" / "agipd_p700000_slab.geom")
    return frames, axes, PixelMap.from_geometry(geometry)


def share_met(frame: np.ndarray, spots: np.ndarray) -> float:
    """Share of the spots above 100 photons in a frame with one of ours within a pixel."""
    panels = np.pad(frame.reshape(-1, 64, 128), ((0, 0), (1, 1), (1, 1)))
    beside = [panels[:, i : i + 64, j : j + 128] for i in range(3) for j in range(3)]
    place = np.argwhere((frame > 100) & (frame == np.max(beside, axis=0).reshape(frame.shape)))
    assert len(place) > 30
    ours = np.stack([spots["ss"], spots["fs"]], axis=1)
    return float((np.linalg.norm(place[:, None] - ours, axis=2).min(axis=1) <= 1).mean())


def test_spots_are_where_an_independent_simulator_has_them(foreign):
    """At least 95 % of its spots above 100 photons lie within a pixel of ours.

    With the orientation turned by 2 degrees fewer than 30 % do.
    """
    frames, axes, pixels = foreign
    diffraction = BraggDiffraction(pixels.tiles, HEWL, 9.3, d_min_nm=0.15)
    for frame, strain in zip(frames, axes, strict=True):
        assert share_met(frame, diffraction.spots(np.eye(3), strain=strain)) >= 0.95
        for axis in range(3):
            assert share_met(frame, diffraction.spots(turned(axis, 2), strain=strain)) < 0.3
