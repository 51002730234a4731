"""Scores of frames on one core: two weighted sums, eight rings and a count, against NumPy."""

from __future__ import annotations

from collections.abc import Callable

import machine
import numpy as np
import records
from shotsieve import backend as backends
from shotsieve.bench.rounds import ROUNDS, interleave, minima
from shotsieve.measure.scores import ScorePlan, ScoreSummer, likelihood_map

FRAMES, SHAPE, RINGS = 16, (16, 512, 128), 8
MIN_RATIO = 2.0


class NumPyScores:
    """The same sums as a careful user of NumPy would make them: frame by frame, float32 weights."""

    def __init__(self, maps: dict[str, np.ndarray], rings: np.ndarray) -> None:
        self.weights = np.stack([one[0].reshape(16, -1) for one in maps.values()])
        self.constants = np.stack([one[1].reshape(16, -1) for one in maps.values()])
        self.ring = rings.reshape(16, -1) + RINGS * np.arange(16)[:, None]

    def sum(self, frames: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        found = []
        for frame in frames.reshape(len(frames), 16, -1):
            good = np.isfinite(frame)
            photons = np.floor(np.maximum(np.where(good, frame, 0), 0) + np.float32(0.5))
            lit = (frame > 0.7).sum(axis=1)
            scores = np.einsum("wmp,mp->mw", self.weights, photons)
            scores -= np.einsum("wmp,mp->mw", self.constants, good)
            rings = np.bincount(self.ring.ravel(), photons.ravel(), 16 * RINGS).reshape(16, RINGS)
            found.append((scores, rings, lit))
        return found


def test_scores_of_frames(record: Callable, target: Callable, quick: bool, one_core: None) -> None:
    """Frames, maps and rings lie in memory; 0.02 photons a pixel, noise of 0.15 photons."""
    rng = np.random.default_rng(1)
    n = 2 if quick else FRAMES
    frames = (rng.poisson(0.02, (n, *SHAPE)) + rng.normal(0, 0.15, (n, *SHAPE))).astype("f4")
    frames[:, rng.random(SHAPE) < 0.02] = np.nan
    signal = rng.gamma(0.3, 0.01, SHAPE)
    background = np.full(SHAPE, 0.02)
    maps = {"a": likelihood_map(signal, background), "b": likelihood_map(2 * signal, background)}
    rings = rng.integers(0, RINGS, SHAPE)
    cpu = backends.get("cpu")
    plan = ScorePlan.make(maps, SHAPE, rings=rings, threshold=0.7)
    summer, theirs, stream = ScoreSummer(cpu, plan, n), NumPyScores(maps, rings), cpu.device.stream()
    flat = frames.reshape(n, -1)
    ours = summer.sum(flat, stream, threads=1)
    for k, (scores, photons, lit) in enumerate(theirs.sum(frames)):
        np.testing.assert_allclose(ours.scores[k], scores, rtol=1e-3, atol=0.5)
        np.testing.assert_array_equal(ours.rings[k], photons)
        np.testing.assert_array_equal(ours.lit[k], lit)
    functions = {"ours": lambda: summer.sum(flat, stream, threads=1), "numpy": lambda: theirs.sum(frames)}
    functions |= {f"read {name}": read for name, read in machine.readers(frames).items()}
    least = minima(interleave(functions, 2 if quick else ROUNDS))
    read = machine.quickest_read(least)
    ratio = least["numpy"] / least["ours"]
    record(
        records.make(
            "scores",
            backend=f"cpu_{cpu.detail.split(', ')[-1]}",
            detector="AGIPD1M",
            shots_per_s=n / least["ours"],
            gb_per_s=frames.nbytes / least["ours"] / 1e9,
            read_fraction=read / least["ours"],
            floor_fraction=None,
            peer="NumPy, frame by frame, float32 weights",
            ratio_to_peer=ratio,
            threads=1,
            versions=machine.versions(),
            notes="one core; calibrated float32 frames in memory; two maps, eight rings, a count",
            details={"frames": n, "ms_per_frame": 1e3 * least["ours"] / n},
        )
    )
    if not quick:
        target(ratio > MIN_RATIO, f"scores of frames: {ratio:.1f} times NumPy, wanted {MIN_RATIO}")
