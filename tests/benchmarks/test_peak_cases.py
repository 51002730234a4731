"""What the peak benchmarks run finds the right peaks, whichever way; and the peer says why it is missing."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from fused_case import FusedCase, Pipeline
from om_agreement import Agreement, Layout, compare_shot, same_rows
from peak_frames import BACKGROUNDS, HITS, SETTINGS, Scene
from peaks_case import KINDS, PeaksCase, cpu_levels, interleave, ours, reading
from shotsieve import peakfinder8
from shotsieve.bench import om_peer
from shotsieve.bench.om_peer import NoPeer, Peer
from shotsieve.reference.peaks import find_peaks


@pytest.fixture(scope="module")
def case():
    return PeaksCase.make(shots=2, modules=(3,))


def test_every_level_and_both_statistics_agree(case):
    levels = list(cpu_levels().values())
    assert levels
    for which in case.frames:
        for setting in SETTINGS:
            first = case.find(which, setting, "full", levels[0])
            assert first.n_peaks.any() or which[0] != HITS
            for backend in levels:
                again = case.find(which, setting, "lazy", backend)
                assert again.records.tobytes() == first.records.tobytes()


def test_functions_tell_their_cpu_time(case):
    functions = reading(case) | ours(case)
    assert len(functions) == 3 + len(cpu_levels()) * 2 * len(SETTINGS) * len(KINDS) * len(BACKGROUNDS)
    some = dict(list(functions.items())[:4])
    seconds = interleave(some, rounds=2)
    assert all(len(times) == 2 and min(times) > 0 for times in seconds.values())


def test_the_way_from_raw_words_finds_what_a_search_of_all_pixels_finds():
    case = FusedCase(cells=1, trains=2, modules=(3,))
    for backend in cpu_levels().values():
        one = Pipeline(case, backend)
        for background in BACKGROUNDS:
            for setting in SETTINGS:
                found = one.find(background, setting)
                pixels = np.stack([one.pixels(background, shot).copy() for shot in range(case.shots)])
                again = peakfinder8(pixels, plan=case.plans[setting], statistics="full", backend="cpu")
                np.testing.assert_array_equal(again.n_peaks, found)
                at_least = (pixels >= SETTINGS[setting]["threshold"]).any(axis=(1, 2))
                one.calibrate(background, setting)
                np.testing.assert_array_equal(np.flatnonzero(at_least), one.worth())


def test_calibrated_blanks_are_the_frames_they_were_made_of():
    case = FusedCase(cells=2, trains=3, modules=(3, 10))
    one = Pipeline(case, next(iter(cpu_levels().values())))
    scene = Scene.make(2.0, (3, 10), seed=1)
    values = np.stack([one.pixels(2.0, shot).copy() for shot in range(case.shots)])
    np.testing.assert_array_equal(np.isnan(values), np.broadcast_to(~scene.mask, values.shape))
    assert np.nanmean(values) / 9.3 == pytest.approx(scene.mean[scene.mask].mean(), rel=0.25)
    assert np.nanmin(values) > -10  # nothing switched its gain


def test_without_the_variable_there_is_no_peer(monkeypatch):
    monkeypatch.delenv(om_peer.VARIABLE, raising=False)
    with pytest.raises(NoPeer, match="SHOTSIEVE_OM_PYTHON is not set"):
        Peer(np.ones((64, 128), "f4"), np.ones((64, 128), bool))


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("/no/such/python", "cannot be run"),
        pytest.param(
            sys.executable,
            "OM's extension .* is not installed there",
            marks=pytest.mark.skipif(find_spec("om") is not None, reason="it is installed here"),
        ),
    ],
)
def test_a_peer_that_is_named_and_missing_is_an_error(monkeypatch, python, words):
    monkeypatch.setenv(om_peer.VARIABLE, python)
    with pytest.raises(RuntimeError, match=words):
        Peer(np.ones((64, 128), "f4"), np.ones((64, 128), bool))


def test_rows_are_the_same_or_explained_or_neither():
    """Spots that the stale entry joins, a row that is ours, one of nobody's, and one that OM lacks."""
    frame = np.random.default_rng(5).normal(0, 1, (128, 128)).astype("f4")
    frame[30, 60], frame[30, 61], frame[74, 20], frame[94, 61] = 500, 580, 500, 400
    panels = np.int32([(0, 64, 0, 128), (64, 128, 0, 128)])
    layout = Layout(np.full(frame.shape, 10, "f4"), np.ones(frame.shape, bool), panels)
    setting = dict(SETTINGS["A"], threshold=30.0, min_snr=8.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SETTINGS, "A", setting)
        mine, joined = (
            find_peaks(frame, None, layout.radius, panels, **setting, compat=compat).records
            for compat in (None, "om-23.8")
        )
        rows = np.stack([0 * joined["fs"], *(joined[n] for n in ("fs", "ss", "total", "n_pixels"))], axis=1)
        assert (len(mine), len(rows)) == (3, 2)
        assert compare_shot(layout, frame, "A", mine, rows) == Agreement(2, 1, 3, 1, 0, 2, 0)
        moved = rows + np.float64([0, 0, 0.01, 0, 0])
        assert compare_shot(layout, frame, "A", mine, moved).unexplained >= 2
        assert compare_shot(layout, frame, "A", mine[:-1], rows[:0]).unexplained > 0


