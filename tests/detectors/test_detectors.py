"""Detectors are files: what the shipped ones say, and that a new one needs nothing but a file."""

import dataclasses
import re
from pathlib import Path

import pytest
from shotsieve import detectors
from shotsieve.errors import BadInput


def agipd_text():
    return (Path(detectors.__file__).parent / "agipd1m.toml").read_text()


def test_shipped_detectors():
    assert {"AGIPD1M", "AGIPD500K", "DSSC1M", "JUNGFRAU", "LPD1M", "LPDMINI"} <= set(detectors.names())
    assert {"EPIX100", "GOTTHARD2"} <= set(detectors.names())
    agipd, jungfrau = detectors.load("agipd1m"), detectors.load("JUNGFRAU")
    assert (agipd.shape, agipd.pixels, agipd.modules) == ((512, 128), 65536, tuple(range(16)))
    assert (jungfrau.shape, jungfrau.modules, jungfrau.first_module) == ((512, 1024), (), 1)
    assert (
        agipd.raw_source.format(detector="SPB_DET_AGIPD1M-1", module=3) == "SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"
    )
    assert jungfrau.aggregator.format(module=2) == "JNGFR02"
    assert agipd.default_cell_ids(3).tolist() == [0, 1, 2]
    assert agipd.default_cell_ids(1).tolist() == [0]
    assert jungfrau.default_cell_ids(1).tolist() == [15]
    assert jungfrau.default_cell_ids(16).tolist() == list(range(16))


@pytest.mark.parametrize("name", ["AGIPD1M", "AGIPD500K", "LPD1M", "DSSC1M"])
def test_modules_and_names_are_those_of_extra_data(name):
    components = pytest.importorskip("extra_data.components")
    theirs, detector = getattr(components, name), detectors.load(name)
    assert (detector.name_pattern, detector.shape) == (theirs._det_name_pat, theirs.module_shape)
    assert detector.module_count == theirs.n_modules


def test_jungfrau_goes_by_every_name_that_extra_data_knows():
    theirs, detector = pytest.importorskip("extra_data.components").JUNGFRAU, detectors.load("JUNGFRAU")
    assert detector.shape == theirs.module_shape
    for name in KNOWN:
        assert re.fullmatch(theirs._det_name_pat, name)
        assert re.fullmatch(detector.name_pattern, name)


KNOWN = ("SPB_IRDA_JNGFR", "MID_EXP_JUNGF", "HED_EXP_JF", "FXE_XAD_JF1M", "SPB_IRDA_JF4M", "FXE_XAD_JF500K",
         "HED_IA1_JF500K1")  # fmt: skip


@pytest.mark.parametrize(
    "name", [*KNOWN, "SPB_CFEL_JF2M", "SPB_IRDA_JF9M", "SPB_IRDA_JF16M", "HED_IA1_JF500K10", "HED_IA1_JF4M2"]
)
def test_names_of_jungfrau_of_any_size(name):
    for part, module, raw in (("DET", "JNGFR12", True), ("CORR", "MODULE_12", False)):
        (found,) = detectors.match([f"{name}/{part}/{module}:daqOutput"])
        assert (found.detector.name, found.name, found.modules.keys(), found.raw) == (
            "JUNGFRAU", name, {12}, raw,
        )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["SPB_IRDA_JFM", "SPB_IRDA_JF4", "SPB_IRDA_JF4MX", "SPB_IRDAJF4M", "SPB_IRDA_JF4M-1"]
)
def test_other_names_are_not_jungfrau(name):
    assert detectors.match([f"{name}/DET/JNGFR01:daqOutput"]) == []


