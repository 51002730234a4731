"""EXtra-data as oracle: the same rows, labels and words; and its objects as input."""

import os

import h5py
import numpy as np
import pytest
from shotsieve.errors import UnreadableData
from shotsieve.sources import open_run
from shotsieve.sources.extents import map_frames, read_frames

extra_data = pytest.importorskip("extra_data")
components = pytest.importorskip("extra_data.components")

P = [0, 4, 8, 12]
SHAPE = (512, 128)


def directory(path, **options):
    return extra_data.RunDirectory(str(path), parallelize=False, **options)


@pytest.fixture
def run(new_maker):
    """Three modules, two sequence files, an empty train, a module that missed a train."""
    m = new_maker("r0001", SHAPE)
    for module in (0, 2, 15):
        m.module(module, [(10, P), (11, [])], layout="several" if module else "frame")
        m.module(module, [(12, [] if module == 2 else P[1:])], sequence=1)
    m.aggregator(
        [10, 11, 12], {"SPB_IRU_AGIPD1M1/MDL/FPGA_COMP": {"gainModeIndex": (np.zeros(3, "i4"), None)}}
    )
    return m.folder


def check(source, data, read_all):
    """Rows, labels and words equal those of the detector component `data`."""
    raw = data.get_array("image.data", unstack_pulses=False)
    assert (
        source.shots.train_id[source.readable].tolist()
        == raw.indexes["train_pulse"].get_level_values(0).tolist()
    )
    assert (
        source.shots.pulse_id[source.readable].tolist()
        == raw.indexes["train_pulse"].get_level_values(1).tolist()
    )
    cells = data.get_array("image.cellId", unstack_pulses=False)
    out = read_all(source)
    for module in raw.module.values:
        at = source.modules.index(module)
        own = source.shots.present[source.readable, at]
        assert (out[own, at] == raw.sel(module=module).values[own]).all()
        assert (source.shots.cell_id[source.readable][own] == cells.sel(module=module).values[own]).all()
        assert (
            data.data[f"SPB_DET_AGIPD1M-1/DET/{module}CH0:xtdf", "image.data"].data_counts().sum()
        ) == own.sum()


def test_rows_labels_and_words(run, read_all):
    source = open_run(run)
    assert source.mode.gain_mode == "adaptive"
    check(source, components.AGIPD1M(directory(run), raw=True), read_all)
    assert source.missing_shots == 4


def test_rows_of_jungfrau(new_maker, read_all):
    m = new_maker("r0002", (512, 1024))
    for module in (1, 2):
        m.jungfrau(module, [(10, 1), (11, 0), (12, 1)], [15, 0, 1])
    source = open_run(m.folder)
    data = components.JUNGFRAU(directory(m.folder), raw=True)
    adc, gain, cell = (data.get_array(f"data.{k}") for k in ("adc", "gain", "memoryCell"))
    assert source.modules == tuple(int(i) for i in adc.module.values)
    assert np.unique(source.shots.train_id).tolist() == adc.train.values.tolist()
    out = read_all(source)
    assert (out[:, :, 0] == adc.values.transpose(1, 2, 0, 3, 4).reshape(6, 2, 512, 1024)).all()
    assert (out[:, :, 1] == gain.values.transpose(1, 2, 0, 3, 4).reshape(6, 2, 512, 1024)).all()
    assert (source.shots.cell_id == cell.values[0].reshape(-1)).all()


def test_a_collection_is_the_run(run):
    whole = open_run(run)
    source = open_run(directory(run))
    assert (source.shots.train_id == whole.shots.train_id).all()
    assert source.missing_shots == whole.missing_shots
    assert not [n for n in source.notes if "selected" in n]


def test_selected_trains_are_respected(run, read_all):
    chosen = directory(run).select_trains(extra_data.by_id[[12]])
    source = open_run(chosen)
    assert source.trains.train_id.tolist() == [12]
    assert source.shots.pulse_id.tolist() == P[1:]
    assert any("1 trains were selected" in n for n in source.notes)
    check(source, components.AGIPD1M(chosen, raw=True), read_all)


