"""Constants from dark runs: which run is which stage, sums, offset and noise, bad pixels, a report."""

from .build import DarkOptions, DarkResult, make_dark_constants

__all__ = ["DarkOptions", "DarkResult", "make_dark_constants"]
