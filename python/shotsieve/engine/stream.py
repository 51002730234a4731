"""Blocks of shots from anywhere, one after the other: what the embedded engine works on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..keep import PROBABILITY
from ..peak_list import PeakList
from ..peak_list_build import PeakListBuilder
from ..sources.base import lost_of
from ..table import Table
from .blocks import BlockRunner, Slot
from .clock import READ
from .job import leave_out_gain
from .lent import LentMemory
from .profiles import ProfileJob
from .regions import RegionJob

if TYPE_CHECKING:
    from ..backend import Backend
    from ..select import Selection
    from ..sources.base import Source
    from ..write.content import FrameForm
    from .job import Job
    from .passes import FramesOf


@dataclass(frozen=True)
class Block:
    """Raw words of some shots, from wherever they come: whole trains of detectors that are kept by trains.

    Attributes
    ----------
    raw : array of uint16, shape (n, M, planes, ss, fs)
        As the detector gives them: AGIPD has two planes, image and gain. Frames that are calibrated already
        are put into this form by `shotsieve.pack_corrected`. NumPy, or with the backend ``cuda``
        any C-contiguous array on the GPU that has ``__cuda_array_interface__`` (CuPy); it must stay as it is
        until the result is there, and so must words in memory from `Engine.lend`. All others are copied.
    train_id : int, or array of int, shape (n,)
    pulse_id, cell_id : array of int, shape (n,)
    present : array of bool, shape (n, M), optional
        Which modules recorded a shot; by default all.
    columns : mapping of str to array of float64 (n,), optional
        Values of the columns that the engine was told of; NaN is unknown.

    Examples
    --------
    >>> Block(np.zeros((2, 1, 2, 512, 128), "u2"), 1000, [0, 4], [0, 1]).raw.shape
    (2, 1, 2, 512, 128)
    """

    raw: Any
    train_id: Any
    pulse_id: Any
    cell_id: Any
    present: Any = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.cell_id)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Copy some shots to host memory, as many planes as fit; absent frames may be anything."""
        words = np.asarray(self.raw)[:, :, : out.shape[2]]
        for first, last, at in _ranges(rows):
            np.copyto(out[at : at + last - first], words[first:last])


def blocks_of(
    source: Source, most: int, columns: Mapping[str, np.ndarray], whole_trains: bool = False
) -> Iterator[Block]:
    """Yield the readable shots of a run as blocks of at most so many; they are read late, in the reader."""
    detector, shots = source.detector, source.shots
    shot_bytes = 2 * len(source.modules) * detector.plane_count * int(np.prod(detector.shape))
    for start, stop in source.cuts(most * shot_bytes):
        train = shots.train_id[source.readable[start:stop]]
        after = shots.train_id[source.readable[stop : stop + 1]]
        whole = whole_trains or detector.keep_unit == "train"
        split = whole and len(after) and train[-1] == after[0]
        if stop - start > most or split:
            needed = int(np.unique(shots.train_id[source.readable], return_counts=True)[1].max())
            raise BadInput(
                f"{source.name}: {max(needed, stop - start)} shots have to stay together, and a slot of this "
                f"engine has room for {most}: make it with block_shots={max(needed, stop - start)}"
            )
        rows = source.readable[start:stop]
        yield _Read(
            None,
            shots.train_id[rows],
            shots.pulse_id[rows],
            shots.cell_id[rows],
            shots.present[rows],
            {name: values[rows] for name, values in columns.items()},
            source,
            start,
        )


@dataclass(frozen=True)
class _Read(Block):
    """A block that is still in the files of a run."""

    source: Source | None = None
    start: int = 0

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        for first, last, at in _ranges(rows):
            part, planes = out[at : at + last - first], self.source.detector.plane_count
            words = part
            if planes != part.shape[2]:  # a source of somebody else's, which reads all of them
                words = np.empty((*part.shape[:2], planes, *part.shape[3:]), "u2")
            self.source.read(self.start + first, self.start + last, words)
            if words is not part:
                np.copyto(part, words[:, :, : out.shape[2]])

    def lost(self, rows: np.ndarray) -> np.ndarray | None:
        """Return which frames of some shots could not be read; None where that is an error."""
        return lost_of(self.source, self.source.readable[self.start + rows])


