"""The detector model: what its constants say is what its words mean."""

import numpy as np
import pytest
from shotsieve.simulate.detector import PIXELS, SWITCH_ADU, DetectorModel
from shotsieve.simulate.noise import generator

ENERGY = 9.3


def frame(model, module, cell, photons, key=0):
    """Words and true stages of one frame with the same number of photons in every pixel."""
    out, stage = np.empty((2, PIXELS), "u2"), np.empty(PIXELS, "u1")
    pixels = np.arange(PIXELS) if photons else np.arange(0)
    kev = np.full(pixels.size, photons * ENERGY)
    model.words(generator(9, module, cell, key), module, cell, pixels, kev, out, stage)
    return out, stage


def calibrate(model, module, cell, words, stage=None, baseline=True):
    """Steps 1, 6, 9, 10 and 11 in float64, from the constants alone: photons and stages."""
    m = model.module(module)
    adc, digital = words.astype(np.float64)
    t0, t1 = m.thresholds(cell)[:2].astype(np.float64)
    g = (digital > t0).astype(int) + ((digital > t0) & (digital > t1)) if stage is None else stage
    offset = np.stack([m.offset(k, cell) for k in range(3)]).astype(np.float64)
    high, high_start, medium, medium_start = m.slopes_pc(cell).astype(np.float64)
    ratio = high / medium
    relative = np.stack([np.ones(PIXELS), ratio, 4.48 * ratio])
    at = (g, np.arange(PIXELS))
    x = (adc - offset[at]) * relative[at]
    if baseline:
        x += np.where(g == 1, high_start - medium_start * ratio, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return x / m.slopes_ff(cell) / ENERGY, g


@pytest.mark.parametrize(
    ("photons", "stage"), [(0, 0), (1, 0), (50, 0), (200, 1), (1500, 1), (4000, 2), (9000, 2)]
)
@pytest.mark.parametrize("baseline", [0.0, 300.0])
def test_photons_are_unbiased_in_every_stage(photons, stage, baseline):
    model = DetectorModel(3, 4, mg_baseline=baseline)
    words, true_stage = frame(model, 3, 2, photons)
    good = model.module(3).good(2, stage)
    assert good.mean() > 0.98
    assert (true_stage[good] == stage).all()
    got, g = calibrate(model, 3, 2, words)
    assert (g[good] == stage).all()
    error = got[good] - photons
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(good.sum())
    if stage == 0:
        assert error.std() * ENERGY == pytest.approx(1.0, rel=0.05)  # 1 keV rms


def test_the_baseline_step_matters_when_there_is_one():
    model = DetectorModel(3, 4, mg_baseline=300.0)
    words, _ = frame(model, 3, 2, 200)
    good = model.module(3).good(2, 1)
    assert np.median(calibrate(model, 3, 2, words, baseline=False)[0][good]) == pytest.approx(195.5, abs=0.3)


def test_constants_of_another_cell_are_noticed():
    model = DetectorModel(3, 4)
    words, _ = frame(model, 3, 2, 0)
    assert np.nanstd(calibrate(model, 3, 1, words)[0][model.module(3).good(1)]) > 0.3


def test_no_false_photon_above_0_7_in_good_pixels_and_some_in_bad_ones():
    model = DetectorModel(4, 4)
    lit_bad = 0
    for key in range(5):
        words, _ = frame(model, 7, 1, 0, key)
        got, _ = calibrate(model, 7, 1, words)
        lit = got > 0.7
        good = model.module(7).good(1)
        assert not lit[good].any()
        lit_bad += lit[~good].sum()
    assert lit_bad > 50


def test_digital_levels_recover_the_stage_and_analogue_words_stay_in_14_bits():
    model = DetectorModel(5, 2)
    m = model.module(0)
    for photons in (0, 300, 30000):
        words, stage = frame(model, 0, 1, photons)
        assert words[0].max() <= 16383
        t0, t1 = m.thresholds(1)[:2]
        g = (words[1] > t0).astype(int) + ((words[1] > t0) & (words[1] > t1))
        near = (np.abs(words[1] - t0) < 5 * 25) | (np.abs(words[1] - t1) < 5 * 25)
        assert (g == stage)[~near].all()
        assert (g == stage)[m.good(1)].all()
    assert (words[0][m.good(1, 2)] == 16383).all()  # the low stage has an end, too


def test_the_switch_happens_at_the_charge_that_fills_the_stage():
    model = DetectorModel(6, 1, bad_fraction=0.0)
    at = SWITCH_ADU / 7.2 / ENERGY
    assert (frame(model, 0, 0, 0.8 * at)[1] == 0).all()
    assert (frame(model, 0, 0, 1.2 * at)[1] == 1).all()
    mixed = frame(model, 0, 0, at)[1]
    assert 0.2 < mixed.mean() < 0.8


@pytest.mark.parametrize(("mode", "stage"), [("fixed_high", 0), ("fixed_medium", 1), ("fixed_low", 2)])
def test_fixed_gain_stays_in_its_stage(mode, stage):
    model = DetectorModel(3, 2, gain_mode=mode)
    photons = 20 if stage == 0 else 1000
    words, true_stage = frame(model, 1, 0, photons)
    assert (true_stage == stage).all()
    got, _ = calibrate(model, 1, 0, words, stage=true_stage)
    error = got[model.module(1).good(0, stage)] - photons
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(error.size)


def test_hard_switches_leave_pixels_alone_that_really_switched():
    model = DetectorModel(3, 2, bad_fraction=0.0)
    m = model.module(2)
    medium, _ = frame(model, 2, 0, 90)
    assert (medium[0] - m.offset(0, 0) > 1000).all()
    low, stage = frame(model, 2, 0, 2700)
    assert (stage == 2).all()
    assert (low[0] - m.offset(1, 0) > 1000).all()


def test_bad_pixels_have_the_bits_of_what_is_wrong_with_them():
    model = DetectorModel(3, 4, bad_fraction=0.05)
    m, bad = model.module(0), model.module(0).bad
    bits = np.stack([[bad.bits(c, g) for g in range(3)] for c in range(4)])
    assert 0.045 < (bits != 0).any((0, 1)).mean() < 0.055
    assert (bad.bits(0, 0)[bad.dead] & (1 << 1)).all()
    assert (m.slopes_ff(0)[bad.dead] == 0).all()
    assert not (bad.bits(0, 1)[bad.hot] & (1 << 1)).any()
    assert np.isnan(m.offset(1, 3)[bad.not_evaluated]).all()
    assert (bad.bits(3, 2)[bad.not_evaluated] & (1 << 2)).all()
    assert (bad.bits(1, 0)[bad.no_separation] & (1 << 13)).all()
    for g in (0, 1):
        wrong = bad.offset_error[g] != 0
        assert wrong.any()
        assert (bad.bits(0, g)[wrong] & 1).all()
        assert not (bad.bits(0, 1 - g)[wrong] & 1).any()
    one_cell = bad.cell_hot >= 0
    hits = np.stack([bad.bits(c, 0)[one_cell] != 0 for c in range(4)])
    assert (hits.sum(0) == 1).all()


def test_same_seed_same_detector_other_seed_another():
    a, b, c = DetectorModel(3, 2), DetectorModel(3, 2), DetectorModel(4, 2)
    np.testing.assert_array_equal(a.module(5).offset(0, 1), b.module(5).offset(0, 1))
    assert not np.array_equal(a.module(5).offset(0, 1), c.module(5).offset(0, 1))
    assert not np.array_equal(a.module(5).offset(0, 1), a.module(6).offset(0, 1))
