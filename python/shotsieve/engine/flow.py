"""The steps of a reduction that writing it and checking it share."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from ..constants import Constants
from ..derive import fill
from ..errors import BadInput, LateLoss, UnreadableData
from ..folded_cache import constants_checksum
from ..keep import PROBABILITY
from ..recipe import Measure, Recipe
from ..sources.base import Source, begin
from ..table import ModuleStatus, Table
from ..telling import tell
from ..write.journal import Journal
from ..write.output import SIDE
from ..write.part import Part
from .job import Job, make_job
from .lit_cells import columns_from_images
from .passes import SLOTS, Pass, Sinks, write_sums
from .settings import differences
from .user import UserJob, UserStage

if TYPE_CHECKING:
    from ..backend import Backend
    from ..detectors import Detector

P = ParamSpec("P")
T = TypeVar("T")

_OPENED: ContextVar[dict[str, Source] | None] = ContextVar("opened", default=None)

FROM_TABLE = "table_sha256"
"""Setting of an output whose measures were taken from a table that was given."""

BLOCK_BYTES = 256_000_000


def open_source(run: Any, recipe: Recipe, tolerant: bool = False) -> Source:
    """Return the source itself, or open what was given as a run; either will be read from its begin."""
    opened = _OPENED.get()
    if isinstance(run, Source):
        if tolerant and getattr(run, "losses", None) is None:
            raise BadInput(
                "tolerant=True goes with a run that is opened here: give its folder, or open it with "
                "open_run(..., tolerant=True)"
            )
        begin(run)
        return run
    from ..sources.run import open_run

    asked, parallel = recipe.detector, recipe.calibrate.parallel_gain if recipe.calibrate else None
    key = repr((asked, parallel))
    if opened is None or key not in opened:
        source = open_run(
            run, asked.name, asked.source, data=asked.data, parallel_gain=parallel, tolerant=tolerant
        )
        if opened is None:
            return source
        opened[key] = source
    begin(opened[key])
    return opened[key]


def begins_anew(do: Callable[P, T]) -> Callable[P, T]:
    """Let a function that reads a run begin again where it meets a loss too late for what it has done.

    Detectors that it opens by `open_source` are opened once, so that what was met is known from the begin.
    Every time at least one more module of a train is known to be lost: it comes to an end.
    """

    @wraps(do)
    def go(*args: P.args, **kwargs: P.kwargs) -> T:
        outer = _OPENED.set({})
        try:
            while True:
                try:
                    return do(*args, **kwargs)
                except LateLoss as late:
                    lost = late.lost
                # The error is gone by now, and with it the buffers that its frames have held.
                tell(f"{lost}: everything is begun anew")
        finally:
            _OPENED.reset(outer)

    return go


def open_constants(recipe: Recipe, given: Any, detector: Detector) -> Constants | None:
    """Open the constants that were given, else those that the recipe names; none for corrected data.

    Raises
    ------
    BadInput
        If some were given and the run is calibrated already.
    """
    if detector.is_corrected:
        if given is not None:
            raise BadInput(
                "constants were given, and the run holds corrected data, of which nothing is calibrated "
                "again: leave --constants (from Python: constants=) out, or give the raw run"
            )
        return None
    if recipe.calibrate is None or isinstance(given, Constants):
        return given if recipe.calibrate is not None else None
    path = given if given is not None else recipe.constants_path()
    return None if path is None else Constants.open(path, detector)


def prepare(
    source: Source,
    recipe: Recipe,
    constants: Constants | None,
    backend: Backend,
    *,
    force: bool,
    block_bytes: int,
    others: Mapping[str, Table] | None = None,
    stages: tuple[UserStage, ...] = (),
) -> tuple[Job, int]:
    """Decide everything about a reduction, with a look at some frames where the recipe asks for it.

    Parameters
    ----------
    source, recipe, constants, backend, force, block_bytes
        As for `shotsieve.reduce`, opened.
    others : mapping of str to Table, optional
        Of detectors whose columns the rule sees, by label.
    stages : tuple of UserStage
        Measures of the user's own.

    Returns
    -------
    job : Job
    looked_at : int
        Raw bytes that were read for it.
    """
    columns, notes, looked_at = {}, [], 0
    if recipe.annotate.pattern == "images":

        def look(job: Job) -> None:
            nonlocal looked_at
            one = Pass(job, backend, [Part.whole(job.source)], None, None, None, block_bytes)
            one.run(measures=False)
            looked_at = one.bytes_read

        columns, note = columns_from_images(source, recipe, constants, force, look)
        notes.append(note)
    job = make_job(source, recipe, constants, force, columns, stages, others)
    job.notes += notes
    if job.tables is not None and not source.detector.is_corrected:
        job.settings["constants.folded_sha256"] = job.tables.sha256 or constants_checksum(job.tables.table)
    return job, looked_at


def adopt(job: Job, table: Table | str | os.PathLike[str]) -> None:
    """Take measures and columns from the table of an earlier reduction; the job then measures nothing.

    Parameters
    ----------
    job : Job
        Of the same run.
    table : Table or path

    Raises
    ------
    BadInput
        If the table is of other shots, lacks a column of the user's own, or a CXI file is asked for, whose
        peaks are in no table.
    """
    if job.recipe.write is not None and job.recipe.write.cxi:
        raise BadInput("[write] cxi needs peaks, which are searched anew: it does not go with a table")
    told, mine = table if isinstance(table, Table) else Table.open(table), job.table
    if not same_shots(told, mine):
        raise BadInput(
            f"the table is of another run: it has {len(told)} shots of modules {told.modules}, the run has "
            f"{len(mine)} of {mine.modules}"
        )
    for part in job.pixel_jobs:
        if isinstance(part, UserJob) and (lacking := part.asked.columns.keys() - told.columns.keys()):
            raise BadInput(
                f"the table has no column {sorted(lacking)[0]!r} of the stage {part.asked.name}, and where a "
                "table is given nothing is measured: give one that was made with this stage, or none"
            )
    mine.module_status[:] = told.module_status
    mine.measures |= {name: values.copy() for name, values in told.measures.items()}
    columns = [name for name in told.columns if name not in job.recipe.derive and name != PROBABILITY]
    for name in columns:
        mine.columns[name], mine.meanings[name] = told.columns[name].copy(), told.meanings[name]
    job.peaks, job.pixel_jobs, job.pump = None, [], None
    job.settings[FROM_TABLE] = hashlib.sha256(
        b"".join(map(np.ndarray.tobytes, (*told.measures.values(), *map(told.columns.get, columns))))
    ).hexdigest()
    job.notes.append("nothing was measured: measures are those of the table that was given")
    if not isinstance(table, Table) and (changed := _made_otherwise(Path(table), job)):
        job.notes.append(f"that table was made with other settings: {'; '.join(changed)}")


def side_of(table: Path) -> Path:
    """Return the folder of settings beside a table, which is named by itself or by its output."""
    return table / SIDE if table.is_dir() else table.parent


def _made_otherwise(table: Path, job: Job) -> list[str]:
    """Compare the settings that stand beside a table with those of a job; without any nothing is known."""
    beside = side_of(table) / "settings.json"
    if not beside.is_file():
        return []
    try:
        told = json.loads(beside.read_text(encoding="utf-8"))
        return differences(told, json.loads(json.dumps(job.settings)))
    except (ValueError, KeyError, TypeError) as error:
        return [f"{beside.name} beside it cannot be understood ({error})"]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the shots of a job are passed, and where to.

    Attributes
    ----------
    side : Path
        Where files of measures go.
    journal : Journal
        Says what is complete already, and what is then.
    sinks : callable or None
        Gives what takes the kept frames of a part; see `shotsieve.engine.passes.Sinks`.
    parts : list of Part
    progress : callable or None
    block_bytes, slots : int
        As for `shotsieve.reduce`.
    measured : bool
        The table is complete already; see `adopt`.
    prefix : str
        Of the names of steps in the journal.
    """

    side: Path
    journal: Journal
    sinks: Sinks | None
    parts: list[Part]
    progress: Callable[[int, int, int], None] | None
    block_bytes: int
    measured: bool = False
    prefix: str = ""
    slots: int = SLOTS


