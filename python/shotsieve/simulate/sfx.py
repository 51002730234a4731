"""Simulated serial crystallography, and solution scattering."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..errors import BadInput
from .crystal import UnitCell
from .parameters import SpiParameters
from .spi import SimulatedRun, simulate_run

if TYPE_CHECKING:
    from .scenes import Scene
    from .schedule import Schedule

Progress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class SfxParameters(SpiParameters):
    """A simulated run of serial crystallography; all that `SpiParameters` has, and the crystals.

    Attributes
    ----------
    detector : str
        "AGIPD1M", "AGIPD500K", "LPD1M" or "LPDMINI".
    hit_rate : float
        Share of the lit shots that hit a crystal.
    photons_per_hit : (float, float)
        Range of the expected Bragg photons of a hit on all simulated modules at mean pulse energy,
        log-uniform.
    radius_nm, size_jitter : float
        Half the edge of the crystals and its relative scatter.
    unit_cell : tuple of float
        a, b, c in nm and alpha, beta, gamma in degrees; by default lysozyme's.
    centering : str
        Of the lattice: P, A, B, C, I, F, R or H.
    resolution_nm : float
        Spacing of lattice planes to which the crystals diffract.
    b_factor_nm2 : float
        Mean displacement of atoms: intensities fall off as exp(-B / (2 d^2)).
    mosaicity_mrad : float
        Standard deviation of the orientation of a crystal's parts.
    bandwidth : float
        Standard deviation of the photon energy in a pulse, relative.
    water : float
        Height of the water ring over the background in forward direction.

    Examples
    --------
    >>> SfxParameters(n_trains=2).cell.a
    7.91
    """

    hit_rate: float = 0.05
    photons_per_hit: tuple[float, float] = (2e4, 5e5)
    background: float = 0.1
    radius_nm: float = 250.0
    distance_m: float = 0.12
    unit_cell: tuple[float, ...] = (7.91, 7.91, 3.79, 90.0, 90.0, 90.0)
    centering: str = "P"
    resolution_nm: float = 0.2
    b_factor_nm2: float = 0.2
    mosaicity_mrad: float = 0.2
    bandwidth: float = 0.001
    water: float = 1.0

    OWN_RANGES: ClassVar = (
        ("resolution_nm", 0.08, 10),
        ("b_factor_nm2", 0, 10),
        ("mosaicity_mrad", 0, 50),
        ("bandwidth", 0, 0.05),
        ("water", 0, 100),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.detector.startswith("DSSC"):
            raise BadInput("simulate option detector: crystals are simulated on square pixels; not at DSSC1M")
        _ = self.cell  # an impossible one is an error now

    @property
    def cell(self) -> UnitCell:
        """Unit cell of the crystals."""
        if len(self.unit_cell) != 6:
            raise BadInput(
                f"simulate option unit_cell: {self.unit_cell!r} was given, but it must be six numbers: "
                "a, b, c in nm and alpha, beta, gamma in degrees"
            )
        return UnitCell(*self.unit_cell, centering=self.centering)

    def scene(self, schedule: Schedule, q: np.ndarray, weight: np.ndarray) -> Scene:
        """Return what the beam hits."""
        from .scenes import Crystals

        return Crystals(self, schedule, q, weight)


@dataclass(frozen=True)
class SaxsParameters(SpiParameters):
    """A simulated run of solution scattering; all that `SpiParameters` has, and powder rings.

    Attributes
    ----------
    hit_rate : float
        Share of the lit shots that hit the jet.
    photons_per_hit : (float, float)
        Range of the expected photons of the solution on all simulated modules at mean pulse energy,
        log-uniform.
    radius_nm, size_jitter : float
        Mean radius of the spheres in solution and its relative scatter: one curve for all shots.
    rings : tuple of float
        Momentum transfer of powder rings, 1/nm.
    ring_width : float
        Their standard deviation, 1/nm.
    ring_height : float
        Their height relative to forward scattering.

    Examples
    --------
    >>> SaxsParameters(rings=(1.076, 2.153)).hit_rate
    1.0
    """

    hit_rate: float = 1.0
    photons_per_hit: tuple[float, float] = (1e6, 1e6)
    radius_nm: float = 10.0
    size_jitter: float = 0.1
    distance_m: float = 1.0
    rings: tuple[float, ...] = ()
    ring_width: float = 0.02
    ring_height: float = 0.01

    OWN_RANGES: ClassVar = (("ring_width", 1e-6, 100), ("ring_height", 0, 1e6))

    def scene(self, schedule: Schedule, q: np.ndarray, weight: np.ndarray) -> Scene:
        """Return what the beam hits."""
        from .scenes import Solution

        return Solution(self, schedule, q, weight)


def simulate_sfx(
    out: str | os.PathLike,
    params: SfxParameters | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SimulatedRun:
    """Write a simulated run of serial crystallography; see `simulate_spi`.

    ``truth.h5`` holds the orientation of every crystal and its spots too.

    Examples
    --------
    >>> simulate_sfx("sfx", SfxParameters(n_trains=2)).raw  # doctest: +SKIP
    PosixPath('sfx/raw/r0001')
    """
    return simulate_run(out, params or SfxParameters(), overwrite=overwrite, progress=progress)


def simulate_saxs(
    out: str | os.PathLike,
    params: SaxsParameters | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SimulatedRun:
    """Write a simulated run of solution scattering; see `simulate_spi`.

    ``truth.h5`` holds the curve that every lit shot scatters too.

    Examples
    --------
    >>> simulate_saxs("saxs", SaxsParameters(n_trains=2)).raw  # doctest: +SKIP
    PosixPath('saxs/raw/r0001')
    """
    return simulate_run(out, params or SaxsParameters(), overwrite=overwrite, progress=progress)
