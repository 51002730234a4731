"""Input of the benchmark `peaks_beyond_calibration`: raw words of blank AGIPD-1M shots, and what finds peaks.

Blanks are those of `peak_frames`, turned into words of high gain with constants of several memory cells.
Masked pixels have no gain, so that they are NaN once calibrated, as in a real reduction.
"""

from __future__ import annotations

import numpy as np
from lit_case import ADU_PER_KEV, LEVEL_NOISE, LEVELS, OFFSETS, STAGE_GAINS
from peak_frames import ALL_MODULES, BACKGROUNDS, PHOTON, SETTINGS, Scene
from shotsieve.backend import Backend
from shotsieve.calibrate import CANDIDATES, COUNTS, CalibrateParams, list_frames, queue_calibration
from shotsieve.measure.peak_finder import PeakFinder
from shotsieve.measure.peaks import PeakParams, PeakPlan

CELLS, TRAINS = 4, 8


class FusedCase:
    """Blank shots of every background.

    Attributes
    ----------
    raw : dict of float to ndarray of uint16, shape (shots, modules, 2, n_pixels)
        By background; one shot after the other, cell by cell in each train.
    table : ndarray of float32, shape (cells * modules, 8, n_pixels)
        Folded constants, keV.
    rows : ndarray of int32, shape (shots, modules)
        Rows of the table.
    plans : dict of str to PeakPlan
        By the name of the setting; no mask but NaN.
    """

    def __init__(
        self,
        cells: int = CELLS,
        trains: int = TRAINS,
        modules: tuple[int, ...] = ALL_MODULES,
        seed: int = 1,
    ) -> None:
        rng = np.random.Generator(np.random.SFC64(seed))
        scenes = {background: Scene.make(background, modules, seed) for background in BACKGROUNDS}
        scene = scenes[BACKGROUNDS[0]]
        pixels = scene.radius.size // len(modules)
        shape = (cells, len(modules), pixels)
        self.table = np.empty((cells, len(modules), 8, pixels), "f4")
        for plane in range(2):
            middle = 0.5 * (LEVELS[plane] + LEVELS[plane + 1])
            self.table[:, :, plane] = np.rint(middle + 10 * rng.standard_normal(shape, "f4"))
        for stage in range(3):
            self.table[:, :, 2 + stage] = OFFSETS[stage] + 60 * rng.standard_normal(shape, "f4")
            gain = ADU_PER_KEV * (1 + 0.02 * rng.standard_normal(shape, "f4"))
            self.table[:, :, 5 + stage] = STAGE_GAINS[stage] / gain
            self.table[:, :, 5 + stage, :][:, ~scene.mask.reshape(len(modules), pixels)] = np.nan
        cell = np.tile(np.arange(cells), trains)
        self.shots = len(cell)
        self.rows = (cell[:, None] * len(modules) + np.arange(len(modules))).astype("i4")
        self.raw = {background: self._words(rng, scenes[background], cell) for background in BACKGROUNDS}
        self.table = self.table.reshape(-1, 8, pixels)
        self.plans = {
            name: PeakPlan.make(PeakParams(**setting), scene.radius, scene.panels)
            for name, setting in SETTINGS.items()
        }

    def _words(self, rng: np.random.Generator, scene: Scene, cell: np.ndarray) -> np.ndarray:
        modules, pixels = self.table.shape[1], self.table.shape[3]
        raw = np.empty((len(cell), modules, 2, pixels), "u2")
        for words, which in zip(raw, cell, strict=True):
            frame = scene.blanks(rng, 1).reshape(modules, pixels)
            constants = self.table[which]
            gain = np.nan_to_num(constants[:, 5], nan=1 / ADU_PER_KEV)
            words[:, 0] = np.clip(np.rint(constants[:, 2] + frame / gain), 0, 16383)
            words[:, 1] = np.rint(LEVELS[0] + LEVEL_NOISE * rng.standard_normal(frame.shape, "f4"))
        return raw


class Pipeline:
    """The way of a block of shots through one thread of a CPU backend.

    Parameters
    ----------
    case : FusedCase
    backend : Backend
        Of the CPU.
    """

    def __init__(self, case: FusedCase, backend: Backend) -> None:
        self.case, self.backend = case, backend
        modules, pixels = case.rows.shape[1], case.table.shape[2]
        self.frames, self.groups = list_frames(np.ones(case.rows.shape, bool), case.rows)
        self.counts = np.zeros((case.rows.size, COUNTS), "i8")
        # The second pass, for shots with a candidate, one at a time so that it stays in cache.
        self.one_raw = np.empty((modules, 2, pixels), "u2")
        self.one_counts = np.empty((modules, COUNTS), "i8")
        self.one_pixels = np.empty((modules, pixels), "f4")
        self.one_stage = np.empty((modules, pixels), "u1")
        self.one_bits = np.empty((modules, pixels // 32), "u4")
        self.finders = {name: PeakFinder(backend, plan, 1) for name, plan in case.plans.items()}

    def params(self, setting: str | None) -> CalibrateParams:
        """Return what is counted: lit pixels, and candidates of a setting or none."""
        more = {} if setting is None else {"candidate_threshold": SETTINGS[setting]["threshold"]}
        return CalibrateParams(encoding=0, lit_threshold=0.7 * PHOTON, **more)

    def calibrate(self, background: float, setting: str | None = None) -> None:
        """Count all shots; with a setting, their candidate pixels too."""
        raw = self.case.raw[background]
        queue_calibration(
            self.backend,
            raw.reshape(-1, *raw.shape[2:]),
            self.frames,
            self.groups,
            self.case.table,
            self.counts,
            self.params(setting),
        )

    def find(self, background: float, setting: str) -> np.ndarray:
        """Count all shots and search those that have a candidate; return n_peaks of every shot."""
        self.calibrate(background, setting)
        n_peaks = np.zeros(self.case.shots, "i4")
        for shot in self.worth():
            self._second(background, shot, setting)
            n_peaks[shot] = self._search(setting)
        return n_peaks

    def to_pixels(self, background: float, setting: str | None = None) -> None:
        """Calibrate all shots to pixels, one by one; with a setting, mark candidates and search each too."""
        for shot in range(self.case.shots):
            self._second(background, shot, setting)
            if setting:
                self._search(setting)

    def pixels(self, background: float, shot: int) -> np.ndarray:
        """Return one calibrated slab, float32 (rows, columns); valid until the next call."""
        self._second(background, shot, None)
        return self.one_pixels.reshape(self.finders["A"].plan.shape)

    def _second(self, background: float, shot: int, setting: str | None) -> None:
        """Calibrate one shot to pixels and candidate bits."""
        self.one_raw[:] = self.case.raw[background][shot]
        frames, groups = list_frames(np.ones((1, len(self.one_raw)), bool), self.case.rows[shot : shot + 1])
        queue_calibration(
            self.backend,
            self.one_raw,
            frames,
            groups,
            self.case.table,
            self.one_counts,
            self.params(setting),
            pixels=self.one_pixels,
            stage=self.one_stage,
            candidates=self.one_bits if setting else None,
        )

    def _search(self, setting: str) -> int:
        """Search the shot that was calibrated last."""
        pixels, bits = self.one_pixels.reshape(1, -1), self.one_bits.reshape(1, -1)
        return int(self.finders[setting].find(pixels, bits, None).n_peaks[0])

    def worth(self) -> np.ndarray:
        """Return the shots in which the last counting found a candidate."""
        return np.flatnonzero(self.counts[:, CANDIDATES].reshape(self.case.rows.shape).any(axis=1))