def test_a_ring_around_the_next_pixel_is_told_from_any_other_total():
    frame = np.random.default_rng(6).normal(0, 5, (64, 128)).astype("f4")
    frame[30, 60:62] = 500, 500.5  # the centroid lies at 60.50025: its ring is centred on 61
    layout = Layout(np.full(frame.shape, 10, "f4"), np.ones(frame.shape, bool), np.int32([(0, 64, 0, 128)]))
    mine = find_peaks(frame, None, layout.radius, layout.panels, **SETTINGS["A"]).records
    y, x = np.mgrid[-6:6, -6:6]
    ring = frame[24:36, 54:66][(y * y + x * x <= 36) & (frame[24:36, 54:66] < 100)].astype("f8")
    row = [0, mine["fs"][0], 30, 1000.5 - 2 * ring.mean(), 2, 0, ring.std(), 0]
    assert abs(row[3] / mine["total"][0] - 1) > 2e-4
    assert compare_shot(layout, frame, "A", mine, np.float64([row])) == Agreement(1, 0, 1, 0, 1, 1, 0)
    for column in (3, 6):
        other = np.float64([row])
        other[0, column] *= 1.002
        assert compare_shot(layout, frame, "A", mine, other).unexplained == 3


@pytest.mark.skipif(not os.environ.get(om_peer.VARIABLE), reason=f"{om_peer.VARIABLE} is not set")
def test_the_peer_finds_the_same(case):
    with Peer(case.scene.radius, case.scene.mask) as om:
        assert om.name.startswith("OM ")
        for which, frames in case.frames.items():
            om.load("frames", frames)
            for setting, parameters in SETTINGS.items():
                found, fast = (om.find("frames", parameters, mode) for mode in om_peer.MODES)
                mine = case.find(which, setting, "lazy", next(iter(cpu_levels().values())))
                assert len(found.rows) - same_rows(mine, found) <= 0.02 * len(found.rows) + 1
                np.testing.assert_array_equal(
                    np.bincount(found.rows[:, 0].astype(int), minlength=2), found.n_peaks
                )
                assert abs(len(fast.rows) - len(found.rows)) <= 0.3 * len(found.rows) + 3
                assert (found.seconds > 0).all()
            om.drop("frames")
        with pytest.raises(ValueError, match="mode 'slow'"):
            om.find("frames", SETTINGS["A"], "slow")
        with pytest.raises(RuntimeError, match="ended with status 1"):
            om.drop("never loaded")
