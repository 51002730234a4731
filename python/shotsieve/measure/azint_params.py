"""What an azimuthal integration is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadInput

ERROR_MODELS = ("variance", "poisson", "detector", "azimuthal")
SPLITTINGS = ("no", "full")
MOST_BINS = 2**24


@dataclass(frozen=True)
class AzintParams:
    """What is integrated, and how.

    Attributes
    ----------
    npt : int
        Radial bins.
    unit : str
        Unit of the axis, as in `shotsieve.geometry.PixelMap.radial`: ``q_A^-1``, ``q_nm^-1``, ``2th_deg``,
        ``2th_rad``, ``r_mm``, ``r_m``.
    radial_range : (float, float) or None
        None: from the least to the largest value of all pixels, masked or not, so that a mask moves no bin.
    npt_chi : int or None
        Bins of the azimuth; None integrates over all of it.
    chi_range : (float, float)
        In degrees; at most one turn. The azimuth is counted from its first value on.
    splitting : {"no", "full"}
        ``no`` gives a pixel to the bin of its centre; ``full`` shares it among bins by area.
    solid_angle : bool
    polarisation, polarisation_offset : float or None, float
        See `shotsieve.geometry.PixelMap.polarisation`.
    absorption : float or None
        Transmission of the sensor at normal incidence; see `shotsieve.geometry.PixelMap.absorption`.
    error_model : {None, "variance", "poisson", "detector", "azimuthal"}
        Variance of a pixel: none; given with the frames; its value, since photons are counted; gain * value +
        read_noise^2; the spread of the pixels of the bin.
    gain, read_noise : float
        For "detector" only: value of one photon, and noise of a pixel, both in the unit of the frames.
    photon_energy_kev : float or None
        For q; None takes that of the pixel map.
    """

    npt: int = 500
    unit: str = "q_A^-1"
    radial_range: tuple[float, float] | None = None
    npt_chi: int | None = None
    chi_range: tuple[float, float] = (-180.0, 180.0)
    splitting: str = "no"
    solid_angle: bool = True
    polarisation: float | None = None
    polarisation_offset: float = 0.0
    absorption: float | None = None
    error_model: str | None = None
    gain: float = 1.0
    read_noise: float = 0.0
    photon_energy_kev: float | None = None

    def __post_init__(self) -> None:
        for name in ("npt", "npt_chi"):
            n = getattr(self, name)
            if name == "npt_chi" and n is None:
                continue
            if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1:
                raise BadInput(f"azint: {name} = {n!r}: expected a whole number of at least 1")
        if self.npt * (self.npt_chi or 1) > MOST_BINS:
            raise BadInput(f"azint: {self.npt} x {self.npt_chi} bins: expected at most {MOST_BINS}")
        if self.splitting not in SPLITTINGS:
            raise BadInput(f"azint: splitting = {self.splitting!r}: expected one of {', '.join(SPLITTINGS)}")
        if self.error_model not in (None, *ERROR_MODELS):
            raise BadInput(
                f"azint: error_model = {self.error_model!r}: expected None or one of "
                f"{', '.join(ERROR_MODELS)}"
            )
        if self.radial_range is not None:
            object.__setattr__(self, "radial_range", _checked_range("radial_range", self.radial_range))
        object.__setattr__(self, "chi_range", _checked_range("chi_range", self.chi_range))
        if self.chi_range[1] - self.chi_range[0] > 360 * (1 + 1e-12):
            raise BadInput(f"azint: chi_range = {self.chi_range} degrees: expected at most one turn")
        for name in ("gain", "read_noise"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise BadInput(f"azint: {name} = {value!r}: expected a finite number of at least 0")
        if self.error_model != "detector" and (self.gain, self.read_noise) != (1.0, 0.0):
            raise BadInput(
                f"azint: gain = {self.gain!r} and read_noise = {self.read_noise!r} go with "
                f'error_model = "detector", not with {self.error_model!r}'
            )


def _checked_range(name: str, given: Any) -> tuple[float, float]:
    values = np.asarray(given, "f8").ravel()
    if values.shape != (2,) or not np.isfinite(values).all() or not values[0] < values[1]:
        raise BadInput(f"azint: {name} = {given!r}: expected two finite numbers, the first below the second")
    return float(values[0]), float(values[1])