@pytest.mark.parametrize("name", ["AGIPD1M", "AGIPD500K", "LPD1M", "LPDMINI", "DSSC1M", "JUNGFRAU"])
def test_source_names_match_their_own_patterns(name):
    detector = detectors.load(name)
    karabo = {
        "AGIPD1M": "MID_DET_AGIPD1M-1",
        "AGIPD500K": "HED_DET_AGIPD500K2G",
        "LPD1M": "FXE_DET_LPD1M-1",
        "LPDMINI": "FXE_DET_LPD_MINI",
        "DSSC1M": "SCS_DET_DSSC1M-1",
        "JUNGFRAU": "HED_IA1_JF500K1",
    }[name]
    for raw, template in ((True, detector.raw_source), (False, detector.corrected_source)):
        (found,) = detectors.match([template.format(detector=karabo, module=1)])
        assert (found.detector.name, found.name, found.raw, list(found.modules)) == (name, karabo, raw, [1])


def test_detectors_with_one_gain_stage_have_no_other_gain_mode():
    dssc = detectors.load("DSSC1M")
    assert (dssc.stages, detectors.load("LPD1M").stages) == (1, 3)
    assert dssc.pixel_sizes_m == pytest.approx((236e-6, 204e-6), rel=2e-3)
    assert (dssc.fixed_stage("fixed_high"), dssc.fixed_stage("adaptive")) == (0, -1)
    with pytest.raises(BadInput, match="one gain stage"):
        dssc.fixed_stage("fixed_medium")


def test_match_finds_several_detectors_and_ignores_the_rest():
    found = detectors.match(
        [
            "SPB_XTD9_XGM/XGM/DOOCS:output",
            "SPB_DET_AGIPD1M-1/DET/10CH0:xtdf",
            "SPB_DET_AGIPD1M-1/DET/3CH0:xtdf",
            "SPB_DET_AGIPD1M-1/CORR/3CH0:output",
            "SPB_IRDA_JF4M/DET/JNGFR08:daqOutput",
            "FXE_XAD_JF1M/DET/MODULE_1:daqOutput",
            "FXE_DET_OTHER-1/DET/0CH0:xtdf",
        ]
    )
    assert [(f.name, f.raw, list(f.modules)) for f in found] == [
        ("FXE_XAD_JF1M", True, [1]),
        ("SPB_DET_AGIPD1M-1", True, [3, 10]),
        ("SPB_DET_AGIPD1M-1", False, [3]),
        ("SPB_IRDA_JF4M", True, [8]),
    ]


