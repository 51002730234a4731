"""Whether an interrupted reduction is the one that is asked for, and a complete one that stands already."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..accounts import Accounts
from ..errors import BadInput
from ..table import Table
from ..write.ledger import Ledger
from ..write.output import SIDE
from .result import Result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..backend import Backend
    from ..write.part import Part
    from .job import Job


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
        "dates of the files of the run": [path.stat().st_mtime_ns for path in source.paths],
        # Nobody can tell whether that gives the same words again.
        "frames of a source in memory": None if source.paths else uuid.uuid4().hex,
        "parts": [[part.trains.start, part.trains.stop] for part in parts],
        "force": force,
        "backend": backend.name if job.pixel_jobs or job.pump is not None else None,
    }


def standing(out: Path, job: Job) -> Result:
    """Return an output that is complete already.

    Raises
    ------
    BadInput
        If it was made from something else than the job.
    """
    side = out / SIDE
    told = json.loads((side / "settings.json").read_text(encoding="utf-8"))
    now = json.loads(json.dumps(settings_of(job)))
    # Notes may have been added on the way.
    if changed := sorted(
        key for key in (told.keys() | now.keys()) - {"notes"} if told.get(key) != now.get(key)
    ):
        raise BadInput(
            f"output {out} is complete, and of another reduction: it differs in {', '.join(changed)}; choose "
            "another folder, or add --overwrite (from Python: overwrite=True) to replace it"
        )
    ledger = Ledger.load(out)
    accounts = Accounts.from_json((side / "accounts.json").read_text(encoding="utf-8"))
    files = [out / name for name in ledger.files if "/" not in name]
    return Result(out, files, Table.open(side / "table.h5"), accounts, ledger.digest, {})