def _ranges(rows: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Cut ascending numbers into ranges without gaps: first, last + 1, and the place of the first."""
    edges = np.flatnonzero(np.diff(rows) != 1) + 1
    for at, part in zip([0, *edges.tolist()], np.split(rows, edges), strict=True):
        if len(part):
            yield int(part[0]), int(part[-1]) + 1, at


@dataclass(frozen=True)
class Profiles:
    """Profiles of the shots of a block.

    Attributes
    ----------
    axis, unit : str
        ``"q"`` and ``"1/A"``, for instance.
    centres : ndarray of float64, shape (bins,)
    intensity, errors : ndarray of float64, shape (n, bins)
        NaN where nothing is known.
    pixels : ndarray of int64, shape (n, bins)
        That were used.
    """

    axis: str
    unit: str
    centres: np.ndarray
    intensity: np.ndarray
    errors: np.ndarray
    pixels: np.ndarray


@dataclass(frozen=True)
class BlockResult:
    """What the engine says of a block.

    Attributes
    ----------
    table : Table
        One row per shot of the block, in its order: keys, measures, columns, verdict and fate.
    kept : ndarray of int64, shape (k,)
        Rows of the kept shots.
    frames : dict of str to ndarray
        Of the kept shots, as the recipe's [write] content says: ``data`` float32 (photons: uint16 or uint8),
        ``gain`` uint8 and ``mask`` uint32, (k, M, ss, fs), or ``raw`` uint16, (k, M, planes, ss, fs). Without
        [write] there are none. M: `Engine.modules`, all or those of [write] modules.
    present : ndarray of bool, shape (k, M), or None
        Which of those frames were recorded; the others hold nothing.
    peaks : PeakList or None
        Of all shots.
    profiles : Profiles or None
    projections : dict of str to (ndarray, ndarray)
        Of regions with an axis: sums and pixels, (n, places).
    """

    table: Table
    kept: np.ndarray
    frames: dict[str, np.ndarray] = field(default_factory=dict)
    present: np.ndarray | None = None
    peaks: PeakList | None = None
    profiles: Profiles | None = None
    projections: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


class _Kept:
    """Takes kept frames instead of a file; `append` of `shotsieve.engine.passes.FrameSink` alone.

    Parameters
    ----------
    form : FrameForm
    shape : tuple of int
        (modules, planes, ss, fs) of the raw words of a shot.
    modules : ndarray of int, shape (m,), or None
        Places of the modules that are wanted; None: all.
    """

    def __init__(self, form: FrameForm, shape: tuple[int, ...], modules: np.ndarray | None = None) -> None:
        self.modules = modules
        shape = shape if modules is None else (len(modules), *shape[1:])
        image = (0, shape[0], *shape[2:])
        dtypes = {"data": form.dtype, "gain": "u1", "mask": "u4"}
        self._none = {name: np.zeros(image, dtype) for name, dtype in dtypes.items()}
        if form.content == "raw":
            self._none = {"raw": np.zeros((0, *shape), "u2")}
        self.parts: list[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]] = []

    def append(self, shots: np.ndarray, present: np.ndarray, make: FramesOf, peaks: Any = ()) -> None:
        frames = make()
        if self.modules is not None:  # a choice by numbers copies
            present = present[:, self.modules]
            frames = {name: values[:, self.modules] for name, values in frames.items()}
        else:  # pixels and masks may lie in buffers that are filled again; all else was made for this call
            frames = {**frames, **{name: frames[name].copy() for name in ("data", "mask") if name in frames}}
        self.parts.append((shots, present, frames))

    def take(self) -> dict[str, Any]:
        """Return what has come, for a `BlockResult`."""
        parts, self.parts = self.parts, []
        if not parts:
            modules = next(iter(self._none.values())).shape[1]
            parts = [(np.zeros(0, "i8"), np.zeros((0, modules), bool), self._none)]
        shots, present, frames = zip(*parts, strict=True)
        joined = {name: _joined([one[name] for one in frames]) for name in frames[0]}
        return {"kept": _joined(shots), "present": _joined(present), "frames": joined}


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return parts as one array; a single part as it is, since frames are large."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


class _Rows:
    """Takes rows instead of the files of profiles and projections, which name what they append or do not."""

    def __init__(self) -> None:
        self.parts: dict[str, list[tuple[np.ndarray, ...]]] = {}

    def append(self, *told: Any) -> None:
        """Take ``(keys, *arrays)`` of profiles, or ``(name, keys, *arrays)`` of a projection."""
        name, arrays = (told[0], told[2:]) if isinstance(told[0], str) else ("", told[1:])
        self.parts.setdefault(name, []).append(tuple(np.array(values) for values in arrays))

    def take(self, name: str, n: int, at: np.ndarray) -> tuple[np.ndarray, ...] | None:
        """Return the rows that have come under a name, of shots `at`, among those of all n shots."""
        parts = self.parts.pop(name, [])
        if not parts:
            return None
        whole = []
        for column in zip(*parts, strict=True):
            rows = np.concatenate(column)
            nothing = np.nan if rows.dtype.kind == "f" else 0
            whole.append(np.full((n, rows.shape[1]), nothing, rows.dtype))
            whole[-1][at] = rows
        return tuple(whole)


class StreamRunner(BlockRunner):
    """The steps of the ring for blocks that come from anywhere; each gets a table of its own.

    Parameters
    ----------
    job : Job
        Made for one shot of every memory cell.
    backend : Backend
    block_shots : int
        Shots of the largest block.
    selection : Selection or None
        Which shots are read at all.

    Attributes
    ----------
    frame_shape : tuple of int
        (modules, planes, ss, fs) of the raw words of a shot, as they come; only `planes` go to the device.
    """

    def __init__(self, job: Job, backend: Backend, block_shots: int, selection: Selection | None) -> None:
        detector = job.source.detector
        self.frame_shape = (len(job.source.modules), detector.plane_count, *detector.frame_shape)
        self.modules_out = job.source.modules
        at = None
        if job.form is not None and job.recipe.write.modules is not None:
            self.modules_out, at = job.modules, np.searchsorted(job.source.modules, job.modules)
        self.kept = None if job.form is None else _Kept(job.form, self.frame_shape, at)
        leave_out_gain(job)
        super().__init__(job, backend, self.kept, block_shots)
        self.selection = selection
        self.lent = LentMemory(backend.device, self.frame_shape)
        self.empty, self.rows_seen = job.table.part(slice(0, 0)), _Rows()
        for part in job.pixel_jobs:
            if isinstance(part, (ProfileJob, RegionJob)):
                part.rows_go_to(self.rows_seen)

    def fill(self, slot: Slot, block: Block) -> None:
        """Take the shots of a block that are to be looked at into a slot."""
        slot.table = table = self._table_of(block)
        wanted = np.ones(len(table), bool) if self.selection is None else self.selection.wanted(table)
        slot.shots_in = np.flatnonzero(wanted)
        table.set_fate(~wanted, "dropped")
        table.set_verdict(~wanted, 0)
        if PROBABILITY in table.columns:
            table.columns[PROBABILITY][~wanted] = 0.0
        present = np.ones((len(table), self.modules), bool)
        if block.present is not None:
            present[:] = block.present
        slot.present = present[slot.shots_in]
        self.describe(slot, table.train_id[slot.shots_in], table.cell_id[slot.shots_in])
        n = len(slot.shots_in)
        slot.given = slot.lost = None
        slot.raw = slot.own_raw
        if hasattr(block.raw, "__cuda_array_interface__"):
            slot.given = self.device.own(block.raw, slot.stream)
        elif n:
            with self.clock.step(READ), slot.times.host(READ):
                out = slot.raw[:n].reshape(n, self.modules, self.planes, *self.frame_shape[2:])
                if n == len(block) and self.lent.holds(block.raw):
                    out, slot.raw = block.raw, block.raw.reshape(n, self.modules, -1, self.pixels)
                else:
                    block.read(slot.shots_in, out)
            if isinstance(block, _Read):
                slot.lose(block.lost(slot.shots_in))
            self.look_at(slot, out)

    def _table_of(self, block: Block) -> Table:
        """Return an empty table for the shots of a block."""
        n, empty = len(block), self.empty
        train = np.broadcast_to(np.asarray(block.train_id, "u8"), (n,))
        table = Table(train, block.pulse_id, block.cell_id, empty.modules, empty.module_pixels)
        for name in empty.measures:
            table.declare_measure(name)
        for name in empty.columns:
            table.add_column(name, block.columns.get(name, np.full(n, np.nan)))
        table.meanings = dict(empty.meanings)
        return table

    def submit(self, slot: Slot, block: Block) -> None:
        """Queue the work of a block; raw words on the device come to the host even where there is no work."""
        n = len(slot.shots_in)
        if slot.given is not None and n and not self.on_device:
            self.upload(slot, n)
        super().submit(slot, block)

    def upload(self, slot: Slot, n: int) -> None:
        """Queue the copy of raw words to the device, unless they are there already."""
        every = self.frame_shape[1] // self.planes
        if slot.given is None and slot.raw.shape[2] == self.planes:
            super().upload(slot, n)
            return
        raw, rows = (slot.raw, np.arange(n)) if slot.given is None else (slot.given, slot.shots_in)
        for first, last, at in _ranges(rows):
            frames = (last - first) * self.modules
            target = slot.device_raw[at : at + last - first].reshape(frames, self.planes * self.pixels)
            words = raw[first:last].reshape(frames * every, self.planes * self.pixels)
            self.device.copy(target, words, slot.stream, every)
        if self.job.content == "raw" or (self.corrected and self.job.content is not None):
            self.device.to_host(slot.raw[:n], slot.device_raw[:n], slot.stream)

    def collect(self, slot: Slot, block: Block) -> BlockResult:
        """Wait for a block and return what was found."""
        job, table = self.job, slot.table
        job.table = table
        # Of a block that failed something may be left.
        self.rows_seen.parts.clear()
        if self.kept is not None:
            self.kept.parts.clear()
        if job.peaks is not None:
            found, source = job.peaks.found, job.source
            keys = (table.train_id, table.pulse_id, table.cell_id)
            job.peaks.found = PeakListBuilder(
                *keys, source.modules, source.detector.shape, job.unit, found.panels
            )
        for part in job.pixel_jobs:
            part.begin(table)
        if slot.given is not None:
            self.device.wait(self.device.record(slot.stream))  # for raw words that come back
        super().collect(slot, block)
        slot.given = None
        return self._result(slot)

    def _result(self, slot: Slot) -> BlockResult:
        job, table, n = self.job, slot.table, len(slot.table)
        looked_at = slot.shots_in[(slot.present & (slot.rows >= 0)).any(axis=1)]
        taken = {"kept": np.flatnonzero(table.fate == 0)} if self.kept is None else self.kept.take()
        profiles, projections = None, {}
        for part in job.pixel_jobs:
            if isinstance(part, ProfileJob) and part.section.per_shot:
                plan, rows = part.plan, self.rows_seen.take("", n, looked_at)
                if rows is None:
                    bins = (n, len(plan.centres))
                    rows = (np.full(bins, np.nan), np.full(bins, np.nan), np.zeros(bins, "i8"))
                profiles = Profiles(plan.axis, plan.params.unit, plan.centres, *rows)
            elif isinstance(part, RegionJob):
                for name, one in part.projections.items():
                    nothing = np.full((n, len(one.places)), np.nan)
                    projections[name] = self.rows_seen.take(name, n, looked_at) or (nothing, nothing.copy())
        peaks = None if job.peaks is None else job.peaks.found.finish()
        return BlockResult(table, peaks=peaks, profiles=profiles, projections=projections, **taken)