def run_job(job: Job, backend: Backend, plan: Plan) -> int:
    """Measure all shots, decide, and hand over what is kept; return the raw bytes read.

    Where the decision needs the whole table there are two passes, the second over kept shots alone.
    """
    if not job.decides_late and not plan.measured:
        return _pass(job, backend, plan, "reduce", plan.sinks, measures=True)
    first = 0 if plan.measured else measure(job, backend, plan)
    return first + hand_over(job, backend, plan)


def measure(job: Job, backend: Backend, plan: Plan) -> int:
    """Measure all shots and decide about none; return the raw bytes read."""
    first = dataclasses.replace(job, pixel_jobs=job.measured_on_the_way)
    return _pass(first, backend, plan, "measure", None, measures=True, decide=_keep_none)


def _pass(
    job: Job, backend: Backend, plan: Plan, name: str, sinks: Sinks | None, measures: bool, **how: Any
) -> int:
    step = plan.journal.step(f"{plan.prefix}{name}")
    one = Pass(job, backend, plan.parts, step, sinks, plan.progress, plan.block_bytes, plan.slots, **how)
    one.tells_losses = name != "write" or plan.measured
    one.run(measures)
    if measures:
        write_sums(job, plan.side, step)
    job.notes.extend(dict.fromkeys(one.notes))
    return one.bytes_read


