"""The files of a reduced run, read back with h5py alone."""

import hashlib

import h5py
import numpy as np
import pytest
from shotsieve.errors import BadInput, OutputError
from shotsieve.write.exdf import ReducedRunWriter

SMALL = {"shape": (6, 8), "modules": (0, 1, 2)}


def image(path, group="image"):
    with h5py.File(path) as f:
        source = next(s for s in f["METADATA/dataSources/dataSourceId"].asstr() if s.endswith("/" + group))
        index = {key: f["INDEX" + source[10:]][key][:] for key in ("first", "count")}
        return {**{key: d[()] for key, d in f[source].items()}, **index}, dict(f[source + "/data"].attrs)


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_corrected_frames_come_back(reduce_run, compression, blocks):
    run = reduce_run(compression=compression, blocks=blocks, **SMALL)
    assert [p.name for p in run.files] == [f"CORR-R0035-AGIPD{m:02d}-S00000.h5" for m in range(3)]
    shots = run.source.shots
    for m, path in enumerate(run.files):
        got, attributes = image(path)
        for name, array in run.frames.items():
            np.testing.assert_array_equal(got[name], array[:, m])
            assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got["trainId"], shots.train_id[run.kept])
        np.testing.assert_array_equal(got["pulseId"], shots.pulse_id[run.kept])
        np.testing.assert_array_equal(got["cellId"], shots.cell_id[run.kept])
        assert got["count"].tolist() == [3, 0, 2]
        assert got["first"].tolist() == [0, 3, 3]
        assert attributes["units"] == "keV"


def test_storage_is_one_chunk_per_frame_with_plain_filters(reduce_run):
    run = reduce_run(**SMALL)
    with h5py.File(run.files[0]) as f:
        group = f["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/0CH0:output/image"]
        assert {
            name: (d.dtype, d.chunks, d.compression, d.shuffle) for name, d in group.items() if d.ndim == 3
        } == {
            "data": ("<f4", (1, 6, 8), None, False),
            "gain": ("u1", (1, 6, 8), "gzip", True),
            "mask": ("<u4", (1, 6, 8), "gzip", True),
        }
        assert [group[key].dtype for key in ("trainId", "pulseId", "cellId")] == ["u8", "u8", "u2"]
        assert group["pulseId"].chunks is None


def test_raw_words_come_back_under_the_raw_name(reduce_run):
    run = reduce_run(content="raw", **SMALL)
    assert run.files[1].name == "RAW-R0035-AGIPD01-S00000.h5"
    got, attributes = image(run.files[1])
    np.testing.assert_array_equal(got["data"], run.frames["raw"][:, 1])
    assert got["data"].dtype == "u2"
    assert got["data"].shape == (5, 2, 6, 8)
    assert got["pulseId"].shape == (5,)
    assert attributes["units"] == "ADU"
    with h5py.File(run.files[1]) as f:
        assert "INSTRUMENT/SPB_DET_AGIPD1M-1/DET/1CH0:xtdf/image" in f


def test_lit_pixels_of_every_shot_stand_beside_the_kept_images(reduce_run):
    run = reduce_run(absent=[(1, 2)], **SMALL)
    for m, path in enumerate(run.files):
        with h5py.File(path) as f:
            group = f[f"INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/{m}CH0:output/litpx"]
            here = run.source.shots.present[:, m]
            np.testing.assert_array_equal(group["trainId"], run.table.train_id)
            np.testing.assert_array_equal(group["pulseId"], run.table.pulse_id)
            np.testing.assert_array_equal(group["cellId"], run.table.cell_id)
            for name, column in (("litPixels", "lit_pixels"), ("unmaskedPixels", "unmasked_pixels")):
                np.testing.assert_array_equal(group[name], run.table.measures[column][:, m] * here)
            intensity = np.trunc(run.table.measures["intensity"][:, m]) * here
            np.testing.assert_array_equal(group["totalIntensity"], intensity.astype("i8"))
            assert group["totalIntensity"].dtype.kind == "i"
            np.testing.assert_array_equal(group["status"], ~here)
            count = f[f"INDEX/SPB_DET_AGIPD1M-1/CORR/{m}CH0:output/litpx/count"][:]
            assert count.tolist() == [4, 4, 4]


def test_unknown_measures_are_marked_and_never_counted(reduce_run, make_source, make_table, tmp_path):
    # Train 0: duplicate key, one of the two measured; train 1 suspect; train 2: no constants in module 1.
    status = np.zeros(12, "u1")
    status[[4, 5, 6, 7]] = 1
    status[1] = 2
    source = make_source(status=status, **SMALL)
    source.shots.pulse_id[1] = source.shots.pulse_id[0]
    table = make_table(source)
    table.set_module_status(status != 0, np.full((5, 3), 4))
    table.module_status[8:, 1] = 2
    table.set_fate(status == 1, "suspect")
    table.set_fate(status == 2, "duplicate")
    with ReducedRunWriter(tmp_path, source, "corrected", "keV", {}) as writer:
        files = writer.finish(table)
    with h5py.File(files[1]) as f:
        group = f["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/1CH0:output/litpx"]
        assert group["pulseId"][:].tolist() == [0, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12]
        assert group["status"][:].tolist() == [0] * 3 + [4] * 4 + [2] * 4
        assert not group["unmaskedPixels"][3:].any()
        assert not group["litPixels"][3:].any()
        assert group["unmaskedPixels"][0] == table.measures["unmasked_pixels"][0, 1]
        assert f["INDEX/flag"][:].tolist() == [1, 0, 1]
        assert "no constants" in group["status"].attrs["meaning"]


