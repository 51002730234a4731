"""A recipe that asks for a NeXus master, an overview and, later, a list of shots that reads back."""

from __future__ import annotations

import dataclasses
import json
import shutil

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.cli import main
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.geometry import Geometry
from shotsieve.simulate.geometry import write_geometry
from shotsieve.table import FATES, Table
from shotsieve.write.ledger import Ledger

MASTER = "CORR-R0001-SPB_DET_AGIPD1M-1.nxs"
VIEWS = {"nexus": True, "overview": True}


@pytest.fixture(scope="module")
def geometry(simulated, tmp_path_factory):
    p = simulated("missed_train").parameters
    folder = tmp_path_factory.mktemp("geometry")
    return write_geometry(folder / "agipd.geom", p.distance_m, p.photon_energy_kev)


@pytest.fixture(scope="module")
def reduce(simulated, make_recipe, geometry):
    def run(out, name="missed_train", backend="cpu", **sections):
        sim = simulated(name)
        detector = [{"name": "AGIPD1M", "geometry": str(geometry)}]
        given = make_recipe(**{"detector": detector, "write": VIEWS, **sections})
        return shotsieve.reduce(sim.raw, given, out, constants=sim.constants, backend=backend)

    return run


@pytest.fixture(scope="module")
def viewed(reduce, tmp_path_factory):
    return reduce(tmp_path_factory.mktemp("views") / "r")


def test_they_are_files_of_the_output(viewed):
    assert [path.name for path in viewed.files[-2:]] == [MASTER, "overview.h5"]
    assert all(path.is_file() for path in viewed.files)
    report = check(viewed.out, viewed.digest)
    assert report.ok, report.summary()
    settings = json.loads((viewed.out / "shotsieve/settings.json").read_text())
    assert {"nexus.geometry_sha256", "nexus.distance_m", "nexus.photon_energy_kev"} <= settings.keys()


def test_a_check_against_the_raw_run_makes_them_again(viewed, simulated, tmp_path):
    sim, out = simulated("missed_train"), tmp_path / "r"
    report = check_against(check(viewed.out), sim.raw, constants=sim.constants, backend="cpu")
    assert report.ok, report.summary()
    # One that was changed together with its ledger is found.
    shutil.copytree(viewed.out, out)
    with h5py.File(out / MASTER, "r+") as file:
        file["entry/instrument/detector/distance"][()] = 1.7
    forged = Ledger.make(out, Ledger.load(out).inputs, Ledger.load(out).accounts)
    (out / "shotsieve/ledger.json").write_text(forged.dumps())
    assert check(out).ok
    report = check_against(check(out), sim.raw, constants=sim.constants, backend="cpu")
    assert report.faults == [f"{MASTER} is another one when it is made again"]


def test_frames_through_the_master_are_those_of_the_files(viewed, geometry, read_module):
    kept = viewed.table.fate == FATES.index("kept")
    with h5py.File(viewed.out / MASTER) as file:
        np.testing.assert_array_equal(file["entry/data/trainId"][:], viewed.table.train_id[kept])
        np.testing.assert_array_equal(file["entry/data/cellId"][:], viewed.table.cell_id[kept])
        for plane, slab in (("data", "data"), ("mask", "pixel_mask")):
            frames = file[f"entry/modules/{plane}"]
            assert frames.shape == (kept.sum(), 16, 512, 128)
            stored = read_module(viewed, 3)[f"image.{plane}"]
            np.testing.assert_array_equal(frames[:, 3], stored)
            np.testing.assert_array_equal(file[f"entry/instrument/detector/{slab}"][:, 1536:2048], stored)
        # Module 4 missed the second train, and module 9 was not there at all.
        there = viewed.table.module_status[kept, 4] == 0
        assert 0 < there.sum() < len(there)
        np.testing.assert_array_equal(
            file["entry/modules/data"][:, 4][there], read_module(viewed, 4)["image.data"]
        )
        for gone in (file["entry/modules/mask"][:, 4][~there], file["entry/modules/mask"][:, 9]):
            assert (gone == 0xFFFFFFFF).all()
        assert np.isnan(file["entry/modules/data"][:, 9]).all()
        detector = file["entry/instrument/detector"]
        panels = [g for g in detector.values() if g.attrs.get("NX_class") == "NXdetector_module"]
        assert len(panels) == 128
        distance = Geometry.load(geometry, module_shape=(512, 128)).clen_m
        assert file["entry/instrument/detector/distance"][()] == distance


