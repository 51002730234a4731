"""The operating mode comes from the run, with its origin; what the run does not say is None."""

import dataclasses

import h5py
import numpy as np
import pytest

FPGA = "SPB_IRU_AGIPD1M1/MDL/FPGA_COMP"
HC = 1.2398419843320025


@pytest.fixture
def mode_of(maker, opened):
    def go(control, name="AGIPD1M", trains=(10, 11)):
        if name == "AGIPD1M":
            maker.module(0, [(t, [0]) for t in trains])
        else:
            maker.jungfrau(1, [(t, 1) for t in trains], [15])
        if control:
            maker.aggregator(list(trains), control)
        source = opened(name=name)
        return source.mode, source.notes

    return go


def steady(value, n=2):
    return np.array([value] * n), np.array([value])


def test_agipd(mode_of):
    mode, _ = mode_of(
        {
            FPGA: {
                "gainModeIndex": steady(np.int32(1)),
                "bunchStructure.nPulses": steady(np.int32(202)),
                "bunchStructure.repetitionRate": steady(2.2),
                "integrationTime": steady(np.int32(15)),
                "gain": steady(np.int32(1)),
            },
            "SPB_IRU_AGIPD1M/PSC/HV": {"channels.U0.voltage": steady(200.0)},
            "SA1_XTD2_UND/DOOCS/ENERGY": {"actualPosition": steady(9.3)},
            "SPB_IRU_AGIPD1M/MOTOR/Z_STEPPER": {"actualPosition": steady(700.0)},
        }
    )
    assert (mode.gain_mode, mode.cells, mode.rate_mhz, mode.integration_time) == (
        "fixed_high",
        202,
        2.2,
        15.0,
    )
    assert (mode.gain_setting, mode.bias_voltage, mode.photon_energy_kev) == (1, 200.0, 9.3)
    assert mode.distance_m == pytest.approx(0.7)
    assert mode.origin["cells"] == f"{FPGA}.bunchStructure.nPulses"
    assert isinstance(mode.cells, int)


def test_nothing_is_known(mode_of):
    mode, _ = mode_of({})
    assert mode.gain_mode is mode.cells is mode.photon_energy_kev is mode.distance_m is None
    assert mode.origin == {}


def test_run_values_go_before_control(mode_of):
    key = {"bunchStructure.nPulses": (np.array([100, 100]), np.array([64]))}
    assert mode_of({FPGA: key})[0].cells == 64


def test_control_where_there_is_no_run_value(mode_of):
    assert mode_of({FPGA: {"bunchStructure.nPulses": (np.array([100, 100]), None)}})[0].cells == 100


def test_a_mode_that_changes_during_the_run_is_noted(mode_of):
    mode, notes = mode_of({FPGA: {"gainModeIndex": (np.array([0, 1]), np.array([0]))}})
    assert mode.gain_mode == "adaptive"
    assert any("gainModeIndex changes during the run (0, 1)" in n for n in notes)


def test_a_gain_mode_that_nobody_knows(mode_of):
    mode, notes = mode_of({FPGA: {"gainModeIndex": steady(9)}})
    assert mode.gain_mode is None
    assert any("gainModeIndex = " in n and "9" in n for n in notes)


def test_the_undulator_of_another_beamline_is_not_taken(mode_of):
    mode, _ = mode_of(
        {
            "SA2_XTD1_UND/DOOCS/ENERGY": {"actualPosition": steady(12.0)},
            "SA3_XTD10_UND/DOOCS/ENERGY": {"actualPosition": steady(0.8)},
            "SA1_XTD2_XGM/XGM/DOOCS": {"pulseEnergy.wavelengthUsed": steady(HC / 9.3)},
        }
    )
    assert mode.photon_energy_kev == pytest.approx(9.3, abs=1e-9)
    assert mode.origin["photon_energy_kev"].startswith("SA1_XTD2_XGM")


@pytest.mark.parametrize("bad", [0.0, np.nan, -1.0])
def test_a_device_that_is_off_says_nothing(mode_of, bad):
    mode, notes = mode_of({"SA1_XTD2_UND/DOOCS/ENERGY": {"actualPosition": steady(bad)}})
    assert mode.photon_energy_kev is None
    assert any("actualPosition" in n for n in notes)


def test_jungfrau(mode_of):
    mode, _ = mode_of(
        {
            "SPB_IRDA_JF4M/DET/CONTROL": {
                "gainMode": steady(b"fixg1"),
                "exposureTime": steady(1e-5),
                "storageCells": steady(np.int32(15)),
            }
        },
        "JUNGFRAU",
    )
    assert (mode.gain_mode, mode.cells) == ("fixed_medium", 16)
    assert mode.integration_time == pytest.approx(10.0)


JF = "SPB_IRDA_JF4M/DET/CONTROL"


