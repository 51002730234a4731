"""A run on disk as a source of shots."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from .. import detectors
from ..cpus import usable_cpus
from ..errors import BadInput, UnreadableData
from .annotate import AnnotateParams
from .base import OperatingMode, ShotStatus, Source, cut_ranges, identity, rows_together
from .beside import Beside
from .choose import choose, modules_text
from .exdf import DAMAGE, RunFile, opened, reason, train_text
from .extents import FrameMap, map_frames, read_frames
from .inputs import Inputs, find_inputs, without_folder
from .litframes import LitFrames
from .losses import Frames, Losses
from .memory import check_out
from .mode import read_mode
from .plan import Part, Plan, build_plan
from .pulses import PulseReader, Unknown

# Layouts kept at a time; one holds 8 bytes per chunk of a file.
MAX_MAPS = 1024


def open_run(
    run, detector=None, source: str | None = None, *, threads: int | None = None, tolerant: bool = False
) -> Source:
    """Open a raw run.

    Parameters
    ----------
    run : path-like, sequence of path-like, DataCollection or detector component
        The folder of a run, files of it, or an object of EXtra-data, whose selection of trains (and for a
        component of modules) is respected.
    detector : str or Detector, optional
        Detector family, e.g. ``"AGIPD1M"``; found by itself.
    source : str, optional
        Name of the detector, e.g. ``"SPB_DET_AGIPD1M-1"``; needed where a run holds several.
    threads : int, optional
        Threads of each reading call; by default as many as the process may use.
    tolerant : bool
        What cannot be read is no error but a loss: files are left out, with a note, and a module of which a
        frame of a train is damaged, cut off or was never written has no data in that train (`losses`).

    Returns
    -------
    Source
        With every shot of the run in `shots`, odd ones with their status, and in words in `notes`.

    Raises
    ------
    BadInput
        When there is no such run, no raw detector data, or several detectors to choose from.
    UnreadableData
        When a file cannot be read; the text names it, and the trains it affects.

    Notes
    -----
    Promise: exact.

    Examples
    --------
    >>> run = open_run("raw/r0035")    # doctest: +SKIP
    >>> len(run.shots), run.notes    # doctest: +SKIP
    (3520, [])
    """
    inputs = find_inputs(run, tolerant)
    found = choose(inputs, detector, source)
    return RunSource(inputs, found, threads or usable_cpus(), tolerant)


@dataclass(frozen=True)
class _Piece:
    """One module's data in one file, as `RunSource.read` needs it."""

    file: RunFile
    group: str
    frames: int


