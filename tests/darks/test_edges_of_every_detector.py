"""Edge cases of constants from darks, of every kind of word: single trains, still pixels, what is missing."""

from __future__ import annotations

import numpy as np
import pytest
from shotsieve.constants import BadPixels, Constants
from shotsieve.darks import DarkOptions, make_dark_constants
from shotsieve.darks.rules import preset

from .test_every_detector import NAMES

FEW = DarkOptions(min_frames=1)
PIXEL = 2 * 64 + 7  # of a sensor in each of them
every = pytest.mark.parametrize("name", NAMES)


def runs_of(dark_run, name, **more):
    """One run for each gain stage, or one in parallel gain; `more` may have a list for each run."""
    detector = dark_run(name, trains=1, modules=(1,)).detector
    count = 1 if detector.encoding == "parallel" else detector.stages
    each = [
        {key: value[g] if isinstance(value, list) else value for key, value in more.items()}
        for g in range(count)
    ]
    return [dark_run(name, stage=g, **own) for g, own in enumerate(each)]


def made(runs, folder, backend, options=FEW):
    out = make_dark_constants(runs, folder / "c.h5", options, backend=backend)
    return out, Constants.open(out.path, runs[0].detector)


def load(constants, name, module):
    """Constants as (stages, cells, pixels of sensors), float64 where they are numbers."""
    values = constants.load(name, module)
    flat = values.reshape(*values.shape[:2], -1)[..., constants.detector.sensor_pixels()]
    return flat.astype("f8") if flat.dtype.kind == "f" else flat


def samples(run, stage):
    """Values of a run (trains, cells, modules, pixels of sensors), and which are of the stage."""
    detector, raw = run.detector, run._frames
    raw = raw.reshape(*raw.shape[:3], -1)[..., detector.sensor_pixels()].astype("i8")
    raw = raw.reshape(-1, len(np.unique(run.shots.cell_id)), *raw.shape[1:])
    value, code = raw[..., 0, :], None
    if detector.encoding == "parallel":
        value = raw[..., stage, :] % 4096
    elif detector.encoding == "word":
        value, code = value % 4096, value // 4096 % 4
    elif detector.encoding == "code":
        code = raw[..., 1, :]
    if detector.name == "DSSC1M":
        value = np.where(value == 0, 256, value)
    good = np.ones(value.shape, bool) if code is None else code == detector.codes[stage]
    if detector.family == "agipd":
        good &= value < 2**14
    if detector.name == "JUNGFRAU":  # (1, 0) and (3, 0) are saturated, (3, 0x3FFF) is a lost packet
        good &= (value < 2**14) & ((value > 0) | (stage == 0)) & ((value < 0x3FFF) | (stage < 2))
    if detector.name == "GOTTHARD2":
        good &= value < 4096
    return value, good


@every
def test_one_train_gives_offsets_and_no_noise(dark_run, tmp_path, native_backend, name):
    runs = runs_of(dark_run, name, trains=1)
    _, constants = made(runs, tmp_path, native_backend)
    bad, offset = (load(constants, key, 1) for key in ("bad_pixels", "offset"))
    for g in range(constants.detector.stages):
        value, good = samples(runs[min(g, len(runs) - 1)], g)
        assert good.all()
        np.testing.assert_array_equal(offset[g], value[0, :, 0])
    assert np.isnan(load(constants, "noise", 1)).all()
    assert (bad & np.uint32(BadPixels.OFFSET_NOISE_EVAL_ERROR) != 0).all()


@every
def test_a_constant_pixel_has_no_noise_and_is_bad(dark_run, tmp_path, native_backend, name):
    """Far from the others, so that no rounding lets anything through: its spread is 0 and not nearly 0."""
    detector = dark_run(name, trains=1, modules=(1,)).detector
    still = detector.adc_max - 1
    value_bits = (1 << detector.adc_bits) - 1

    def change(raw):
        words = raw.reshape(*raw.shape[:3], -1)
        planes = slice(None) if detector.encoding == "parallel" else 0
        words[:, :, planes, PIXEL] = words[:, :, planes, PIXEL] & ~np.uint16(value_bits) | np.uint16(still)

    _, constants = made(runs_of(dark_run, name, change=change), tmp_path, native_backend)
    bits = BadPixels.DATA_STD_IS_ZERO | BadPixels.NOISE_OUT_OF_THRESHOLD | BadPixels.OFFSET_OUT_OF_THRESHOLD
    assert (load(constants, "noise", 2)[..., PIXEL] == 0).all()
    assert (load(constants, "offset", 2)[..., PIXEL] == still).all()
    assert (load(constants, "bad_pixels", 2)[..., PIXEL] == int(bits)).all()


