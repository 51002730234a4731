"""What a job has measured so far, as arrays: an interrupted reduction goes on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..measure.state import State, joined, under

if TYPE_CHECKING:
    from ..write.part import Part
    from .job import Job

_TABLE = ("fate", "verdict", "module_status")


def rows_of(job: Job, part: Part) -> State:
    """Return all that is known of the shots of a part: their rows of the table, and their peaks."""
    table, shots = job.table, part.shots
    own = {name: getattr(table, name)[shots] for name in _TABLE}
    measures = {name: values[shots] for name, values in table.measures.items()}
    columns = {name: values[shots] for name, values in table.columns.items()}
    peaks = {} if job.peaks is None else job.peaks.found.part(shots)
    return joined(table=own, measures=measures, columns=columns, peaks=peaks)


def put_rows(job: Job, part: Part, rows: State) -> None:
    """Take what `rows_of` returned of the same part."""
    table, shots = job.table, part.shots
    for name, values in under(rows, "table").items():
        getattr(table, name)[shots] = values
    for name, values in under(rows, "measures").items():
        table.set_measure(name, shots, values)
    for name, values in under(rows, "columns").items():
        table.columns[name][shots] = values
    if job.peaks is not None:
        job.peaks.found.put(shots, under(rows, "peaks"))


def sums_of(job: Job) -> State:
    """Return all sums over shots that go on growing."""
    parts = {str(k): part.snapshot() for k, part in enumerate(job.pixel_jobs)}
    return joined(pump={} if job.pump is None else job.pump.snapshot(), **parts)


def put_sums(job: Job, sums: State) -> None:
    """Take what `sums_of` returned; after the stages of the job were made."""
    for k, part in enumerate(job.pixel_jobs):
        part.restore(under(sums, str(k)))
    if job.pump is not None:
        job.pump.restore(under(sums, "pump"))
