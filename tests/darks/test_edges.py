"""Edge cases of constants from darks: special words, gates, rules, gains that are taken over."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from shotsieve.constants import BadPixels, Constants
from shotsieve.darks import DarkOptions, make_dark_constants
from shotsieve.darks.collect import Gate
from shotsieve.darks.gains import GAIN_BITS
from shotsieve.darks.rules import Rules, preset, presets
from shotsieve.errors import BadInput

FEW = DarkOptions(min_frames=1)


def made(runs, folder, options=FEW, backend="cpu"):
    out = make_dark_constants(runs, folder / "c.h5", options, backend=backend, overwrite=True)
    return Constants.open(out.path, runs[0].detector)


def three(dark_run, name="AGIPD1M", **more):
    return [dark_run(name, stage=g, **more) for g in range(3)]


def test_words_that_are_no_measurement_are_left_out(dark_run, tmp_path, backend_name):
    """JUNGFRAU: (3, 0x3FFF) is a lost packet, and (1, 0) and (3, 0) are saturated."""

    def spoil(raw):
        raw[::10, :, 0] = 0x3FFF
        raw[1::10, :, 0] = 0

    runs = three(dark_run, "JUNGFRAU", trains=100, modules=(1,), cells=(15,), change=spoil)
    rules = preset("default").changed(wrong_share=0.15)
    constants = made(runs, tmp_path, DarkOptions(rules=rules), backend_name)
    offset, bad = constants.load("offset", 1), constants.load("bad_pixels", 1)
    # Lost packets of low gain and zeros of both are known for what they are.
    assert np.median(offset[2]) == pytest.approx(8600, abs=1)
    assert np.median(offset[1]) > 8500
    wrong = bad & np.uint32(BadPixels.WRONG_GAIN_VALUE) != 0
    assert wrong[2].all()
    assert not wrong[1].any()
    samples = [run["samples"] for run in constants.provenance["dark"]["runs"]]
    assert [one["wrong"] for one in samples] == [0, 10 * 32 * 64, 20 * 32 * 64]
    assert [one["counted"] for one in samples] == [100 * 32 * 64, 90 * 32 * 64, 80 * 32 * 64]


def test_a_gate_of_equal_quantiles_keeps_two_values():
    samples = np.full((50, 1), 700, "u2")
    low, high = Gate(widen=0.0).of(samples, np.zeros(samples.shape, bool))
    assert (low.item(), high.item()) == (700, 701)
    low, high = Gate(widen=0.0).of(samples, np.ones(samples.shape, bool))
    assert (low.item(), high.item()) == (0, 65535)


def test_a_gate_does_not_see_samples_of_another_stage():
    samples = np.array([[10], [11], [60000], [12], [13], [14]], "u2")
    low, high = Gate(widen=0.0, low=0.0, high=1.0).of(samples, samples > 50000)
    assert (low.item(), high.item()) == (10, 14)


def test_the_gate_follows_from_the_first_trains_alone(dark_run, tmp_path):
    """The last trains are changed; only what is counted follows them, and not the gate."""

    def late(raw):
        raw[-30:, :, 0] = 9

    options = DarkOptions(min_frames=1, gate=Gate(frames=20))
    constants = made(three(dark_run, change=late), tmp_path, options)
    assert np.median(constants.load("offset", 1)[0]) == pytest.approx(5000, abs=1)
    outside = constants.load("bad_pixels", 1) & np.uint32(BadPixels.NOISE_OUT_OF_THRESHOLD) != 0
    assert outside.all()  # more than a tenth of the samples is outside


@pytest.mark.parametrize("key", [{"frames": 1}, {"low": 0.9, "high": 0.1}, {"widen": -1.0}])
def test_wrong_gates_are_refused(key):
    with pytest.raises(BadInput, match="gate"):
        Gate(**key)


def test_stages_that_cannot_be_told_apart(dark_run, tmp_path):
    def stuck(raw):
        raw[:, :, 1, 4, 4] = 5000  # the level of high gain, in every stage

    bad = made(three(dark_run, change=stuck), tmp_path).load("bad_pixels", 1)
    found = bad & np.uint32(BadPixels.GAIN_THRESHOLDING_ERROR) != 0
    assert found[:, :, 4, 4].all()
    assert np.count_nonzero(found) == 6


def test_pixels_are_compared_with_their_asic(dark_run, tmp_path):
    """An ASIC that stands apart is no outlier among its own."""

    def apart(raw):
        raw[:, :, 0, :16, :32] += 400

    plain, each = preset("default"), preset("default").changed(scope="asic")
    assert each.name == "default*"
    shares = []
    for rules in (plain, each):
        constants = made(three(dark_run, change=apart), tmp_path, DarkOptions(rules=rules, min_frames=1))
        bad = constants.load("bad_pixels", 1) & np.uint32(BadPixels.OFFSET_OUT_OF_THRESHOLD) != 0
        shares.append(bad[:, :, :16, :32].mean())
    assert shares[0] == 1
    assert shares[1] < 0.01


def test_jungfraujoch_wants_a_full_window(dark_run, tmp_path):
    options = DarkOptions(rules="jungfraujoch", min_frames=1)
    runs = three(dark_run, "JUNGFRAU", trains=127, modules=(1,), cells=(15,))
    assert (made(runs, tmp_path, options).load("bad_pixels", 1) & 8 == 8).all()
    runs = three(dark_run, "JUNGFRAU", trains=128, modules=(1,), cells=(15,))
    assert not made(runs, tmp_path, options).load("bad_pixels", 1).any()


def test_rules_are_whole_and_told(dark_run, tmp_path):
    for rules in presets():
        assert {field.name for field in dataclasses.fields(Rules)} == set(rules.told())
    with pytest.raises(BadInput, match="there are no rules 'defaul'"):
        preset("defaul")
    with pytest.raises(BadInput, match="scope = 'pixel' is none of module, asic"):
        preset("default").changed(scope="pixel")
    told = made(three(dark_run), tmp_path).provenance["dark"]
    samples = 40 * 2 * 2 * 32 * 64
    assert told["runs"][0]["samples"] == {"counted": samples, "wrong": 0, "outside the gate": 0}
    assert told["rules"]["offset_sigma"] == [5.0, 5.0]
    assert told["runs"][1]["trains"] == 40


def test_gains_are_taken_over_with_their_bits(dark_run, tmp_path):
    runs = three(dark_run, "JUNGFRAU", modules=(1,), cells=(15,))
    detector = runs[0].detector
    gains = np.broadcast_to(np.array([41.0, -1.4, -0.1])[:, None, None, None], (3, 1, *detector.shape))
    bits = np.zeros((3, 1, *detector.shape), "u4")
    bits[:, :, 2, 3], bits[:, :, 4, 5] = (
        int(BadPixels.FF_GAIN_DEVIATION),
        int(BadPixels.NOISE_OUT_OF_THRESHOLD),
    )
    given = Constants.from_arrays(
        detector, {"adu_per_kev": gains, "bad_pixels": bits}, modules=[1], cell_ids=[15]
    )
    constants = made(runs, tmp_path, DarkOptions(gain_from=given, min_frames=1))
    np.testing.assert_array_equal(constants.load("adu_per_kev", 1), gains.astype("f4"))
    bad = constants.load("bad_pixels", 1)
    assert (bad[:, :, 2, 3] == int(BadPixels.FF_GAIN_DEVIATION)).all()
    assert (bad[:, :, 4, 5] == 0).all()  # what darks say is said by these darks
    assert not int(GAIN_BITS) & int(BadPixels.NOISE_OUT_OF_THRESHOLD)
    assert constants.provenance["dark"]["gain_from"]["from"] == "constants in memory"
    other = Constants.from_arrays(detector, {"offset": gains}, modules=[1], cell_ids=[15])
    with pytest.raises(BadInput, match="hold none of relative_gain"):
        made(runs, tmp_path, DarkOptions(gain_from=other, min_frames=1))
    elsewhere = Constants.from_arrays(detector, {"adu_per_kev": gains}, modules=[2], cell_ids=[15])
    with pytest.raises(BadInput, match="no 'adu_per_kev' for module 1"):
        made(runs, tmp_path, DarkOptions(gain_from=elsewhere, min_frames=1))
