"""Small dark runs: of a detector with few pixels in memory, and simulated ones as files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.detectors import Detector
from shotsieve.simulate.darks import DarkParameters, SimulatedDarks, simulate_darks
from shotsieve.sources.memory import MemorySource

SHAPE, ASIC = (32, 64), (16, 32)
PIXELS = SHAPE[0] * SHAPE[1]
SENSOR_ROWS = ((0, 8), (16, 24))  # of LPD-Mini, as a copy of its file says them
SMALL_OFFSETS = (250, 1500, 2000)  # of words with few bits
EIGHT_BITS = 120  # far from both ends, since a stored 0 is 256
OFFSETS, NOISE, LEVELS = (5000, 8000, 8600), (7.0, 5.0, 5.0), (5000, 6600, 7800)


def small(name: str) -> Detector:
    """A detector with the words of another one, and few pixels; "LPD1M in parallel gain" is one too."""
    name, _, mode = name.partition(" in ")
    detector = detectors.load(name)
    detector = detector.in_parallel_gain() if mode == "parallel gain" else detector
    if detector.dimensions == 1:
        return dataclasses.replace(detector, shape=(1, PIXELS))
    rows = SENSOR_ROWS if detector.name == "LPDMINI" else ()
    bank = ASIC if all(detector.bank) else (0, 0)
    return dataclasses.replace(detector, shape=SHAPE, asic=ASIC, bank=bank, sensor_rows=rows)


def dark_words(
    detector: Detector, stage: int, trains: int, cells: tuple[int, ...], modules: int, seed: int
) -> np.ndarray:
    """Raw words of a dark run, uint16 (trains * cells, modules, planes, ss, fs)."""
    rng = np.random.default_rng([seed, stage])
    shape = (trains * len(cells), modules, *detector.frame_shape)
    raw = np.empty((*shape[:2], detector.plane_count, *detector.frame_shape), "u2")
    offsets = SMALL_OFFSETS if detector.adc_max < 10000 else OFFSETS
    offset = EIGHT_BITS if "wrap256" in detector.steps else offsets[stage]
    raw[:, :, 0] = np.rint(offset + NOISE[stage] * rng.standard_normal(shape))
    if detector.encoding == "parallel":  # a stage in each plane, whatever the run is of
        for g in range(3):
            raw[:, :, g] = np.rint(offsets[g] + NOISE[g] * rng.standard_normal(shape))
            raw[:, :, g] |= np.uint16(g << detector.adc_bits)
    elif detector.encoding == "word":
        raw |= np.uint16(detector.codes[stage] << detector.adc_bits)
    elif detector.encoding == "threshold":
        raw[:, :, 1] = np.rint(LEVELS[stage] + 25 * rng.standard_normal(shape))
    elif detector.encoding == "code":
        raw[:, :, 1] = detector.codes[stage]
    rows = ~detector.sensor_pixels().reshape(detector.frame_shape)
    raw[..., rows] = rng.integers(0, 2**14, raw[..., rows].shape)  # of no sensor: words of any value
    return raw


@pytest.fixture(scope="session")
def dark_run() -> Callable[..., MemorySource]:
    """Makes a dark run in memory."""

    def make(
        name: str = "AGIPD1M",
        stage: int = 0,
        trains: int = 40,
        cells: tuple[int, ...] = (0, 3),
        modules: tuple[int, ...] = (1, 2),
        seed: int = 5,
        change: Callable[[np.ndarray], None] | None = None,
        **more: Any,
    ) -> MemorySource:
        detector = small(name)
        raw = dark_words(detector, stage, trains, cells, len(modules), seed)
        if change is not None:
            change(raw)
        train = np.repeat(np.arange(1000, 1000 + trains), len(cells))
        pulse = np.tile(np.arange(len(cells)), trains)
        return MemorySource(
            detector, raw, train, pulse, np.tile(cells, trains), modules=modules, name=f"S{stage}", **more
        )

    return make


@dataclasses.dataclass(frozen=True)
class Made:
    """Simulated dark runs and what is true of them."""

    darks: SimulatedDarks
    parameters: DarkParameters

    def truth(self, name: str) -> np.ndarray:
        with h5py.File(self.darks.truth_file) as file:
            return file[name][()]


def _simulated(folder: Path, parameters: DarkParameters) -> Made:
    return Made(simulate_darks(folder, parameters), parameters)


@pytest.fixture(scope="session")
def agipd(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One module with two cells, in two sequence files."""
    parameters = DarkParameters(n_trains=100, n_cells=2, modules=(3,), split_at=(40,), seed=3)
    return _simulated(tmp_path_factory.mktemp("agipd"), parameters)


@pytest.fixture(scope="session")
def jungfrau(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One module with one cell."""
    parameters = DarkParameters(detector="JUNGFRAU", n_trains=30, n_cells=1, seed=4)
    return _simulated(tmp_path_factory.mktemp("jungfrau"), parameters)


@pytest.fixture(scope="session")
def gotthard2(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Strips whose words are not linear, in two cells by turns."""
    bad = {"dead": 0.01, "hot": 0.01, "noisy": 0.01, "stuck": 0.01}
    parameters = DarkParameters("GOTTHARD2", n_trains=10, n_cells=80, **bad)
    return _simulated(tmp_path_factory.mktemp("gotthard2"), parameters)


@pytest.fixture(params=["agipd", "jungfrau"])
def simulated(request: pytest.FixtureRequest) -> Made:
    """Each of the simulated sets."""
    return request.getfixturevalue(request.param)
