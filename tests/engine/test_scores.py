"""Scores of single particles in a reduction: what the table holds, on every backend, in any blocks."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.geometry import Geometry, PixelMap
from shotsieve.simulate.kinds import geometry_of
from shotsieve.table import Table

LIT = {"threshold": "0.7 photon", "high_threshold": "2.5 photon"}
RULE = {"rule": "score_ratio[3] > 0 and photons_ring_1[3] > 50 and lit_pixels_high[4] > 10"}


@pytest.fixture(scope="module")
def expectation(tmp_path_factory):
    """Two maps in files, of either kind."""
    folder, rng = tmp_path_factory.mktemp("maps"), np.random.default_rng(3)
    ratio = shotsieve.likelihood_map(rng.gamma(0.5, 0.1, (16, 512, 128)), np.full((16, 512, 128), 0.05))
    np.save(folder / "ratio.npy", ratio)
    whole = rng.normal(0, 1, (16, 512, 128)).astype("f4")
    with h5py.File(folder / "whole.h5", "w") as file:
        file["weights/flat"] = whole
    return folder, ratio, whole


@pytest.fixture
def reduce(simulated, make_recipe, expectation, tmp_path):
    def run(backend="cpu", out="r", measure=None, keep=RULE, name="usual", **options):
        sim, folder = simulated(name), expectation[0]
        geometry = geometry_of(sim.parameters, folder)
        scores = {
            "ratio": {"map": str(folder / "ratio.npy")},
            "flat": {"map": f"{folder / 'whole.h5'}:/weights/flat", "of": "values"},
        }
        measure = {"lit": LIT, "rings": {"number": 3, "unit": "r_mm"}, "score": scores} | (measure or {})
        recipe = make_recipe(measure=measure, keep=keep, detector=[{"geometry": str(geometry)}])
        given = {"constants": sim.constants, "backend": backend, **options}
        return shotsieve.reduce(sim.raw, recipe, tmp_path / out, **given)

    return run


def test_columns_are_sums_over_the_calibrated_frames(reduce, simulated, expectation, read_module):
    result = reduce(keep=None)
    folder, ratio, whole = expectation
    table, unit = result.table, result.table.meanings["intensity"].unit
    data = np.stack([read_module(result, module)["image.data"] for module in (3, 4)], axis=1)
    per_photon = simulated("usual").parameters.photon_energy_kev if unit == "keV" else 1.0
    good = np.isfinite(data)
    photons = np.where(good, np.floor(np.maximum(np.nan_to_num(data), 0) / per_photon + 0.5), 0)
    measures = {name: values[:, 3:5] for name, values in table.measures.items()}
    np.testing.assert_array_equal(photons.sum(axis=(2, 3)), measures["photons"])
    for name, threshold in (("lit_pixels", 0.7), ("lit_pixels_high", 2.5)):
        lit = (np.nan_to_num(data) > np.float32(threshold * per_photon)) & good
        np.testing.assert_array_equal(lit.sum(axis=(2, 3)), measures[name])
    radius = PixelMap.from_geometry(Geometry.load(folder / "agipd.geom"), 1.0).radial("r_mm")
    edges = np.linspace(radius.min(), np.nextafter(radius.max(), np.inf), 4)
    ring = np.digitize(radius, edges).reshape(16, 512, 128)[3:5] - 1
    for number in range(3):
        want = np.where(ring == number, photons, 0).sum(axis=(2, 3))
        np.testing.assert_array_equal(measures[f"photons_ring_{number}"], want)
    assert sum(measures[f"photons_ring_{number}"].sum() for number in range(3)) == photons.sum()
    want = np.where(good, ratio[0, 3:5] * photons - ratio[1, 3:5], 0).sum(axis=(2, 3), dtype="f8")
    np.testing.assert_allclose(measures["score_ratio"], want, rtol=1e-5, atol=1e-3)
    want = np.where(good, whole[3:5] * np.nan_to_num(data), 0).sum(axis=(2, 3), dtype="f8")
    size = np.abs(np.nan_to_num(data)).sum(axis=(2, 3))
    assert (np.abs(measures["score_flat"] - want) < 1e-3 * size).all()
    assert " r_mm" in table.meanings["photons_ring_0"].meaning


def test_backends_and_blocks_change_no_byte_and_a_check_agrees(reduce, digest, backend_name, simulated):
    mine = reduce(backend_name, block_bytes=1)
    whole = reduce(out="whole")
    assert digest(mine.out) == digest(whole.out)
    assert 0 < mine.accounts.kept < 12
    report = check(mine.out)
    check_against(report, simulated("usual").raw, constants=simulated("usual").constants, backend="cpu")
    assert report.ok, report.summary()
    again = Table.open(mine.out)
    assert again == mine.table
    assert "score_ratio" in again.to_dataframe()
    assert "scores: score_ratio, score_flat, photons of 3 rings" in " ".join(mine.accounts.notes)


def test_with_peaks_the_second_count_is_the_same(reduce):
    plain = reduce()
    peaks = reduce(out="peaks", measure={"peaks": {"threshold": "4 photon"}})
    np.testing.assert_array_equal(
        plain.table.measures["lit_pixels_high"], peaks.table.measures["lit_pixels_high"]
    )
    assert plain.table.measures["lit_pixels_high"].any()


def test_a_missing_module_leaves_a_score_unknown(reduce):
    table = reduce(measure={"score": {}}, keep=None).table
    low, high = table.bounds("photons_ring_0")
    assert (high == np.inf).all()  # a count is at least what the others have
    assert (low > 0).any()
    assert (table.bounds("photons_ring_0[3]")[0] == table.bounds("photons_ring_0[3]")[1]).all()


def test_the_embedded_engine_scores_alike(reduce, simulated, expectation, make_recipe):
    sim, folder = simulated("usual"), expectation[0]
    whole = reduce(keep=None)
    recipe = make_recipe(
        measure={"lit": LIT, "score": {"ratio": {"map": str(folder / "ratio.npy")}}}, keep=None, write=None
    )
    source = shotsieve.open_run(sim.raw)
    with shotsieve.Engine(
        recipe, sim.constants, backend="cpu", mode=source.mode, detector="AGIPD1M"
    ) as engine:
        found = [result.table.measures for result in engine.run(source)]
    for name in ("score_ratio", "lit_pixels_high"):
        np.testing.assert_array_equal(
            np.concatenate([block[name] for block in found]), whole.table.measures[name]
        )


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        ({"score": {"a": {"map": "no.npy"}}}, r"\[measure.score.a\] map .*no.npy: it cannot be read"),
        ({"rings": {"unit": "r_mm", "low": 1e6, "high": 2e6}}, "no pixel lies between"),
        ({"rings": {"unit": "r_mm", "high": 1e6}}, "no pixel lies in the last ring"),
        ({"rings": {"number": 65}}, "number = 65: expected 1 to 64"),
        ({"score": {c: {"map": "a.npy"} for c in "abcde"}}, r"5 scores \(a, b, c, d, e\): at most 4"),
        ({"lit": {"high_threshold": "0.5 photon"}}, "is not above threshold"),
        ({"lit": {"high_threshold": "1 keV"}}, "is 1 keV, not above threshold, which is 6.51"),
        (
            {"lit": {"noise": "pixel", "threshold": "5 sigma", "high_threshold": "6 sigma"}},
            "give high_thresh",
        ),
    ],
)
def test_what_does_not_fit_is_told(reduce, measure, text):
    with pytest.raises(shotsieve.ShotsieveError, match=text):
        reduce(measure=measure, keep=None)


def test_a_map_of_another_detector_is_refused(reduce, tmp_path):
    np.save(tmp_path / "other.npy", np.ones((3, 512, 128), "f4"))
    with pytest.raises(BadInput, match=r"shape \(3, 512, 128\); expected weights \(16, 512, 128\)"):
        reduce(measure={"score": {"a": {"map": str(tmp_path / "other.npy")}}}, keep=None)
