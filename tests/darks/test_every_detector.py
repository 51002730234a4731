"""Dark runs of every kind of word: bad pixels that were put in, and the same bytes whatever computes them."""

from __future__ import annotations

from math import erfc, sqrt

import numpy as np
import pytest
from shotsieve.constants import BadPixels, Constants
from shotsieve.darks import DarkOptions, make_dark_constants
from shotsieve.darks.collect import Gate

NAMES = (
    "AGIPD1M", "AGIPD500K", "LPD1M", "LPD1M in parallel gain", "LPDMINI", "DSSC1M", "JUNGFRAU", "EPIX100",
    "GOTTHARD2",
)  # fmt: skip
NOISE = (7.0, 5.0, 5.0)
TRAINS, CELLS = 60, 2
# Follows from the first trains, and cuts normal samples off, so that it is not without effect.
GATES = {"no gate": None, "gate": Gate(frames=20, low=0.1, high=0.9, widen=0.0)}
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
    """Detector and constants of a detector's dark runs, without and with a gate."""
    kept = {}

    def make(name, gate=None):
        if (name, gate) not in kept:
            detector, runs = runs_of(dark_run, name)
            out = tmp_path_factory.mktemp("every") / "c.h5"
            options = DarkOptions(min_frames=TRAINS, gate=gate)
            made = make_dark_constants(runs, out, options, backend="cpu")
            kept[name, gate] = detector, made.path
        return kept[name, gate]

    return make


@pytest.mark.parametrize("name", NAMES)
def test_injected_pixels_are_found_and_good_ones_left_alone(made_once, name):
    detector, path = made_once(name)
    constants, kind = Constants.open(path, detector), kinds(detector)
    sensors = detector.sensor_pixels().reshape(kind.shape)
    kind[~sensors] = -1
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
    assert (bad[..., ~sensors] == BadPixels.NON_SENSITIVE).all()
    good = kind == 0 if told[STUCK] else (kind == 0) | (kind == STUCK)
    assert (bad[..., good] != 0).mean() < 1e-3 + 2 * erfc(5 / sqrt(2))


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
@pytest.mark.parametrize("name", NAMES)
def test_same_bytes_on_every_backend_and_in_any_order_of_trains(
    made_once, dark_run, native_backend, tmp_path, name, gate
):
    """Where there is a gate, in any order of the trains that it follows from, and of those behind them."""
    detector, path = made_once(name, gate)
    rng = np.random.default_rng(7)
    first = gate.frames if gate else 0
    order = np.concatenate([rng.permutation(first), first + rng.permutation(TRAINS - first)])
    _, runs = runs_of(dark_run, name, order)
    frame = 2 * detector.plane_count * detector.pixels
    out = make_dark_constants(
        runs,
        tmp_path / "c.h5",
        DarkOptions(min_frames=TRAINS, gate=gate),
        backend=native_backend,
        block_bytes=13 * frame,
    ).path
    assert out.read_bytes() == path.read_bytes()


def test_the_gate_has_an_effect(made_once):
    """Else the tests with it would say nothing."""
    for name in NAMES:
        noise = [
            Constants.open(made_once(name, gate)[1], made_once(name)[0]).load("noise", 1)
            for gate in GATES.values()
        ]
        # Pixels stuck in another stage have no sample, and so no noise.
        assert np.nanmedian(noise[1]) < 0.9 * np.nanmedian(noise[0]), name