def test_no_lit_pixels_without_measures(reduce_run):
    run = reduce_run(table=False, **SMALL)
    with h5py.File(run.files[0]) as f:
        assert list(f["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/0CH0:output"]) == ["image"]


def test_provenance_says_what_was_dropped_and_how(reduce_run):
    params = {"recipe": "[keep]\n", "measure.lit.threshold": 0.7, "input_files": ["a.h5", "b.h5"]}
    run = reduce_run(params=params, absent=[(2, 1)], keep=(0, 2, 3, 8, 10), **SMALL)
    with h5py.File(run.files[0]) as f:
        name = "SHOTSIEVE/SPB_DET_AGIPD1M-1/CORR/0CH0:output"
        assert f["METADATA/auxiliarySources/REDUCTION"].asstr()[:].tolist() == [
            f"REDUCTION/{name}/image",
            f"REDUCTION/{name}/checksum",
        ]
        group = f[f"REDUCTION/{name}/image"]
        assert group["framesBefore"][:].tolist() == [4, 4, 4]
        assert group["framesKept"][:].tolist() == [3, 0, 2]
        pattern = group["framePattern"][:]
        assert pattern.shape == (3, 352)
        assert [np.flatnonzero(row).tolist() for row in pattern] == [[1, 5, 7], [], [1, 5]]
        assert f[f"RUN/{name}/measure/lit/threshold/value"][0] == 0.7
        assert f[f"RUN/{name}/input_files/value"].asstr()[0].tolist() == ["a.h5", "b.h5"]
        assert f[f"RUN/{name}/version/value"].asstr()[0] == f.attrs["version"]
        assert (f.attrs["recipe"], f.attrs["unit"], f.attrs["content"]) == ("[keep]\n", "keV", "corrected")
        assert f.attrs["writer"].startswith("shotsieve ")
    with h5py.File(run.files[1]) as f:
        assert f[f"REDUCTION/{name.replace('0CH', '1CH')}/image/framesBefore"][:].tolist() == [4, 4, 0]


def test_modules_without_data_get_no_file_or_no_rows(reduce_run):
    run = reduce_run(absent=[(0, 1), (None, 2)], **SMALL)
    assert len(run.files) == 2
    assert image(run.files[1])[0]["count"].tolist() == [0, 0, 2]
    np.testing.assert_array_equal(image(run.files[1])[0]["data"], run.frames["data"][3:, 1])
    with h5py.File(run.files[1]) as f:
        assert f["INDEX/trainId"][:].tolist() == run.source.trains.train_id.tolist()


@pytest.mark.parametrize("blocks", [1, 3])
def test_bytes_depend_on_the_input_only(reduce_run, blocks, monkeypatch):
    first = reduce_run(folder="a", **SMALL)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})
    second = reduce_run(folder="b", blocks=blocks, **SMALL)
    for a, b in zip(first.files, second.files, strict=True):
        assert hashlib.sha256(a.read_bytes()).digest() == hashlib.sha256(b.read_bytes()).digest()


def test_dates_are_the_inputs(reduce_run):
    with h5py.File(reduce_run(**SMALL).files[0]) as f:
        assert f["METADATA/creationDate"].asstr()[0] == "20260102T030405Z"
        assert f["METADATA/updateDate"].asstr()[0] == "20260102T040506Z"


def test_nothing_kept_is_a_run_of_empty_trains(reduce_run):
    run = reduce_run(keep=(), **SMALL)
    got, _ = image(run.files[0])
    assert got["data"].shape == (0, 6, 8)
    assert got["count"].tolist() == [0, 0, 0]


def test_trains_layout_keeps_whole_trains(reduce_run):
    run = reduce_run(keep=(0, 1, 4, 5), per_train=(2, 2, 2), name="JUNGFRAU", shape=(6, 8))
    assert [p.name for p in run.files] == ["CORR-R0035-JNGFR01-S00000.h5", "CORR-R0035-JNGFR02-S00000.h5"]
    with h5py.File(run.files[1]) as f:
        source = "SPB_IRDA_JF4M/CORR/JNGFR02:daqOutput"
        group = f[f"INSTRUMENT/{source}/data"]
        assert group["adc"].shape == (2, 2, 6, 8)
        assert group["adc"].chunks == (1, 2, 6, 8)
        np.testing.assert_array_equal(group["adc"][:].reshape(4, 6, 8), run.frames["data"][:, 1])
        np.testing.assert_array_equal(group["gain"][:].reshape(4, 6, 8), run.frames["gain"][:, 1])
        np.testing.assert_array_equal(group["mask"][:].reshape(4, 6, 8), run.frames["mask"][:, 1])
        assert group["memoryCell"][:].tolist() == [[1, 3], [1, 3]]
        assert f[f"INDEX/{source}/data/count"][:].tolist() == [1, 0, 1]
        assert group["trainId"][:].tolist() == [10_001, 10_003]
        lit = f[f"INSTRUMENT/{source}/litpx"]
        assert lit["litPixels"].shape == (3, 2)
        np.testing.assert_array_equal(lit["litPixels"][:].ravel(), run.table.measures["lit_pixels"][:, 1])


