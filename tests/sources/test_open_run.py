"""What can be opened, and what the error says when it cannot."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from shotsieve.errors import BadInput, UnreadableData
from shotsieve.sources import Source, open_run

P = [0, 1, 2]


def test_a_folder_a_file_and_lists_of_files(maker, opened):
    first = maker.module(0, [(10, P)])
    second = maker.module(0, [(11, P)], sequence=1)
    for run, trains in (
        (maker.folder, [10, 11]),
        (str(maker.folder), [10, 11]),
        (first, [10]),
        ([second, str(first)], [10, 11]),
        ((second,), [11]),
    ):
        source = opened(run)
        assert source.trains.train_id.tolist() == trains
        assert isinstance(source, Source)
        assert source.name == "SPB_DET_AGIPD1M-1"


def test_recorded_names_and_absent_modules(maker, opened):
    for module in (0, 3, 15):
        maker.module(module, [(10, P)])
    source = opened()
    assert source.raw_names == {m: f"SPB_DET_AGIPD1M-1/DET/{m}CH0:xtdf" for m in (0, 3, 15)}
    assert "no file has data of modules 1-2, 4-14: absent in all shots" in source.notes


def test_no_folder_no_files_no_run(tmp_path, opened):
    with pytest.raises(BadInput, match="nowhere does not exist: give the folder of a run"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"holds no \.h5 files"):
        open_run(tmp_path)
    with pytest.raises(BadInput, match="not int"):
        open_run(3)
    with pytest.raises(BadInput, match="not list"):
        open_run([])
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(UnreadableData, match="cannot be opened as HDF5"):
        open_run(tmp_path / "note.txt")
    with pytest.raises(BadInput, match=r"is not a folder|does not exist"):
        open_run(tmp_path / "note.txt" / "x")
    with pytest.raises(UnreadableData, match="does not exist"):
        open_run([tmp_path / "RAW-R0001-AGIPD00-S00000.h5"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(maker, opened):
    path = maker.module(0, [(10, P)])
    path.chmod(0)
    with pytest.raises(UnreadableData, match="ask for permission"):
        opened()
    maker.folder.chmod(0)
    try:
        with pytest.raises(UnreadableData, match="ask for permission"):
            opened()
    finally:
        maker.folder.chmod(0o755)


def test_a_run_without_detector_data(maker):
    maker.aggregator(
        [10], {"SPB_X/Y/Z": {"a": (np.zeros(1), None)}}, {"SPB_CAM/A/B:output": {"image": {10: 1}}}
    )
    with pytest.raises(BadInput, match=r"no data of a detector that shotsieve knows.*SPB_CAM/A/B:output"):
        open_run(maker.folder)


def test_a_run_with_control_data_only(maker):
    maker.aggregator([10], {"SPB_X/Y/Z": {"a": (np.zeros(1), None)}})
    with pytest.raises(BadInput, match="no instrument sources at all"):
        open_run(maker.folder)


def test_several_detectors(maker, small):
    maker.module(0, [(10, P)])
    maker.jungfrau(1, [(10, 1)], [15])
    with pytest.raises(BadInput, match="several detectors") as e:
        open_run(maker.folder)
    assert "SPB_DET_AGIPD1M-1 (AGIPD1M), SPB_IRDA_JF4M (JUNGFRAU)" in str(e.value)
    assert "[[detector]] source" in str(e.value)
    assert open_run(maker.folder, small("JUNGFRAU")).name == "SPB_IRDA_JF4M"
    with pytest.raises(BadInput, match=r"no detector 'SPB_DET_AGIPD1M-2'. Did you mean 'SPB_DET_AGIPD1M-1'"):
        open_run(maker.folder, source="SPB_DET_AGIPD1M-2")
    with pytest.raises(BadInput, match="agipd9m"):
        open_run(maker.folder, "agipd9m")


def test_two_detectors_of_one_family(maker, small):
    maker.module(0, [(10, P)])
    maker.module(0, [(10, P)], source="MID_DET_AGIPD1M-1/DET/0CH0:xtdf", name="RAW-R0001-AGIPD20-S00000.h5")
    with pytest.raises(BadInput, match="several detectors: MID_DET_AGIPD1M-1"):
        open_run(maker.folder, small())
    assert open_run(maker.folder, small(), source="MID_DET_AGIPD1M-1").name == "MID_DET_AGIPD1M-1"


def test_the_detector_asked_for_is_not_there(maker):
    maker.module(0, [(10, P)])
    with pytest.raises(BadInput, match=r"holds no data of a JUNGFRAU.*AGIPD1M-1/DET/0CH0:xtdf"):
        open_run(maker.folder, "JUNGFRAU")


def test_words_under_the_name_of_corrected_data(maker, opened):
    maker.module(0, [(10, P)], source="SPB_DET_AGIPD1M-1/CORR/0CH0:output")
    with pytest.raises(BadInput, match=r"shape \(3, 2, 8, 4\).*corrected data of AGIPD1M has \(rows, 8, 4\)"):
        opened()


def test_a_legacy_name_in_a_corrected_file_is_not_raw_data(maker, opened):
    frames = {name: np.zeros((len(P), 8, 4), dtype) for name, dtype in (("data", "f4"), ("mask", "u4"))}
    path = maker.corrected(0, [(10, P)], frames)
    old = "SPB_DET_AGIPD1M-1/DET/0CH0:xtdf"
    with h5py.File(path, "r+") as f:
        f[f"INSTRUMENT/{old}"] = h5py.SoftLink("/INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/0CH0:output")
        f["METADATA/dataSources/dataSourceId"][1] = f"INSTRUMENT/{old}/image"
    assert opened().raw_names == {0: "SPB_DET_AGIPD1M-1/CORR/0CH0:output"}
    with pytest.raises(BadInput, match="holds corrected data of SPB_DET_AGIPD1M-1 only"):
        opened(data="raw")


def test_another_shape_than_the_detectors(maker):
    maker.module(0, [(10, P)])
    with pytest.raises(
        BadInput, match=r"shape \(3, 2, 8, 4\).*raw data of AGIPD1M has \(rows, 2, 512, 128\)"
    ):
        open_run(maker.folder)


def test_a_file_that_is_no_run_file(maker, opened):
    maker.module(0, [(10, P)])
    with h5py.File(maker.folder / "mine.h5", "w") as f:
        f["x"] = 1
    assert any("mine.h5 is no file of the European XFEL format" in n for n in opened().notes)
    (maker.folder / "mine.h5").rename(maker.folder / "RAW-R0001-AGIPD07-S00000.h5")
    with pytest.raises(UnreadableData, match=r"RAW-R0001-AGIPD07-S00000\.h5 has no METADATA"):
        opened()


@pytest.mark.parametrize("gone", ["INDEX/trainId", "METADATA/dataSources/dataSourceId"])
def test_metadata_that_is_missing(maker, opened, gone):
    """EXtra-data skips such a file with a line on stderr."""
    path = maker.module(0, [(10, P)])
    maker.module(1, [(10, P)])
    with h5py.File(path, "r+") as f:
        del f[gone]
    with pytest.raises(
        UnreadableData, match=r"METADATA or INDEX cannot be read.*it affects trains 10\."
    ) as e:
        opened()
    assert path.name in str(e.value)


def test_files_of_several_runs(maker, opened):
    maker.module(0, [(10, P)])
    maker.module(0, [(10, P)], run=2)
    with pytest.raises(BadInput, match=r"several runs \(p002012 r0001, p002012 r0002\)"):
        opened()


def test_a_virtual_overview_is_not_read(maker, opened):
    maker.module(0, [(10, P)])
    for name in ("overview.h5", "RAW-R0001-OVERVIEW.h5"):
        (maker.folder / name).write_bytes(b"")
    assert len(opened().shots) == 3


def test_several_broken_files_are_counted(maker, opened):
    for m in range(3):
        path = maker.module(m, [(10, P)])
        if m:
            os.truncate(path, 100)
    with pytest.raises(UnreadableData, match="1 more files cannot be read either"):
        opened()


def test_what_is_in_the_index_is_believed_wherever_the_files_lie(maker, opened, tmp_path):
    """Names that say nothing still open."""
    path = maker.module(0, [(10, P)])
    other = path.rename(tmp_path / "data.h5")
    assert len(opened(other).shots) == 3
    assert Path(other).exists()
