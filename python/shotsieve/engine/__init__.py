"""The engine: a raw run in, a reduced run out. The one place that sees every part."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import backend as backends
from .._version import __version__
from ..accounts import Accounts
from ..constants.container import Constants
from ..recipe import Recipe
from ..sources.base import Source
from ..table import FATES, Table
from ..write import ledger
from ..write.output import OutputFolder
from .clock import profile_text
from .facility import facility_files
from .flow import (
    BLOCK_BYTES,
    Plan,
    adopt,
    open_constants,
    open_source,
    prepare,
    refuse_changes,
    run_job,
    write_measures,
)
from .job import Job
from .parts import TRAINS, cut_parts
from .result import Result
from .resume import settings_of, standing, what_decides
from .views import Views
from .writers import KeptWriters, finish_run, others_of

if TYPE_CHECKING:
    from ..backend import Backend

__all__ = ["Result", "profile_text", "reduce"]


def reduce(
    run: Any,
    recipe: Recipe | dict[str, Any] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    constants: Constants | str | os.PathLike[str] | None = None,
    backend: str = "auto",
    *,
    overwrite: bool = False,
    resume: bool = False,
    force: bool = False,
    table: Table | str | os.PathLike[str] | None = None,
    progress: Callable[[int, int, int], None] | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Result:
    """Reduce a run: one read, every measure, and only what the rule keeps is written.

    Promise: exact. The same run, recipe, constants and version give the same bytes on every backend, with
    any block size and any number of threads; what depends on the machine goes to ``shotsieve/machine.json``
    alone.

    Parameters
    ----------
    run : path, EXtra-data DataCollection or detector component, or Source
        A folder of raw European XFEL files, or something that was opened already.
    recipe : path, Recipe or dict
        What to do; see ``docs/recipe.md``.
    out : path
        Folder of the reduced run; it must not exist or be empty, unless ``overwrite``.
    constants : path, Constants or None
        Own HDF5 file or a folder in the facility's layout; None takes what the recipe names.
    backend : {"auto", "cpu", "cuda", "emu"}
        ``auto`` takes the GPU when there is one, and says which it took.
    overwrite : bool
        Replace an earlier output of shotsieve, once the new one is complete.
    resume : bool
        Go on where an interrupted reduction of the same run, recipe and constants has stopped: parts that are
        complete are not read again. The result has the same bytes as one that was not interrupted. Without
        anything to resume it begins anew; a complete output is returned as it is.
    force : bool
        Accept constants whose conditions disagree with the run; recorded in the output.
    table : Table, path or None
        Of an earlier reduction of the run: nothing is measured, the rule is asked of this table, and only
        kept shots are read.
    progress : callable or None
        ``progress(done_shots, all_shots, bytes_read)`` after each block.
    block_bytes : int
        Raw bytes handled at once; three such blocks are in flight.

    Returns
    -------
    Result

    Raises
    ------
    BadInput
        If run, recipe or constants are not right or do not fit together; or if they are not those that an
        interrupted reduction was begun with.
    UnreadableData
        If data cannot be read; the text names file and trains.
    OutputError
        If the output cannot be written. Nothing stands under its final name then; parts that are complete
        stay for `resume`.
    BackendUnavailable
        If the backend asked for does not exist here.

    Examples
    --------
    >>> import shotsieve
    >>> result = shotsieve.reduce("raw/r0001", "recipe.toml", "red/r0001")  # doctest: +SKIP
    >>> print(result.accounts.summary())  # doctest: +SKIP
    """
    began = time.perf_counter()
    recipe = Recipe.of(recipe)
    folder = OutputFolder(out, overwrite, resume)
    chosen = backends.get(backend)
    source = open_source(run, recipe)
    constants = open_constants(recipe, constants, source.detector)
    job, looked_at = prepare(source, recipe, constants, chosen, force=force, block_bytes=block_bytes)
    if table is not None:
        adopt(job, table)
    views = Views(job)
    if folder.finished:
        folder.clear_up()
        return standing(folder.path, job)
    parts = cut_parts(source, recipe.write.trains_per_file if recipe.write else TRAINS)
    others_of(job)
    with folder:
        folder.journal.begin(what_decides(job, chosen, parts, force))
        prepared = time.perf_counter()
        sinks = None if job.content is None else partial(KeptWriters, job, folder.folder)
        plan = Plan(
            folder.side, folder.journal, sinks, parts, progress, block_bytes, measured=table is not None
        )
        try:
            bytes_read = run_job(job, chosen, plan)
            refuse_changes(source)
        except BaseException:
            if source.changed():
                folder.journal.remove()  # complete parts are of files that are gone
            raise
        known = folder.journal.files()
        files = [folder.folder / name for name in known]
        for file in finish_run(job, folder.folder, len(parts)):
            known.pop(file.name, None)
            files += [file] if file not in files else []
        files += facility_files(job, folder.folder)
        files += views.write(folder.folder, files)
        bytes_out = sum(file.stat().st_size for file in files)
        job.finish_notes()
        accounts = Accounts.from_run(
            source, job.table, bytes_in=looked_at + bytes_read, bytes_out=bytes_out, notes=job.notes
        )
        accounts.check()
        accounts.performance = _performance(job, chosen, prepared - began, time.perf_counter() - prepared)
        _write_side(folder.side, job, accounts)
        digest = _write_ledger(folder, source, accounts, recipe.ledger.checksum_inputs, known)
    files = [folder.path / file.name for file in files]
    return Result(folder.path, files, job.table, accounts, digest, accounts.performance)


def _performance(job: Job, backend: Backend, prepare_s: float, run_s: float) -> dict[str, Any]:
    shots = len(job.source.readable)
    return {
        "backend": backend.name,
        "device": backend.detail,
        "threads": backend.threads,
        "prepare_s": round(prepare_s, 3),
        "run_s": round(run_s, 3),
        "shots_per_s": round(shots / run_s, 1) if run_s > 0 else 0.0,
        "steps_s": {name: round(seconds, 3) for name, seconds in job.seconds.items()},
    }


def _write_ledger(
    folder: OutputFolder, source: Source, accounts: Accounts, checksum_inputs: bool, known: dict[str, Any]
) -> str:
    """List all that was written, some of it listed before, and return the digest."""
    counts = {name: getattr(accounts, name) for name in ("expected", *FATES, "missing")}
    inputs = ledger.with_checksums(source.files, source.paths) if checksum_inputs else source.files
    made = ledger.Ledger.make(folder.folder, inputs, counts, known)
    (folder.side / ledger.FILE_NAME).write_text(made.dumps(), encoding="utf-8")
    return made.digest


def _write_side(side: Path, job: Job, accounts: Accounts) -> None:
    """Write table, recipe, settings and accounts; what depends on the machine stands in a file of its own."""
    write_measures(side, job)
    (side / "recipe.toml").write_text(job.recipe.dumps_toml(), encoding="utf-8")
    settings = json.dumps(settings_of(job), indent=2, sort_keys=True)
    (side / "settings.json").write_text(settings + "\n", encoding="utf-8")
    (side / "accounts.json").write_text(accounts.to_json() + "\n", encoding="utf-8")
    machine = {
        "shotsieve": __version__,
        "host": platform.node(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **accounts.performance,
    }
    (side / "machine.json").write_text(json.dumps(machine, indent=2, sort_keys=True) + "\n", encoding="utf-8")
