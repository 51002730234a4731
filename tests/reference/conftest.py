"""Random constants and words for modules of a few pixels."""

import dataclasses

import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.constants import Constants

PIXELS = (8, 16)
BROKEN = {
    "offset": [np.nan, np.inf, -np.inf, 0.0, 70000.0],
    "thresholds": [np.nan, np.inf, 0.0, 65535.0, 65534.5],
    "relative_gain": [np.nan, np.inf, 0.0, -3.0],
    "mg_baseline": [np.nan, -np.inf],
    "noise": [np.nan, np.inf, 0.0, -3.0],
    "adu_per_kev": [np.nan, np.inf, 0.0, -7.0],
}


def random_constants(detector, rng, cells, broken=0.1):
    """Return constants of module 0: plausible values, a share of them broken in every way."""

    def draw(name, low, high, gains):
        values = rng.uniform(low, high, (gains, cells, *detector.shape)).astype("f4")
        hurt = rng.random(values.shape) < broken
        values[hurt] = rng.choice(np.float32(BROKEN[name]), hurt.sum())
        return values

    stages = detector.stages
    signs = np.where(rng.random((3, cells, *detector.shape)) < 0.5, -1, 1) if detector.signed_gain else 1
    arrays = {
        "offset": draw("offset", 1000, 16000, stages),
        "adu_per_kev": (draw("adu_per_kev", 0.1, 50, 3 if detector.signed_gain else 1) * signs).astype("f4"),
        "bad_pixels": np.where(
            rng.random((stages, cells, *detector.shape)) < broken,
            rng.integers(0, 2**32, (stages, cells, *detector.shape)),
            0,
        ).astype("u4"),
    }
    if detector.encoding == "threshold":
        arrays["thresholds"] = draw("thresholds", 0, 65535, 2)
        narrow = rng.random(arrays["thresholds"][0].shape) < 0.3
        arrays["thresholds"][1][narrow] = arrays["thresholds"][0][narrow] * np.float32(1.04)
        arrays["relative_gain"] = draw("relative_gain", 0.5, 150, 3)
        arrays["mg_baseline"] = draw("mg_baseline", -500, 500, 1)
    if detector.encoding == "plain" and "relative_gain" in detector.steps:
        arrays["relative_gain"] = draw("relative_gain", 0.5, 2, 1)
    if "ff_map" in detector.steps:
        arrays["relative_gain"] = draw("relative_gain", 0.5, 150, 3)
        arrays["ff_map"] = draw("relative_gain", 0.5, 2, rng.choice([1, 3]))
        arrays["gain_amp_map"] = draw("relative_gain", 0.5, 2, rng.choice([1, 3]))
        arrays["noise"] = draw("noise", 0.5, 30, 3)
    if "linearise" in detector.steps:  # a curve of each strip, and entries that are anything
        entries = 1 << detector.adc_bits
        slope = rng.uniform(0.8, 1.2, (1, cells, *detector.shape)).astype("f4")
        curve = (np.arange(entries, dtype="f4")[:, None, None, None] * slope).astype("u2")
        hurt = rng.integers(0, curve.size, curve.size // 100)
        curve.reshape(-1)[hurt] = rng.integers(0, 65536, len(hurt))
        arrays["linearisation"] = curve
    return Constants.from_arrays(detector, {k: v[None] for k, v in arrays.items()}, modules=[0])


def random_words(detector, rng, frames):
    """Return raw words over the whole 16-bit range, with the special ones in plenty."""
    pixels = detector.pixels
    adc = rng.integers(0, 65536, (frames, pixels), dtype=np.uint16)
    near = rng.random(adc.shape) < 0.5
    adc[near] = rng.integers(0, 16384, near.sum(), dtype=np.uint16)
    special = rng.random(adc.shape) < 0.1
    adc[special] = rng.choice(np.uint16([0, 1, 0x3FFF, 0x4000, 0xFFFF]), special.sum())
    gain = rng.integers(0, 65536, (frames, pixels), dtype=np.uint16)
    if detector.encoding == "code":
        codes = rng.random(gain.shape) < 0.95
        gain[codes] = rng.choice(np.uint16([0, 0, 1, 2, 3]), codes.sum())
    if detector.encoding == "word":
        return np.where(rng.random(adc.shape) < 0.5, adc, adc & 0x0FFF)[:, None]
    if detector.encoding == "parallel":
        return np.stack([adc, gain, rng.permuted(gain)], axis=1)
    return np.stack([adc, gain], axis=1)[:, : detector.plane_count]


@pytest.fixture
def agipd():
    return dataclasses.replace(detectors.load("AGIPD1M"), shape=PIXELS)


@pytest.fixture
def epix100():
    return dataclasses.replace(detectors.load("EPIX100"), shape=PIXELS)


@pytest.fixture
def gotthard2():
    return dataclasses.replace(detectors.load("GOTTHARD2"), shape=(1, 128))


@pytest.fixture
def jungfrau():
    return dataclasses.replace(detectors.load("JUNGFRAU"), shape=PIXELS)


@pytest.fixture
def word():
    """A detector whose words hold signal and gain code, as those of LPD."""
    return dataclasses.replace(
        detectors.load("JUNGFRAU"), shape=PIXELS, encoding="word", plane_count=1, planes=("data",),
        codes=(0, 1, 2), adc_bits=12, lost_adc=-1, saturated_adc=-1, signed_gain=False,
        steps=("offset", "xray_gain"),
    )  # fmt: skip


@pytest.fixture
def lpd():
    return dataclasses.replace(detectors.load("LPD1M"), shape=PIXELS)


@pytest.fixture
def parallel(lpd):
    return lpd.in_parallel_gain()


@pytest.fixture
def dssc():
    return dataclasses.replace(detectors.load("DSSC1M"), shape=PIXELS)


@pytest.fixture
def plain():
    """A detector with one gain stage, as ePix100."""
    return dataclasses.replace(
        detectors.load("JUNGFRAU"), shape=PIXELS, encoding="plain", plane_count=1, planes=("data",),
        codes=(), adc_bits=9, lost_adc=-1, saturated_adc=-1, signed_gain=False,
        steps=("offset", "xray_gain", "round_photons"),
        gain_modes={"0": "fixed_high"},
    )  # fmt: skip


@pytest.fixture
def make_constants():
    return random_constants


@pytest.fixture
def make_words():
    return random_words
