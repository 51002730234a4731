"""The round trip of LPD and DSSC: photons as they were drawn, through raw words, come out of the calibration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr
from shotsieve.calibrate import CalibrateParams
from shotsieve.constants import Steps, fold
from shotsieve.reference.calibrate import calibrate_count_folded
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory, facility_arrays
from shotsieve.simulate.kinds import detector_of
from shotsieve.simulate.memory import build
from shotsieve.simulate.noise import generator

# Photons of a pixel, evenly over the stages; with one stage up to the end of its range.
LPD = {12.0: (0, 3, 80, 400, 1200, 3000, 12000), 18.0: (0, 2, 50, 300, 800, 2000, 8000)}
FLUX = {"LPD1M": LPD, "DSSC1M": {1.0: (0, 1, 2, 5, 20, 45)}}
CASES = [("LPD1M", 12.0, False), ("LPD1M", 18.0, False), ("LPD1M", 12.0, True), ("DSSC1M", 1.0, False)]
CELL, MODULE = 1, 5


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1]:g}-{case[2]}")
def trip(request):
    """Return the model and the photons found of frames in which every pixel has the same number."""
    name, energy, parallel = request.param
    p = SpiParameters(
        detector=name, parallel_gain=parallel, n_cells=2, modules=(MODULE,), photon_energy_kev=energy
    )
    _, model, _ = build(p)
    flux, detector = np.array(FLUX[name][energy]), detector_of(p)
    pixels = np.arange(detector.pixels)
    raw = np.empty((len(flux), model.planes, detector.pixels), "u2")
    stage = np.empty((len(flux), detector.pixels), "u1")
    for i, n in enumerate(flux):
        kev = np.full(detector.pixels, n * energy)
        model.words(generator(1, i), MODULE, CELL, pixels, kev, raw[i], stage[i])
    steps = Steps().for_detector(detector)
    mode = "adaptive" if detector.stages == 3 else "fixed_high"
    table = fold(constants_in_memory(p, model), detector, MODULE, [0, 1], steps, "photon", energy).table
    params = CalibrateParams.from_steps(steps, detector, mode, 0.5).kernel_args()
    found = calibrate_count_folded(raw, np.full(len(flux), CELL), table, **params)
    return model.module(MODULE), energy, flux, stage, found


def test_stages_are_found_and_all_are_there(trip):
    module, _, _, stage, found = trip
    good = np.stack([module.good(CELL, g) for g in range(module.chip.stages)])
    for i in range(len(stage)):
        here = good[stage[i], np.arange(stage.shape[1])]
        np.testing.assert_array_equal(found.stage[i][here], stage[i][here])
        assert np.isnan(found.pixels[i][~here]).all()
    assert np.unique(stage).tolist() == list(range(module.chip.stages))


def test_photons_are_unbiased_and_errors_are_those_of_the_noise(trip):
    module, energy, flux, stage, found = trip
    for g in range(module.chip.stages):
        good = module.good(CELL, g)
        scale = module.true_adu_per_kev(g) * energy  # ADU of a photon
        sigma = np.hypot(module.true_noise(g, CELL), np.sqrt(1 / 12)) / np.where(scale > 0, scale, 1)
        errors, wanted = [], []
        for i, n in enumerate(flux):
            here = good & (stage[i] == g)
            # Where only a part of the pixels is in a stage, noise has chosen which.
            if here.sum() > 0.99 * good.sum():
                errors.append((found.pixels[i][here].astype(float) - n) / sigma[here])
                wanted.append(sigma[here])
        assert errors, g
        every = np.concatenate(errors)
        assert abs(every.mean()) < 3 / np.sqrt(every.size)
        assert (np.abs(every) < 4).mean() > 0.999
        if g == 0:  # a photon too many, one too few: as often as normal noise has them
            sigmas = np.concatenate(wanted)
            for tail in (every * sigmas >= 0.5, every * sigmas < -0.5):
                expected = ndtr(-0.5 / sigmas)
                assert abs(tail.sum() - expected.sum()) < 4 * np.sqrt(expected.sum()) + 0.03 * expected.sum()


def test_facility_has_no_gain_of_dssc_and_names_the_axes_of_lpd():
    for name, constants in (
        ("DSSC1M", {"Offset": (512, 128, 2), "Noise": (512, 128, 2)}),
        ("LPD1M", {"Offset": (256, 256, 2, 3), "FFMap": (256, 256, 2, 3), "BadPixelsFF": (256, 256, 2)}),
    ):
        p = SpiParameters(detector=name, n_cells=2, modules=(MODULE,))
        _, model, _ = build(p)
        arrays = facility_arrays(p, model.module(MODULE))
        assert {key: arrays[key].shape for key in constants} == constants
