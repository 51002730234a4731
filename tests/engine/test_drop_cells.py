"""Detectors whose files hold whole trains, with cells that are dropped one by one and take no room."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.constants import Constants
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.sources.base import RunMeta
from shotsieve.table import FATES
from shotsieve.view.shots import KeptShots
from shotsieve.write.exdf_file import ExdfFile
from shotsieve.write.ledger import Ledger

DETECTOR = "SPB_IRDA_JF4M"
TRAINS = np.arange(1, 6, dtype="u8")
CELLS = np.array([15, 0, 1, 2], "u1")  # cell 15 comes first
# Bright shots by train: places in the train.
BRIGHT = {1: [1, 3], 2: [], 3: [0], 4: [0, 1, 2, 3], 5: [2]}
KEPT = [(train, place) for train, places in BRIGHT.items() for place in places]
RECIPE = {
    "calibrate": {"gain_mode": "adaptive"},
    "measure": {"lit": {"threshold": "40 keV"}},
    "keep": {"rule": "lit_pixels[1] > 100"},
    "write": {"content": "corrected", "drop_cells": True, "others": True},
}


@pytest.fixture(scope="module")
def constants():
    offset = np.full((3, 16, 512, 1024), 100, "f4")
    bad = np.zeros((3, 16, 512, 1024), "u4")
    bad[:, :, 511] = 1
    arrays = {"offset": offset, "adu_per_kev": np.ones_like(offset), "bad_pixels": bad}
    return Constants.from_arrays("JUNGFRAU", {name: {1: a, 2: a} for name, a in arrays.items()})


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Two modules, five trains of four cells; module 2 missed the third train."""
    folder = tmp_path_factory.mktemp("jungfrau") / "r0001"
    folder.mkdir()
    rng = np.random.default_rng(5)
    for module in (1, 2):
        there = np.array([1, 1, module == 1, 1, 1])
        trains = TRAINS[there > 0]
        path = folder / f"RAW-R0001-JNGFR{module:02d}-S00000.h5"
        with ExdfFile(path, train_ids=TRAINS, timestamps=TRAINS, meta=RunMeta(run=1)) as file:
            data = file.instrument(f"{DETECTOR}/DET/JNGFR{module:02d}:daqOutput", "data", there)
            adc = rng.integers(90, 111, (len(trains), 4, 512, 1024)).astype("u2")
            for row, train in enumerate(trains.tolist()):
                adc[row, BRIGHT[train], :10] += 5000
            data.create_dataset("adc", data=adc, chunks=(1, 1, 512, 1024))
            data.create_dataset("gain", data=np.zeros(adc.shape, "u1"), chunks=(1, 1, 512, 1024))
            data["memoryCell"], data["trainId"] = np.tile(CELLS, (len(trains), 1)), trains
            data["frameNumber"] = (trains[:, None] * np.uint64(10) + np.arange(4, dtype="u8")).astype("u8")
            data["temperature"] = trains / 2
    return folder


@pytest.fixture(scope="module")
def make(raw, constants, tmp_path_factory):
    """``make(changes)``: the run reduced, each recipe once."""
    made = {}

    def reduce(backend="cpu", block_bytes=1 << 30, **sections):
        key = json.dumps([sections, backend, block_bytes])
        if key not in made:
            out = tmp_path_factory.mktemp("out") / "r0001"
            recipe = {key: value for key, value in {**RECIPE, **sections}.items() if value}
            made[key] = shotsieve.reduce(
                raw, recipe, out, constants=constants, backend=backend, block_bytes=block_bytes
            )
        return made[key]

    return reduce


WHOLE = {"content": "corrected", "others": True}


def module_file(result, module):
    return next(path for path in result.files if f"JNGFR{module:02d}" in path.name)


def group_of(file, module):
    return file[f"INSTRUMENT/{DETECTOR}/CORR/JNGFR{module:02d}:daqOutput/data"]


