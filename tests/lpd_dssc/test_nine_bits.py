"""DSSC with nine bits: a word above 256 says so, and is refused where a stored 0 would become 256."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from h5py import File
from shotsieve import detectors
from shotsieve.constants import Constants, Steps
from shotsieve.errors import BadInput
from shotsieve.sources.memory import MemorySource

DETECTOR = detectors.load("DSSC1M")
CONSTANTS = Constants.from_arrays("DSSC1M", {"offset": np.full((1, 1, 2, 128, 512), 40, "f4")}, modules=[3])
STEPS = {"xray_gain": False}
REFUSED = r"found a word of 300 in module 3 of train 11, .* nine bits.*0 is 0 and not 256.*wrap256 = false"


def words(highest):
    """Two trains of two shots, with the highest word in the last of them, and a 0 everywhere."""
    raw = np.full((4, 1, 1, 128, 512), 60, "u2")
    raw[..., 0, 0] = 0
    raw[3, 0, 0, 5, 6] = highest
    return raw


def source(frames, **more):
    return MemorySource(DETECTOR, frames, [10, 10, 11, 11], [0, 1] * 2, [0, 1] * 2, modules=[3], **more)


def recipe(train=11, **steps):
    return {
        "calibrate": {**STEPS, "gain_mode": "adaptive", **steps},
        "measure": {"lit": {"threshold": "10 ADU"}},
        "keep": {"rule": f"train_id == {train}"},
        "write": {"content": "corrected"},
    }


def reduced(run, out, how, backend, **options):
    made = shotsieve.reduce(run, how, out, constants=CONSTANTS, backend=backend, **options)
    with File(next(made.out.glob("CORR-*.h5"))) as file:
        [group] = file["INSTRUMENT"].values()
        return group["CORR/3CH0:output/image/data"][()]


def test_a_reduction_refuses_a_word_that_eight_bits_cannot_hold(tmp_path, backend_name):
    """Also where it comes late, and is in no block that was looked at before."""
    for block in (1, 10**9):
        with pytest.raises(BadInput, match=REFUSED):
            reduced(source(words(300)), tmp_path / str(block), recipe(), backend_name, block_bytes=block)
    data = reduced(source(words(300)), tmp_path / "nine", recipe(wrap256=False), backend_name)
    assert data[:, 0, 0].tolist() == [-40, -40]
    assert data[1, 5, 6] == 260


@pytest.mark.parametrize("highest", [255, 256])
def test_eight_bits_are_as_they_were(highest, tmp_path, backend_name):
    data = reduced(source(words(highest)), tmp_path / "out", recipe(), backend_name)
    assert data[:, 0, 0].tolist() == [216, 216]
    assert data[1, 5, 6] == highest - 40


def test_words_that_nobody_calibrates_are_not_looked_at(tmp_path):
    """A copy of raw words says nothing of what a 0 is; nor do frames that no module recorded."""
    how = {"keep": {"rule": "train_id == 11"}, "write": {"content": "raw"}}
    assert shotsieve.reduce(source(words(300)), how, tmp_path / "raw", backend="cpu").accounts.kept == 2
    there = np.array([[True], [True], [False], [False]])
    absent = source(lambda at, out: np.copyto(out, words(300)[at]), present=there)
    assert reduced(absent, tmp_path / "absent", recipe(train=10), "cpu")[0, 0, 0] == 216


def test_frames_in_memory(backend_name):
    raw, cells = words(300), [0, 1, 0, 1]
    calibrate = shotsieve.Calibrator(CONSTANTS, steps=Steps(**STEPS), backend=backend_name)
    refused = r"calibrate_frames: found a word of 300, .* nine bits.*Steps\(wrap256=False\)"
    with pytest.raises(BadInput, match=refused):
        calibrate(raw, cells)
    assert calibrate(raw[:3], cells[:3]).data[:, 0, 0, 0].tolist() == [216] * 3
    nine = shotsieve.Calibrator(CONSTANTS, steps=Steps(**STEPS, wrap256=False), backend=backend_name)
    data = nine(raw, cells).data
    assert (data[3, 0, 0, 0], data[3, 0, 5, 6]) == (-40, 260)


def test_an_engine_refuses_blocks_in_memory(backend_name):
    def blocks():
        for train in (0, 1):
            raw = words(300)[2 * train : 2 * train + 2]
            yield shotsieve.Block(raw, 10 + train, [0, 1], [0, 1])

    how = {"calibrate": {**STEPS, "gain_mode": "adaptive"}, "measure": {"lit": {"threshold": "10 ADU"}}}
    engine = shotsieve.Engine(how, CONSTANTS, detector="DSSC1M", modules=[3], backend=backend_name)
    with pytest.raises(BadInput, match=REFUSED):
        list(engine.run(blocks()))
