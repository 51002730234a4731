"""The same curves as pyFAI's. Pixels near an edge of a bin, where rounding decides, are masked in both.

The first and the last bin are left out: where a range cuts pixels off, pyFAI rounds those just below it
towards zero, that is into the first bin; and of split pixels it gives either bin what lies beyond the range.
"""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from shotsieve.measure.azint_split import split_pixels

AzimuthalIntegrator = pytest.importorskip("pyFAI.integrator.azimuthal").AzimuthalIntegrator
AGIPD = pytest.importorskip("extra_geom").AGIPD_1MGeometry

ENERGY, DISTANCE, NPT = 9.3, 0.1185, 300
WAVELENGTH = 12.398419843320026e-10 / ENERGY
RANGES = {
    "q_A^-1": (0.3, 3.5),
    "q_nm^-1": (3.0, 35.0),
    "2th_deg": (4.0, 45.0),
    "2th_rad": (0.07, 0.8),
    "r_mm": (8.0, 110.0),
    "r_m": (0.008, 0.110),
}
INSIDE = slice(1, -1)
OTHER_QUADRANTS = np.arange(8192)[:, None] >= 2048  # splitting the whole detector takes long


@pytest.fixture(scope="module")
def geom(real_data):
    return real_data / "geometry" / "agipd_p700000_r0030.geom"


@pytest.fixture(scope="module")
def pyfai(geom):
    detector = AGIPD.from_crystfel_geom(geom).to_pyfai_detector()
    return AzimuthalIntegrator(dist=DISTANCE, detector=detector, wavelength=WAVELENGTH)


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(5)
    # pyFAI's Poisson variance is at least 1: no value below tells nothing of its formula.
    return (rng.poisson(5, (8192, 128)) + 1).astype("f4")


@pytest.fixture(scope="module")
def maps(geom):
    return shotsieve.AzimuthalIntegrator(geom, npt=1, distance_m=DISTANCE, photon_energy_kev=ENERGY).pixels


def bad_pixels(maps, unit, npt=NPT):
    """True where bad: some at random, and all whose centre is near an edge."""
    low, high = RANGES[unit]
    place = (maps.radial(unit, ENERGY) - low) / (high - low) * npt
    near = np.abs(place - np.rint(place)) < 2e-3
    return near | (np.random.default_rng(6).random((8192, 128)) < 0.02)


def ours(maps, bad, unit, **options):
    options = {"radial_range": RANGES[unit], "photon_energy_kev": ENERGY, "backend": "cpu", **options}
    return shotsieve.AzimuthalIntegrator(maps, ~bad, options.pop("npt", NPT), unit, **options)


def compare(result, theirs, rtol=1e-6, names=("intensity",), at=INSIDE):
    good = theirs.count[..., at] > 0
    assert good.sum() > 10
    for name in names:
        mine, other = getattr(result, name)[..., at], np.asarray(getattr(theirs, name))[..., at]
        np.testing.assert_allclose(mine[good], other[good], rtol=rtol, err_msg=name)


ERRORS = ("sigma", "std", "sem", "sum_variance")
SUMS = ("intensity", "count", "sum_signal", "sum_normalization", "sum_normalization2")


@pytest.mark.parametrize("splitting", ["no", "full"])
@pytest.mark.parametrize("unit", RANGES)
def test_every_unit(maps, pyfai, frame, unit, splitting):
    bad = bad_pixels(maps, unit)
    if splitting == "full":
        bad |= OTHER_QUADRANTS
    result = ours(maps, bad, unit, polarisation=0.99, splitting=splitting)(frame)
    theirs = pyfai.integrate1d(
        frame, NPT, unit=unit, mask=bad, radial_range=RANGES[unit], polarization_factor=0.99,
        method=(splitting, "csr", "cython"),
    )  # fmt: skip
    np.testing.assert_allclose(result.radial, theirs.radial, rtol=1e-6)
    if splitting == "no":
        compare(result, theirs, names=SUMS[:4])
        return
    # What is left is pyFAI's shares in float32, see below: it averages out among many pixels.
    many = np.flatnonzero(theirs.count > 500)[1:-1]
    off = np.abs(result.intensity / theirs.intensity - 1)[many]
    assert len(many) > 150
    assert np.median(off) < 5e-7
    assert off.max() < 5e-6


