"""Angles and corrections of positions: one formula each, float64, no state."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import BadInput, nearest
from ..units import HC_KEV_NM

# Name -> (what, factor to 1/nm, rad or m); the names are pyFAI's.
RADIAL = {
    "q_nm^-1": ("q", 1.0),
    "q_A^-1": ("q", 0.1),
    "2th_rad": ("two_theta", 1.0),
    "2th_deg": ("two_theta", 180 / np.pi),
    "r_m": ("r", 1.0),
    "r_mm": ("r", 1e3),
}
SHORT = {
    "q": {"1/nm": "q_nm^-1", "1/A": "q_A^-1"},
    "two_theta": {"rad": "2th_rad", "deg": "2th_deg"},
    "r": {"m": "r_m", "mm": "r_mm"},
}
CHI = {"rad": 1.0, "deg": 180 / np.pi}


def radial_unit(unit: str, what: str | None = None) -> tuple[str, float]:
    """Return what a unit measures (q, two_theta or r) and its factor; `what` allows one of them only."""
    quantities = SHORT if what is None else {what: SHORT[what]}
    known = {short: name for names in quantities.values() for short, name in names.items()}
    known |= {name: name for name in known.values()}
    if unit not in known:
        raise BadInput(
            f"unit = {unit!r} is not a unit of {' or '.join(quantities)}; expected one of "
            f"{', '.join(known)}.{nearest(str(unit), known)}"
        )
    return RADIAL[known[unit]]


def chi_factor(unit: str) -> float:
    """Return the factor from rad to a unit of chi."""
    if unit not in CHI:
        raise BadInput(
            f"unit = {unit!r} is not a unit of chi; expected {' or '.join(CHI)}.{nearest(str(unit), CHI)}"
        )
    return CHI[unit]


def real(value: Any, option: str) -> float:
    """Return a finite number, or refuse."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise BadInput(f"{option} = {value!r}; expected a number")
    return number


def radial(position: np.ndarray, what: str, photon_energy_kev: float | None) -> np.ndarray:
    """Return q in 1/nm, 2 theta in rad or r in m of positions (..., 3) in m."""
    across = np.hypot(position[..., 0], position[..., 1])
    if what == "r":
        return across
    two_theta = np.arctan2(across, position[..., 2])
    if what == "two_theta":
        return two_theta
    return (4 * np.pi * photon_energy_kev / HC_KEV_NM) * np.sin(0.5 * two_theta)


def chi(position: np.ndarray) -> np.ndarray:
    """Return the azimuth in rad, -pi to pi, of positions (..., 3): 0 along x, growing towards y."""
    return np.arctan2(position[..., 1], position[..., 0])


def unwrapped(corner_chi: np.ndarray, centre_chi: np.ndarray) -> np.ndarray:
    """Return azimuths (..., corners) within pi of that of their pixel's centre (...,)."""
    turns = np.rint((corner_chi - centre_chi[..., None]) / (2 * np.pi))
    return corner_chi - 2 * np.pi * turns


def cos_incidence(position: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return the cosine of the angle between a ray (..., 3) and the normal of the pixel it meets (..., 3)."""
    # Which way a normal points follows from the order of rows and columns and means nothing.
    along = np.abs((position * area).sum(axis=-1))
    return along / (np.linalg.norm(position, axis=-1) * np.linalg.norm(area, axis=-1))


def steradian(position: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Return the solid angle in sr of small pixels at (..., 3) in m with area vectors (..., 3) in m^2."""
    return np.abs((position * area).sum(axis=-1)) / np.linalg.norm(position, axis=-1) ** 3


def polarisation(position: np.ndarray, factor: float, axis_offset: float) -> np.ndarray:
    """Return the polarisation term at positions (..., 3)."""
    # cos(2 theta) = z / R; sin^2(2 theta) cos(2 (chi + offset)) = (x'^2 - y'^2) / R^2 with x', y' turned by
    # the offset: no angle is needed, and the beam centre is no special case.
    x, y, z = position[..., 0], position[..., 1], position[..., 2]
    turned = (x * x - y * y) * np.cos(2 * axis_offset) - 2 * x * y * np.sin(2 * axis_offset)
    return 0.5 * (1 + (z * z - factor * turned) / (x * x + y * y + z * z))


def absorption(cos_of_incidence: np.ndarray, t0: float) -> np.ndarray:
    """Return (1 - t0^(1 / cos)) / (1 - t0): what a sensor absorbs, over what it does at normal incidence."""
    return (1 - t0 ** (1 / cos_of_incidence)) / (1 - t0)
