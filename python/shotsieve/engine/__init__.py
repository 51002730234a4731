"""The engine: a raw run in, a reduced run out. The one place that sees every part."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import backend as backends
from .._version import __version__
from ..accounts import Accounts
from ..constants.container import Constants
from ..errors import BadInput, LateLoss
from ..recipe import Recipe
from ..table import FATES, Table
from ..telling import tell
from ..write import ledger
from ..write.output import OutputFolder
from .averages import room_for_averages
from .branches import Branch, add_views, belongs, open_branches, run_branches
from .clock import profile_text
from .facility import facility_files
from .flow import BLOCK_BYTES, Plan, adopt, begins_anew, refuse_changes, side_of, write_measures
from .job import Job
from .parts import TRAINS, cut_parts
from .passes import SLOTS
from .result import Result
from .resume import files_of_run, plan_of, refuse_other_stages, settings_of, standing
from .told_stages import stages_of_output
from .writer_thread import WriterThread
from .writers import KeptWriters, finish_run, others_of

if TYPE_CHECKING:
    from ..backend import Backend
    from ..write.part import Part
    from .clock import StepClock
    from .passes import FrameSink
    from .user import UserStage

__all__ = ["Result", "profile_text", "reduce"]


@begins_anew
def reduce(
    run: Any,
    recipe: Recipe | dict[str, Any] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    constants: Constants | str | os.PathLike[str] | Mapping[str, Any] | None = None,
    backend: str = "auto",
    *,
    overwrite: bool = False,
    resume: bool = False,
    force: bool = False,
    tolerant: bool = False,
    table: Table | str | os.PathLike[str] | None = None,
    stages: Sequence[UserStage] | Mapping[str, Sequence[UserStage]] = (),
    progress: Callable[[int, int, int], None] | None = None,
    block_bytes: int = BLOCK_BYTES,
    slots: int = SLOTS,
) -> Result:
    """Reduce a run: one read, every measure, and only what the rule keeps is written.

    Promise: exact. The same run, recipe, constants and version give the same bytes on every backend, with
    any block size and any number of threads; what depends on the machine goes to ``shotsieve/machine.json``
    alone. With `stages` this holds as far as it does for what their functions return.

    Parameters
    ----------
    run : path, EXtra-data DataCollection or detector component, or Source
        A folder of raw European XFEL files, or something that was opened already.
    recipe : path, Recipe or dict
        What to do; see ``docs/recipe.md``.
    out : path
        Folder of the reduced run; it must not exist or be empty, unless ``overwrite``.
    constants : path, Constants, mapping of these or None
        Own HDF5 file or a folder in the facility's layout; None takes what the recipe names. Where the recipe
        has several detectors these are for the leading one; a mapping has them by label.
    backend : {"auto", "cpu", "cuda", "emu"}
        ``auto`` takes the GPU when there is one, and says which it took.
    overwrite : bool
        Replace an earlier output of shotsieve, once the new one is complete.
    resume : bool
        Go on where an interrupted reduction of the same run, recipe and constants has stopped: parts that are
        complete are not read again. The result has the same bytes as one that was not interrupted. Without
        anything to resume it begins anew; a complete output is returned as it is. `stages` have to be those
        that it was begun with, by name and columns.
    force : bool
        Accept constants whose conditions disagree with the run; recorded in the output.
    tolerant : bool
        What of the run cannot be read (frames that are damaged, cut off, were never written or that the disk
        refuses, and files) is counted and no error; recorded in the output. A shot without any frame that can
        be read is *unreadable*. What is found too late for what was done already begins the reduction anew.
    table : Table, path or None
        Of an earlier reduction of the run: nothing is measured, the rule is asked of this table, and only
        kept shots are read. Functions of `stages` are not asked then: their columns are the table's, and the
        stages themselves need not be given where the table lies in its output.
    stages : sequence of UserStage, or mapping of these
        Measures of your own on calibrated frames: their columns go to the table, and rules may ask for them.
        Where the recipe has several detectors these are for the leading one; a mapping has them by label.
    progress : callable or None
        ``progress(done_shots, all_shots, bytes_read)`` after each block.
    block_bytes : int
        Raw bytes handled at once: as much is read, and computed, while another block is written.
    slots : int
        Blocks in flight, which with their size is what bounds memory.

    Returns
    -------
    Result

    Raises
    ------
    BadInput
        If run, recipe or constants are not right or do not fit together; or if they are not those that an
        interrupted reduction was begun with.
    UnreadableData
        If data cannot be read, unless ``tolerant``; the text names file and trains.
    OutputError
        If the output cannot be written. Nothing stands under its final name then; parts that are complete
        stay for `resume`.
    BackendUnavailable
        If the backend asked for does not exist here.
    Exception
        Whatever a function of `stages` raises goes through, with a note that names the stage and the shots;
        parts that are complete stay for `resume`.

    Examples
    --------
    >>> import shotsieve
    >>> result = shotsieve.reduce("raw/r0001", "recipe.toml", "red/r0001")  # doctest: +SKIP
    >>> print(result.accounts.summary())  # doctest: +SKIP

    A measure of your own, which the recipe's rule asks for (``rule = "brightest > 50"``):

    >>> def brightest(frames):  # float32 (k, modules, ss, fs), NaN where masked
    ...     return {"brightest": np.nanmax(frames, axis=(1, 2, 3))}
    >>> stage = shotsieve.UserStage("brightest", brightest, {"brightest": "largest pixel of the shot"})
    >>> result = shotsieve.reduce("raw/r0001", "recipe.toml", "red/r0001", stages=[stage])  # doctest: +SKIP
    >>> result.table.columns["brightest"]  # doctest: +SKIP
    """
    began = time.perf_counter()
    if block_bytes < 1 or slots < 1:
        raise BadInput(f"block_bytes = {block_bytes}, slots = {slots}: expected at least 1")
    recipe = Recipe.of(recipe)
    folder = OutputFolder(out, overwrite, resume)
    chosen = backends.get(backend)
    if table is not None and recipe.others:
        raise BadInput(
            "--table (from Python: table=) goes with one detector: the rule of several sees columns of all, "
            "and what is kept of one follows from another; leave it out"
        )
    if not (table is None or isinstance(table, Table) or recipe.calibrate is None):
        stages = stages_of_output(side_of(Path(table)), recipe, stages)
    refuse_other_stages(folder, recipe, stages)
    branches = open_branches(
        run,
        recipe,
        constants,
        chosen,
        force=force,
        block_bytes=block_bytes,
        tolerant=tolerant,
        stages=stages,
    )
    lead = branches[0]
    if table is not None:
        adopt(lead.job, table)
    add_views(branches)
    if folder.finished:
        folder.clear_up()
        return standing(folder.path, branches)
    for branch in branches:
        job = branch.job
        branch.parts = cut_parts(job.source, job.recipe.write.trains_per_file if job.recipe.write else TRAINS)
        others_of(job)
    if (told := room_for_averages([branch.job for branch in branches], chosen)) is not None:
        tell(told)
    with folder:
        folder.journal.begin(plan_of(branches, chosen, force))
        prepared = time.perf_counter()
        plans = [
            _plan(branch, folder, progress, block_bytes, slots, measured=table is not None)
            for branch in branches
        ]
        try:
            run_branches(branches, chosen, plans)
            for branch in branches:
                refuse_changes(branch.job.source)
        except BaseException as error:
            # Complete parts are of files that are gone, or of a train that has lost a module since.
            if isinstance(error, LateLoss) or any(branch.job.source.changed() for branch in branches):
                folder.journal.remove()
            raise
        files = _finish(branches, folder)
        run_s = time.perf_counter() - prepared
        for branch in branches:
            own_s = branch.seconds if branch.label else run_s - sum(b.seconds for b in branches[1:])
            branch.job.finish_notes()
            branch.accounts = Accounts.from_run(
                branch.job.source,
                branch.job.table,
                bytes_in=branch.looked_at + branch.bytes_read,
                bytes_out=sum(file.stat().st_size for file in files[branch.label]),
                notes=branch.job.notes,
            )
            branch.accounts.check()
            branch.accounts.performance = _performance(branch.job, chosen, prepared - began, own_s)
            _write_side(branch.side(folder.side), branch.job, branch.accounts)
        _write_machine(folder.side, lead.accounts, files_of_run(branches))
        digest = _write_ledger(folder, branches, recipe.ledger.checksum_inputs)
    results = {
        branch.label: Result(
            folder.path,
            [folder.path / file.name for file in files[branch.label]],
            branch.job.table,
            branch.accounts,
            digest,
            branch.accounts.performance,
            slot_spans=[list(told["spans"]) for told in branch.job.slot_times],
        )
        for branch in branches
    }
    return replace(results.pop(""), others=results)


def _plan(
    branch: Branch, folder: OutputFolder, progress: Any, block_bytes: int, slots: int, *, measured: bool
) -> Plan:
    """Say how the shots of a branch are passed, and where to."""
    job, side = branch.job, branch.side(folder.side)
    if not side.is_dir():
        side.mkdir()

    def sink(part: Part, clock: StepClock) -> FrameSink:
        return WriterThread(KeptWriters(job, folder.folder, part), clock)

    sinks = None if job.content is None else sink
    parts, prefix = branch.parts, branch.step_prefix
    return Plan(side, folder.journal, sinks, parts, progress, block_bytes, measured, prefix, slots)


def _finish(branches: Sequence[Branch], folder: OutputFolder) -> dict[str, list[Path]]:
    """Write what goes over all parts, and return the data files of each branch."""
    every = [folder.folder / name for name in folder.journal.files()]
    copier = next((b for b in branches if b.job.recipe.write and b.job.recipe.write.others), None)
    for branch in branches:
        every += finish_run(branch.job, folder.folder, len(branch.parts), copies=branch is copier)
        every += facility_files(branch.job, folder.folder)
    for branch in reversed(branches):  # the leading one has the overview of all
        every += branch.views.write(folder.folder, every)
    return {
        branch.label: [file for file in every if belongs(file.name, branches, branch)] for branch in branches
    }


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
        "slots_s": [
            {kind: round(seconds, 3) for kind, seconds in told["seconds"].items()} for told in job.slot_times
        ],
    }


def _write_ledger(folder: OutputFolder, branches: Sequence[Branch], checksum_inputs: bool) -> str:
    """List all that was written, some of it listed in the journal before, and return the digest."""
    counts = {
        ledger.counted(name, branch.label): getattr(branch.accounts, name)
        for branch in branches
        for name in ("expected", *FATES, "missing")
    }
    sources = [branch.job.source for branch in branches]
    named = list(zip(sources[0].files, sources[0].paths, strict=True))
    for source in sources[1:]:
        named += [pair for pair in zip(source.files, source.paths, strict=True) if pair not in named]
    inputs = [name for name, _ in named]
    if checksum_inputs:
        inputs = ledger.with_checksums(inputs, [path for _, path in named])
    made = ledger.Ledger.make(folder.folder, inputs, counts, folder.journal.files())
    (folder.side / ledger.FILE_NAME).write_text(made.dumps(), encoding="utf-8")
    return made.digest


def _write_side(side: Path, job: Job, accounts: Accounts) -> None:
    """Write table, recipe, settings and accounts."""
    write_measures(side, job)
    (side / "recipe.toml").write_text(job.recipe.dumps_toml(), encoding="utf-8")
    settings = json.dumps(settings_of(job), indent=2, sort_keys=True)
    (side / "settings.json").write_text(settings + "\n", encoding="utf-8")
    (side / "accounts.json").write_text(accounts.to_json() + "\n", encoding="utf-8")


def _write_machine(side: Path, accounts: Accounts, run_files: dict[str, Any]) -> None:
    """Write what depends on the machine into a file of its own."""
    machine = {
        "shotsieve": __version__,
        "host": platform.node(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **accounts.performance,
        "run_files": run_files,
    }
    (side / "machine.json").write_text(json.dumps(machine, indent=2, sort_keys=True) + "\n", encoding="utf-8")
