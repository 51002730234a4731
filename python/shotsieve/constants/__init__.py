"""Calibration constants: the container, where they come from, and how they are folded for the kernels."""

from typing import Any

from .bad_pixels import BadPixels
from .container import Constants
from .fold import FoldedModule, fold, required
from .steps import Steps

__all__ = [
    "BadPixels",
    "Constants",
    "FoldedModule",
    "ImportOptions",
    "Steps",
    "fold",
    "read_any",
    "required",
]


def __getattr__(name: str) -> Any:
    # Whoever only calibrates need not load what reads the forms of other programs.
    if name in ("read_any", "ImportOptions"):
        from .importers import recognise

        return recognise.read_any if name == "read_any" else recognise.Options
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
