"""Whether an interrupted reduction is the one that is asked for, and a complete one that stands already."""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from dataclasses import replace
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..accounts import Accounts
from ..errors import BadInput
from ..sources.base import identity
from ..stage_settings import stages_in
from ..table import Table
from ..write.journal import PLAN
from ..write.ledger import Ledger
from ..write.output import SIDE
from .branches import belongs, stages_by_label
from .result import Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..backend import Backend
    from ..recipe import Recipe
    from ..write.output import OutputFolder
    from ..write.part import Part
    from .branches import Branch
    from .job import Job

    StagesTold = dict[str, dict[str, list[str]]]  # columns of each stage, by label of the detector


def settings_of(job: Job) -> dict[str, Any]:
    """Return what the output says of its making, in words and numbers."""
    return {"unit": job.unit, **job.settings}


def what_decides(job: Job, backend: Backend, parts: Sequence[Part], force: bool) -> dict[str, Any]:
    """Return all that the bytes of an output depend on: parts that are complete can be taken if it is equal.

    The backend is among it only where it has a say in the last bits: in averages and in shared pixels.
    """
    source, told = job.source, settings_of(job)
    return {
        **{name: told[name] for name in told if name != "input_files"},
        "version": __version__,
        "files of the run": list(source.files),
        "identity of the files of the run": [identity(path) for path in source.paths],
        # Nobody can tell whether that gives the same words again.
        "frames of a source in memory": None if source.paths else uuid.uuid4().hex,
        "parts": [[part.trains.start, part.trains.stop] for part in parts],
        "force": force,
        "backend": backend.name if job.pixel_jobs or job.pump is not None else None,
    }


def plan_of(branches: Sequence[Branch], backend: Backend, force: bool) -> dict[str, Any]:
    """Return what the bytes of an output of all these detectors depend on; see `what_decides`."""
    lead, *others = branches
    plan = what_decides(lead.job, backend, lead.parts, force)
    for branch in others:
        own = what_decides(branch.job, backend, branch.parts, force)
        plan |= {f"{branch.label}: {name}": value for name, value in own.items()}
    return plan


def standing(out: Path, branches: Sequence[Branch]) -> Result:
    """Return an output that is complete already.

    Raises
    ------
    BadInput
        If it was made from something else than the jobs.
    """
    _same_files(out, branches)
    ledger = Ledger.load(out)
    names = [name for name in ledger.files if "/" not in name]
    found = {}
    for branch in branches:
        side = branch.side(out / SIDE)
        _same_settings(out, side, branch)
        accounts = Accounts.from_json((side / "accounts.json").read_text(encoding="utf-8"))
        files = [out / name for name in names if belongs(name, branches, branch)]
        table = Table.open(side / "table.h5")
        found[branch.label] = Result(out, files, table, accounts, ledger.digest, {})
    return replace(found.pop(""), others=found)


def refuse_other_stages(folder: OutputFolder, recipe: Recipe, stages: Any) -> None:
    """Refuse to go on with other stages of a user's own than a reduction was begun with.

    Said before a rule is read, which would miss their columns and say no more than that.

    Raises
    ------
    BadInput
    """
    if not folder.resume or folder.overwrite:
        return
    now = {
        label: {stage.name: list(stage.columns) for stage in own}
        for label, own in stages_by_label(stages, recipe).items()
    }
    begun = list(_begun_with(folder, ["", *recipe.others]))
    if begun and not any(_same(told, now) for told in begun):
        raise BadInput(
            f"output {folder.path} cannot be resumed: it was begun with {_in_words(begun[0])}, and what is "
            f"given now is {_in_words(now)}. Give the same, by names and columns (from Python: stages=), or "
            "add --overwrite (from Python: overwrite=True) to begin anew"
        )


def _begun_with(folder: OutputFolder, labels: Sequence[str]) -> Iterator[StagesTold]:
    """Yield the stages of an output that stands there, or of what interrupted processes have left of one."""
    if folder.finished:
        with suppress(OSError, ValueError):
            sides = {label: folder.path / SIDE / label for label in labels}
            yield {label: stages_in(_read(side / "settings.json")) for label, side in sides.items()}
        return
    for path in sorted(folder.path.parent.glob(f".{escape(folder.path.name)}.parts-*/{PLAN}")):
        with suppress(OSError, ValueError):
            told = _read(path)
            if any(path.parent.glob("*.npz")):  # something is complete
                yield {label: stages_in(_of_label(told, label)) for label in labels}


def _of_label(plan: Mapping[str, Any], label: str) -> dict[str, Any]:
    """Return what a plan says of one of several detectors; see `plan_of`."""
    start = f"{label}: " if label else ""
    return {key.removeprefix(start): value for key, value in plan.items() if key.startswith(start)}


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _same(one: StagesTold, other: StagesTold) -> bool:
    return all(one.get(label, {}) == other.get(label, {}) for label in one.keys() | other.keys())


def _in_words(stages: StagesTold) -> str:
    """Name stages and their columns."""
    named = [
        f"{f'{label}: ' if label else ''}stage {name} ({', '.join(columns) or 'no columns'})"
        for label, own in stages.items()
        for name, columns in own.items()
    ]
    return ", ".join(named) or "no stage of a user's own"


def files_of_run(branches: Sequence[Branch]) -> dict[str, Any]:
    """Return what tells the files of the run from others, by name: it differs from machine to machine."""
    found: dict[str, list[Any]] = {}
    for path in dict.fromkeys(path for branch in branches for path in branch.job.source.paths):
        found.setdefault(path.name, []).append(identity(path))
    return found


def _same_files(out: Path, branches: Sequence[Branch]) -> None:
    """Refuse an output of another version, of files that changed since, or of frames in memory."""
    told = json.loads((out / SIDE / "machine.json").read_text(encoding="utf-8"))
    now = json.loads(json.dumps(files_of_run(branches)))
    changed = sorted(name for name in now if told.get("run_files", {}).get(name) != now[name])
    why = None
    if told.get("shotsieve") != __version__:
        why = f"it was made by shotsieve {told.get('shotsieve')}; this is {__version__}"
    elif not now:
        why = "nobody can tell whether a source in memory gives the same frames again"
    elif changed:
        why = (
            f"{', '.join(changed[:3])}{' ...' if len(changed) > 3 else ''} changed since, or is another file"
        )
    if why is not None:
        raise BadInput(
            f"output {out} is complete, and cannot be taken for the one that is asked for: {why}; choose "
            "another folder, or add --overwrite (from Python: overwrite=True) to replace it"
        )


def _same_settings(out: Path, side: Path, branch: Branch) -> None:
    """Refuse an output that was made from something else."""
    of = f" of the detector {branch.label}" if branch.label else ""
    try:
        told = json.loads((side / "settings.json").read_text(encoding="utf-8"))
    except OSError:
        raise BadInput(
            f"output {out} is complete, and of another reduction: it has no settings{of}; choose another "
            "folder, or add --overwrite (from Python: overwrite=True) to replace it"
        ) from None
    now = json.loads(json.dumps(settings_of(branch.job)))
    # Notes may have been added on the way.
    if changed := sorted(
        key for key in (told.keys() | now.keys()) - {"notes"} if told.get(key) != now.get(key)
    ):
        raise BadInput(
            f"output {out} is complete, and of another reduction: it differs in {', '.join(changed)}{of}; "
            "choose another folder, or add --overwrite (from Python: overwrite=True) to replace it"
        )