def test_a_component_with_its_modules_and_trains(run, read_all):
    component = components.AGIPD1M(directory(run), raw=True, modules=[2, 15])
    source = open_run(component)
    assert source.name == "SPB_DET_AGIPD1M-1"
    assert np.flatnonzero(source.shots.present.any(0)).tolist() == [2, 15]
    assert "module 0 of the run not selected by the caller: absent in all shots" in source.notes
    assert "no file has data of modules 1, 3-14: absent in all shots" in source.notes
    # The control data is not part of the component, but of the run.
    assert source.mode.gain_mode == "adaptive"
    check(source, component, read_all)
    one = component.select_trains(extra_data.by_id[[10]])
    assert open_run(one).trains.train_id.tolist() == [10]


def test_a_collection_without_suspect_trains_does_not_hide_them(new_maker):
    m = new_maker("r0003", SHAPE)
    m.module(0, [(10, P[:1]), (99, P[:1])], flags=[1, 0])
    run = directory(m.folder, inc_suspect_trains=False)
    assert 99 not in run.train_ids
    source = open_run(run)
    assert source.shots.train_id.tolist() == [10, 99]
    assert source.shots.status.tolist() == [0, 1]


def test_a_file_that_extra_data_skips_is_not_skipped(new_maker, capfd):
    m = new_maker("r0004", SHAPE)
    m.module(0, [(10, P[:1])])
    path = m.module(1, [(10, P[:1])])
    os.truncate(path, path.stat().st_size - 10)
    run = directory(m.folder)
    assert len(run.files) == 1
    with pytest.raises(UnreadableData, match=r"AGIPD01.*it affects trains 10"):
        open_run(run)
    # The way out: say which files to use.
    assert len(open_run([f.filename for f in run.files]).shots) == 1


def test_a_component_of_corrected_data(new_maker):
    m = new_maker("r0005", SHAPE)
    m.module(
        0,
        [(10, P[:1])],
        source="SPB_DET_AGIPD1M-1/CORR/0CH0:output",
        dtype="f4",
        name="CORR-R0001-AGIPD00-S00000.h5",
    )
    path = m.folder / "CORR-R0001-AGIPD00-S00000.h5"
    with h5py.File(path, "r+") as f:
        g = f["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/0CH0:output/image"]
        one = g["data"][:, 0]
        del g["data"]
        g["data"] = one
    source = open_run(components.AGIPD1M(directory(m.folder), raw=False))
    assert source.detector.is_corrected
    assert source.shots.pulse_id.tolist() == P[:1]


def test_raw_and_corrected_together(new_maker, tmp_path):
    raw = new_maker("raw", SHAPE)
    raw.module(0, [(10, P[:2])])
    both = new_maker("proc", SHAPE)
    both.module(
        0, [(10, P[:2])], source="SPB_DET_AGIPD1M-1/CORR/0CH0:output", name="CORR-R0001-AGIPD00-S00000.h5"
    )
    run = directory(raw.folder).union(directory(both.folder))
    source = open_run(run)
    assert source.shots.pulse_id.tolist() == P[:2]


def test_a_virtual_overview_leads_to_the_files(run):
    whole = open_run(run)
    view = extra_data.voview.VirtualOverviewFileWriter(str(run / "overview.h5"), directory(run))
    view.write()
    opened = extra_data.RunDirectory(str(run))
    if len(opened.files) != 1:
        pytest.skip("EXtra-data did not take its overview file")
    source = open_run(opened)
    assert (source.shots.pulse_id == whole.shots.pulse_id).all()
    assert not [n for n in source.notes if "h5py" in n]


def test_its_virtual_file_shows_whole_rows(run, tmp_path):
    """A file of virtual datasets over a run is read through the files that it shows, not through HDF5."""
    data = directory(run)
    data.write_virtual(tmp_path / "virtual.h5")
    name = "INSTRUMENT/SPB_DET_AGIPD1M-1/DET/0CH0:xtdf/image/data"
    where = map_frames(tmp_path / "virtual.h5", name, 1)
    assert where.why_h5py == ""
    assert len(where.pieces) == 2
    with h5py.File(tmp_path / "virtual.h5") as f:
        wanted = f[name][...]
    frames = np.arange(len(wanted))[::-1]
    out = np.zeros_like(wanted)
    read_frames(where, frames, out, frames * wanted[0].size)
    assert (out == wanted).all()
