"""Gains that dark runs cannot give, taken over from other constants."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..constants.bad_pixels import BadPixels
from ..constants.container import Constants
from ..errors import BadInput
from ..linearise import linear_rows

if TYPE_CHECKING:
    from ..detectors import Detector
    from .pixels import ModuleConstants

NAMES = ("relative_gain", "mg_baseline", "ff_map", "gain_amp_map", "adu_per_kev", "linearisation")
GAIN_BITS = (
    BadPixels.CI_GAIN_OF_OF_THRESHOLD
    | BadPixels.CI_LINEAR_DEVIATION
    | BadPixels.CI_EVAL_ERROR
    | BadPixels.FF_GAIN_EVAL_ERROR
    | BadPixels.FF_GAIN_DEVIATION
    | BadPixels.FF_NO_ENTRIES
    | BadPixels.CI2_EVAL_ERROR
    | BadPixels.NON_STANDARD_SIZE
    | BadPixels.EXPERT_CHOICE
)
"""Bits of the other constants that do not come from darks."""


@dataclass(frozen=True)
class Gains:
    """Constants whose gains are taken over.

    Attributes
    ----------
    constants : Constants
    told : dict
        Where they come from: name of the file, and their own provenance.
    """

    constants: Constants
    told: dict[str, Any]

    @classmethod
    def open(cls, given: Any, detector: Detector) -> Gains:
        """Open them, and check that they are of the detector and hold a gain.

        Raises
        ------
        BadInput
            If not.
        """
        own = isinstance(given, Constants)
        constants = given if own else Constants.open(given, detector)
        constants.check_detector(detector)
        if not (names := [name for name in NAMES if constants.has(name)]):
            raise BadInput(f"--gain-from {given}: these constants hold none of {', '.join(NAMES)}")
        label = "constants in memory" if own else Path(os.fspath(given)).name
        return cls(constants, {"from": label, "names": names, "provenance": constants.provenance})

    def check(self, modules: Sequence[int], cells: np.ndarray) -> None:
        """Check that they are there for all modules and cells of the darks, before any frame is read.

        Raises
        ------
        BadInput
            If a module or a cell is not there.
        """
        for name in self.told["names"]:
            without = [str(module) for module in modules if not self.constants.has(name, module)]
            if without:
                raise BadInput(
                    f"--gain-from: the constants have no {name!r} for module {', '.join(without)}, of which "
                    f"there are darks"
                )
        absent = cells[self.constants.row_of_cell(cells) < 0]
        if len(absent):
            raise BadInput(
                f"--gain-from: the constants have no memory cell {absent[0]}, of which there are darks "
                f"({len(absent)} of {len(cells)} cells lack)"
            )

    def linear(self) -> Callable[[int, np.ndarray], np.ndarray] | None:
        """Return what gives the tables of linearisation of a module and cells; None where there are none."""
        if "linearisation" not in self.told["names"]:
            return None
        made: dict[int, np.ndarray] = {}

        def of(module: int, cells: np.ndarray) -> np.ndarray:
            # Asked for once in every stage, always for the same cells.
            if module not in made:
                made[module] = linear_rows(self.constants, self.constants.detector, module, cells)
            return made[module]

        return of

    def add_to(self, made: ModuleConstants, module: int, cells: np.ndarray) -> dict[str, np.ndarray]:
        """Return the gains of a module for the cells of the darks, and add the bits that come with them."""
        found = {}
        for name in self.told["names"]:
            found[name] = self.constants.load(name, module, cells)
        if self.constants.has("bad_pixels", module):
            bits = self.constants.load("bad_pixels", module, cells) & np.uint32(GAIN_BITS)
            made.bad_pixels |= bits.reshape(made.bad_pixels.shape)
        return found
