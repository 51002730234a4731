"""Simulated runs whose hits have Bragg spots."""

from __future__ import annotations

import numpy as np
import shotsieve
from shotsieve.engine import BLOCK_BYTES
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.frames import FrameMaker
from shotsieve.simulate.geometry import write_geometry
from shotsieve.simulate.memory import build
from shotsieve.simulate.run import write_run

MODULES = (3, 4)
SPOTS = 25  # on each module of a hit
RULE = "n_peaks >= 20"
PEAKS = {"threshold": "4.3 photon", "min_snr": 5.0, "max_pix_count": 30}


class SpotMaker(FrameMaker):
    """Draws Bragg spots where the simulation has hits: Gaussians, away from the borders of the panels."""

    def __init__(self, parameters, schedule, model):
        super().__init__(parameters, schedule, model)
        self.scene.hit = self._hit

    def _hit(self, shot, row):
        if self.schedule.strength[shot] == 0:
            return None
        expected = np.zeros((512, 128), np.float32)
        spots = np.random.default_rng((shot, row))
        for _ in range(SPOTS):
            ss = 64 * spots.integers(8) + spots.integers(6, 58)
            fs = spots.integers(6, 122)
            y, x = np.mgrid[-4:5, -4:5]
            shape = np.exp(-((y - spots.uniform(-0.5, 0.5)) ** 2 + (x - spots.uniform(-0.5, 0.5)) ** 2) / 1.0)
            expected[ss - 4 : ss + 5, fs - 4 : fs + 5] += spots.uniform(100, 2000) * shape / shape.sum()
        return expected.reshape(-1)


class Run:
    """A simulated run with spots, its constants and geometry."""

    def __init__(self, folder, **options):
        options = {
            "n_trains": 3,
            "n_cells": 4,
            "modules": MODULES,
            "hit_rate": 0.5,
            "background": 0.05,
        } | options
        self.parameters = p = SpiParameters(seed=5, **options)
        self.raw = folder / "raw" / "r0001"
        self.raw.mkdir(parents=True)
        schedule, model, _ = build(p)
        write_run(self.raw, p, schedule, SpotMaker(p, schedule, model), lambda *_: None)
        self.constants = constants_in_memory(p, model)
        self.geometry = write_geometry(folder / "agipd.geom", p.distance_m, p.photon_energy_kev)
        self.strength = schedule.strength

    def recipe(self, **sections):
        sections = {"calibrate": {}, "measure": {"peaks": PEAKS}, **sections}
        sections = {name: section for name, section in sections.items() if section is not None}
        return {"detector": [{"name": "AGIPD1M", "geometry": str(self.geometry)}], **sections}

    def reduce(self, out, backend="cpu", block_bytes=BLOCK_BYTES, resume=False, **sections):
        return shotsieve.reduce(
            self.raw,
            self.recipe(**sections),
            out,
            constants=self.constants,
            backend=backend,
            block_bytes=block_bytes,
            resume=resume,
        )
