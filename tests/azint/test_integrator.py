"""The integrator against NumPy, on every backend."""

from __future__ import annotations

from math import fsum

import numpy as np
import pytest
import shotsieve
from shotsieve.errors import BadInput
from shotsieve.geometry import PixelMap
from shotsieve.measure.azint import find_bins
from shotsieve.reference import azint as reference

SUMS = {
    "signal": "sum_signal",
    "norm": "sum_normalization",
    "norm2": "sum_normalization2",
    "count": "count",
    "intensity": "intensity",
    "variance": "sum_variance",
    "std": "std",
    "sem": "sem",
}


def oracle(ai, frame, mask=None, chi_bins=None, **given):
    """One frame by the reference, from the maps and not from the plan."""
    p = ai.plan.params
    radial = ai.pixels.radial(p.unit)
    bins = find_bins(radial, ai.plan.edges)
    n = len(ai.plan.edges) - 1
    if mask is not None:
        bins = np.where(mask, bins, -1)
    norm = ai.pixels.solid_angle() if p.solid_angle else np.ones(ai.pixels.shape)
    if p.polarisation is not None:
        norm = norm * ai.pixels.polarisation(p.polarisation)
    if p.absorption is not None:
        norm = norm * ai.pixels.absorption(p.absorption)
    if (flat := given.pop("flat", None)) is not None:
        norm = norm * flat
    return reference.integrate(frame, bins, n, norm, error_model=p.error_model, **given)


def near(result, expected, at=None, magnitude=1.0):
    """All sums and curves agree to 1e-12 of what was summed."""
    for name, values in expected.items():
        found = getattr(result, SUMS[name])
        found = found if at is None else found[at]
        scale = np.nanmax(np.abs(values), initial=1.0) * magnitude
        np.testing.assert_allclose(found, values, rtol=3e-12, atol=1e-12 * scale, err_msg=name)


@pytest.mark.parametrize("error_model", [None, "variance", "poisson", "detector", "azimuthal"])
def test_every_error_model(native_backend, pixels, mask, frames, rng, error_model):
    options = {"gain": 0.7, "read_noise": 1.3} if error_model == "detector" else {}
    ai = shotsieve.AzimuthalIntegrator(
        pixels,
        mask,
        37,
        polarisation=0.9,
        absorption=0.3,
        error_model=error_model,
        backend=native_backend,
        **options,
    )
    variance = None
    if error_model == "variance":
        variance = rng.random(frames.shape).astype("f4")
        variance[rng.random(frames.shape) < 0.01] = np.nan
    result = ai(frames, variance=variance)
    for k, frame in enumerate(frames):
        given = dict(options)
        if variance is not None:
            given["variance"] = variance[k]
        near(result, oracle(ai, frame, mask, **given), k)
    assert result.intensity.shape == (len(frames), 37)
    assert np.isnan(result.intensity[1]).all()
    assert not result.count[1].any()


def test_dark_flat_and_monitor(native_backend, pixels, mask, frames, rng):
    dark, flat = rng.normal(1, 0.2, (80, 40)), rng.uniform(0.5, 2, (80, 40))
    dark[3, 4] = np.nan
    ai = shotsieve.AzimuthalIntegrator(
        pixels, mask, 20, dark=dark, flat=flat, error_model="poisson", backend=native_backend
    )
    monitor = rng.uniform(0.5, 2, len(frames))
    plain, scaled = ai(frames), ai(frames, monitor=monitor)
    used = mask & np.isfinite(dark)
    for k, frame in enumerate(frames):
        near(plain, oracle(ai, frame, used, dark=dark, flat=flat), k, magnitude=2)
    np.testing.assert_allclose(scaled.intensity, plain.intensity / monitor[:, None], rtol=1e-14)
    np.testing.assert_allclose(scaled.sigma, plain.sigma / monitor[:, None], rtol=1e-14)
    np.testing.assert_allclose(scaled.std, plain.std / monitor[:, None], rtol=1e-14)


