"""Constants of LPD and DSSC in the layout of the store: axes, directions, masks; wrong ones are refused."""

from __future__ import annotations

import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.constants import Constants, Steps, fold
from shotsieve.constants.facility_writer import write_facility
from shotsieve.errors import BadInput

PDU = "LPD_SIM_M000"
CELLS = 2


def lpd_arrays(rng):
    """Axes (fs, ss, cell, gain)."""
    shape = (256, 256, CELLS, 3)
    arrays = {
        "Offset": rng.uniform(800, 1200, shape),
        "Noise": rng.uniform(2, 4, shape),
        "RelativeGain": rng.uniform(1, 100, shape),
        "FFMap": rng.uniform(0.9, 1.1, shape),
        "GainAmpMap": rng.uniform(0.9, 1.1, shape),
    }
    arrays = {name: array.astype("f4") for name, array in arrays.items()}
    arrays["BadPixelsDark"] = np.where(rng.random(shape) < 0.01, 1, 0)
    arrays["BadPixelsFF"] = np.where(rng.random(shape[:3]) < 0.01, 1 << 8, 0)
    return arrays


def write(folder, detector, arrays, more="", **options):
    pdu = PDU if detector.name == "LPD1M" else "DSSC_SIM_M000"
    write_facility(folder, detector, {pdu: arrays}, {pdu: 0}, {"cells": 2}, **options)
    path = folder / "modules.toml"
    path.write_text(path.read_text() + more)
    return folder


def test_maps_are_turned_and_masks_joined(tmp_path, rng):
    arrays = lpd_arrays(rng)
    constants = Constants.open(write(tmp_path, detectors.load("LPD1M"), arrays, dtype="f8"))
    for calibration, name in (("Offset", "offset"), ("FFMap", "ff_map"), ("GainAmpMap", "gain_amp_map")):
        np.testing.assert_array_equal(constants.load(name, 0), arrays[calibration].T)
    mask = arrays["BadPixelsDark"].T | arrays["BadPixelsFF"].T[None]
    np.testing.assert_array_equal(constants.load("bad_pixels", 0), mask)
    assert set(np.unique(mask)) == {0, 1, 1 << 8, 1 | 1 << 8}
    own = Constants.open(constants.save(tmp_path / "own.h5", compression=None))
    np.testing.assert_array_equal(own.load("gain_amp_map", 0, [1]), constants.load("gain_amp_map", 0, [1]))


def test_a_direction_turns_a_map_over(tmp_path, rng):
    arrays, lpd = lpd_arrays(rng), detectors.load("LPD1M")
    folder = write(tmp_path, lpd, arrays, '\n[directions]\nFFMap = "divide"\nRelativeGain = "multiply"\n')
    constants = Constants.open(folder)
    assert constants.provenance["directions"] == {"FFMap": "divide", "RelativeGain": "multiply"}
    wanted = (1 / arrays["FFMap"].T.astype(np.float64)).astype("f4")
    np.testing.assert_array_equal(constants.load("ff_map", 0), wanted)
    np.testing.assert_array_equal(constants.load("gain_amp_map", 0), arrays["GainAmpMap"].T)
    table = fold(constants, lpd, 0, [0, 1], Steps(xray_gain=False, bad_bits=0), "ADU").table
    factor = arrays["RelativeGain"].T.astype(float) / arrays["FFMap"].T * arrays["GainAmpMap"].T
    gain = factor.swapaxes(0, 1).reshape(CELLS, 3, -1)
    np.testing.assert_allclose(table[:, 5:8], gain, rtol=1e-6)


def test_the_axes_of_a_square_module_are_never_guessed(tmp_path, rng):
    arrays, lpd = lpd_arrays(rng), detectors.load("LPD1M")
    folder = write(tmp_path, lpd, {"Offset": arrays["Offset"]}, dims=False)
    with pytest.raises(BadInput, match=r"both 256 long.*\[dims\]"):
        Constants.open(folder)
    told = '\n[dims]\nOffset = ["slow_scan", "fast_scan", "cell", "gain"]\n'
    (folder / "modules.toml").write_text((folder / "modules.toml").read_text() + told)
    turned = Constants.open(folder).load("offset", 0)
    np.testing.assert_array_equal(turned, arrays["Offset"].transpose(3, 2, 0, 1))


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ('FFMop = "divide"', "FFMop.*Did you mean 'FFMap'"),
        ('FFMap = "times"', "'multiply' or 'divide'"),
        ('Offset = "divide"', "may name RelativeGain, FFMap, GainAmpMap"),
    ],
)
def test_wrong_directions_are_refused(tmp_path, rng, more, text):
    arrays = {"Offset": lpd_arrays(rng)["Offset"]}
    folder = write(tmp_path, detectors.load("LPD1M"), arrays, f"\n[directions]\n{more}\n")
    with pytest.raises(BadInput, match=text):
        Constants.open(folder)