CORRECTIONS = {
    "none": ({"solid_angle": False}, {"correctSolidAngle": False}),
    "solid angle": ({}, {}),
    "polarisation": ({"polarisation": -0.3}, {"polarization_factor": -0.3}),
    "dark and flat": ({"dark": "dark", "flat": "flat"}, {"dark": "dark", "flat": "flat"}),
    "absorption": ({"absorption": 0.4}, {"absorption": "absorption"}),
    "monitor": ({}, {"normalization_factor": 3.5}),
}


@pytest.mark.parametrize("what", CORRECTIONS)
def test_every_correction(maps, pyfai, frame, what):
    rng, unit = np.random.default_rng(7), "q_A^-1"
    arrays = {
        "dark": rng.uniform(0, 2, frame.shape).astype("f4"),
        "flat": rng.uniform(0.5, 2, frame.shape).astype("f4"),
        "absorption": pyfai.calc_transmission(0.4),
    }
    mine, theirs = (
        {key: arrays[value] if isinstance(value, str) else value for key, value in side.items()}
        for side in CORRECTIONS[what]
    )
    bad = bad_pixels(maps, unit)
    result = ours(maps, bad, unit, error_model="poisson", **mine)(
        frame, monitor=theirs.get("normalization_factor")
    )
    expected = pyfai.integrate1d(
        frame, NPT, unit=unit, mask=bad, radial_range=RANGES[unit], error_model="poisson",
        method=("no", "csr", "cython"), **theirs,
    )  # fmt: skip
    compare(result, expected, names=(*SUMS, *ERRORS))


@pytest.mark.parametrize("splitting", ["no", "full"])
@pytest.mark.parametrize("error_model", ["poisson", "variance", "detector", "azimuthal"])
def test_every_error_model(maps, pyfai, frame, splitting, error_model):
    unit = "q_A^-1"
    bad = bad_pixels(maps, unit)
    variance = np.random.default_rng(8).uniform(1, 9, frame.shape).astype("f4")
    given = {"variance": variance} if error_model == "variance" else {}
    own = {"gain": 0.7, "read_noise": 1.3} if error_model == "detector" else {}
    result = ours(maps, bad, unit, splitting=splitting, error_model=error_model, **own)(frame, **given)
    if error_model == "detector":
        given = {"variance": (0.7 * frame.astype("f8") + 1.3**2).astype("f4")}
    model = "azimuthal" if error_model == "azimuthal" else "poisson"
    options = {"unit": unit, "mask": bad, "radial_range": RANGES[unit], "error_model": model, **given}
    theirs = pyfai.integrate1d(frame, NPT, method=(splitting, "csr", "cython"), **options)
    # pyFAI has corners and shares in float32: of split pixels single bins differ by 2e-6.
    rtol = 1e-6 if splitting == "no" else 3e-6
    compare(result, theirs, rtol, names=("intensity", "count"))
    if error_model == "azimuthal":
        # The compiled engines take this variance in one pass, and are off by a few 1e-3; the one in Python
        # is not, but sums in float32.
        theirs, rtol = pyfai.integrate1d(frame, NPT, method=(splitting, "csr", "python"), **options), 1e-5
    for name in ("std", "sem"):
        off = np.abs(getattr(result, name) / getattr(theirs, name) - 1)[INSIDE]
        if (splitting, error_model) == ("full", "azimuthal"):
            # pyFAI measures a split pixel from the mean of the averages of its bins, we in each from its own.
            assert np.nanmedian(off) < 1e-4
            assert np.nanmax(off) < 5e-3
            continue
        assert np.nanmedian(off) < 1e-6
        assert np.nanmax(off) < rtol


def curves_of(bins, pixel, share, n, signal, norm, variance):
    """What the formulas give with shares of pixels, in float64."""
    share = share.astype("f8")
    signal, w, v = (values.ravel()[pixel].astype("f8") for values in (signal, norm, variance))
    terms = {"signal": share * signal, "w": share * w, "w2": (share * w) ** 2, "v": share**2 * v, "n": share}
    s = {name: np.bincount(bins, values, n) for name, values in terms.items()}
    with np.errstate(invalid="ignore", divide="ignore"):
        curves = {"intensity": s["signal"] / s["w"], "std": np.sqrt(s["v"] / s["w2"])}
        return {**curves, "sem": np.sqrt(s["v"]) / s["w"], "count": s["n"]}


