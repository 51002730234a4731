"""Ten real JUNGFRAU frames as a run of the facility: the photons of their own makers come out."""

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.constants import Constants
from shotsieve.constants.bad_pixels import DEFAULT_BAD_BITS, BadPixels
from shotsieve.geometry import Geometry
from shotsieve.peak_list import PeakList
from shotsieve.recipe import Recipe
from shotsieve.sources.base import RunMeta
from shotsieve.table import FATES
from shotsieve.write.exdf_file import ExdfFile

DETECTOR = "SPB_IRDA_JNGFR"
SOURCE = f"{DETECTOR}/DET/JNGFR01:daqOutput"
TRAINS = np.arange(10_001, 10_011, dtype="u8")
ENERGY = 12.4  # keV in the photon unit of the gains, about: any energy gives the same photons
WRONG_GAIN, OUT_OF_RANGE, NOT_A_NUMBER = 1 << 21, 1 << 12, 1 << 11


@pytest.fixture(scope="module")
def real(real_data):
    path = real_data / "jungfrau_psi_mod5" / "jf_mod5_shared.h5"
    if not path.exists():
        pytest.skip(f"no real frames at {path}")
    with h5py.File(path) as file:
        return {name: data[()] for name, data in file.items()}


@pytest.fixture(scope="module")
def run(real, tmp_path_factory):
    """The frames as the facility's receiver splits them: one per train, in cell 15."""
    folder = tmp_path_factory.mktemp("jungfrau") / "r0001"
    folder.mkdir()
    meta = RunMeta(proposal=900000, run=1, creation_date="20230101T000000Z")
    per_run = {"train_ids": TRAINS, "timestamps": TRAINS * 10**8, "meta": meta}
    with ExdfFile(folder / "RAW-R0001-JNGFR01-S00000.h5", **per_run) as file:
        data = file.instrument(SOURCE, "data", np.ones(10))
        frames = real["raw"][:, None]
        data.create_dataset("adc", data=frames & 0x3FFF, chunks=(1, 1, 512, 1024))
        data.create_dataset("gain", data=(frames >> 14).astype("u1"), chunks=(1, 1, 512, 1024))
        data["memoryCell"] = np.full((10, 1), 15, "u1")
        data["frameNumber"] = np.arange(10, dtype="u8")[:, None]
        data["trainId"] = TRAINS
    with ExdfFile(folder / "RAW-R0001-JNGFRCTRL00-S00000.h5", **per_run) as file:
        values = {"gainMode": "dynamic", "storageCells": np.uint8(0), "exposureTime": np.float64(1e-5)}
        file.control(f"{DETECTOR}/DET/CONTROL", values, "JungfrauControl")
    return folder


@pytest.fixture(scope="module")
def constants(real):
    pedestal = np.stack([real[f"pedeG{gain}"] for gain in range(3)])[:, None]
    gain = real["gain_recovered"][:, None].astype("f8")
    arrays = {"offset": pedestal, "adu_per_kev": gain / ENERGY}
    conditions = {"gain_mode": "adaptive", "cells": 1, "integration_time": 10.0}
    return Constants.from_arrays("JUNGFRAU", arrays, modules=[1], conditions=conditions)


RECIPE = {
    "calibrate": {"unit": "photon", "photon_energy": f"{ENERGY} keV"},
    "measure": {"lit": {"threshold": "0.7 photon"}},
    "write": {"content": "corrected"},
}


@pytest.fixture(scope="module")
def words(real):
    """Analogue words, gain codes, stage, and where the gain of that stage is known: (10, 512, 1024)."""
    adc, code = real["raw"] & 0x3FFF, real["raw"] >> 14
    stage = np.array([0, 1, 0, 2])[code]
    known = np.isfinite(np.take_along_axis(real["gain_recovered"], stage, 0))
    return adc, code, stage, known


