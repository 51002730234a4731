"""What stands in the detector's own files beside the pixels goes along: control data, run values, records."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.engine.against import check_against
from shotsieve.errors import UnreadableData
from shotsieve.sources.base import RunMeta
from shotsieve.write.exdf_file import ExdfFile

DEVICE = "SPB_DET_AGIPD1M-1/MDL/TEMPERATURE"
CAMERA = "SPB_DET_AGIPD1M-1/CAM/SIDE:output"
RAW = "SPB_DET_AGIPD1M-1/DET/{}CH0:xtdf"
CORR = "SPB_DET_AGIPD1M-1/CORR/{}CH0:output"
RECORD = "PULSE_REDUCTION/SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"
ERRATUM = "TRAINS_OUTSIDE_BUFFER_RANGE"


def list_source(file, path, entries):
    old = file[path].asstr()[:].tolist() if path in file else []
    if path in file:
        del file[path]
    file.create_dataset(path, data=[*old, *entries], dtype=h5py.string_dtype())


def value_of(train):
    return 20.0 + (int(train) % 1000) / 8


def enrich(path):
    """Add to a detector file what the facility may put there; module 4's has the errata alone."""
    with h5py.File(path, "r+") as f:
        trains = f["INDEX/trainId"][:]
        n, module = len(trains), 3 if "AGIPD03" in path.name else 4
        image = f[f"INSTRUMENT/{RAW.format(module)}/image"]
        pulses = image["pulseId"][:, 0]
        image["blShift"] = (image["trainId"][:, 0] % 7 + pulses / 4).astype("f4")
        image["blShift"].attrs["unitSymbol"] = "ADU"
        image["status"][:, 0] = pulses * 3 + module
        image["tile/level"] = np.stack([pulses, pulses + 1], 1).astype("u2")
        ones, first = np.ones(n, "u8"), np.arange(n, dtype="u8")
        list_source(f, "METADATA/auxiliarySources/ERRATA", [f"ERRATA/{ERRATUM}/event"])
        f[f"INDEX/{ERRATUM}/event/first"], f[f"INDEX/{ERRATUM}/event/count"] = first, ones
        f[f"ERRATA/{ERRATUM}/event/originalTrainIds"] = trains + np.uint64(module)
        f[f"ERRATA/{ERRATUM}/event/deviceIds"] = np.array([f"DEV-{t}" for t in trains], object)
        if module == 4:
            return
        list_source(
            f, "METADATA/dataSources/dataSourceId", [f"CONTROL/{DEVICE}", f"INSTRUMENT/{CAMERA}/data"]
        )
        f[f"INDEX/{DEVICE}/first"], f[f"INDEX/{DEVICE}/count"] = first, ones
        value = f.create_dataset(f"CONTROL/{DEVICE}/asic/actual/value", data=[value_of(t) for t in trains])
        value.attrs["unitSymbol"] = "C"
        f[f"CONTROL/{DEVICE}/asic/actual/timestamp"] = trains * np.uint64(10)
        f[f"RUN/{DEVICE}/asic/actual/value"] = np.array([value_of(trains[0])])
        f[f"RUN/{DEVICE}/asic/actual/timestamp"] = trains[:1]
        f.create_dataset(f"RUN/{DEVICE}/classId/value", data=["Thermometer"], dtype=h5py.string_dtype())
        f[f"INDEX/{CAMERA}/data/first"], f[f"INDEX/{CAMERA}/data/count"] = first, ones
        f[f"INSTRUMENT/{CAMERA}/data/image"] = np.arange(n * 6, dtype="u2").reshape(n, 2, 3)
        list_source(f, "METADATA/auxiliarySources/REDUCTION", [f"REDUCTION/{RECORD}/image"])
        f[f"INDEX/{RECORD}/image/first"], f[f"INDEX/{RECORD}/image/count"] = first, ones
        f[f"REDUCTION/{RECORD}/image/data/reductionRatio"] = np.linspace(0, 1, n)
        f[f"RUN/{RECORD}/threshold/value"], f[f"RUN/{RECORD}/threshold/timestamp"] = np.array([5.0]), [0]


@pytest.fixture
def rich(simulated, tmp_path):
    """A copy of a simulated run, with more in the detector's files."""

    def make(name="usual"):
        folder = tmp_path / "raw" / name
        folder.mkdir(parents=True)
        for path in simulated(name).raw.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
            if "AGIPD0" in path.name:
                enrich(folder / path.name)
        return folder

    return make


@pytest.fixture
def reduce(simulated, make_recipe, tmp_path):
    def run(raw, out="r", **sections):
        sim = simulated("usual")
        recipe = make_recipe(**sections)
        return shotsieve.reduce(raw, recipe, tmp_path / out, constants=sim.constants, backend="cpu")

    return run


