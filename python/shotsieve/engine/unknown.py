"""Which modules and memory cells of a run have no constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..constants.fold import required
from ..errors import BadInput
from ..odd_constants import listed, told_unknown

if TYPE_CHECKING:
    from ..constants.container import Constants
    from .job import Job


def note_unknown(job: Job, constants: Constants) -> None:
    """Say which modules and cells have no constants, since their shots stay undecided."""
    source, tables = job.source, job.tables
    # Modules without a single frame to calibrate need no constants.
    here = source.shots.present[source.readable].any(axis=0)
    modules, row_of = np.asarray(source.modules)[here].tolist(), tables.row_of[here]
    cells = tables.cell_ids.tolist()
    if here.any() and (row_of < 0).all():
        raise BadInput(
            f"the constants have none of the run's memory cells ({listed(cells)}) in any of its modules "
            f"({listed(modules)}): they are not for this run."
        )
    steps, _ = job.recipe.calibrate.steps.for_constants(source.detector, constants)
    needed = required(source.detector, steps, job.mode.gain_mode)
    job.notes += told_unknown(constants, needed, row_of, modules, cells)
