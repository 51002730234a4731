"""Whole rows of memory cells: what a common mode over cells needs of a recipe and of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInput

if TYPE_CHECKING:
    from .job import Job


def check_rows(job: Job, recorded: np.ndarray) -> None:
    """Refuse what would tear rows of cells apart, and note how many were not whole to begin with.

    Parameters
    ----------
    job : Job
    recorded : ndarray of int
        Shots of the table that can be read, before [select].

    Raises
    ------
    BadInput
        If kept frames would be calibrated in another way than all frames.
    """
    if job.common_mode is None or not job.common_mode.cells:
        return
    recipe, table, cells = job.recipe, job.table, job.common_mode.row_cells
    if recipe.others:
        raise BadInput(
            "[calibrate] cell_common_mode: kept shots of a second [[detector]] do not keep their rows of "
            "cells: leave it out, or reduce the detectors one by one"
        )
    if recipe.keep is not None and job.keeper.whole == "shot":
        raise BadInput(
            "[calibrate] cell_common_mode needs whole rows of cells, also of what is kept: set [keep] "
            'whole = "row"'
        )
    row = table.cell_id.astype(np.int64) // cells
    train = np.unique(table.train_id, return_inverse=True)[1].reshape(-1)
    key = train * (row.max(initial=0) + 1) + row
    read = job.source.readable
    left_out = np.setdiff1d(recorded, read)
    torn = np.intersect1d(key[read], key[left_out])
    if torn.size:
        at = read[np.isin(key[read], torn)][0]
        raise BadInput(
            f"[calibrate] cell_common_mode needs whole rows of {cells} cells, and [select] "
            f"tears {torn.size} apart (train {table.train_id[at]}, from cell "
            f'{row[at] * cells}): set [select] frames = "lit_rows", or choose whole rows'
        )
    _, inverse, number = np.unique(key[read], return_inverse=True, return_counts=True)
    if partial := int((number[inverse.reshape(-1)] < cells).sum()):
        job.notes.append(
            f"cell_common_mode: {partial} shots stand in rows of fewer than {cells} cells "
            "and are corrected by ASICs alone"
        )
