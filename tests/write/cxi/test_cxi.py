"""A CXI file of hits: everything comes back, the same bytes each time, and nothing half done."""

import hashlib
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from shotsieve.errors import BadInput, OutputError
from shotsieve.geometry import Geometry
from shotsieve.measure.peak_finder import Peaks
from shotsieve.measure.peaks import FILTERS, PEAK_DTYPE
from shotsieve.peak_list_build import PeakListBuilder
from shotsieve.write import crystfel
from shotsieve.write.cxi import CxiWriter
from shotsieve.write.encoded import EncodedFrames
from shotsieve.write.output import OutputFolder

MODULES, SS, FS = (0, 1, 2), 8, 6
DETECTOR = "entry_1/instrument_1/detector_1"
RESULT = "entry_1/result_1"


def digest(files):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def slab(array):
    return array.reshape(len(array), -1, FS)


# ---------------------------------------------------------------------- what is in the file


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_frames_and_masks_come_back_and_missing_modules_are_masked_zeros(write, compression, blocks):
    run = write(blocks=blocks, compression=compression)
    h = run.h
    with h5py.File(run.files[0]) as file:
        detector = file[DETECTOR]
        data, mask = np.where(h.present[..., None, None], h.data, 0), h.mask.copy()
        mask[~h.present] = 0xFFFFFFFF
        np.testing.assert_array_equal(detector["data"][()], slab(data))
        np.testing.assert_array_equal(detector["mask"][()], slab(mask))
        np.testing.assert_array_equal(detector["modules"][()], data)
        assert detector["modules"].is_virtual
        for name, packed in (("data", compression == "gzip"), ("mask", True)):
            dataset = detector[name]
            assert (dataset.dtype, dataset.chunks) == ({"data": "<f4", "mask": "<u4"}[name], (1, SS, FS))
            assert (dataset.compression, dataset.shuffle) == (("gzip", True) if packed else (None, False))
            assert dataset.id.get_num_chunks() == h.present.sum()
        assert detector["mask"].attrs["missing_module"] == 0xFFFFFFFF
        assert "BadPixels" in detector["mask"].attrs["meaning"]
        assert detector["data"].attrs["units"] == "keV"


def test_the_view_by_module_passes_the_check_of_virtual_datasets(write):
    pytest.importorskip("hdf5_vds_check")
    command = [sys.executable, "-m", "hdf5_vds_check", str(write().files[0])]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
    assert "All virtual data sources accessible" in answer.stdout


def test_keys_numbers_links_and_axes(write, meta):
    run = write(meta=meta)
    h = run.h
    with h5py.File(run.files[0]) as file:
        assert file["cxi_version"][()] == 150
        entry, detector = file["entry_1"], file[DETECTOR]
        for name, values, dtype in (
            ("trainId", h.train, "u8"),
            ("pulseId", h.pulse, "u8"),
            ("cellId", h.cell, "u2"),
        ):
            np.testing.assert_array_equal(entry[name], values)
            assert entry[name].dtype == dtype
        names = [f"{t}:{p}" for t, p in zip(h.train, h.pulse, strict=True)]
        assert entry["experiment_identifier"].asstr()[:].tolist() == names
        assert detector["experiment_identifier"].asstr()[:].tolist() == names
        np.testing.assert_allclose(file["instrument/photon_energy_eV"], [9300] * 4)
        np.testing.assert_allclose(file["instrument/photon_wavelength_A"], [1.33316] * 4, rtol=1e-5)
        assert [detector[n][()] for n in ("distance", "x_pixel_size", "y_pixel_size")] == [0.13, 2e-4, 2e-4]
        assert detector["description"].asstr()[()] == "SPB_DET_AGIPD1M-1"
        assert detector["module_identifier"][:].tolist() == [0, 1, 2]
        assert isinstance(entry.get("data_1", getlink=True), h5py.SoftLink)
        assert entry["data_1/data"] == detector["data"]
        assert detector["data"].attrs["axes"] == "experiment_identifier:y:x"
        assert detector["modules"].attrs["axes"] == "experiment_identifier:module_identifier:y:x"
        assert file.attrs["recipe"] == "[keep]\n"
        assert file.attrs["peaks.threshold"] == 4.3
        assert file.attrs["input_files"].tolist() == ["a.h5", "b.h5"]
        assert entry.attrs["euxfelProposalNumber"] == 1234


