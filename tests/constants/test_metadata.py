"""The metadata of real corrections: every parameter has a fate, and the constants they name are found."""

import dataclasses
import shutil
import tomllib

import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.constants import Constants, ImportOptions, read_any
from shotsieve.constants.facility import write_facility
from shotsieve.constants.importers import read_metadata
from shotsieve.constants.importers.parameters import OUTCOMES, translate
from shotsieve.errors import BadInput
from shotsieve.recipe import Recipe

yaml = pytest.importorskip("yaml")

# Of each file: modules, constants, keys of our recipe, and what the facility did that is not done here.
REAL = {
    "cal-metadata-agipd-p900508-r22.yml": (
        range(16),
        96,
        {
            "adjust_mg_baseline": True,
            "set_min": True,
            "low_medium_gap": True,
            "relative_gain": False,
            "xray_gain": False,
            "force_hg_if_below": "1000 ADU",
            "force_mg_if_below": "1000 ADU",
            "rounding_threshold": 0.5,
        },
    ),
    "cal-metadata-jf-p900491-r487.yml": ((1, 2), 8, {"xray_gain": True}),
    "cal-metadata-lpd-p900491-r445.yml": (
        range(16),
        96,
        {
            "xray_gain": False,
            "offset": True,
            "relative_gain": True,
            "ff_map": True,
            "parallel_sigma_high": 5.0,
        },
    ),
}


@pytest.fixture(params=sorted(REAL))
def real(request, real_data):
    path = real_data / "calib_meta" / request.param
    if not path.exists():
        pytest.skip(f"no {path}")
    return path


def test_every_parameter_of_real_corrections_is_mapped_or_reported(real, tmp_path):
    modules, constants, keys = REAL[real.name]
    told, tree = read_metadata(real), yaml.safe_load(real.read_text())
    assert told.modules == tuple(modules)
    assert len(told.references) == constants
    assert told.lacking == ()
    found = told.translation()
    assert [one.name for one in found.parameters] == list(tree["calibration-configurations"])
    assert {one.outcome for one in found.parameters} <= set(OUTCOMES)
    assert all(one.told for one in found.parameters)
    dropped = [one for one in found.not_mapped if one.name == "drop-last-frames-parallelgain"]
    assert all("shotsieve compare --dropped-last" in one.told for one in dropped)
    assert len(dropped) == ("lpd" in real.name)
    assert not [one for one in found.parameters if "does not know it" in one.told]
    assert {key: found.calibrate.get(key) for key in keys} == keys
    # The recipe is one that this version takes, and names every parameter.
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(told.recipe_text("constants.h5"), encoding="utf-8")
    calibrate = tomllib.loads(recipe.read_text())["calibrate"]
    assert calibrate == {"constants": "constants.h5", **found.calibrate}
    if told.detector is not None:
        assert Recipe.load(recipe).calibrate.constants == "constants.h5"
    for name in tree["calibration-configurations"]:
        assert f"#   {name} = " in recipe.read_text()


def test_versions_of_real_constants_are_those_of_the_file(real):
    tree = yaml.safe_load(real.read_text())["retrieved-constants"]
    for one in read_metadata(real).references:
        group = next(g for g in tree.values() if g.get("physical-name") == one.pdu)["constants"]
        entry = group[one.calibration]
        assert (str(one.path), one.dataset) == (entry["path"], entry["dataset"])
        assert one.version["ccv_id"] == str(entry["ccv_id"])


