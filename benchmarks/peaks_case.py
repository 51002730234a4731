"""What the benchmark `peakfinder8` measures: sets of AGIPD-1M frames, and functions that tell their CPU time.

CPU time of the calling thread, since the peer runs in another process on a machine that others may use too:
what is compared is the work of one core.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import machine
import numpy as np
from peak_frames import ALL_MODULES, BACKGROUNDS, BLANKS, HITS, SETTINGS, Scene
from shotsieve import peakfinder8
from shotsieve.backend import Backend
from shotsieve.bench.om_peer import MODES, Peer
from shotsieve.device import HostDevice
from shotsieve.measure.peak_finder import Peaks
from shotsieve.measure.peaks import PeakParams, PeakPlan

LEVELS = {"cpu_v2": 2, "cpu_v3": 3, "cpu_v4": 4}
STATISTICS = ("full", "lazy")
KINDS = (HITS, BLANKS)
SHOTS = 12  # 50 MB: more than a last-level cache holds

Set = tuple[str, float]
"""Kind and background."""


def cpu_levels() -> dict[str, Backend]:
    """Return every CPU level that this processor runs and that is built, with one thread."""
    highest = importlib.import_module("shotsieve._cpu_v2").cpu_level()
    return {
        name: Backend("cpu", importlib.import_module(f"shotsieve._{name}"), HostDevice(), name, 1)
        for name, level in LEVELS.items()
        if level <= highest
    }


@dataclass
class PeaksCase:
    """Frames of every set, and a plan for every setting.

    Attributes
    ----------
    scene : Scene
        One mask and one geometry for all sets.
    frames : dict of (kind, background) to ndarray of float32, shape (shots, rows, columns)
    plans : dict of str to PeakPlan
        By the name of the setting.
    """

    scene: Scene
    frames: dict[Set, np.ndarray]
    plans: dict[str, PeakPlan]

    @classmethod
    def make(cls, shots: int = SHOTS, modules: tuple[int, ...] = ALL_MODULES) -> PeaksCase:
        """Make the frames; every set has as many shots."""
        frames: dict[Set, np.ndarray] = {}
        for background in BACKGROUNDS:
            scene = Scene.make(background, modules)
            rng = np.random.Generator(np.random.SFC64([1, round(1000 * background)]))
            frames[HITS, background] = scene.hits(rng, shots)[0]
            frames[BLANKS, background] = scene.blanks(rng, shots)
        plans = {
            name: PeakPlan.make(PeakParams(**setting), scene.radius, scene.panels, scene.mask)
            for name, setting in SETTINGS.items()
        }
        return cls(scene, frames, plans)

    @property
    def shots(self) -> int:
        return len(next(iter(self.frames.values())))

    @property
    def shot_bytes(self) -> int:
        return 4 * self.scene.radius.size

    def find(self, which: Set, setting: str, statistics: str, backend: Backend) -> Peaks:
        """Search one set as a user would: one call, one thread, a plan made before."""
        return peakfinder8(
            self.frames[which], plan=self.plans[setting], statistics=statistics, backend=backend, threads=1
        )


def ours(case: PeaksCase) -> dict[tuple, Callable[[], float]]:
    """Return a function for every (level, statistics, setting, kind, background): CPU seconds of the set."""
    return {
        (level, statistics, setting, *which): timed(
            lambda w=which, s=setting, t=statistics, b=backend: case.find(w, s, t, b)
        )
        for which in case.frames
        for setting in SETTINGS
        for level, backend in cpu_levels().items()
        for statistics in STATISTICS
    }


def oms(case: PeaksCase, peer: Peer) -> dict[tuple, Callable[[], float]]:
    """Hand all frames to OM; return a function for every ("om", mode, setting, kind, background)."""
    for which, frames in case.frames.items():
        peer.load(str(which), frames)
    return {
        ("om", mode, setting, *which): lambda w=which, s=setting, m=mode: peer.seconds(str(w), SETTINGS[s], m)
        for which in case.frames
        for setting in SETTINGS
        for mode in MODES
    }


def reading(case: PeaksCase) -> dict[tuple, Callable[[], float]]:
    """Return functions that merely read a set, ("read", how)."""
    frames = next(iter(case.frames.values()))
    return {("read", how): timed(function) for how, function in machine.readers(frames).items()}


def timed(function: Callable[[], object]) -> Callable[[], float]:
    """Return a function that runs another one and tells the CPU seconds of this thread."""

    def run() -> float:
        began = time.thread_time()
        function()
        return time.thread_time() - began

    return run


def interleave(functions: Mapping[tuple, Callable[[], float]], rounds: int) -> dict[tuple, list[float]]:
    """Run functions that tell their own time in turns; one more round comes first and does not count."""
    seconds: dict[tuple, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            took = function()
            if number:
                seconds[name].append(took)
    return seconds