def shares_of(pyfai, theirs):
    """Bin, pixel and share of every entry that an engine of pyFAI has."""
    matrix = pyfai.engines[theirs.method].engine
    bins = np.repeat(np.arange(len(matrix.indptr) - 1), np.diff(matrix.indptr))
    return bins, np.asarray(matrix.indices), np.asarray(matrix.data)


def same_curves(result, curves, at):
    for name, values in curves.items():
        np.testing.assert_allclose(np.asarray(getattr(result, name))[at], values[at], rtol=1e-6, err_msg=name)


def test_split_pixels_differ_by_pyfais_shares_alone(maps, pyfai, frame):
    """Every sum and every correction at once. pyFAI's shares come of corners in float32; ours are exact."""
    unit, rng = "q_A^-1", np.random.default_rng(13)
    bad = bad_pixels(maps, unit) | OTHER_QUADRANTS
    dark, flat = (rng.uniform(*reach, frame.shape).astype("f4") for reach in ((0, 1), (0.5, 2)))
    variance = rng.uniform(1, 9, frame.shape).astype("f4")
    integrator = ours(
        maps, bad, unit, splitting="full", error_model="variance", polarisation=0.9, absorption=0.4,
        dark=dark, flat=flat,
    )  # fmt: skip
    result = integrator(frame, variance=variance, monitor=3.5)
    theirs = pyfai.integrate1d(
        frame, NPT, unit=unit, mask=bad, radial_range=RANGES[unit], error_model="variance", variance=variance,
        polarization_factor=0.9, absorption=pyfai.calc_transmission(0.4), dark=dark, flat=flat,
        normalization_factor=3.5, method=("full", "csr", "cython"),
    )  # fmt: skip
    radial, chi = maps.corner_values(unit, ENERGY)
    own = split_pixels(radial, np.rad2deg(chi), ~bad, integrator.plan.edges, None)
    norm = maps.solid_angle() * maps.polarisation(0.9) * maps.absorption(0.4) * flat * 3.5
    values, some = (NPT, frame - dark, norm, variance), theirs.count > 1
    same_curves(result, curves_of(own.bin, own.pixel, own.coef, *values), some)
    same_curves(theirs, curves_of(*shares_of(pyfai, theirs), *values), some)


def test_cakes(maps, pyfai, frame):
    unit, npt, npt_chi = "q_A^-1", 50, 36
    chi = (maps.chi("deg") + 180) / 360 * npt_chi
    bad = bad_pixels(maps, unit, npt) | (np.abs(chi - np.rint(chi)) < 2e-3)
    options = {"npt": npt, "npt_chi": npt_chi, "error_model": "poisson"}
    result = ours(maps, bad, unit, **options)(frame)
    theirs = pyfai.integrate2d(
        frame, npt, npt_chi, unit=unit, mask=bad, radial_range=RANGES[unit], azimuth_range=(-180, 180),
        error_model="poisson", method=("no", "csr", "cython"),
    )  # fmt: skip
    np.testing.assert_allclose(result.chi, theirs.azimuthal, atol=1e-4)
    compare(result, theirs, names=("intensity", "count", "sigma"))


@pytest.mark.parametrize("unit", ["2th_deg", "r_mm"])
def test_cakes_in_other_units(maps, pyfai, frame, unit):
    npt, npt_chi, variance = 40, 24, frame.astype("f8") * 0.7 + 1.69
    chi = (maps.chi("deg") + 180) / 360 * npt_chi
    bad = bad_pixels(maps, unit, npt) | (np.abs(chi - np.rint(chi)) < 2e-3)
    options = {"npt": npt, "npt_chi": npt_chi, "error_model": "detector", "gain": 0.7, "read_noise": 1.3}
    result = ours(maps, bad, unit, **options)(frame)
    theirs = pyfai.integrate2d(
        frame, npt, npt_chi, unit=unit, mask=bad, radial_range=RANGES[unit], azimuth_range=(-180, 180),
        variance=variance.astype("f4"), method=("no", "csr", "cython"),
    )  # fmt: skip
    compare(result, theirs, names=("intensity", "count", "sigma"))