@pytest.fixture
def correction(real_data, tmp_path, jungfrau, facility_arrays, monkeypatch):
    """The JUNGFRAU correction with made-up constants in a copy of the store: (file, store, arrays)."""
    monkeypatch.setattr(detectors, "load", {"JUNGFRAU": jungfrau}.__getitem__)
    monkeypatch.setattr(detectors, "names", lambda: ["JUNGFRAU"])
    tree = yaml.safe_load((real_data / "calib_meta" / "cal-metadata-jf-p900491-r487.yml").read_text())
    store, arrays = tmp_path / "store", {}
    for at, (aggregator, group) in enumerate(tree["retrieved-constants"].items()):
        made = facility_arrays(jungfrau, 16, seed=at)
        arrays[int(aggregator[-2:])] = made
        for calibration, entry in group["constants"].items():
            pdu = group["physical-name"]
            [file] = write_facility(
                tmp_path / "one", jungfrau, {pdu: {calibration: made[calibration]}}, {pdu: at}, {}
            )
            place = store / entry["path"].split("caldb_store/")[1]
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(file, place)
    path = tmp_path / "calibration_metadata_FXE_XAD_JF1M.yml"
    path.write_text(yaml.safe_dump(tree))
    return path, store, arrays


def test_constants_of_a_correction_are_found_in_a_copy_of_the_store(correction, tmp_path):
    path, store, arrays = correction
    constants = read_any(path, options=ImportOptions(store=store))
    assert constants.modules == (1, 2)
    for module, made in arrays.items():
        expected = made["Offset10Hz"].T.astype("f4")
        np.testing.assert_array_equal(constants.load("offset", module), expected)
        bad = made["BadPixelsDark10Hz"].T | made["BadPixelsFF10Hz"].T
        np.testing.assert_array_equal(constants.load("bad_pixels", module), bad)
    assert constants.provenance["files"]["1/Offset10Hz"]["ccv_id"] == "242621"
    assert constants.provenance["pdus"] == {"1": "Jungfrau_M530", "2": "Jungfrau_M512"}
    # The folder of corrected data stands for its only metadata; files may also lie side by side.
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in store.rglob("*.h5"):
        shutil.copy(file, flat / file.name)
    again = read_any(path.parent, options=ImportOptions(store=flat))
    np.testing.assert_array_equal(again.load("offset", 2), constants.load("offset", 2))


def test_missing_files_of_constants_are_counted(correction):
    path, store, _ = correction
    with pytest.raises(BadInput, match=r"8 of 8 files of constants are not there.*--store"):
        read_any(path)
    for file in store.rglob("cal.1745816789.4686568.h5"):
        file.unlink()
    with pytest.raises(BadInput, match=r"1 of 8 .* below .*cal\.1745816789.*Offset10Hz of module 1"):
        read_any(path, options=ImportOptions(store=store))


def test_a_file_that_is_not_the_one_named_is_refused(correction):
    path, store, _ = correction
    offset, gain = (next(store.rglob(f"cal.{n}.h5")) for n in ("1745816789.4686568", "1675871058.9999344"))
    shutil.copy(gain, offset)
    with pytest.raises(
        BadInput, match=r"has no /Jungfrau_M530/Offset10Hz/0/data: it holds .*RelativeGain10Hz"
    ):
        read_any(path, options=ImportOptions(store=store))


def test_lpd_needs_the_order_of_its_square_axes(real_data, tmp_path, monkeypatch):
    """Constants of LPD that do not name their axes are refused until --dims does; FFMap may be a divisor."""
    lpd = dataclasses.replace(detectors.load("LPD1M"), shape=(8, 8))
    monkeypatch.setattr(detectors, "load", {"LPD1M": lpd}.__getitem__)
    monkeypatch.setattr(detectors, "names", lambda: ["LPD1M"])
    tree = yaml.safe_load((real_data / "calib_meta" / "cal-metadata-lpd-p900491-r445.yml").read_text())
    group = tree["retrieved-constants"]["LPD03"]
    tree["retrieved-constants"] = {"LPD03": group}
    tree["calibration-configurations"]["karabo-da"] = ["LPD03"]
    rng, made, pdu = np.random.default_rng(1), {}, group["physical-name"]
    for calibration, entry in group["constants"].items():
        made[calibration] = rng.uniform(0.5, 2, (8, 8, 5, 3)).astype("f4")
        if calibration.startswith("Bad"):
            made[calibration] = rng.integers(0, 4, (8, 8, 5, 3), dtype="u4")
        one = {pdu: {calibration: made[calibration]}}
        [file] = write_facility(tmp_path / "one", lpd, one, {pdu: 3}, {}, dims=False)
        shutil.move(file, tmp_path / entry["path"].split("/")[-1])
    path = tmp_path / "calibration_metadata_FXE_DET_LPD1M-1.yml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(BadInput, match=r"both 8 long.*convert --dims"):
        read_any(path, options=ImportOptions(store=tmp_path))
    # Here the axes of the files are (ss, fs, cell, gain): the other of the two orders.
    dims = dict.fromkeys(made, ("slow_scan", "fast_scan", "cell", "gain"))
    told = {"store": tmp_path, "dims": dims}
    found = read_any(path, options=ImportOptions(**told, directions={"FFMap": "divide"}))
    np.testing.assert_array_equal(found.load("offset", 3), made["Offset"].transpose(3, 2, 0, 1))
    expected = (1 / made["FFMap"].transpose(3, 2, 0, 1).astype("f8")).astype("f4")
    np.testing.assert_array_equal(found.load("ff_map", 3), expected)
    with pytest.raises(BadInput, match=r"FFMap = 'div' in \[directions\] must be"):
        read_any(path, options=ImportOptions(**told, directions={"FFMap": "div"}))


