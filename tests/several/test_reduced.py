"""Several detectors in one reduction: a rule over all of them, and what is kept of each."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.cli_decide import replay
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.simulate.geometry import write_geometry
from shotsieve.table import FATES, Table
from shotsieve.write.ledger import Ledger

from .conftest import JF, LIT, RECIPE, bytes_of, changed, kept_trains


def test_the_rule_sees_both_and_unknown_stays_unknown(run, places, backend_name):
    result = run.reduce(places / "out", backend=backend_name, block_bytes=1)
    table, jf = result.table, result.others["jf"]
    # Trains 0 and 1 are known, in train 2 the JUNGFRAU recorded nothing: nobody knows.
    assert table.verdict.tolist() == [1] * 4 + [0] * 4 + [-1] * 4
    assert kept_trains(table) == [run.trains[0], run.trains[2]]
    low, high = table.bounds("jf_lit_pixels")
    assert low.tolist() == [2 * LIT] * 4 + [0] * 4 + [-np.inf] * 4
    assert high.tolist() == [2 * LIT] * 4 + [0] * 4 + [np.inf] * 4
    low, high = table.bounds("jf_lit_fraction")
    assert low[0] == high[0] == 2 * LIT / (2 * 2 * 512 * 1024)
    # Matched: of a kept train.
    assert kept_trains(jf.table) == [run.trains[0]]
    assert jf.table.verdict.tolist() == [1, 1, 0, 0, 0, 0]
    for one in (result, jf):
        one.accounts.check()
    assert (result.accounts.kept, result.accounts.undecided.kept, result.accounts.expected) == (8, 4, 12)
    assert (jf.accounts.kept, jf.accounts.dropped, jf.accounts.expected) == (2, 4, 6)
    assert sorted(p.name for p in result.files) == [f"CORR-R0001-AGIPD0{m}-S00000.h5" for m in (3, 4)]
    assert sorted(p.name for p in jf.files) == [f"CORR-R0001-JNGFR0{m}-S00000.h5" for m in (1, 2)]
    # One ledger over everything.
    listed = Ledger.load(result.out)
    assert (listed.accounts["kept"], listed.accounts["jf.kept"]) == (8, 2)
    assert {"shotsieve/table.h5", "shotsieve/jf/table.h5", "shotsieve/jf/accounts.json"} < listed.files.keys()
    # A process after the other, on any backend, with blocks of any size.
    assert bytes_of(run.reduce(places / "again").out) == bytes_of(result.out)


def test_frames_are_those_of_a_detector_alone(run, places, jf_constants):
    both = run.reduce(places / "both", changed({"keep": "all"}, keep={"rule": "lit_pixels[3] > 1000"}))
    alone = {key: value for key, value in RECIPE["detector"][1].items() if key != "label"}
    recipe = {"detector": [{"name": "JUNGFRAU"}], "write": {"content": "corrected"}}
    recipe |= {key: alone[key] for key in ("calibrate", "measure")}
    jf = shotsieve.reduce(run.raw, recipe, places / "jf", constants=jf_constants, backend="cpu")
    mine = both.others["jf"]
    assert mine.table == jf.table
    assert mine.accounts.kept == 6
    for one, other in zip(mine.files, jf.files, strict=True):
        with h5py.File(one) as a, h5py.File(other) as b:
            group = f"INSTRUMENT/{JF}/CORR/{one.name[11:18]}:daqOutput/data"
            for name in b[group]:
                np.testing.assert_array_equal(a[group][name][()], b[group][name][()])
    agipd = {key: value for key, value in RECIPE.items() if key != "detector"}
    agipd |= {"detector": [{"name": "AGIPD1M"}], "keep": {"rule": "lit_pixels[3] > 1000"}}
    lead = shotsieve.reduce(run.raw, agipd, places / "agipd", constants=run.constants[""], backend="cpu")
    assert lead.table.fate.tolist() == both.table.fate.tolist()


@pytest.mark.parametrize(
    ("jf", "kept"),
    [
        ({"keep": "matched"}, [0]),
        ({"keep": "all"}, [0, 1, 3]),
        ({"keep": {"rule": "lit_pixels[2] < 5"}}, [0, 1, 3]),  # the first shot of train 0 keeps its train
        (
            {
                "keep": {"rule": "intensity < 1"},
                "select": {"rule": "cell_id == 0"},
                "write": {"drop_cells": True},
            },
            [1, 3],
        ),
    ],
)
def test_what_is_kept_of_the_other(run, places, jf, kept):
    result = run.reduce(places / "out", changed(jf))
    trains = [*run.trains, run.trains[2] + 1]
    assert kept_trains(result.others["jf"].table) == [trains[k] for k in kept]
    report = run.check(result)
    assert report.ok, report.summary()
    with h5py.File(result.others["jf"].files[0]) as file:
        written = file[f"INSTRUMENT/{JF}/CORR/JNGFR01:daqOutput/data/trainId"][:]
        assert written.tolist() == [trains[k] for k in kept]
    told = json.loads((result.out / "shotsieve/jf/settings.json").read_text())
    assert told["detector_keep"] == (jf["keep"] if isinstance(jf["keep"], str) else "own")


def test_the_other_way_round(run, places):
    """The JUNGFRAU leads, and sees sums over the shots of a train of the AGIPD."""
    agipd, jf = RECIPE["detector"]
    own = {"label": "agipd", **agipd, "calibrate": {}, "measure": RECIPE["measure"]}
    recipe = {
        "detector": [{"name": "JUNGFRAU"}, own],
        "calibrate": jf["calibrate"],
        "measure": jf["measure"],
        "keep": {"rule": "agipd_lit_pixels[3] >= 0", "undecided": "drop"},
        "write": RECIPE["write"],
    }
    constants = {"": run.constants["jf"], "agipd": run.constants[""]}
    result = run.reduce(places / "out", recipe, constants=constants)
    table, agipd = result.table, result.others["agipd"].table
    assert kept_trains(table) == run.trains[:2]
    assert table.verdict.tolist() == [1, 1, 1, 1, -1, -1]
    low, high = table.bounds("agipd_lit_pixels[3]")
    at = agipd.modules.index(3)
    sums = [agipd.measures["lit_pixels"][agipd.train_id == train, at].sum() for train in run.trains[:2]]
    assert low[:4].tolist() == high[:4].tolist() == np.repeat(sums, 2).tolist()
    # The AGIPD lacks 14 modules here, so that the sum over all is only bounded from below.
    low, high = table.bounds("agipd_lit_pixels")
    assert np.isinf(high).all()
    assert (low[:4] >= np.repeat(sums, 2)).all()
    assert kept_trains(agipd) == run.trains[:2]
    assert (agipd.fate == FATES.index("kept")).sum() == 8
    report = check_against(check(result.out), run.raw, constants=constants, backend="cpu")
    assert report.ok, report.summary()


def test_two_of_a_family_by_train_and_pulse(two_agipds, places):
    raw, constants = two_agipds
    recipe = {
        **RECIPE,
        "detector": [{"source": "SPB_DET_AGIPD1M-1"}, {"label": "far", "source": "SPB_DET_AGIPD1M-2"}],
        "keep": {"rule": "far_lit_pixels[5] > 1000 and lit_pixels[3] >= 0"},
    }
    result = shotsieve.reduce(raw, recipe, places / "out", constants=constants, backend="cpu")
    table, far = result.table, result.others["far"].table
    expected = far.measures["lit_pixels"][:, far.modules.index(5)]
    low, high = table.bounds("far_lit_pixels[5]")
    assert low[:8].tolist() == high[:8].tolist() == expected.tolist()
    assert np.isinf(low[8:]).all()
    assert set(expected > 1000) == {True, False}
    assert (table.verdict[:8] == (expected > 1000)).all()
    assert (table.verdict[8:] == -1).all()
    # Shot by shot, not train by train.
    np.testing.assert_array_equal(far.fate, table.fate[:8])
    report = check(result.out)
    assert report.ok, report.summary()
    check_against(report, raw, constants=constants, backend="cpu")
    assert report.ok, report.summary()
    extra_data = pytest.importorskip("extra_data")
    from extra_data.components import AGIPD1M

    opened = extra_data.RunDirectory(result.out)
    for name, kept in (("SPB_DET_AGIPD1M-1", table), ("SPB_DET_AGIPD1M-2", far)):
        data = AGIPD1M(opened, name, raw=False, min_modules=1)["image.pulseId"].ndarray()
        assert data.shape[1] == (kept.fate == 0).sum()


def test_files_of_measures_and_views_of_each(two_agipds, simulated, places, tmp_path):
    raw, constants = two_agipds
    p = simulated("usual").parameters
    geometry = write_geometry(tmp_path / "agipd.geom", p.distance_m, p.photon_energy_kev)
    measure = {"lit": {}, "peaks": {"threshold": "3 photon"}, "azint": {"npt": 20}, "average": {}}
    recipe = {
        "detector": [
            {"source": "SPB_DET_AGIPD1M-1", "geometry": str(geometry)},
            {"label": "far", "source": "SPB_DET_AGIPD1M-2", "geometry": str(geometry)},
        ],
        "calibrate": {},
        "measure": measure,
        "keep": {"rule": "far_n_peaks[5] > 1000000 or lit_pixels[3] > 1000"},
        "write": {"cxi": True, "nexus": True, "overview": True, "trains_per_file": 2},
    }
    result = shotsieve.reduce(raw, recipe, places / "out", constants=constants, backend="cpu")
    assert 0 < result.others["far"].accounts.kept < result.accounts.kept < 12
    side = result.out / "shotsieve"
    for name in ("peaks.h5", "profiles.h5", "averages.h5"):
        assert (side / name).is_file()
        assert (side / "far" / name).is_file()
    kept = {1: result.accounts.kept, 2: result.others["far"].accounts.kept}
    for number, frames in kept.items():
        master = result.out / f"CORR-R0001-SPB_DET_AGIPD1M-{number}.nxs"
        with h5py.File(master) as file:
            assert file["entry/data/data"].shape[0] == frames
        cxi = sorted(result.out.glob(f"CORR-R0001-SPB_DET_AGIPD1M-{number}-S*.cxi"))
        total = 0
        for path in cxi:
            with h5py.File(path) as file:
                total += len(file["entry_1/trainId"])
        assert total == frames
    report = check(result.out)
    check_against(report, raw, constants=constants, backend="cpu")
    assert report.ok, report.summary()


def test_two_that_would_write_the_same_files(two_agipds, places, tmp_path):
    raw, _ = two_agipds
    clash = tmp_path / "r0001"
    clash.mkdir()
    for path in raw.iterdir():
        (clash / path.name).symlink_to(path)
    for path in raw.glob("*AGIPD05*"):
        with h5py.File(path) as old, h5py.File(clash / "RAW-R0001-AGIPD03-S00001.h5", "w") as new:
            for name in old:
                old.copy(name, new)
            source = "SPB_DET_AGIPD1M-2/DET/{}CH0:xtdf"
            for group in ("INDEX", "INSTRUMENT"):
                new.move(f"{group}/{source.format(5)}", f"{group}/{source.format(3)}")
            listed = new["METADATA/dataSources/dataSourceId"].asstr()[:]
            del new["METADATA/dataSources/dataSourceId"]
            new["METADATA/dataSources/dataSourceId"] = [name.replace("/5CH0", "/3CH0") for name in listed]
    recipe = {
        "detector": [{"source": "SPB_DET_AGIPD1M-1"}, {"label": "far", "source": "SPB_DET_AGIPD1M-2"}],
        "write": {"content": "raw"},
    }
    with pytest.raises(BadInput, match=r"would both write files \.\.\.-AGIPD03-"):
        shotsieve.reduce(clash, recipe, places / "out", backend="cpu")
    recipe["detector"][1]["write"] = {"content": "raw", "modules": "5:7"}
    assert shotsieve.reduce(clash, recipe, places / "out", backend="cpu").others["far"].accounts.kept


def test_extra_data_reads_both(run, places):
    extra_data = pytest.importorskip("extra_data")
    from extra_data.components import AGIPD1M, JUNGFRAU
    from extra_data.validation import RunValidator

    recipe = changed(write={"content": "corrected", "overview": True, "others": True})
    result = run.reduce(places / "out", recipe)
    assert (result.out / "overview.h5").is_file()
    opened = extra_data.RunDirectory(result.out)
    assert AGIPD1M(opened, raw=False, min_modules=1)["image.data"].shape[1] == 8
    data = JUNGFRAU(opened, raw=False)["data.adc"].ndarray()
    assert data.shape == (2, 1, 2, 512, 1024)
    assert (data[:, 0, 1, :10] == 5000).all()
    assert not RunValidator(str(result.out)).run_checks()
    report = run.check(result)
    assert report.ok, report.summary()
    through = shotsieve.reduce(
        extra_data.RunDirectory(run.raw), recipe, places / "through", constants=run.constants, backend="cpu"
    )
    assert bytes_of(through.out) == bytes_of(result.out)


def test_deciding_again_with_columns_of_both(run, places):
    result = run.reduce(places / "out")
    table = Table.open(result.out)
    assert table == result.table
    changes = replay(table, "jf_intensity < 1 or train_id < 0")
    assert (changes["kept"], changes["undecided"], changes["newly_dropped"]) == (8, 4, 4)
    assert kept_trains(table) == run.trains[1:]
    frame = pytest.importorskip("pandas") and result.table.to_dataframe()
    assert frame["jf_lit_pixels"].isna().tolist() == [False] * 8 + [True] * 4


def test_misses_of_the_leading_one_and_derived_columns(run, places):
    derive = {"level": {"kind": "rank", "of": "jf_lit_pixels"}}
    recipe = changed(
        keep={"rule": "jf_lit_pixels < 0", "undecided": "drop", "misses": 0.4, "seed": 3}, derive=derive
    )
    result = run.reduce(places / "out", recipe)
    table, jf = result.table, result.others["jf"].table
    assert 0 < result.accounts.misses == result.accounts.kept < 12
    kept = np.isin(jf.train_id, kept_trains(table))
    np.testing.assert_array_equal(jf.fate == 0, kept)
    # A train of four shots is kept unless each of them is dropped.
    chance = jf.columns["keep_probability"]
    np.testing.assert_allclose(chance, [1 - 0.6**4] * 4 + [0] * 2)
    assert result.others["jf"].accounts.misses == kept.sum()
    assert table.columns["level"][:8].tolist() == [0.0] * 4 + [0.5] * 4
    report = run.check(result)
    assert report.ok, report.summary()
