"""Sums over bins: every backend against the reference, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from kernels import upload
from shotsieve.backend import Backend
from shotsieve.errors import BadInput
from shotsieve.measure.bin_summer import MODES, BinSummer
from shotsieve.measure.bins import BinPlan, Entries, exactly_summed
from shotsieve.measure.parts import cut_parts
from shotsieve.reference import bins as reference


class Case:
    """A map and frames with everything that may occur: unused pixels, NaN, infinities, masks, tiny bins."""

    def __init__(self, rng, *, shape=(70, 150), n_bins=40, frames=19, split=False, tiles=None, kind="float"):
        self.shape, self.n_bins, self.split = shape, n_bins, split
        n_pixels = shape[0] * shape[1]
        if split:
            count = rng.integers(0, 4, n_pixels)
            pixel = np.repeat(np.arange(n_pixels), count)
            start = rng.integers(0, n_bins - 3, n_pixels)
            within = np.arange(len(pixel)) - np.repeat(np.cumsum(count) - count, count)
            coef = rng.random(len(pixel))
            self.entries = Entries(pixel, np.repeat(start, count) + within, coef)
        else:
            radius = np.hypot(*np.ogrid[-20 : shape[0] - 20, 3 : shape[1] + 3])
            bins = (radius / radius.max() * (n_bins + 3)).astype(int) - 1
            bins[bins >= n_bins] = -1
            bins[rng.random(shape) < 0.1] = -1
            self.entries = Entries.whole(bins)
        self.parts = cut_parts(shape, tiles)
        if tiles is not None:
            inside = np.zeros(shape, bool)
            for top, bottom, left, right in tiles:
                inside[top:bottom, left:right] = True
            keep = inside.ravel()[self.entries.pixel]
            coef = None if self.entries.coef is None else self.entries.coef[keep]
            self.entries = Entries(self.entries.pixel[keep], self.entries.bin[keep], coef)
        e = len(self.entries.pixel)
        self.columns = {"count": np.ones(e), "norm": rng.random(e), "norm2": rng.random(e) * 1e-3}
        self.norm = rng.uniform(0.5, 1.5, shape)
        self.dark = rng.normal(0, 1, shape)
        values = (
            rng.integers(0, 2**16, (frames, *shape))
            if kind == "whole"
            else rng.normal(2, 3, (frames, *shape))
        )
        self.frames = values.astype("f4")
        self.frames[rng.random(self.frames.shape) < 0.02] = np.nan
        self.frames[rng.random(self.frames.shape) < 0.002] = np.inf
        self.frames[rng.random(self.frames.shape) < 0.002] = -np.inf
        self.frames[0] = values[0]  # a frame in which nothing is lost
        if frames > 1:
            self.frames[1] = np.nan
        self.variance = rng.random(self.frames.shape).astype("f4")
        self.variance[rng.random(self.frames.shape) < 0.01] = np.nan
        self.bad = rng.choice(np.array([0, 0, 0, 0, 1, 255], "u1"), self.frames.shape)
        low = rng.uniform(-4, 1, (frames, n_bins))
        self.limits = np.stack([low, low + rng.uniform(0, 9, low.shape), rng.normal(2, 1, low.shape)])

    def plan(self) -> BinPlan:
        given = {"parts": self.parts, "norm": self.norm, "dark": self.dark}
        return BinPlan.make(self.shape, self.n_bins, self.entries, self.columns, **given)

    def given(self, mode: str, masked: bool, frames=slice(None)) -> dict:
        given = {"bad": self.bad[frames]} if masked else {}
        if mode == "variance":
            given["variance"] = self.variance[frames]
        if mode == "residual":
            given["limits"] = self.limits[:, frames]
        return given

    def expected(self, mode: str, masked: bool):
        e = self.entries
        columns = np.stack([exactly_summed(c, e.bin, self.n_bins) for c in self.columns.values()])
        coef = np.ones(len(e.pixel)) if e.coef is None else e.coef
        given = self.given(mode, masked)
        if mode == "residual":
            given |= {"norm": self.norm, "dark": self.dark}
        return reference.bin_sums(
            self.frames, self.parts, e.pixel, e.bin, coef, columns, self.n_bins, mode=mode, **given
        )


def run(
    backend: Backend, case: Case, plan: BinPlan, mode="plain", masked=False, frames=slice(None), **options
):
    """The sums of some frames of a case; buffers start out poisoned."""
    stream = backend.device.stream()
    pixels = upload(backend, case.frames[frames].reshape(-1, plan.pixels), stream)
    given = case.given(mode, masked, frames)
    for name in ("bad", "variance"):
        if name in given:
            given[name] = upload(backend, given[name].reshape(-1, plan.pixels), stream)
    summer = BinSummer(backend, plan, max(1, pixels.shape[0]), mode)
    for array in summer._host.values():
        array[...] = 7
    return summer.sum(pixels, stream, **given, **options)


def assert_same(sums, expected, plan: BinPlan, mode: str) -> None:
    np.testing.assert_array_equal(sums.signal, expected.signal)
    for name, total, lost in zip(plan.names, plan.totals, expected.lost, strict=True):
        np.testing.assert_array_equal(sums.columns[name], total - lost)
    if mode != "plain":
        np.testing.assert_array_equal(sums.second, expected.second)
    if mode == "moments":
        np.testing.assert_array_equal(sums.maximum, expected.maximum)


@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
@pytest.mark.parametrize("mode", MODES)
def test_equals_the_reference(native_backend, rng, mode, split, masked):
    case = Case(rng, split=split)
    plan = case.plan()
    assert_same(run(native_backend, case, plan, mode, masked), case.expected(mode, masked), plan, mode)


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
@pytest.mark.parametrize("mode", MODES)
def test_more_bins_in_a_part_than_shared_memory_holds(native_backend, rng, mode, split):
    case = Case(rng, n_bins=400, frames=3, split=split)
    plan = case.plan()
    assert plan.most_slots * 32 * 8 > 48 * 1024
    assert_same(run(native_backend, case, plan, mode), case.expected(mode, False), plan, mode)


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
def test_tiles_of_any_place_and_size(native_backend, rng, split):
    tiles = [[3, 40, 100, 149], [0, 66, 1, 98], [41, 42, 100, 101]]
    case = Case(rng, tiles=tiles, split=split)
    plan = case.plan()
    assert_same(run(native_backend, case, plan, "moments"), case.expected("moments", False), plan, "moments")


def test_a_mask_of_words_is_a_mask_of_bytes(native_backend, rng):
    case = Case(rng, frames=3)
    plan = case.plan()
    expected = case.expected("plain", True)
    case.bad = np.where(case.bad != 0, np.uint32(1) << rng.integers(0, 32, case.bad.shape), 0).astype("u4")
    assert_same(run(native_backend, case, plan, masked=True), expected, plan, "plain")


@pytest.mark.parametrize("mode", ["plain", "residual"])
def test_neither_batch_nor_threads_matter(native_backend, rng, mode):
    case = Case(rng, shape=(40, 60), frames=41)
    plan = case.plan()
    whole = run(native_backend, case, plan, mode)
    for size in (1, 7, 16, 32):
        for threads in (1, 3):
            for start in range(0, 41, size):
                part = slice(start, min(start + size, 41))
                sums = run(native_backend, case, plan, mode, frames=part, threads=threads)
                np.testing.assert_array_equal(sums.signal, whole.signal[part])
                for name in plan.names:
                    np.testing.assert_array_equal(sums.columns[name], whole.columns[name][part])


def test_whole_numbers_are_exact_and_others_near(native_backend, rng):
    case = Case(rng, kind="whole", frames=9)
    plan = case.plan()
    sums = run(native_backend, case, plan)
    e = case.entries
    for f, frame in enumerate(case.frames):
        value = frame.ravel()[e.pixel].astype("f8")
        good = np.isfinite(value)
        expected = np.bincount(e.bin[good], value[good], case.n_bins)
        np.testing.assert_array_equal(sums.signal[f], expected)
        np.testing.assert_array_equal(
            sums.columns["count"][f], np.bincount(e.bin[good], minlength=case.n_bins)
        )
        norm = np.bincount(e.bin[good], case.columns["norm"][good], case.n_bins)
        np.testing.assert_allclose(sums.columns["norm"][f], norm, rtol=0, atol=1e-12 * plan.totals[1].max())


def test_nothing_to_sum(native_backend, rng):
    case = Case(rng, shape=(5, 7), n_bins=4, frames=2)
    case.entries = Entries.whole(np.full((5, 7), -1))
    case.columns = {"count": np.zeros(0)}
    plan = case.plan()
    sums = run(native_backend, case, plan)
    assert not sums.signal.any()
    assert not sums.columns["count"].any()
    assert len(run(native_backend, case, plan, frames=slice(0, 0)).signal) == 0


def test_sums_of_rounded_columns_are_exact_in_any_order(rng):
    bins = rng.integers(0, 5, 20_000)
    values = exactly_summed(rng.lognormal(0, 3, 20_000), bins, 5)
    forwards = np.bincount(bins, values, 5)
    np.testing.assert_array_equal(forwards, np.bincount(bins[::-1], values[::-1], 5))
    half = rng.random(20_000) < 0.5
    left = np.bincount(bins[half], values[half], 5)
    np.testing.assert_array_equal(forwards - left, np.bincount(bins[~half], values[~half], 5))


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        (Entries(np.array([0, 99]), np.array([0, 0])), "pixels 0 to 99"),
        (Entries(np.array([0, 1]), np.array([0, 4])), "bins below 4"),
        (Entries(np.array([1, 0]), np.array([0, 0])), "in the order of pixels"),
        (Entries(np.array([1, 1]), np.array([0, 1])), "in the order of pixels"),
        (Entries(np.array([1, 1]), np.array([1, 0]), np.ones(2)), "in the order of pixels"),
        (Entries(np.array([1, 1]), np.array([1])), "differ in length"),
    ],
)
def test_wrong_entries_are_refused(entries, text):
    with pytest.raises(BadInput, match=text):
        BinPlan.make((4, 5), 4, entries, {"count": np.ones(len(entries.pixel))})


@pytest.mark.parametrize(
    ("tiles", "text"),
    [
        ([[0, 3, 0, 6]], "leaves the slab"),
        ([[0, 3, 0, 5], [2, 4, 0, 5]], "lies on another"),
        ([[0, 3, 0, 5]], "lie in no part"),
        ([[0.0, 3.0, 0.0, 5.0]], "whole numbers"),
    ],
)
def test_wrong_parts_are_refused(tiles, text):
    with pytest.raises(BadInput, match=text):
        BinPlan.make((4, 5), 1, Entries.whole(np.zeros((4, 5), int)), {"count": np.ones(20)}, parts=tiles)


def test_the_native_function_checks_what_it_is_given(native_backend, rng):
    case = Case(rng, shape=(5, 7), n_bins=4, frames=2)
    plan = case.plan()
    summer = BinSummer(native_backend, plan, 2)
    stream = native_backend.device.stream()
    double = upload(native_backend, np.zeros((2, 35), "f8"), stream)
    single = upload(native_backend, np.zeros((2, 35), "f4"), stream)
    short = upload(native_backend, np.zeros((2, 34), "u1"), stream)
    with pytest.raises(ValueError, match="pixels"):
        summer.sum(double, stream)
    with pytest.raises(ValueError, match="bad"):
        summer.sum(single, stream, bad=short)