@pytest.mark.parametrize("unit", ["q_A^-1", "q_nm^-1", "2th_deg", "2th_rad", "r_mm", "r_m"])
def test_whole_numbers_are_summed_exactly(native_backend, pixels, rng, unit):
    frames = rng.integers(0, 2**16, (5, 80, 40)).astype("u2")
    ai = shotsieve.AzimuthalIntegrator(
        pixels, None, 25, unit, solid_angle=False, error_model="variance", backend=native_backend
    )
    variances = rng.integers(0, 2**16, frames.shape).astype("f4")
    result = ai(frames, variance=variances)
    bins = find_bins(pixels.radial(unit), ai.plan.edges)
    assert (bins >= 0).all()  # the axis reaches from the least to the largest pixel
    for k, frame in enumerate(frames):
        expected = np.bincount(bins.ravel(), frame.ravel().astype("f8"), 25)
        np.testing.assert_array_equal(result.sum_signal[k], expected)
        expected = np.bincount(bins.ravel(), variances[k].ravel().astype("f8"), 25)
        np.testing.assert_array_equal(result.sum_variance[k], expected)
        np.testing.assert_array_equal(result.count[k], np.bincount(bins.ravel(), minlength=25))
        np.testing.assert_array_equal(result.sum_normalization[k], result.count[k])
    histogram, edges = np.histogram(pixels.radial(unit), ai.plan.edges, weights=frames[0].astype("f8"))
    np.testing.assert_array_equal(result.sum_signal[0], histogram)
    np.testing.assert_array_equal(edges, result.edges)


@pytest.mark.parametrize("error_model", ["variance", "detector", "azimuthal"])
def test_sums_are_within_1e_12_of_what_is_summed(native_backend, pixels, mask, rng, error_model):
    """Values of both signs and all sizes, which cancel; against sums without rounding, bin by bin."""
    frame = (rng.normal(0, 1, (80, 40)) * 10 ** rng.uniform(-3, 4, (80, 40))).astype("f4")
    variance = (10 ** rng.uniform(-3, 4, frame.shape)).astype("f4")
    ai = shotsieve.AzimuthalIntegrator(
        pixels, mask, 20, polarisation=0.9, error_model=error_model, backend=native_backend,
        **({"gain": 0.7, "read_noise": 1.3} if error_model == "detector" else {}),
    )  # fmt: skip
    result = ai(frame, variance=variance if error_model == "variance" else None)
    bins = np.where(mask, find_bins(pixels.radial("q_A^-1"), ai.plan.edges), -1)
    norm = pixels.solid_angle() * pixels.polarisation(0.9)
    for k in range(20):
        signal, w = frame[bins == k].astype("f8"), norm[bins == k]
        v = {
            "variance": variance[bins == k].astype("f8"),
            "detector": 0.7 * signal + 1.3**2,
            "azimuthal": (signal - w * (fsum(signal) / fsum(w))) ** 2,
        }[error_model]
        sums = {"signal": signal, "normalization": w, "normalization2": w * w, "variance": v}
        for name, terms in sums.items():
            found = getattr(result, f"sum_{name}")[k]
            assert abs(found - fsum(terms)) <= 1e-12 * fsum(np.abs(terms)), name
        assert result.count[k] == len(signal)


@pytest.mark.parametrize("splitting", ["no", "full"])
def test_batches_and_threads_give_the_same_bits(native_backend, pixels, mask, rng, splitting):
    frames = rng.normal(3, 2, (70, 80, 40)).astype("f4")
    frames[rng.random(frames.shape) < 0.01] = np.nan
    ai = shotsieve.AzimuthalIntegrator(
        pixels, mask, 30, splitting=splitting, error_model="azimuthal", backend=native_backend
    )
    whole = ai(frames)
    for size in (1, 7, 32):
        for threads in (1, 2, 5):
            parts = [ai(frames[s : s + size], threads=threads) for s in range(0, 70, size)]
            for name in ("intensity", "sigma", "sum_variance", "count"):
                joined = np.concatenate([getattr(part, name) for part in parts])
                np.testing.assert_array_equal(joined, getattr(whole, name))


def test_backends_agree_bit_for_bit(native_backend, pixels, mask, frames):
    options = {"npt": 30, "error_model": "azimuthal", "polarisation": 0.99}
    for splitting in ("no", "full"):
        here, cpu = (
            shotsieve.AzimuthalIntegrator(pixels, mask, splitting=splitting, backend=backend, **options)(
                frames
            )
            for backend in (native_backend, "cpu")
        )
        for name in ("intensity", "sigma", "std", "count", "sum_normalization"):
            np.testing.assert_array_equal(getattr(here, name), getattr(cpu, name))