def test_the_reference_frames_are_reproduced(real, run, constants, words, backend_name, tmp_path):
    result = shotsieve.reduce(run, RECIPE, tmp_path / "r", constants=constants, backend=backend_name)
    assert result.accounts.kept == result.accounts.expected == 10
    assert result.accounts.partial.total == 0
    [path] = result.files
    with h5py.File(path) as file:
        group = file[f"INSTRUMENT/{DETECTOR}/CORR/JNGFR01:daqOutput/data"]
        data, gain, mask = (group[name][:, 0] for name in ("adc", "gain", "mask"))
        assert group["adc"].attrs["units"] == "photon"
        assert (group["memoryCell"][()] == 15).all()
        assert group["trainId"][()].tolist() == TRAINS.tolist()
    adc, code, stage, known = words
    saturated = (code == 3) & (adc == 0)
    wrong = (code == 2) | ((code == 3) & (adc == 0x3FFF)) | ((code == 1) & (adc == 0))
    good = known & ~saturated & ~wrong

    np.testing.assert_array_equal(gain, stage)
    photons = real["converted_photons"]
    assert good[:2].mean() > 0.99
    assert set(np.unique(stage[:2][good[:2]])) == {0, 1, 2}
    assert np.abs(data[:2] - photons)[good[:2]].max() < 1e-3
    # The rest is masked and says why.
    assert (mask[~good] != 0).all()
    assert np.isnan(data[~good]).all()
    # Pixels at the edges of chips are larger, and count.
    assert (mask[good] & ~np.uint32(BadPixels.NON_STANDARD_SIZE) == 0).all()
    assert np.isfinite(data[good]).all()
    assert saturated.sum() > 0
    assert (mask[saturated] & OUT_OF_RANGE != 0).all()
    assert (mask[(code == 2) | ((code == 3) & (adc == 0x3FFF))] & WRONG_GAIN != 0).all()
    assert (mask[~known & ~saturated & ~wrong] == NOT_A_NUMBER).all()

    # Counts of all frames, kept or not, are those of the pixels.
    measures = result.table.measures
    np.testing.assert_array_equal(measures["unmasked_pixels"][:, 0], good.sum(axis=(1, 2)))
    np.testing.assert_array_equal(measures["lit_pixels"][:, 0], (good & (data > 0.7)).sum(axis=(1, 2)))