class RunSource:
    """The shots of one detector in a run; made by `open_run`. See `Source` for what it offers."""

    def __init__(self, inputs: Inputs, found: detectors.Found, threads: int, tolerant: bool = False) -> None:
        d = self.detector = found.detector
        self.name = found.name
        self.threads = threads
        self.notes = list(inputs.notes)
        self.paths = [file.path for file in inputs.files]
        self._as_opened = {path: identity(path) for path in self.paths}
        there = detectors.match({s for f in inputs.files for s in f.instrument})
        frames = {name for f in there for name in f.modules.values()}
        self.others = [file.path for file in inputs.files if not frames & set(file.instrument)]
        self.files = [f"{file.path.name} ({file.path.stat().st_size} bytes)" for file in inputs.files]
        self.modules = d.modules or tuple(found.modules)
        self.raw_names = dict(found.modules)
        if strange := [m for m in found.modules if m not in self.modules]:
            raise BadInput(
                f"{found.modules[strange[0]]}: {d.name} has modules {self.modules[0]} to {self.modules[-1]}"
            )
        parts: list[Part] = []
        self._pieces: list[list[_Piece]] = [[] for _ in self.modules]
        used: list[RunFile] = []
        for module, name in found.modules.items():
            at = self.modules.index(module)
            for file in inputs.files:
                if name in file.instrument and (
                    inputs.detector_files is None or file.path in inputs.detector_files
                ):
                    try:
                        part = _read_part(d, file, name, at, inputs.trains)
                    except UnreadableData as e:
                        if not tolerant:
                            raise
                        self.notes.append(f"{without_folder(e, file.path)}: module {module} left out of it")
                        continue
                    parts.append(part)
                    self._pieces[at].append(_Piece(file, f"INSTRUMENT/{name}/{d.group}", part.frames))
                    used.append(file)
        self._note_modules(inputs, found)
        self._note_trains(inputs, used)
        first = min((part.module for part in parts), default=None)
        self.sequences = [int(p.train_id.min()) for p in parts if p.module == first and len(p.train_id)]
        self._plan: Plan = build_plan(parts, self.modules)
        self.notes += self._plan.notes
        self.shots, self.trains = self._plan.shots, self._plan.trains
        if d.keep_unit == "train":
            self._reject_whole_trains()
        self.beside = Beside(
            d,
            [self.raw_names.get(module, "") for module in self.modules],
            [[piece.file for piece in pieces] for pieces in self._pieces],
            [[piece.frames for piece in pieces] for pieces in self._pieces],
            self._plan,
            frames,
            self.notes,
        )
        self.missing_shots = self._plan.missing_shots
        self.readable = np.flatnonzero(self.shots.status == ShotStatus.OK).astype(np.int64)
        self.meta = used[0].meta
        self.mode, notes = read_mode(inputs.files, d, self.name, found.modules.values())
        self.notes += notes
        self._files = inputs.files
        self._read_bytes = [0]  # shared with what is selected from this source
        self._columns: dict[str, dict[str, np.ndarray]] = {}
        self._maps: OrderedDict[tuple[str, str], FrameMap] = OrderedDict()
        self._slow: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self.losses = Losses(self.shots) if tolerant else None

    def columns(
        self, params: AnnotateParams | None = None, mode: OperatingMode | None = None
    ) -> dict[str, np.ndarray]:
        """What the machine knows of every shot (float64, shape (S,)); see `PulseReader.columns`."""
        reader = self._pulses(params, mode)
        key = repr((reader.params, reader.mode))
        if key not in self._columns:
            self._columns[key] = reader.columns()
            self._note(reader.notes)
        return dict(self._columns[key])

    def lit_frames(
        self,
        params: AnnotateParams | None = None,
        mode: OperatingMode | None = None,
        cells: int | None = None,
    ) -> LitFrames | Unknown:
        """What every frame of every train has seen; see `PulseReader.lit_frames`."""
        reader = self._pulses(params, mode)
        found = reader.lit_frames(cells)
        self._note(reader.notes)
        return found

    def _note(self, notes: list[str]) -> None:
        """Add what was not said before."""
        self.notes += [note for note in notes if note not in self.notes]

    @property
    def bytes_read(self) -> int:
        """Bytes of frames that were asked of the files so far; of compressed ones, those that came out."""
        return self._read_bytes[0]

    def _pulses(self, params: AnnotateParams | None, mode: OperatingMode | None) -> PulseReader:
        params, mode = params or AnnotateParams(), mode or self.mode
        return PulseReader(self._files, self.detector, self.name, mode, self.shots, params, [])

    def selected(self, wanted: np.ndarray) -> RunSource:
        """Return this source with only those shots readable that are wanted, bool (S,)."""
        other = copy.copy(self)
        other.readable = self.readable[wanted[self.readable]]
        return other

    def changed(self) -> list[str]:
        """Names of input files that are gone or were written since the run was opened."""
        return [path.name for path, told in self._as_opened.items() if identity(path) != told]

    def cuts(self, max_bytes: int) -> list[tuple[int, int]]:
        """Ranges of `readable` of at most `max_bytes` raw bytes; see `cut_ranges`."""
        ss, fs = self.detector.shape
        shot_bytes = 2 * len(self.modules) * self.detector.plane_count * ss * fs
        train, cell = (ids[self.readable] for ids in (self.shots.train_id, self.shots.cell_id))
        return cut_ranges(train, rows_together(self.detector, cell), shot_bytes, max_bytes)

    def read(self, start: int, stop: int, out: np.ndarray) -> None:
        """Fill `out`, uint16 (stop - start, M, planes, ss, fs), with the words of ``readable[start:stop]``.

        Frames of absent modules are left untouched. May be called from several threads.

        Raises
        ------
        UnreadableData
            Names file, dataset and trains; what `out` holds then is undefined.
        """
        index = self.readable[start:stop]
        d = self.detector
        check_out(out, (len(index), len(self.modules), d.plane_count, *d.shape))
        lost = None if self.losses is None else self.losses.look(index, self._every_frame)
        # Several datasets fill one plane each; a single one fills all planes of a frame at once.
        plane_size = d.pixels if len(d.planes) > 1 else 0
        for module, piece, shots, frames in self._frames_of(index, lost):
            begin = (shots * len(self.modules) + module) * d.plane_count * d.pixels
            for plane, key in enumerate(d.planes):
                try:
                    layout = self._map(piece, key)
                    got = read_frames(layout, frames, out, begin + plane * plane_size, self.threads)
                    with self._lock:
                        self._read_bytes[0] += got
                except UnreadableData as e:
                    trains = train_text(self.shots.train_id[index[shots]])
                    raise UnreadableData(f"{e}; this affects trains {trains}") from e

    def _frames_of(
        self, index: np.ndarray, lost: np.ndarray | None
    ) -> Iterator[tuple[int, _Piece, np.ndarray, np.ndarray]]:
        """Yield module, file, positions in `index` and frames of the file, of what some shots have."""
        for module, (pieces, base) in enumerate(zip(self._pieces, self._plan.base, strict=True)):
            where = self._plan.where[index, module].astype(np.int64)
            have = np.flatnonzero((where >= 0) if lost is None else (where >= 0) & ~lost[:, module])
            piece_of = np.searchsorted(base, where[have], side="right") - 1
            for number in np.unique(piece_of):
                shots = have[piece_of == number]
                yield module, pieces[number], shots, where[shots] - base[number]

    def _every_frame(self, rows: np.ndarray) -> Iterator[Frames]:
        """Yield where the frames of some shots are, of those that are not rejected; for `Losses`."""
        index = rows[self.shots.status[rows] == ShotStatus.OK]
        for module, piece, _, frames in self._frames_of(index, None):
            for key in self.detector.planes:
                name = f"{piece.file.path.name}: {self.detector.group}.{key}"
                yield Frames(module, name, frames, partial(self._map, piece, key))

    def _map(self, piece: _Piece, key: str) -> FrameMap:
        """Layout of a dataset, asked of HDF5 once."""
        name = (str(piece.file.path), f"{piece.group}/{key}")
        with self._lock:
            if name in self._maps:
                self._maps.move_to_end(name)
                return self._maps[name]
            layout = map_frames(piece.file.path, name[1], 1 if self.detector.layout == "frames" else 2)
            if layout.why_h5py and (key, layout.why_h5py) not in self._slow:
                self._slow.add((key, layout.why_h5py))
                self.notes.append(f"{self.detector.group}.{key} is read through h5py: {layout.why_h5py}")
            self._maps[name] = layout
            if len(self._maps) > MAX_MAPS:
                self._maps.popitem(last=False)
            return layout

    def _reject_whole_trains(self) -> None:
        """Reject the shots beside an inconsistent one where the format cannot hold a part of a train."""
        status, train_id = self.shots.status, self.shots.train_id
        beside = np.isin(train_id, train_id[status == ShotStatus.INCONSISTENT]) & (status == ShotStatus.OK)
        if beside.any():
            status[beside] = ShotStatus.INCONSISTENT
            self.notes.append(
                f"{int(beside.sum())} shots stand beside such shots in trains "
                f"{train_text(train_id[beside])}; {self.detector.name} stores whole trains, so they were "
                "rejected too"
            )
        # All rows of a file have the same number of cells, so trains with another number do not fit in.
        trains, held = np.unique(train_id[status == ShotStatus.OK], return_counts=True)
        often = np.bincount(held)
        usual = int(np.flatnonzero(often == often.max())[-1]) if len(held) else 0
        if (odd := trains[held != usual]).size:
            other = np.isin(train_id, odd) & (status == ShotStatus.OK)
            status[other] = ShotStatus.INCONSISTENT
            self.notes.append(
                f"{len(odd)} trains do not hold the usual {usual} shots: {train_text(odd)}; "
                f"{self.detector.name} stores whole trains of one length, so they were rejected"
            )

    def _note_modules(self, inputs: Inputs, found: detectors.Found) -> None:
        # An object of EXtra-data may leave out modules that the run has.
        recorded = detectors.match({s for f in inputs.files for s in f.instrument})
        there = {m for f in recorded if f.raw and f.name == found.name for m in f.modules}
        gone = [m for m in self.modules if m not in found.modules]
        if absent := [m for m in gone if m not in there]:
            self.notes.append(f"no file has data of {modules_text(absent)}: absent in all shots")
        if unselected := [m for m in gone if m in there]:
            self.notes.append(
                f"{modules_text(unselected)} of the run not selected by the caller: absent in all shots"
            )

    def _note_trains(self, inputs: Inputs, used: list[RunFile]) -> None:
        mixed = [f for f in dict.fromkeys(used) if (f.train_id[1:] <= f.train_id[:-1]).any()]
        if mixed:
            self.notes.append(
                f"trainIds are out of order in {len(mixed)} files (first: {mixed[0].path.name}); sorted"
            )
        if inputs.trains is not None:
            self.notes.append(
                f"{len(inputs.trains)} trains were selected by the caller; the others were not looked at"
            )
            return
        seen = np.unique(np.concatenate([f.train_id for f in used]))
        others = [f.train_id[f.good] for f in inputs.files]
        unseen = np.setdiff1d(np.concatenate(others), seen)
        if len(unseen):
            self.notes.append(
                f"trains {train_text(unseen)} are in other files of the run, in none of the detector's"
            )