def test_raw_planes_of_the_trains_layout_become_datasets(reduce_run):
    run = reduce_run(keep=(2, 3), per_train=(2, 2, 2), name="JUNGFRAU", shape=(6, 8), content="raw")
    with h5py.File(run.files[0]) as f:
        group = f["INSTRUMENT/SPB_IRDA_JF4M/DET/JNGFR01:daqOutput/data"]
        np.testing.assert_array_equal(group["adc"][0], run.frames["raw"][:, 0, 0])
        np.testing.assert_array_equal(group["gain"][0], run.frames["raw"][:, 0, 1])
        assert (group["adc"].dtype, group["gain"].dtype) == ("u2", "u1")


def test_wrong_calls_are_refused(make_source, frames_of, make_table, tmp_path):
    source = make_source(**SMALL)
    for options, text in (
        (("both", "keV", {}), "content is 'both'"),
        (("raw", "eV", {}), "unit is 'eV'"),
        (("raw", "keV", {}, "zstd"), "compression is 'zstd'"),
    ):
        with pytest.raises(BadInput, match=text):
            ReducedRunWriter(tmp_path, source, *options)
    present = source.shots.present
    with ReducedRunWriter(tmp_path, source, "corrected", "keV", {}) as writer:
        two = np.arange(2)
        frames = frames_of(source, two)
        writer.append(two, present[:2], frames)
        with pytest.raises(BadInput, match="ascending"):
            writer.append(two, present[:2], frames)
        with pytest.raises(BadInput, match="data, gain, mask"):
            writer.append(two + 2, present[:2], {"raw": frames["data"]})
        with pytest.raises(BadInput, match=r"data has shape \(1, 3, 6, 8\)"):
            writer.append(two + 2, present[:2], {k: v[:1] for k, v in frames.items()})
        odd = present[:2].copy()
        odd[:, 1] = False
        with pytest.raises(BadInput, match="train 10001: a module has frames for some"):
            writer.append(two + 2, odd, frames)
        source.shots.present[2:4, 1] = False
        with pytest.raises(BadInput, match="a module that did not record the shot"):
            writer.append(two + 2, np.ones((2, 3), bool), frames)
        with pytest.raises(BadInput, match="the table has 8 rows"):
            writer.finish(make_table(make_source(per_train=(4, 4), **SMALL)))
    other = make_source(per_train=(2, 2), name="JUNGFRAU", shape=(6, 8))
    (tmp_path / "jf").mkdir()
    with ReducedRunWriter(tmp_path / "jf", other, "corrected", "keV", {}) as writer:
        with pytest.raises(BadInput, match="train 10001 comes with 1 of 2 shots"):
            writer.append([0], other.shots.present[:1], frames_of(other, [0]))
    with pytest.raises(BadInput, match="no module has a single frame"):
        ReducedRunWriter(tmp_path, make_source(absent=[(None, slice(None))], **SMALL), "raw", "ADU", {})


def test_a_file_that_exists_is_never_written_over(reduce_run, tmp_path, make_source):
    run = reduce_run(**SMALL)
    before = run.files[0].read_bytes()
    with pytest.raises(OutputError, match="cannot be created"):
        ReducedRunWriter(run.folder, run.source, "corrected", "keV", {})
    assert run.files[0].read_bytes() == before


def test_raw_frames_keep_the_name_they_were_recorded_under(tmp_path, make_source):
    source = make_source(shape=(8, 4), modules=(0, 3))
    source.raw_names = {3: "SPB_DET_AGIPD1M-1/DET/3CH0:other"}
    for content, names in (
        ("raw", ["SPB_DET_AGIPD1M-1/DET/0CH0:xtdf", "SPB_DET_AGIPD1M-1/DET/3CH0:other"]),
        ("corrected", ["SPB_DET_AGIPD1M-1/CORR/0CH0:output", "SPB_DET_AGIPD1M-1/CORR/3CH0:output"]),
    ):
        with ReducedRunWriter(tmp_path, source, content, "ADU", {}) as writer:
            assert [writer.source_name(m) for m in source.modules] == names
            files = writer.finish()
        for path, name in zip(files, names, strict=True):
            with h5py.File(path) as file:
                assert name in file["INSTRUMENT"]
                assert f"{name}/image".encode() in file["METADATA/dataSources/deviceId"][()]
