"""Physically right raw runs with known truth."""

from .spi import SimulatedRun, SpiParameters, simulate_spi

__all__ = ["SimulatedRun", "SpiParameters", "simulate_spi"]