@pytest.mark.parametrize(
    ("keys", "gain_mode", "setting"),
    [
        ({"settings": b"gain0", "gainMode": b"dynamic"}, "adaptive", 0),
        ({"settings": b"highgain0", "gainMode": b"dynamic"}, "adaptive", 1),
        ({"settings": b"highgain0", "gainMode": b"fixg1"}, "fixed_medium", 1),
        ({"settings": b"dynamicgain"}, "adaptive", 0),  # before 2022 one word tells both
        ({"settings": b"dynamichg0"}, "adaptive", 1),
        ({"settings": b"fixgain1"}, "fixed_medium", 0),
        ({"settings": b"forceswitchg2"}, None, 0),
        ({"gainMode": b"dynamic"}, "adaptive", None),
        ({}, None, None),
    ],
)
def test_gain_setting_of_jungfrau(mode_of, keys, gain_mode, setting):
    mode, notes = mode_of({JF: {key: steady(word) for key, word in keys.items()}}, "JUNGFRAU")
    assert (mode.gain_mode, mode.gain_setting) == (gain_mode, setting)
    assert mode.origin.get("gain_setting") == (None if setting is None else f"{JF}.settings")
    assert not any("gain_setting" in n for n in notes)


@pytest.mark.parametrize("word", [b"highgain", np.int32(1)])
def test_a_gain_setting_that_nobody_knows(mode_of, word):
    mode, notes = mode_of({JF: {"settings": steady(word), "gainMode": steady(b"dynamic")}}, "JUNGFRAU")
    assert mode.gain_setting is None
    assert any("is not a gain_setting that is known for JUNGFRAU" in n for n in notes)


def test_a_gain_setting_that_changes_during_the_run_is_noted_once(mode_of):
    words = np.array([b"dynamicgain", b"dynamichg0"])
    mode, notes = mode_of({JF: {"settings": (words, words[:1])}}, "JUNGFRAU")
    assert (mode.gain_mode, mode.gain_setting) == ("adaptive", 0)
    assert sum("settings changes during the run (dynamicgain, dynamichg0)" in n for n in notes) == 1


def store(path, source, **values):
    with h5py.File(path, "r+") as f:
        for key, value in values.items():
            text = h5py.string_dtype() if isinstance(value, str) else None
            f.create_dataset(f"RUN/SHOTSIEVE/{source}/mode/{key}/value", data=[value], dtype=text)


def test_a_run_reduced_to_raw_words_tells_the_mode(native_backend_is_built, tmp_path):
    """It holds no control sources: what shotsieve stored beside the modules takes their place."""
    import shotsieve
    from shotsieve.simulate import SpiParameters, simulate_spi
    from shotsieve.sources import open_run

    raw = simulate_spi(tmp_path / "sim", SpiParameters(n_trains=2, n_cells=2, modules=(3,))).raw
    recipe = {"write": {"content": "raw"}}
    out = shotsieve.reduce(raw, recipe, tmp_path / "reduced", backend="cpu").out
    first, again = open_run(raw).mode, open_run(out).mode
    known = {k: v for k, v in vars(first).items() if k != "origin" and v is not None}
    assert {"gain_mode", "cells", "rate_mhz", "photon_energy_kev", "bias_voltage"} <= known.keys()
    assert dataclasses.replace(again, origin={}) == dataclasses.replace(first, origin={})
    assert isinstance(again.cells, int)
    assert set(again.origin) == set(known)
    assert set(again.origin.values()) == {"stored by shotsieve in RAW-R0001-AGIPD03-S00000.h5"}


@pytest.fixture
def native_backend_is_built():
    pytest.importorskip("shotsieve._cpu_v2")


def test_control_sources_go_before_what_was_stored(maker, opened):
    path = maker.module(0, [(10, [0])])
    store(path, "SPB_DET_AGIPD1M-1/DET/0CH0:xtdf", gain_mode="fixed_high", cells=7)
    maker.aggregator([10], {FPGA: {"gainModeIndex": steady(np.int32(0), 1)}})
    mode = opened().mode
    assert (mode.gain_mode, mode.cells) == ("adaptive", 7)
    assert mode.origin["gain_mode"] == f"{FPGA}.gainModeIndex"


def test_stored_values_that_make_no_sense_are_noted(maker, opened):
    for module, cells in ((0, 4), (1, 8)):
        path = maker.module(module, [(10, [0])])
        source = f"SPB_DET_AGIPD1M-1/DET/{module}CH0:xtdf"
        store(path, source, gain_mode="adaptiv", cells=cells, rate_mhz=np.nan if module else 4.5)
    source = opened()
    assert source.mode.gain_mode is source.mode.cells is source.mode.rate_mhz is None
    for words in (
        "'adaptiv', which shotsieve stored in RAW-R0001-AGIPD00-S00000.h5, is not a gain_mode",
        "the cells that shotsieve stored is 4.0 in RAW-R0001-AGIPD00-S00000.h5, but 8.0 in RAW-R0001-AGIPD01",
        "the rate_mhz that shotsieve stored is 4.5",
    ):
        assert any(words in n for n in source.notes), words