@every
def test_a_cell_that_a_run_lacks_has_no_dark_data(dark_run, tmp_path, native_backend, name):
    """With one run for all stages there is no such cell, and so none in the constants."""
    _, constants = made(
        runs_of(dark_run, name, trains=5, cells=[(0, 1), (0, 7), (0, 1)]), tmp_path, native_backend
    )
    none = load(constants, "bad_pixels", 1) & np.uint32(BadPixels.NO_DARK_DATA) != 0
    if constants.detector.stages == 3 and constants.detector.encoding != "parallel":
        assert constants.cell_ids.tolist() == [0, 1, 7]
        lacking = np.array([[0, 0, 1], [0, 1, 0], [0, 0, 1]], bool)
    else:
        assert constants.cell_ids.tolist() == [0, 1]
        lacking = np.zeros(none.shape[:2], bool)
    assert (none == lacking[:, :, None]).all()
    for key in ("offset", "noise"):
        assert (np.isnan(load(constants, key, 1)) == none).all()


@every
def test_a_module_that_a_run_lacks_is_said(dark_run, tmp_path, native_backend, name):
    """One that no run has is not in the constants."""
    absent = np.ones((10, 2), bool)
    absent[:, 0] = False
    runs = runs_of(dark_run, name, trains=5, present=[None, absent, None])
    if len(runs) == 1:
        runs = runs_of(dark_run, name, trains=5, present=absent)
        out, constants = made(runs, tmp_path, native_backend)
        assert out.modules == list(constants.modules) == [2]
        return
    out, constants = made(runs, tmp_path, native_backend)
    assert "module 1 recorded nothing in S1: it has no constants in medium gain" in out.notes
    none = np.uint32(BadPixels.NO_DARK_DATA)
    assert (load(constants, "bad_pixels", 1)[1] & none != 0).all()
    assert (load(constants, "bad_pixels", 1)[[0, 2]] & none == 0).all()
    assert (load(constants, "bad_pixels", 2) & none == 0).all()
    assert not constants.has("thresholds", 1)


@pytest.mark.parametrize("trial", [0, 1])
@every
def test_words_of_any_value_and_gain_code_are_taken_for_what_they_are(
    dark_run, tmp_path, native_backend, name, trial
):
    """A quarter of the samples: ends of the range, invalid codes, words that stand for something else."""
    detector = dark_run(name, trains=1, modules=(1,)).detector
    ends = np.array([0, 0, 1, detector.adc_max - 1, detector.adc_max])
    wide = 256 if "wrap256" in detector.steps else 2**16
    codes = np.arange(4)

    def change(raw):
        rng = np.random.default_rng([31, trial, int(raw[0, 0, 0].ravel()[PIXEL])])
        spoilt = rng.random(raw[:, :, 0].shape) < 0.25
        shape = np.count_nonzero(spoilt)
        words = np.where(rng.random(shape) < 0.5, rng.choice(ends, shape), rng.integers(0, wide, shape))
        if detector.encoding == "word":
            words = words % 4096 | rng.choice(codes, shape) << 12
        for plane in range(3 if detector.encoding == "parallel" else 1):
            raw[:, :, plane][spoilt] = rng.permutation(words)
        if detector.encoding == "code":
            raw[:, :, 1][spoilt] = rng.choice(codes, shape)

    runs = runs_of(dark_run, name, trains=60, change=change)
    rules = preset("default").changed(stuck_share=1.0)
    out, constants = made(
        runs, tmp_path, native_backend, DarkOptions(min_frames=1, rules=rules, common_mode=False)
    )
    told = out.provenance["dark"]["runs"]
    for g in range(detector.stages):
        value, good = samples(runs[min(g, len(runs) - 1)], g)
        counts = {"counted": int(good.sum()), "wrong": int((~good).sum()), "outside the gate": 0}
        assert told[g]["samples"] == counts
        for at, module in enumerate((1, 2)):
            mine = np.ma.array(value[:, :, at].astype("f8"), mask=~good[:, :, at])
            for key, wanted in (("offset", mine.mean(axis=0)), ("noise", mine.std(axis=0, ddof=1))):
                np.testing.assert_allclose(load(constants, key, module)[g], wanted.filled(np.nan), rtol=1e-6)
            bit = BadPixels.VALUE_OUT_OF_RANGE if detector.family == "agipd" else BadPixels.WRONG_GAIN_VALUE
            found = load(constants, "bad_pixels", module)[g] & np.uint32(bit) != 0
            np.testing.assert_array_equal(found, (~good[:, :, at]).mean(axis=0) > 0.01)
