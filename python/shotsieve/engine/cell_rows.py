"""Whole rows of memory cells: what a common mode over cells needs of a recipe and of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInput

if TYPE_CHECKING:
    from .job import Job
    from .stream import Block


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


class TornRows:
    """Rows of cells that blocks begin and do not end; a block that goes on with one is refused.

    Parameters
    ----------
    job : Job
        One without a common mode over cells lets every block pass.
    """

    def __init__(self, job: Job) -> None:
        mode = job.common_mode
        self._row_cells = mode.row_cells if mode is not None and mode.cells else 0
        # Cells of rows that are not whole, by train and row; of the trains of the last block.
        self._begun: dict[tuple[int, int], set[int]] = {}

    def check(self, block: Block) -> None:
        """Take note of the shots of the next block.

        Raises
        ------
        BadInput
            If it holds other cells of a row that a block before has begun. The same ones may come again.
        """
        if not self._row_cells:
            return
        cell = np.asarray(block.cell_id).astype("i8")
        train = np.broadcast_to(np.asarray(block.train_id, "u8"), cell.shape)
        trains, of_shot = np.unique(train, return_inverse=True)
        begun = {key: cells for key, cells in self._begun.items() if key[0] in trains}
        rows, number = np.unique(
            np.stack([of_shot.reshape(-1), cell // self._row_cells]), axis=1, return_counts=True
        )
        for at, row in rows[:, number < self._row_cells].T.tolist():
            key = (int(trains[at]), row)
            here = set(cell[(of_shot.reshape(-1) == at) & (cell // self._row_cells == row)].tolist())
            if here - begun.setdefault(key, here) and not here >= begun[key]:
                raise BadInput(
                    f"block: train {key[0]} has cells {min(here)} to {max(here)} here, and others of the row "
                    f"of {self._row_cells} cells came in a block before; [calibrate] cell_common_mode needs "
                    "whole rows: cut the train between rows"
                )
            begun[key] = here
        self._begun = begun
