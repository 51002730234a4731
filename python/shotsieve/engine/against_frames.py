"""Kept frames that are made again, against those that stand in a reduced run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ..check import Report, files_of, reduction_of
from ..sources.parallel_gain import in_thirds
from ..write.cell_rows import TrainCells
from ..write.part import Part, PartOfRun
from ..write.planes import planes_of
from .against_copies import changed_files, changed_frame_columns, changed_groups
from .job import Job
from .stored import StoredModule
from .stored_lists import StoredLists
from .writers import whole_of_lists

if TYPE_CHECKING:
    from .passes import FramesOf

_SHOWN = 5  # faults of a kind that are named one by one


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
        self._lists: dict[int, StoredLists] = {}
        self._kept: dict[int, list[np.ndarray]] = {}
        self._wrong: dict[str, list[str]] = {}
        self._written = [m for m, module in enumerate(source.modules) if module in job.modules]
        for m in self._written:
            if paths := files_of(report.out, source.detector, source.modules[m]):
                self._stored[m] = StoredModule(paths, source.detector, self._key)
                if job.content == "photon_list":
                    self._lists[m] = StoredLists(paths, source.detector, self._key)
                self._kept[m] = []

    def _key(self, train: np.ndarray, within: np.ndarray) -> np.ndarray:
        """One number for train and pulse, or train and cell."""
        rank = np.searchsorted(self._trains, train).astype("u8")
        return rank << np.uint64(32) | (np.asarray(within).astype("u8") & np.uint64(0xFFFFFFFF))

    def append(self, shots: np.ndarray, present: np.ndarray, make: FramesOf, peaks: Any = ()) -> None:
        """Compare kept shots."""
        source, frames = self.job.source, make()
        by_cell = source.detector.layout == "trains" and source.detector.cell_key
        within = source.shots.cell_id if by_cell else source.shots.pulse_id
        keys = self._key(source.shots.train_id[shots], within[shots])
        whole = whole_of_lists(self.job, shots)
        for m in self._written:
            at = np.flatnonzero(present[:, m])
            if m not in self._stored or not len(at):
                self._add("is kept by the rule, and its module has no file", m, shots[at])
                continue
            if whole is not None:
                self._compare_lists(m, shots, at, frames)
                at = at[whole[at]]
            self._kept[m].append(shots[at])
            thirds = "raw" in frames and source.detector.encoding == "parallel"
            for copy in range(3 if thirds else 1):
                there, rows = self._stored[m].find(keys[at], copy)
                self._add("is kept by the rule, and is not in the output", m, shots[at[~there]])
                for name, values in planes_of(source.detector, frames).items():
                    mine = values[at[there], m]
                    differs = self._stored[m].differs(name, rows, mine[:, copy, None] if thirds else mine)
                    self._add(f"{name} is not what its source gives", m, shots[at[there][differs]])

    def _compare_lists(
        self, m: int, shots: np.ndarray, at: np.ndarray, frames: Mapping[str, np.ndarray]
    ) -> None:
        mine, every = shots[at], self.job.source.shots
        keys = self._key(every.train_id[mine], every.pulse_id[mine])
        there, wrong = self._lists[m].differs(keys, frames["data"][at, m], frames["mask"][at, m])
        self._add("is kept by the rule, and has no photon list in the output", m, mine[~there])
        for name, differs in wrong.items():
            self._add(f"{name} of the photon list is not what its source gives", m, mine[differs])

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
        for m, lists in self._lists.items():
            if not lists.seen.all():
                self.report.faults.append(
                    f"module {self.job.source.modules[m]}: {int((~lists.seen).sum())} photon lists of the "
                    "output are not kept by the rule"
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
        elif raw and detector.encoding == "parallel":
            rows = in_thirds(rows, source.shots.train_id[rows])
        where = f"INSTRUMENT/{name}/{detector.group}"
        faults += changed_frame_columns(file, where, source, m, rows, cells if by_train else None)

    def abort(self) -> None:
        """Close the files."""
        for stored in (*self._stored.values(), *self._lists.values()):
            stored.close()
