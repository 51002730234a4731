"""Statistics of pixels over frames: every backend against the reference, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from kernels import download, upload
from shotsieve.measure import frame_stats
from shotsieve.measure.frame_stats import KINDS, FrameSums
from shotsieve.reference import stats as reference


def make_frames(rng, frames=23, pixels=1500):
    """Values of any size, some not there, and pixels that never have one."""
    values = (rng.normal(5000, 3, (frames, pixels)) * 10.0 ** rng.integers(-3, 3, pixels)).astype("f4")
    values[rng.random(values.shape) < 0.1] = np.nan
    values[rng.random(values.shape) < 0.02] = np.inf
    values[:, 7] = np.nan
    values[1:, 8] = -np.inf
    return values


def run(backend, values, group, scale, groups, cuts):
    sums = FrameSums(backend, groups, values.shape[1], len(values))
    stream = backend.device.stream()
    for part in np.split(np.arange(len(values)), cuts):
        pixels = upload(backend, values[part], stream)
        sums.add(pixels, group[part], stream, scale[part])
    return {name: _host(backend, sums, name) for name in KINDS}, sums.result()


def _host(backend, sums, name):
    device, array = backend.device, sums._sums[name]
    out = device.empty_pinned(array.shape, KINDS[name])
    stream = device.stream()
    device.to_host(out, array, stream)
    device.wait(device.record(stream))
    return np.array(out)


@pytest.mark.parametrize("cuts", [[], [1, 2, 9], [11]])
def test_same_bits_as_the_reference(native_backend, cuts, rng):
    values = make_frames(rng)
    group = rng.integers(-1, 4, len(values))  # the last does not exist: it is left out too
    scale = rng.uniform(0.5, 2, len(values))
    want = reference.new_sums(3, values.shape[1])
    reference.frame_stats(values, group, scale, want)
    got, _ = run(native_backend, values, group, scale, 3, cuts)
    for name in KINDS:
        np.testing.assert_array_equal(got[name], want[name], name)


def test_frames_that_do_not_exist_are_left_out(native_backend):
    stream = native_backend.device.stream()
    lists = (np.array([-1, 1, 2, 1], "i4"), np.array([0, 0, 0, 9], "i4"), np.ones(4))
    start = reference.new_sums(1, 40)
    given = [upload(native_backend, one, stream) for one in (np.full((2, 40), 3, "f4"), *lists)]
    sums = {name: upload(native_backend, values, stream) for name, values in start.items()}
    native_backend.native.frame_stats(*given, *sums.values(), **native_backend.on(stream, threads=2))
    assert (download(native_backend, sums["count"], stream) == 1).all()
    assert (download(native_backend, sums["shift"], stream) == 3).all()


def test_means_and_variances_are_those_of_numpy(native_backend, rng):
    values = make_frames(rng, frames=60)
    group = rng.integers(0, 2, len(values))
    _, found = run(native_backend, values, group, np.ones(len(values)), 2, [13])
    valid = np.where(np.isfinite(values), values.astype("f8"), np.nan)
    for g in range(2):
        here = valid[group == g]
        some = np.isfinite(here).any(axis=0)
        np.testing.assert_array_equal(found.count[g], np.isfinite(here).sum(axis=0))
        np.testing.assert_allclose(found.mean[g, some], np.nanmean(here[:, some], axis=0), rtol=1e-12)
        two = np.isfinite(here).sum(axis=0) > 1
        np.testing.assert_allclose(found.variance[g, two], np.nanvar(here[:, two], axis=0, ddof=1), rtol=1e-9)
        np.testing.assert_array_equal(found.maximum[g, some], np.nanmax(here[:, some], axis=0).astype("f4"))
        assert np.isnan(found.mean[g, ~some]).all()
        assert np.isnan(found.variance[g, ~two]).all()
        assert np.isnan(found.maximum[g, ~some]).all()


def test_a_pause_and_one_group_at_a_time_change_nothing(native_backend, tmp_path, rng, monkeypatch):
    """The sums are put away in pieces, and the statistics of a group are those of all."""
    monkeypatch.setattr(frame_stats, "PIECE_BYTES", 2 * 8 * 1500)
    values = make_frames(rng)
    group, scale = rng.integers(-1, 5, len(values)), rng.uniform(0.5, 2, len(values))
    _, want = run(native_backend, values, group, scale, 5, [])
    stream = native_backend.device.stream()
    first, second = (FrameSums(native_backend, 5, values.shape[1], len(values)) for _ in range(2))
    first.add(upload(native_backend, values[:9], stream), group[:9], stream, scale[:9])
    np.savez(tmp_path / "sums", **first.snapshot())
    with np.load(tmp_path / "sums.npz") as stored:
        assert len(stored) == 3 * len(KINDS)
        second.restore(dict(stored))
    second.add(upload(native_backend, values[9:], stream), group[9:], stream, scale[9:])
    found, each = second.result(), list(second.each())
    for name in vars(want):
        np.testing.assert_array_equal(getattr(found, name), getattr(want, name), name)
        one_by_one = np.stack([getattr(one, name) for one in each])
        np.testing.assert_array_equal(one_by_one, getattr(want, name), name)
    before = found.count.copy()
    second.add(upload(native_backend, values, stream), group, stream, scale)
    np.testing.assert_array_equal(found.count, before)


def test_large_offsets_do_not_cancel(native_backend, rng):
    """A variance of 1 on a million: squares alone would keep four digits of it."""
    values = (1e6 + rng.integers(-2, 3, (200, 64))).astype("f4")
    _, found = run(native_backend, values, np.zeros(200, int), np.ones(200), 1, [50])
    np.testing.assert_allclose(found.variance[0], values.astype("f8").var(axis=0, ddof=1), rtol=1e-10)


def test_wrong_arrays_are_refused(native_backend):
    device = native_backend.device
    stream = device.stream()
    sums = FrameSums(native_backend, 2, 10, 5)
    with pytest.raises(ValueError, match="shift"):
        sums.add(upload(native_backend, np.zeros((3, 11), "f4"), stream), np.zeros(3, int), stream)