def test_dropped_cells_are_accounted_as_dropped(make):
    result = make()
    table = result.table
    fates = {
        (int(t), int(p)): FATES[f] for t, p, f in zip(table.train_id, table.pulse_id, table.fate, strict=True)
    }
    assert fates == {(t, p): "kept" if (t, p) in KEPT else "dropped" for t in BRIGHT for p in range(4)}
    result.accounts.check()
    assert (result.accounts.kept, result.accounts.dropped, result.accounts.companions) == (8, 12, 0)
    with h5py.File(module_file(result, 1)) as file:
        told = file[f"REDUCTION/SHOTSIEVE/{DETECTOR}/CORR/JNGFR01:daqOutput/image".replace("image", "data")]
        assert told["framesBefore"][:].tolist() == [4] * 5
        assert told["framesKept"][:].tolist() == [2, 0, 1, 4, 1]
        assert told["framesDropped"][:].tolist() == [2, 4, 3, 0, 3]
        assert np.flatnonzero(told["framePattern"][0]).tolist() == [0, 2]


@pytest.mark.parametrize("module", [1, 2])
def test_rows_are_trains_and_only_kept_cells_are_stored(make, module):
    result, whole = make(), make(write=WHOLE)
    kept = [(t, p) for t, p in KEPT if module == 1 or t != 3]
    trains = sorted({t for t, _ in kept})
    with h5py.File(module_file(result, module)) as f, h5py.File(module_file(whole, module)) as g:
        mine, full = group_of(f, module), group_of(g, module)
        assert mine["trainId"][:].tolist() == full["trainId"][:].tolist() == trains
        assert mine["memoryCell"][:].tolist() == [CELLS.tolist()] * len(trains)
        for name, fill in (("adc", np.nan), ("gain", 0), ("mask", 0xFFFFFFFF)):
            assert mine[name].shape == (len(trains), 4, 512, 1024)
            assert mine[name].chunks == (1, 1, 512, 1024)
            assert mine[name].id.get_num_chunks() == len(kept)
            values, expected = mine[name][:], full[name][:]
            for row, train in enumerate(trains):
                for place in range(4):
                    if (train, place) in kept:
                        np.testing.assert_array_equal(values[row, place], expected[row, place])
                    else:
                        np.testing.assert_array_equal(values[row, place], np.full((512, 1024), fill))
        # What stands beside the frames goes with the trains, cells that were dropped included.
        assert mine["frameNumber"][:].tolist() == [[10 * t + p for p in range(4)] for t in trains]
        assert mine["temperature"][:].tolist() == [t / 2 for t in trains]
        checksum = f[f"REDUCTION/SHOTSIEVE/{DETECTOR}/CORR/JNGFR{module:02d}:daqOutput/checksum"]
        assert checksum["adc"].shape == (len(kept), 16)
        assert checksum["slot"][:].tolist() == [p for _, p in kept]
        lit = f[f"INSTRUMENT/{DETECTOR}/CORR/JNGFR{module:02d}:daqOutput/litpx"]
        assert lit["litPixels"].shape == (5, 4)


def test_dropped_cells_of_kept_trains_are_not_shown(make):
    shown = KeptShots(make().out)
    told = [shown.values(number)["values"] for number in range(len(shown))]
    assert [(values["train"], values["pulse"]) for values in told] == sorted(KEPT)
    assert all(np.isfinite(np.frombuffer(shown.picture(number), "<f4")).any() for number in range(len(shown)))


@pytest.mark.parametrize("tolerant", [False, True])
def test_such_a_run_cannot_be_reduced_again(make, tmp_path, tolerant):
    """Cells that were dropped are not cells that were lost."""
    recipe = {key: value for key, value in RECIPE.items() if key != "calibrate"} | {"calibrate": {}}
    with pytest.raises(BadInput, match=r"drop_cells.*reduce the run that it is of"):
        shotsieve.reduce(make().out, recipe, tmp_path / "again", backend="cpu", tolerant=tolerant)