def test_lit_pixels_by_the_real_noise_of_each_pixel(real, run, constants, words, backend_name, tmp_path):
    """Five times the scatter of the pedestals: that is what noise leaves dark, and a photon does not."""
    adc, _, stage, known = words
    noise = np.full((3, 1, 512, 1024), np.nan, "f4")
    noise[0, 0] = real["pedeG0_RMS"]
    arrays = {name: constants.load(name, 1) for name in ("offset", "adu_per_kev")} | {"noise": noise}
    told = Constants.from_arrays("JUNGFRAU", arrays, modules=[1], conditions=constants.conditions)
    recipe = RECIPE | {"measure": {"lit": {"threshold": "5 sigma", "noise": "pixel"}}}
    measures = shotsieve.reduce(
        run, recipe, tmp_path / "r", constants=told, backend=backend_name
    ).table.measures
    rms = real["pedeG0_RMS"]
    good = known & (stage == 0) & (rms > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (adc.astype("f4") - real["pedeG0"]) * (1 / rms.astype("f8")).astype("f4")
        photons = (adc - real["pedeG0"]) / real["gain_recovered"][0]
    np.testing.assert_array_equal(measures["lit_pixels"][:, 0], (good & (value > 5)).sum(axis=(1, 2)))
    np.testing.assert_array_equal(measures["unmasked_pixels"][:, 0], good.sum(axis=(1, 2)))
    # Noise has two sides, photons one: what lies below is noise alone.
    below = value[good & (value < 0)]
    assert 1 < np.sqrt(np.median(below.astype("f8") ** 2)) / 0.6745 < 1.2
    assert (value[good] < -5).mean() < 1e-4
    assert (value[good & (photons > 0.7)] > 5).mean() > 0.999


def test_rules_drop_whole_trains(run, constants, tmp_path):
    recipe = RECIPE | {"keep": {"rule": "train_id >= 10003 and lit_pixels > 0 and train_id != 10007"}}
    result = shotsieve.reduce(run, recipe, tmp_path / "r", constants=constants, backend="cpu")
    kept = [train for train in TRAINS.tolist() if train >= 10_003 and train != 10_007]
    table = result.table
    assert table.train_id[table.fate == FATES.index("kept")].tolist() == kept
    assert result.accounts.dropped == 3
    with h5py.File(result.files[0]) as file:
        assert file[f"INSTRUMENT/{DETECTOR}/CORR/JNGFR01:daqOutput/data/trainId"][()].tolist() == kept
        assert file["INDEX/trainId"][()].tolist() == TRAINS.tolist()


def test_raw_content_and_back(run, constants, tmp_path, real):
    """calibrate(reduce(raw)) == reduce(calibrate(raw)), here with gain codes in a dataset of their own."""
    rule = {"rule": "lit_pixels > 0 and train_id != 10007"}
    options = {"constants": constants, "backend": "cpu"}
    to_raw = RECIPE | {"keep": rule, "write": {"content": "raw"}}
    raw = shotsieve.reduce(run, to_raw, tmp_path / "raw", **options)
    direct = shotsieve.reduce(run, RECIPE | {"keep": rule}, tmp_path / "direct", **options)
    said = RECIPE | {"calibrate": RECIPE["calibrate"] | {"gain_mode": "adaptive"}}
    again = shotsieve.reduce(raw.out, said, tmp_path / "again", **options)
    with h5py.File(direct.files[0]) as file, h5py.File(again.files[0]) as other:
        one, two = (f[f"INSTRUMENT/{DETECTOR}/CORR/JNGFR01:daqOutput/data"] for f in (file, other))
        for key in ("gain", "mask", "trainId", "memoryCell"):
            np.testing.assert_array_equal(one[key], two[key])
        np.testing.assert_array_equal(one["adc"][()].view("u4"), two["adc"][()].view("u4"))
    words = np.delete(real["raw"], 6, axis=0)
    with h5py.File(raw.files[0]) as file:
        group = file[f"INSTRUMENT/{SOURCE}/data"]
        np.testing.assert_array_equal(group["adc"][:, 0], words & 0x3FFF)
        np.testing.assert_array_equal(group["gain"][:, 0], words >> 14)


def test_extra_data_opens_it(run, constants, tmp_path):
    extra_data = pytest.importorskip("extra_data")
    components = pytest.importorskip("extra_data.components")
    validation = pytest.importorskip("extra_data.validation")
    recipe = RECIPE | {"keep": {"rule": "train_id > 10007"}}
    raw = components.JUNGFRAU(extra_data.RunDirectory(run), raw=True)
    result = shotsieve.reduce(raw, recipe, tmp_path / "r", constants=constants, backend="cpu")
    opened = extra_data.RunDirectory(result.out)
    assert len(opened.files) == len(result.files) == 1
    jungfrau = components.JUNGFRAU(opened, raw=False)
    assert jungfrau.train_ids == [10_008, 10_009, 10_010]
    masked = jungfrau.masked_data(mask_bits=int(DEFAULT_BAD_BITS)).ndarray()
    with h5py.File(result.files[0]) as file:
        data = file[f"INSTRUMENT/{DETECTOR}/CORR/JNGFR01:daqOutput/data/adc"][()]
    np.testing.assert_array_equal(masked.reshape(data.shape), data)
    assert validation.main([str(result.out)]) in (None, 0)


def test_peaks_of_real_diffraction(run, constants, real_data, backend_name, tmp_path):
    """Module 1 of a geometry of eight; the frames of kept shots and their peaks also in a CXI file."""
    geometry = real_data / "geometry" / "jf4m_vds.geom"
    # The first rows and columns of a chip are pixels of twice the size, which no constant marks here.
    usable = np.ones((1, 512, 1024), bool)
    usable[:, [0, 255, 256, 511]] = False
    usable[:, :, np.r_[0, 255:1023:256, 256:1023:256, 1023]] = False
    np.save(tmp_path / "usable.npy", usable)
    peaks = {"threshold": "20 photon", "min_pix_count": 1, "max_pix_count": 50, "mask": "usable.npy"}
    given = {
        **RECIPE,
        "detector": [{"name": "JUNGFRAU", "geometry": str(geometry)}],
        "measure": {"peaks": peaks},
        "keep": {"rule": "n_peaks >= 20"},
        "write": {"content": "corrected", "cxi": True},
    }
    recipe = Recipe.from_dict(given, folder=tmp_path)
    result = shotsieve.reduce(run, recipe, tmp_path / "r", constants=constants, backend=backend_name)
    found = PeakList.open(result.out)
    kept = result.table.fate == FATES.index("kept")
    assert np.array_equal(kept, found.n_peaks >= 20)
    assert kept.any()
    [path] = [file for file in result.files if "JNGFR01" in file.name]
    with h5py.File(path) as file:
        frames = file[f"INSTRUMENT/{DETECTOR}/CORR/JNGFR01:daqOutput/data/adc"][:, 0]
    part = Geometry.load(geometry, module_shape=(512, 1024)).part([0])
    expected = shotsieve.peakfinder8(
        frames,
        mask=part.good_pixels() & usable[0],
        radius=part.radius(),
        panels=part.rectangles(),
        threshold=20.0,
        min_pix_count=1,
        max_pix_count=50,
        backend="cpu",
    )
    assert [found.records(shot).tolist() for shot in np.flatnonzero(kept)] == [p.tolist() for p in expected]
    [cxi] = result.out.glob("*.cxi")
    with h5py.File(cxi) as file:
        assert np.array_equal(file["entry_1/data_1/data"][()], frames, equal_nan=True)
        assert file["entry_1/result_1/nPeaks"][()].tolist() == found.n_peaks[kept].tolist()
    written = Geometry.load(cxi.with_suffix(".geom"), module_shape=(512, 1024))
    assert np.array_equal(written.rectangles(), part.rectangles())