def test_a_thousand_frames(native_backend, pixels, mask, rng):
    """One by one, by 7, by 32 and all at once, with one thread and with more."""
    if native_backend.name == "emu":
        pytest.skip(
            "too long on the emulator: test_batches_and_threads_give_the_same_bits has 70 frames there"
        )
    frames = rng.normal(2, 1, (1000, 80, 40)).astype("f4")
    frames[rng.random(frames.shape) < 0.01] = np.nan
    options = {"error_model": "poisson", "backend": native_backend}
    ai = shotsieve.AzimuthalIntegrator(pixels, mask, 30, **options)
    whole = ai(frames, threads=1)
    for size, threads in ((1, 1), (7, 2), (32, 5), (1000, 3)):
        parts = [ai(frames[s : s + size], threads=threads) for s in range(0, 1000, size)]
        for name in ("intensity", "sigma", "sum_signal", "sum_variance", "sum_normalization", "count"):
            joined = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(joined, getattr(whole, name))


@pytest.mark.parametrize("dtype", [bool, "u1", "u4"])
def test_masks_of_frames_are_nan_of_frames(native_backend, pixels, mask, frames, rng, dtype):
    bad = rng.random(frames.shape) < 0.1
    ai = shotsieve.AzimuthalIntegrator(pixels, mask, 30, error_model="azimuthal", backend=native_backend)
    by_mask = ai(frames, mask=bad if dtype is bool else bad.astype(dtype) * 64)
    by_nan = ai(np.where(bad, np.nan, frames))
    for name in ("intensity", "sigma", "count"):
        np.testing.assert_array_equal(getattr(by_mask, name), getattr(by_nan, name))


def test_cakes_are_profiles_of_sectors(native_backend, pixels, mask, frames):
    options = {"error_model": "poisson", "backend": native_backend, "radial_range": (0.05, 0.7)}
    cake = shotsieve.AzimuthalIntegrator(pixels, mask, 12, npt_chi=8, chi_range=(-100, 200), **options)(
        frames
    )
    assert cake.intensity.shape == (len(frames), 8, 12)
    for j in range(8):
        low, high = cake.chi_edges[j : j + 2]
        sector = shotsieve.AzimuthalIntegrator(pixels, mask, 12, chi_range=(low, high), **options)(frames)
        # The last edge of a sector is closed, that of a bin inside a cake is open: no pixel lies on one here.
        np.testing.assert_array_equal(cake.sum_signal[:, j], sector.sum_signal)
        np.testing.assert_array_equal(cake.count[:, j], sector.count)
    whole = shotsieve.AzimuthalIntegrator(pixels, mask, 12, npt_chi=8, **options)(frames)
    profile = shotsieve.AzimuthalIntegrator(pixels, mask, 12, **options)(frames)
    np.testing.assert_array_equal(whole.count.sum(axis=1), profile.count)
    np.testing.assert_allclose(whole.sum_signal.sum(axis=1), profile.sum_signal, rtol=1e-13)


def test_frames_of_any_form(pixels, frames):
    ai = shotsieve.AzimuthalIntegrator(pixels, None, 9, backend="cpu")
    one, many = ai(frames[2]), ai(frames)
    assert one.intensity.shape == (9,)
    np.testing.assert_array_equal(one.intensity, many.intensity[2])
    np.testing.assert_array_equal(ai(frames.reshape(19, 4, 20, 40)).intensity, many.intensity)
    np.testing.assert_array_equal(ai(frames[2].reshape(4, 20, 40)).intensity, one.intensity)
    whole = np.nan_to_num(frames, nan=1, posinf=2)
    np.testing.assert_array_equal(ai(whole.astype("i8")).intensity, ai(whole).intensity)
    assert ai(frames[:0]).intensity.shape == (0, 9)
    np.testing.assert_array_equal(ai(np.asfortranarray(frames)).intensity, many.intensity)


def test_a_mask_does_not_move_the_axis(pixels, mask):
    mask[np.unravel_index(np.argmax(pixels.q(9.3)), mask.shape)] = False
    edges = [shotsieve.AzimuthalIntegrator(pixels, m, 50, backend="cpu").plan.edges for m in (None, mask)]
    np.testing.assert_array_equal(*edges)