def test_nexusformat_finds_no_error(viewed):
    validate = pytest.importorskip("nexusformat.nexus.validate")
    assert validate.validate_application(str(viewed.out / MASTER))[1] == 0


def test_curves_are_nexus_too(reduce, tmp_path):
    validate = pytest.importorskip("nexusformat.nexus.validate")
    nexus = pytest.importorskip("nexusformat.nexus")
    azint = {"npt": 40, "error_model": "poisson", "average": "cell"}
    line = {"kind": "projection", "axis": "fs", "module": 3}
    line |= {"ss_start": 0, "ss_stop": 9, "fs_start": 0, "fs_stop": 50}
    result = reduce(tmp_path / "r", measure={"lit": {}, "azint": azint, "roi": {"line": line}}, write=None)
    for name in ("profiles.h5", "projections.h5"):
        assert validate.validate_file(str(result.out / "shotsieve" / name))[1] == 0
    root = nexus.nxload(str(result.out / "shotsieve/profiles.h5"))
    shots, cells = len(result.table), len(np.unique(result.table.cell_id))
    assert root["entry"].attrs["default"] == "average"
    for group, shape, axis in (
        ("profiles", (shots, 40), None),
        ("average", (40,), None),
        ("average_by_cell", (cells, 40), "cell"),
    ):
        data = root[f"entry/{group}"]
        assert data.nxsignal.nxname == "intensity"
        assert data.nxsignal.shape == data.nxerrors.shape == shape
        assert data.nxaxes[-1].nxname == "q"
        assert data.nxaxes[-1].shape == (40,)
        assert axis is None or data.nxaxes[0].nxname == axis


def test_extra_data_opens_the_run_through_the_overview(viewed, tmp_path, monkeypatch):
    extra_data = pytest.importorskip("extra_data")
    components = pytest.importorskip("extra_data.components")
    monkeypatch.chdir(tmp_path)
    through = extra_data.RunDirectory(viewed.out)
    assert len(through.files) == 1
    without = extra_data.RunDirectory(viewed.out, _use_voview=False)
    assert through.all_sources == without.all_sources
    for source in through.all_sources:
        for key in through[source].keys():  # noqa: SIM118  a SourceData is no dictionary
            np.testing.assert_array_equal(through[source, key].ndarray(), without[source, key].ndarray())
    one, two = (components.AGIPD1M(run, raw=False).masked_data().ndarray() for run in (through, without))
    np.testing.assert_array_equal(one, two)


def test_backends_and_places_change_no_byte(viewed, reduce, backend_name, tmp_path):
    again = reduce(tmp_path / "elsewhere" / "r", backend=backend_name)
    for name in (MASTER, "overview.h5"):
        assert (again.out / name).read_bytes() == (viewed.out / name).read_bytes()
    assert again.digest == viewed.digest


def test_an_output_with_them_is_replaced_and_reduced_again(reduce, simulated, tmp_path):
    out = tmp_path / "r"
    reduce(out, write={"content": "raw", "overview": True})
    assert (out / "overview.h5").is_file()
    sim = simulated("missed_train")
    given = {"detector": [{"name": "AGIPD1M"}], "measure": {}, "write": {"content": "raw", "overview": True}}
    # What was reduced to raw words is a run like any other: the overview is no file of its own.
    result = shotsieve.reduce(out, given, tmp_path / "again", backend="cpu")
    with h5py.File(result.files[0]) as mine, h5py.File(out / result.files[0].name) as first:
        path = "INSTRUMENT/SPB_DET_AGIPD1M-1/DET/3CH0:xtdf/image/data"
        np.testing.assert_array_equal(mine[path][:], first[path][:])
    shotsieve.reduce(sim.raw, given, out, backend="cpu", overwrite=True)