def test_every_way_to_give_a_geometry_gives_the_same_curve(geom, pyfai, frame, tmp_path):
    objects = {
        "text": str(geom),
        "path": geom,
        "own": shotsieve.geometry.Geometry.load(geom, module_shape=(512, 128)),
        "EXtra-geom": AGIPD.from_crystfel_geom(geom),
        "pyFAI's detector": pyfai.detector,
    }
    options = {"npt": 50, "radial_range": (0.3, 3.5), "photon_energy_kev": ENERGY, "backend": "cpu"}
    expected = shotsieve.AzimuthalIntegrator(geom, distance_m=DISTANCE, **options)(frame)
    for name, one in objects.items():
        found = shotsieve.AzimuthalIntegrator(one, distance_m=DISTANCE, **options)(frame)
        # pyFAI has corners in float32: a few pixels at edges of bins go to their neighbours.
        assert np.abs(found.count - expected.count).sum() < 1e-4 * expected.count.sum(), name
        np.testing.assert_allclose(found.intensity, expected.intensity, rtol=1e-3, err_msg=name)
    flat = AzimuthalIntegrator(
        dist=0.2, poni1=0.01, poni2=0.02, detector="Pilatus100k", wavelength=WAVELENGTH
    )
    flat.save(str(tmp_path / "flat.poni"))
    image = np.random.default_rng(3).poisson(9, flat.detector.shape).astype("f4")
    options = {"npt": 50, "backend": "cpu"}
    by_file = shotsieve.AzimuthalIntegrator(tmp_path / "flat.poni", **options)(image)
    by_object = shotsieve.AzimuthalIntegrator(flat, **options)(image)
    np.testing.assert_array_equal(by_file.count, by_object.count)
    np.testing.assert_allclose(by_file.intensity, by_object.intensity, rtol=1e-9)


def test_split_cakes_differ_by_pyfais_shares_alone(maps, pyfai, frame):
    """With its own shares pyFAI's cake is that of our formulas; with exact ones it would be ours."""
    geometry = pytest.importorskip("shapely.geometry")
    unit, npt, npt_chi = "q_A^-1", 50, 36
    bad = bad_pixels(maps, unit, npt) | OTHER_QUADRANTS
    options = {"npt": npt, "npt_chi": npt_chi, "splitting": "full", "error_model": "poisson"}
    integrator = ours(maps, bad, unit, **options)
    result = integrator(frame)
    theirs = pyfai.integrate2d(
        frame, npt, npt_chi, unit=unit, mask=bad, radial_range=RANGES[unit], azimuth_range=(-180, 180),
        error_model="poisson", method=("full", "csr", "cython"),
    )  # fmt: skip
    bins, pixel, share = shares_of(pyfai, theirs)
    bins = bins % npt_chi * npt + bins // npt_chi  # azimuth by azimuth, as ours
    radial, chi = maps.corner_values(unit, ENERGY)
    edges, chi_edges = integrator.plan.edges, integrator.plan.chi_edges
    own = split_pixels(radial, np.rad2deg(chi), ~bad, edges, chi_edges)
    values = (npt * npt_chi, frame, maps.solid_angle(), frame)
    for one, entries in ((result, (own.bin, own.pixel, own.coef)), (theirs, (bins, pixel, share))):
        curves = {name: c.reshape(npt_chi, npt) for name, c in curves_of(*entries, *values).items()}
        same_curves(one, curves, theirs.count > 1)
    several = np.flatnonzero(np.bincount(own.pixel, minlength=frame.size) > 1)[::211]
    off_ours, off_theirs = [], []
    for p in several:
        polygon = geometry.Polygon(
            np.stack([radial.reshape(-1, 4)[p], np.rad2deg(chi.reshape(-1, 4)[p])], axis=1)
        )
        for k, mine in zip(own.bin[own.pixel == p], own.coef[own.pixel == p], strict=True):
            j, i = divmod(int(k), npt)
            cell = geometry.box(edges[i], chi_edges[j], edges[i + 1], chi_edges[j + 1])
            exact = polygon.intersection(cell).area / polygon.area
            off_ours.append(abs(mine - exact))
            off_theirs.append(abs(share[(bins == k) & (pixel == p)].sum() - exact))
    assert max(off_ours) < 1e-9
    assert max(off_theirs) > 1e-2
    full = (theirs.count > 100)[:, INSIDE]
    ratio = (result.intensity / theirs.intensity)[:, INSIDE][full]
    assert np.median(np.abs(ratio - 1)) < 2e-4
    assert np.abs(ratio - 1).max() < 5e-3


