"""The peak finder of every backend against the oracle: the same peaks, order and numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from shotsieve.reference.peaks_margin import FIRM

from .cases import (
    BACKGROUNDS,
    Case,
    assert_same_peaks,
    cases,
    compare,
    compare_shot,
    grid,
    known_cases,
    random_case,
)

KNOWN = tuple(known_cases(np.random.default_rng(0)))
TINY = (13, 37)  # the emulated device is a thousand times slower
CALM = ("noise", "ring", "keV")  # where nothing but chance puts a decision inside the margin


def shape_for(backend, shape=None):
    return TINY if backend.name == "emu" else shape


def stack_of(case, rng, shots):
    """Return frames unlike each other on the detector of a case: shuffled, scaled, and an empty one."""
    frames = [case.frame]
    for shot in range(1, shots):
        frame = np.roll(case.frame, (3 * shot, 5 * shot), (0, 1)) * np.float32(rng.uniform(0.3, 2))
        frames.append(frame if shot % 4 else np.zeros_like(frame))
    return np.stack(frames)


@pytest.mark.parametrize("name", KNOWN)
def test_known_cases(native_backend, name, rng):
    size = (16, 40) if native_backend.name == "emu" else (64, 128)
    case = known_cases(rng, *size)[name]
    found = case.oracle()
    compare_shot(found, case.search(backend=native_backend))
    compare_shot(found, case.search(backend=native_backend, statistics="full"))


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_random_frames(native_backend, kind, rng):
    for _ in range(1 if native_backend.name == "emu" else 12):
        case = random_case(rng, kind, shape_for(native_backend))
        peaks = case.search(backend=native_backend)
        compare_shot(case.oracle(), peaks)
        assert_same_peaks(peaks, case.search(backend="cpu", statistics="full", threads=1))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_small_frames_of_every_kind(native_backend, case):
    if native_backend.name == "emu":
        pytest.skip("emu: its own examples are below")
    peaks = case.search(backend=native_backend)
    compare_shot(case.oracle(), peaks)
    assert_same_peaks(peaks, case.search(backend=native_backend, statistics="full"))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_small_frames_on_the_emulated_device(native_backend, case):
    if native_backend.name != "emu":
        pytest.skip("for emu; the other backends take more examples above")
    assert_same_peaks(case.search(backend=native_backend), case.search(backend="cpu"))


def test_few_peaks_lie_inside_the_margin(rng):
    """At most one decision in ten thousand may hang on rounding; everything else is equal."""
    peaks = inside = 0
    for at in range(14):
        rows, columns = 194, 254
        frame = BACKGROUNDS[CALM[at % 3]](rng, np.hypot(*np.mgrid[:rows, :columns])).astype("f4")
        spots = rng.random(frame.shape) < 0.02
        frame[spots] += rng.exponential(200, spots.sum())
        radius = np.hypot(*(np.mgrid[:rows, :columns] - 80.3)).astype("f4")
        case = Case(frame, radius, rng.random(frame.shape) > 0.03, grid(rows, columns, 65, 100))
        case = replace(case, params=case.params | {"threshold": float(rng.uniform(5, 40))})
        found = case.oracle()
        inside += compare_shot(found, case.search(backend="cpu"))
        peaks += len(found.records)
    assert peaks > 10000
    assert inside <= max(1, 1e-4 * peaks)


def test_the_same_bits_whatever_the_batch_threads_and_statistics(native_backend, rng, monkeypatch):
    from shotsieve.measure import peakfinder8 as module

    case = random_case(rng, "keV", shape_for(native_backend, (70, 194)))
    frames = stack_of(case, rng, 3 if native_backend.name == "emu" else 37)
    together = case.search(frames, backend=native_backend, threads=1)
    assert len(together) == len(frames)
    assert_same_peaks(together, case.search(frames, backend="cpu"))
    for threads in (2, 5):
        assert_same_peaks(together, case.search(frames, backend=native_backend, threads=threads))
    assert_same_peaks(together, case.search(frames, backend=native_backend, statistics="full"))
    for shot in (0, len(frames) - 1):
        alone = case.search(frames[shot], backend=native_backend)
        assert alone.records.tobytes() == together[shot].tobytes()
        np.testing.assert_array_equal(alone.rejected[0], together.rejected[shot])
        compare(case.with_frame(frames[shot]).oracle(), together[shot])
    # Two frames at once.
    monkeypatch.setattr(module, "SHOTS_PER_THREAD", 1)
    monkeypatch.setattr(module, "BATCH_BYTES", 2 * 4 * frames[0].size)
    assert_same_peaks(together, case.search(frames, backend=native_backend, threads=2))


def test_panels_in_another_order(native_backend, rng):
    case = random_case(rng, "ring", shape_for(native_backend, (64, 100)))
    rows, columns = case.frame.shape
    case = replace(case, panels=grid(rows, columns, rows // 3, columns // 3))
    order = rng.permutation(len(case.panels))
    straight = case.search(backend=native_backend)
    turned = replace(case, panels=case.panels[order]).search(backend=native_backend)
    expected = []
    for place, panel in enumerate(order):
        part = straight[0][straight[0]["panel"] == panel].copy()
        part["panel"] = place
        expected.append(part)
    assert np.concatenate(expected).tobytes() == turned[0].tobytes()
    np.testing.assert_array_equal(turned.rejected, straight.rejected)


@pytest.mark.parametrize("most", [1, 5, 300])
def test_peaks_beyond_the_limit_are_counted_and_not_stored(native_backend, most, rng):
    case = known_cases(rng, 16, 40)["many peaks"]
    found = case.oracle()
    assert len(found.records) > 100
    peaks = case.search(np.stack([case.frame] * 3), backend=native_backend, max_num_peaks=most)
    for shot in range(3):
        assert len(peaks[shot]) == min(most, len(found.records))
        assert peaks.n_peaks[shot] == len(found.records)
        if most < len(found.records):
            kept = replace(found, records=found.records[:most], margin=found.margin[:most])
            compare(kept, peaks[shot])
        else:
            compare_shot(found, peaks, shot)


def test_a_component_that_winds_through_the_whole_panel(native_backend):
    rows, columns = (15, 40) if native_backend.name == "emu" else (63, 130)
    frame = np.tile(np.float32([0, 1]), rows * columns // 2 + 1)[: rows * columns].reshape(rows, columns)
    frame[1::2] = 50  # a snake: every second row, joined at alternate ends
    frame[2::4, columns - 2] = 50
    frame[4::4, 1] = 50
    case = Case.flat(frame, threshold=20, max_pix_count=10**6, min_snr=0.5)
    found = case.oracle()
    assert len(found.records) + sum(found.rejected.values()) == 1
    compare_shot(found, case.search(backend=native_backend))


def test_no_frames(native_backend, rng):
    case = random_case(rng, "noise", TINY)
    peaks = case.search(np.zeros((0, *TINY), "f4"), backend=native_backend)
    assert (len(peaks), len(peaks.records), peaks.rejected.shape) == (0, 0, (0, 6))


def test_the_comparison_notices(rng):
    """A peak lost, gained, moved, out of order or with another number is noticed."""
    case = known_cases(rng)["many peaks"]
    found = case.oracle()
    assert (found.margin >= FIRM).all()
    records = found.records
    assert compare(found, records) == 0
    swapped = records.copy()
    swapped[[3, 4]] = swapped[[4, 3]]
    broken = [records[1:], np.delete(records, 7), np.concatenate([records, records[:1]]), swapped]
    for name, change in (("fs", 3e-5), ("n_pixels", 1), ("total", 0.1), ("sigma", 1e-3), ("panel", 1)):
        broken.append(records.copy())
        broken[-1][name][5] += change
    for other in broken:
        with pytest.raises(AssertionError):
            compare(found, other)
    with pytest.raises(AssertionError):
        compare(found, records, rejected=np.ones(6, "i4"))
    with pytest.raises(AssertionError):
        compare(found, records, panel_counts=np.array([len(records) - 1]))
