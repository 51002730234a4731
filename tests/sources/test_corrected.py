"""Runs of corrected files: what is taken for one, what is read of it, and what is refused."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from shotsieve.errors import BadInput, UnreadableData
from shotsieve.sources import open_run
from shotsieve.sources.corrected import planes_in

DET = "SPB_DET_AGIPD1M-1"
RAW, CORR = f"{DET}/DET/0CH0:xtdf", f"{DET}/CORR/0CH0:output"
TRAINS = [(10, [0, 4, 8]), (11, []), (12, [0, 4])]
JF = "SPB_IRDA_JF4M"


@pytest.fixture
def planes(rng):
    """Frames of a module of 8 x 4 pixels, 5 of them."""
    return {
        "data": rng.normal(size=(5, 8, 4)).astype("f4"),
        "mask": rng.integers(0, 2**32, (5, 8, 4), "u4"),
        "gain": rng.integers(0, 3, (5, 8, 4), "u1"),
    }


@pytest.mark.parametrize("packed", [True, False], ids=["gzip", "plain"])
def test_every_bit_is_read(maker, opened, read_all, planes, packed):
    planes["data"][0, 0, :2] = np.array([0x7FA00001, 0xFFC01234], "u4").view("f4")
    maker.corrected(0, TRAINS, planes, packed=packed, units="keV")
    others = {name: values[1:4] for name, values in planes.items()}
    maker.corrected(2, TRAINS[:1], others, units="keV")
    source = opened()
    assert (source.corrected.unit, source.corrected.dtype) == ("keV", "<f4")
    assert source.detector.is_corrected
    assert source.shots.present[:, [0, 2]].tolist() == [[True, True]] * 3 + [[True, False]] * 2
    found = planes_in(read_all(source))
    for name, values in planes.items():
        assert found[name][:, 0].tobytes() == values.tobytes(), name
        assert found[name][:3, 2].tobytes() == others[name].tobytes(), name
    assert source.bytes_read == 8 * 9 * 32
    # Cut as small as can be, it is the same.
    assert planes_in(read_all(source, max_bytes=1))["data"].tobytes() == found["data"].tobytes()


def test_two_sequences_and_a_selection(maker, opened, planes):
    maker.corrected(0, TRAINS, planes)
    maker.corrected(0, [(13, [0])], {name: values[:1] for name, values in planes.items()}, sequence=1)
    source = opened().selected(np.array([False, True, False, False, True, True]))
    out = np.zeros((3, 16, 5, 8, 4), "u2")
    source.read(0, 3, out)
    assert (planes_in(out)["data"][:, 0] == planes["data"][[1, 4, 0]]).all()


@pytest.mark.parametrize("dtype", ["i2", "u1", "u2", "i4", "u4", "f2", ">f4", ">i2"])
def test_other_numbers_come_as_float32(maker, opened, read_all, planes, rng, dtype):
    planes["data"] = rng.integers(0, 100, (5, 8, 4)).astype(dtype)
    maker.corrected(0, TRAINS, planes)
    source = opened()
    assert source.corrected.dtype == np.dtype(dtype).newbyteorder("<").str
    assert (planes_in(read_all(source))["data"][:, 0] == planes["data"]).all()


def test_whole_numbers_that_float32_cannot_hold(maker, opened, read_all, planes):
    planes["data"] = np.zeros((5, 8, 4), "i4")
    planes["data"][3, 1, 1] = -(2**24 + 1)
    maker.corrected(0, TRAINS, planes)
    with pytest.raises(BadInput, match=r"values of int32 reach 16777216.*cannot tell"):
        read_all(opened())


@pytest.mark.parametrize("plane", ["mask", "gain"])
def test_a_plane_that_is_not_there_is_0_and_said(maker, opened, read_all, planes, plane):
    maker.corrected(0, TRAINS, planes)
    del planes[plane]
    maker.corrected(1, TRAINS, planes)
    source = opened()
    said = [note for note in source.notes if f"1 files have no {plane} (first: CORR-R0001-AGIPD01" in note]
    assert len(said) == 1
    found = planes_in(read_all(source))
    assert not found[plane][:, 1].any()
    assert found[plane][:, 0].any()
    assert (found["data"][:, 1] == planes["data"]).all()


def test_a_mask_for_each_gain_stage(maker, opened, planes):
    planes["mask"] = np.zeros((5, 8, 4, 3), "u1")
    maker.corrected(0, TRAINS, planes, packed=False)
    with pytest.raises(
        BadInput, match=r"image/mask has shape \(5, 8, 4, 3\).*before 2019.*reduce the raw run"
    ):
        opened()


@pytest.mark.parametrize(
    ("plane", "values", "text"),
    [
        ("data", np.zeros((5, 8, 4)), "values of float64"),
        ("data", np.zeros((5, 8, 4), "i8"), "values of int64"),
        (
            "data",
            np.zeros((5, 4, 8), "f4"),
            r"shape \(5, 4, 8\).*corrected data of AGIPD1M has \(rows, 8, 4\)",
        ),
        ("data", np.zeros((5, 2, 8, 4), "f4"), "corrected data of AGIPD1M has"),
        ("mask", np.zeros((5, 4, 8), "u4"), r"image/mask has shape \(5, 4, 8\).*expected \(5, 8, 4\)"),
        ("mask", np.zeros((5, 8, 4), "u8"), "and uint32"),
        ("mask", np.zeros((5, 8, 4), "f4"), "and uint32"),
        ("gain", np.zeros((5, 8, 4), "u2"), "and uint8"),
    ],
)
def test_what_is_no_corrected_data(maker, opened, planes, plane, values, text):
    maker.corrected(0, TRAINS, planes | {plane: values})
    with pytest.raises(BadInput, match=text):
        opened()


@pytest.mark.parametrize("plane", ["data", "mask", "gain"])
def test_a_plane_that_is_shorter_than_another_is_damage(maker, opened, planes, plane):
    maker.corrected(0, TRAINS, planes)
    path = maker.corrected(1, TRAINS, planes | {plane: planes[plane][:-1]})
    with pytest.raises(UnreadableData, match=r"AGIPD01.*has 4 rows.*damaged.*trains 10|has 5 rows, but data"):
        opened()
    source = opened(tolerant=True)
    assert not source.shots.present[:, 1].any()
    assert source.shots.present[:, 0].all()
    assert any(n.startswith(path.name) and "module 1 left out of it" in n for n in source.notes)


def test_files_that_disagree(maker, opened, planes):
    maker.corrected(0, TRAINS, planes, units="keV")
    maker.corrected(1, TRAINS, planes, units="photon")
    with pytest.raises(BadInput, match=r"unit of the corrected values is keV in .*AGIPD00.* and photon in"):
        opened()
    planes["data"] = planes["data"].astype("i2")
    maker.corrected(1, TRAINS, planes, units="keV")
    with pytest.raises(BadInput, match="dtype of the corrected values is <f4 in"):
        opened()


def test_a_unit_that_is_none(maker, opened, planes):
    maker.corrected(0, TRAINS, planes, units="furlong")
    source = opened()
    assert source.corrected.unit is None
    assert any("'furlong': not one that is known" in note for note in source.notes)


def test_a_frame_that_was_never_written(maker, opened, read_all, planes):
    path = maker.corrected(0, TRAINS, planes)
    with h5py.File(path, "r+") as f:
        g = f[f"INSTRUMENT/{CORR}/image"]
        del g["mask"]
        g.create_dataset("mask", shape=(5, 8, 4), dtype="u4", chunks=(1, 8, 4), compression="gzip")
    with pytest.raises(
        UnreadableData, match=r"image/mask: 5 of 5 frames were never written.*affects trains 10, 12"
    ):
        read_all(opened())


# ---------------------------------------------------------------------- which of both


def test_raw_and_corrected_in_one_folder(maker, opened, planes):
    maker.module(0, TRAINS)
    maker.corrected(0, TRAINS, planes)
    source = opened()
    assert not source.detector.is_corrected
    assert [
        note for note in source.notes if "holds raw and corrected data" in note and "raw is taken" in note
    ]
    assert opened(data="raw").raw_names == {0: RAW}
    corrected = opened(data="corrected")
    assert corrected.detector.is_corrected
    assert corrected.raw_names == {0: CORR}
    assert corrected.others == []


@pytest.mark.parametrize(("has", "asked"), [("raw", "corrected"), ("corrected", "raw")])
def test_the_other_kind_is_asked_for(maker, opened, planes, has, asked):
    maker.module(0, TRAINS) if has == "raw" else maker.corrected(0, TRAINS, planes)
    with pytest.raises(BadInput, match=f"holds {has} data of {DET} only .*{asked} data is asked for"):
        opened(data=asked)
    with pytest.raises(BadInput, match="data = 'corected' is not one of raw, corrected"):
        opened(data="corected")


def test_corrected_files_under_the_name_of_raw_ones(maker, opened, read_all, planes):
    maker.corrected(0, TRAINS, planes, source=RAW, name="CORR-R0001-AGIPD00-S00000.h5")
    source = opened()
    assert source.detector.is_corrected
    assert source.raw_names == {0: RAW}
    assert (planes_in(read_all(source))["mask"][:, 0] == planes["mask"]).all()
    planes["data"] = planes["data"].astype("u2")
    maker.corrected(0, TRAINS, planes, source=RAW, name="CORR-R0001-AGIPD00-S00000.h5")
    assert opened().detector.is_corrected


@pytest.mark.parametrize(
    ("name", "text"), [("CORR", "corrected data of AGIPD1M has"), ("RAW", "is corrected")]
)
def test_raw_and_corrected_modules_under_one_kind_of_name(maker, opened, planes, name, text):
    maker.module(0, TRAINS)
    name = f"{name}-R0001-AGIPD01-S00000.h5"
    maker.corrected(1, TRAINS, planes, source=f"{DET}/DET/1CH0:xtdf", name=name)
    with pytest.raises(BadInput, match=f"{text}.*[Gg]ive files of one kind"):
        opened()


# ---------------------------------------------------------------------- whole trains


def write_jungfrau(maker, adc, cells, planes=("mask", "gain"), source=f"{JF}/CORR/JNGFR01:daqOutput"):
    path = maker.folder / "CORR-R0001-JNGFR01-S00000.h5"
    with h5py.File(path, "w") as f:
        maker.head(f, [10, 11], [f"INSTRUMENT/{source}/data"])
        f[f"INDEX/{source}/data/first"], f[f"INDEX/{source}/data/count"] = np.array([0, 1]), np.array([1, 1])
        g = f.create_group(f"INSTRUMENT/{source}/data")
        g["adc"], g["memoryCell"] = adc, cells
        for name, dtype in (("mask", "u4"), ("gain", "u1")):
            if name in planes:
                g[name] = np.arange(adc.size).reshape(adc.shape).astype(dtype)
    return path


@pytest.mark.parametrize("source", [f"{JF}/CORR/JNGFR01:daqOutput", f"{JF}/DET/JNGFR01:daqOutput"])
@pytest.mark.parametrize("cells", [2, 1, 0], ids=["16 cells", "one cell", "no axis of cells"])
def test_trains_with_and_without_an_axis_of_cells(maker, opened, read_all, rng, cells, source):
    shape = (2, cells, 8, 4) if cells else (2, 8, 4)
    adc = rng.normal(size=shape).astype("f4")
    labels = np.tile(np.array([15, 0][:cells], "u1"), (2, 1)) if cells else np.full(2, 15, "u1")
    write_jungfrau(maker, adc, labels, source=source)
    opened_run = opened(name="JUNGFRAU")
    assert opened_run.detector.is_corrected
    assert opened_run.shots.cell_id.tolist() == labels.ravel().tolist()
    found = planes_in(read_all(opened_run))
    assert (found["data"].reshape(-1) == adc.reshape(-1)).all()
    assert (found["mask"].reshape(-1) == np.arange(adc.size)).all()
    assert (found["gain"].reshape(-1) == np.arange(adc.size).astype("u1")).all()


def test_places_without_a_frame(maker, opened):
    write_jungfrau(maker, np.zeros((2, 2, 8, 4), "f4"), np.array([[15, 0], [15, 255]], "u1"))
    with pytest.raises(BadInput, match=r"drop_cells.*reduce the run that it is of"):
        opened(name="JUNGFRAU")


# ---------------------------------------------------------------------- every family


@pytest.mark.parametrize(
    ("family", "source"),
    [
        ("AGIPD500K", "HED_DET_AGIPD500K2G/CORR/0CH0:output"),
        ("LPD1M", "FXE_DET_LPD1M-1/CORR/0CH0:output"),
        ("DSSC1M", "SCS_DET_DSSC1M-1/CORR/0CH0:output"),
    ],
)
def test_families_with_a_row_for_each_frame(maker, opened, read_all, planes, family, source):
    maker.corrected(0, TRAINS, planes, source=source)
    run = opened(name=family)
    assert run.detector.is_corrected
    assert run.detector.name == family
    found = planes_in(read_all(run))
    assert all(found[name][:, 0].tobytes() == planes[name].tobytes() for name in planes)


def test_a_detector_of_one_dimension(maker, read_all, small, rng):
    source = "SQS_EXP_GH2-2/CORR/RECEIVER:daqOutput"
    adc = rng.normal(size=(2, 3, 16)).astype("f4")
    with h5py.File(maker.folder / "CORR-R0001-GH200-S00000.h5", "w") as f:
        maker.head(f, [10, 11], [f"INSTRUMENT/{source}/data"])
        f[f"INDEX/{source}/data/first"], f[f"INDEX/{source}/data/count"] = np.array([0, 1]), np.array([1, 1])
        g = f.create_group(f"INSTRUMENT/{source}/data")
        g["adc"], g["mask"], g["gain"] = adc, adc.astype("u4"), np.ones(adc.shape, "u1")
    run = open_run(maker.folder, small("GOTTHARD2", shape=(1, 16)))
    assert run.detector.is_corrected
    found = planes_in(read_all(run), dimensions=1)
    assert (found["data"].reshape(adc.shape) == adc).all()
    assert (found["mask"].reshape(adc.shape) == adc.astype("u4")).all()
    assert (found["gain"] == 1).all()


def test_words_of_one_plane_are_no_photons(maker, small):
    """Whole numbers in frames without planes are the raw words of some detectors."""
    source = "MID_EXP_EPIX-1/DET/RECEIVER:daqOutput"
    with h5py.File(maker.folder / "RAW-R0001-DA01-S00000.h5", "w") as f:
        maker.head(f, [10, 11], [f"INSTRUMENT/{source}/data"])
        f[f"INDEX/{source}/data/first"], f[f"INDEX/{source}/data/count"] = np.array([0, 1]), np.array([1, 1])
        f[f"INSTRUMENT/{source}/data/image/pixels"] = np.zeros((2, 8, 4), "u2")
    assert not open_run(maker.folder, small("EPIX100")).detector.is_corrected
