"""The overview file: EXtra-data through it sees what it sees without, wherever the folder stands."""

import os
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from shotsieve.write.exdf_file import ExdfFile
from shotsieve.write.overview import FILE_NAME, write_overview

extra_data = pytest.importorskip("extra_data")
components = pytest.importorskip("extra_data.components")
validation = pytest.importorskip("extra_data.validation")

DET = "SPB_DET_AGIPD1M-1"


def overview(run):
    """Write the overview, and move the folder: nothing in it may remember where it was made."""
    assert write_overview(run.folder / FILE_NAME, sorted(run.folder.glob("CORR-*.h5"))) == []
    return run.folder.rename(run.folder.with_name("moved"))


def both(folder):
    """The run through the overview, and without it."""
    through = extra_data.RunDirectory(folder)
    assert [os.path.basename(f.filename) for f in through.files] == [FILE_NAME]
    without = extra_data.RunDirectory(folder, _use_voview=False)
    assert len(without.files) > 1
    return through, without


def assert_same(through, without):
    assert through.train_ids == without.train_ids
    assert through.all_sources == without.all_sources
    np.testing.assert_array_equal(through.train_timestamps(), without.train_timestamps())
    assert through.run_metadata()["dataFormatVersion"] == without.run_metadata()["dataFormatVersion"]
    compared = 0
    for source in through.all_sources:
        keys = through[source].keys()
        assert keys == without[source].keys()
        for key in keys:
            one, two = through[source, key], without[source, key]
            np.testing.assert_array_equal(one.ndarray(), two.ndarray())
            np.testing.assert_array_equal(one.train_id_coordinates(), two.train_id_coordinates())
            assert one.units == two.units
            compared += 1
    return compared


@pytest.mark.parametrize("maker", ["reduce_run", "two_sequences"])
@pytest.mark.parametrize("content", ["corrected", "raw"])
def test_the_same_data(maker, content, request):
    options = {"modules": (2, 5), "shape": (6, 8), "absent": [(2, 1)], "content": content}
    run = request.getfixturevalue(maker)(**options)
    if content == "raw":
        for path in run.files:
            path.rename(path.with_name(path.name.replace("RAW", "CORR")))
    folder = overview(run)
    assert assert_same(*both(folder)) > 10


def test_the_detector_through_the_overview(reduce_run, monkeypatch, tmp_path):
    run = reduce_run(absent=[(2, 5), (None, 7)])
    folder = overview(run)
    monkeypatch.chdir(tmp_path)
    through, without = both(folder)
    for kind in ({}, {"module_gaps": True}):
        one, two = (components.AGIPD1M(r, raw=False) for r in (through, without))
        for key in ("image.data", "image.mask", "image.gain", "image.cellId"):
            np.testing.assert_array_equal(one[key].ndarray(**kind), two[key].ndarray(**kind))
    one.write_virtual_cxi(str(tmp_path / "v.cxi"))
    two.write_virtual_cxi(str(tmp_path / "w.cxi"))
    with h5py.File(tmp_path / "v.cxi") as v, h5py.File(tmp_path / "w.cxi") as w:
        for name in ("data", "mask", "gain"):
            path = f"entry_1/data_1/{name}"
            np.testing.assert_array_equal(v[path][:], w[path][:])
        assert np.isfinite(v["entry_1/data_1/data"][0, 3]).any()


def test_suspect_trains_stay_suspect(reduce_run):
    run = reduce_run(modules=(0, 1), shape=(6, 8), keep=(0, 1), status=[0] * 4 + [1] * 4 + [0] * 4)
    folder = overview(run)
    # RunDirectory does not hand inc_suspect_trains on to an overview; the file itself says it.
    opened = extra_data.H5File(folder / FILE_NAME, inc_suspect_trains=False)
    assert opened.train_ids == [10_001, 10_003]
    assert extra_data.RunDirectory(folder).train_ids == [10_001, 10_002, 10_003]


@pytest.mark.skipif(not hasattr(extra_data.DataCollection, "auxiliary"), reason="EXtra-data before 1.25")
def test_what_was_reduced_is_found_through_it(reduce_run, monkeypatch, tmp_path):
    run = reduce_run(modules=(0, 1), shape=(6, 8), params={"recipe": "[keep]\n"})
    folder = overview(run)
    monkeypatch.chdir(tmp_path)
    through, without = both(folder)
    assert through.auxiliary.reduction_sources == without.auxiliary.reduction_sources
    name = f"SHOTSIEVE/{DET}/CORR/1CH0:output"
    for opened in (through, without):
        assert opened.auxiliary[name, "image.framesKept"].ndarray().tolist() == [3, 0, 2]
        assert opened.auxiliary[name].run_values()["recipe.value"] == "[keep]\n"