def _read_part(
    d: detectors.Detector, file: RunFile, source: str, module: int, trains: np.ndarray | None
) -> Part:
    """Index and labels of one module in one file."""
    group = f"INSTRUMENT/{source}/{d.group}"
    with opened(file.path) as f:
        per_row = _check_data(d, file, f, group)
        first, count = file.index(f, source, d.group)
        try:
            rows = len(f[f"{group}/{d.planes[0]}"])
        except DAMAGE as e:
            raise UnreadableData(f"{file.path}: {group} cannot be read ({reason(e)})") from e
        beyond = (first + count > rows) & (count > 0)
        if beyond.any():
            raise UnreadableData(
                f"{file.path}: INDEX/{source}/{d.group} speaks of {int((first + count).max())} rows, but "
                f"{group}/{d.planes[0]} has {rows}: the data of trains {train_text(file.train_id[beyond])} "
                "is missing"
            )
        # Rows behind the last train are padding: their labels may be missing or nonsense.
        frames = int((first + count)[count > 0].max(initial=0)) * per_row
        pulse = file.label(f, f"{group}/{d.pulse_key}", frames).astype(np.uint64) if d.pulse_key else None
        cell = file.label(f, f"{group}/{d.cell_key}", frames).astype(np.int32)
    use = slice(None) if trains is None else np.isin(file.train_id, trains)
    return Part(
        module=module,
        train_id=file.train_id[use],
        timestamp=file.timestamp[use],
        good=file.good[use],
        first=first[use] * per_row,
        count=count[use] * per_row,
        pulse_id=pulse,
        cell_id=cell,
        frames=rows * per_row,
    )


