"""Profiles and regions of interest in the pipeline: what the array API gives for the calibrated frames."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.engine import BLOCK_BYTES
from shotsieve.errors import BadInput
from shotsieve.geometry import Geometry
from shotsieve.measure.average import ProfileAverage
from shotsieve.simulate.geometry import write_geometry

from .nexus_case import check_nexus

AZINT = {
    "npt": 60,
    "polarisation": 0.99,
    "error_model": "poisson",
    "normalise": "pulse_energy",
    "average": "cell",
}
ROI = {
    "box": {"kind": "rectangle", "module": 3, "ss_start": 10, "ss_stop": 200, "fs_start": 5, "fs_stop": 100},
    "ring": {"kind": "ring", "low": 0.02, "high": 0.06},
    "part": {"kind": "sector", "low": 0.02, "high": 0.06, "chi_low": 0, "chi_high": 180},
    "lab": {"kind": "polygon", "vertices": "-60 -60, 60 -60, 60 60, -60 60"},
}
MODULES = (3, 4)


@pytest.fixture(scope="module")
def geometry(simulated, tmp_path_factory):
    p = simulated("usual").parameters
    return write_geometry(
        tmp_path_factory.mktemp("geometry") / "agipd.geom", p.distance_m, p.photon_energy_kev
    )


@pytest.fixture(scope="module")
def reduce(simulated, geometry):
    def run(out, name="usual", backend="cpu", block_bytes=BLOCK_BYTES, detector=None, **sections):
        sim = simulated(name)
        given = {"calibrate": {}, "measure": {"azint": AZINT, "roi": ROI}, **sections}
        given = {key: value for key, value in given.items() if value is not None}
        given["detector"] = [detector or {"name": "AGIPD1M", "geometry": str(geometry)}]
        options = {"constants": sim.constants, "backend": backend, "block_bytes": block_bytes}
        return shotsieve.reduce(sim.raw, given, out, **options)

    return run


@pytest.fixture(scope="module")
def everything(reduce, tmp_path_factory):
    return reduce(tmp_path_factory.mktemp("all") / "r", write={"content": "corrected"})


@pytest.fixture(scope="module")
def frames(everything, read_module):
    slab = np.full((len(everything.table), 16, 512, 128), np.nan, np.float32)
    for module in MODULES:
        slab[:, module] = read_module(everything, module)["image.data"]
    return slab.reshape(-1, 8192, 128)


@pytest.fixture(scope="module")
def expected(simulated, geometry, frames):
    p = simulated("usual").parameters
    integrator = shotsieve.AzimuthalIntegrator(
        Geometry.load(geometry, module_shape=(512, 128)),
        npt=60,
        polarisation=0.99,
        error_model="detector",
        gain=p.photon_energy_kev,
        photon_energy_kev=p.photon_energy_kev,
        distance_m=p.distance_m,
        backend="cpu",
    )
    return integrator(frames)


def entry(result):
    return h5py.File(result.out / "shotsieve" / "profiles.h5")["entry"]


def pulse_energy(result):
    """Of every shot, (S, 1); NaN where there was no pulse to divide by."""
    energy = result.table.columns["pulse_energy"][:, None]
    return np.where(energy > 0, energy, np.nan)


def test_every_shot_has_the_profile_of_the_array_api(everything, expected):
    monitor = pulse_energy(everything)
    data = entry(everything)["profiles"]
    np.testing.assert_allclose(data["q"], expected.radial, rtol=1e-14)
    np.testing.assert_array_equal(data["q_edges"], expected.edges)
    np.testing.assert_array_equal(data["pixels"], expected.count.astype("f4"))
    np.testing.assert_array_equal(data["intensity"], (expected.intensity / monitor).astype("f4"))
    np.testing.assert_array_equal(data["intensity_errors"], (expected.sigma / monitor).astype("f4"))
    for name, values in (("trainId", everything.table.train_id), ("pulseId", everything.table.pulse_id)):
        np.testing.assert_array_equal(data[name], values)
    assert np.isfinite(data["intensity"]).any()


def test_averages_are_ratios_of_sums(everything, expected):
    table = everything.table
    monitor = pulse_energy(everything)
    lit = ~np.isnan(monitor[:, 0])
    data = entry(everything)["average"]
    norm = expected.sum_normalization * np.nan_to_num(monitor)
    signal = np.where(lit[:, None], expected.sum_signal, 0)
    filled = norm.sum(axis=0) > 0
    ratio = signal.sum(axis=0)[filled] / norm.sum(axis=0)[filled]
    np.testing.assert_allclose(data["intensity"][()][filled], ratio, rtol=1e-12)
    assert np.isnan(data["intensity"][()][~filled]).all()
    by_cell = entry(everything)["average_by_cell"]
    cells = np.unique(table.cell_id[lit])  # a cell without a pulse has nothing to average
    np.testing.assert_array_equal(by_cell["cell"], cells)
    for row, cell in enumerate(cells):
        here = (table.cell_id == cell) & lit
        ratio = signal[here].sum(axis=0)[filled] / norm[here].sum(axis=0)[filled]
        np.testing.assert_allclose(by_cell["intensity"][row][filled], ratio, rtol=1e-12)
        assert (by_cell["shots"][row][filled] == here.sum()).all()


@pytest.mark.parametrize("by", ["train", "pulse_energy_sigma"])
@pytest.mark.parametrize("estimator", ["ratio_of_sums", "mean_of_ratios"])
def test_averages_over_trains_and_columns_by_both_estimators(
    reduce, everything, expected, tmp_path, estimator, by
):
    azint = {**AZINT, "average": by, "estimator": estimator, "per_shot": False}
    result = reduce(tmp_path / "r", measure={"azint": azint})
    table, monitor = everything.table, pulse_energy(everything)
    key = table.train_id if by == "train" else table.columns[by]
    lit, data = ~np.isnan(monitor[:, 0]), entry(result)[f"average_by_{by}"]
    groups = np.unique(key[lit])
    assert len(groups) > 1
    np.testing.assert_array_equal(data[by], groups)
    norm = expected.sum_normalization * np.nan_to_num(monitor)
    filled = expected.sum_normalization.sum(axis=0) > 0
    for row, one in enumerate(groups):
        here = (key == one) & lit
        signal, own, var = (a[here][:, filled] for a in (expected.sum_signal, norm, expected.sum_variance))
        if estimator == "ratio_of_sums":
            mean, error = signal.sum(0) / own.sum(0), np.sqrt(np.maximum(var.sum(0), 0)) / own.sum(0)
        else:
            mean = (signal / own).mean(0)
            error = np.sqrt(np.maximum((var / own**2).sum(0), 0)) / here.sum()
        np.testing.assert_allclose(data["intensity"][row][filled], mean, rtol=1e-12)
        np.testing.assert_allclose(data["intensity_errors"][row][filled], error, rtol=1e-6)


def test_the_file_is_nexus(everything):
    path = everything.out / "shotsieve" / "profiles.h5"
    assert {"profiles", "average", "average_by_cell"} <= set(check_nexus(path))
    with h5py.File(path) as file:
        for name in ("profiles", "average", "average_by_cell"):
            assert f"{file['entry'][name].attrs['signal']}_errors" in file["entry"][name]


def test_projections_are_spectra_of_every_shot(reduce, frames, everything, tmp_path):
    box = {"module": 3, "ss_start": 10, "ss_stop": 200, "fs_start": 5, "fs_stop": 100}
    roi = {axis: {"kind": "projection", "axis": axis, **box} for axis in ("ss", "fs")}
    roi["beyond"] = {"kind": "projection", "axis": "fs", **box, "module": 9}
    results = [
        reduce(tmp_path / str(size), measure={"roi": roi}, block_bytes=size) for size in (1, BLOCK_BYTES)
    ]
    paths = [result.out / "shotsieve" / "projections.h5" for result in results]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    part = frames[:, 3 * 512 + 10 : 3 * 512 + 200, 5:100].astype("f8")
    with h5py.File(paths[0]) as file:
        for axis, along in (("ss", 2), ("fs", 1)):
            group = file["entry"][axis]
            np.testing.assert_allclose(group["sum"], np.nansum(part, axis=along), rtol=1e-12)
            np.testing.assert_array_equal(group["pixels"], np.isfinite(part).sum(axis=along))
            np.testing.assert_array_equal(group["trainId"], everything.table.train_id)
        assert file["entry/ss/ss"][[0, -1]].tolist() == [3 * 512 + 10, 3 * 512 + 199]
        assert file["entry/fs/fs"][[0, -1]].tolist() == [5, 99]
        assert np.isnan(file["entry/beyond/sum"]).all()  # that module was not recorded
    assert not any(name.startswith("roi_") for name in results[0].table.columns)


def test_regions_are_columns_that_rules_may_use(everything, frames, reduce, tmp_path, simulated, geometry):
    table = everything.table
    box = frames[:, 3 * 512 + 10 : 3 * 512 + 200, 5:100].astype("f8")
    np.testing.assert_allclose(table.columns["roi_box_sum"], np.nansum(box, axis=(1, 2)), rtol=1e-12)
    np.testing.assert_array_equal(table.columns["roi_box_max"], np.nanmax(box, axis=(1, 2)))
    np.testing.assert_array_equal(table.columns["roi_box_count"], np.isfinite(box).sum(axis=(1, 2)))
    # The ring crosses modules that were not recorded: what is in it nobody knows.
    assert np.isnan(table.columns["roi_ring_sum"]).all()
    limit = float(np.median(table.columns["roi_box_mean"]))
    ruled = reduce(tmp_path / "r", keep={"rule": f"roi_box_mean > {limit!r}"})
    np.testing.assert_array_equal(ruled.table.fate == 0, table.columns["roi_box_mean"] > limit)
    unknown = reduce(tmp_path / "u", keep={"rule": "roi_ring_sum > 0"})
    assert (unknown.table.verdict == -1).all()
    assert (unknown.table.fate == 0).all()


@pytest.mark.parametrize("block_bytes", [BLOCK_BYTES, 1])
def test_backends_and_blocks_change_no_byte(everything, reduce, backend_name, block_bytes, tmp_path):
    if backend_name == "cpu" and block_bytes == BLOCK_BYTES:
        pytest.skip("the others are compared with it")
    result = reduce(
        tmp_path / "r", backend=backend_name, block_bytes=block_bytes, write={"content": "corrected"}
    )
    for name in ("profiles.h5", "table.h5"):
        file = f"shotsieve/{name}"
        assert (result.out / file).read_bytes() == (everything.out / file).read_bytes(), name


@pytest.mark.parametrize("error_model", ["azimuthal", "detector", "none"])
def test_other_options(reduce, tmp_path, error_model):
    azint = {"npt": 30, "unit": "2th_deg", "error_model": error_model, "average": "train", "per_shot": False}
    azint |= {"splitting": "full", "estimator": "mean_of_ratios", "radial_min": 0.05, "radial_max": 1.0}
    if error_model == "detector":
        azint["read_noise"] = "1 sigma"
    result = reduce(tmp_path / "r", measure={"azint": azint})
    data = entry(result)
    assert "profiles" not in data
    assert data["average_by_train"]["intensity"].shape == (len(np.unique(result.table.train_id)), 30)
    errors = data["average"]["intensity_errors"][()]
    assert np.isnan(errors).all() == (error_model == "none")
    assert data["average"].attrs["axes"].tolist() == ["two_theta"]


def test_shots_without_pulse_energy_are_in_no_average(reduce, tmp_path):
    result = reduce(tmp_path / "r", "no_xgm", measure={"azint": AZINT})
    assert not entry(result)["average"]["shots"][()].any()
    assert np.isnan(entry(result)["profiles"]["intensity"][()]).all()
    assert any("in no average, since pulse_energy is unknown" in note for note in result.accounts.notes)


def test_peaks_profiles_and_lit_pixels_together(reduce, everything, tmp_path):
    measure = {"azint": AZINT, "roi": ROI, "peaks": {"threshold": "4.3 photon"}, "lit": {}}
    result = reduce(tmp_path / "r", measure=measure)
    alone = reduce(tmp_path / "p", measure={"peaks": {"threshold": "4.3 photon"}})
    np.testing.assert_array_equal(result.table.measures["n_peaks"], alone.table.measures["n_peaks"])
    file = "shotsieve/profiles.h5"
    assert (result.out / file).read_bytes() == (everything.out / file).read_bytes()
    assert (result.out / "shotsieve/peaks.h5").read_bytes() == (alone.out / "shotsieve/peaks.h5").read_bytes()


WRONG = {
    "no geometry": ({"detector": {"name": "AGIPD1M"}}, "where the pixels are"),
    "no calibration": ({"calibrate": None, "measure": {"azint": {}}}, r"\[calibrate\]"),
    "no distance": (
        {"calibrate": {"distance": "-0.1 m"}, "measure": {"azint": {}}},
        "distance",
    ),
    "no energy": (
        {"calibrate": {"photon_energy": "0 keV"}, "measure": {"azint": {}}},
        "photon_energy",
    ),
    "range beyond the pixels": (
        {"measure": {"azint": {"radial_min": 50.0, "radial_max": 60.0}}},
        "pixels run from",
    ),
    "one limit": ({"measure": {"azint": {"radial_min": 1.0}}}, "expected both"),
    "noise without its model": ({"measure": {"azint": {"read_noise": "1 keV"}}}, "read_noise goes with"),
    "unknown column": ({"measure": {"azint": {"average": "pump"}}}, "no such column"),
    "a key normalises": ({"measure": {"azint": {"normalise": "train"}}}, "no such column"),
    "photons in ADU": (
        {
            "calibrate": {"unit": "ADU", "relative_gain": False},
            "measure": {"azint": {"error_model": "poisson"}},
        },
        "photon",
    ),
    "region without limits": ({"measure": {"roi": {"a": {"kind": "ring"}}}}, "lacks low, high"),
    "region with too much": (
        {"measure": {"roi": {"a": {"kind": "ring", "low": 1, "high": 2, "chi_low": 3}}}},
        "does not take chi_low",
    ),
    "region of no kind": ({"measure": {"roi": {"a": {"low": 1}}}}, "kind is missing"),
    "region beyond the axis": (
        {"measure": {"roi": {"a": {"kind": "ring", "low": 8e3, "high": 9e3}}}},
        "pixels run",
    ),
    "vertices": ({"measure": {"roi": {"a": {"kind": "polygon", "vertices": "1 2 3"}}}}, "x and y in mm"),
    "region that is a number": ({"measure": {"roi": {"a": 5}}}, "section of its own"),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_recipes(reduce, tmp_path, what):
    sections, text = WRONG[what]
    with pytest.raises(BadInput, match=text):
        reduce(tmp_path / "r", **sections)


def test_a_recipe_with_regions_reads_back():
    recipe = shotsieve.Recipe.from_dict(
        {"detector": [{"geometry": "a.geom"}], "calibrate": {}, "measure": {"azint": AZINT, "roi": ROI}}
    )
    assert shotsieve.Recipe.from_dict(recipe.filled()) == recipe
    changed = recipe.override({"measure.roi.ring.high": 0.5})
    assert changed.measure.roi["ring"].high == 0.5


def test_averages_of_shots(rng):
    signal, norm, variance = rng.random((3, 40, 5)) + 0.5
    norm[:, 4] = 0
    norm[3, 2] = 0
    for estimator in ("ratio_of_sums", "mean_of_ratios"):
        average = ProfileAverage(5, estimator)
        for shot in range(40):
            average.add(signal[shot], norm[shot], variance[shot])
        found = average.result()
        assert found.shots.tolist() == [40, 40, 39, 40, 0]
        at_once = ProfileAverage(5, estimator)
        for some in np.split(np.arange(40), [1, 1, 24]):
            at_once.add(signal[some], norm[some], variance[some])
        for name, values in average.snapshot().items():  # to the last bit
            np.testing.assert_array_equal(at_once.snapshot()[name], values, name)
        here = norm[:, 2] > 0
        y, x, v = signal[here, 2], norm[here, 2], variance[here, 2]
        if estimator == "ratio_of_sums":
            mean, error = y.sum() / x.sum(), np.sqrt(v.sum()) / x.sum()
            spread = np.sqrt(((y - mean * x) ** 2).sum() * 39 / 38) / x.sum()
        else:
            mean, error = (y / x).mean(), np.sqrt((v / x**2).sum()) / 39
            spread = (y / x).std(ddof=1) / np.sqrt(39)
        np.testing.assert_allclose(found.intensity[2], mean, rtol=1e-12)
        np.testing.assert_allclose(found.errors[2], error, rtol=1e-12)
        np.testing.assert_allclose(found.spread[2], spread, rtol=1e-9)
        assert np.isnan(found.intensity[4])
