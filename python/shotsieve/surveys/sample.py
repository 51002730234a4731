"""Which shots a survey looks at: drawn by their keys, the same ones of a run everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInput
from ..keep import lots, row_of

if TYPE_CHECKING:
    from ..engine.job import Job

SALT = 0x5355525645590000
"""Added to the seed, so that the shots of a survey are others than the misses that [keep] draws."""


@dataclass(frozen=True)
class Sample:
    """The shots of a survey.

    Attributes
    ----------
    rows : ndarray of int, shape (n,)
        Rows of the table, ascending.
    of : int
        Shots that could have been drawn: all that can be read and are selected.
    unit : {"shot", "row", "train"}
        What is drawn as one.
    units : int
        Number of those.
    of_units : int
        That could have been drawn.
    """

    rows: np.ndarray
    of: int
    unit: str
    units: int
    of_units: int

    @property
    def whole(self) -> bool:
        """Whether it is every shot."""
        return len(self.rows) == self.of

    def told(self) -> str:
        """Return a sentence of how the shots were chosen."""
        if self.whole:
            return f"all {self.of:,} shots of the run that are to be read"
        as_one = "" if self.unit == "shot" else f" in {self.units:,} of {self.of_units:,} whole {self.unit}s"
        return (
            f"{len(self.rows):,} of {self.of:,} shots{as_one}, drawn at random by a hash of train and pulse: "
            "the same run gives the same shots"
        )


def draw(job: Job, shots: int | None, seed: int, among: np.ndarray | None = None) -> Sample:
    """Choose the shots of a survey.

    Parameters
    ----------
    job : Job
        Of the run.
    shots : int or None
        As many, or a few more where rows of cells or trains stay whole; None takes all.
    seed : int
    among : ndarray of bool, shape (S,), optional
        Shots of the table that may be chosen.

    Returns
    -------
    Sample

    Raises
    ------
    BadInput
        If there is no shot to choose.
    """
    if shots is not None and shots < 1:
        raise BadInput(f"survey: {shots} shots: expected a number from 1")
    if not 0 <= seed < 2**62:
        raise BadInput(f"survey: seed = {seed}: expected a whole number from 0 to 2^62 - 1")
    table, detector = job.table, job.source.detector
    rows = job.source.readable
    if among is not None:
        rows = rows[among[rows]]
    if not len(rows):
        raise BadInput(
            f"{job.source.name}: there is no shot to look at: the run holds none that can be read"
            + (" and is selected" if job.recipe.select is not None or among is not None else "")
        )
    train, unit, name = table.train_id[rows], table.pulse_id[rows], "shot"
    if detector.keep_unit == "train":
        unit, name = np.zeros(len(rows), "u8"), "train"
    elif job.common_mode is not None and job.common_mode.cells:
        unit, name = row_of(table.cell_id[rows], job.common_mode.row_cells), "row"
    lot = lots(SALT ^ seed, train, unit)
    drawn, of_shot, number = np.unique(lot, return_inverse=True, return_counts=True)
    # The lowest lots, until there are enough shots; a lot is that of a whole row or train.
    units = len(drawn)
    if shots is not None:
        units = min(int(np.searchsorted(np.cumsum(number), shots)) + 1, units)
    return Sample(rows[of_shot.reshape(-1) < units], len(rows), name, units, len(drawn))