def _check_data(d: detectors.Detector, file: RunFile, f, group: str) -> int:
    """Check that the datasets hold raw words of this detector; return the frames per row."""
    per_row = 1
    for plane in d.planes:
        path = f"{group}/{plane}"
        try:
            data = f[path]
            shape, dtype = data.shape, data.dtype
        except DAMAGE as e:
            raise UnreadableData(f"{file.path}: dataset {path} cannot be read ({reason(e)})") from e
        if d.layout == "frames":
            want: tuple[int, ...] = (d.plane_count, *d.shape) if len(d.planes) == 1 else d.shape
            fits = shape[1:] == want
        else:
            want = d.shape
            fits = len(shape) == 4 and shape[2:] == want
            per_row = shape[1] if fits else 1
        if dtype.kind == "f" or (not fits and len(shape) == 3 and shape[1:] == d.shape):
            raise BadInput(
                f"{file.path}: {path} has shape {shape} and dtype {dtype}: this is corrected data. shotsieve "
                "calibrates by itself: give the raw run (raw/r....)"
            )
        if not fits or dtype.kind != "u" or dtype.itemsize > 2:
            raise BadInput(
                f"{file.path}: {path} has shape {shape} and dtype {dtype}; raw data of {d.name} has (rows"
                f"{'' if d.layout == 'frames' else ', cells'}, {', '.join(map(str, want))}) and uint16"
            )
    return per_row