def in_order(result, raw, sim):
    report = check_against(check(result.out), raw, constants=sim.constants, backend="cpu")
    assert report.ok, report.summary()


@pytest.mark.parametrize("content", ["raw", "corrected"])
@pytest.mark.parametrize("name", ["usual", "second_sequence", "empty_train", "duplicate_train"])
def test_extra_data_finds_all_of_it(rich, reduce, simulated, name, content):
    extra_data = pytest.importorskip("extra_data")
    validation = pytest.importorskip("extra_data.validation")
    raw = rich(name)
    result = reduce(raw, write={"content": content, "others": True})
    assert validation.main([str(result.out)]) in (None, 0)
    kept = result.table.fate == 0
    with extra_data.RunDirectory(result.out, parallelize=False) as run:
        trains = np.array(run.train_ids)
        data = run[DEVICE, "asic.actual"]
        assert data.units == "C"
        np.testing.assert_array_equal(data.ndarray(), [value_of(t) for t in trains])
        assert run.select(DEVICE).train_from_id(trains[1])[1][DEVICE]["asic.actual.value"] == value_of(
            trains[1]
        )
        assert run.get_run_value(DEVICE, "classId") == "Thermometer"
        assert run[DEVICE].run_values()["asic.actual.value"] == value_of(trains[0])
        assert run[CAMERA, "data.image"].ndarray().shape == (len(trains), 2, 3)
        source = (RAW if content == "raw" else CORR).format(3)
        for group in ("header", "detector", "trailer"):
            there = run[source, f"{group}.trainId"].ndarray()
            assert len(there) == len(trains) - (name == "empty_train")
        expected = (result.table.train_id % 7 + result.table.pulse_id / 4).astype("f4")[kept]
        shift = run[source, "image.blShift"]
        assert shift.units == "ADU"
        np.testing.assert_array_equal(shift.ndarray(), expected)
        np.testing.assert_array_equal(
            run[source, "image.status"].ndarray()[:, 0], result.table.pulse_id[kept] * 3 + 3
        )
        level = run[source, "image.tile.level"].ndarray()
        np.testing.assert_array_equal(level[:, 1], result.table.pulse_id[kept] + 1)
        if content == "corrected":
            assert not run.auxiliary.errata_sources
        else:
            record = run.auxiliary[RECORD]
            assert record["image.data.reductionRatio"].ndarray().shape == (len(trains),)
            assert record.run_values()["threshold.value"] == 5.0
            for module in (3, 4):
                event = run.auxiliary[f"AGIPD{module:02d}@{ERRATUM}"]
                np.testing.assert_array_equal(event["event.originalTrainIds"].ndarray(), trains + module)
                assert event["event.deviceIds"].ndarray()[0] == f"DEV-{trains[0]}"
    in_order(result, raw, simulated("usual"))


def test_raw_content_always_has_what_was_recorded_of_a_frame(rich, reduce, simulated):
    raw = rich()
    kept = reduce(raw, write={"content": "raw"})
    corrected = reduce(raw, out="c")
    with h5py.File(kept.out / "RAW-R0001-AGIPD04-S00000.h5") as f:
        image = f[f"INSTRUMENT/{RAW.format(4)}/image"]
        assert {"length", "status", "blShift"} < set(image)
        assert image["length"].shape == (len(image["pulseId"]), 1)
        np.testing.assert_array_equal(image["status"][:, 0], image["pulseId"][:] * 3 + 4)
        assert f["METADATA/dataSources/dataSourceId"].asstr()[:].tolist() == [
            f"INSTRUMENT/{RAW.format(4)}/{group}" for group in ("image", "litpx")
        ]
    with h5py.File(corrected.out / "CORR-R0001-AGIPD04-S00000.h5") as f:
        assert "status" not in f[f"INSTRUMENT/{CORR.format(4)}/image"]
    in_order(kept, raw, simulated("usual"))


def test_an_earlier_record_of_ours_is_written_anew(rich, reduce, simulated):
    """Reduced to raw words twice: the second says what the second did; what the DAQ said is there still."""
    raw = rich()
    write = {"content": "raw", "others": True}
    first = reduce(raw, write=write)
    rule = {"rule": f"train_id > {first.table.train_id[first.table.fate == 0].min()}"}
    second = reduce(first.out, out="again", write=write, keep=rule)
    assert len(second.table) == first.accounts.kept
    with h5py.File(second.out / "RAW-R0001-AGIPD03-S00000.h5") as f:
        source = RAW.format(3)
        own = f[f"REDUCTION/SHOTSIEVE/{source}/image"]
        assert own["framesBefore"][:].sum() == first.accounts.kept
        assert own["framesKept"][:].sum() == second.accounts.kept
        assert f"REDUCTION/{RECORD}/image" in f["METADATA/auxiliarySources/REDUCTION"].asstr()[:]
        assert f[f"CONTROL/{DEVICE}/asic/actual/value"].shape == (3,)
    in_order(second, first.out, simulated("usual"))


