"""Which modules and memory cells of a run have no constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..constants.fold import required
from ..errors import BadInput

if TYPE_CHECKING:
    from ..constants.container import Constants
    from .job import Job


def _lacking(job: Job, constants: Constants, modules: Sequence[int]) -> str:
    """Name the constants that some of these modules lack and others have."""
    detector = job.source.detector
    steps, _ = job.recipe.calibrate.steps.for_constants(detector, constants)
    needed = required(detector, steps, job.mode.gain_mode)
    names = [name for name in needed if not all(constants.has(name, module) for module in modules)]
    return f" ({', '.join(names)})" if names else ""


def note_unknown(job: Job, constants: Constants) -> None:
    """Say which modules and cells have no constants, since their shots stay undecided."""
    source, tables = job.source, job.tables
    # Modules without a single frame to calibrate need no constants.
    here = source.shots.present[source.readable].any(axis=0)
    here_modules = np.asarray(source.modules)[here].tolist()
    unknown = tables.row_of[here] < 0
    cells = tables.cell_ids.tolist()
    if here.any() and unknown.all():
        raise BadInput(
            f"the constants have none of the run's memory cells ({listed(cells)}) in any of its modules "
            f"({listed(here_modules)}): they are not for this run."
        )
    flagged = "their frames are flagged NO_DARK_DATA, and what is counted in them is unknown"
    modules = [module for module, lacking in zip(here_modules, unknown.all(axis=1), strict=True) if lacking]
    if modules:
        lacking = _lacking(job, constants, modules)
        job.notes.append(f"no constants for module {listed(modules)}{lacking}: {flagged}")
    partly = unknown & ~unknown.all(axis=1, keepdims=True)
    if partly.any():
        which = [cell for cell, lacking in zip(cells, partly.any(axis=0), strict=True) if lacking]
        job.notes.append(f"no constants for memory cell {listed(which)}: {flagged}")


def listed(numbers: Sequence[int]) -> str:
    """Return some numbers as text, the first ten of them."""
    return ", ".join(map(str, numbers[:10])) + (" ..." if len(numbers) > 10 else "")
