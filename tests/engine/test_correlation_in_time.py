"""Correlation over time in the pipeline: what the array API gives for the photons of the run."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.engine import BLOCK_BYTES
from shotsieve.engine.against import check_against
from shotsieve.engine.pattern import refuse_whole_runs
from shotsieve.errors import BadInput
from shotsieve.geometry import Geometry, PixelMap
from shotsieve.recipe import Recipe
from shotsieve.simulate import XpcsParameters, simulate_xpcs
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.geometry import write_geometry
from shotsieve.simulate.kinds import model_of
from shotsieve.simulate.memory import spi_source

from .nexus_case import check_nexus

EDGES = [0.05, 0.25, 0.6]  # 1/nm
XPCS = {"q_edges": "0.005, 0.025, 0.06", "sectors": 2, "static_q": 2, "strides": "1 2"}
FILE = "shotsieve/xpcs.h5"


@pytest.fixture(scope="module")
def speckles(tmp_path_factory):
    """Three trains of a dark frame and four with X-rays; module 9 lacks a train."""
    folder = tmp_path_factory.mktemp("speckles")
    options = {"photons_per_pixel": 0.3, "photon_energy_kev": 9.3, "distance_m": 8.0, "truth_stage": False}
    p = XpcsParameters(n_trains=3, n_cells=5, modules=(3, 9), missed_trains=((9, 1),), **options)
    run = simulate_xpcs(folder / "run", p)
    return run, write_geometry(folder / "agipd.geom", 8.0, 9.3)


@pytest.fixture(scope="module")
def reduce(speckles, tmp_path_factory):
    run, geometry = speckles

    def reduce(
        backend="cpu", block_bytes=BLOCK_BYTES, out=None, resume=False, xpcs=XPCS, stages=(), **sections
    ):
        given = {"calibrate": {}, "measure": {"xpcs": xpcs}, **sections}
        given["detector"] = [{"name": "AGIPD1M", "geometry": str(geometry)}]
        options = {
            "constants": run.constants,
            "backend": backend,
            "block_bytes": block_bytes,
            "resume": resume,
            "stages": stages,
        }
        return shotsieve.reduce(run.raw, given, out or tmp_path_factory.mktemp("r") / "r", **options)

    return reduce


@pytest.fixture(scope="module")
def plain(reduce):
    """The run with the usual bins, every shot a block, and its photons as lists."""
    return reduce(block_bytes=1, write={"content": "photon_list"})


def test_the_file_is_nexus(plain):
    assert "average" in check_nexus(plain.out / FILE)


def arrays(path, geometry, **bins):
    """Photons of the run, where they are valid, and the bins of its two modules."""
    with shotsieve.PhotonLists(path) as photons:
        trains = [shots[1:] for _, shots in photons.trains()]  # the first is dark
        data, mask = photons.frames(np.concatenate(trains))
    shape = (len(trains), len(trains[0]), -1)
    place = Geometry.load(geometry, module_shape=(512, 128)).part([3, 9])
    bins["mask"] = place.good_pixels()
    made = shotsieve.correlation_bins(
        PixelMap.from_geometry(place, None), EDGES, photon_energy_kev=9.3, **bins
    )
    labels = shotsieve.CorrelationBins(made.labels.reshape(-1), made.dynamic, made.n_bins)
    return data.reshape(shape), (mask == 0).reshape(shape), labels


@pytest.mark.parametrize("pixels", ["all_frames", "each_pair"])
def test_a_run_has_the_correlation_of_its_photon_lists(reduce, plain, speckles, pixels):
    given = {**XPCS, "pixels": pixels}
    whole = plain if pixels == "all_frames" else reduce(xpcs=given, write={"content": "photon_list"})
    path = whole.out / FILE
    phi = [0, 180, 360]
    photons, valid, bins = arrays(whole.out, speckles[1], phi_edges=phi, static=(2, 1))
    assert photons.shape[:2] == (3, 4)
    if pixels == "all_frames":
        valid[:] = valid.all(axis=1, keepdims=True)
    bins = bins.without(~valid.any(axis=(0, 1)))

    def correlate(x, v, stride=0):
        never = ~v.any(axis=tuple(range(v.ndim - 1)))
        return shotsieve.two_time(
            np.where(v, x, 0), bins.without(never), valid=v, stride=stride, backend="cpu"
        )

    found = [correlate(x, v) for x, v in zip(photons, valid, strict=True)]
    each = [one.g2() for one in found]
    with h5py.File(path) as file:
        trains, average = file["entry/trains"], file["entry/average"]
        np.testing.assert_array_equal(trains["trainId"], np.unique(whole.table.train_id))
        np.testing.assert_array_equal(trains["g2"], [one.per_train[0] for one in each])
        np.testing.assert_array_equal(trains["flags"], [one.flags[0] for one in each])
        np.testing.assert_array_equal(trains["intensity"], [one.intensity[0] for one in each])
        np.testing.assert_allclose(trains["lag"], np.arange(4) * 4 / 4.5139e6, rtol=1e-12)
        np.testing.assert_allclose(trains["q_low"], [0.005, 0.005, 0.025, 0.025])
        weights = trains["intensity"][()]
        mean, error = shotsieve.measure.correlation_lags.averaged(trains["g2"][()], weights)
        np.testing.assert_allclose(average["g2"], mean, rtol=1e-12)
        np.testing.assert_allclose(average["g2_errors"], error, rtol=1e-6)
        usable = np.isfinite(trains["g2"]).all(axis=2)
        np.testing.assert_array_equal(usable, trains["flags"][()] & 11 == 0)
        assert usable.sum() > 8
        np.testing.assert_array_equal(average["trains"], usable.sum(axis=0))
        two = np.concatenate([one.correlation() for one in found])
        mean, error = shotsieve.measure.correlation_lags.averaged(two, weights)
        np.testing.assert_allclose(file["entry/two_time/correlation"], mean, rtol=1e-12)
        np.testing.assert_allclose(file["entry/two_time/correlation_errors"], error, rtol=1e-6)
        for stride in (1, 2):
            for k in range(stride, 3):
                good = valid[[k - stride, k]]
                if pixels == "all_frames":
                    good[:] = good.all(axis=(0, 1))
                pair = correlate(photons[[k - stride, k]], good, 1)
                norm = np.broadcast_to(pair.left * pair.right, pair.sums.shape).sum(axis=(2, 3))
                with np.errstate(invalid="ignore"):
                    ratio = (pair.pixels * pair.sums).sum(axis=(2, 3)) / norm
                wanted = pair.bins.over_static(ratio)[0]
                np.testing.assert_allclose(trains[f"baseline_{stride}"][k], wanted, rtol=1e-12)
            assert np.isnan(trains[f"baseline_{stride}"][:stride]).all()
        assert file[f"entry/baseline_{stride}/g2"].shape == (4, 4)


def test_every_shot_has_fill_factor_and_contrast_of_its_valid_pixels(plain, speckles):
    whole = plain
    photons, valid, bins = arrays(whole.out, speckles[1], phi_edges=[0, 180, 360], static=(2, 1))
    own = bins.labels >= 0
    columns = (whole.table.columns[f"xpcs_{name}"].reshape(3, 5)[:, 1:] for name in ("fill", "contrast"))
    for k, (fill, contrast) in enumerate(zip(*map(np.ravel, columns), strict=True)):
        x, good = photons.reshape(12, -1)[k, own].astype(int), valid.reshape(12, -1)[k, own]
        assert fill == pytest.approx((x[good] > 0).sum() / good.sum())
        n, first, second = (
            np.bincount(bins.labels[own][good], w) for w in (None, x[good], x[good] * (x[good] - 1))
        )
        each = n[n > 0] * second[n > 0] / (first[n > 0] * (first[n > 0] - 1))
        assert contrast == pytest.approx((n[n > 0] * each).sum() / n.sum() - 1)


@pytest.mark.parametrize("column", ["pulse_energy", "xpcs_fill"])
def test_it_is_resumed_and_checked(reduce, plain, speckles, interrupt_after, tmp_path, column):
    """Also where trains are chosen by what is measured, the first of them before the interruption."""
    values = plain.table.columns[column].reshape(3, 5)[:, 1:].mean(axis=1)
    least = 0.0 if column == "pulse_energy" else float(values[0])
    parts = {"write": {"content": "photons", "trains_per_file": 1}}
    parts["xpcs"] = {**XPCS, "lags": "lumma", "column": column, "least": least}
    expected = reduce(**parts).out / FILE
    with interrupt_after("reduce", 1):
        reduce(out=tmp_path / "r", **parts)
    result = reduce(out=tmp_path / "r", resume=True, block_bytes=1, **parts)
    assert (result.out / FILE).read_bytes() == expected.read_bytes()
    run = speckles[0]
    report = check_against(check(result.out), run.raw, constants=run.constants, backend="cpu")
    assert report.ok, report.summary()
    assert any("3 of 3 trains of 4 frames" in note for note in result.accounts.notes)
    if left_out := int((values <= least).sum()):
        assert any(f"{left_out} trains in no average" in note for note in result.accounts.notes)


def test_values_are_correlated_where_they_are_asked_for(reduce):
    given = {**XPCS, "counts": False, "two_time": False, "strides": "0", "weights": "equal"}
    result = reduce(xpcs=given, write={"content": "corrected"})
    with h5py.File(result.out / FILE) as file:
        assert "two_time" not in file["entry"]
        assert "baseline_1" not in file["entry"]
        # The noise of the detector stays on the diagonal.
        assert (file["entry/average/g2"][:, 0] > 2).all()
    assert "xpcs_fill" not in result.table.columns


@pytest.mark.parametrize("column", ["lit_pixels[3]", "roi_spot_mean", "lit_pixels"])
def test_trains_are_left_out_by_what_is_measured_on_them(reduce, backend_name, column):
    """As if trains were chosen afterwards. Of all modules together nothing is known, since most lack."""
    spot = {"kind": "rectangle", "module": 3, "ss_start": 0, "ss_stop": 512, "fs_start": 0, "fs_stop": 128}
    measure = {"lit": {"threshold": "0.7 photon"}, "roi": {"spot": spot}}
    whole = reduce(backend_name, measure={**measure, "xpcs": {**XPCS, "strides": "1"}})
    low, high = (values.reshape(3, 5)[:, 1:].mean(axis=1) for values in whole.table.bounds(column))
    least = float(np.sort(low)[0])
    chosen = (low > least) & (low == high)
    assert chosen.sum() == (0 if column == "lit_pixels" else 2)
    with shotsieve.open_xpcs(whole.out / FILE) as found:
        expected, weight = found["g2_of_train"].values[chosen], found["intensity"].values[chosen]
    xpcs = {**XPCS, "strides": "1", "column": column, "least": least}
    for block_bytes in (BLOCK_BYTES, 1):
        result = reduce(backend_name, block_bytes, measure={**measure, "xpcs": xpcs})
        with shotsieve.open_xpcs(result.out / FILE) as found:
            left_out = (found["flags"].values & 64) != 0
            assert left_out.all(axis=1).tolist() == left_out.any(axis=1).tolist() == (~chosen).tolist()
            with np.errstate(invalid="ignore"):  # without any train
                g2 = np.nansum(expected * weight[..., None], axis=0) / weight.sum(axis=0)[:, None]
            np.testing.assert_allclose(found["g2"].values, g2, rtol=1e-12)
        told = f"; {(~chosen).sum()} trains in no average, since {column} is not above"
        assert any(told in note for note in result.accounts.notes)


def test_trains_are_left_out_by_a_stage_of_ones_own(reduce, backend_name):
    def total(frames):
        return {"own": np.nansum(getattr(frames, "get", lambda: frames)(), axis=(1, 2, 3), dtype="f8")}

    stages, xpcs = [shotsieve.UserStage("mine", total, {"own": "sum"})], {**XPCS, "strides": "1"}
    own = (
        reduce(backend_name, xpcs=xpcs, stages=stages).table.columns["own"].reshape(3, 5)[:, 1:].mean(axis=1)
    )
    xpcs |= {"column": "own", "least": float(np.sort(own)[0])}
    result = reduce(backend_name, 1, xpcs=xpcs, stages=stages)
    with shotsieve.open_xpcs(result.out / FILE) as found:
        left_out = ((found["flags"].values & 64) != 0).all(axis=1)
    assert np.flatnonzero(left_out).tolist() == [np.argmin(own)]


def test_trains_are_left_out_by_a_column(reduce, plain):
    whole = plain
    energy = whole.table.columns["pulse_energy"].reshape(3, 5)[:, 1:].mean(axis=1)
    least = float(energy[0])
    result = reduce(xpcs={**XPCS, "column": "pulse_energy", "least": least, "strides": "1"})
    with h5py.File(result.out / FILE) as file, h5py.File(whole.out / FILE) as other:
        trains, used = file["entry/trains"], energy > least
        np.testing.assert_array_equal(trains["flags"][()] & 64 > 0, np.repeat(~used[:, None], 4, axis=1))
        np.testing.assert_array_equal(trains["g2"], other["entry/trains/g2"])
        number = file["entry/average/trains"][()]
        np.testing.assert_array_equal(number, np.isfinite(trains["g2"][used]).all(axis=2).sum(axis=0))
        assert 0 < number.max() < 3
    left = f"{int((~used).sum())} trains in no average, since pulse_energy"
    assert any(left in note for note in result.accounts.notes)


def test_a_device_gives_the_same_bytes(reduce, device_name):
    given = {"q_edges": "0.005 0.006", "two_time": False, "strides": "0"}
    files = [reduce(name, xpcs=given).out / FILE for name in ("cpu", device_name)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_train_with_other_pulses_and_a_bin_without_pixels_are_flagged(tmp_path):
    p = XpcsParameters(n_trains=3, n_cells=4, modules=(3,), truth_stage=False, short_trains=((3, 1, 2),))
    geometry = write_geometry(tmp_path / "agipd.geom", 8.0, 9.3)
    run = simulate_xpcs(tmp_path / "run", p)
    given = {"calibrate": {}, "measure": {"xpcs": {"q_edges": "0.005 0.025 5 6", "lags": "doubling"}}}
    given["detector"] = [{"name": "AGIPD1M", "geometry": str(geometry)}]
    result = shotsieve.reduce(run.raw, given, tmp_path / "r", constants=run.constants, backend="cpu")
    with h5py.File(result.out / FILE) as file:
        assert file["entry/trains/flags"][()].tolist() == [[0, 0, 1], [32, 32, 32], [0, 0, 1]]
        assert file["entry/trains/pixels"][0, 2] == 0
        assert file["entry/average/trains"][()].tolist() == [2, 2, 0]
        assert file["entry/average/lag_frames"][()].tolist() == [1, 2]
        assert np.isfinite(file["entry/average/g2"][:2]).all()
    assert any("2 of 3 trains of 3 frames" in note for note in result.accounts.notes)
    assert any("1 trains with other pulses than most" in note for note in result.accounts.notes)


@pytest.mark.parametrize(
    ("xpcs", "text"),
    [
        ({}, "needs its bins"),
        ({**XPCS, "radial_min": 0.1, "radial_max": 0.2}, "not both"),
        ({"radial_min": 0.1}, "expected both"),
        ({"q_edges": "0.2 0.1"}, "ascending"),
        ({"q_edges": "50 60"}, "no pixel lies between"),
        ({**XPCS, "strides": "1.5"}, "whole numbers of trains"),
        ({**XPCS, "static_q": 0}, "expected 1 or more"),
        ({**XPCS, "column": "pulse_energi", "least": 1.0}, "no such column"),
        ({**XPCS, "column": "pulse_energy"}, "belong together"),
        ({**XPCS, "column": "lit_pixels", "least": 1.0}, "no such column"),
        ({**XPCS, "column": "pulse_energy", "least": 1e9}, "no train has a mean"),
        ({**XPCS, "lags": "lumma", "pixels": "each_pair"}, "multi-tau averages frames"),
        ({**XPCS, "strides": "10000000"}, "GB may be used"),
        ({**XPCS, "pixel": "x"}, "pixel"),
    ],
)
def test_what_does_not_fit_is_refused(reduce, xpcs, text):
    with pytest.raises(BadInput, match=text):
        reduce(xpcs=xpcs)


def test_trains_cannot_be_chosen_by_what_the_whole_run_says(reduce):
    derive = {"threshold": {"kind": "adaptive", "of": "xpcs_fill", "k": 1.0}}
    with pytest.raises(BadInput, match="known only once the whole run was measured"):
        reduce(xpcs={**XPCS, "column": "threshold", "least": 0.0}, derive=derive)
    keep = {"rule": "xpcs_fill > 0", "misses": 0.5}  # how likely a miss is kept follows from the verdict
    with pytest.raises(BadInput, match="no such column"):
        reduce(xpcs={**XPCS, "column": "keep_probability", "least": 0.0}, keep=keep)


def test_frames_have_to_be_equally_spaced_photons_of_a_train(reduce):
    for sections, text in (
        ({"select": {"cells": "1, 2, 4"}}, "pulses apart"),
        ({"select": {"cells": "2"}}, "expected two or more"),
        ({"calibrate": {"xray_gain": False}}, "how many a value in ADU"),
    ):
        with pytest.raises(BadInput, match=text):
            reduce(**sections)


def test_more_photons_than_a_byte_holds_are_taken_for_not_valid(tmp_path):
    p = XpcsParameters(n_trains=1, n_cells=3, modules=(3,), truth_stage=False, photons_per_pixel=60.0)
    geometry = write_geometry(tmp_path / "agipd.geom", 8.0, 9.3)
    run = simulate_xpcs(tmp_path / "run", p)
    given = {"calibrate": {}, "measure": {"xpcs": {"q_edges": "0.005 0.07"}}, "write": {"content": "photons"}}
    given["detector"] = [{"name": "AGIPD1M", "geometry": str(geometry)}]
    result = shotsieve.reduce(run.raw, given, tmp_path / "r", constants=run.constants, backend="cpu")
    [file] = result.out.glob("*AGIPD03*.h5")
    with h5py.File(file) as written, h5py.File(result.out / FILE) as found:
        image = written["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/3CH0:output/image"]
        good = image["mask"][1:] == 0
        few = image["data"][1:] <= 127
        [pixels] = found["entry/trains/pixels"][0]
    assert 0 < pixels <= (good & few).all(axis=0).sum() < good.all(axis=0).sum()
    assert any(
        "values of more than 127 photons taken for not valid" in note for note in result.accounts.notes
    )


def test_an_engine_that_sees_blocks_refuses_it():
    given = {
        "calibrate": {},
        "measure": {"xpcs": XPCS},
        "detector": [{"name": "AGIPD1M", "geometry": "a.geom"}],
    }
    with pytest.raises(BadInput, match=r"\[measure.xpcs\].*needs a whole run"):
        refuse_whole_runs(Recipe.from_dict(given))


def test_it_is_read_as_xarray(plain):
    result = plain
    found = shotsieve.open_xpcs(result.out)
    with h5py.File(result.out / FILE) as file:
        np.testing.assert_array_equal(found["g2"], file["entry/average/g2"])
        np.testing.assert_array_equal(found["g2_of_train"], file["entry/trains/g2"])
        np.testing.assert_array_equal(found["baseline_2"], file["entry/baseline_2/all_pairs"][:, 0])
        np.testing.assert_array_equal(found["two_time"], file["entry/two_time/correlation"])
    assert found.sizes == {"bin": 4, "lag": 4, "train": 3, "time_1": 4, "time_2": 4}
    assert found["seconds"][1] == pytest.approx(4 / 4.5139e6)
    assert found.attrs["xpcs.frames"] == 4
    assert found["method"].values.tolist() == found["two_time_method"].values.tolist() == ["matrix"] * 3
    assert found["baseline_2_method"].values.tolist() == ["", "", "matrix"]
    with pytest.raises(BadInput):
        shotsieve.open_xpcs(result.out / "shotsieve/table.h5")


def test_it_needs_geometry_and_calibration(speckles, tmp_path):
    for given, text in (
        ({"measure": {"xpcs": XPCS}}, r"add a \[calibrate\]"),
        ({"measure": {"xpcs": XPCS}, "calibrate": {}}, r"\[measure.xpcs\] needs to know where"),
    ):
        with pytest.raises(BadInput, match=text):
            shotsieve.reduce(speckles[0].raw, given, tmp_path / "r")


def test_a_fit_of_a_reduced_run_finds_what_was_simulated(tmp_path):
    """From raw words to the fit: contrast and relaxation of the simulation, within their errors."""
    pytest.importorskip("scipy")
    options = {"photons_per_pixel": 0.5, "contrast": 0.5, "relaxation_us": 4.0, "truth_stage": False}
    p = XpcsParameters(n_trains=6, n_cells=13, modules=(3,), **options)
    geometry = write_geometry(tmp_path / "agipd.geom", p.distance_m, p.photon_energy_kev)
    source, _ = spi_source(p)
    given = {"calibrate": {}, "measure": {"xpcs": {"q_edges": "0.005 0.06", "static_q": 4}}}
    given["detector"] = [{"name": "AGIPD1M", "geometry": str(geometry)}]
    constants = constants_in_memory(p, model_of(p))
    result = shotsieve.reduce(source, given, tmp_path / "r", constants=constants, backend="cpu")
    found = shotsieve.open_xpcs(result.out)
    assert found.sizes["lag"] == 12
    fits = shotsieve.fit_g2(found, stretch=1.0)
    for name, true in (("contrast", 0.5), ("rate", 1 / 4.0e-6)):
        value, error = float(fits[name][0]), float(fits[f"{name}_error"][0])
        assert error < 0.05 * true
        assert abs(value - true) < 4 * error, (name, value, error)
    assert abs(found["baseline_1"][0] - 1) < 4 * found["baseline_1_errors"][0]
