"""Input of the benchmark `calibrate_lit`: raw words of one AGIPD module, folded constants of every cell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from shotsieve import detectors
from shotsieve.backend import Backend
from shotsieve.calibrate import COUNTS, CalibrateParams, list_frames, queue_calibration
from shotsieve.shifts import Shifts

PHOTON_KEV = 9.3
ADU_PER_KEV = 7.2
OFFSETS = (5000.0, 8000.0, 8600.0)
LEVELS = (5000.0, 6600.0, 7800.0)
STAGE_GAINS = (1.0, 30.0, 134.0)
NOISE, LEVEL_NOISE = 7.2, 25.0
LIT_SHARE, BAD_SHARE = 0.02, 0.01


@dataclass(frozen=True)
class LitCase:
    """What every measured function gets.

    Attributes
    ----------
    raw : ndarray of uint16, shape (trains, cells, 2, n_pixels)
    table : ndarray of float32, shape (cells, 8, n_pixels)
        Folded constants: two thresholds, three offsets, three gains; keV.
    module_count : int
        Modules of a shot, for shots per second.
    """

    raw: np.ndarray
    table: np.ndarray
    module_count: int

    @property
    def trains(self) -> int:
        return self.raw.shape[0]

    @property
    def cells(self) -> int:
        return self.raw.shape[1]

    @property
    def frames(self) -> int:
        return self.trains * self.cells

    @property
    def pixels(self) -> int:
        return self.raw.shape[3]

    @cached_property
    def switched_share(self) -> float:
        """Share of pixels that left high gain."""
        return float(np.mean(self.raw[:, :, 1] > self.table[None, :, 0]))

    def least_bytes(self) -> int:
        """Return the bytes that must be moved: words, counts, and constants once for all trains of a cell.

        Only the three planes that pixels in high gain need are counted (threshold, offset, gain); the other
        five are needed for the few switched pixels alone.
        """
        counts = self.frames * COUNTS * 8
        return self.raw.nbytes + counts + 3 * 4 * self.cells * self.pixels

    def params(self, photons: bool) -> CalibrateParams:
        """Return the kernel's parameters: lit above 0.7 photon, photons counted or not."""
        return CalibrateParams(
            encoding=0, lit_threshold=0.7 * PHOTON_KEV, to_photon=1 / PHOTON_KEV if photons else 0.0
        )


def make_case(cells: int = 64, trains: int = 8, seed: int = 1) -> LitCase:
    """Make the words of one module: noise, some photons, and in each frame one cluster that switched gain.

    Parameters
    ----------
    cells, trains : int
        Distinct memory cells, and how often each occurs.
    seed : int

    Returns
    -------
    LitCase
        13 of 65,536 pixels (0.02 %) of every frame are in medium or low gain: a disc of radius 2.
    """
    detector = detectors.load("AGIPD1M")
    ss, fs = detector.shape
    rng = np.random.default_rng(seed)
    table = np.empty((cells, 8, ss * fs), "f4")
    bad = rng.random(ss * fs) < BAD_SHARE
    for cell in table:
        jitter = rng.standard_normal((5, ss * fs), "f4")
        for plane in range(2):
            cell[plane] = np.rint(0.5 * (LEVELS[plane] + LEVELS[plane + 1]) + 10 * jitter[plane])
        for stage in range(3):
            cell[2 + stage] = OFFSETS[stage] + 60 * jitter[2 + stage]
            cell[5 + stage] = STAGE_GAINS[stage] / (ADU_PER_KEV * (1 + 0.02 * jitter[stage]))
            cell[5 + stage, bad] = np.nan
    raw = np.empty((trains, cells, 2, ss, fs), "u2")
    for train in range(trains):
        for number in range(cells):
            _fill(rng, raw[train, number], table[number].reshape(8, ss, fs))
    return LitCase(raw.reshape(trains, cells, 2, ss * fs), table, detector.module_count)


def _fill(rng: np.random.Generator, words: np.ndarray, constants: np.ndarray) -> None:
    """Fill one frame, (2, ss, fs)."""
    ss, fs = words.shape[1:]
    noise = rng.standard_normal((2, ss, fs), "f4")
    photons = rng.random((ss, fs), "f4") < LIT_SHARE
    analogue = constants[2] + NOISE * noise[0] + photons * (PHOTON_KEV * ADU_PER_KEV)
    digital = LEVELS[0] + LEVEL_NOISE * noise[1]
    y, x = int(rng.integers(2, ss - 2)), int(rng.integers(2, fs - 2))
    for dy in range(-2, 3):
        for dx in range(abs(dy) - 2, 3 - abs(dy)):
            stage = 2 if dy == dx == 0 else 1
            at = (y + dy, x + dx)
            analogue[at] = constants[2 + stage][at] + 400
            digital[at] = LEVELS[stage] + LEVEL_NOISE * noise[1][at]
    words[0], words[1] = np.rint(analogue), np.rint(digital)


class OnDevice:
    """The case in the memory of a backend, ready to be run again and again.

    Parameters
    ----------
    case : LitCase
    backend : Backend
    modules : int
        Modules of a shot; each has words and constants of its own in device memory (copies of the case's).
    """

    def __init__(self, case: LitCase, backend: Backend, modules: int = 1) -> None:
        self.case, self.backend, self.modules = case, backend, modules
        device = backend.device
        self.stream = device.stream()
        shots = case.frames
        planes = case.raw.shape[2]
        words = case.raw.reshape(shots, 1, planes, case.pixels)
        if modules > 1:
            words = np.repeat(words, modules, axis=1)
        self.raw = self._upload(words.reshape(shots * modules, planes, case.pixels))
        self.table = self._upload(case.table if modules == 1 else np.concatenate([case.table] * modules))
        cell = np.tile(np.arange(case.cells), case.trains)
        rows = (cell[:, None] + case.cells * np.arange(modules)).astype("i4")
        frames, groups = list_frames(np.ones(rows.shape, bool), rows)
        self.frames, self.groups = self._upload(frames), self._upload(groups)
        self.host_counts = device.empty_pinned((shots * modules, COUNTS), "i8")
        self.counts = device.twin(self.host_counts)

    def _upload(self, array: np.ndarray):
        device = self.backend.device
        target = device.twin(array)
        device.to_device(target, array, self.stream)
        device.wait(device.record(self.stream))
        return target

    def queue(self, params: CalibrateParams, shifts: Shifts | None = None) -> None:
        """Queue one pass over all frames; counts only."""
        queue_calibration(
            self.backend,
            self.raw,
            self.frames,
            self.groups,
            self.table,
            self.counts,
            params,
            shifts=shifts,
            stream=self.stream,
        )

    def run(self, params: CalibrateParams, repeats: int = 1, shifts: Shifts | None = None) -> None:
        """Run some passes, one after the other, and wait for the last."""
        for _ in range(repeats):
            self.queue(params, shifts)
        self.backend.device.wait(self.backend.device.record(self.stream))

    def result(self) -> np.ndarray:
        """Return the counts of the last pass, int64 (frames, modules, 5)."""
        device = self.backend.device
        device.to_host(self.host_counts, self.counts, self.stream)
        device.wait(device.record(self.stream))
        return self.host_counts.reshape(self.case.frames, self.modules, COUNTS)
