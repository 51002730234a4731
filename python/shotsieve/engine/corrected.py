"""A run whose frames are calibrated already: nothing of it is calibrated twice."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ..constants.steps import Steps
from ..errors import BadInput
from ..folded_tables import Tables
from ..recipe_sections import Calibrate
from ..sources.corrected import CorrectedForm

if TYPE_CHECKING:
    from .job import Job

# Switches that have a meaning for values that are there already; all others are of their making.
_MEANT = ("round_photons", "rounding_threshold", "value_limit", "bad_bits")
_UNIT_SWITCH = "xray_gain"
"""Says whether values are in ADU, beside ``unit``: not a step that is asked for."""


_OF_THE_RUN = (
    "unit", "steps", "cells", "rate_mhz", "integration_time", "photon_energy_kev", "distance_m",
)  # fmt: skip


class AnyCell(Tables):
    """What stands for constants of frames that are calibrated already, whatever cell they are of."""

    def rows(self, cell_id: np.ndarray) -> np.ndarray:
        return np.zeros((len(cell_id), len(self.row_of)), "i4")


def _changed(section: object, usual: object, leave: tuple[str, ...]) -> list[str]:
    """Return the keys that a recipe sets to something else than usual, without some of them."""
    names = [field.name for field in dataclasses.fields(section) if field.name not in leave]
    return [name for name in names if getattr(section, name) != getattr(usual, name)]


def check_corrected(job: Job) -> None:
    """Refuse what a recipe asks for and a corrected run cannot give, and say what is not done.

    Raises
    ------
    BadInput
    """
    section = job.recipe.calibrate
    if job.content == "raw":
        raise BadInput(
            f'{job.source.name}: [write] content = "raw", and the run holds corrected data: there are no raw '
            'words. Set content = "corrected", which writes kept frames as they are, or give the raw run'
        )
    if section is None:
        return
    idle = _changed(section.steps, Steps(), (*_MEANT, _UNIT_SWITCH))
    idle += _changed(section, Calibrate(), _OF_THE_RUN)
    if idle:
        job.notes.append(
            f"[calibrate] {', '.join(idle)}: not used, since the run holds corrected data, of which nothing "
            "is calibrated again"
        )


def take_corrected(job: Job) -> Steps:
    """Set the unit of the values, and what stands for constants; return the recipe's steps.

    Raises
    ------
    BadInput
        If nobody says the unit, or recipe and files say different ones.
    """
    source, section = job.source, job.recipe.calibrate
    told, asked = (source.corrected or CorrectedForm()).unit, section.unit
    if asked is None and not section.steps.xray_gain:
        asked = "ADU"
    if told is None and asked is None:
        raise BadInput(
            f"{source.name}: the run holds corrected data, and its files do not say the unit of the values: "
            'set [calibrate] unit = "keV" or "photon", or for ADU unit = "ADU" with xray_gain = false'
        )
    if None not in (told, asked) and told != asked:
        raise BadInput(
            f"{source.name}: values are in {told}, as the files of the run say, and [calibrate] asks for "
            f"{asked}: corrected data is not calibrated again; leave unit out. Thresholds may have any unit"
        )
    job.unit = told or asked
    if section.steps.round_photons and job.unit != "photon":
        raise BadInput(f"[calibrate] round_photons = true rounds photons, and the values are in {job.unit}")
    shots, detector = source.shots, source.detector
    cells = shots.cell_id[source.readable]
    job.tables = Tables.of_corrected(len(source.modules), detector.pixels, cells, section.steps.bad_bits)
    job.notes.append(
        f"the run holds corrected data, in {job.unit}: nothing is calibrated, and pixels are bad where their "
        f"mask has one of the bits {section.steps.bad_bits:#x}"
    )
    return section.steps
