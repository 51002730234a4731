"""Runs of receivers' detectors from file to file: photons come back, contents agree, readers read."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.constants import Constants
from shotsieve.constants.bad_pixels import BadPixels
from shotsieve.engine.against import check_against
from shotsieve.reference.calibrate_unfolded import calibrate_unfolded
from shotsieve.simulate.receiver import receiver_constants

from .receiver_runs import frames_of, photons_of, recipe_of

ALL = {"keep": {"rule": "lit_pixels >= 0"}}


def reduced(run, folder, **sections):
    return shotsieve.reduce(run.raw, recipe_of(run, **sections), folder, backend="cpu")


def test_photons_come_back(run, tmp_path):
    """Errors in high gain are the noise; lower stages have no bias."""
    p, family = run.parameters, run.parameters.family
    result = reduced(run, tmp_path / "o", **ALL)
    assert result.accounts.kept == p.n_trains * p.n_frames
    energy, mask = frames_of(result.out), frames_of(result.out, "mask")
    truth, stage = photons_of(run), frames_of(result.out, "gain")
    good = (mask & ~np.uint32(BadPixels.NON_STANDARD_SIZE)) == 0
    assert 0.98 < good.mean() < 1
    np.testing.assert_array_equal(stage[good], truth["stage"][good])
    constants = Constants.open(run.constants)
    noise = [constants.load("noise", m)[:, 0].reshape(family.stages, *family.frame_shape) for m in p.modules]
    noise = np.stack(noise, axis=1)
    gain = np.stack([constants.load("adu_per_kev", m)[:, 0] for m in p.modules], axis=1)
    if constants.has("relative_gain"):
        gain = gain / np.stack([constants.load("relative_gain", m)[:, 0] for m in p.modules], axis=1)
    gain = gain.reshape(noise.shape)
    if p.common_mode:  # a spot moves the medians of rows that it fills
        good = good & (truth["hit"] == 0)[:, :, None, None, None]
    for g in range(family.stages):
        here = good & (truth["stage"] == g)
        error = (energy - truth["photons"] * p.photon_energy_kev) * gain[g]
        # The ADC rounds, and so does a table of words; a common mode leaves a little of itself.
        left = 1 / 12 * (2 if constants.has("linearisation") else 1)
        sigma = np.sqrt(noise[g] ** 2 + left + (0.03 * noise[g] ** 2 if p.common_mode else 0))
        score = (error / sigma)[here]
        assert score.size > 50
        assert abs(score.mean()) < 3 / np.sqrt(score.size) + (0.02 if p.common_mode else 0.01)
        if g == 0:
            assert score.std() == pytest.approx(1, abs=0.03)
        assert (np.abs(score) > 4).mean() < 1e-3


def test_the_common_mode_of_banks_is_removed(simulated, tmp_path):
    run = simulated("EPIX100")
    in_adu = {"measure": {"lit": {"threshold": "50 ADU"}}, **ALL}
    with_it = frames_of(reduced(run, tmp_path / "a", calibrate={"xray_gain": False}, **in_adu).out)
    sections = {"calibrate": {"xray_gain": False, "common_mode": False}, **in_adu}
    without = frames_of(reduced(run, tmp_path / "b", **sections).out)
    with h5py.File(run.truth) as file:
        injected = file["common_mode"][:]
    relative = Constants.open(run.constants).load("relative_gain", 1)[0, 0]
    removed = (without - with_it) / relative
    quiet = photons_of(run)["hit"] == 0
    left = (removed - injected)[quiet]
    # A median has 1.25 times the error of a mean; the second pass sees neither rows nor columns as noise.
    noise = float(np.median(Constants.open(run.constants).load("noise", 1))) ** 2
    error = noise * (1 / (352 * 96) + 1 / 96 + 1 / 352)
    assert np.sqrt(np.nanmean(np.square(left))) < 1.3 * np.sqrt(error)
    assert np.nanstd(injected) > 8 * np.sqrt(error)


@pytest.mark.parametrize("content", ["corrected", "photons", "rounded"])
def test_reducing_and_calibrating_commute(run, tmp_path, content):
    """calibrate(reduce(raw)) is reduce(calibrate(raw)), bit for bit."""
    write = {"content": content} | ({"rounding_relative": 0.01} if content == "rounded" else {})
    at_once = reduced(run, tmp_path / "once", write=write)
    raw = reduced(run, tmp_path / "raw", write={"content": "raw"})
    later = shotsieve.reduce(raw.out, recipe_of(run, write=write, **ALL), tmp_path / "later", backend="cpu")
    assert 0 < at_once.accounts.kept == later.accounts.kept
    assert run.parameters.detector == "JUNGFRAU" or at_once.accounts.dropped
    for plane in ("data", "gain", "mask"):
        first, second = frames_of(at_once.out, plane), frames_of(later.out, plane)
        assert first.shape == second.shape
        assert first.tobytes() == second.tobytes()


def test_photon_lists_of_what_was_reduced_are_the_same(run, tmp_path):
    at_once = reduced(run, tmp_path / "once", write={"content": "photon_list"})
    raw = reduced(run, tmp_path / "raw", write={"content": "raw"})
    again = recipe_of(run, write={"content": "photon_list"}, **ALL)
    later = shotsieve.reduce(raw.out, again, tmp_path / "later", backend="cpu")
    found = []
    for out in (at_once.out, later.out):
        with shotsieve.PhotonLists(out) as lists:
            found.append([*lists.frames(), lists.train_id, lists.pulse_id, lists.present])
    assert found[0][0].any()
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("content", ["corrected", "raw"])
def test_an_output_is_what_its_recipe_gives(run, tmp_path, content):
    result = reduced(run, tmp_path / "o", write={"content": content})
    report = check_against(check(result.out), run.raw, backend="cpu")
    assert report.ok, report.summary()


def test_extra_data_reads_the_output(run, tmp_path):
    extra_data = pytest.importorskip("extra_data")
    p = run.parameters
    result = reduced(run, tmp_path / "o", **ALL)
    data = extra_data.RunDirectory(result.out)
    raw = extra_data.RunDirectory(run.raw)
    frames = (p.n_trains, p.n_frames) if p.family.layout == "trains" else (p.n_trains,)
    key = "data." + p.family.planes[0].replace("/", ".")
    recorded = sorted(name for name in raw.instrument_sources if p.detector_name in name)
    for name in recorded:
        assert raw[name, key].shape == (*frames, *p.family.frame_shape)
        corrected = name.replace("/DET/", "/CORR/")
        assert data[corrected, key].shape == (*frames, *p.family.frame_shape)
        assert data[corrected, key].ndarray().dtype == np.float32
        assert data[corrected, "data.mask"].ndarray().dtype == np.uint32
        np.testing.assert_array_equal(data[corrected, key].train_id_coordinates(), data.train_ids)


def test_values_agree_with_an_independent_calculation(run, tmp_path):
    """float64, step by step, from the constants as they are; each frame by the memory cell it has."""
    p, family = run.parameters, run.parameters.family
    calibrate = {"xray_gain": True, "common_mode": False}
    found = frames_of(reduced(run, tmp_path / "o", calibrate=calibrate, **ALL).out)[0]
    raw = reduced(run, tmp_path / "r", write={"content": "raw"}, calibrate=calibrate, **ALL).out
    planes = [frames_of(raw)[0]] + ([frames_of(raw, "gain")[0]] if family.plane_count > 1 else [])
    constants = receiver_constants(p)
    for m in range(len(p.modules)):
        words = np.stack([plane[:, m].reshape(p.n_frames, -1) for plane in planes], axis=1).astype("u2")
        rows = constants.row_of_cell(p.cells)
        arrays = {
            name: constants.load(name, p.modules[m]).reshape(-1, len(p.constants_cells), family.pixels)
            for name in constants.names
        }
        if "linearisation" in arrays:
            table = arrays.pop("linearisation")
            for frame, row in enumerate(rows):
                words[frame, 0] = table[words[frame, 0], row, np.arange(family.pixels)]
        if family.stages == 1:  # the oracle knows of three stages: this detector is always in the first
            words = np.concatenate([words, np.zeros_like(words)], axis=1)
            arrays = {name: np.repeat(array, 3, axis=0) for name, array in arrays.items()}
        names = ("offset", "relative_gain", "adu_per_kev", "bad_pixels")
        given = {name: arrays.get(name) for name in names}
        oracle = calibrate_unfolded(words, rows, **given, encoding=1, signed_gain=family.signed_gain)
        stage, pixel = oracle.stage, np.arange(family.pixels)
        gain = np.stack([arrays["adu_per_kev"][stage[k], row, pixel] for k, row in enumerate(rows)])
        bound = 2.0**-20 * 2 ** (family.adc_bits + 1) / np.abs(gain)
        mine = found[:, m].reshape(p.n_frames, -1)
        both = ~np.isnan(mine)
        assert (both == ~np.isnan(oracle.pixels)).all()
        assert (np.abs(mine - oracle.pixels)[both] <= bound[both]).all()