def test_the_files_are_smaller_by_what_was_dropped(make):
    result, whole = make(), make(write=WHOLE)
    frame = 4 * 512 * 1024
    small, large = (module_file(r, 1).stat().st_size for r in (result, whole))
    # Four trains of four cells, eight of which are kept: gain and mask are small, and compressed.
    assert 8 * frame <= large - small <= 8 * (frame + 30_000)


def test_extra_data_reads_nan(make):
    extra_data = pytest.importorskip("extra_data")
    components = pytest.importorskip("extra_data.components")
    validation = pytest.importorskip("extra_data.validation")
    result, whole = make(), make(write=WHOLE)
    assert validation.main([str(result.out)]) in (None, 0)
    with extra_data.RunDirectory(result.out) as run, extra_data.RunDirectory(whole.out) as other:
        jungfrau, full = (components.JUNGFRAU(r, raw=False) for r in (run, other))
        assert jungfrau.train_ids == full.train_ids == [1, 3, 4, 5]
        assert jungfrau.cell_ids().tolist() == CELLS.tolist()
        data, masked = jungfrau["data.adc"].ndarray(), jungfrau.masked_data().ndarray()
        expected, expected_masked = full["data.adc"].ndarray(), full.masked_data().ndarray()
        assert data.shape == (2, 4, 4, 512, 1024)
        for row, train in enumerate(jungfrau.train_ids):
            for place in range(4):
                if (train, place) in KEPT:
                    np.testing.assert_array_equal(data[:, row, place], expected[:, row, place])
                    np.testing.assert_array_equal(masked[:, row, place], expected_masked[:, row, place])
                else:
                    assert np.isnan(data[:, row, place]).all()
                    assert np.isnan(masked[:, row, place]).all()
        assert np.isfinite(data[0, 0, 1, :511]).all()
        assert not jungfrau["data.gain"].ndarray()[:, 0, 0].any()
        mask = jungfrau["data.mask"].ndarray()
        assert (mask[0, 0, 0] == 0xFFFFFFFF).all()
        labelled = jungfrau["data.adc"].xarray()
        assert labelled.shape == data.shape
        assert [tid for tid, _ in jungfrau.trains()] == [1, 4, 5]


@pytest.mark.parametrize("block_bytes", [1, 1 << 30])
def test_any_backend_and_block_size_gives_the_same_bytes(make, backend_name, block_bytes):
    assert make(backend=backend_name, block_bytes=block_bytes).digest == make().digest


def test_it_is_checked(make, raw, constants):
    for sections in ({}, {"keep": {"rule": "lit_pixels[1] > 100", "misses": 0.3, "seed": 4}}):
        result = make(**sections)
        report = check_against(check(result.out), raw, constants=constants, backend="cpu")
        assert report.ok, report.summary()
        frames = int(((result.table.fate == 0)[:, None] & (result.table.module_status == 0)).sum())
        assert report.chunks == 3 * frames
    assert make(**sections).accounts.misses > 0
    part = check_against(check(make().out), raw, constants=constants, backend="cpu", sample=0.5)
    assert part.ok, part.summary()


def forge(out):
    old = json.loads((out / "shotsieve/ledger.json").read_text())
    counts = json.loads((out / "shotsieve/accounts.json").read_text())
    made = Ledger.make(out, old["inputs"], {name: counts[name] for name in old["accounts"]})
    (out / "shotsieve/ledger.json").write_text(made.dumps())


@pytest.mark.parametrize("change", ["value", "new", "slot", "cell"])
def test_what_was_changed_is_found(change, raw, constants, tmp_path):
    result = shotsieve.reduce(raw, RECIPE, tmp_path / "r", constants=constants, backend="cpu")
    with h5py.File(module_file(result, 1), "r+") as file:
        group = group_of(file, 1)
        if change == "value":
            group["adc"][0, 1, 3, 3] += 1
        elif change == "new":
            group["adc"][0, 0, 3, 3] = 7.0
        elif change == "slot":
            file[f"REDUCTION/SHOTSIEVE/{DETECTOR}/CORR/JNGFR01:daqOutput/checksum/slot"][0] = 0
        else:
            group["memoryCell"][0, 1] = 9
    forge(result.out)
    faults = " ".join(check(result.out).faults)
    expected = {
        "value": "adc of row 0 place 1 (train 1) is not what was written",
        "new": "adc has 9 chunks, and 8 frames were kept",
        "slot": "cell ids differ",
        "cell": "cell ids differ",
    }
    assert expected[change] in faults