@pytest.mark.parametrize("maker", ["reduce_run", "two_sequences"])
def test_checks_of_the_facility_pass(maker, request, capsys):
    pytest.importorskip("hdf5_vds_check")
    run = request.getfixturevalue(maker)(modules=(2, 5), shape=(6, 8))
    folder = overview(run)
    assert validation.main([str(folder)]) in (None, 0)
    assert validation.main([str(folder / FILE_NAME)]) in (None, 0)
    assert capsys.readouterr().out.count("No problems found") == 2
    command = [sys.executable, "-m", "hdf5_vds_check", str(folder / FILE_NAME)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
    assert ("All virtual data sources accessible" in answer.stdout) == (maker == "two_sequences")


def test_files_of_other_trains_and_control_sources(reduce_run, meta):
    """What a run holds beside the detector, over two sequences and with trains of its own."""
    run = reduce_run(modules=(2, 5), shape=(6, 8))
    for sequence, trains in enumerate(([10_000, 10_001], [10_002, 10_003])):
        path = run.folder / f"CORR-R0035-DA01-S0000{sequence}.h5"
        trains = np.array(trains, "u8")
        with ExdfFile(
            path, train_ids=trains, timestamps=trains * 10**8, meta=meta, sequence=sequence
        ) as file:
            file.control("A/B/C", {"value.x": np.arange(2.0) + sequence, "name": "word"}, class_id="K")
            image = file.instrument("A/CAM/1:output", "data", [1, sequence])
            image["pixels"] = np.arange(6 * (1 + sequence)).reshape(-1, 6)
            image["trainId"] = trains[: 1 + sequence]
    through, without = both(overview(run))
    assert assert_same(through, without) > 10
    assert through["A/B/C", "value.x"].ndarray().tolist() == [0, 1, 1, 2]
    assert through.get_run_values("A/B/C") == without.get_run_values("A/B/C")


def test_the_same_bytes(two_sequences):
    run = two_sequences(modules=(2, 5), shape=(6, 8))
    files = sorted(run.folder.glob("CORR-*.h5"))
    one, two = run.folder / "one.h5", run.folder / "two.h5"
    for path in (one, two):
        time.sleep(1.1)  # HDF5 counts seconds
        assert write_overview(path, reversed(files) if path == one else files) == []
    assert one.read_bytes() == two.read_bytes()


def test_a_stale_overview_is_passed_over(reduce_run):
    run = reduce_run(modules=(2, 5), shape=(6, 8))
    folder = overview(run)
    (folder / "CORR-R0035-AGIPD05-S00000.h5").unlink()
    opened = extra_data.RunDirectory(folder)
    assert [os.path.basename(f.filename) for f in opened.files] == ["CORR-R0035-AGIPD02-S00000.h5"]


@pytest.mark.parametrize("what", ["old format", "a train twice"])
def test_what_it_cannot_show_is_said(what, two_sequences):
    run = two_sequences(modules=(2,), shape=(6, 8))
    with h5py.File(run.files[-1], "r+") as file:
        if what == "old format":
            del file["METADATA/dataFormatVersion"]
        else:
            file["INDEX/trainId"][0] = 10_001
    path = run.folder / FILE_NAME
    [note] = write_overview(path, run.files)
    assert "no overview.h5" in note
    assert not path.exists()


@pytest.mark.skipif(not hasattr(extra_data.DataCollection, "auxiliary"), reason="EXtra-data before 1.25")
def test_several_sequences_are_best_opened_in_their_folder(two_sequences, monkeypatch, tmp_path):
    """EXtra-data takes names in virtual datasets as seen from the working directory; output.md says so."""
    folder = overview(two_sequences(modules=tuple(range(9))))

    def used():
        run = extra_data.RunDirectory(folder)
        components.AGIPD1M(run, raw=False).write_virtual_cxi(str(tmp_path / "v.cxi"))
        return run.auxiliary[f"SHOTSIEVE/{DET}/CORR/1CH0:output", "image.framesKept"].ndarray().tolist()

    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError):
        used()
    monkeypatch.chdir(folder)
    assert used() == [3, 0, 2]
