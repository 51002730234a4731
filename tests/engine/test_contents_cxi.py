"""Whole photons and rounded values for CrystFEL: frames as in the EuXFEL files, peaks as they were found."""

import h5py
import numpy as np
import pytest
from shotsieve.constants.bad_pixels import DEFAULT_BAD_BITS, BadPixels
from shotsieve.peak_list import PeakList
from shotsieve.write import encoded

from .spots import MODULES, PEAKS, RULE, Run

FORMS = {
    "photons": {"content": "photons"},
    "uint8": {"content": "photons", "dtype": "uint8"},
    "plain": {"content": "photons", "compression": "none"},
    "rounded": {"content": "rounded", "rounding_absolute": "0.05 keV", "rounding_relative": 0.01},
}
KEEP = {"rule": RULE}


@pytest.fixture(scope="module")
def spots(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("spots"))


@pytest.fixture(scope="module")
def corrected(spots, tmp_path_factory):
    """The kept shots as they were calibrated."""
    out = tmp_path_factory.mktemp("corrected") / "r0001"
    return spots.reduce(out, keep=KEEP, write={"content": "corrected", "cxi": True})


def cxi_of(result):
    [path] = result.out.glob("*.cxi")
    return path


def image_of(file, module):
    return file[f"INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/{module}CH0:output/image"]


@pytest.mark.parametrize("form", FORMS)
def test_the_frames_of_the_files_and_the_peaks_that_were_found(spots, corrected, tmp_path, form):
    result = spots.reduce(tmp_path / "r", keep=KEEP, write={**FORMS[form], "cxi": True})
    with h5py.File(cxi_of(result)) as mine, h5py.File(cxi_of(corrected)) as theirs:
        slab, bits = mine["entry_1/data_1/data"], mine["entry_1/data_1/mask"]
        assert len(slab) == int((result.table.fate == 0).sum()) > 2
        for path in result.files[:2]:
            module = int(path.name[16:18])
            with h5py.File(path) as file:
                image = image_of(file, module)
                assert slab.dtype == image["data"].dtype
                for shot in range(len(slab)):
                    place = (shot, module * 512, 0)
                    # The very same chunks: nothing is compressed twice.
                    own = image["data"].id.read_direct_chunk((shot, 0, 0))
                    assert slab.id.read_direct_chunk(place) == own
                    own = image["mask"].id.read_direct_chunk((shot, 0, 0))
                    assert bits.id.read_direct_chunk(place) == own
        for name in theirs["entry_1/result_1"]:
            key = f"entry_1/result_1/{name}"
            np.testing.assert_array_equal(mine[key][()], theirs[key][()])
            assert dict(mine[key].attrs) == dict(theirs[key].attrs)
        assert mine["entry_1/result_1/peakMaximumValue"].attrs["units"] == "keV"
        np.testing.assert_array_equal(slab[:, : 3 * 512], 0)
        np.testing.assert_array_equal(bits[:, : 3 * 512], 0xFFFFFFFF)
        view = mine["entry_1/instrument_1/detector_1/modules"]
        np.testing.assert_array_equal(view[:, 3], slab[:, 3 * 512 : 4 * 512])
    assert PeakList.open(result.out).n_peaks.tolist() == PeakList.open(corrected.out).n_peaks.tolist()


