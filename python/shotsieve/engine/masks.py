"""The masks of a recipe, read for a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..constants.mask_file import read_mask
from ..constants.masks import StaticMask
from ..errors import BadInput
from ..write.checksums import sha256_of

if TYPE_CHECKING:
    from .job import Job


def masks_of(job: Job) -> StaticMask | None:
    """Return the bits of all masks that the recipe names, None where it names none; note what they hold.

    Raises
    ------
    BadInput
        If a file does not fit the run.
    UnreadableData
        If it cannot be read.
    """
    section, found = job.recipe.calibrate, None
    for key, written, bad in (
        ("mask", section.mask, section.mask_bad),
        ("mask_zero_std", section.mask_zero_std, "bits"),
    ):
        if written is None:
            continue
        path, dataset = _split(written)
        path = job.recipe.path_of(path)
        if key == "mask_zero_std":
            dataset = dataset or ":/mask"
        try:
            mask = read_mask(f"{path}{dataset}", bad, job.source.detector, job.source.modules)
        except BadInput as error:
            raise BadInput(f"[calibrate] {key}: {error}") from None
        job.notes.append(f"[calibrate] {key}: {100 * mask.share():.3g} % of the pixels are marked")
        job.mask_files[key] = sha256_of(Path(path))
        found = mask | found
    return found


def _split(written: str) -> tuple[str, str]:
    """Return the file, and the dataset with its colon, or nothing."""
    path, colon, dataset = written.rpartition(":/")
    return (path, f":/{dataset}") if colon else (written, "")
