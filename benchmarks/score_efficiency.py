"""How many weak hits each score keeps, on simulated runs of the whole detector with known truth.

Spheres of one mean size on a background of 0.02 photons a pixel, pulse energies that jitter, photons, noise
and bad pixels. `shotsieve.reduce` measures lit pixels and weighted sums with three maps: the Poisson log
likelihood ratio for spheres of the right size, of two thirds of it and of one and a half. The threshold of
each score is the least that at most 1 % of the misses exceed.
"""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import records
import shotsieve
from efficiency import binomial_interval
from shotsieve.backend import usable_cpus
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build, spi_source
from shotsieve.table import Table

MISSES_KEPT = 0.01
WEAK = 200
"""Photons of the hits that the two bounds below are of."""

MIN_RATIO_KEPT, MAX_LIT_KEPT = 0.90, 0.15
SIZES = {"right": 1.0, "small": 2 / 3, "large": 1.5}
SCORES = {
    "lit pixels": ("lit_pixels", False),
    "lit pixels / pulse energy": ("lit_pixels", True),
    "pixels of 2 photons or more": ("lit_pixels_high", False),
    "photons / pulse energy": ("photons", True),
    "likelihood ratio": ("score_right", False),
    "same, size -33 %": ("score_small", False),
    "same, size +50 %": ("score_large", False),
}


@dataclass(frozen=True)
class Plan:
    """What is simulated; the defaults are the full form.

    Attributes
    ----------
    hits : int
        Of each strength.
    misses : int
    strengths : tuple of float
        Photons of a hit on the simulated modules, at mean pulse energy.
    modules : tuple of int
    seed : int
    """

    hits: int = 200
    misses: int = 1400
    strengths: tuple[float, ...] = (200.0, 600.0, 2000.0)
    modules: tuple[int, ...] = tuple(range(16))
    seed: int = 1

    def parameters(self) -> SpiParameters:
        """Return the parameters of the simulated run."""
        shots, cells = self.hits * len(self.strengths) + self.misses, 8
        return SpiParameters(
            n_trains=math.ceil(shots / cells),
            n_cells=cells,
            reference_frame=0,
            modules=self.modules,
            background=0.02,
            energy_jitter=0.12,
            seed=self.seed,
        )

    def shot_strengths(self) -> np.ndarray:
        """Return the strength of every shot, 0 for a miss."""
        p = self.parameters()
        out = np.zeros(p.n_trains * p.n_cells)
        hits = np.repeat(self.strengths, self.hits)
        out[np.random.default_rng([self.seed, 6]).choice(out.size, hits.size, replace=False)] = hits
        return out


@dataclass(frozen=True)
class Run:
    """A table, and the strength of every shot."""

    plan: Plan
    table: Table
    strength: np.ndarray
    seconds: float


def expected_maps(p: SpiParameters, photons: float) -> dict[str, np.ndarray]:
    """Return the likelihood maps of spheres of `SIZES` with so many photons."""
    maker = build(p)[2]
    background = np.stack([module.mean for module in maker._backgrounds[0]])
    maps = {}
    for name, size in SIZES.items():
        radial = maker.scene._sphere.radial(p.radius_nm * size)
        signal = np.stack([maker.scene._sphere.pattern(row, radial) for row in range(len(p.modules))])
        signal = signal * (photons / signal.sum(dtype="f8"))
        shape = (len(p.modules), 512, 128)
        floor = np.maximum(background, 1e-4)  # the simulation deals photons to pixels in small steps
        maps[name] = shotsieve.likelihood_map(signal.reshape(shape), floor.reshape(shape))
    return maps


def run(plan: Plan, backend: str = "cpu") -> Run:
    """Simulate and measure; frames are made when they are read, so that memory stays small."""
    began, parameters = time.perf_counter(), plan.parameters()
    strength = plan.shot_strengths()
    source, _ = spi_source(parameters, strength, lazy=True)
    constants = constants_in_memory(parameters, build(parameters)[1])
    with tempfile.TemporaryDirectory() as folder:
        maps = expected_maps(parameters, WEAK)
        for name, values in maps.items():
            np.save(Path(folder) / f"{name}.npy", values)
        recipe = {
            "calibrate": {},
            "measure": {
                "lit": {"threshold": "0.7 photon", "high_threshold": "1.5 photon"},
                "score": {name: {"map": str(Path(folder) / f"{name}.npy")} for name in maps},
            },
        }
        out = Path(folder) / "red"
        result = shotsieve.reduce(source, recipe, out, constants=constants, backend=backend)
    return Run(plan, result.table, strength, time.perf_counter() - began)


def kept_by(found: Run, score: str) -> dict[float, tuple[int, int]]:
    """Return, for each strength (0: misses), shots and those above the threshold of a score."""
    column, scaled = SCORES[score]
    values = found.table.bounds(column)[0]
    values = values / found.table.columns["pulse_energy"] if scaled else values
    misses = np.sort(values[found.strength == 0])
    threshold = misses[len(misses) - 1 - math.floor(MISSES_KEPT * len(misses))]
    kept = values > threshold
    return {
        float(s): (int((found.strength == s).sum()), int(kept[found.strength == s].sum()))
        for s in (0.0, *found.plan.strengths)
    }


def make_record(found: Run, backend: str = "cpu") -> dict[str, Any]:
    """Return the record of a run."""
    shots = len(found.table)
    rows = {
        score: [[s, n, k, k / n, *binomial_interval(k, n)] for s, (n, k) in kept_by(found, score).items()]
        for score in SCORES
    }
    return records.make(
        "score_efficiency",
        backend=backend,
        detector="AGIPD1M",
        shots_per_s=shots / found.seconds,
        gb_per_s=shots * len(found.plan.modules) * 4 * found.table.module_pixels / found.seconds / 1e9,
        read_fraction=None,
        floor_fraction=None,
        peer=None,
        ratio_to_peer=None,
        threads=usable_cpus(),
        notes="not a rate but a quality: weak hits kept at 1 % of the misses; shots/s with simulation",
        details={
            "plan": {**vars(found.plan), "modules": len(found.plan.modules)},
            "columns": ["photons", "shots", "kept", "share", "share_low", "share_high"],
            "scores": rows,
        },
    )


def table_lines(record: dict[str, Any]) -> list[str]:
    """Return a record as lines to read."""
    lines = []
    for score, rows in record["details"]["scores"].items():
        shares = ", ".join(f"{row[0]:g} photons {row[3]:.3f} ({row[4]:.3f} to {row[5]:.3f})" for row in rows)
        lines.append(f"{score}: {shares}")
    return lines
