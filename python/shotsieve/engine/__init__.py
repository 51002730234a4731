"""The engine: a raw run in, a reduced run out. The one place that sees every part."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import backend as backends
from .._version import __version__
from ..accounts import Accounts
from ..constants.container import Constants
from ..recipe import Recipe
from ..sources.base import Source
from ..table import Table
from ..write.output import OutputFolder
from .blocks import BlockRunner
from .job import Job, make_job
from .lit_cells import columns_from_images
from .ring import run_ring
from .writers import KeptWriters

if TYPE_CHECKING:
    from ..backend import Backend

__all__ = ["Result", "reduce"]

BLOCK_BYTES = 256_000_000
SLOTS = 3


@dataclass(frozen=True)
class Result:
    """What a reduction gave.

    Attributes
    ----------
    out : Path
        The folder of the reduced run.
    files : list of Path
        Data files in it, one per module; empty where only the table was wanted.
    table : Table
        One row per shot of the run.
    accounts : Accounts
        What became of every shot.
    performance : dict
        Seconds, shots per second, backend, threads: what depends on the machine.
    """

    out: Path
    files: list[Path]
    table: Table
    accounts: Accounts
    performance: dict[str, Any]


def reduce(
    run: Any,
    recipe: Recipe | dict[str, Any] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    constants: Constants | str | os.PathLike[str] | None = None,
    backend: str = "auto",
    *,
    overwrite: bool = False,
    force: bool = False,
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
    force : bool
        Accept constants whose conditions disagree with the run; recorded in the output.
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
        If run, recipe or constants are not right or do not fit together.
    UnreadableData
        If data cannot be read; the text names file and trains.
    OutputError
        If the output cannot be written. Nothing stands under its final name then.
    BackendUnavailable
        If the backend asked for does not exist here.

    Examples
    --------
    >>> import shotsieve
    >>> result = shotsieve.reduce("raw/r0001", "recipe.toml", "red/r0001")  # doctest: +SKIP
    >>> print(result.accounts.summary())  # doctest: +SKIP
    """
    began = time.perf_counter()
    if not isinstance(recipe, Recipe):
        recipe = Recipe.from_dict(recipe) if isinstance(recipe, dict) else Recipe.load(recipe)
    folder = OutputFolder(out, overwrite)
    chosen = backends.get(backend)
    source = _open_source(run, recipe)
    constants = _open_constants(recipe, constants, source)
    columns, notes, looked_at = {}, [], 0
    if recipe.annotate.pattern == "images":

        def look(job: Job) -> None:
            nonlocal looked_at
            _, looked_at = _run(job, chosen, folder, None, block_bytes)

        columns, note = columns_from_images(source, recipe, constants, force, look)
        notes.append(note)
    job = make_job(source, recipe, constants, force, columns)
    job.notes += notes
    with folder:
        prepared = time.perf_counter()
        files, bytes_read = _run(job, chosen, folder, progress, block_bytes)
        bytes_out = sum(file.stat().st_size for file in files)
        job.finish_notes()
        accounts = Accounts.from_run(
            source, job.table, bytes_in=looked_at + bytes_read, bytes_out=bytes_out, notes=job.notes
        )
        accounts.check()
        accounts.performance = _performance(job, chosen, prepared - began, time.perf_counter() - prepared)
        _write_side(folder.side, job, accounts)
    files = [folder.path / file.name for file in files]
    return Result(folder.path, files, job.table, accounts, accounts.performance)


def _open_source(run: Any, recipe: Recipe) -> Source:
    """Return the source itself, or open what was given as a raw run."""
    if isinstance(run, Source):
        return run
    from ..sources.run import open_run

    return open_run(run, detector=recipe.detector.name, source=recipe.detector.source)


def _open_constants(recipe: Recipe, given: Any, source: Source) -> Constants | None:
    """Open the constants that were given, else those that the recipe names."""
    if recipe.calibrate is None or isinstance(given, Constants):
        return given if recipe.calibrate is not None else None
    path = given if given is not None else recipe.constants_path()
    return None if path is None else Constants.open(path, source.detector)


def _run(
    job: Job,
    backend: Backend,
    folder: OutputFolder,
    progress: Callable[[int, int, int], None] | None,
    block_bytes: int,
) -> tuple[list[Path], int]:
    """Pass all blocks through the ring; return the written files and the number of raw bytes read."""
    cuts = job.source.cuts(block_bytes)
    writer, slots = None, []
    if job.content is not None:
        writer = KeptWriters(job, folder.folder)
    try:
        block_shots = max((stop - start for start, stop in cuts), default=1)
        for part in job.pixel_jobs:
            part.open(folder.side)
        runner = BlockRunner(job, backend, writer, block_shots, progress)
        slots = [runner.make_slot() for _ in range(min(SLOTS, max(1, len(cuts))))]
        run_ring(slots, cuts, runner.fill, runner.submit, runner.collect)
        files = writer.finish() if writer is not None else []
        for part in job.pixel_jobs:
            part.close()
        if job.pump is not None:
            job.pump.write(folder.side)
    except BaseException:
        for part in job.pixel_jobs:
            part.close(complete=False)
        if writer is not None:
            writer.abort()
        raise
    finally:
        # Work may still be queued after an error; its buffers must not be reused before it is done.
        for slot in slots:
            backend.device.wait(backend.device.record(slot.stream))
    return files, runner.bytes_read


def _performance(job: Job, backend: Backend, prepare_s: float, run_s: float) -> dict[str, Any]:
    shots = len(job.source.readable)
    return {
        "backend": backend.name,
        "device": backend.detail,
        "threads": backend.threads,
        "prepare_s": round(prepare_s, 3),
        "run_s": round(run_s, 3),
        "shots_per_s": round(shots / run_s, 1) if run_s > 0 else 0.0,
    }


def _write_side(side: Path, job: Job, accounts: Accounts) -> None:
    """Write table, recipe, settings and accounts; what depends on the machine stands in a file of its own."""
    job.table.save(side / "table.h5")
    if job.peaks is not None:
        job.peaks.found.finish().save(side / "peaks.h5")
    (side / "recipe.toml").write_text(job.recipe.dumps_toml(), encoding="utf-8")
    settings = json.dumps({"unit": job.unit, **job.settings}, indent=2, sort_keys=True)
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