def test_peaks_come_back(write):
    run = write(blocks=2)
    with h5py.File(run.files[0]) as file:
        result = file[RESULT]
        assert result["nPeaks"][:].tolist() == result["nPeaksFull"][:].tolist() == run.h.counts.tolist()
        pairs = {
            "peakXPosRaw": "fs", "peakYPosRaw": "ss", "peakTotalIntensity": "total",
            "peakMaximumValue": "max", "peakSNR": "snr", "peakNPixels": "n_pixels",
        }  # fmt: skip
        for name, field in pairs.items():
            assert result[name].shape == (4, 7)
            assert result[name].dtype == ("i4" if field == "n_pixels" else "f4")
            assert result[name].attrs["axes"] == "experiment_identifier:nPeaks"
            for row, peaks in zip(result[name][()], run.h.peaks, strict=True):
                np.testing.assert_array_equal(row[: len(peaks)], peaks[field].astype(row.dtype))
                assert not row[len(peaks) :].any()
        assert result["peakTotalIntensity"].attrs["units"] == "keV"


def test_only_the_first_peaks_are_stored_and_the_full_count_stands_beside(write):
    run = write(max_peaks=2, n_peaks=[30, -1, 7, 1])
    with h5py.File(run.files[0]) as file:
        assert file[RESULT]["nPeaks"][:].tolist() == [2, 0, 2, 1]
        assert file[RESULT]["nPeaksFull"][:].tolist() == [30, -1, 7, 1]
        assert file[RESULT]["peakXPosRaw"].shape == (4, 2)
        np.testing.assert_array_equal(file[RESULT]["peakSNR"][2], run.h.peaks[2]["snr"][:2].astype("f4"))


def test_a_peak_list_of_the_run_gives_the_same_bytes(write, hits):
    h = hits()
    first = np.concatenate([[0], np.cumsum(h.counts)])
    found = Peaks(
        np.concatenate(h.peaks), first, h.counts[:, None].astype("i4"), np.zeros((4, len(FILTERS)), "i4")
    )
    builder = PeakListBuilder(h.train, h.pulse, h.cell, MODULES, (SS, FS), "keV")
    builder.set(np.arange(4), found)
    listed = builder.finish()
    again = SimpleNamespace(**vars(h) | {"peaks": [listed.records(k) for k in range(4)]})
    assert digest(write(h).files) == digest(write(again, folder="again").files)


def test_many_peaks_cross_the_chunks_of_their_arrays(write, hits):
    h = hits(counts=[40] * 500)
    run = write(h)
    with h5py.File(run.files[0]) as file:
        got = file[RESULT]["peakYPosRaw"]
        assert got.chunks[0] < 500
        np.testing.assert_array_equal(got[()], np.array([p["ss"] for p in h.peaks], "f4"))


def test_no_hit_at_all_is_a_file_without_frames(write, hits):
    run = write(hits(counts=()))
    with h5py.File(run.files[0]) as file:
        assert file[DETECTOR]["data"].shape == (0, 24, 6)
        assert file[DETECTOR]["modules"].shape == (0, 3, 8, 6)
        assert file[RESULT]["nPeaks"].shape == (0,)
        assert file["entry_1/experiment_identifier"].shape == (0,)


