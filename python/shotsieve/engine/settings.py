"""What an output says of its making."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from ..cpus import usable_cpus
from ..write.checksums import sha256_of
from ..write.modules import WITH_PIXELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..constants.container import Constants
    from .job import Job


def describe(job: Job, constants: Constants | None, with_pixels: Sequence[int]) -> None:
    """Collect what the output says of its making: nothing here depends on machine, backend or date.

    `with_pixels` are the numbers of the modules that have pixels in the regions that are written.
    """
    settings = job.settings = {
        "recipe": job.recipe.dumps_toml(),
        "input_files": list(job.source.files),
        "notes": list(job.notes),
    }
    if job.form is not None and job.form.written is not None:
        settings[WITH_PIXELS] = ", ".join(map(str, with_pixels))
        settings["regions.pixels"] = int(job.form.written.sum())
    for name, section in job.recipe.derive.items():
        if section.kind == "list":
            settings[f"derive.{name}_sha256"] = sha256_of(job.recipe.path_of(section.file))
    for name, value in vars(job.mode).items():
        if name != "origin" and value is not None:
            settings[f"mode.{name}"] = value
            settings[f"mode_origin.{name}"] = job.mode.origin.get(name, "")
    if job.params is None or constants is None:
        return
    for name, value in constants.provenance.items():
        # In one order, whatever form the constants were opened from.
        text = json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else str(value)
        settings[f"constants.{name}"] = text
    for name, value in constants.conditions.items():
        settings[f"constants_conditions.{name}"] = str(value)
    for key, checksum in job.mask_files.items():
        settings[f"calibrate.{key}_sha256"] = checksum
    if job.recipe.measure.lit is not None:
        settings["lit_threshold"] = job.params.lit_threshold
        settings["intensity_unit"] = job.unit
    for part in job.parts():
        settings |= part.settings(job.unit)


def constants_checksum(rows: np.ndarray) -> str:
    """Return one SHA-256 of folded constants, whose rows are read in threads."""
    with ThreadPoolExecutor(usable_cpus()) as pool:
        sums = pool.map(lambda row: hashlib.sha256(np.ascontiguousarray(row)).digest(), rows)
        return hashlib.sha256(b"".join(sums)).hexdigest()
