"""Statistics of frames on one core: mean, variance, maximum and count of every pixel, against NumPy."""

from __future__ import annotations

from collections.abc import Callable

import machine
import numpy as np
import records
from shotsieve import backend as backends
from shotsieve.bench.rounds import ROUNDS, interleave, minima
from shotsieve.measure.frame_stats import FrameSums

FRAMES, PIXELS = 32, 16 * 512 * 128
MIN_RATIO = 3.0


class NumPySums:
    """The same sums as a careful user of NumPy would keep them: frame by frame, in place."""

    def __init__(self, first: np.ndarray) -> None:
        self.shift = np.nan_to_num(first).astype("f8")
        self.sum, self.squares = np.zeros(len(first)), np.zeros(len(first))
        self.count = np.zeros(len(first), "i4")
        self.maximum = np.full(len(first), -np.inf, "f4")
        self._difference = np.empty(len(first))

    def add(self, frames: np.ndarray) -> None:
        d = self._difference
        for frame in frames:
            valid = np.isfinite(frame)
            np.subtract(frame, self.shift, out=d)
            d[~valid] = 0.0
            self.sum += d
            np.multiply(d, d, out=d)
            self.squares += d
            self.count += valid
            np.fmax(self.maximum, frame, out=self.maximum)


def test_statistics_of_frames(record: Callable, target: Callable, quick: bool, one_core: None) -> None:
    """All frames in one group; frames and sums lie in memory."""
    rng = np.random.default_rng(1)
    frames = rng.normal(5, 1, (4 if quick else FRAMES, PIXELS)).astype("f4")
    frames[:, rng.random(PIXELS) < 0.02] = np.nan
    cpu = backends.get("cpu")
    ours, stream = FrameSums(cpu, 1, PIXELS, len(frames)), cpu.device.stream()
    group = np.zeros(len(frames), "i4")
    ours.add(frames, group, stream)
    theirs = NumPySums(frames[0])
    theirs.add(frames)
    some, found = theirs.count > 0, ours.result()
    mean = theirs.shift[some] + theirs.sum[some] / theirs.count[some]
    np.testing.assert_array_equal(found.count[0], theirs.count)
    np.testing.assert_allclose(found.mean[0][some], mean, rtol=1e-12)
    np.testing.assert_array_equal(found.maximum[0][some], theirs.maximum[some])
    functions = {"ours": lambda: ours.add(frames, group, stream), "numpy": lambda: theirs.add(frames)}
    functions |= {f"read {name}": read for name, read in machine.readers(frames).items()}
    least = minima(interleave(functions, 2 if quick else ROUNDS))
    read = machine.quickest_read(least)
    ratio = least["numpy"] / least["ours"]
    record(
        records.make(
            "frame_stats",
            backend=f"cpu_{cpu.detail.split(', ')[-1]}",
            detector="AGIPD1M",
            shots_per_s=len(frames) / least["ours"],
            gb_per_s=frames.nbytes / least["ours"] / 1e9,
            read_fraction=read / least["ours"],
            floor_fraction=None,
            peer="NumPy, frame by frame, in place",
            ratio_to_peer=ratio,
            threads=1,
            versions=machine.versions(),
            notes="one core; calibrated float32 frames and the sums in memory; one group",
            details={"frames": len(frames), "ms_per_frame": 1e3 * least["ours"] / len(frames)},
        )
    )
    if not quick:
        target(ratio > MIN_RATIO, f"statistics of frames: {ratio:.1f} times NumPy, wanted {MIN_RATIO}")
