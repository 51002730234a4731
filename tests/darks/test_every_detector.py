"""Dark runs of every kind of word: bad pixels that were put in, and the same bytes whatever computes them."""

from __future__ import annotations

from math import erfc, sqrt

import numpy as np
import pytest
from shotsieve.constants import BadPixels, Constants
from shotsieve.darks import DarkOptions, make_dark_constants

NAMES = ("AGIPD1M", "LPD1M", "LPD1M in parallel gain", "DSSC1M", "JUNGFRAU", "EPIX100", "GOTTHARD2")
NOISE = (7.0, 5.0, 5.0)
TRAINS, CELLS = 60, 2
DEAD, HOT, NOISY, STUCK = range(1, 5)


def kinds(detector):
    """What is wrong with each pixel, as a frame has them: one in a hundred of each kind."""
    shape = detector.frame_shape
    return np.random.default_rng(4).choice(5, shape, p=[0.96, 0.01, 0.01, 0.01, 0.01])


def spoil(detector, stage, order=None):
    """Return what puts bad pixels into the words of a run, and its trains into another order."""
    kind = kinds(detector)

    def wrong(rng, words, stage):
        words = words.astype("i4")
        more = np.zeros_like(words)
        more[..., kind == HOT] = round(10 * NOISE[stage])
        more[..., kind == NOISY] = np.rint(
            rng.normal(0, sqrt(8) * NOISE[stage], more[..., kind == NOISY].shape)
        )
        words += more
        words[..., kind == DEAD] = words[0, 0][kind == DEAD]
        return words

    def change(raw):
        rng = np.random.default_rng([9, stage])
        words = wrong(rng, raw[:, :, 0], stage)
        if detector.encoding == "word":
            other = detector.codes[(stage + 1) % 3] << detector.adc_bits
            words[..., kind == STUCK] = words[..., kind == STUCK] & (1 << detector.adc_bits) - 1 | other
        elif detector.encoding == "code":
            raw[:, :, 1][..., kind == STUCK] = detector.codes[(stage + 1) % 3]
        elif detector.encoding == "threshold":
            raw[:, :, 1][..., kind == STUCK] = 5000
        elif detector.encoding == "parallel":
            for g in (1, 2):
                raw[:, :, g] = wrong(rng, raw[:, :, g], g)
        raw[:, :, 0] = words
        if order is not None:
            raw[:] = raw.reshape(TRAINS, CELLS, *raw.shape[1:])[order].reshape(raw.shape)

    return change


def runs_of(dark_run, name, order=None):
    detector = dark_run(name, trains=1, modules=(1,)).detector
    made = [
        dark_run(name, stage=g, trains=TRAINS, change=spoil(detector, g, order))
        for g in range(1 if detector.encoding == "parallel" else detector.stages)
    ]
    return detector, made


@pytest.fixture(scope="module")
def made_once(dark_run, tmp_path_factory):
    """Detector, runs and constants of a detector's dark runs."""
    kept = {}

    def make(name):
        if name not in kept:
            detector, runs = runs_of(dark_run, name)
            out = tmp_path_factory.mktemp("every") / "c.h5"
            options = DarkOptions(min_frames=TRAINS)
            kept[name] = detector, runs, make_dark_constants(runs, out, options, backend="cpu").path
        return kept[name]

    return make


@pytest.mark.parametrize("name", NAMES)
def test_injected_pixels_are_found_and_good_ones_left_alone(made_once, name):
    detector, _, path = made_once(name)
    constants, kind = Constants.open(path, detector), kinds(detector)
    bad = np.stack([constants.load("bad_pixels", module) for module in (1, 2)])
    stuck = {"threshold": BadPixels.GAIN_THRESHOLDING_ERROR, "plain": 0, "parallel": 0}
    told = {
        DEAD: BadPixels.DATA_STD_IS_ZERO,
        HOT: BadPixels.OFFSET_OUT_OF_THRESHOLD,
        NOISY: BadPixels.NOISE_OUT_OF_THRESHOLD,
        STUCK: stuck.get(detector.encoding, BadPixels.WRONG_GAIN_VALUE),
    }
    for number, bit in told.items():
        if bit:
            assert (bad[..., kind == number] & np.uint32(bit) != 0).mean() >= 0.999, number
    good = kind == 0 if told[STUCK] else (kind == 0) | (kind == STUCK)
    assert (bad[..., good] != 0).mean() < 1e-3 + 2 * erfc(5 / sqrt(2))


@pytest.mark.parametrize("name", NAMES)
def test_same_bytes_on_every_backend_and_in_any_order_of_trains(
    made_once, dark_run, native_backend, tmp_path, name
):
    detector, _, path = made_once(name)
    order = np.random.default_rng(7).permutation(TRAINS)
    _, runs = runs_of(dark_run, name, order)
    frame = 2 * detector.plane_count * detector.pixels
    out = make_dark_constants(
        runs,
        tmp_path / "c.h5",
        DarkOptions(min_frames=TRAINS),
        backend=native_backend,
        block_bytes=13 * frame,
    ).path
    assert out.read_bytes() == path.read_bytes()
