"""Numbers with units, as a user writes them in a recipe: ``"9.3 keV"``, ``"0.7 photon"``, ``"1000 ADU"``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import BadInput, nearest

__all__ = ["Quantity", "check_photon_energy", "convert", "kev_to_nm", "nm_to_kev", "parse_quantity"]

HC_KEV_NM = 1.2398419843320025
"""Planck's constant times the speed of light, in keV nm (exact in the SI of 2019, rounded to double)."""

# Unit -> (kind, factor to the kind's first unit). Units of one kind convert into each other.
UNITS = {
    "eV": ("energy", 1e-3),
    "keV": ("energy", 1.0),
    "MeV": ("energy", 1e3),
    "m": ("length", 1.0),
    "mm": ("length", 1e-3),
    "um": ("length", 1e-6),
    "nm": ("length", 1e-9),
    "Hz": ("rate", 1e-6),
    "kHz": ("rate", 1e-3),
    "MHz": ("rate", 1.0),
    "s": ("time", 1e9),
    "us": ("time", 1e3),
    "ns": ("time", 1.0),
    "V": ("voltage", 1.0),
    "ADU": ("ADU", 1.0),
    "photon": ("photon", 1.0),
    "sigma": ("sigma", 1.0),
}
ALIASES = {"photons": "photon", "µm": "um", "μm": "um", "µs": "us", "μs": "us"}
NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S*)\s*")


@dataclass(frozen=True)
class Quantity:
    """A number and its unit.

    Attributes
    ----------
    value : float
    unit : str
        One of the units that the option allows.
    """

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value:g} {self.unit}"


def parse_quantity(
    text: str | Quantity, *, option: str, units: Iterable[str] = ("ADU", "keV", "photon", "sigma")
) -> Quantity:
    """Read a number with a unit.

    Parameters
    ----------
    text : str or Quantity
        E.g. ``"0.7 photon"``. A bare number is refused: its unit would be a guess.
    option : str
        The option or recipe key it belongs to, named in every error.
    units : iterable of str
        The units allowed. A unit that converts into one of them is accepted and converted.

    Returns
    -------
    Quantity
        In one of `units`.

    Raises
    ------
    BadInput
        If there is no unit, a wrong unit, or no number.

    Examples
    --------
    >>> parse_quantity("9300 eV", option="photon_energy", units=("keV",))
    Quantity(value=9.3, unit='keV')
    """
    units = tuple(units)
    shown = f'{option} = "{_example(units)}"'
    if isinstance(text, Quantity):
        text = f"{text.value!r} {text.unit}"
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise BadInput(f"{option}: expected a number with a unit, such as {shown}; got {text!r}.")
    hit = NUMBER.fullmatch(str(text))
    if hit is None:
        raise BadInput(f"{option}: {text!r} is not a number with a unit; write it as {shown}.")
    value, unit = float(hit[1]), ALIASES.get(hit[2], hit[2])
    if not math.isfinite(value):
        raise BadInput(f"{option}: {text!r} is not a finite number.")
    if not unit:
        raise BadInput(f"{option}: {text!r} has no unit; write it as {shown} (units: {', '.join(units)}).")
    if unit in units:
        return Quantity(value, unit)
    if unit not in UNITS:
        near = [name for name in UNITS if name.lower() == unit.lower()]
        hint = f" Did you mean '{near[0]}'?" if near else nearest(unit, units)
        raise BadInput(f"{option}: the unit {unit!r} is not known; use one of {', '.join(units)}.{hint}")
    for own in units:
        if own in UNITS and UNITS[own][0] == UNITS[unit][0]:
            return Quantity(convert(value, unit, own, option=option), own)
    raise BadInput(
        f"{option}: {text!r} is in {unit}; it must be in one of {', '.join(units)}, such as {shown}."
    )


def convert(value: float, unit: str, to: str, *, option: str = "value") -> float:
    """Convert a number from one unit into another.

    Between an energy and a length the conversion is that of a photon: energy = h c / wavelength.

    Parameters
    ----------
    value : float
    unit, to : str
        Names of units (keys of `UNITS`).
    option : str
        Named in the error.

    Returns
    -------
    float

    Raises
    ------
    BadInput
        If a unit is not known, or the two do not convert.

    Examples
    --------
    >>> convert(250, "mm", "m")
    0.25
    """
    for name in (unit, to):
        if name not in UNITS:
            raise BadInput(f"{option}: the unit {name!r} is not known.{nearest(name, UNITS)}")
    (kind, factor), (other, divisor) = UNITS[unit], UNITS[to]
    if kind == other:
        # One quotient of two table entries: 9300 eV becomes exactly the double nearest to 9.3.
        return value / (divisor / factor) if divisor >= factor else value * (factor / divisor)
    if {kind, other} == {"energy", "length"} and value > 0:
        if kind == "length":
            return convert(nm_to_kev(convert(value, unit, "nm")), "keV", to)
        return convert(kev_to_nm(convert(value, unit, "keV")), "nm", to)
    raise BadInput(f"{option}: {value:g} {unit} cannot be converted into {to}.")


def nm_to_kev(wavelength: float) -> float:
    """Return the photon energy in keV of a wavelength in nm.

    Parameters
    ----------
    wavelength : float
        In nm, positive.

    Returns
    -------
    float

    Examples
    --------
    >>> round(nm_to_kev(0.13776022048133363), 9)
    9.0
    """
    return HC_KEV_NM / wavelength


def kev_to_nm(energy: float) -> float:
    """Return the wavelength in nm of a photon energy in keV.

    Parameters
    ----------
    energy : float
        In keV, positive.

    Returns
    -------
    float

    Examples
    --------
    >>> round(kev_to_nm(9.3), 6)
    0.133316
    """
    return HC_KEV_NM / energy


def check_photon_energy(energy_kev: float, *, option: str = "calibrate.photon_energy") -> float:
    """Return a photon energy, or refuse one that cannot be in keV.

    Parameters
    ----------
    energy_kev : float
        Photon energy in keV.
    option : str
        Named in the error.

    Returns
    -------
    float
        `energy_kev`.

    Raises
    ------
    BadInput
        If it is not within 0.1 ... 200 keV: nearly always eV taken for keV.

    Examples
    --------
    >>> check_photon_energy(9.3)
    9.3
    """
    value = float(energy_kev)
    if not 0.1 <= value <= 200:
        hint = f' Was "{value:g} eV" meant?' if value > 200 else ""
        raise BadInput(f"{option}: a photon energy of {value:g} keV is not within 0.1 ... 200 keV.{hint}")
    return value


def _example(units: tuple[str, ...]) -> str:
    shown = {"photon": "0.7 photon", "keV": "9.3 keV", "ADU": "1000 ADU", "sigma": "5 sigma", "m": "0.2 m"}
    return shown.get("photon" if "photon" in units else units[0], f"1 {units[0]}")