@pytest.mark.parametrize("error_model", ["azimuthal", "poisson"])
def test_sigma_clipping_keeps_the_same_pixels(maps, pyfai, frame, error_model):
    unit = "q_A^-1"
    bad = bad_pixels(maps, unit)
    spotted = frame.copy()
    spotted[np.random.default_rng(9).random(frame.shape) < 0.003] *= 20
    result = ours(maps, bad, unit, error_model=error_model).sigma_clip(spotted, thresh=4, max_iter=5)
    theirs = pyfai.sigma_clip(
        spotted, NPT, unit=unit, mask=bad, radial_range=RANGES[unit], error_model=error_model, thres=4,
        max_iter=5, method=("no", "csr", "python"),
    )  # fmt: skip
    np.testing.assert_array_equal(result.count[INSIDE], theirs.count[INSIDE])
    # As many, and the same: another pixel instead of one of them would change the sum of a bin by 1e-4.
    compare(result, theirs, 1e-5, names=("sum_signal", "intensity", "std", "sem"))
    assert result.count.sum() < ours(maps, bad, unit)(spotted).count.sum()


def test_nan_in_the_frame_is_a_mask(maps, pyfai, frame):
    unit = "q_A^-1"
    bad = bad_pixels(maps, unit)
    holed = frame.copy()
    holed[np.random.default_rng(10).random(frame.shape) < 0.1] = np.nan
    holed[np.random.default_rng(11).random(frame.shape) < 0.01] = np.inf
    theirs = pyfai.integrate1d(
        holed, NPT, unit=unit, mask=bad, radial_range=RANGES[unit], method=("no", "csr", "cython"),
        error_model="poisson",
    )  # fmt: skip
    compare(ours(maps, bad, unit, error_model="poisson")(holed), theirs, names=(*SUMS, *ERRORS))


def test_from_pyfai_gives_the_same_curve(maps, pyfai, frame):
    unit = "q_A^-1"
    bad = bad_pixels(maps, unit)
    options = {"radial_range": RANGES[unit], "polarisation": 0.99, "backend": "cpu"}
    result = shotsieve.AzimuthalIntegrator.from_pyfai(pyfai, NPT, unit, mask=~bad, **options)(frame)
    theirs = pyfai.integrate1d(
        frame, NPT, unit=unit, mask=bad, radial_range=RANGES[unit], polarization_factor=0.99,
        method=("no", "csr", "cython"),
    )  # fmt: skip
    compare(result, theirs, names=SUMS[:4])


def test_from_pyfai_takes_mask_dark_and_flat(frame):
    from pyFAI.detectors import Detector

    rng = np.random.default_rng(12)
    detector = Detector(2e-4, 2e-4, max_shape=(100, 120))
    detector.mask = rng.random((100, 120)) < 0.05
    ai = AzimuthalIntegrator(
        dist=0.1, poni1=0.009, poni2=0.011, rot1=0.02, detector=detector, wavelength=1e-10
    )
    detector.set_darkcurrent(rng.uniform(0, 1, (100, 120)).astype("f4"))
    detector.set_flatfield(rng.uniform(0.8, 1.2, (100, 120)).astype("f4"))
    small = frame[:100, :].repeat(2, axis=1)[:, :120].copy()
    reach = (1.0, 9.0)
    result = shotsieve.AzimuthalIntegrator.from_pyfai(ai, 40, "q_nm^-1", radial_range=reach, backend="cpu")(
        small
    )
    theirs = ai.integrate1d(small, 40, unit="q_nm^-1", radial_range=reach, method=("no", "csr", "cython"))
    same = (result.count == theirs.count)[INSIDE]
    assert same.mean() > 0.8  # no pixel near an edge is masked here
    np.testing.assert_allclose(result.intensity[INSIDE][same], theirs.intensity[INSIDE][same], rtol=1e-6)
