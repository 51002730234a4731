"""baseline: every backend gives the bits of the reference, which is right."""

from __future__ import annotations

import math

import numpy as np
import pytest
from baseline_case import KINDS, LOWEST, NOISE, REFERENCE, baselines, flat_case, noisy
from kernels import download, random_case, upload
from mode_case import ADU, params
from shotsieve.baseline import BaselineParams, wavelets
from shotsieve.shift_finder import ShiftFinder


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_bits_equal_reference(native_backend, kind, rng):
    """Frames of several cells, switched and bad pixels, a missing frame and one without constants."""
    peaks = (0, -40, -333, -1500, -1990, -3000)
    case = flat_case(np.stack([noisy(rng, peak, 0.3) for peak in peaks]), rows=2, **kind)
    switched = rng.random((len(peaks), 4096)) < 0.1
    case.raw[:, 0, 1][switched] = 3 if kind["encoding"] == 1 else 8000
    case.table[:, 2] += rng.uniform(-1, 1, (2, 4096)).astype("f4")
    where = rng.random(case.table.shape) < 0.01
    case.table[where] = rng.choice(np.array([np.nan, np.inf, -np.inf, 1e30], "f4"), where.sum())
    case.rows[:] = rng.integers(0, 2, case.rows.shape)
    case.rows[1], case.present[2] = -1, False
    wanted = baselines(REFERENCE, case, noise=[8.0, 2.5])
    np.testing.assert_array_equal(baselines(native_backend, case, noise=[8.0, 2.5]), wanted)
    assert (wanted[1:3] == 77).all()
    assert (np.abs(wanted[[0, 3], 0] / ADU - [0, -1500]) < 5).all()
    assert (wanted[5] == 0).all()


def test_random_words_and_constants(native_backend, rng):
    case = random_case(rng, n_pixels=1024, encoding=0)
    case.table[:, 2] = rng.normal(2000, 2000, case.table[:, 2].shape)
    wanted = baselines(REFERENCE, case, noise=300.0)
    np.testing.assert_array_equal(baselines(native_backend, case, noise=300.0), wanted)
    assert len(np.unique(wanted)) > 3


@pytest.mark.parametrize("lit", [0.0, 0.6])
def test_the_peak_is_found(native_backend, lit, rng):
    peaks = np.array([-1500, -333.3, -71, -8, 0])
    case = flat_case(np.stack([noisy(rng, peak, lit) for peak in peaks]))
    for backend in (REFERENCE, native_backend):
        assert (np.abs(baselines(backend, case)[:, 0] / ADU - peaks) < 4).all()


def test_ends_of_bins_and_ties(native_backend, rng):
    """Values on the edges of bins, at both ends and where responses are equal; as few as they come."""
    edges = [-2196, -2195, -2001, -2000, -1999, -1990, 40, 49, 50, 51, 100]
    for case in (
        flat_case(np.repeat(np.array(edges)[:, None], 8, axis=1)),
        flat_case(rng.integers(-300, 60, (6, 48))),
        flat_case(np.tile([-300, -100], (1, 4))),
    ):
        for noise in (0.004, 1.7, 8.0, 200.0):
            wanted = baselines(REFERENCE, case, noise=noise)
            np.testing.assert_array_equal(baselines(native_backend, case, noise=noise), wanted)
    assert abs(wanted[0, 0]) > 0


def test_parts_of_an_adu_are_in_the_bin_below(native_backend):
    """50 ADU are counted, and 1/256 more are not."""
    case = flat_case(np.full((2, 64), 50))
    case.rows[1, 0] = 1
    case.table = np.repeat(case.table, 2, axis=0)
    case.table[1, 2] -= np.float32(1 / 256)
    for backend in (REFERENCE, native_backend):
        found = baselines(backend, case)[:, 0]
        assert found[0] != 0
        assert found[1] == 0


def test_no_peak_is_no_shift(native_backend, rng):
    few = np.stack([np.concatenate([np.full(k, -100), np.full(4096 - k, 3000)]) for k in (63, 64)])
    low = flat_case(noisy(rng, -700))
    medium = flat_case(noisy(rng, -700), fixed_stage=1)
    for backend in (REFERENCE, native_backend):
        assert (baselines(backend, low, lowest=-600 * ADU) == 0).all()
        assert (baselines(backend, low, lowest=-800 * ADU) != 0).all()
        assert (baselines(backend, medium) == 0).all()
        assert (baselines(backend, flat_case(noisy(rng, 3000))) == 0).all()  # all pixels lit
        found = baselines(backend, flat_case(few))[:, 0]
        assert found[0] == 0  # 63 of 4096 are less than a share of 1/64
        assert found[1] != 0


