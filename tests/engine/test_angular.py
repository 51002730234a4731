"""Angular correlation in the pipeline: what the array API gives for the calibrated frames."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.engine import BLOCK_BYTES
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput, UnreadableData
from shotsieve.geometry import Geometry
from shotsieve.simulate.geometry import write_geometry

from .nexus_case import check_nexus

XCCA = {"npt": 5, "npt_chi": 24, "radial_min": 0.02, "radial_max": 0.06}


@pytest.fixture(scope="module")
def geometry(simulated, tmp_path_factory):
    p = simulated("usual").parameters
    folder = tmp_path_factory.mktemp("geometry")
    return write_geometry(folder / "agipd.geom", p.distance_m, p.photon_energy_kev)


@pytest.fixture
def reduce(simulated, geometry, tmp_path):
    def run(name="r", backend="cpu", block_bytes=BLOCK_BYTES, xcca=XCCA, resume=False, **sections):
        sim = simulated("usual")
        given = {"calibrate": {}, "measure": {"xcca": xcca}, **sections}
        given["detector"] = [{"name": "AGIPD1M", "geometry": str(geometry)}]
        options = {
            "constants": sim.constants,
            "backend": backend,
            "block_bytes": block_bytes,
            "resume": resume,
        }
        return shotsieve.reduce(sim.raw, given, tmp_path / name, **options)

    return run


def test_a_run_has_the_correlation_of_its_frames(
    reduce, simulated, geometry, read_module, backend_name, tmp_path
):
    whole = reduce(write={"content": "corrected"}, xcca={**XCCA, "average": "train"}, backend=backend_name)
    path = whole.out / "shotsieve/xcca.h5"
    if backend_name == "cpu":
        small = reduce("s", block_bytes=1, xcca={**XCCA, "average": "train"})
        assert path.read_bytes() == (small.out / "shotsieve/xcca.h5").read_bytes()
    assert check(whole.out).ok
    slab = np.full((len(whole.table), 16, 512, 128), np.nan, np.float32)
    for module in (3, 4):
        slab[:, module] = read_module(whole, module)["image.data"]
    p = simulated("usual").parameters
    usual = {"npt": 5, "npt_chi": 24, "radial_range": (0.02, 0.06), "distance_m": p.distance_m}
    place = Geometry.load(geometry, module_shape=(512, 128))
    expected = shotsieve.xcca(slab, place, backend="cpu", photon_energy_kev=p.photon_energy_kev, **usual)
    assert "average" in check_nexus(path)
    with h5py.File(path) as file:
        data = file["entry/average"]
        np.testing.assert_array_equal(data["correlation"], expected.correlation)
        np.testing.assert_array_equal(data["pairs"], expected.pairs)
        np.testing.assert_array_equal(data["q_1"], expected.radial)
        assert data.attrs["axes"].tolist() == ["q_1", "q_2", "delta"]
        assert data["shots"][()] == len(whole.table)
        assert np.isfinite(data["correlation"]).any()
        trains = file["entry/average_by_train"]
        np.testing.assert_array_equal(trains["train"], np.unique(whole.table.train_id))
        for train, found in zip(trains["train"], trains["correlation"], strict=True):
            here = whole.table.train_id == train
            one = shotsieve.xcca(
                slab[here], place, backend="cpu", photon_energy_kev=p.photon_energy_kev, **usual
            )
            np.testing.assert_array_equal(found, one.correlation.astype("f4"))
    assert any(f"{len(whole.table)} shots on 5 rings of 24 azimuths" in note for note in whole.accounts.notes)


def test_it_is_resumed_and_checked(reduce, simulated, interrupt_after):
    sim, file = simulated("usual"), "shotsieve/xcca.h5"
    parts = {
        "write": {"content": "corrected", "trains_per_file": 1},
        "xcca": {**XCCA, "diagonal": True, "average": "cell"},
    }
    expected = (reduce("whole", **parts).out / file).read_bytes()
    with interrupt_after("reduce", 1):
        reduce("r", **parts)
    result = reduce("r", resume=True, **parts)
    assert (result.out / file).read_bytes() == expected
    report = check_against(check(result.out), sim.raw, constants=sim.constants, backend="cpu")
    assert report.ok, report.summary()
    with h5py.File(result.out / file) as found:
        assert found["entry/average/correlation"].shape == (5, 24)
        assert found["entry/average_by_cell"].attrs["axes"].tolist() == ["cell", "q", "delta"]


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize(
    ("unit", "axis", "low", "high"), [("q_A^-1", "q", 0.02, 0.06), ("r_mm", "r", 20, 60)]
)
def test_it_is_read_as_xarray(reduce, diagonal, unit, axis, low, high):
    pytest.importorskip("xarray")
    given = {**XCCA, "unit": unit, "radial_min": low, "radial_max": high, "diagonal": diagonal}
    result = reduce(xcca={**given, "average": "train"})
    found = shotsieve.open_xcca(result.out)
    rings = (axis,) if diagonal else (f"{axis}_1", f"{axis}_2")
    assert found["correlation"].dims == found["pairs"].dims == (*rings, "delta")
    assert found["correlation_by_train"].dims == ("train", *rings, "delta")
    with h5py.File(result.out / "shotsieve/xcca.h5") as file:
        average, trains = file["entry/average"], file["entry/average_by_train"]
        for name in ("correlation", "pairs", "shots", *rings, "delta", f"{axis}_edges"):
            np.testing.assert_array_equal(found[name], average[name], err_msg=name)
        for name in ("correlation", "shots"):
            np.testing.assert_array_equal(found[f"{name}_by_train"], trains[name], err_msg=name)
        np.testing.assert_array_equal(found["train"], trains["train"])
    assert found["shots"] == found["shots_by_train"].sum() == len(result.table)
    assert found["shots_by_train"].sel(train=result.table.train_id[0]) > 0
    assert {found[ring].attrs["units"] for ring in rings} == {unit}
    assert found.attrs["xcca.normalise"] == "mean_of_ratios"
    nearest = found["correlation"].sel(dict.fromkeys(rings, (low + high) / 2), method="nearest")
    assert nearest.dims == ("delta",)


def test_without_groups_there_are_none_and_other_files_are_refused(reduce):
    pytest.importorskip("xarray")
    result = reduce()
    found = shotsieve.open_xcca(result.out / "shotsieve/xcca.h5")
    assert set(found.data_vars) == {"correlation", "pairs", "shots"}
    with pytest.raises(BadInput, match=r"is not a shotsieve angular correlation"):
        shotsieve.open_xcca(result.out / "shotsieve/table.h5")
    with pytest.raises(UnreadableData, match=r"the file of angular correlations .*nothing.*cannot be read"):
        shotsieve.open_xcca(result.out / "nothing")


@pytest.mark.parametrize(
    ("xcca", "text"),
    [
        ({"npt_chi": 1}, "two azimuths"),
        ({"radial_min": 3.0}, "expected both"),
        ({"average": "nothing"}, "no such column"),
        (
            {"npt": 3000, "npt_chi": 720, "radial_min": 0.02, "radial_max": 0.06},
            "GB may be used.*diagonal = true",
        ),
        ({**XCCA, "radial_max": 50.0}, "have no pixel"),
        ({"normalise": "mean"}, "normalise"),
    ],
)
def test_what_does_not_fit_is_refused(reduce, xcca, text):
    with pytest.raises(BadInput, match=text):
        reduce(xcca=xcca)


def test_it_needs_geometry_and_calibration(simulated, tmp_path):
    for given, text in (
        ({"measure": {"xcca": {}}}, r"add a \[calibrate\]"),
        ({"measure": {"xcca": {}}, "calibrate": {}}, r"\[measure.xcca\] needs to know where"),
    ):
        with pytest.raises(BadInput, match=text):
            shotsieve.reduce(simulated("usual").raw, given, tmp_path / "r")
