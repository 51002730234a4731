"""Baseline shift by the noise peak: the reference, the run through a calibrator, and what is refused."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import detectors
from shotsieve.baseline import BaselineParams, find_baselines, find_peak
from shotsieve.calibrate import make_tables
from shotsieve.constants import Constants, Steps
from shotsieve.errors import BadInput
from shotsieve.reference.baseline import noise_peak
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build, spi_source

NOISE = 8.0


def values(rng, peak, lit=0.0, n=4000):
    """Pixels around a peak, a share of them with photons of 70 ADU, in 1/256 ADU."""
    photons = 70 * rng.poisson(1.0, n) * (rng.random(n) < lit)
    return np.rint(256 * (peak + rng.normal(0, NOISE, n) + photons)).astype("i8")


@pytest.mark.parametrize("peak", [-1500, -333.3, -71, -8, 0])
@pytest.mark.parametrize("lit", [0.0, 0.6])
def test_the_peak_is_found_as_the_reference_says(rng, peak, lit):
    pixels = values(rng, peak, lit)
    found = find_peak(pixels, NOISE, 5000.0) / 256
    assert found == noise_peak(pixels / 256, NOISE, 5000.0)
    assert abs(found - peak) < 4


def test_ends_of_bins_and_ties(rng):
    """Whole numbers of ADU: values stand on the edges of bins, and responses are equal."""
    for _ in range(3):
        pixels = 256 * rng.integers(-300, 60, 50)
        assert find_peak(pixels, 1.7, 5000.0) / 256 == noise_peak(pixels / 256, 1.7, 5000.0)
    for edge in (-2000, -1990, 40, 50):
        pixels = np.full(9, 256 * edge)
        assert find_peak(pixels, NOISE, 5000.0) / 256 == noise_peak(pixels / 256, NOISE, 5000.0)


def test_no_peak_is_no_shift(rng):
    assert find_peak(values(rng, -700), NOISE, 600.0) == 0
    assert find_peak(values(rng, -700), NOISE, 800.0) != 0
    assert find_peak(values(rng, 3000), NOISE, 5000.0) == 0  # all pixels lit
    assert find_peak(np.zeros(0, "i8"), NOISE, 5000.0) == 0
    few = np.concatenate([values(rng, -100, n=60), values(rng, 3000, n=4096)])
    assert find_peak(few, NOISE, 5000.0) == 0  # 60 of 4156 are less than a share of 1/64


@pytest.fixture(scope="module")
def frames():
    """Four frames of one module, with constants."""
    p = SpiParameters(n_trains=1, n_cells=4, modules=(3,), seed=5, truth_stage=False)
    source, _ = spi_source(p)
    raw = np.empty((4, 1, 2, 512, 128), "u2")
    source.read(0, 4, raw)
    return raw, constants_in_memory(p, build(p)[1])


def lowered(raw, by=200):
    out = raw.copy()
    out[:, :, 0] -= np.minimum(out[:, :, 0], by)
    return out


@pytest.mark.parametrize("common_mode", [False, True])
def test_a_lowered_module_is_lifted(frames, common_mode):
    raw, constants = frames
    how = {"relative_gain": False, "adjust_mg_baseline": False, "xray_gain": False, "set_min": False}
    found = {}
    for blc in (False, True):
        steps = Steps(**how, blc_noise=blc, common_mode=common_mode)
        calibrate = shotsieve.Calibrator(constants, [3], steps=steps, lit_threshold=40.0, backend="cpu")
        found[blc] = [calibrate(words, np.arange(4)).data for words in (raw, lowered(raw))]
    high = np.isfinite(found[False][0]) & (raw[:, 0, 1] < 6000)[:, None]
    assert abs(np.median((found[False][1] - found[False][0])[high]) + 200) < 1
    difference = (found[True][1] - found[True][0])[high]
    assert np.abs(difference).max() < 0.01
    assert abs(np.median(found[True][0][high])) < 3


def test_threads_and_blocks_do_not_matter(frames):
    raw, constants = frames
    agipd, steps = detectors.load("AGIPD1M"), Steps(blc_noise=True)
    tables = make_tables(constants, agipd, (3,), np.arange(4), steps, "keV", None, "adaptive")
    params = BaselineParams.make(steps, agipd, "adaptive", constants, tables, (3,))
    words = lowered(raw).reshape(4, 2, -1)
    groups = [(k, k + 1, k) for k in range(4)]
    one = find_baselines(words, np.arange(4), groups, tables.table, params)
    assert (np.abs(one / 256 + 200) < 4).all()
    np.testing.assert_array_equal(
        find_baselines(words, np.arange(4), groups, tables.table, params, threads=3), one
    )
    last = find_baselines(words, np.arange(4), groups[3:], tables.table, params)
    assert last.tolist() == [0, 0, 0, one[3]]


def test_forced_stages_count_as_what_they_are_taken_for(frames):
    """Pixels forced back to high gain are in the histogram; others that switched are not."""
    raw, constants = frames
    agipd = detectors.load("AGIPD1M")
    words = lowered(raw).reshape(4, 2, -1)[:1]
    words[0, 1] = 8000  # all switched
    shifts = []
    for level in (None, 1000.0):
        steps = Steps(blc_noise=True, force_hg_if_below=level)
        tables = make_tables(constants, agipd, (3,), np.arange(1), steps, "keV", None, "adaptive")
        params = BaselineParams.make(steps, agipd, "adaptive", constants, tables, (3,))
        shifts.append(find_baselines(words, np.arange(1), [(0, 1, 0)], tables.table, params)[0])
    assert shifts[0] == 0
    assert abs(shifts[1] / 256 + 200) < 4


def test_what_cannot_be_done_is_refused(frames):
    _, constants = frames
    steps = Steps(blc_noise=True)
    with pytest.raises(BadInput, match="looks at pixels in high gain"):
        shotsieve.Calibrator(constants, [3], steps=steps, gain_mode="fixed_medium", backend="cpu")
    names = ("offset", "thresholds", "relative_gain", "mg_baseline", "adu_per_kev")
    without = Constants.from_arrays("AGIPD1M", {n: {3: constants.load(n, 3)} for n in names})
    with pytest.raises(BadInput, match="needs the noise"):
        shotsieve.Calibrator(without, [3], steps=steps, backend="cpu")
    with pytest.raises(BadInput, match="must be above 0"):
        Steps(blc_noise_threshold=0.0)
    with pytest.raises(BadInput, match="looks at values after the offset"):
        dataclasses.replace(steps, offset=False)


def test_on_a_device_it_is_refused(frames, device_name):
    _, constants = frames
    with pytest.raises(BadInput, match="done on the CPU alone"):
        shotsieve.Calibrator(constants, [3], steps=Steps(blc_noise=True), backend=device_name)


def test_a_reduction_gives_what_a_calibrator_does(frames, tmp_path):
    """With both, whatever the blocks."""
    raw, constants = frames
    switches = {"blc_noise": True, "common_mode": True}
    calibrate = shotsieve.Calibrator(constants, [3], steps=Steps(**switches), backend="cpu")
    wanted = calibrate(raw, np.arange(4)).data
    source, _ = spi_source(SpiParameters(n_trains=1, n_cells=4, modules=(3,), seed=5, truth_stage=False))
    recipe = {"calibrate": switches, "measure": {"lit": {}}, "write": {"content": "corrected"}}
    for block in (1, 10**9):
        out = tmp_path / str(block)
        result = shotsieve.reduce(source, recipe, out, constants=constants, backend="cpu", block_bytes=block)
        with h5py.File(result.files[0]) as file:
            data = file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/3CH0:output/image/data"][()]
        np.testing.assert_array_equal(data.view("u4"), wanted.reshape(data.shape).view("u4"))


def test_a_reduction_on_a_device_is_refused_before_it_begins(frames, tmp_path, device_name):
    _, constants = frames
    source, _ = spi_source(SpiParameters(n_trains=1, n_cells=4, modules=(3,), seed=5, truth_stage=False))
    recipe = {"calibrate": {"blc_noise": True}, "measure": {"lit": {}}}
    with pytest.raises(BadInput, match="done on the CPU alone"):
        shotsieve.reduce(source, recipe, tmp_path / "r", constants=constants, backend=device_name)
