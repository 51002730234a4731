"""What the benchmark `azint` measures: AGIPD-1M frames on a real geometry, and the peers on the same frames.

Peers are called as their users call them: pyFAI frame by frame, with its matrix built before; NumPy with the
bins of the pixels looked up before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shotsieve
from peaks_case import cpu_levels
from shotsieve.measure.azint import find_bins

DATA = Path(os.environ.get("SHOTSIEVE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
GEOMETRY = DATA / "geometry" / "agipd_mar18_v11.geom"
DISTANCE_M, ENERGY_KEV = 0.1249, 9.3
NPT, FRAMES, PEER_FRAMES = 500, 32, 4
POLARISATION = 0.99
# (splitting, algorithm): the compiled engines of pyFAI; its default is the bounding box.
ENGINES = {
    "no": [("no", "csc"), ("no", "csr"), ("no", "histogram"), ("bbox", "csr")],
    "full": [("full", "csc"), ("full", "csr")],
}
DEFAULT_ENGINE = "bbox/csr"


@dataclass
class AzintCase:
    """Frames, the pixels that may be used, and integrators by (level, splitting)."""

    frames: np.ndarray
    good: np.ndarray
    integrators: dict[tuple[str, str], shotsieve.AzimuthalIntegrator]

    @classmethod
    def make(cls, frames: int = FRAMES, seed: int = 1) -> AzintCase:
        """Simulate photons on all modules; the mask has ASIC edges, 1 % of the pixels and one dead ASIC."""
        rng = np.random.default_rng(seed)
        good = rng.random((8192, 128)) > 0.01
        good[::64] = good[63::64] = good[:, 0] = good[:, 127] = False
        good[1024:1088] = False
        one = rng.poisson(1.0, (4, 8192, 128)).astype("f4")
        values = np.concatenate([np.roll(one, 977 * k, axis=2) for k in range(-(-frames // 4))])[:frames]
        integrators = {
            (level, splitting): shotsieve.AzimuthalIntegrator(
                GEOMETRY,
                good,
                NPT,
                "q_A^-1",
                distance_m=DISTANCE_M,
                photon_energy_kev=ENERGY_KEV,
                polarisation=POLARISATION,
                error_model="poisson",
                splitting=splitting,
                backend=backend,
            )
            for level, backend in cpu_levels().items()
            for splitting in ENGINES
        }
        return cls(np.ascontiguousarray(values), good, integrators)

    def ours(self) -> dict[str, Callable[[], object]]:
        """Weighted means with errors of all frames, one core, by level and splitting."""
        return {
            f"{level} {splitting}": (lambda ai=ai: ai(self.frames, threads=1))
            for (level, splitting), ai in self.integrators.items()
        }

    def pyfai(self, integrator: Any) -> dict[str, Callable[[], object]]:
        """The same by pyFAI, a few frames one by one."""

        def run(method: tuple[str, str, str]) -> list[Any]:
            return [
                integrator.integrate1d(
                    frame, NPT, unit="q_A^-1", mask=~self.good, polarization_factor=POLARISATION,
                    error_model="poisson", method=method,
                )
                for frame in self.frames[:PEER_FRAMES]
            ]  # fmt: skip

        methods = [(*pair, "cython") for pairs in ENGINES.values() for pair in pairs]
        return {f"pyFAI {m[0]}/{m[1]}": (lambda m=m: run(m)) for m in methods}

    def bincount(self) -> Callable[[], object]:
        """One sum per frame by NumPy: no norm, no count, no errors, and no frame may have a NaN."""
        ai = next(iter(self.integrators.values()))
        bins = find_bins(ai.pixels.radial("q_A^-1", ENERGY_KEV), ai.plan.edges)
        bins = np.where(self.good & (bins >= 0), bins, NPT).ravel()
        few = self.frames[:PEER_FRAMES].reshape(PEER_FRAMES, -1)
        return lambda: [np.bincount(bins, frame, NPT + 1) for frame in few]


def make_pyfai() -> Any:
    """Return pyFAI's integrator of the same geometry; ImportError where it or EXtra-geom is not installed."""
    from extra_geom import AGIPD_1MGeometry
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    detector = AGIPD_1MGeometry.from_crystfel_geom(GEOMETRY).to_pyfai_detector()
    wavelength = 12.398419843320026e-10 / ENERGY_KEV
    return AzimuthalIntegrator(dist=DISTANCE_M, detector=detector, wavelength=wavelength)
