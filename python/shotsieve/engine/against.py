"""A reduced run against its raw run: the same reduction again, with every frame compared, not written."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import backend as backends
from ..check import Report
from ..errors import BadInput
from ..keep import chosen, unread
from ..recipe import Recipe
from ..sources.base import Source
from ..table import FATES, ModuleStatus, Table
from ..write.checksums import sha256_of, sha256_of_all
from ..write.journal import Journal
from ..write.ledger import Ledger, names_in, told_checksums
from ..write.output import SIDE
from ..write.overview import FILE_NAME as OVERVIEW
from ..write.part import Part
from .against_frames import FrameComparer
from .against_told import other_accounts, other_trains
from .branches import Branch, add_views, open_branches, run_branches
from .flow import BLOCK_BYTES, FROM_TABLE, Plan, begins_anew, same_shots, write_measures
from .job import Job
from .settings import TOLERANT
from .told_stages import stages_of_output, take_stored
from .views import Views

_SHOWN = 5  # faults of a kind that are named one by one


@begins_anew
def check_against(
    report: Report,
    run: Any,
    *,
    constants: Any = None,
    recipe_folder: Path = Path(),
    backend: str = "auto",
    sample: float = 1.0,
    seed: int = 0,
    progress: Callable[[int, int, int], None] | None = None,
    block_bytes: int = BLOCK_BYTES,
    stages: Any = (),
) -> Report:
    """Compare a reduced run with its raw run.

    Promise: exact. Every kept frame is compared bit for bit with what its source gives, the measures of the
    other shots are made again, and the rule is asked again. With a sample this is done for a share of the
    dropped shots, and the note says how many wrong decisions may be among the others.

    Parameters
    ----------
    report : Report
        Of `shotsieve.check.check`; faults and notes are added.
    run, constants, backend, progress, block_bytes, stages
        As for `shotsieve.reduce`.
    recipe_folder : Path
        What relative paths in the recipe are relative to.
    sample : float
        Share of the dropped shots that are measured again, chosen by train and pulse alone.
    seed : int
        Of that choice.

    Returns
    -------
    Report
        The same.

    Raises
    ------
    BadInput, UnreadableData
        As `shotsieve.reduce`.
    """
    side = report.out / SIDE
    recipe = Recipe.load(side / "recipe.toml", folder=recipe_folder)
    chosen_backend = backends.get(backend)
    told = json.loads((side / "settings.json").read_text(encoding="utf-8"))
    branches = open_branches(
        run,
        recipe,
        constants,
        chosen_backend,
        force=True,
        block_bytes=block_bytes,
        tolerant=bool(told.get(TOLERANT)) and not isinstance(run, Source),
        stages=stages_of_output(side, recipe, stages),
    )
    add_views(branches)
    if sample < 1 and (branches[0].job.asks_all_shots or len(branches) > 1):
        why = "[derive] has columns that need" if len(branches) == 1 else "what several detectors tell needs"
        raise BadInput(f"a sample cannot be checked: {why} every shot; leave --sample out")
    compared = [_Compared.of(branch, report.out) for branch in branches]
    for one in compared:
        one.select(sample, seed)
    if not any(one.of_other_shots for one in compared):
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder, "made")
            made.mkdir()
            journal = Journal(Path(folder, "parts"), made, keeps=False)
            journal.begin({})
            plans = [one.plan(made, journal, progress, block_bytes) for one in compared]
            run_branches(branches, chosen_backend, plans)
            if sample >= 1 and not compared[0].from_table:
                for branch in branches:
                    write_measures(branch.side(made), branch.job)
                _compare_files(made, compared[0].report)
                if report.ok and all(one.report.ok for one in compared):
                    for one in compared:
                        _compare_views(one.branch.views, made, one.report)
        for one in compared:
            one.compare_tables()
    for one in compared:
        report.take(one.branch.label, one.report)
    return report


@dataclass
class _Compared:
    """One detector of an output while it is made again.

    Attributes
    ----------
    branch : Branch
    report : Report
        Of it alone.
    stored : Table
        Of the output.
    from_table : bool
        Whether its measures were taken from a table.
    of_other_shots : bool
        Whether the output tells of other shots than the run has: nothing more can be compared then.
    kept, dropped, asked : ndarray of bool, shape (S,)
        As the output tells; dropped shots that were read.
    """

    branch: Branch
    report: Report
    stored: Table
    from_table: bool
    of_other_shots: bool
    kept: np.ndarray
    dropped: np.ndarray
    asked: np.ndarray

    @classmethod
    def of(cls, branch: Branch, out: Path) -> _Compared:
        """Compare what is known before anything is read."""
        job, report, side = branch.job, Report(out), branch.side(out / SIDE)
        stored = Table.open(side / "table.h5")
        from_table = _compare_settings(job, side, report)
        _compare_inputs(job.source, report)
        others = not same_shots(job.table, stored)
        if others:
            report.faults.append(
                f"the run has {len(job.table)} shots, the output tells of {len(stored)}: they are not the "
                "same"
            )
        else:
            report.faults += other_accounts(job, stored, side)
            if job.content is not None:
                report.faults += other_trains(job, stored, out)
        kept, dropped = (stored.fate == FATES.index(fate) for fate in ("kept", "dropped"))
        return cls(branch, report, stored, from_table, others, kept, dropped, dropped & ~unread(stored))

    def select(self, sample: float, seed: int) -> None:
        """Read kept shots, those that are said to be unreadable, and a share of the dropped ones alone."""
        if self.of_other_shots:
            return
        self.report.notes += take_stored(self.branch.job, self.stored)
        job, stored = self.branch.job, self.stored
        lost = stored.fate == FATES.index("unreadable")
        again = self.asked & _sampled(job, stored, sample, seed)
        job.source = job.source.selected(self.kept | lost | again)
        if (losses := getattr(job.source, "losses", None)) is not None:
            # Of a module that lost one frame the others could be read, and these alone may be asked for.
            partly = (stored.module_status == ModuleStatus.UNREADABLE).any(axis=1)
            losses.doubt(stored.train_id[partly])

    def plan(self, made: Path, journal: Journal, progress: Any, block_bytes: int) -> Plan:
        """Say where what is made again goes: measures into a folder, frames into a comparison."""
        job, side = self.branch.job, self.branch.side(made)
        side.mkdir(exist_ok=not self.branch.label)
        comparer = FrameComparer(job, self.report) if job.content is not None else None
        sinks = None if comparer is None else lambda *_: comparer
        parts = [Part.whole(job.source)]
        return Plan(side, journal, sinks, parts, progress, block_bytes, prefix=self.branch.step_prefix)

    def compare_tables(self) -> None:
        """Compare the table that was made again with that of the output."""
        job, rows = self.branch.job, self.branch.job.source.readable
        _compare_tables(job.table.part(rows), self.stored.part(rows), self.report)
        again = np.zeros(len(self.stored), bool)
        again[rows] = True
        wrong = int((again & self.dropped & (job.table.fate == FATES.index("kept"))).sum())
        _note_wrong(self.report, wrong, int((again & self.asked).sum()), int(self.asked.sum()))


def upper_limit(wrong: int, of: int, confidence: float = 0.95) -> float:
    """Return the largest share that is compatible with so many wrong ones in a random sample.

    Parameters
    ----------
    wrong, of : int
    confidence : float

    Returns
    -------
    float
        0 to 1; one-sided.

    Notes
    -----
    Clopper and Pearson, Biometrika 26 (1934) 404: the share at which so few or fewer would be found with a
    probability of 1 - confidence.

    Examples
    --------
    >>> round(upper_limit(0, 300), 4), upper_limit(3, 3)
    (0.0099, 1.0)
    """
    if wrong >= of:
        return 1.0

    def probability(share: float) -> float:
        logs = (
            math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1)
            + k * math.log(share) + (of - k) * math.log1p(-share)
            for k in range(wrong + 1)
        )  # fmt: skip
        return sum(map(math.exp, logs))

    low, high = wrong / of, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if probability(middle) > 1 - confidence else (low, middle)
    return high


def _sampled(job: Job, table: Table, sample: float, seed: int) -> np.ndarray:
    """Choose shots; where rows of cells or trains are decided as one, these."""
    if job.source.detector.keep_unit == "train":
        return chosen(sample, seed, table.train_id, np.zeros_like(table.pulse_id))
    return chosen(sample, seed, *job.keeper.units(table, np.arange(len(table))))


def _compare_settings(job: Job, side: Path, report: Report) -> bool:
    """Whether measures were taken from a table; what else the output was made from is what is there now."""
    told = json.loads((side / "settings.json").read_text(encoding="utf-8"))
    now = json.loads(json.dumps({"unit": job.unit, **job.settings}))
    for key in sorted((told.keys() | now.keys()) - {"notes", FROM_TABLE}):
        if told.get(key) != now.get(key):
            report.faults.append(f"{key} is {_short(now.get(key))}, the output says {_short(told.get(key))}")
    return FROM_TABLE in told


def _compare_inputs(source: Source, report: Report) -> None:
    """The files of the run have the checksums that the ledger tells, where it tells any."""
    told = told_checksums(Ledger.load(report.out).inputs)
    if not told:
        return
    for name, text in zip(source.files, sha256_of_all(source.paths), strict=True):
        if name in told and told[name] != text:
            report.faults.append(f"the input {name} is not what it was: its checksum is another")


def _compare_views(views: Views, folder: Path, report: Report) -> None:
    """Files that show the others are what they are when they are made again over the files of the output."""
    listed = Ledger.load(report.out).files
    files = sorted(report.out / name for name in listed if "/" not in name and name != OVERVIEW)
    for path in views.write(folder, files):
        if path.name not in listed or listed[path.name]["sha256"] != sha256_of(path):
            report.faults.append(f"{path.name} is another one when it is made again")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _compare_files(folder: Path, report: Report) -> None:
    """Files of measures are those of the output, to the byte."""
    listed = Ledger.load(report.out).files
    for name in names_in(folder):
        told = listed.get(f"{SIDE}/{name}")
        if Path(name).name != "table.h5" and (told is None or told["sha256"] != sha256_of(folder / name)):
            report.faults.append(f"{SIDE}/{name} is another one when it is made again")


def _compare_tables(now: Table, told: Table, report: Report) -> None:
    """Measures, columns, verdicts and fates of shots that were measured again."""
    arrays = [("module_status", now.module_status, told.module_status)]
    arrays += [("verdict", now.verdict, told.verdict), ("fate", now.fate, told.fate)]
    for kind in ("measures", "columns"):
        mine, theirs = getattr(now, kind), getattr(told, kind)
        arrays += [(name, mine.get(name), theirs.get(name)) for name in sorted(mine.keys() | theirs.keys())]
    for name in sorted(now.joined.keys() | told.joined.keys()):
        ends = (one.joined.get(name) for one in (now, told))
        arrays += [(name, *(None if pair is None else np.stack(pair, 1) for pair in ends))]
    for name, mine, theirs in arrays:
        if mine is None or theirs is None:
            report.faults.append(f"the column {name} is {'not made' if mine is None else 'not in the table'}")
            continue
        differs = (mine != theirs) & ~((mine != mine) & (theirs != theirs))
        shots = np.flatnonzero(differs.reshape(len(now), -1).any(axis=1))
        if len(shots):
            report.faults.append(f"{name} of {len(shots)} shots is another: {_named(now, shots)}")


def _named(table: Table, shots: np.ndarray) -> str:
    keys = (f"train {table.train_id[s]} pulse {table.pulse_id[s]}" for s in shots[:_SHOWN])
    return ", ".join(keys) + (" ..." if len(shots) > _SHOWN else "")


def _note_wrong(report: Report, wrong: int, again: int, all_: int) -> None:
    text = f"{again:,} of {all_:,} dropped shots were measured again: {wrong:,} of them should have been kept"
    if 0 < again < all_:
        limit = 100 * upper_limit(wrong, again)
        text += f"; at most {limit:.3g} % of the dropped shots are wrong (95 % confidence)"
    report.notes.append(text)