def test_a_selection_may_take_parts_of_trains(make):
    result = make(select={"cells": "0:2"}, keep=None)
    table = result.table
    assert ((table.fate == 0) == np.isin(table.cell_id, [0, 1])).all()
    assert result.accounts.not_read == 10
    with h5py.File(module_file(result, 1)) as file:
        assert group_of(file, 1)["adc"].id.get_num_chunks() == 10


def test_nothing_kept_is_a_run_of_empty_trains(make):
    result = make(keep={"rule": "lit_pixels[1] > 1e9"})
    with h5py.File(module_file(result, 1)) as file:
        assert group_of(file, 1)["adc"].shape == (0, 4, 512, 1024)
    assert check(result.out).ok


def test_an_inconsistent_shot_still_rejects_its_train(raw, constants, tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for path in raw.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    with h5py.File(folder / "RAW-R0001-JNGFR02-S00000.h5", "r+") as file:
        file[f"INSTRUMENT/{DETECTOR}/DET/JNGFR02:daqOutput/data/memoryCell"][0, 1] = 3
    result = shotsieve.reduce(folder, RECIPE, tmp_path / "r", constants=constants, backend="cpu")
    assert result.accounts.inconsistent == 4
    with h5py.File(module_file(result, 1)) as file:
        assert group_of(file, 1)["trainId"][:].tolist() == [3, 4, 5]


def test_where_it_does_not_fit(raw, constants, tmp_path, simulated, make_recipe):
    with pytest.raises(BadInput, match="drop_cells = true needs a mask"):
        shotsieve.Recipe.from_dict({"write": {"content": "raw", "drop_cells": True}})
    sim = simulated("usual")
    recipe = make_recipe(write={"content": "corrected", "drop_cells": True})
    with pytest.raises(BadInput, match="drop_cells: AGIPD1M stores single frames"):
        shotsieve.reduce(sim.raw, recipe, tmp_path / "r", constants=sim.constants, backend="cpu")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("block_bytes", [1, 1 << 30])
def test_from_a_table_kept_cells_alone_are_read(make, raw, constants, tmp_path, block_bytes):
    first = make()
    again = shotsieve.reduce(
        raw,
        RECIPE,
        tmp_path / "r",
        constants=constants,
        backend="cpu",
        table=first.out,
        block_bytes=block_bytes,
    )
    frames = int(((first.table.fate == 0)[:, None] & (first.table.module_status == 0)).sum())
    assert again.accounts.bytes_in == frames * 2 * 2 * 512 * 1024
    for module in (1, 2):
        with h5py.File(module_file(first, module)) as f, h5py.File(module_file(again, module)) as g:
            for key in ("adc", "gain", "mask", "memoryCell", "trainId"):
                np.testing.assert_array_equal(group_of(g, module)[key][:], group_of(f, module)[key][:])
    report = check_against(check(again.out), raw, constants=constants, backend="cpu")
    assert report.ok, report.summary()


def test_the_embedded_engine_gives_kept_shots_alone(make, raw, constants):
    from shotsieve.sources.run import open_run

    source = open_run(raw)
    recipe = {**RECIPE, "write": {"content": "corrected", "drop_cells": True}}
    options = {"detector": "JUNGFRAU", "modules": (1, 2), "backend": "cpu"}
    with shotsieve.Engine(recipe, constants, **options) as engine:
        results = list(engine.run(source))
    kept = np.concatenate([r.table.train_id[r.kept] * 10 + r.table.pulse_id[r.kept] for r in results])
    assert kept.tolist() == [10 * t + p for t, p in KEPT]