def test_a_new_detector_is_one_file(tmp_path):
    text = agipd_text()
    for old, new in (
        ('name = "AGIPD1M"', 'name = "AGIPD2M"'),
        ("module_count = 16", "module_count = 32"),
        ("[^/]+_AGIPD1M[^/]*", "[^/]+AGIPD2M[^/]*"),
        ("_(IRU|EXP)_AGIPD1M1?/", "_EXP_AGIPD2MG/"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "agipd2m.toml").write_text(text)

    assert "AGIPD2M" in detectors.names(extra_paths=[tmp_path])
    detector = detectors.load("AGIPD2M", extra_paths=[tmp_path])
    assert detector == detectors.load(tmp_path / "agipd2m.toml")
    assert detector.modules == tuple(range(32))
    sources = [f"HED_DET_AGIPD2MG/DET/{m}CH0:xtdf" for m in range(32)]
    (found,) = detectors.match(sources, extra_paths=[tmp_path])
    assert (found.name, len(found.modules)) == ("HED_DET_AGIPD2MG", 32)
    key = detector.control["cells"][0]
    assert key.pattern(found.name).fullmatch("HED_EXP_AGIPD2MG/MDL/FPGA_COMP")


def test_control_sources():
    agipd, jungfrau = detectors.load("AGIPD1M"), detectors.load("JUNGFRAU")
    pattern = agipd.control["cells"][0].pattern("SPB_DET_AGIPD1M-1")
    assert pattern.fullmatch("SPB_IRU_AGIPD1M1/MDL/FPGA_COMP")
    assert not pattern.fullmatch("MID_EXP_AGIPD1M1/MDL/FPGA_COMP")
    energy = agipd.control["photon_energy_kev"]
    assert any(key.pattern("SPB_DET_AGIPD1M-1").fullmatch("SPB_XTD2_UND/DOOCS/ENERGY") for key in energy)
    wavelength = next(key for key in energy if key.unit == "nm")
    assert wavelength.convert(0.13776022048133363, "photon_energy_kev") == pytest.approx(9.0)
    assert jungfrau.control["cells"][0].convert(15, "cells") == 16
    assert jungfrau.control["integration_time"][0].convert(1e-5, "integration_time") == pytest.approx(10)
    assert jungfrau.control["gain_mode"][0].pattern("FXE_XAD_JF1M").fullmatch("FXE_XAD_JF1M/DET/CONTROL")
    assert jungfrau.control["distance_m"][0].convert(250, "distance_m") == 0.25


def test_gain_modes():
    agipd, jungfrau = detectors.load("AGIPD1M"), detectors.load("JUNGFRAU")
    assert [agipd.gain_mode_name(i) for i in (0, 1.0, "2", 3, 4)] == [
        "adaptive",
        "fixed_high",
        "fixed_medium",
        "fixed_low",
        None,
    ]
    assert jungfrau.gain_mode_name(b"fixg2") == "fixed_low"
    assert jungfrau.gain_mode_name("forceswitchg1") is None
    assert [agipd.fixed_stage(name) for name in detectors.GAIN_MODES] == [-1, 0, 1, 2]
    with pytest.raises(BadInput, match="Did you mean 'adaptive'"):
        agipd.fixed_stage("adaptiv")


def test_unknown_detector_names_the_nearest():
    with pytest.raises(BadInput, match=r"AGIPD1M.*JUNGFRAU.*Did you mean 'JUNGFRAU'"):
        detectors.load("jungfrau4m")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("max_cells", "max_cell", r"unknown key 'max_cell'.*Did you mean 'max_cells'"),
        ("max_cells = 352", "", "'max_cells' is missing"),
        ('layout = "frames"', 'layout = "rows"', "layout = 'rows'; it must be one of frames, trains"),
        ('0 = "adaptive"', '0 = "auto"', "names 'auto'; it must be one of adaptive"),
        ("[gain_modes]", '[gain_settings]\nhigh = "1"\n[gain_modes]', "names '1'; it must be a whole number"),
        ("[[control.cells]]", "[[control.cell]]", "Did you mean 'cells'"),
        ('encoding = "threshold"', 'encoding = "code"', "three codes"),
        ("(?P<module>", "(?P<modul>", "needs the named groups"),
        ("steps = [", 'steps = ["linearise", ', "'linearise' and a common mode or baseline"),
        (
            "row_cells = 32",
            "row_cells = 32\nsensor_rows = [[0, 32], [16, 64]]",
            r"sensor_rows has \(16, 64\)",
        ),
        ("row_cells = 32", "row_cells = 32\nsensor_rows = [[0, 513]]", r"ascending and up to 512"),
        ("row_cells = 32", "row_cells = 32\nsensor_rows = [[7, 7]]", r"sensor_rows has \(7, 7\)"),
        ("row_cells = 32", "row_cells = 32\nsensor_rows = [0, 32]", "sensor_rows has 0; it must hold pairs"),
        ("row_cells = 32", "row_cells = 32\nsensor_rows = [[0, 1.5]]", "sensor_rows has"),
        ("[gain_modes]", "[gain_modes", "not a TOML file"),
    ],
)
def test_bad_files_are_refused(tmp_path, old, new, text):
    path = tmp_path / "bad.toml"
    path.write_text(agipd_text().replace(old, new))
    with pytest.raises(BadInput, match=text) as error:
        detectors.load(path)
    assert str(path) in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        detectors.load(tmp_path / "none.toml")


def test_steps_of_the_files_are_switches():
    from shotsieve.constants import Steps

    known = {field.name for field in dataclasses.fields(Steps)}
    for name in detectors.names():
        assert set(detectors.load(name).steps) <= known