@pytest.mark.parametrize("form", FORMS)
def test_what_is_said_of_the_values_is_true(spots, tmp_path, form):
    result = spots.reduce(tmp_path / "r", keep=KEEP, write={**FORMS[form], "cxi": True})
    photons = form != "rounded"
    path = cxi_of(result)
    geom = path.with_suffix(".geom").read_text()
    gains = {line.strip() for line in geom.splitlines() if line.startswith("adu_per")}
    assert gains == {"adu_per_photon = 1.0" if photons else "adu_per_eV = 0.001"}
    assert f"values in {'photon' if photons else 'keV'}" in geom
    with h5py.File(path) as file:
        data, mask = file["entry_1/data_1/data"], file["entry_1/data_1/mask"]
        assert data.attrs["units"] == file.attrs["unit"] == ("photon" if photons else "keV")
        assert ("NaN" in data.attrs["meaning"]) == (not photons)
        assert (data.compression, mask.compression) == ("gzip" if form != "plain" else None, "gzip")
        values, bits = data[()], mask[()]
        bad = mask.attrs["bad_bits"]
    # Every pixel without a value is bad for CrystFEL, and every bad pixel has none, or too many photons.
    recorded, hidden = bits != 0xFFFFFFFF, bits & bad != 0
    if photons:
        full = recorded & (values == np.iinfo(values.dtype).max) & (bits & 1 << 12 != 0)
        assert (values[hidden & ~full] == 0).all()
        assert full.any() == (form == "uint8")
    else:
        np.testing.assert_array_equal(np.isnan(values), hidden & recorded)
    notes = " ".join(result.accounts.notes)
    assert ("the frames are in photons" in notes) == photons
    assert "NaN" not in notes
    # Peaks are searched in what was calibrated, which is not rounded: it needs no noise floor.
    assert "noise_floor is set" not in notes


def test_bits_that_are_not_bad_for_the_calibration_hide_no_pixel_without_a_value(spots, tmp_path):
    """Integers have no NaN that would tell it."""
    few = {"bad_bits": int(BadPixels.OFFSET_OUT_OF_THRESHOLD)}
    for content in ("corrected", "photons"):
        write = {"content": content, "cxi": True}
        result = spots.reduce(tmp_path / content, calibrate=few, keep=KEEP, write=write)
        with h5py.File(cxi_of(result)) as file:
            bad = int(file["entry_1/data_1/mask"].attrs["bad_bits"])
        added = BadPixels.VALUE_OUT_OF_RANGE | BadPixels.VALUE_IS_NAN | BadPixels.WRONG_GAIN_VALUE
        assert bool(bad & added) == (content == "photons")
        assert f"mask_bad = {bad:#x}" in cxi_of(result).with_suffix(".geom").read_text().lower()
    assert DEFAULT_BAD_BITS & added == added


def test_a_users_mask_is_the_only_plane_that_is_encoded_again(spots, tmp_path, monkeypatch):
    mask = np.ones((8192, 128), bool)
    mask[3 * 512 + 7, 5] = False
    np.save(tmp_path / "mask.npy", mask)
    counted = []
    true = encoded.encode_chunk
    monkeypatch.setattr(encoded, "encode_chunk", lambda *job: counted.append(job[1]) or true(*job))
    measure = {"peaks": {**PEAKS, "mask": str(tmp_path / "mask.npy")}}
    write = {"content": "photons", "cxi": True}
    result = spots.reduce(tmp_path / "r", keep=KEEP, measure=measure, write=write)
    frames = len(MODULES) * int((result.table.fate == 0).sum())
    assert {dtype: counted.count(dtype) for dtype in set(counted)} == {
        "<u2": frames, "|u1": frames, "<u4": 2 * frames
    }  # fmt: skip
    with h5py.File(cxi_of(result)) as file, h5py.File(result.files[0]) as own:
        user = file["entry_1/data_1/mask"][:, 3 * 512 : 4 * 512] & np.uint32(1 << 30) != 0
        assert user[:, 7, 5].all()
        assert user.sum() == len(user)
        assert not (image_of(own, 3)["mask"][()] & np.uint32(1 << 30)).any()


def test_all_modules_are_in_the_cxi_file_whatever_gets_a_file_of_its_own(spots, corrected, tmp_path):
    result = spots.reduce(
        tmp_path / "r", keep=KEEP, write={"content": "corrected", "cxi": True, "modules": "3"}
    )
    assert [path.name[11:18] for path in result.files[:-4]] == ["AGIPD03"]
    with h5py.File(cxi_of(result)) as mine, h5py.File(cxi_of(corrected)) as theirs:
        key = "entry_1/data_1/data"
        np.testing.assert_array_equal(mine[key][()].view("u4"), theirs[key][()].view("u4"))