# ---------------------------------------------------------------------- bytes


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_the_same_bytes_however_it_is_cut_encoded_or_placed(write, compression):
    packed = {"data": compression == "gzip", "mask": True}
    one = write(compression=compression)
    time.sleep(1.1 if compression == "none" else 0)  # HDF5 counts in seconds, and may store the time
    assert [path.name for path in one.files] == ["hits.cxi", "hits.geom", "hits.lst", "hits.indexamajig.sh"]
    for number, change in enumerate(({"blocks": 4}, {"blocks": 3, "encoded": packed}, {"encoded": packed})):
        other = write(compression=compression, folder=f"other {number}", **change)
        assert digest(other.files) == digest(one.files)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_chunks_are_those_of_the_reduced_run(reduce_run, write, compression, hits):
    """A frame compressed once serves both files."""
    run = reduce_run(
        keep=(0, 1, 2, 3), compression=compression, shape=(SS, FS), modules=MODULES, folder="exdf"
    )
    h = hits()
    h.data, h.mask, h.present = run.frames["data"], run.frames["mask"], run.present
    cxi = write(h, compression=compression, encoded={"data": compression == "gzip", "mask": True})
    with h5py.File(cxi.files[0]) as ours:
        for m, path in enumerate(run.files):
            with h5py.File(path) as theirs:
                image = theirs[f"INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/{m}CH0:output/image"]
                for name in ("data", "mask"):
                    for shot in range(4):
                        mine = ours[DETECTOR][name].id.read_direct_chunk((shot, m * SS, 0))
                        assert mine == image[name].id.read_direct_chunk((shot, 0, 0))


def test_encoded_frames_are_checked(write, hits):
    h = hits()
    with pytest.raises(BadInput, match="data of the frames was encoded as float32, deflated; this file"):
        write(h, encoded={"data": True, "mask": True})
    with pytest.raises(BadInput, match="known planes are data, gain, mask"):
        EncodedFrames({"dat": h.data}, h.present, {"dat": True})
    with pytest.raises(BadInput, match="expected \\(shots, modules\\)"):
        EncodedFrames({"data": h.data[:1]}, h.present, {"data": True})
    encoded = EncodedFrames({"data": h.data}, h.present, {"data": False})
    with pytest.raises(KeyError):
        encoded.chunk("data", 2, 1)


# ---------------------------------------------------------------------- bad input and failure


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"unit": "eV"}, "unit is 'eV'; it must be 'ADU' or 'keV' or 'photon'"),
        ({"compression": "lz4"}, "compression is 'lz4'"),
        ({"max_peaks": 0}, "max_peaks is 0"),
        ({"mask_bad": -1}, "mask_bad is -1"),
        ({"pixel_size_m": np.nan}, "pixel_size_m is nan"),
        ({"modules": (0, 1)}, r"the geometry has \(24, 6\) rows and columns; expected \(16, 6\)"),
        ({"distance_m": 0.0}, "the distance is 0.0 m; CrystFEL needs it"),
        ({"photon_energy_kev": np.nan}, "the photon energy is nan keV"),
    ],
)
def test_bad_options_leave_nothing(tmp_path, options, change, words):
    with pytest.raises(BadInput, match=words):
        CxiWriter(tmp_path / "hits.cxi", **options | change)
    assert [path.name for path in tmp_path.iterdir()] == ["given.geom"]


def test_a_distance_that_nobody_knows_and_a_wrong_name(tmp_path, options, geometry):
    with pytest.raises(BadInput, match=r"must end in \.cxi"):
        CxiWriter(tmp_path / "hits.h5", **options)
    unknown = SimpleNamespace(shape=geometry.shape, clen_m=None, photon_energy_kev=None)
    with pytest.raises(BadInput, match=r"the distance is not known; .* set it in \[calibrate\], or clen in"):
        CxiWriter(tmp_path / "hits.cxi", **options | {"geometry": unknown, "distance_m": None})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pulse": [0, 1]}, r"pulse_id has shape \(2,\); expected \(4,\)"),
        ({"data": np.zeros((4, 2, SS, FS))}, r"frames has shape \(4, 2, 8, 6\); expected \(4, 3, 8, 6\)"),
        ({"mask": np.zeros((4, 3, SS, FS + 1))}, r"mask has shape"),
        ({"present": np.ones((4, 2))}, r"present has shape \(4, 2\); expected \(4, 3\)"),
        ({"peaks": [np.zeros(0, PEAK_DTYPE)] * 3}, r"n_peaks has shape \(3,\)"),
    ],
)
def test_bad_frames_leave_nothing(tmp_path, options, change, words, hits):
    h = SimpleNamespace(**vars(hits()) | change)
    with CxiWriter(tmp_path / "hits.cxi", **options) as writer, pytest.raises(BadInput, match=words):
        writer.append(h.train, h.pulse, h.cell, h.data, h.mask, h.peaks, present=h.present)
    assert [path.name for path in tmp_path.iterdir()] == ["given.geom"]


