"""A reduced run against its raw run: the same reduction again, with every frame compared, not written."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .. import backend as backends
from ..check import Report, files_of, reduction_of
from ..errors import BadInput
from ..keep import chosen, unread
from ..recipe import Recipe
from ..sources.base import Source
from ..table import FATES, Table
from ..write.cell_rows import TrainCells
from ..write.checksums import sha256_of, sha256_of_all
from ..write.journal import Journal
from ..write.ledger import Ledger, names_in, told_checksums
from ..write.output import SIDE
from ..write.overview import FILE_NAME as OVERVIEW
from ..write.part import Part, PartOfRun
from ..write.planes import planes_of
from .against_copies import changed_files, changed_frame_columns, changed_groups
from .flow import (
    BLOCK_BYTES,
    FROM_TABLE,
    Plan,
    open_constants,
    open_source,
    prepare,
    run_job,
    same_shots,
    write_measures,
)
from .job import Job
from .stored import StoredModule
from .views import Views

_SHOWN = 5  # faults of a kind that are named one by one


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
) -> Report:
    """Compare a reduced run with its raw run.

    Promise: exact. Every kept frame is compared bit for bit with what its source gives, the measures of the
    other shots are made again, and the rule is asked again. With a sample this is done for a share of the
    dropped shots, and the note says how many wrong decisions may be among the others.

    Parameters
    ----------
    report : Report
        Of `shotsieve.check.check`; faults and notes are added.
    run, constants, backend, progress, block_bytes
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
    stored = Table.open(side / "table.h5")
    chosen_backend = backends.get(backend)
    source = open_source(run, recipe)
    given = open_constants(recipe, constants, source.detector)
    job, _ = prepare(source, recipe, given, chosen_backend, force=True, block_bytes=block_bytes)
    views = Views(job)
    from_table = _compare_settings(job, side, report)
    _compare_inputs(source, report)
    if not same_shots(job.table, stored):
        report.faults.append(
            f"the run has {len(job.table)} shots, the output tells of {len(stored)}: they are not the same"
        )
        return report
    if sample < 1 and job.asks_all_shots:
        raise BadInput(
            "a sample cannot be checked: [derive] has columns that need every shot; leave --sample out"
        )
    kept, dropped = (stored.fate == FATES.index(fate) for fate in ("kept", "dropped"))
    asked = dropped & ~unread(stored)
    wanted = kept | (asked & _sampled(job, stored, sample, seed))
    job.source = job.source.selected(wanted)
    comparer = FrameComparer(job, report) if job.content is not None else None
    with tempfile.TemporaryDirectory() as folder:
        side, parts = Path(folder, "made"), [Part.whole(job.source)]
        side.mkdir()
        journal = Journal(Path(folder, "parts"), side, keeps=False)
        journal.begin({})
        sinks = None if comparer is None else lambda _: comparer
        run_job(job, chosen_backend, Plan(side, journal, sinks, parts, progress, block_bytes))
        if sample >= 1 and not from_table:
            write_measures(side, job)
            _compare_files(side, report)
            if report.ok:
                _compare_views(views, side, report)
    rows = job.source.readable
    _compare_tables(job.table.part(rows), stored.part(rows), report)
    again = np.zeros(len(stored), bool)
    again[rows] = True
    wrong = int((again & dropped & (job.table.fate == FATES.index("kept"))).sum())
    _note_wrong(report, wrong, int((again & asked).sum()), int(asked.sum()))
    return report


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
        if name != "table.h5" and (told is None or told["sha256"] != sha256_of(folder / name)):
            report.faults.append(f"{SIDE}/{name} is another one when it is made again")


def _compare_tables(now: Table, told: Table, report: Report) -> None:
    """Measures, columns, verdicts and fates of shots that were measured again."""
    arrays = [("module_status", now.module_status, told.module_status)]
    arrays += [("verdict", now.verdict, told.verdict), ("fate", now.fate, told.fate)]
    for kind in ("measures", "columns"):
        mine, theirs = getattr(now, kind), getattr(told, kind)
        arrays += [(name, mine.get(name), theirs.get(name)) for name in sorted(mine.keys() | theirs.keys())]
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