def test_explicit_edges(native_backend, pixels, frames):
    edges = np.array([0.1, 0.15, 0.3, 0.6])
    result = shotsieve.AzimuthalIntegrator(pixels, edges=edges, backend=native_backend)(frames[0])
    np.testing.assert_array_equal(result.edges, edges)
    expected, _ = np.histogram(pixels.radial("q_A^-1"), edges)
    np.testing.assert_array_equal(result.count, expected)


CLIPPED = {"azimuthal": {}, "poisson": {}, "detector": {"gain": 1.4, "read_noise": 2.0}}


@pytest.mark.parametrize("error_model", CLIPPED)
def test_sigma_clipping_keeps_the_same_pixels(native_backend, pixels, mask, rng, error_model):
    frames = rng.poisson(30, (17, 80, 40)).astype("f4")
    frames[rng.random(frames.shape) < 0.01] *= 20
    frames[0, :3] = np.nan
    options = CLIPPED[error_model]
    ai = shotsieve.AzimuthalIntegrator(
        pixels, mask, 12, error_model=error_model, backend=native_backend, **options
    )
    result = ai.sigma_clip(frames, thresh=3.0, max_iter=4)
    bins = np.where(mask, find_bins(pixels.radial("q_A^-1"), ai.plan.edges), -1)
    for k, frame in enumerate(frames):
        expected = reference.sigma_clip(
            frame,
            bins,
            12,
            pixels.solid_angle(),
            thresh=3.0,
            max_iter=4,
            error_model=error_model,
            **options,
        )
        del expected["kept"]
        near(result, expected, k)
    assert (result.count < ai(frames).count).any()
    for size, threads in ((1, 1), (7, 2), (17, 5)):
        parts = [
            ai.sigma_clip(frames[s : s + size], thresh=3.0, max_iter=4, threads=threads)
            for s in range(0, 17, size)
        ]
        for name in ("intensity", "sum_variance", "count"):
            joined = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(joined, getattr(result, name))


def test_variance_of_the_dark(native_backend, pixels, mask, frames, rng):
    """It is added to what the error model gives."""
    dark, variance = rng.normal(1, 0.2, (80, 40)), rng.uniform(0.5, 2, (80, 40))
    options = {"dark": dark, "error_model": "poisson", "backend": native_backend}
    plain = shotsieve.AzimuthalIntegrator(pixels, mask, 20, **options)(frames[2:4])
    found = shotsieve.AzimuthalIntegrator(pixels, mask, 20, dark_variance=variance, **options)(frames[2:4])
    np.testing.assert_array_equal(found.intensity, plain.intensity)
    bins = np.where(mask, find_bins(pixels.radial("q_A^-1"), plain.edges), -1)
    for k, frame in enumerate(frames[2:4]):
        good = (bins >= 0) & np.isfinite(frame)
        added = np.bincount(bins[good], variance[good], 20)
        np.testing.assert_allclose(found.sum_variance[k] - plain.sum_variance[k], added, rtol=1e-5, atol=1e-5)


def test_a_range_of_azimuth_is_a_sector_also_of_split_pixels(pixels, frames):
    frame = frames[0]
    for splitting in ("no", "full"):
        sector = shotsieve.AzimuthalIntegrator(
            pixels, None, 8, chi_range=(-90, 90), splitting=splitting, radial_range=(0.1, 0.6), backend="cpu"
        )(frame)
        cake = shotsieve.AzimuthalIntegrator(
            pixels, None, 8, npt_chi=2, chi_range=(-90, 90), splitting=splitting, radial_range=(0.1, 0.6),
            error_model="poisson", backend="cpu",
        )(frame)  # fmt: skip
        for name in ("sum_signal", "sum_normalization", "count"):
            whole = getattr(cake, name).sum(axis=0)
            np.testing.assert_allclose(getattr(sector, name), whole, rtol=1e-12, atol=1e-9)