def test_a_changed_copy_is_found(rich, reduce, simulated):
    raw = rich()
    result = reduce(raw, write={"content": "raw", "others": True})
    path = raw / "RAW-R0001-AGIPD03-S00000.h5"
    for dataset, text in (
        (f"CONTROL/{DEVICE}/asic/actual/value", f"CONTROL/{DEVICE}/asic/actual/value"),
        (f"INSTRUMENT/{RAW.format(3)}/header/pulseCount", "header/pulseCount"),
        (f"INSTRUMENT/{RAW.format(3)}/image/blShift", "image/blShift"),
        (f"RUN/{RECORD}/threshold/value", "threshold/value"),
    ):
        good = path.read_bytes()
        with h5py.File(path, "r+") as f:
            f[dataset][...] = f[dataset][()] + 1
        report = check_against(check(result.out), raw, constants=simulated("usual").constants, backend="cpu")
        [fault] = report.faults
        assert text in fault
        assert fault.startswith("RAW-R0001-AGIPD03-S00000.h5: ")
        path.write_bytes(good)


def test_values_that_not_every_file_has_are_left_out_and_named(rich, reduce, simulated):
    raw = rich("second_sequence")
    with h5py.File(raw / "RAW-R0001-AGIPD03-S00001.h5", "r+") as f:
        del f[f"INSTRUMENT/{RAW.format(3)}/image/blShift"]
        image = f[f"INSTRUMENT/{RAW.format(3)}/image"]
        short = image["status"][:-1]
        del image["status"]
        image["status"] = short
    text = f"image.{{}} of {RAW.format(3)} is not copied: its files do not all have it"
    by_train = reduce(raw, "by_train", write={"content": "raw", "trains_per_file": 1}, keep=None)
    assert " ".join(by_train.accounts.notes).count(text.format("status")) == 1  # and not in every part
    result = reduce(raw, write={"content": "raw"}, keep=None)
    notes = " ".join(result.accounts.notes)
    for name in ("blShift", "status"):
        assert notes.count(text.format(name)) == 1
    with h5py.File(result.out / "RAW-R0001-AGIPD03-S00000.h5") as f:
        image = f[f"INSTRUMENT/{RAW.format(3)}/image"]
        assert "length" in image
        assert "blShift" not in image
        assert "status" not in image
    in_order(result, raw, simulated("usual"))


def test_a_damaged_record_is_an_error(rich, reduce):
    raw = rich()
    with h5py.File(raw / "RAW-R0001-AGIPD03-S00000.h5", "r+") as f:
        f[f"INDEX/{DEVICE}/count"][-1] += 5
    with pytest.raises(UnreadableData, match="TEMPERATURE"):
        reduce(raw, write={"content": "raw", "others": True})


def test_the_same_bytes_again(rich, reduce):
    raw = rich("second_sequence")
    write = {"content": "raw", "others": True}
    one, two = (reduce(raw, out=out, write=write) for out in ("a", "b"))
    assert one.digest == two.digest


def test_a_file_of_several_modules_gives_its_control_data_once(tmp_path, rng):
    extra_data = pytest.importorskip("extra_data")
    folder = tmp_path / "raw"
    folder.mkdir()
    trains = np.arange(10, 13, dtype="u8")
    with ExdfFile(
        folder / "RAW-R0001-DA03-S00000.h5", train_ids=trains, timestamps=trains, meta=RunMeta(run=1)
    ) as file:
        for module in (3, 4):
            image = file.instrument(RAW.format(module), "image", np.full(3, 2))
            image["data"] = rng.integers(0, 9000, (6, 2, 512, 128)).astype("u2")
            image["pulseId"], image["cellId"] = np.tile(np.arange(2, dtype="u8"), 3), np.tile([0, 1], 3)
            file.instrument(RAW.format(module), "header", np.ones(3))["linkId"] = np.full(3, module, "u8")
        file.control(DEVICE, {"asic.actual": [value_of(t) for t in trains]}, "Thermometer")
    recipe = {"keep": {"rule": "train_id > 10 and cell_id == 1"}, "write": {"content": "raw", "others": True}}
    result = shotsieve.reduce(folder, recipe, tmp_path / "r", backend="cpu")
    with extra_data.RunDirectory(result.out) as run:
        assert len(run.files) == 2
        assert [len(file.control_sources) for file in run.files] == [1, 0]
        np.testing.assert_array_equal(run[DEVICE, "asic.actual"].ndarray(), [value_of(t) for t in trains])
        for module in (3, 4):
            assert run[RAW.format(module), "header.linkId"].ndarray().tolist() == [module] * 3
            assert run[RAW.format(module), "image.pulseId"].ndarray().tolist() == [1, 1]
    report = check_against(check(result.out), folder, backend="cpu")
    assert report.ok, report.summary()
