"""Simulated X-ray photon correlation: speckles that relax within a train."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .. import detectors
from .options import refuse
from .parameters import SpiParameters
from .spi import SimulatedRun, simulate_run

if TYPE_CHECKING:
    from .scenes import Scene
    from .schedule import Schedule
    from .sfx import Progress


@dataclass(frozen=True)
class XpcsParameters(SpiParameters):
    """A simulated run of speckles; all that `SpiParameters` has, and how they relax.

    Attributes
    ----------
    photons_per_pixel : float
        Mean photons per pixel in a lit shot, over all simulated modules, at mean pulse energy.
    contrast : float
        Of the speckles: variance of the intensity over its squared mean, 0.02 to 1.
    relaxation_us : float
        Time in which the field correlation falls to 1 / e, microseconds.
    stretch : float
        Exponent of that fall: 1 is exponential, less stretched, more compressed.
    q_width_per_nm : float
        Scale in which the mean intensity falls off with q, 1/nm; 0 = flat.
    photons_per_hit : (float, float)
        Left empty: it follows from `photons_per_pixel`.
    hit_rate : float
        Share of the lit shots with a sample.

    Examples
    --------
    >>> XpcsParameters(modules=(3,), photons_per_pixel=0.01).photons_per_hit
    (655.36, 655.36)
    """

    n_trains: int = 4
    n_cells: int = 32
    hit_rate: float = 1.0
    photons_per_hit: tuple[float, ...] = ()
    photons_per_pixel: float = 0.1
    contrast: float = 0.5
    relaxation_us: float = 10.0
    stretch: float = 1.0
    q_width_per_nm: float = 0.0
    background: float = 1e-9
    distance_m: float = 8.0

    OWN_RANGES: ClassVar = (
        ("photons_per_pixel", 1e-6, 1000),
        ("contrast", 0.02, 1),
        ("relaxation_us", 1e-3, 1e6),
        ("stretch", 0.1, 2),
        ("q_width_per_nm", 0, 1000),
    )

    def check(self) -> None:
        """See `Options`."""
        given = self.photons_per_hit
        object.__setattr__(self, "photons_per_hit", (1.0, 1.0))
        super().check()
        total = self.photons_per_pixel * len(self.modules) * detectors.load(self.detector).pixels
        if given not in ((), (total, total)):
            refuse(
                "photons_per_hit",
                given,
                "photons_per_pixel says how many there are: leave photons_per_hit out",
            )
        object.__setattr__(self, "photons_per_hit", (total, total))

    def scene(self, schedule: Schedule, q: np.ndarray, weight: np.ndarray) -> Scene:
        """Return what the beam hits."""
        from .speckles import Speckles

        return Speckles(self, schedule, q, weight)

    @property
    def mode_weights(self) -> tuple[float, ...]:
        """Shares of the independent modes whose intensities add up: their squares add up to the contrast.

        All are equal but the last: so any contrast can be had, not only 1 / whole number.
        """
        modes = math.ceil(1 / self.contrast - 1e-9)
        if modes == 1:
            return (1.0,)
        n = modes - 1
        # (n a + b = 1) and (n a^2 + b^2 = contrast), the larger a of the two.
        a = (n + math.sqrt(max(n * n - n * (n + 1) * (1 - self.contrast), 0.0))) / (n * (n + 1))
        return (*(a for _ in range(n)), 1 - n * a)


def simulate_xpcs(
    out: str | os.PathLike,
    params: XpcsParameters | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SimulatedRun:
    """Write a simulated run of speckles; see `simulate_spi`.

    ``truth.h5`` holds the correlation functions that the run has on average too.

    Examples
    --------
    >>> simulate_xpcs("xpcs", XpcsParameters(n_trains=2)).raw  # doctest: +SKIP
    PosixPath('xpcs/raw/r0001')
    """
    return simulate_run(out, params or XpcsParameters(), overwrite=overwrite, progress=progress)