class FrameComparer:
    """Takes kept frames as a writer does, and compares them with those of a reduced run.

    Parameters
    ----------
    job : Job
    report : Report
        Faults are added to it.
    """

    def __init__(self, job: Job, report: Report) -> None:
        self.job, self.report, source = job, report, job.source
        self._trains = np.unique(source.shots.train_id)
        self.notes: list[str] = []
        self._stored: dict[int, StoredModule] = {}
        self._kept: dict[int, list[np.ndarray]] = {}
        self._wrong: dict[str, list[str]] = {}
        self._written = [m for m, module in enumerate(source.modules) if module in job.modules]
        for m in self._written:
            if paths := files_of(report.out, source.detector, source.modules[m]):
                self._stored[m] = StoredModule(paths, source.detector, self._key)
                self._kept[m] = []

    def _key(self, train: np.ndarray, within: np.ndarray) -> np.ndarray:
        """One number for train and pulse, or train and cell."""
        rank = np.searchsorted(self._trains, train).astype("u8")
        return rank << np.uint64(32) | (np.asarray(within).astype("u8") & np.uint64(0xFFFFFFFF))

    def append(
        self, shots: np.ndarray, present: np.ndarray, frames: Mapping[str, np.ndarray], peaks: Any = ()
    ) -> None:
        """Compare kept shots; see `KeptWriters.append`."""
        source = self.job.source
        within = source.shots.cell_id if source.detector.layout == "trains" else source.shots.pulse_id
        keys = self._key(source.shots.train_id[shots], within[shots])
        for m in self._written:
            at = np.flatnonzero(present[:, m])
            if m not in self._stored or not len(at):
                self._add("is kept by the rule, and its module has no file", m, shots[at])
                continue
            there, rows = self._stored[m].find(keys[at])
            self._add("is kept by the rule, and is not in the output", m, shots[at[~there]])
            self._kept[m].append(shots[at])
            for name, values in planes_of(source.detector, frames).items():
                differs = self._stored[m].differs(name, rows, values[at[there], m])
                self._add(f"{name} is not what its source gives", m, shots[at[there][differs]])

    def _add(self, what: str, m: int, shots: np.ndarray) -> None:
        table, module = self.job.table, self.job.source.modules[m]
        for shot in shots.tolist():
            name = f"module {module} train {table.train_id[shot]} pulse {table.pulse_id[shot]}"
            self._wrong.setdefault(what, []).append(name)

    def finish(self) -> list[Path]:
        """Say what was found, and which frames of the output no kept shot has."""
        for m, stored in self._stored.items():
            if not stored.seen.all():
                module = self.job.source.modules[m]
                self.report.faults.append(
                    f"module {module}: {int((~stored.seen).sum())} frames of the output are not kept by the "
                    "rule"
                )
        for what, names in self._wrong.items():
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            self.report.faults.append(f"{', '.join(names[:_SHOWN])}{more}: {what}")
        if not self._wrong and all(stored.seen.all() for stored in self._stored.values()):
            if self.job.recipe.write.others:
                self.report.faults += changed_files(self.report.out, self.job.source)
            for m, stored in self._stored.items():
                kept = np.concatenate([np.zeros(0, "i8"), *self._kept[m]])
                for file in stored.files:
                    self._compare_copies(m, file, kept, stored.cells)
        self.abort()
        return []

    def _compare_copies(self, m: int, file: h5py.File, kept: np.ndarray, cells: int) -> None:
        """What was copied beside the frames into a file of a module is still what the run has."""
        write, detector, faults = self.job.recipe.write, self.job.source.detector, self.report.faults
        source = PartOfRun.of(self.job.source, Part.with_trains(self.job.source, file["INDEX/trainId"][:]))
        by_train, raw = detector.layout == "trains", write.content == "raw"
        name = reduction_of(file, detector)
        if write.others:
            faults += changed_groups(file, source, m, name, raw)
        if not (raw or write.others):
            return
        rows = kept[(kept >= source.rows.start) & (kept < source.rows.stop)] - source.rows.start
        if write.drop_cells:
            places = TrainCells(source.shots, cells)
            places.add(rows)
            rows = places.shots_of_rows()
        elif by_train:
            rows = rows.reshape(-1, cells)
        where = f"INSTRUMENT/{name}/{detector.group}"
        faults += changed_frame_columns(file, where, source, m, rows, cells if by_train else None)

    def abort(self) -> None:
        """Close the files."""
        for stored in self._stored.values():
            stored.close()
