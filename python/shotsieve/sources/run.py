"""A run on disk as a source of shots."""

from __future__ import annotations

import copy
import dataclasses
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from .. import detectors, shown
from ..cpus import usable_cpus
from ..errors import BadInput, UnreadableData
from .annotate import AnnotateParams
from .base import OperatingMode, ShotStatus, Source, cut_ranges, identity, rows_together
from .beside import Beside
from .cell_order import tell_cell_order
from .choose import choose
from .corrected import check_exact, corrected_targets, form_of
from .exdf import RunFile, train_text
from .extents import read_frames
from .frame_status import odd_frames
from .inputs import Inputs, find_inputs, without_folder
from .layouts import Layouts
from .litframes import LitFrames
from .losses import Frames, Losses
from .memory import check_out, places_of
from .mode import read_dark_mode, read_mode
from .parallel_gain import first_thirds
from .plan import Part, Plan, build_plan
from .pulses import PulseReader, Unknown
from .recorded import Recorded, read_part
from .said import module_notes, reject_parts_of_trains, train_notes
from .side_by_side import side_by_side


def open_run(
    run,
    detector=None,
    source: str | None = None,
    *,
    data: str | None = None,
    threads: int | None = None,
    parallel_gain: bool | None = None,
    tolerant: bool = False,
) -> Source:
    """Open a run of raw words or of corrected frames.

    Parameters
    ----------
    run : path-like, sequence of path-like, DataCollection or detector component
        The folder of a run, files of it, or an object of EXtra-data, whose selection of trains (and for a
        component of modules) is respected.
    detector : str, Path or Detector, optional
        Detector family, e.g. ``"AGIPD1M"``, or the TOML file of one; found by itself.
    source : str, optional
        Name of the detector, e.g. ``"SPB_DET_AGIPD1M-1"``; needed where a run holds several.
    data : {"raw", "corrected"}, optional
        Which is meant where a run holds both; by default raw words.
    threads : int, optional
        Threads of each reading call; by default as many as the process may use.
    parallel_gain : bool, optional
        Of LPD: whether every pulse stands in the file three times, in high, medium and low gain; by default
        what a component of EXtra-data, or the run, says.
    tolerant : bool
        What cannot be read is no error but a loss: files are left out, with a note, and a module of which a
        frame of a train is damaged, cut off, refused or was never written has no data in that train
        (`losses`).

    Returns
    -------
    Source
        With every shot of the run in `shots`, odd ones with their status, and in words in `notes`.

    Raises
    ------
    BadInput
        When there is no such run, no detector data of the kind, or several detectors to choose from; or no
        train has a number of frames that goes with parallel gain.
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
    found = choose(inputs, detector, source, data)
    if parallel_gain is None and inputs.parallel_gain:
        parallel_gain = True
    return RunSource(inputs, found, threads or usable_cpus(), parallel_gain, tolerant)


class RunSource:
    """The shots of one detector in a run; made by `open_run`. See `Source` for what it offers."""

    def __init__(
        self,
        inputs: Inputs,
        found: detectors.Found,
        threads: int,
        parallel_gain: bool | None = None,
        tolerant: bool = False,
    ) -> None:
        self.mode, mode_notes = read_mode(inputs.files, found.detector, found.name, found.modules.values())
        parallel = self.mode.parallel_gain if parallel_gain is None else parallel_gain
        parallel = parallel and not found.detector.is_corrected
        d = self.detector = found.detector.in_parallel_gain() if parallel else found.detector
        self.name, self.threads = found.name, threads
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
        self._pieces: list[list[Recorded]] = [[] for _ in self.modules]
        used: list[RunFile] = []
        for module, name in found.modules.items():
            at = self.modules.index(module)
            for file in inputs.files:
                if name in file.instrument and (
                    inputs.detector_files is None or file.path in inputs.detector_files
                ):
                    try:
                        part, form = read_part(d, file, name, at, inputs.trains)
                    except UnreadableData as e:
                        if not tolerant:
                            raise
                        self.notes.append(f"{without_folder(e, file.path)}: module {module} left out of it")
                        continue
                    step = None
                    if parallel:
                        part, step = first_thirds(part, self.notes, file.path)
                    parts.append(part)
                    group = f"INSTRUMENT/{name}/{d.group}"
                    self._pieces[at].append(Recorded(file, group, part.frames, form, step))
                    used.append(file)
        if not used:
            raise UnreadableData(
                f"{inputs.label}: no file has data of {self.name} that can be read: {'; '.join(self.notes)}"
            )
        self.corrected = None
        if d.is_corrected:
            forms = (piece.form for pieces in self._pieces for piece in pieces)
            self.corrected = form_of(forms, self.notes)
        self.mode = tell_cell_order(self.mode, d, parts, used, mode_notes)
        self.notes += [*module_notes(self.modules, inputs, found), *train_notes(inputs, used)]
        first = min((part.module for part in parts), default=None)
        self.sequences = [int(p.train_id.min()) for p in parts if p.module == first and len(p.train_id)]
        self._plan: Plan = build_plan(parts, self.modules)
        self.notes += self._plan.notes
        self.shots, self.trains = self._plan.shots, self._plan.trains
        if d.keep_unit == "train":
            self.notes += reject_parts_of_trains(d, self.shots)
        self.beside = Beside(
            d,
            [self.raw_names.get(module, "") for module in self.modules],
            [[piece.file for piece in pieces] for pieces in self._pieces],
            [[piece.frames for piece in pieces] for pieces in self._pieces],
            [[piece.step for piece in pieces] for pieces in self._pieces],
            self._plan,
            frames,
            self.notes,
        )
        self.missing_shots = self._plan.missing_shots
        self.readable = np.flatnonzero(self.shots.status == ShotStatus.OK).astype(np.int64)
        self.meta = used[0].meta
        self.notes += mode_notes
        self._files = inputs.files
        self._read_bytes = [0]  # shared with what is selected from this source
        self._columns: dict[str, dict[str, np.ndarray]] = {}
        self._layouts = Layouts(d, self.notes)
        self._lock = threading.Lock()
        self.losses = Losses(self.shots) if tolerant else None

    def _repr_html_(self) -> str:
        return shown.source(self)

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

    def without_gain_plane(self) -> RunSource:
        """Return this source with the first plane of every frame alone; see `Detector.needs_gain_plane`."""
        other = copy.copy(self)
        other.detector = self.detector.without_gain_plane()
        other._layouts = Layouts(other.detector, self.notes, first_plane=True)
        return other

    def of_modules(self, modules: Sequence[int]) -> RunSource:
        """Return this source with only those modules; its shots and their status stay the same."""
        at = places_of(self.modules, modules)
        other = copy.copy(self)
        other.modules = tuple(self.modules[i] for i in at)
        other.raw_names = {m: name for m, name in self.raw_names.items() if m in other.modules}
        other._pieces = [self._pieces[i] for i in at]
        plan = self._plan
        other._plan = dataclasses.replace(
            plan, where=np.ascontiguousarray(plan.where[:, at]), base=[plan.base[i] for i in at]
        )
        other.shots = dataclasses.replace(self.shots, present=self.shots.present[:, at])
        other.losses = None if self.losses is None else Losses(other.shots)
        return other

    @property
    def dark_mode(self) -> str | float | None:
        """The gain mode that the run's control sources name, as they do; None where they do not."""
        return read_dark_mode(self._files, self.detector, self.name)

    @property
    def dark_stage(self) -> int | None:
        """The gain stage that the run's control sources name for a dark run; None where they do not."""
        word = self.dark_mode
        return None if word is None else self.detector.dark_stage(word)

    def odd_frames(self) -> np.ndarray:
        """Which shots have a frame with a status that is not 0, bool (S,)."""
        if self.detector.layout != "frames":
            return np.zeros(len(self.shots), bool)
        files = [[(piece.file.path, piece.group) for piece in pieces] for pieces in self._pieces]
        return odd_frames(files, self._plan.where, self._plan.base)

    def changed(self) -> list[str]:
        """Names of input files that are gone or were written since the run was opened."""
        return [path.name for path, told in self._as_opened.items() if identity(path) != told]

    def cuts(self, max_bytes: int) -> list[tuple[int, int]]:
        """Ranges of `readable` of at most `max_bytes` raw bytes; see `cut_ranges`."""
        shot_bytes = 2 * len(self.modules) * self.detector.plane_count * self.detector.pixels
        train, cell = (ids[self.readable] for ids in (self.shots.train_id, self.shots.cell_id))
        return cut_ranges(train, rows_together(self.detector, cell), shot_bytes, max_bytes)

    def read(self, start: int, stop: int, out: np.ndarray) -> None:
        """Fill `out`, uint16 (stop - start, M, planes, ss, fs), with the words of ``readable[start:stop]``.

        Frames of absent modules are left untouched. May be called from several threads.

        Raises
        ------
        UnreadableData
            Names file, dataset and trains; what `out` holds then is undefined. Of a run that was opened as
            tolerant only where it is a `LateLoss`.
        """
        index = self.readable[start:stop]
        d = self.detector
        check_out(out, (len(index), len(self.modules), d.plane_count, *d.frame_shape))
        lost = None if self.losses is None else self.losses.look(index, self._every_frame)
        readings = list(self._frames_of(index, lost))
        at_once = min(len(readings), self.threads)
        for _, piece, _, frames in readings:  # in this order, so that notes do not depend on threads
            for _, key, _ in self._planes(piece, frames):
                if piece.form is None or key not in piece.form.lacking:
                    with suppress(UnreadableData):  # said where it is read
                        self._layouts.of(piece, key)

        def read(number: int, which: Any = slice(None)) -> None:
            module, piece, shots, frames = readings[number]
            at = shots * len(self.modules) + module
            self._read_some(piece, frames, out, at, which, -(-self.threads // at_once))

        for number, error in enumerate(side_by_side(read, len(readings), at_once)):
            if error is not None:
                module, _, shots, _ = readings[number]
                trains = self.shots.train_id[index[shots]]
                if self.losses is None:
                    raise UnreadableData(f"{error}; this affects trains {train_text(trains)}") from error
                self.losses.read_again(module, trains, partial(read, number), self._every_frame, error)
        if self.losses is not None:
            self.losses.give(index)

    def _frames_of(
        self, index: np.ndarray, lost: np.ndarray | None
    ) -> Iterator[tuple[int, Recorded, np.ndarray, np.ndarray]]:
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
            lacking = () if piece.form is None else piece.form.lacking
            for _, key, which in self._planes(piece, frames):
                if key not in lacking:
                    name = f"{piece.file.path.name}: {self.detector.group}.{key}"
                    yield Frames(module, piece.file.path, name, which, partial(self._layouts.of, piece, key))

    def _read_some(
        self, piece: Recorded, frames: np.ndarray, out: np.ndarray, at: np.ndarray, which, threads: int
    ) -> None:
        """Read some of the frames of a file, those at `which`, into the frames `at` of a buffer."""
        d, frames, at = self.detector, frames[which], at[which]
        if piece.form is None:
            # Several datasets fill one plane each; a single one fills all planes of a frame at once.
            step = d.pixels if len(d.planes) > 1 or d.encoding == "parallel" else 0
            begin = at * d.plane_count * d.pixels
            readings = [
                (key, which, out, begin + plane * step) for plane, key, which in self._planes(piece, frames)
            ]
        else:
            targets = corrected_targets(d, out, at, piece.form.lacking)
            readings = [(key, frames, buffer, begin) for key, buffer, begin in targets]
        for key, which, buffer, begin in readings:
            got = read_frames(self._layouts.of(piece, key), which, buffer, begin, threads)
            with self._lock:
                self._read_bytes[0] += got
        if piece.form is not None:
            check_exact(d, out, at, piece.form.dtype, piece.form.name)

    def _planes(self, piece: Recorded, frames: np.ndarray) -> Iterator[tuple[int, str, np.ndarray]]:
        """Yield number and dataset of each reading of some frames, and what is read there."""
        if piece.step is None:
            yield from ((plane, key, frames) for plane, key in enumerate(self.detector.planes))
        else:
            step = piece.step[frames]
            yield from ((plane, self.detector.planes[0], frames + plane * step) for plane in range(3))
