"""The physics: form factor, photons, random numbers, geometry."""

import numpy as np
import pytest
from shotsieve.simulate import geometry, noise, physics


def test_sphere_form_factor_against_its_known_zero_and_limit():
    assert physics.sphere_form_factor(0.0) == 1.0
    assert physics.sphere_form_factor(4.493409457909064) < 1e-25
    x = np.array([1e-4, 0.1, 0.499999, 0.500001, 2.0])
    # Guinier: |F|^2 = 1 - x^2 / 5 for small x; elsewhere the definition in long double.
    wide = x.astype(np.longdouble)
    exact = np.square(3 * (np.sin(wide) - wide * np.cos(wide)) / wide**3)
    np.testing.assert_allclose(physics.sphere_form_factor(x)[1:], exact[1:].astype(float), rtol=1e-9)
    assert physics.sphere_form_factor(1e-4) == pytest.approx(1 - 1e-8 / 5, abs=1e-15)


def test_pattern_follows_the_form_factor_and_its_sum_the_weights():
    q = np.stack([geometry.momentum_transfer(geometry.pixel_positions(m), 1.6, 9.3).ravel() for m in (3, 4)])
    weight = np.full_like(q, 0.5)
    sphere = physics.SphereDiffraction(q, weight)
    radial = sphere.radial(30.0)
    pattern = np.stack([sphere.pattern(k, radial) for k in range(2)])
    np.testing.assert_allclose(pattern, 0.5 * physics.sphere_form_factor(q * 30.0), atol=2e-5)
    assert np.sum(radial * sphere.total_weight()) == pytest.approx(pattern.sum(dtype=float), rel=1e-5)


@pytest.mark.parametrize("total", [500.0, 60000.0])
def test_background_draws_what_its_mean_says(total):
    profile = np.linspace(1, 3, 65536)
    background = physics.Background(profile, total)
    assert background.mean.sum(dtype=float) == pytest.approx(total, rel=1e-6)
    rng = np.random.default_rng(5)
    counts = np.zeros(65536)
    n = 200
    for _ in range(n):
        pixels, photons = background.draw(rng, 0.5)
        assert (np.diff(pixels) > 0).all()
        counts[pixels] += photons
    # 64 regions of 1024 pixels: chi squared with 64 degrees of freedom.
    expected = background.mean.astype(float).reshape(64, -1).sum(1) * 0.5 * n
    chi2 = np.sum((counts.reshape(64, -1).sum(1) - expected) ** 2 / expected)
    assert 64 - 5 * np.sqrt(128) < chi2 < 64 + 5 * np.sqrt(128)


def test_photons_of_a_hit_are_poisson_where_faint_and_where_bright():
    rng = np.random.default_rng(6)
    mean = np.concatenate([np.full(1000, 0.01), np.zeros(10), np.full(1000, 0.2), np.full(1000, 30.0)])
    n = 300
    sums, squares = np.zeros(mean.size), np.zeros(mean.size)
    for _ in range(n):
        counts = np.zeros(mean.size)
        pixels, photons = physics.draw_photons(rng, mean.astype("f4"))
        counts[pixels] = photons
        sums += counts
        squares += counts**2
    assert sums[1000:1010].sum() == 0
    for part in (slice(0, 1000), slice(1010, 2010), slice(2010, 3010)):
        expected = mean[part].sum() * n
        assert abs(sums[part].sum() - expected) < 5 * np.sqrt(expected)
        variance = np.mean(squares[part] / n - (sums[part] / n) ** 2) * n / (n - 1)
        assert variance == pytest.approx(mean[part.start], rel=0.05)


def test_fast_normals_are_normal_up_to_the_far_tail():
    rng = noise.generator(1, 2)
    x = noise.normals(rng, np.empty((40, 65536), np.float32)).astype(float).ravel()
    assert abs(x.mean()) < 5 / np.sqrt(x.size)
    assert abs(x.var() - 1) < 5 * np.sqrt(2 / x.size)
    assert abs(np.mean(x**4) - 3) < 5 * np.sqrt(96 / x.size)
    for limit, probability in ((2.0, 0.0455003), (3.0, 0.0026998), (4.0, 6.3342e-5), (4.5, 6.795e-6)):
        expected = probability * x.size
        assert abs(np.sum(np.abs(x) > limit) - expected) < 5 * np.sqrt(expected) + 1


def test_places_of_a_run_have_their_own_numbers():
    draw = [noise.generator(*key).integers(0, 2**60) for key in ((1, 0), (1, 1), (2, 0), (1, 0, 0))]
    assert len(set(draw)) == 4
    assert noise.generator(1, 0).integers(0, 2**60) == draw[0]


def test_geometry_file_is_read_by_extra_geom_as_we_mean_it(tmp_path):
    extra_geom = pytest.importorskip("extra_geom")
    path = geometry.write_geometry(tmp_path / "agipd.geom", 1.6, 9.3)
    assert path.read_bytes() == geometry.write_geometry(tmp_path / "again.geom", 1.6, 9.3).read_bytes()
    read = extra_geom.AGIPD_1MGeometry.from_crystfel_geom(str(path))
    position = read.get_pixel_positions()
    assert position.shape == (16, 512, 128, 3)
    for m in range(16):
        np.testing.assert_allclose(position[m, ..., :2], geometry.pixel_positions(m), atol=1e-9)
    ours = np.stack([geometry.pixel_positions(m) for m in range(16)]).reshape(-1, 2)
    assert len(np.unique(np.round(ours / 1e-4).astype(int), axis=0)) == len(ours)  # no two pixels overlap
    text = path.read_text()
    assert "p0a0/min_ss = 0\n" in text
    assert "p15a7/max_ss = 8191\n" in text