WRONG = {
    "no pixel left": ({"mask": np.zeros((80, 40), bool)}, "no pixel is left"),
    "mask of numbers": ({"mask": np.ones((80, 40), "u4")}, "expected bool"),
    "mask of another shape": ({"mask": np.ones((80, 41), bool)}, "expected bool"),
    "mask that lies down": ({"mask": np.ones((40, 80), bool)}, "expected bool"),
    "mask in a row": ({"mask": np.ones(3200, bool)}, "expected bool"),
    "dark that lies down": ({"dark": np.zeros((40, 80))}, "dark has shape"),
    "range without pixels": ({"radial_range": (50, 60)}, "pixels run from"),
    "edges without pixels": ({"edges": [50.0, 55.0, 60.0]}, "pixels run from"),
    "range upside down": ({"radial_range": (3, 1)}, "first below the second"),
    "range that is not finite": ({"radial_range": (0, np.inf)}, "finite"),
    "no bins": ({"npt": 0}, "at least 1"),
    "half a bin": ({"npt": 10.5}, "whole number"),
    "unknown unit": ({"unit": "q_pc^-1"}, "unit"),
    "more than a turn": ({"chi_range": (0, 400)}, "one turn"),
    "unknown splitting": ({"splitting": "bbox"}, "no, full"),
    "unknown error model": ({"error_model": "hybrid"}, "azimuthal"),
    "noise without its model": ({"read_noise": 1.0}, 'go with error_model = "detector", not with None'),
    "gain of photons": ({"gain": 2.0, "error_model": "poisson"}, "not with 'poisson'"),
    "unknown option": ({"solidangle": True}, "no option solidangle"),
    "flat of another shape": ({"flat": np.ones((3, 3))}, "flat has shape"),
    "flat of zeros": ({"flat": np.zeros((80, 40))}, "no pixel is left"),
    "edges that fall": ({"edges": [1.0, 0.5]}, "ascending"),
    "polarisation of 2": ({"polarisation": 2.0}, "polarisation"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_parameters(pixels, what):
    options, text = WRONG[what]
    with pytest.raises(BadInput, match=text):
        shotsieve.AzimuthalIntegrator(pixels, backend="cpu", **options)


def test_bad_geometry(pixels, real_data):
    geom = real_data / "geometry" / "agipd_p700000_r0030.geom"
    with pytest.raises(BadInput, match="above 0"):
        shotsieve.AzimuthalIntegrator(geom, distance_m=-0.1)
    with pytest.raises(BadInput, match="has its distance"):
        shotsieve.AzimuthalIntegrator(pixels, distance_m=0.1)
    with pytest.raises(BadInput, match="expected a PixelMap"):
        shotsieve.AzimuthalIntegrator(np.zeros((3, 3)))
    with pytest.raises(BadInput, match=r"\(8192, 128\)"):
        shotsieve.AzimuthalIntegrator(geom, backend="cpu")(np.zeros((16, 512, 64), "f4"))
    dark = PixelMap(pixels.tiles, pixels.shape, pixels.distance_m, None, "no energy")
    with pytest.raises(BadInput, match="photon_energy_kev"):
        shotsieve.AzimuthalIntegrator(dark)


def test_bad_frames(pixels, frames):
    ai = shotsieve.AzimuthalIntegrator(pixels, npt=9, backend="cpu")
    for given, text in (
        ({"frames": frames.astype("f8")}, "float64 do not fit"),
        ({"frames": np.full((80, 40), 2**25)}, "do not fit"),
        ({"frames": frames[:, :79]}, "expected"),
        ({"frames": frames, "variance": frames}, "variance"),
        ({"frames": frames, "mask": np.zeros((80, 40), bool)}, "mask of the frames"),
        ({"frames": frames, "mask": np.zeros(frames.shape)}, "mask of the frames"),
        ({"frames": frames, "mask": np.zeros((19, 40, 80), bool)}, "mask of the frames"),
        ({"frames": frames, "mask": np.zeros(frames.size, bool)}, "mask of the frames"),
        ({"frames": frames, "monitor": np.ones(3)}, "one or 19"),
        ({"frames": frames, "monitor": 0.0}, "above 0"),
        ({"frames": frames, "threads": 0}, "threads"),
        ({"frames": np.ma.array(frames)}, "masked array"),
    ):
        with pytest.raises(BadInput, match=text):
            ai(**given)
    with pytest.raises(BadInput, match="error_model"):
        ai.sigma_clip(frames)
    split = shotsieve.AzimuthalIntegrator(
        pixels, npt=9, splitting="full", error_model="azimuthal", backend="cpu"
    )
    with pytest.raises(BadInput, match="neighbour"):
        split.sigma_clip(frames)
