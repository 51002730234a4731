"""The peak finder against the oracle on frames of real detectors, and on an independent simulation."""

from __future__ import annotations

from functools import cache

import h5py
import numpy as np
import pytest
from shotsieve.geometry import Geometry

from .cases import Case, assert_same_peaks, compare_shot, grid

KEV = 9.3
BACKGROUNDS = (0.0, 0.05, 0.5, 2.0)  # photons per pixel


@cache
def prepared(make, *arguments):
    """Return a case and the oracle's answer, once for all backends."""
    case = make(*arguments)
    return case, case.oracle()


def agree(backend, least, make, *arguments):
    """Assert that a backend finds what the oracle does, at least so many peaks."""
    case, found = prepared(make, *arguments)
    peaks = case.search(backend=backend)
    inside = compare_shot(found, peaks)
    assert_same_peaks(peaks, case.search(backend=backend, statistics="full"))
    assert len(found.records) >= least
    assert inside <= max(1, 1e-4 * len(found.records))


def cspad(folder, beam, threshold):
    frame = np.load(folder / "sfx" / "cxitut13_r10_32_cspadAsic.npy")
    radius = np.hypot(*(np.mgrid[:185, :388] - np.reshape(beam, (2, 1, 1)))).astype("f4")
    params = {"threshold": threshold, "min_snr": 7, "min_pix_count": 2, "max_pix_count": 30,
              "local_bg_radius": 4}  # fmt: skip
    return Case(frame, radius, None, grid(185, 388, 185, 194), params)


@pytest.mark.parametrize("beam", [(200.0, -150.0), (92.5, 194.0)], ids=["outside", "inside"])
@pytest.mark.parametrize("threshold", [200, 60])
def test_cspad(native_backend, real_data, beam, threshold):
    agree(native_backend, 5, cspad, real_data, beam, threshold)


def jungfrau(folder, shot, threshold, least):
    with h5py.File(folder / "jungfrau_psi_mod5" / "jf_mod5_shared.h5") as file:
        raw, gain = file["raw"][shot], file["gain_recovered"][()]
        pedestal = np.stack([file[f"pedeG{stage}"][()] for stage in range(3)])
    adc, code = raw & 0x3FFF, raw >> 14
    stage = np.select([code == 1, code == 3], [1, 2], 0)[None]
    with np.errstate(invalid="ignore", divide="ignore"):
        values = adc - np.take_along_axis(pedestal, stage, 0)[0]
        values = (values / np.take_along_axis(gain, stage, 0)[0]).astype("f4")
    mask = (code != 2) & ~((code == 3) & (adc == 0))
    mask[[0, 255, 256, 511]] = False  # pixels of twice the size beside the gaps between chips
    mask[:, [0, *np.r_[255:1023:256], *np.r_[256:1023:256], 1023]] = False
    radius = np.hypot(np.arange(512)[:, None] + 26, np.arange(1024) - 76.5).astype("f4")
    params = {"threshold": threshold, "min_snr": 5, "min_pix_count": least, "max_pix_count": 50,
              "local_bg_radius": 3}  # fmt: skip
    return Case(values, radius, mask, grid(512, 1024, 256, 256), params)


@pytest.mark.parametrize("shot", range(10))
def test_jungfrau(native_backend, real_data, shot):
    threshold, least = [(20, 1), (6, 2)][shot % 2]
    agree(native_backend, 20, jungfrau, real_data, shot, threshold, least)


def lysozyme(folder, pattern, background, unit, whole):
    modules = slice(None) if whole else slice(4 * 512, 8 * 512)
    rng = np.random.default_rng([pattern, int(100 * background)])
    geometry = Geometry.load(folder / "sim" / "agipd_p700000_slab.geom")
    with h5py.File(folder / "sim" / "pattern_sim_agipd_hewl_3.h5") as file:
        photons = file["data"][pattern, modules].astype("f4")
    photons += rng.poisson(background, photons.shape)
    # Two pixels and 4.3 photons, a sensitive setting; whole photons equal their threshold all the time.
    params = {"min_snr": 5, "min_pix_count": 2, "max_pix_count": 30, "local_bg_radius": 3}
    if unit == "keV":
        frame, params["threshold"] = photons * KEV + rng.normal(0, 1.2, photons.shape), 40
    else:
        frame, params["threshold"], params["noise_floor"] = photons, 4, 0.1
    return Case(frame.astype("f4"), geometry.radius()[modules], None, grid(len(frame), 128, 64, 128), params)


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("unit", ["keV", "photon"])
def test_simulated_lysozyme(native_backend, real_data, background, unit):
    """Each of the three patterns, the whole detector; the emulator, which is slow, sees four modules."""
    pattern = (BACKGROUNDS.index(background) + (unit == "photon")) % 3
    whole = native_backend.name != "emu"
    agree(native_backend, 3, lysozyme, real_data, pattern, background, unit, whole)
