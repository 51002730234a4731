"""Stages of a user's own that an output tells of: their functions are given again, or nobody has them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..stage_settings import stages_in
from ..table import Table
from .branches import stages_by_label
from .user import UserJob, UserStage

if TYPE_CHECKING:
    from pathlib import Path

    from ..recipe import Recipe
    from .job import Job


def _not_here(frames: Any) -> Any:
    """Stand for the function of a stage that nobody gave; it is never asked."""
    raise AssertionError("the function of this stage is not known")


@dataclass
class StoredJob(UserJob):
    """A stage whose columns are taken from the table of an output, for shots that it would be asked about.

    Attributes
    ----------
    stored : Table
        Of the same shots, row by row.
    """

    stored: Table | None = None

    def measure(self, pixels: Any, shots: np.ndarray, stream: Any) -> None:
        """Take some shots."""
        for name in self.asked.columns.keys() & self.stored.columns.keys():
            self.table.columns[name][shots] = self.stored.columns[name][shots]


def stages_of_output(side: Path, recipe: Recipe, given: Any) -> dict[str, tuple[UserStage, ...]]:
    """Return the stages that an output was made with, and whatever else was given, by label of the detector.

    Parameters
    ----------
    side : Path
        Folder of the output with what is not detector data; it may be none.
    recipe : Recipe
        Of the output.
    given
        Stages as `shotsieve.reduce` takes them; of the others there are names and columns only, and
        `take_stored` says where their values come from.
    """
    found, own = {}, stages_by_label(given, recipe)
    for label in ("", *recipe.others):
        here = {stage.name: stage for stage in own.get(label, ())}
        absent = {
            name: UserStage(name, _not_here, dict.fromkeys(columns, ""))
            for name, columns in _stages_told(side / label).items()
        }
        found[label or recipe.detector.label or ""] = tuple((absent | here).values())
    return found


def _stages_told(side: Path) -> dict[str, list[str]]:
    """Return what settings say of stages; where there are none that can be read, nothing."""
    try:
        return stages_in(json.loads((side / "settings.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return {}


def take_stored(job: Job, stored: Table) -> list[str]:
    """Let stages whose function nobody gave take what an output has; return notes that say so.

    Parameters
    ----------
    job : Job
        Its measures are changed.
    stored : Table
        Of the output, with the same shots.
    """
    notes = []
    for k, part in enumerate(job.pixel_jobs):
        if isinstance(part, UserJob) and part.asked.function is _not_here:
            job.pixel_jobs[k] = StoredJob(part.asked, part.table, part.shape, stored=stored)
            columns = ", ".join(part.asked.columns) or "none"
            notes.append(
                f"columns of the stage {part.asked.name} ({columns}) were not made again, since its function "
                "is not here: they are those of the output, and decisions follow from these; from Python, "
                "check_against(..., stages=[...]) makes them again"
            )
    return notes
