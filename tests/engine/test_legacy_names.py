"""Corrected frames under the raw name too, as the facility once had them, and what that does to readers."""

from __future__ import annotations

import re
import warnings

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput

extra_data = pytest.importorskip("extra_data")
components = pytest.importorskip("extra_data.components")
validation = pytest.importorskip("extra_data.validation")

DET = "SPB_DET_AGIPD1M-1"
NAMES = {f"{DET}/DET/{m}CH0:xtdf": f"{DET}/CORR/{m}CH0:output" for m in (3, 4)}


@pytest.fixture(scope="module")
def linked(simulated, make_recipe, tmp_path_factory):
    sim = simulated("usual")
    recipe = make_recipe(write={"content": "corrected", "legacy_names": True, "others": True})
    out = tmp_path_factory.mktemp("legacy") / "r0001"
    return shotsieve.reduce(sim.raw, recipe, out, constants=sim.constants, backend="cpu")


def test_extra_data_knows_them_for_what_they_are(linked, reduced):
    with extra_data.RunDirectory(linked.out, parallelize=False) as run:
        assert run.legacy_sources == NAMES
        for old, new in NAMES.items():
            assert run[new].index_groups == {"image", "litpx", "header", "detector", "trailer"}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert run[old].index_groups == run[new].index_groups
                for key in ("image.data", "litpx.litPixels"):
                    np.testing.assert_array_equal(run[old, key].ndarray(), run[new, key].ndarray())
        agipd = components.AGIPD1M(run, raw=False)
        with extra_data.RunDirectory(reduced("usual").out) as usual:
            assert not usual.legacy_sources
            expected = components.AGIPD1M(usual, raw=False)["image.data"].ndarray()
        np.testing.assert_array_equal(agipd["image.data"].ndarray(), expected)
    assert validation.main([str(linked.out)]) in (None, 0)


def test_they_are_links_and_take_no_room(linked):
    with h5py.File(linked.out / "CORR-R0001-AGIPD03-S00000.h5") as file:
        for root in ("INSTRUMENT", "INDEX"):
            link = file.get(f"{root}/{DET}/DET/3CH0:xtdf", getlink=True)
            assert isinstance(link, h5py.SoftLink)
            assert link.path == f"/{root}/{DET}/CORR/3CH0:output"
        listed = file["METADATA/dataSources/dataSourceId"].asstr()[:].tolist()
        assert f"INSTRUMENT/{DET}/DET/3CH0:xtdf/image" in listed
        assert f"INSTRUMENT/{DET}/CORR/3CH0:output/image" in listed


def test_the_harm_that_the_docs_tell_of(linked, simulated, tmp_path, monkeypatch):
    """Beside the raw run they hide the raw frames; that is why they are not there by default."""
    proposal = tmp_path / "SPB/202401/p000000"
    for name, folder in (("raw", simulated("usual").raw), ("red", linked.out)):
        (proposal / name).mkdir(parents=True)
        (proposal / name / "r0001").symlink_to(folder)
    monkeypatch.setenv("EXTRA_DATA_DATA_ROOT", str(tmp_path))
    run = extra_data.open_run(0, 1, data=["raw", "red"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert run[f"{DET}/DET/3CH0:xtdf", "image.data"].dtype == np.float32


def test_it_is_checked_and_no_raw_run(linked, simulated):
    sim = simulated("usual")
    report = check_against(check(linked.out), sim.raw, constants=sim.constants, backend="cpu")
    assert report.ok, report.summary()
    with pytest.raises(BadInput, match="corrected data of SPB_DET_AGIPD1M-1 only"):
        shotsieve.open_run(linked.out, data="raw")


def test_raw_content_has_its_names_anyway():
    with pytest.raises(BadInput, match="legacy_names = true makes links under the raw names"):
        shotsieve.Recipe.from_dict({"write": {"content": "raw", "legacy_names": True}})


def test_nothing_in_the_files_tells_the_time_of_the_day(linked):
    """Headers of HDF5 objects have a flag for it; groups that were made on the way to a link once had it."""
    for path in linked.out.rglob("*.h5"):
        flags = re.findall(rb"OHDR\x02(.)", path.read_bytes(), re.DOTALL)
        assert flags
        assert not [flag for flag in flags if flag[0] & 0x20], path
