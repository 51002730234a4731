"""Where the pixels of a run's detector are, and which of them a user leaves out: for all stages that ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInput
from ..geometry import Geometry, PixelMap
from ..write.checksums import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from ..detectors import Detector
    from .job import Job

LEAST_DESCRIBED = 0.5
"""Share of the pixels of its modules that a geometry of the same detector describes at least."""


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
        If it lacks one of them, or is of another detector.
    """
    source, path = job.source, job.recipe.path_of(job.recipe.detector.geometry)
    geometry = Geometry.load(path, module_shape=source.detector.shape)
    places = [module - source.detector.first_module for module in source.modules]
    _check_detector(geometry, source.detector, path, max(source.modules))
    for note in geometry.notes:
        _note(job, f"{path.name}: {note}")
    return geometry if places == list(range(geometry.modules)) else geometry.part(places)


def _check_detector(geometry: Geometry, detector: Detector, path: Path, last: int) -> None:
    """Refuse a geometry that is of another detector, as far as its modules and their pixels tell."""
    given = "give the geometry of this detector."
    if geometry.modules < last - detector.first_module + 1:
        raise BadInput(
            f"{path} describes {geometry.modules} modules, and the run has module {last} of "
            f"{detector.name}: {given}"
        )
    # A detector of one module may be used in several pieces; one that may have any number tells 0.
    if detector.module_count > 1 and geometry.modules > detector.module_count:
        raise BadInput(
            f"{path} describes {geometry.modules} modules, and {detector.name} has "
            f"{detector.module_count}: {given}"
        )
    described = {panel.module for panel in geometry.panels}
    pixels = sum(panel.shape[0] * panel.shape[1] for panel in geometry.panels)
    share = pixels / (len(described) * detector.pixels)
    if share < LEAST_DESCRIBED:
        raise BadInput(
            f"{path} describes {100 * share:.3g} % of the {detector.pixels} pixels of its modules, whose "
            f"shape is {detector.shape} in {detector.name}: {given}"
        )


def pixels_of(job: Job, geometry: Geometry) -> PixelMap:
    """Return where the pixels are in the laboratory, at the distance that `distance_of` says.

    Raises
    ------
    BadInput
        If no distance is known.
    """
    return PixelMap.from_geometry(geometry, distance_of(job, geometry))


def geometry_sha256(job: Job) -> str:
    """Return the checksum of the recipe's geometry file, for what the output says of its making."""
    return sha256_of(job.recipe.path_of(job.recipe.detector.geometry))


def good_pixels_of(
    job: Job, geometry: Geometry, written: str | None, section: str
) -> tuple[np.ndarray, dict[str, str]]:
    """Return the pixels that a stage may use, and the checksums of the files that say so.

    Parameters
    ----------
    job : Job
    geometry : Geometry
        Of the run's modules.
    written : str or None
        The user's mask, as the recipe names it.
    section : str
        Of the recipe, for error texts: ``"measure.azint"``.

    Returns
    -------
    good : ndarray of bool, shape (rows, columns)
    files : dict of str to str
        ``geometry_sha256``, and ``mask_sha256`` where there is a mask.

    Raises
    ------
    BadInput
        As `mask_of`.
    """
    good, files = geometry.good_pixels(), {"geometry_sha256": geometry_sha256(job)}
    if written is not None:
        good = good & mask_of(job, written, section, geometry.shape)
        files["mask_sha256"] = sha256_of(job.recipe.path_of(written))
    return good, files


def mask_of(job: Job, written: str, section: str, shape: tuple[int, int]) -> np.ndarray:
    """Read the user's mask, bool (rows, columns), True where a pixel may be used.

    Raises
    ------
    BadInput
        If the file cannot be read, or holds something else.
    """
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