BAD = {
    "no geometry": ({"detector": [{"name": "AGIPD1M"}]}, "nexus = true says where the pixels are"),
    "raw words": ({"write": {"content": "raw", "nexus": True}}, "shows values of pixels with NaN"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_recipes(what, reduce, tmp_path):
    sections, text = BAD[what]
    with pytest.raises(BadInput, match=text):
        reduce(tmp_path / "r", **sections)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(("key", "gone"), [("distance", "clen"), ("photon energy", "photon_energy")])
def test_what_the_file_has_to_say_is_not_known(key, gone, simulated, make_recipe, geometry, tmp_path):
    sim, path = simulated("missed_train"), tmp_path / "no.geom"
    lines = [line for line in geometry.read_text().splitlines() if not line.startswith(gone)]
    path.write_text("\n".join(lines) + "\n")
    source = shotsieve.open_run(sim.raw)
    lost = {"distance": "distance_m", "photon energy": "photon_energy_kev"}[key]
    source.mode = dataclasses.replace(source.mode, **{lost: None})
    given = make_recipe(
        detector=[{"name": "AGIPD1M", "geometry": str(path)}],
        calibrate={},
        measure={"lit": {"threshold": "6 keV"}},
        write=VIEWS,
    )
    with pytest.raises(BadInput, match=rf"nexus: the {key} is not known.*{gone}"):
        shotsieve.reduce(source, given, tmp_path / "r", constants=sim.constants, backend="cpu")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("which", ["kept", "dropped"])
def test_a_list_keeps_the_same_shots_again(which, reduce, viewed, tmp_path, capsys):
    path = tmp_path / f"{which}.lst"
    assert main(["table", str(viewed.out), "--list", which, "-o", str(path)]) == 0
    assert main(["table", str(viewed.out), "--list", which]) == 0
    assert capsys.readouterr().out == path.read_text()
    rule = "wanted == 1" if which == "kept" else "wanted == 0"
    again = reduce(
        tmp_path / "r",
        derive={"wanted": {"kind": "list", "file": str(path)}},
        keep={"rule": rule},
        write={"content": "corrected"},
    )
    np.testing.assert_array_equal(again.table.fate, viewed.table.fate)
    assert 0 < again.accounts.kept < len(again.table)
    for path in again.files:
        with h5py.File(path) as one, h5py.File(viewed.out / path.name) as two:
            source = "INSTRUMENT/SPB_DET_AGIPD1M-1/CORR"
            for name in one[source]:
                for key in ("data", "mask", "pulseId", "trainId"):
                    place = f"{source}/{name}/image/{key}"
                    np.testing.assert_array_equal(one[place][:], two[place][:])


def test_lists_of_undecided_and_wrong_lists(reduce, tmp_path, capsys):
    result = reduce(tmp_path / "r", keep={"rule": "lit_pixels[4] > 1000", "misses": 0.5}, write=None)
    table = Table.open(result.out)
    for which, expected in (
        ("undecided", table.verdict == -1),
        ("misses", (table.fate == 0) & (table.verdict == 0)),
        ("suspect", table.fate == FATES.index("suspect")),
    ):
        assert main(["table", str(result.out), "--list", which]) == 0
        head, *lines = capsys.readouterr().out.splitlines()
        assert head == f"# {which}: {expected.sum()} of {len(table)} shots"
        keys = zip(table.train_id[expected], table.pulse_id[expected], strict=True)
        assert lines == [f"{train} {pulse}" for train, pulse in keys]
    assert main(["table", str(result.out), "--list", "kep"]) != 0
    assert "kept" in capsys.readouterr().err
    assert main(["table", str(result.out), "--list", "kept", "--modules"]) != 0
    assert main(["table", str(result.out), "--list", "kept", "-o", str(tmp_path / "x.csv")]) != 0
    assert main(["table", str(result.out), "--list", "kept", "-o", str(tmp_path / "no" / "x")]) != 0
