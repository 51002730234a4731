"""Where the pixels of a run's detector are, and which of them a user leaves out: for all stages that ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInput
from ..geometry import Geometry

if TYPE_CHECKING:
    from .job import Job


def _note(job: Job, text: str) -> None:
    """Add a note once, whichever stage has it."""
    if text not in job.notes:
        job.notes.append(text)


def distance_of(job: Job, geometry: Geometry) -> float | None:
    """Return the distance from sample to detector: the recipe's, else the geometry's, else the run's.

    The run tells the position of a stage, whose zero need not be the sample.
    """
    told, origin = job.mode.distance_m, job.mode.origin.get("distance_m")
    if geometry.clen_m is not None and origin != "recipe":
        if told is not None and abs(told - geometry.clen_m) > 0.01 * geometry.clen_m:
            _note(
                job,
                f"distance {geometry.clen_m:g} m is the geometry's; the run's stage says {told:g} m "
                f"({origin})",
            )
        return geometry.clen_m
    if told is not None and not told > 0:
        _note(
            job,
            f"the run's stage stands at {told:g} m ({origin}), which is no distance: q is unknown; set "
            "[calibrate] distance, or clen in the geometry",
        )
        return None
    return told


def geometry_of(job: Job) -> Geometry:
    """Read the recipe's geometry, and take the modules of the run from it.

    Raises
    ------
    BadInput
        If it lacks one of them.
    """
    source, path = job.source, job.recipe.path_of(job.recipe.detector.geometry)
    geometry = Geometry.load(path, module_shape=source.detector.shape)
    places = [module - source.detector.first_module for module in source.modules]
    if geometry.modules < max(places) + 1:
        raise BadInput(
            f"{path} describes {geometry.modules} modules, and the run has module {max(source.modules)} of "
            f"{source.name}: give the geometry of this detector."
        )
    for note in geometry.notes:
        _note(job, f"{path.name}: {note}")
    return geometry if places == list(range(geometry.modules)) else geometry.part(places)


def mask_of(job: Job, written: str, section: str, shape: tuple[int, int]) -> np.ndarray:
    """Read the user's mask, bool (rows, columns), True where a pixel may be used."""
    path = job.recipe.path_of(written)
    try:
        mask = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadInput(f"[{section}] mask: {path} cannot be read as a NumPy file: {error}") from error
    modules = (len(job.source.modules), *job.source.detector.frame_shape)
    if mask.dtype != bool or mask.shape not in (shape, modules):
        raise BadInput(
            f"[{section}] mask: {path} holds {mask.dtype} {mask.shape}: expected bool {shape} or "
            f"{modules}, True where a pixel may be used"
        )
    return mask.reshape(shape)
