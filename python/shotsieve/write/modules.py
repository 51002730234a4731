"""The modules that get a file: a recipe's [write] modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import BadInput
from ..select import parse_cells

if TYPE_CHECKING:
    from ..detectors import Detector
    from ..recipe import Recipe

WITH_PIXELS = "regions.modules"
"""Setting of an output that has only some pixels: the modules that could get a file."""


def written_modules(
    recipe: Recipe, detector: Detector, modules: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the modules of a run that are written, and those that are asked for and not in the run.

    Parameters
    ----------
    recipe : Recipe
    detector : Detector
    modules : sequence of int
        Numbers of the modules that the run has frames of, and pixels that are written.

    Returns
    -------
    chosen, lacking : tuple of int
        In ascending order; by default all of the run, and none.

    Raises
    ------
    BadInput
        If the text is no choice, names a module that the detector does not have, or none that the run has.
    """
    text = None if recipe.write is None else recipe.write.modules
    if text is None:
        return tuple(modules), ()
    ranges = [range(*part) for part in parse_cells(text, "[write] modules", "modules")]
    known = detector.modules or tuple(modules)
    for end in (end for part in ranges for end in (part[0], part[-1])):
        if end not in known:
            raise BadInput(
                f'[write] modules = "{text}": {detector.name} has no module {end}; it has {known[0]} to '
                f"{known[-1]}"
            )
    asked = sorted({module for part in ranges for module in part})
    chosen = tuple(module for module in asked if module in modules)
    if not chosen:
        raise BadInput(
            f'[write] modules = "{text}": the run has none of these; it has {", ".join(map(str, modules))}'
        )
    return chosen, tuple(module for module in asked if module not in modules)
