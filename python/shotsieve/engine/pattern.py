"""What an embedded engine is made for: a recipe without a whole run, and one shot of every memory cell."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import detectors
from ..errors import BadInput, nearest
from ..select import LIT_COLUMN
from ..sources.base import OperatingMode
from ..sources.corrected import KINDS
from ..sources.memory import MemorySource
from ..table_columns import KNOWN_COLUMNS
from .grouping import VERDICT

if TYPE_CHECKING:
    from ..detectors import Detector
    from ..recipe import Recipe
    from ..select import Selection
    from ..sources.base import Source
    from .job import Job

MODE_FIELDS = ("gain_mode", "photon_energy_kev")
"""What has to agree between a run and the engine it passes through: values depend on it."""


def refuse_whole_runs(recipe: Recipe) -> None:
    """Refuse what can be decided only once the whole run was seen."""
    select, measure = recipe.select, recipe.measure
    asked = {
        "[measure.average] by values that are not told (verdict, cell, or bins)": measure.average is not None
        and measure.average.by not in (None, "cell", VERDICT)
        and measure.average.bins is None,
        "[measure.azint] average": measure.azint is not None and measure.azint.average is not None,
        "[measure.xcca] average": measure.xcca is not None and measure.xcca.average is not None,
        "[measure.xpcs]": measure.xpcs is not None,
        "a second [[detector]]": bool(recipe.others),
        "[derive]": bool(recipe.derive),
        "[measure.pump_probe]": measure.pump_probe is not None,
        '[annotate] pattern = "images"': recipe.annotate.pattern == "images",
        "[select] frames = super": select is not None and select.frames.startswith("super"),
        "[write] cxi": recipe.write is not None and recipe.write.cxi,
    }
    if found := [name for name, there in asked.items() if there]:
        raise BadInput(
            f"{', '.join(found)}: an engine sees blocks, and this needs a whole run or files: leave it out, "
            "or use shotsieve.reduce"
        )


def mode_told(mode: OperatingMode | Mapping[str, Any] | None) -> OperatingMode:
    """Return the mode that a user tells, whether as it is or as a mapping.

    Raises
    ------
    BadInput
        If a name is not one of it.
    """
    if isinstance(mode, OperatingMode):
        return mode
    names = [field.name for field in dataclasses.fields(OperatingMode)]
    for name in mode or {}:
        if name not in names:
            raise BadInput(f"mode: no {name!r}.{nearest(name, names)} There are {', '.join(names)}")
    return OperatingMode(**(mode or {}))


def family_of(name: str, recipe: Recipe, mode: OperatingMode) -> Detector:
    """Return the detector of the frames that come: calibrated already, in parallel gain, or neither."""
    family = detectors.load(name)
    if recipe.detector.data == "corrected":
        return family.corrected()
    asked = None if recipe.calibrate is None else recipe.calibrate.parallel_gain
    return family.in_parallel_gain() if (mode.parallel_gain if asked is None else asked) else family


def one_train(
    detector: Detector,
    modules: Sequence[int] | None,
    cells: np.ndarray,
    mode: OperatingMode,
    columns: tuple[str, ...],
) -> MemorySource:
    """Return a source of one shot per memory cell, whose frames nobody reads: what a job is made for."""

    def never(index: np.ndarray, out: np.ndarray) -> None:
        raise AssertionError("frames of the pattern are never read")

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


def refuse_undeclared(job: Job, selection: Selection | None, columns: tuple[str, ...]) -> None:
    """Refuse rules on columns that no block will bring: they would keep every shot.

    Raises
    ------
    BadInput
        The text names the column.
    """
    asked = [] if job.keeper.rule is None else list(job.keeper.rule.names)
    if selection is not None:
        asked += [] if selection.rule is None else selection.rule.names
        asked += [LIT_COLUMN] if selection.frames != "all" else []
    for name in asked:
        if name in KNOWN_COLUMNS and name not in job.table.columns:
            raise BadInput(
                f"a rule asks for {name}, which blocks do not bring along: name it in Engine(columns=...) "
                "and give it with every block"
            )


def check_run(source: Source, mine: MemorySource, mode: OperatingMode, force: bool = False) -> None:
    """Refuse a run of another detector, or one that was taken in another mode.

    Parameters
    ----------
    source : Source
    mine : MemorySource
        What the engine was made for.
    mode : OperatingMode
        The same, with what the recipe says.
    force : bool
        Take a run of another mode; what does not fit is refused all the same.

    Raises
    ------
    BadInput
        The text says what differs.
    """
    if source.detector.name != mine.detector.name or tuple(source.modules) != mine.modules:
        raise BadInput(
            f"{source.name} is a {source.detector.name} with modules {source.modules}; this engine was made "
            f"for {mine.detector.name} with {mine.modules}"
        )
    if source.detector.is_corrected != mine.detector.is_corrected:
        holds, made = (KINDS[one.detector.is_corrected] for one in (source, mine))
        raise BadInput(
            f"{source.name} holds {holds} data, and this engine was made for {made} data: set "
            f'[[detector]] data = "{holds}" in its recipe'
        )
    theirs, ours = source.corrected, mine.corrected
    if theirs is not None and theirs.unit not in (None, ours.unit):
        raise BadInput(
            f"{source.name}: values are in {theirs.unit}, and this engine was made for {ours.unit}: set "
            f'[calibrate] unit = "{theirs.unit}" in its recipe'
        )
    for name in () if force else MODE_FIELDS:
        theirs, ours = getattr(source.mode, name), getattr(mode, name)
        if theirs is None or ours is None or mode.origin.get(name) == "recipe":
            continue
        same = theirs == ours if isinstance(ours, str) else math.isclose(theirs, ours, rel_tol=1e-3)
        if not same:
            raise BadInput(
                f"{source.name}: {name} is {theirs}, and this engine was made for {ours}: make one with the "
                "run's mode, Engine(mode=source.mode)"
            )
