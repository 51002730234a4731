"""What is drawn is what was measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import shotsieve
from shotsieve.errors import BadInput
from shotsieve.geometry import PixelMap
from shotsieve.geometry.assemble import assemble
from shotsieve.geometry.tile import Tile

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plot = pytest.importorskip("shotsieve.plot")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def tilted(turn=0.0):
    """A tile of 60 x 50 pixels beside another that is turned."""
    step = 2e-4
    flat = Tile(
        (0, 60, 0, 50), np.array([-0.005, -0.0055, 0.1]), np.array([0, step, 0]), np.array([step, 0, 0])
    )
    fs = step * np.array([np.cos(turn), np.sin(turn), 0])
    ss = step * np.array([-np.sin(turn), np.cos(turn), 0])
    other = Tile((60, 120, 0, 50), np.array([0.006, -0.0055, 0.1]), ss, fs)
    return PixelMap((flat, other), (120, 50), 0.1, 9.3, "two tiles")


@pytest.fixture
def pixels():
    return tilted(0.1)


@pytest.fixture
def integrator(pixels):
    return shotsieve.AzimuthalIntegrator(pixels, npt=20, error_model="poisson", backend="cpu")


@pytest.fixture
def frames(rng):
    return rng.poisson(5, (6, 120, 50)).astype("f4")


def test_a_profile_has_its_values_and_its_band(integrator, frames):
    result = integrator(frames[0])
    ax = plot.profile(result, label="first")
    [line] = ax.lines
    np.testing.assert_array_equal(line.get_xdata(), result.radial)
    np.testing.assert_array_equal(line.get_ydata(), result.intensity)
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(np.nanmax(result.intensity + result.sigma))
    assert ax.get_xlabel() == "q (1/Å)"
    assert ax.get_legend().get_texts()[0].get_text() == "first"


def test_several_frames_are_drawn_one_or_as_their_mean(integrator, frames):
    result = integrator(frames)
    one, mean = plot.profile(result, shot=3), plot.profile(result, log=True)
    np.testing.assert_array_equal(one.lines[0].get_ydata(), result.intensity[3])
    np.testing.assert_allclose(mean.lines[0].get_ydata(), result.intensity.mean(axis=0))
    assert mean.get_yscale() == "log"


def test_profiles_against_anything(integrator, frames):
    result = integrator(frames)
    ax = plot.profiles(result, against=[0, 1, 3, 4, 8, 9], name="delay (ps)")
    [mesh] = ax.collections
    np.testing.assert_array_equal(np.ma.filled(mesh.get_array(), np.nan), result.intensity)
    assert ax.get_ylabel() == "delay (ps)"
    assert ax.get_ylim() == (-0.5, 9.5)


def test_a_cake(pixels, frames):
    result = shotsieve.AzimuthalIntegrator(pixels, npt=12, npt_chi=10, backend="cpu")(frames[0])
    ax = plot.cake(result)
    drawn = ax.collections[0].get_array()
    assert drawn.shape == (10, 12)
    assert (np.ma.getmaskarray(drawn) == np.isnan(result.intensity)).all()
    np.testing.assert_array_equal(drawn.compressed(), result.intensity[~np.isnan(result.intensity)])


def test_an_image_with_rings_and_peaks(pixels, frames):
    peaks = np.array([(10.2, 20.7), (30.0, 80.0)], dtype=[("fs", "f8"), ("ss", "f8")])
    ax = plot.image(frames[0], pixels, rings=[0.2, 0.4, 99.0], peaks=peaks, log=True)
    [drawn] = ax.images
    shown = drawn.get_array()
    assert set(np.unique(shown.compressed())) <= set(np.unique(frames[0]))
    first, second, dots = ax.lines
    for line, q in ((first, 0.2), (second, 0.4)):  # 99 is far outside
        radius = np.hypot(*line.get_data()) * 1e-3
        angle = np.arctan2(radius, 0.1)
        found = 4 * np.pi * np.sin(angle / 2) / (12.398419843320026 / 9.3)
        np.testing.assert_allclose(found, q, rtol=1e-4)
    x, y = dots.get_data()
    np.testing.assert_allclose([x[0], y[0]], pixels.centres[20, 10, :2] * 1e3)
    low, high = ax.get_xlim()
    assert low > high  # x to the left


@pytest.mark.parametrize("turn", [0.0, 0.3, -1.2])
def test_every_pixel_stands_where_its_centre_is(turn):
    pixels = tilted(turn)
    frame = np.arange(120 * 50, dtype="f4").reshape(120, 50)
    image, extent = assemble(frame, pixels)
    step = (extent[1] - extent[0]) / image.shape[1]
    x, y = (pixels.centres[..., axis] for axis in range(2))
    found = image[((y - extent[2]) / step).astype(int), ((x - extent[0]) / step).astype(int)]
    # A centre may round to the point beside its own: half a pixel at most.
    place = np.full((2, 120 * 50), np.nan)
    known = ~np.isnan(found)
    assert known.mean() > 0.97
    place = np.stack([x.ravel(), y.ravel()])[:, found[known].astype(int)]
    off = np.hypot(place[0] - x[known], place[1] - y[known])
    assert off.max() < 1.01 * step
    if turn == 0.0:
        np.testing.assert_array_equal(found, frame)


def test_a_real_detector_is_whole(real_data):
    pixels = PixelMap.from_geometry(real_data / "geometry" / "agipd_p700000_r0030.geom")
    image, extent = assemble(np.ones((16, 512, 128), "f4"), pixels)
    area = (
        np.nansum(image) * (extent[1] - extent[0]) / image.shape[1] * (extent[3] - extent[2]) / image.shape[0]
    )
    assert area == pytest.approx(2**20 * 2e-4**2, rel=2e-3)


def test_bad_input(integrator, frames, pixels):
    result = integrator(frames)
    for draw, text in (
        (lambda: plot.cake(result), "npt_chi"),
        (lambda: plot.profiles(integrator(frames[0])), "one curve only"),
        (lambda: plot.profiles(result, against=[1, 2]), "6 ascending"),
        (lambda: plot.profiles(result, against=[6, 5, 4, 3, 2, 1]), "6 ascending"),
        (lambda: plot.profile(dataclasses.replace(result, chi_edges=np.zeros(3))), "plot.cake"),
        (lambda: plot.image(frames[0, :7], pixels), "expected"),
        (lambda: plot.image(frames[0], None), "pixels is None.*Reduced.open"),
        (lambda: plot.image(-frames[0] - 1, pixels, log=True), "above 0"),
    ):
        with pytest.raises(BadInput, match=text):
            draw()
