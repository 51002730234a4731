"""Full pixel splitting against polygons that are cut by hand or by counting points."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.errors import BadInput
from shotsieve.geometry import PixelMap
from shotsieve.measure.azint_split import split_pixels

ONE = np.ones((1, 1), bool)


def shares(radial, chi, edges, chi_edges=None):
    n = (len(edges) - 1) * (1 if chi_edges is None else len(chi_edges) - 1)
    entries = split_pixels(np.array([[radial]], float), np.array([[chi]], float), ONE, edges, chi_edges)
    return np.bincount(entries.bin, entries.coef, n)


def test_a_square_between_two_bins():
    found = shares([0.25, 0.25, 1.25, 1.25], [0, 1, 1, 0], np.arange(4.0))
    np.testing.assert_allclose(found, [0.75, 0.25, 0], atol=1e-15)


def test_a_diamond_and_its_tip():
    found = shares([0.5, 1.0, 1.5, 1.0], [0, 0.5, 0, -0.5], np.array([0.0, 0.75, 2.0]))
    np.testing.assert_allclose(found, [0.125, 0.875], atol=1e-15)


def test_a_part_outside_of_the_range_is_lost():
    np.testing.assert_allclose(shares([-1, -1, 1, 1], [0, 1, 1, 0], np.array([0.0, 2.0])), [0.5])


def test_across_the_cut_of_the_azimuth():
    found = shares([1, 1, 2, 2], [179, 183, 183, 179], np.array([0.0, 3.0]), np.linspace(-180, 180, 5))
    np.testing.assert_allclose(found, [0.75, 0, 0, 0.25], atol=1e-15)


def brute(radial, chi, edges, chi_edges, n=401):
    """Shares by counting points of a bilinear grid, weighted by the area that each stands for."""
    u, v = np.meshgrid((np.arange(n) + 0.5) / n, (np.arange(n) + 0.5) / n, indexing="ij")
    corners = np.stack([radial, chi], axis=-1)
    a, b, c, d = corners
    points = ((1 - u) * (1 - v))[..., None] * a + (u * (1 - v))[..., None] * b
    points = points + (u * v)[..., None] * c + ((1 - u) * v)[..., None] * d
    du = (1 - v)[..., None] * (b - a) + v[..., None] * (c - d)
    dv = (1 - u)[..., None] * (d - a) + u[..., None] * (c - b)
    weight = np.abs(du[..., 0] * dv[..., 1] - du[..., 1] * dv[..., 0])
    inside, _, _ = np.histogram2d(
        points[..., 1].ravel(), points[..., 0].ravel(), [chi_edges, edges], weights=weight.ravel()
    )
    return inside.ravel() / weight.sum()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_convex_pixel(seed):
    rng = np.random.default_rng(seed)
    turn = np.sort(rng.uniform(0, 2 * np.pi, 4))
    if np.diff([*turn, turn[0] + 2 * np.pi]).max() > 3:
        turn = np.array([0.1, 1.6, 3.2, 4.8])
    radial, chi = 3 + np.cos(turn) * 1.7, 10 + np.sin(turn) * 1.3
    edges, chi_edges = np.array([0.0, 2.0, 2.9, 3.3, 6.0]), np.array([5.0, 9.5, 10.2, 15.0])
    expected = brute(radial, chi, edges, chi_edges)
    np.testing.assert_allclose(shares(radial, chi, edges, chi_edges), expected, atol=6e-3)
    alone = shares(radial, chi, edges)
    np.testing.assert_allclose(alone, shares(radial, chi, edges, chi_edges).reshape(3, 4).sum(0), atol=1e-12)
    assert alone.sum() == pytest.approx(1, abs=1e-12)


def test_real_pixels_against_shapely(real_data):
    geometry = pytest.importorskip("shapely.geometry")
    pixels = PixelMap.from_geometry(real_data / "geometry" / "agipd_p700000_r0030.geom")
    radial, chi = pixels.corner_values("q_A^-1", 9.3)
    chi = np.rad2deg(chi)
    edges, chi_edges = np.linspace(0.3, 3.5, 51), np.linspace(-180, 180, 37)
    chosen = np.zeros(pixels.shape, bool)
    chosen[100:8000:97, 3::25] = True
    entries = split_pixels(radial, chi, chosen, edges, chi_edges)
    for pixel in np.unique(entries.pixel)[::7]:
        own = geometry.Polygon(np.stack([radial.reshape(-1, 4)[pixel], chi.reshape(-1, 4)[pixel]], axis=1))
        for at in np.flatnonzero(entries.pixel == pixel):
            j, k = divmod(int(entries.bin[at]), 50)
            cell = geometry.box(edges[k], chi_edges[j], edges[k + 1], chi_edges[j + 1])
            assert entries.coef[at] == pytest.approx(own.intersection(cell).area / own.area, abs=1e-9)


def test_every_pixel_is_shared_out_wholly(pixels):
    ai = shotsieve.AzimuthalIntegrator(pixels, npt=40, splitting="full", backend="cpu")
    assert ai(np.ones((80, 40), "f4")).count.sum() == pytest.approx(3200, abs=1e-6)
    cake = shotsieve.AzimuthalIntegrator(pixels, npt=40, npt_chi=20, splitting="full", backend="cpu")
    assert cake(np.ones((80, 40), "f4")).count.sum() == pytest.approx(3200, abs=1e-6)


@pytest.mark.parametrize("error_model", ["poisson", "azimuthal"])
def test_sums_over_shares_are_those_of_the_formulas(native_backend, pixels, mask, rng, error_model):
    """In particular the azimuthal variance: a pixel's distance from the mean of each bin that it lies in."""
    frame = rng.poisson(9, (80, 40)).astype("f4")
    ai = shotsieve.AzimuthalIntegrator(
        pixels, mask, 25, splitting="full", error_model=error_model, polarisation=0.9, backend=native_backend
    )
    result = ai(frame)
    radial, chi = pixels.corner_values("q_A^-1")
    own = split_pixels(radial, np.rad2deg(chi), mask, ai.plan.edges, None)
    norm = pixels.solid_angle() * pixels.polarisation(0.9)
    signal, w = (values.ravel()[own.pixel].astype("f8") for values in (frame, norm))
    mean = np.bincount(own.bin, own.coef * signal, 25) / np.bincount(own.bin, own.coef * w, 25)
    v = signal if error_model == "poisson" else (signal - w * mean[own.bin]) ** 2
    variance = np.bincount(own.bin, own.coef**2 * v, 25)
    np.testing.assert_allclose(result.intensity, mean, rtol=1e-9)
    np.testing.assert_allclose(result.sum_variance, variance, rtol=1e-9)
    w2 = np.bincount(own.bin, (own.coef * w) ** 2, 25)
    np.testing.assert_allclose(result.std, np.sqrt(variance / w2), rtol=1e-9)


