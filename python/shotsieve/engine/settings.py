"""What an output says of its making."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

from ..write.checksums import sha256_of
from ..write.modules import WITH_PIXELS
from .user import settings_of_stages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ..constants.container import Constants
    from .job import Job


TOLERANT = "tolerant"
"""Setting of an output whose run was read as far as it could be."""


def describe(job: Job, constants: Constants | None, with_pixels: Sequence[int]) -> None:
    """Collect what the output says of its making: nothing here depends on machine, backend or date.

    `with_pixels` are the numbers of the modules that have pixels in the regions that are written.
    """
    settings = job.settings = {
        "recipe": job.recipe.dumps_toml(),
        "input_files": list(job.source.files),
        "notes": list(job.notes),
    }
    if getattr(job.source, "losses", None) is not None:
        settings[TOLERANT] = True
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
    if job.source.detector.is_corrected:
        settings["input_content"] = "corrected"
    if job.params is None:
        return
    if constants is not None:
        for name, value in constants.provenance.items():
            # In one order, whatever form the constants were opened from.
            text = json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else str(value)
            settings[f"constants.{name}"] = text
        for name, value in constants.conditions.items():
            settings[f"constants_conditions.{name}"] = str(value)
    for key, checksum in job.mask_files.items():
        settings[f"calibrate.{key}_sha256"] = checksum
    if job.recipe.measure.lit is not None:
        params = job.params if job.lit_by_noise is None else job.lit_by_noise.params
        settings["lit_threshold"] = params.lit_threshold
        if job.counts_high:
            settings["lit_high_threshold"] = job.high_threshold
        if job.lit_by_noise is not None:
            settings["lit_threshold_unit"] = "sigma of each pixel and cell"
        settings["intensity_unit"] = job.unit
    for part in job.parts():
        settings |= part.settings(job.unit)
    settings |= settings_of_stages(job)


_BESIDE_RECIPE = ("calibrate.", "mode.", "constants.folded", "stage.")


def differences(told: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in what the measures of an output were made otherwise than they would be made now.

    Parameters
    ----------
    told, now : mapping
        Settings of the output, and of a job. What the output measured beside is no difference.

    Returns
    -------
    list of str
        Such as ``"calibrate.common_mode was true, is false"``.

    Examples
    --------
    >>> differences({"recipe": "[calibrate]\\noffset = true"}, {"recipe": "[calibrate]\\noffset = false"})
    ['calibrate.offset was true, is false']
    """
    old, new = _measured_with(told), _measured_with(now)
    sections = {key.rpartition(".")[0] for key in new}
    return [
        f"{key} was {_shown(old.get(key))}, is {_shown(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key.rpartition(".")[0] in sections
    ]


def _measured_with(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what measures depend on, by the names of keys with those of their sections."""
    recipe = tomllib.loads(settings["recipe"])
    waiting = [(name, recipe.get(name, {})) for name in ("calibrate", "measure")]
    found = {key: value for key, value in settings.items() if key.startswith(_BESIDE_RECIPE)}
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{name}.{key}", inner) for key, inner in value.items()]
        else:
            found[name] = value
    return found


def _shown(value: Any) -> str:
    text = "not set" if value is None else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]}..."
