"""Constants of other programs: EXtra, Cheetah, PSI; and what is refused."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.constants import BadPixels, Constants, ImportOptions, Steps, differ, fold, read_any
from shotsieve.constants.examine import not_used
from shotsieve.constants.facility import write_facility
from shotsieve.constants.importers import form_of, from_extra
from shotsieve.constants.importers.references import Reference, open_references
from shotsieve.constants.layout import DTYPES, gain_axis
from shotsieve.constants.to_facility import LEFT_OUT, save_facility
from shotsieve.errors import BadInput, UnreadableData

# ------------------------------------------------------------------ EXtra


def calibration_data(root, detector, arrays, names=("JNGFR01", "JNGFR02"), dims=True):
    """A CalibrationData of EXtra itself, of files that lie below a root."""
    extra = pytest.importorskip("extra.calibration")
    groups = {}
    for at, name in enumerate(names):
        pdu = f"Jungfrau_M{at}"
        folder = root / name
        files = write_facility(folder, detector, {pdu: arrays[at]}, {pdu: at}, {}, dims=dims, dtype="f8")
        for calibration, file in zip(arrays[at], files, strict=True):
            single = extra.SingleConstant(file.relative_to(root), f"/{pdu}/{calibration}/0", 17 + at, pdu)
            groups.setdefault(calibration, {})[name] = single
    row = {
        "id": None, "identifier": "FXE_XAD_JF1M", "karabo_id_control": None, "number_of_modules": 2,
        "source_name_pattern": None, "first_module_index": 1,
    }  # fmt: skip
    modules = [
        {
            "id": None, "uuid": None, "karabo_da": name, "physical_name": f"Jungfrau_M{at}",
            "virtual_device_name": None, "module_number": None, "detector_type": {"name": "JUNGFRAU"},
        }
        for at, name in enumerate(names)
    ]  # fmt: skip
    return extra.CalibrationData(groups, extra.DetectorData(row, modules))


@pytest.fixture
def two(jungfrau, facility_arrays):
    return [facility_arrays(jungfrau, 16, seed=seed) for seed in range(2)]


def test_calibration_data_of_extra(jungfrau, two, tmp_path):
    extra = pytest.importorskip("extra.calibration")
    data = calibration_data(tmp_path, jungfrau, two)
    found = read_any(data, jungfrau, ImportOptions(store=tmp_path))
    assert found.modules == (1, 2)
    for at, module in enumerate(found.modules):
        # The reference is what EXtra itself gives.
        expected = data["Offset10Hz", module].ndarray(tmp_path).T.astype("f4")
        np.testing.assert_array_equal(found.load("offset", module), expected)
        gain = data["RelativeGain10Hz"][f"JNGFR0{module}"].ndarray(tmp_path).T.astype("f4")
        np.testing.assert_array_equal(found.load("adu_per_kev", module), gain)
        assert found.provenance["files"][f"{module}/Offset10Hz"]["ccv_id"] == str(17 + at)
    # Constants of one type, and several of them.
    some = [data["Offset10Hz"], data["RelativeGain10Hz"]]
    assert read_any(some, jungfrau, ImportOptions(store=tmp_path)).names == ("offset", "adu_per_kev")
    only = data.select_modules([2])["Offset10Hz"]
    assert read_any(only, jungfrau, ImportOptions(store=tmp_path)).modules == (2,)
    # What they were looked up for becomes their conditions.
    condition = extra.JUNGFRAUConditions(90.0, 16, 250.0, None, 0)
    assert from_extra(data, jungfrau, root=tmp_path, condition=condition).conditions == {
        "cells": 16, "integration_time": 250.0, "bias_voltage": 90.0,
    }  # fmt: skip


def test_extra_refuses_what_does_not_belong_together(jungfrau, two, tmp_path):
    data = calibration_data(tmp_path, jungfrau, two)
    other = calibration_data(tmp_path / "b", jungfrau, two)
    other.detector.identifier = "SPB_OTHER"
    with pytest.raises(BadInput, match="several detectors were given: FXE_XAD_JF1M, SPB_OTHER"):
        read_any([data, other], jungfrau)
    with pytest.raises(BadInput, match="SPB_OTHER: no family is called so"):
        read_any(other)
    with pytest.raises(BadInput, match="expected a CalibrationData"):
        from_extra(3)
    with pytest.raises(BadInput, match="pedestals was given, and an object of extra"):
        read_any(data, jungfrau, ImportOptions(pedestals="x.h5"))


def test_square_pixels_without_names_need_dims(jungfrau, facility_arrays, tmp_path):
    square = dataclasses.replace(jungfrau, shape=(8, 8))
    arrays = [facility_arrays(square, 16, seed=seed) for seed in range(2)]
    data = calibration_data(tmp_path, square, arrays, dims=False)
    with pytest.raises(BadInput, match=r"both 8 long.*--dims"):
        read_any(data, square, ImportOptions(store=tmp_path))
    axes = ("fast_scan", "slow_scan", "cell", "gain")
    dims = dict.fromkeys(square.facility_constants, axes) | {"BadPixelsFF10Hz": axes}
    found = read_any(data, square, ImportOptions(store=tmp_path, dims=dims))
    np.testing.assert_array_equal(found.load("offset", 1), arrays[0]["Offset10Hz"].T.astype("f4"))
    with pytest.raises(BadInput, match=r"no calibration 'Offset10'.*'Offset10Hz'"):
        read_any(data, square, ImportOptions(store=tmp_path, dims={"Offset10": axes}))


# ------------------------------------------------------------------ files of the store without modules.toml


def test_store_without_modules_toml(agipd, facility_arrays, tmp_path):
    arrays = facility_arrays(agipd, 5)
    write_facility(tmp_path, agipd, {"PDU_M001": arrays}, {"PDU_M001": 1}, {})
    (tmp_path / "modules.toml").unlink()
    assert form_of(tmp_path) == "store"
    with pytest.raises(BadInput, match=r"--detector NAME and --module PDU=NUMBER \(here: PDU_M001\)"):
        read_any(tmp_path)
    options = ImportOptions(modules={"PDU_M001": 4}, conditions={"cells": 5})
    found = read_any(tmp_path, agipd, options)
    assert (found.modules, found.conditions) == ((4,), {"cells": 5})
    np.testing.assert_array_equal(found.load("offset", 4), arrays["Offset"].T.astype("f4"))
    one = read_any(min(tmp_path.rglob("*.h5")), agipd, options)
    assert one.names == ("offset",)
    with pytest.raises(BadInput, match="has no PDU 'PDU_M2'"):
        read_any(tmp_path, agipd, ImportOptions(modules={"PDU_M2": 4}))
    with pytest.raises(BadInput, match=r"unknown name 'cell'.*'cells'"):
        read_any(tmp_path, agipd, ImportOptions(modules={"PDU_M001": 4}, conditions={"cell": 5}))


def test_references_are_checked(agipd, facility_arrays, tmp_path):
    arrays = facility_arrays(agipd, 5)
    path = write_facility(tmp_path, agipd, {"P": {"Offset": arrays["Offset"]}}, {"P": 0}, {})[0]
    good = Reference(0, "P", "Offset", path, "/P/Offset/0")
    assert open_references(agipd, [good]).modules == (0,)
    with pytest.raises(BadInput, match="is there twice"):
        open_references(agipd, [good, good])
    with pytest.raises(BadInput, match="was named as Noise of P, which it is not"):
        open_references(agipd, [Reference(0, "P", "Noise", path, "/P/Offset/0")])
    with pytest.raises(BadInput, match="was named as Offset of Q"):
        open_references(agipd, [Reference(0, "Q", "Offset", path, "/P/Offset/0")])
    kept = open_references(
        agipd, [good, Reference(0, "P", "SlopesCS", path, "/P/SlopesCS/0")], modules=[0, 1]
    )
    assert (kept.provenance["not_used"], kept.modules) == (["0/SlopesCS"], (0, 1))
    assert not_used(kept) == ["SlopesCS: AGIPD1M has no step for it (1 dataset, 0/SlopesCS)"]


@pytest.mark.parametrize("name", ["AGIPD1M", "LPD1M", "DSSC1M", "JUNGFRAU", "EPIX100", "GOTTHARD2"])
def test_every_detector_in_the_layout_of_the_store_and_back(tmp_path, name):
    """All constants that the layout has a name for, with one stage or three, in one dimension or two."""
    found = detectors.load(name)
    small = dataclasses.replace(found, shape=(4, 8) if found.dimensions == 2 else (1, 8))
    rng, arrays = np.random.default_rng(3), {}
    for target in {*small.facility_constants.values(), *(["levels"] if name == "AGIPD1M" else [])}:
        shape = (gain_axis(small, target)[0], 2, *small.shape)
        arrays[target] = {1: rng.uniform(1, 200, shape).astype(DTYPES[target])}
    constants = Constants.from_arrays(small, arrays, conditions={"cells": 2})
    save_facility(constants, tmp_path / "store")
    again = read_any(tmp_path / "store", small)
    assert again.conditions == {"cells": 2}
    assert set(again.names) == set(constants.names) - set(LEFT_OUT)
    for target in again.names:
        np.testing.assert_array_equal(again.load(target, 1), constants.load(target, 1))
    told = differ.compare(constants, again)
    assert told.differing() == []
    assert len({one.name for one in told.planes}) == len(again.names)


# ------------------------------------------------------------------ Cheetah


def cheetah(path, detector, cells=4, seed=0, lead=()):
    rng = np.random.default_rng(seed)
    shape = (*lead, 3, cells, *detector.shape)
    arrays = {
        "AnalogOffset": rng.integers(3000, 8000, shape).astype("i2"),
        "DigitalGainLevel": np.sort(rng.integers(4000, 12000, shape), axis=len(lead)).astype("u2"),
        "RelativeGain": rng.uniform(0.5, 300, shape).astype("f4"),
        "Badpixel": rng.integers(0, 3, shape).astype("u1"),
    }
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return arrays


def test_cheetah(agipd, tmp_path):
    made = {m: cheetah(tmp_path / f"Cheetah-AGIPD{m:02d}-calib.h5", agipd, seed=m) for m in (3, 11)}
    found = read_any(tmp_path, agipd)
    assert (form_of(tmp_path), found.modules, found.cell_ids.tolist()) == ("cheetah", (3, 11), [0, 1, 2, 3])
    for module, arrays in made.items():
        cells = [2, 0, 2]
        np.testing.assert_array_equal(found.load("offset", module, cells), arrays["AnalogOffset"][:, cells])
        expected = arrays["DigitalGainLevel"][1:, cells].astype("f4")
        np.testing.assert_array_equal(found.load("thresholds", module, cells), expected)
        np.testing.assert_array_equal(found.load("relative_gain", module), arrays["RelativeGain"])
        bad = np.where(arrays["Badpixel"] > 0, int(BadPixels.USER1), 0)
        np.testing.assert_array_equal(found.load("bad_pixels", module), bad)
    # It calibrates: the two thresholds are those that Cheetah compares with.
    steps = Steps(adjust_mg_baseline=False, xray_gain=False, low_medium_gap=False)
    table = fold(found, agipd, 3, [1], steps).table[0]
    np.testing.assert_array_equal(table[:2], made[3]["DigitalGainLevel"][1:, 1].reshape(2, -1))
    np.testing.assert_array_equal(table[2:5], made[3]["AnalogOffset"][:, 1].reshape(3, -1))
    own = Constants.open(found.save(tmp_path / "own.h5"), agipd)
    np.testing.assert_array_equal(own.load("thresholds", 11), found.load("thresholds", 11))


def test_cheetah_with_all_modules_in_one_file(agipd, tmp_path):
    arrays = cheetah(tmp_path / "Cheetah-calib.h5", agipd, lead=(16,))
    found = read_any(tmp_path / "Cheetah-calib.h5", agipd)
    assert found.modules == tuple(range(16))
    np.testing.assert_array_equal(found.load("offset", 7), arrays["AnalogOffset"][7])


def test_cheetah_refuses(agipd, tmp_path):
    path = tmp_path / "calib.h5"
    cheetah(path, agipd)
    with pytest.raises(BadInput, match="does not tell the module"):
        read_any(path, agipd)
    assert read_any(path, agipd, ImportOptions(modules={"calib.h5": 5})).modules == (5,)
    with pytest.raises(BadInput, match="there is no module 16"):
        read_any(path, agipd, ImportOptions(modules={"calib.h5": 16}))
    with pytest.raises(BadInput, match=r"expected --module calib\.h5=NUMBER"):
        read_any(path, agipd, ImportOptions(modules={"other.h5": 5}))
    with pytest.raises(BadInput, match=r"\(3 gains, cells, 512, 128\)"):
        read_any(path, "AGIPD1M", ImportOptions(modules={"calib.h5": 5}))
    cheetah(tmp_path / "b-AGIPD01.h5", agipd, cells=5)
    cheetah(tmp_path / "a-AGIPD00.h5", agipd, cells=4)
    path.unlink()
    with pytest.raises(BadInput, match="different numbers of memory cells"):
        read_any(tmp_path, agipd)
    (tmp_path / "b-AGIPD01.h5").rename(tmp_path / "b-AGIPD00.h5")
    with pytest.raises(BadInput, match="are both of module 0"):
        read_any(tmp_path, agipd)


# ------------------------------------------------------------------ PSI


SIGNS = (1, -1, -1, 1, -1, -1)


def psi(folder, detector, maps=6, modules=1, seed=0, pedestals=4):
    rng = np.random.default_rng(seed)
    ss, fs = detector.shape
    gains = rng.uniform(0.5, 41, (modules, maps, ss, fs)) * np.array(SIGNS[:maps])[:, None, None]
    dark = rng.uniform(1000, 15000, (modules, pedestals, ss, fs))
    files = []
    for m in range(modules):
        files.append(folder / f"gainMaps_M{m:03d}.bin")
        gains[m].astype("<f8").tofile(files[-1])
    with h5py.File(folder / "pedestal_res.h5", "w") as file:
        file["gains"] = np.concatenate(dark, axis=1)
        mask = np.zeros((ss * modules, fs), "i8")
        mask[0, 0], mask[1, 1], mask[2, 2], mask[3, 3] = 1 << 1, 1 << 3, 1 << 4, 1 << 9
        file["pixel_mask"] = mask
        for stage in range(pedestals):
            file[f"gain{stage}_rms"] = np.full((ss * modules, fs), 3.0 + stage)
    return files, folder / "pedestal_res.h5", gains, dark


@pytest.mark.parametrize(
    ("maps", "high_gain", "planes"),
    [(6, False, (0, 1, 2)), (4, False, (0, 1, 2)), (6, True, (3, 4, 5)), (4, True, (3, 1, 2))],
)
def test_psi(jungfrau, tmp_path, maps, high_gain, planes):
    files, pedestals, gains, dark = psi(tmp_path, jungfrau, maps, modules=2)
    options = ImportOptions(pedestals=pedestals, high_gain=high_gain)
    found = read_any(files, jungfrau, options)
    stages = (3, 1, 2) if high_gain else (0, 1, 2)
    assert (found.modules, found.cell_ids.tolist()) == ((1, 2), [15])
    assert found.conditions == {"gain_setting": int(high_gain)}
    for at, module in enumerate(found.modules):
        np.testing.assert_array_equal(found.load("adu_per_kev", module)[:, 0], gains[at, planes].astype("f4"))
        np.testing.assert_array_equal(found.load("offset", module)[:, 0], dark[at, stages].astype("f4"))
        noise = found.load("noise", module)[:, 0, 0, 0].tolist()
        assert noise == [3.0 + stage for stage in stages]
    bad = found.load("bad_pixels", 1)[:, 0]
    wrong, user = int(BadPixels.WRONG_GAIN_VALUE), int(BadPixels.USER1)
    assert bad[:, 0, 0].tolist() == [0, wrong, 0]
    assert bad[:, 1, 1].tolist() == [0, 0, wrong]
    assert bad[:, 2, 2].tolist() == [wrong if high_gain else 0, 0, 0]
    assert bad[:, 3, 3].tolist() == [user] * 3
    # The same from the one HDF5 file that jungfrau_utils makes of them.
    with h5py.File(tmp_path / "gains.h5", "w") as file:
        file["gains"] = np.concatenate(gains, axis=1)
    again = read_any(tmp_path / "gains.h5", jungfrau, options)
    np.testing.assert_array_equal(again.load("adu_per_kev", 2), found.load("adu_per_kev", 2))


def test_psi_refuses(jungfrau, tmp_path, monkeypatch):
    monkeypatch.setattr(detectors, "load", lambda name: jungfrau)
    files, pedestals, gains, _ = psi(tmp_path, jungfrau)
    assert form_of(files[0]) == "psi"
    with pytest.raises(BadInput, match="calibrate nothing without pedestals"):
        read_any(files[0])
    with pytest.raises(BadInput, match="Are these pedestals"):
        read_any(pedestals, options=ImportOptions(pedestals=pedestals))
    with pytest.raises(BadInput, match="is no HDF5 file"):
        read_any(files[0], options=ImportOptions(pedestals=files[0]))
    gains[0, ::-1].astype("<f8").tofile(files[0])
    with pytest.raises(BadInput, match="Is the order another"):
        read_any(files[0], options=ImportOptions(pedestals=pedestals))
    gains[0].astype("<f4").tofile(files[0])
    with pytest.raises(BadInput, match="in no form that is known"):
        read_any(files[0], options=ImportOptions(pedestals=pedestals))
    more, dark, _, _ = psi(tmp_path, jungfrau, modules=2)
    with pytest.raises(BadInput, match="pedestals of 2 modules, and there are gain maps of 1"):
        read_any(more[0], options=ImportOptions(pedestals=dark))
    with h5py.File(dark, "r+") as file:
        file["gains"][3] = 0
    with pytest.raises(BadInput, match="was not taken in the mode of high gain 0"):
        read_any(more, options=ImportOptions(pedestals=dark, high_gain=True))
    names = {more[0].name: 4, more[1].name: 3}
    assert read_any(more, options=ImportOptions(pedestals=dark, modules=names)).modules == (4, 3)


# ------------------------------------------------------------------ recognising


def test_what_is_no_constants_is_refused(tmp_path, agipd):
    with pytest.raises(BadInput, match="There are no constants at"):
        read_any(tmp_path / "nothing.h5")
    with pytest.raises(BadInput, match="in no form that is known"):
        read_any(tmp_path)
    (tmp_path / "text.bin").write_bytes(b"hello")
    with pytest.raises(BadInput, match="in no form that is known"):
        read_any(tmp_path / "text.bin")
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    with pytest.raises(UnreadableData, match="not a whole HDF5 file"):
        read_any(tmp_path / "broken.h5")
    with h5py.File(tmp_path / "both.h5", "w") as file:
        for name in ("AnalogOffset", "DigitalGainLevel", "gains"):
            file[name] = np.zeros(3)
    with pytest.raises(BadInput, match="can be read as calibration files of Cheetah and as gain maps of PSI"):
        read_any(tmp_path / "both.h5")
    own = Constants.from_arrays(agipd, {"offset": np.zeros((3, 2, 4, 8))}, modules=[0])
    path = own.save(tmp_path / "own.h5")
    assert form_of(path) == "own"
    with pytest.raises(BadInput, match="store was given, and our own HDF5 file has no use for it"):
        read_any(path, agipd, ImportOptions(store=Path()))
    with pytest.raises(BadInput, match="give one form alone"):
        read_any([path, _yml(tmp_path)], agipd)
    with pytest.raises(BadInput, match="the detector is JUNGFRAU"):
        read_any(path, "JUNGFRAU")


def _yml(folder):
    path = folder / "m.yml"
    path.write_text("a: 1")
    return path