def test_dssc_has_one_stage_and_two_orders_of_axes(tmp_path, rng):
    dssc = detectors.load("DSSC1M")
    offset = rng.uniform(30, 50, (512, 128, CELLS)).astype("f4")
    for folder, dims in ((tmp_path / "a", True), (tmp_path / "b", False)):
        constants = Constants.open(write(folder, dssc, {"Offset": offset}, dims=dims))
        assert constants.load("offset", 0).shape == (1, CELLS, 128, 512)
        np.testing.assert_array_equal(constants.load("offset", 0)[0], offset.T)
    folded = fold(constants, dssc, 0, [0, 1], Steps(adu_per_photon=4.0), "photon")
    assert folded.table.shape == (CELLS, 2, 65536)
    assert folded.mask.shape == (CELLS, 1, 65536)
    assert (folded.table[:, 1] == 0.25).all()
    with pytest.raises(BadInput, match="directions"):
        Constants.open(write(tmp_path / "c", dssc, {"Offset": offset}, '\n[directions]\nOffset = "divide"\n'))
    # A map of the user's own goes before nothing, the number before the map.
    trimmed = rng.uniform(3, 5, (1, CELLS, 128, 512)).astype("f4")
    own = Constants.from_arrays(dssc, {"offset": offset.T[None], "adu_per_kev": trimmed}, modules=[0])
    by_map = fold(own, dssc, 0, [0, 1], Steps(), "photon", 1.0).table[:, 1]
    np.testing.assert_allclose(by_map, 1 / trimmed.reshape(CELLS, -1), rtol=1e-6)
    assert (fold(own, dssc, 0, [0, 1], Steps(adu_per_photon=8.0), "photon").table[:, 1] == 0.125).all()


def test_a_wrong_number_of_gains_is_refused(rng):
    dssc, lpd = detectors.load("DSSC1M"), detectors.load("LPD1M")
    with pytest.raises(BadInput, match=r"needs \(1 gains"):
        Constants.from_arrays(dssc, {"offset": np.zeros((3, 1, 128, 512))}, modules=[0])
    with pytest.raises(BadInput, match=r"needs \(3 gains"):
        Constants.from_arrays(lpd, {"offset": np.zeros((1, 1, 256, 256))}, modules=[0])


def test_broken_maps_break_their_pixels(rng):
    """Zero, negative, NaN and infinite factors, one at a time: the pixel is NaN and nothing else is."""
    lpd = detectors.load("LPD1M")
    full = {"offset": 3, "relative_gain": 3, "ff_map": 1, "gain_amp_map": 3}
    for name in ("relative_gain", "ff_map", "gain_amp_map"):
        arrays = {key: np.ones((n, 1, 256, 256), "f4") for key, n in full.items()}
        arrays[name].reshape(-1)[:4] = 0, -2, np.nan, np.inf
        constants = Constants.from_arrays(lpd, arrays, modules=[0])
        gains = fold(constants, lpd, 0, [0], Steps(xray_gain=False)).table[0, 5:8]
        assert np.isnan(gains[0]).nonzero()[0].tolist() == [0, 1, 2, 3]
        assert np.isnan(gains[1]).sum() == (4 if name == "ff_map" else 0)


def test_adu_of_a_photon_must_be_a_number_above_zero():
    with pytest.raises(BadInput, match="adu_per_photon"):
        Steps(adu_per_photon=0.0)
    with pytest.raises(BadInput, match="parallel_sigma_high"):
        Steps(parallel_sigma_high=-1.0)
    with pytest.raises(BadInput, match="offset = false leaves the pedestal"):
        Steps(offset=False, relative_gain=False, adjust_mg_baseline=False, xray_gain=False).for_detector(
            detectors.load("LPD1M")
        )