def test_metadata_given_as_constants_says_how_to_convert(tmp_path):
    path = tmp_path / "calibration_metadata.yml"
    path.write_text("a: 1")
    with pytest.raises(
        BadInput, match=r"names constants, and holds none: .*convert calibration_metadata\.yml"
    ):
        Constants.open(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "is not valid YAML"),
        ("- 1", "it holds list"),
        ("a: 1", "calibration-configurations"),
        ("calibration-configurations: {karabo-id: X}\nretrieved-constants: {}", "karabo-da"),
        (
            "calibration-configurations: {karabo-id: A, karabo-da: [AGIPD]}\nretrieved-constants: {}",
            "no module",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "calibration_metadata.yml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        read_any(path)


def test_two_metadata_files_in_a_folder_are_refused(tmp_path):
    for name in ("A", "B"):
        (tmp_path / f"calibration_metadata_{name}.yml").write_text("")
    with pytest.raises(BadInput, match=r"expected one .* found calibration_metadata_A\.yml, .*B\.yml"):
        read_any(tmp_path)


def test_only_the_offset_is_only_the_offset():
    given = {"rel-gain": True, "only-offset": True, "xray-gain": True, "adjust-mg-baseline": True}
    found = translate(given, "agipd")
    names = ("relative_gain", "xray_gain", "adjust_mg_baseline", "set_min")
    assert found.calibrate == dict.fromkeys(names, False)


@pytest.mark.parametrize(
    ("given", "calibrate", "outcome"),
    [
        ({"rel-gain": False, "rel-gain-mode": "PC"}, {"relative_gain": True}, "recipe"),
        ({"rel-gain-mode": "CS"}, {}, "not mapped"),
        ({"gain-mode": 2}, {"gain_mode": "fixed_medium"}, "recipe"),
        ({"gain-mode": 7}, {}, "not mapped"),
        ({"photon-energy": 9.3}, {"photon_energy": "9.3 keV"}, "recipe"),
        ({"round-photons": True}, {"round_photons": True, "unit": "photon"}, "recipe"),
        ({"force-hg-if-below": False, "hg-hard-threshold": 1000}, {}, "no effect"),
        (
            {"blc-noise": True, "blc-noise-threshold": 4000},
            {"blc_noise": True, "blc_noise_threshold": "4000 ADU"},
            "recipe",
        ),
        ({"blc-noise": False, "blc-noise-threshold": 4000}, {"blc_noise": False}, "no effect"),
        ({"zero-nans": True}, {}, "not mapped"),
        ({"energy-threshold": 0}, {}, "not mapped"),
        ({"max-pulses": [0, 200, 1]}, {}, "not mapped"),
        ({"nobody-knows": 1}, {}, "not mapped"),
    ],
)
def test_parameters(given, calibrate, outcome):
    found = translate(given, "agipd")
    assert found.calibrate == calibrate
    assert found.parameters[-1].outcome == outcome
