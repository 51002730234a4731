"""EXtra-data and EXtra-redu as oracles: what the facility's own readers see in a reduced run."""

import subprocess
import sys
from contextlib import nullcontext

import h5py
import numpy as np
import pytest

extra_data = pytest.importorskip("extra_data")
components = pytest.importorskip("extra_data.components")

DET = "SPB_DET_AGIPD1M-1"


def validate(folder):
    return subprocess.run(
        [sys.executable, "-m", "extra_data.validation", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def full_run(reduce_run):
    """16 modules with 3, 0 and 2 frames in three trains; module 5 missed the last one, module 7 is absent."""
    return reduce_run(absent=[(2, 5), (None, 7)])


@pytest.mark.filterwarnings("ignore:In a future version of xarray:FutureWarning")
def test_corrected_run_is_what_we_wrote(full_run):
    run = full_run
    data = extra_data.RunDirectory(run.folder)
    assert len(data.files) == len(run.files) == 15
    assert data.train_ids == [10_001, 10_002, 10_003]
    assert data.run_metadata()["dataFormatVersion"] == "1.2"
    agipd = components.AGIPD1M(data, raw=False)
    assert agipd.train_ids == [10_001, 10_003]
    assert agipd.frame_counts.tolist() == [3, 2]

    expected = np.where(run.present[..., None, None], run.frames["data"], np.nan)
    modules = [m for m in range(16) if m != 7]
    np.testing.assert_array_equal(agipd["image.data"].ndarray().swapaxes(0, 1), expected[:, modules])
    gain = np.where(run.present[..., None, None], run.frames["gain"], 0)
    np.testing.assert_array_equal(agipd["image.gain"].ndarray().swapaxes(0, 1), gain[:, modules])
    assert agipd["image.data"].ndarray(module_gaps=True).shape[0] == 16

    masked = np.where(run.frames["mask"] == 0, expected, np.nan)
    np.testing.assert_array_equal(agipd.masked_data().ndarray().swapaxes(0, 1), masked[:, modules])

    labelled = agipd["image.data"].xarray(pulses=extra_data.by_index[:], subtrain_index="pulseId")
    shots = run.source.shots
    assert labelled.coords["module"].values.tolist() == modules
    assert labelled.indexes["train_pulse"].tolist() == [
        (int(t), int(p)) for t, p in zip(shots.train_id[run.kept], shots.pulse_id[run.kept], strict=True)
    ]
    cells = agipd["image.cellId"].ndarray()
    np.testing.assert_array_equal(cells[0], shots.cell_id[run.kept])

    # Module 5 has no data in the second train, so by default it is skipped as incomplete.
    assert [tid for tid, _ in agipd.trains()] == [10_001]
    trains = dict(agipd.trains(require_all=False))
    assert {tid: d["image.data"].sizes["pulse"] for tid, d in trains.items()} == {10_001: 3, 10_003: 2}
    assert trains[10_003]["litpx.litPixels"].shape == (15, 4)
    assert data[f"{DET}/CORR/0CH0:output", "image.data"].units == "keV"


def test_virtual_cxi_and_frame_export(full_run, tmp_path):
    run = full_run
    agipd = components.AGIPD1M(extra_data.RunDirectory(run.folder), raw=False)
    agipd.write_virtual_cxi(str(tmp_path / "v.cxi"))
    with h5py.File(tmp_path / "v.cxi") as f:
        data = f["entry_1/data_1/data"]
        assert data.shape == (5, 16, 512, 128)
        np.testing.assert_array_equal(data[4, 3], run.frames["data"][4, 3])
        assert np.isnan(data[4, 5]).all()
        assert f["entry_1/pulseId"][:].tolist() == run.source.shots.pulse_id[run.kept].tolist()
    shots = run.source.shots
    chosen = [0, 3]
    keys = shots.train_id[run.kept[chosen]], shots.pulse_id[run.kept[chosen]]
    agipd.write_frames(str(tmp_path / "f.h5"), *keys)
    copied = extra_data.H5File(tmp_path / "f.h5")
    for key in ("data", "gain", "mask"):
        found = copied[f"{DET}/CORR/0CH0:output", f"image.{key}"].ndarray()
        np.testing.assert_array_equal(found, run.frames[key][chosen, 0])
    for key, ids in zip(("trainId", "pulseId"), keys, strict=True):
        np.testing.assert_array_equal(copied[f"{DET}/CORR/0CH0:output", f"image.{key}"].ndarray(), ids)


def vds_check(path):
    pytest.importorskip("hdf5_vds_check")
    command = [sys.executable, "-m", "hdf5_vds_check", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("content", ["corrected", "raw"])
def test_the_check_of_virtual_files_finds_no_problem(reduce_run, content, tmp_path):
    run = reduce_run(content=content, modules=(0, 1, 2, 3, 4, 5, 6, 7, 8), absent=[(2, 5)])
    agipd = components.AGIPD1M(extra_data.RunDirectory(run.folder), raw=content == "raw")
    agipd.write_virtual_cxi(str(tmp_path / "v.cxi"))
    answer = vds_check(tmp_path / "v.cxi")
    assert answer.returncode == 0, answer.stdout
    assert "All virtual data sources accessible" in answer.stdout
    run.files[3].unlink()
    assert "Access problems" in vds_check(tmp_path / "v.cxi").stdout


@pytest.mark.parametrize("content", ["corrected", "raw"])
def test_validation_finds_no_problem(reduce_run, content):
    run = reduce_run(content=content, absent=[(2, 1)], modules=(4, 5), shape=(6, 8), compression="gzip")
    result = validate(run.folder)
    assert result.returncode == 0, result.stdout
    assert "No problems found" in result.stdout


def test_decompression_takes_the_fast_path(reduce_run):
    pytest.importorskip("zlib_into")
    run = reduce_run(modules=(0,), compression="gzip")
    data = extra_data.RunDirectory(run.folder)
    from extra_data.compression import multi_dataset_decompressor

    key = data[f"{DET}/CORR/0CH0:output", "image.mask"]
    assert multi_dataset_decompressor([key.files[0].file[key.hdf5_data_path]]) is not None
    np.testing.assert_array_equal(key.ndarray(), run.frames["mask"][:, 0])


def test_raw_run_is_read_as_raw(reduce_run):
    run = reduce_run(content="raw", modules=(0, 1))
    data = extra_data.RunDirectory(run.folder)
    for options in ({"raw": True}, {}):
        with nullcontext() if options else pytest.warns(UserWarning, match="raw"):
            agipd = components.AGIPD1M(data, **options)
        np.testing.assert_array_equal(
            agipd["image.data"].ndarray().swapaxes(0, 1), run.frames["raw"].reshape(5, 2, 2, 512, 128)
        )
    assert agipd["image.data"].xarray(subtrain_index="pulseId").shape[1] == 5
    assert data[f"{DET}/DET/0CH0:xtdf", "litpx.litPixels"].shape == (12,)
    assert data[f"{DET}/DET/0CH0:xtdf"].index_groups == {"image", "litpx"}


@pytest.mark.skipif(not hasattr(extra_data.DataCollection, "auxiliary"), reason="EXtra-data before 1.25")
def test_reduction_source_is_found(reduce_run):
    run = reduce_run(
        modules=(0, 1), shape=(6, 8), params={"recipe": "[keep]\n", "measure.lit.threshold": 0.7}
    )
    data = extra_data.RunDirectory(run.folder)
    name = f"SHOTSIEVE/{DET}/CORR/1CH0:output"
    assert name in data.auxiliary.reduction_sources
    values = data.auxiliary[name].run_values()
    assert values["recipe.value"] == "[keep]\n"
    assert values["measure.lit.threshold.value"] == 0.7
    assert values["unit.value"] == "keV"
    assert data.auxiliary[name, "image.framesKept"].ndarray().tolist() == [3, 0, 2]
    assert data.auxiliary[name, "image.framePattern"].ndarray().sum(axis=1).tolist() == [3, 0, 2]


def test_suspect_trains_stay_suspect(reduce_run):
    run = reduce_run(modules=(0,), shape=(6, 8), keep=(0, 1), status=[0] * 4 + [1] * 4 + [0] * 4)
    assert extra_data.RunDirectory(run.folder, inc_suspect_trains=False).train_ids == [10_001, 10_003]
    assert extra_data.RunDirectory(run.folder).train_ids == [10_001, 10_002, 10_003]


def test_two_sequences_beside_each_other(reduce_run, tmp_path, meta):
    """Trains of another part of the run, in files with sequence number 1, join the same folder."""
    from shotsieve.write.exdf_file import ExdfFile

    run = reduce_run(modules=(0, 1), shape=(6, 8))
    for m in (0, 1):
        path = run.folder / f"CORR-R0035-AGIPD{m:02d}-S00001.h5"
        with ExdfFile(path, train_ids=[10_004], timestamps=[10_004 * 10**8], meta=meta, sequence=1) as f:
            group = f.instrument(f"{DET}/CORR/{m}CH0:output", "image", [1])
            group["data"], group["pulseId"] = np.zeros((1, 6, 8), "f4"), np.zeros(1, "u8")
    data = extra_data.RunDirectory(run.folder)
    assert len(data.files) == 4
    assert data[f"{DET}/CORR/1CH0:output", "image.data"].data_counts().tolist() == [3, 0, 2, 1]
    assert validate(run.folder).returncode == 0


@pytest.mark.parametrize("content", ["corrected", "raw"])
def test_jungfrau_opens_with_litpx_beside_its_data(reduce_run, content):
    options = {"per_train": (2, 2, 2), "name": "JUNGFRAU", "absent": [(1, 1)]}
    run = reduce_run(keep=(0, 1, 4, 5), content=content, **options)
    data = extra_data.RunDirectory(run.folder)
    jungfrau = components.JUNGFRAU(data, raw=content == "raw")
    expected = run.frames["raw"][:, :, 0] if content == "raw" else run.frames["data"]
    got = jungfrau["data.adc"].ndarray()
    np.testing.assert_array_equal(got.reshape(2, 4, 512, 1024).swapaxes(0, 1), expected)
    assert jungfrau.cell_ids().tolist() == [1, 3]
    assert jungfrau.train_ids == [10_001, 10_003]
    if content == "corrected":
        assert jungfrau.masked_data().ndarray().shape == got.shape
    assert [tid for tid, _ in jungfrau.trains()] == [10_001, 10_003]
    assert jungfrau["data.adc"].xarray().shape == got.shape
    kind = "DET" if content == "raw" else "CORR"
    assert data[f"SPB_IRDA_JF4M/{kind}/JNGFR01:daqOutput", "litpx.litPixels"].shape == (3, 2)
    assert validate(run.folder).returncode == 0


@pytest.mark.filterwarnings("ignore:'where' used without 'out':UserWarning")
def test_lit_pixels_feed_the_facilitys_hit_finder(reduce_run):
    fileutils = pytest.importorskip("extra_redu.fileutils")
    spi = pytest.importorskip("extra_redu.spi")
    run = reduce_run(absent=[(1, 2)], modules=(0, 1, 2), shape=(6, 8))
    data = extra_data.RunDirectory(run.folder)
    pattern = DET + r"/CORR/(?P<key>\d+)CH0:output"
    source = fileutils.StackedPulseSource.from_datacollection(data, pattern, "litpx")
    table, present = run.table, run.source.shots.present
    np.testing.assert_array_equal(source.trainId, table.train_id)
    np.testing.assert_array_equal(source.pulseId, table.pulse_id)
    lit = source["litPixels"].ndarray(fill_value=0)
    np.testing.assert_array_equal(lit, np.where(present, table.measures["lit_pixels"], 0))
    finder = spi.SpiHitfinder([0, 1, 2], "fixed", fixed_threshold=8000, miss_fraction=0, miss_fraction_abs=0)
    finder.find_hits(source)
    unmasked = np.where(present, table.measures["unmasked_pixels"], 0).sum(axis=1)
    np.testing.assert_array_equal(finder.hitscore, (lit.sum(axis=1) / unmasked * 3 * 65536).astype(int))