@pytest.mark.parametrize("npt_chi", [1, 2, 3])
def test_bins_wider_than_half_a_turn(pixels, npt_chi):
    """A pixel across the cut of the azimuth reaches such a bin from both sides, and is in it once."""
    frame = np.ones((80, 40), "f4")
    options = {"npt": 9, "splitting": "full", "backend": "cpu"}
    cake = shotsieve.AzimuthalIntegrator(pixels, npt_chi=npt_chi, **options)(frame)
    profile = shotsieve.AzimuthalIntegrator(pixels, **options)(frame)
    np.testing.assert_allclose(cake.count.sum(axis=0), profile.count, rtol=1e-9)


def test_hexagons_are_not_split(real_data):
    corners = [(-124.1, 3.1), (-133.1, -110.6), (1.0, -125.2), (4.5, -4.9)]
    dssc = PixelMap.dssc(real_data / "geometry" / "dssc_geo_june19.h5", corners, 0.5)
    with pytest.raises(BadInput, match="hexagonal"):
        shotsieve.AzimuthalIntegrator(dssc, unit="r_mm", splitting="full", backend="cpu")
    result = shotsieve.AzimuthalIntegrator(dssc, npt=50, unit="r_mm", backend="cpu")(
        np.ones((2048, 512), "f4")
    )
    assert result.count.sum() == 2048 * 512
