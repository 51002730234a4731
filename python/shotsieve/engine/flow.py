"""The steps of a reduction that writing it and checking it share."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..constants import Constants
from ..derive import fill
from ..errors import BadInput, UnreadableData
from ..keep import PROBABILITY
from ..recipe import Measure, Recipe
from ..sources.base import Source
from ..table import Table
from .blocks import BlockRunner
from .job import Job, make_job
from .lit_cells import columns_from_images
from .ring import run_ring

if TYPE_CHECKING:
    from ..backend import Backend
    from ..detectors import Detector

FROM_TABLE = "table_sha256"
"""Setting of an output whose measures were taken from a table that was given."""

BLOCK_BYTES = 256_000_000
SLOTS = 3


class FrameSink(Protocol):
    """What takes kept frames; `KeptWriters` writes them."""

    def append(self, shots: Any, present: Any, frames: Any, peaks: Any = ()) -> None:
        """Take kept shots, in the order of the table."""

    def finish(self) -> list[Path]:
        """Take notice that all shots were there, and return the files."""

    def abort(self) -> None:
        """Give up."""


def open_source(run: Any, recipe: Recipe) -> Source:
    """Return the source itself, or open what was given as a raw run."""
    if isinstance(run, Source):
        return run
    from ..sources.run import open_run

    return open_run(run, detector=recipe.detector.name, source=recipe.detector.source)


def open_constants(recipe: Recipe, given: Any, detector: Detector) -> Constants | None:
    """Open the constants that were given, else those that the recipe names."""
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
) -> tuple[Job, int]:
    """Decide everything about a reduction, with a look at some frames where the recipe asks for it.

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
            _, looked_at = run_blocks(job, backend, None, None, None, block_bytes)

        columns, note = columns_from_images(source, recipe, constants, force, look)
        notes.append(note)
    job = make_job(source, recipe, constants, force, columns)
    job.notes += notes
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
        If the table is of other shots, or a CXI file is asked for, whose peaks are in no table.
    """
    if job.recipe.write is not None and job.recipe.write.cxi:
        raise BadInput("[write] cxi needs peaks, which are searched anew: it does not go with a table")
    told, mine = table if isinstance(table, Table) else Table.open(table), job.table
    if not same_shots(told, mine):
        raise BadInput(
            f"the table is of another run: it has {len(told)} shots of modules {told.modules}, the run has "
            f"{len(mine)} of {mine.modules}"
        )
    mine.module_status[:] = told.module_status
    mine.measures |= {name: values.copy() for name, values in told.measures.items()}
    for name, values in told.columns.items():
        if name not in job.recipe.derive and name != PROBABILITY:
            mine.columns[name], mine.meanings[name] = values.copy(), told.meanings[name]
    job.peaks, job.pixel_jobs, job.pump = None, [], None
    job.settings[FROM_TABLE] = hashlib.sha256(
        b"".join(map(np.ndarray.tobytes, told.measures.values()))
    ).hexdigest()
    job.notes.append("nothing was measured: measures are those of the table that was given")


def run_job(
    job: Job,
    backend: Backend,
    side: Path,
    sink: FrameSink | None,
    progress: Callable[[int, int, int], None] | None,
    block_bytes: int,
    measured: bool = False,
) -> tuple[list[Path], int]:
    """Measure all shots, decide, and hand over what is kept; return written files and raw bytes read.

    Where the decision needs the whole table there are two passes, the second over kept shots alone.

    Parameters
    ----------
    job, backend, side, sink, progress, block_bytes
        As for `run_blocks`.
    measured : bool
        The table is complete already; see `adopt`.
    """
    if not job.decides_late and not measured:
        return run_blocks(job, backend, side, sink, progress, block_bytes)
    first = 0
    try:
        if not measured:
            _, first = run_blocks(job, backend, side, None, progress, block_bytes, decide=_keep_none)
        fill(job.table, job.recipe.derive)
        files, again = _hand_over(job, backend, sink, progress, block_bytes)
    except BaseException:
        if sink is not None:
            sink.abort()
        raise
    return files, first + again


def _keep_none(shots: np.ndarray) -> np.ndarray:
    return np.zeros(len(shots), bool)


def same_shots(one: Table, other: Table) -> bool:
    """Whether two tables have the same shots of the same modules, row by row."""
    keys = ("train_id", "pulse_id", "cell_id", "modules")
    return all(np.array_equal(getattr(one, key), getattr(other, key)) for key in keys)


def _hand_over(
    job: Job,
    backend: Backend,
    sink: FrameSink | None,
    progress: Callable[[int, int, int], None] | None,
    block_bytes: int,
) -> tuple[list[Path], int]:
    """Decide about all shots of a table that is complete, and read those that are kept."""
    refuse_changes(job.source)
    readable = job.source.readable
    keep = np.zeros(len(job.table), bool)
    keep[readable] = job.keeper.decide(job.table, readable)
    if sink is None:
        return [], 0
    peaks = None if job.peaks is None else job.peaks.found.finish().records
    # Everything is measured: what is left is to calibrate and to write.
    rest = dataclasses.replace(
        job,
        source=job.source.selected(keep),
        recipe=dataclasses.replace(job.recipe, measure=Measure()),
        peaks=None,
        pixel_jobs=[],
        pump=None,
    )
    return run_blocks(
        rest,
        backend,
        None,
        sink,
        progress,
        block_bytes,
        decide=lambda shots: keep[shots],
        peaks=peaks,
    )


def run_blocks(
    job: Job,
    backend: Backend,
    side: Path | None,
    sink: FrameSink | None,
    progress: Callable[[int, int, int], None] | None,
    block_bytes: int,
    **how: Any,
) -> tuple[list[Path], int]:
    """Pass all blocks through the ring; return the written files and the number of raw bytes read.

    Parameters
    ----------
    job : Job
    backend : Backend
    side : Path or None
        Where files of measures go; None only where the job has none.
    sink : FrameSink or None
        Takes kept frames; given up if anything fails.
    progress, block_bytes
        As for `shotsieve.reduce`.
    **how
        `decide` and `peaks` of `BlockRunner`.
    """
    cuts, slots = job.source.cuts(block_bytes), []
    try:
        block_shots = max((stop - start for start, stop in cuts), default=1)
        for part in job.pixel_jobs:
            part.open(side)
        runner = BlockRunner(job, backend, sink, block_shots, progress, **how)
        slots = [runner.make_slot() for _ in range(min(SLOTS, max(1, len(cuts))))]
        for _ in run_ring(slots, cuts, runner.fill, runner.submit, runner.collect):
            pass
        with runner.clock.step("finish"):
            files = sink.finish() if sink is not None else []
            for part in job.pixel_jobs:
                part.close()
            if job.pump is not None:
                job.pump.write(side)
        for name, seconds in runner.clock.seconds.items():
            job.seconds[name] = job.seconds.get(name, 0.0) + seconds
    except BaseException:
        for part in job.pixel_jobs:
            part.close(complete=False)
        if sink is not None:
            sink.abort()
        raise
    finally:
        # Work may still be queued after an error; its buffers must not be reused before it is done.
        for slot in slots:
            backend.device.wait(backend.device.record(slot.stream))
    return files, runner.bytes_read


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
