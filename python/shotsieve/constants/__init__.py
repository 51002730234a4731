"""Calibration constants: the container, where they come from, and how they are folded for the kernels."""

from .bad_pixels import BadPixels
from .container import Constants
from .fold import FoldedModule, fold, required
from .steps import Steps

__all__ = ["BadPixels", "Constants", "FoldedModule", "Steps", "fold", "required"]