def test_peaks_in_no_panel_are_left_out_and_counted(write, hits):
    h = hits()
    h.peaks[2]["fs"][4], h.peaks[2]["ss"][5], h.peaks[0]["ss"][0] = FS + 1, 24.2, np.nan
    run = write(h, max_peaks=4)
    with h5py.File(run.files[0]) as file:
        assert file[RESULT]["nPeaks"][:].tolist() == [2, 0, 4, 1]
        assert file[RESULT]["nPeaksFull"][:].tolist() == [3, 0, 7, 1]
        np.testing.assert_array_equal(file[RESULT]["peakSNR"][0, :2], h.peaks[0]["snr"][1:].astype("f4"))
        assert file[DETECTOR]["data"].attrs["notes"].tolist() == run.notes
    assert len(run.notes) == 1
    assert "hits.cxi: 3 peaks lie in no panel of the geometry" in run.notes[0]


def test_an_error_on_the_way_leaves_nothing(write, tmp_path, options, monkeypatch, hits):
    h = hits()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    def interrupted():
        with CxiWriter(tmp_path / "hits.cxi", **options) as writer:
            writer.append(h.train, h.pulse, h.cell, h.data, h.mask, h.peaks)
            assert len(list(tmp_path.iterdir())) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with monkeypatch.context() as patch:
        patch.setattr(crystfel, "script_text", full)
        with pytest.raises(OutputError, match="could not be completed"):
            write(h, folder="full")
    assert list((tmp_path / "full").iterdir()) == []
    # Two of the four have their names already when the disk refuses.
    renamed, rename = [], os.rename

    def twice(old, new):
        if len(renamed) == 2:
            full()
        renamed.append(new)
        rename(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", twice)
        with pytest.raises(OutputError, match="could not be completed"):
            write(h, folder="late")
    assert len(renamed) == 2
    assert list((tmp_path / "late").iterdir()) == []
    with pytest.raises(OutputError, match="could not be created"):
        CxiWriter(tmp_path / "no such folder" / "hits.cxi", **options)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["given.geom"]


def test_files_that_stand_there_are_not_touched(tmp_path, options):
    (tmp_path / "hits.lst").write_text("mine")
    with pytest.raises(OutputError, match=r"hits\.lst exists already"):
        CxiWriter(tmp_path / "hits.cxi", **options)
    assert (tmp_path / "hits.lst").read_text() == "mine"


def test_a_finished_writer_takes_no_more_and_keeps_its_files(write):
    run = write()
    h = run.h
    run.writer.abort()
    for call in (
        lambda: run.writer.append(h.train, h.pulse, h.cell, h.data, h.mask, h.peaks),
        run.writer.finish,
    ):
        with pytest.raises(OutputError, match="is closed"):
            call()
    assert all(path.is_file() for path in run.files)


def test_in_the_folder_of_a_reduced_run(tmp_path, options, hits):
    h = hits()
    with OutputFolder(tmp_path / "red") as out, CxiWriter(out.folder / "hits.cxi", **options) as writer:
        writer.append(h.train, h.pulse, h.cell, h.data, h.mask, h.peaks, present=h.present)
        writer.finish()
    with h5py.File(tmp_path / "red" / "hits.cxi") as file:
        np.testing.assert_array_equal(file[DETECTOR]["modules"][0], h.data[0])
    assert (tmp_path / "red" / (tmp_path / "red" / "hits.lst").read_text().strip()).is_file()


def test_geometry_of_a_detector_without_a_photon_energy_in_its_file(tmp_path, options, geom_text):
    path = tmp_path / "bare.geom"
    path.write_text(geom_text(energy=""))
    bare = Geometry.load(path, module_shape=(SS, FS))
    with CxiWriter(tmp_path / "hits.cxi", **options | {"geometry": bare}) as writer:
        geom = writer.finish()[1]
    assert Geometry.load(geom, module_shape=(SS, FS)).photon_energy_kev == pytest.approx(9.3)
