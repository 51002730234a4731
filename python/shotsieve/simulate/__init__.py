"""Physically right raw runs with known truth."""

from .sfx import SaxsParameters, SfxParameters, simulate_saxs, simulate_sfx
from .spi import SimulatedRun, SpiParameters, simulate_spi
from .xpcs import XpcsParameters, simulate_xpcs

__all__ = [
    "SaxsParameters",
    "SfxParameters",
    "SimulatedRun",
    "SpiParameters",
    "XpcsParameters",
    "simulate_saxs",
    "simulate_sfx",
    "simulate_spi",
    "simulate_xpcs",
]
