"""What an embedded engine is made for: a recipe without a whole run, and one shot of every memory cell."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..constants.container import Constants
from ..errors import BadInput
from ..recipe import Recipe
from ..sources.base import OperatingMode
from ..sources.memory import MemorySource


def recipe_of(given: Any, geometry: str | os.PathLike[str] | None) -> Recipe:
    """Read a recipe, if it is not one yet, and put another geometry into it, if one is given."""
    recipe = given
    if not isinstance(recipe, Recipe):
        recipe = Recipe.from_dict(given) if isinstance(given, Mapping) else Recipe.load(given)
    if geometry is None:
        return recipe
    place = dataclasses.replace(recipe.detector, geometry=str(Path(geometry).absolute()))
    return dataclasses.replace(recipe, detector=place)


def refuse_whole_runs(recipe: Recipe) -> None:
    """Refuse what can be decided only once the whole run was seen."""
    select = recipe.select
    asked = {
        "[derive]": bool(recipe.derive),
        "[measure.pump_probe]": recipe.measure.pump_probe is not None,
        '[annotate] pattern = "images"': recipe.annotate.pattern == "images",
        "[select] frames = super": select is not None and select.frames.startswith("super"),
        "[write] cxi": recipe.write is not None and recipe.write.cxi,
    }
    if found := [name for name, there in asked.items() if there]:
        raise BadInput(
            f"{', '.join(found)}: an engine sees blocks, and this needs a whole run or files: leave it out, "
            "or use shotsieve.reduce"
        )


def constants_of(recipe: Recipe, given: Any, detector: Any) -> Constants | None:
    """Open the constants that were given, else those that the recipe names."""
    if recipe.calibrate is None:
        return None
    if isinstance(given, Constants):
        return given
    path = given if given is not None else recipe.constants_path()
    return None if path is None else Constants.open(path, detector)


def one_train(
    detector: Any, modules: Any, cells: np.ndarray, mode: Any, columns: tuple[str, ...]
) -> MemorySource:
    """Return a source of one shot per memory cell, whose frames nobody reads: what a job is made for."""

    def never(index: np.ndarray, out: np.ndarray) -> None:
        raise AssertionError("frames of the pattern are never read")

    if isinstance(mode, Mapping):
        mode = OperatingMode(**mode)
    return MemorySource(
        detector,
        never,
        np.ones(len(cells), "u8"),
        np.arange(len(cells)),
        cells,
        modules=None if modules is None else sorted(int(m) for m in modules),
        columns={name: np.zeros(len(cells)) for name in columns},
        mode=mode,
        name="engine",
    )
