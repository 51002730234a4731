"""One frame of one module: photons by physics, words by the detector model, and the truth about both."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .chips import ChipModel
from .common_mode import common_mode_of
from .detector import PIXELS, DetectorModel
from .geometry import momentum_transfer
from .kinds import positions
from .noise import generator
from .parameters import SpiParameters
from .physics import Background, draw_photons, solid_angle
from .schedule import Schedule

MOMENTS = 16  # terms of the series of 1 - exp(-x); enough for x <= 1
ROUND = 64.0  # expectations are rounded to 1/64, so that they do not depend on how a machine computes exp


class Expected(NamedTuple):
    """What one frame should hold on average.

    Attributes
    ----------
    photons : float
        Photons on all pixels, good or bad.
    hit_photons : float
        Those of the particle.
    lit : float
        Pixels with at least one photon among those no constant flags in high gain.
    background_lit : float
        The same without the particle.
    """

    photons: float
    hit_photons: float
    lit: float
    background_lit: float


class FrameMaker:
    """Makes any frame of a run, in any order: each is a pure function of parameters, shot and module.

    Parameters
    ----------
    parameters : SpiParameters
    schedule : Schedule
    model : DetectorModel or ChipModel

    Examples
    --------
    >>> p = SpiParameters(n_trains=1, n_cells=2, modules=(3,))
    >>> from shotsieve.simulate.schedule import make_schedule
    >>> maker = FrameMaker(p, make_schedule(p), DetectorModel(1, 2))
    >>> maker.make(0, 0, np.empty((2, 65536), "u2"))
    0
    """

    def __init__(self, parameters: SpiParameters, schedule: Schedule, model: DetectorModel | ChipModel):
        self.parameters = p = parameters
        self.schedule = schedule
        self.model = model
        q, weight = [], []
        for module in p.modules:
            place = positions(p.detector, module)
            position = place.reshape(PIXELS, 2)
            q.append(momentum_transfer(place, p.distance_m, p.photon_energy_kev).reshape(PIXELS))
            weight.append(solid_angle(p.distance_m, np.hypot(position[:, 0], position[:, 1])))
        self.scene = p.scene(schedule, np.stack(q), np.stack(weight))
        profiles = [self.scene.background(one) * solid for one, solid in zip(q, weight, strict=True)]
        # `background` is the mean over the modules simulated; the share of each follows from its place.
        level = p.background / np.mean([b.mean() for b in profiles])
        # The optical laser changes the inner half of q; row and state of the laser -> background.
        change = [1 + p.pump_effect * (one < np.max(q) / 2) for one in q]
        pumped = [b * factor for b, factor in zip(profiles, change, strict=True)]
        self._backgrounds = [
            [Background(b, level * b.sum()) for b in one]
            for one in ((profiles, pumped) if p.pump_effect else (profiles,))
        ]
        self._moments: dict[tuple[int, int, int], np.ndarray] = {}

    def _energy(self, shot: int) -> float:
        return float(self.schedule.pulse_energy[shot]) / self.parameters.pulse_energy_uj

    def expected(self, shot: int, row: int) -> Expected:
        """Return what a frame should hold on average.

        Parameters
        ----------
        shot : int
            Index into the schedule's shots.
        row : int
            Index into `SpiParameters.modules`.

        Returns
        -------
        Expected

        Examples
        --------
        >>> maker.expected(0, 0).photons  # doctest: +SKIP
        0.0
        """
        energy, background = self._energy(shot), self._background_of(shot, row)
        cell = min(int(self.schedule.cell_id[shot]), self.model.cells - 1)
        module = self.model.module(self.parameters.modules[row])
        background_lit = self._background_lit(shot, row, module, cell, energy)
        hit = self.scene.mean(shot, row)
        if hit is None:
            photons = background.total * energy
            return Expected(*_rounded(photons, 0.0, background_lit, background_lit))
        mean = (background.mean.astype(np.float64) + hit) * energy
        lit = np.sum(self.scene.lit(mean, hit.astype(np.float64) * energy), where=module.good(cell))
        hit_photons = float(np.sum(hit, dtype=np.float64)) * energy
        photons = background.total * energy + hit_photons
        return Expected(*_rounded(photons, hit_photons, lit, background_lit))

    def _background_of(self, shot: int, row: int) -> Background:
        return self._backgrounds[int(self.schedule.laser[shot] > 0) % len(self._backgrounds)][row]

    def _background_lit(self, shot: int, row: int, module, cell: int, energy: float) -> float:
        """Return the expected lit pixels of the background: a series in the energy, its moments kept."""
        mean = self._background_of(shot, row).mean.astype(np.float64)
        if mean.max() * energy > 1:
            return float(np.sum(-np.expm1(-mean * energy), where=module.good(cell)))
        key = (int(self.schedule.laser[shot] > 0), row, cell)
        moments = self._moments.get(key)
        if moments is None:
            good = mean[module.good(cell)]
            power, moments, factor = np.ones_like(good), np.empty(MOMENTS), -1.0
            for k in range(MOMENTS):
                power = power * good
                factor = -factor / (k + 1)
                moments[k] = factor * np.sum(power)
            self._moments[key] = moments
        value = 0.0
        for m in moments[::-1]:
            value = (value + m) * energy
        return value

    def make(self, shot: int, row: int, out: np.ndarray, stage: np.ndarray | None = None) -> int:
        """Make the raw words of one frame.

        Parameters
        ----------
        shot : int
            Index into the schedule's shots.
        row : int
            Index into `SpiParameters.modules`.
        out : numpy.ndarray
            (planes, 65536) uint16, filled.
        stage : numpy.ndarray, optional
            (65536,) uint8, filled with the true gain stage.

        Returns
        -------
        int
            Photons drawn, on good and bad pixels.

        Notes
        -----
        Promise: exact; whatever was made before, the same frame has the same words.

        Examples
        --------
        >>> maker.make(0, 0, np.empty((2, 65536), "u2"))  # doctest: +SKIP
        0
        """
        p, s = self.parameters, self.schedule
        module, cell = p.modules[row], int(s.cell_id[shot])
        rng = generator(p.seed, 4, int(s.train[shot]), int(s.frame[shot]), module)
        energy = self._energy(shot)
        hit = self.scene.hit(shot, row)
        if hit is None:
            pixels, counts = self._background_of(shot, row).draw(rng, energy)
        else:
            hit += self._background_of(shot, row).mean
            hit *= np.float32(energy)
            pixels, counts = draw_photons(rng, hit)
        # Cells beyond the constants exist in the detector all the same; they behave like the last one.
        cell = min(cell, self.model.cells - 1)
        common = {}  # only AGIPD has one
        if p.common_mode_adu:
            common["common"] = common_mode_of(p, int(s.train[shot]), int(s.frame[shot]), module)
        self.model.words(rng, module, cell, pixels, counts * p.photon_energy_kev, out, stage, **common)
        return int(counts.sum())


def _rounded(*values: float) -> tuple[float, ...]:
    return tuple(float(np.rint(v * ROUND) / ROUND) for v in values)
