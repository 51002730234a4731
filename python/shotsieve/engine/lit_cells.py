"""A first look at some trains of a run, where the frames have to say which memory cells saw a pulse."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInput
from ..measure.lit_cells import find_lit_cells
from ..recipe import AnnotateParams, Lit, Measure
from ..table import ModuleStatus
from ..units import parse_quantity
from .job import Job, make_job

if TYPE_CHECKING:
    from ..constants.container import Constants
    from ..recipe import Recipe
    from ..sources.base import Source

SAMPLE_TRAINS = 30
THRESHOLD = "0.7 photon"


def columns_from_images(
    source: Source, recipe: Recipe, constants: Constants | None, force: bool, count: Callable[[Job], None]
) -> tuple[dict[str, np.ndarray], str]:
    """Find the lit memory cells of a run from its frames.

    Parameters
    ----------
    source, recipe, constants, force
        As for a reduction; the recipe has to calibrate.
    count : callable
        Counts the lit pixels of a job: reads its shots and fills its table.

    Returns
    -------
    columns : dict of str to ndarray
        ``xray`` and ``data_frame`` of every shot.
    note : str

    Raises
    ------
    BadInput
        If the frames do not tell; see `find_lit_cells`.
    """
    if recipe.calibrate is None:
        raise BadInput('[annotate] pattern = "images" counts lit pixels: add a [calibrate] section')
    readable = source.shots.train_id[source.readable]
    trains = np.unique(readable)
    if len(trains) == 0:
        raise BadInput('[annotate] pattern = "images": the run has no frame to look at')
    picked = trains[np.unique(np.linspace(0, len(trains) - 1, SAMPLE_TRAINS).astype(int))]
    lit = recipe.measure.lit or Lit(parse_quantity(THRESHOLD, option="threshold", units=("photon",)))
    look = dataclasses.replace(
        recipe,
        annotate=AnnotateParams(pattern="none"),
        select=None,
        measure=Measure(lit=lit),
        derive={},
        keep=None,
        write=None,
    )
    job = make_job(source.selected(np.isin(source.shots.train_id, picked)), look, constants, force)
    count(job)
    rows, table = job.source.readable, job.table
    known = (table.module_status[rows] == ModuleStatus.OK).all(axis=0)
    if not known.any():
        raise BadInput('[annotate] pattern = "images": no module has all of the frames that were looked at')
    pixels = table.measures["lit_pixels"][rows][:, known].sum(axis=1)
    try:
        found = find_lit_cells(table.train_id[rows], table.cell_id[rows], pixels.astype("f8"))
    except BadInput as err:
        raise BadInput(f'[annotate] pattern = "images": {err}') from None
    xray = found.of(source.shots.cell_id)
    note = (
        f"lit memory cells, found from the frames of {found.trains} trains: {found.text()} "
        f"({int(found.lit.sum())} of {len(found.lit)})"
    )
    return {"xray": xray, "data_frame": xray}, note