def _keep_none(shots: np.ndarray) -> np.ndarray:
    return np.zeros(len(shots), bool)


def same_shots(one: Table, other: Table) -> bool:
    """Whether two tables have the same shots of the same modules, row by row."""
    keys = ("train_id", "pulse_id", "cell_id", "modules")
    return all(np.array_equal(getattr(one, key), getattr(other, key)) for key in keys)


def hand_over(job: Job, backend: Backend, plan: Plan) -> int:
    """Decide about all shots of a table that is measured, and hand over those that are kept.

    Returns
    -------
    int
        Raw bytes read for it.
    """
    fill(job.table, job.recipe.derive)
    refuse_changes(job.source)
    readable, losses = job.source.readable, getattr(job.source, "losses", None)
    if losses is not None:
        # An earlier process, or the table that was given, may know of losses that this one has not met. Where
        # a table was given nothing is measured, and so nothing of what may still be found to be lost.
        measured = readable[:0] if plan.measured else readable
        losses.take(job.table.module_status == ModuleStatus.UNREADABLE, measured)
    keep = np.zeros(len(job.table), bool)
    keep[readable] = job.keeper.decide(job.table, readable)
    at_end = job.measured_at_end
    if plan.sinks is None and not at_end:
        return 0
    peaks = None if job.peaks is None else job.peaks.found.finish().records
    # All else is measured: what is left is to calibrate and to write.
    rest = dataclasses.replace(
        job,
        source=job.source if at_end else job.source.selected(keep),
        recipe=dataclasses.replace(job.recipe, measure=Measure()),
        peaks=None,
        pixel_jobs=at_end,
        pump=None,
    )
    return _pass(
        rest,
        backend,
        plan,
        "write",
        plan.sinks,
        measures=bool(at_end),
        decide=lambda shots: keep[shots],
        peaks=peaks,
    )


def refuse_changes(source: Source) -> None:
    """Make sure that the files of a run are those that were opened.

    Raises
    ------
    UnreadableData
        If one is gone or was written since: what was measured and what is written could be of two runs.
    """
    if changed := source.changed():
        shown = ", ".join(changed[:3]) + (" ..." if len(changed) > 3 else "")
        raise UnreadableData(
            f"{shown} changed while the run was being read: nothing is kept of this; reduce again once the "
            "run is complete"
        )


def write_measures(side: Path, job: Job) -> None:
    """Write the table, and the peaks where there are any."""
    job.table.save(side / "table.h5")
    if job.peaks is not None:
        job.peaks.found.finish().save(side / "peaks.h5")