def test_bad_and_switched_pixels_have_no_say(native_backend, rng):
    """Pixels taken for high gain again have one."""
    case = flat_case(np.stack([noisy(rng, -200)] * 3), rows=3, planes=10)
    case.rows[:, 0] = range(3)
    case.table[0, 5] = np.nan
    case.raw[1:, 0, 1] = 8000
    case.table[2, 9] = 6000
    for backend in (REFERENCE, native_backend):
        found = baselines(backend, case)[:, 0] / ADU
        assert found[:2].tolist() == [0, 0]
        assert abs(found[2] + 200) < 4


def test_a_frame_counts_by_itself(native_backend, rng):
    """More frames of a group than a device takes at once; any order gives the same."""
    case = flat_case(np.stack([noisy(rng, -10 * k, n=512) for k in range(40)]))
    whole = baselines(native_backend, case)
    np.testing.assert_array_equal(whole, baselines(REFERENCE, case))
    order = rng.permutation(40)
    case.raw = case.raw[order]
    np.testing.assert_array_equal(baselines(native_backend, case), whole[order])


def test_wavelets_are_rickers(rng):
    noise = np.array([0.7, 8.0, 150.0])
    taps, reach = wavelets(noise)
    for row, s in enumerate(noise):
        for h, (bins, adu) in enumerate(((210, 10), (200, 2))):
            for w, factor in enumerate((1, 3, 5)):
                width = factor * s / adu
                far = min(math.ceil(5 * width), bins - 1)
                assert reach[row, h, w] == far
                norm = 2 / (math.sqrt(3 * width) * math.pi**0.25)
                t = [(k / width) ** 2 for k in range(far + 1)]
                wanted = [round(2**20 * norm * (1 - x) * math.exp(-x / 2)) for x in t]
                assert np.abs(taps[row, h, w, : far + 1] - wanted).max() <= 1
                assert not taps[row, h, w, far + 1 :].any()


def test_what_does_not_fit_is_refused(native_backend, rng):
    case = flat_case(noisy(rng, 0, n=64))
    taps, reach = wavelets(np.ones(1))
    with pytest.raises(ValueError, match="taps"):
        baselines(native_backend, case, taps=(np.zeros((1, 2, 3, 211), "i4"), reach))
    with pytest.raises(ValueError, match="reach"):
        baselines(native_backend, case, taps=(taps, np.zeros((2, 2, 3), "i4")))
    if native_backend.name == "cpu":
        with pytest.raises(ValueError, match="reach"):
            baselines(native_backend, case, taps=(taps, np.full((1, 2, 3), taps.shape[-1], "i4")))


def all_shifts(backend, case, how, train, cell):
    """Return the shifts of tiles, and of pixels, that a finder finds for a block; twice, as blocks come."""
    device, raw = backend.device, case.flat_raw()
    stream = device.stream()
    finder = ShiftFinder(backend, how, raw.shape[-1], len(raw))
    frames, groups = case.lists()
    inputs = [upload(backend, array, stream) for array in (raw, frames, groups, case.table)]
    for _ in range(2):
        found = finder.queue(*inputs, case.present, case.rows, train, cell, stream)
    pixel = None if found.pixel is None else download(backend, found.pixel, stream)
    return download(backend, found.tile, stream), pixel


@pytest.mark.parametrize(
    "more", [{"n_itr": 0}, {}, {"cells": True, "row_cells": 4}], ids=["alone", "asics", "cells"]
)
def test_common_mode_starts_where_the_baseline_is(native_backend, more, rng):
    """Frames far below their offsets: without the baseline no pixel would be dark."""
    peaks = rng.integers(-600, -100, 9)
    case = flat_case(np.stack([noisy(rng, peak, 0.2, n=8192) for peak in peaks]))
    how = params(baseline=BaselineParams(LOWEST, *wavelets(np.full(1, NOISE))), **more)
    train, cell = np.repeat([7, 8, 9], [4, 4, 1]), np.array([0, 1, 2, 3] * 2 + [0])
    tile, pixel = all_shifts(REFERENCE, case, how, train, cell)
    found = all_shifts(native_backend, case, how, train, cell)
    np.testing.assert_array_equal(found[0], tile)
    if pixel is not None:
        np.testing.assert_array_equal(found[1], pixel)
    assert (np.abs(tile / ADU - peaks[:, None]) < (4 if more.get("n_itr") == 0 else 2)).all()
