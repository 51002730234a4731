"""A source whose shots lie in memory, or are made on demand: simulation, benchmarks, tests."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from .. import shown
from ..errors import BadInput
from .annotate import AnnotateParams
from .base import OperatingMode, RunMeta, ShotList, ShotStatus, TrainList, cut_ranges, rows_together
from .corrected import CorrectedForm

Maker = Callable[[np.ndarray, np.ndarray], None]


class MemorySource:
    """Shots from arrays, with the same face as a run on disk.

    Parameters
    ----------
    detector : shotsieve.detectors.Detector
        Gives planes, module shape, ``keep_unit``, ``row_cells`` and the number of modules.
    frames : ndarray of uint16, shape (S, M, planes, ss, fs), or callable
        The raw words; or ``frames(index, out)``, which fills ``out`` (len(index), M, planes, ss, fs)
        with the shots ``index`` (int64, indices into `shots`), so that a source may be larger than memory.
        It has to give the same words whenever it is asked for the same shot.
    train_id, pulse_id : array_like of uint64, shape (S,)
        Sorted by (train_id, pulse_id).
    cell_id : array_like of int, shape (S,)
    modules : sequence of int, optional
        Numbers of the M modules, ascending; by default they count from the detector's first module.
    present : array_like of bool, shape (S, M), optional
        By default every module recorded every shot.
    status : array_like of uint8, shape (S,), optional
        `ShotStatus` per shot; by default all OK.
    trains : TrainList, optional
        By default made from `train_id`, without timestamps and without missing shots.
    columns : mapping of str to array_like, optional
        Extra columns, shape (S,).
    corrected : CorrectedForm, optional
        Of a detector that is `Detector.corrected`: the unit of the values. `pack_corrected` makes frames.
    mode, meta, name, notes : optional
        As in `Source`.

    Raises
    ------
    BadInput
        When shapes, dtypes or the order do not fit; the text says what came.

    Notes
    -----
    Promise: exact; `read` copies the words as they are.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> one = SimpleNamespace(plane_count=1, frame_shape=(2, 3), first_module=0, module_count=1)
    >>> one.row_cells, one.keep_unit = 32, "shot"
    >>> source = MemorySource(one, np.ones((4, 1, 1, 2, 3), "u2"), [7, 7, 8, 8], [0, 1, 0, 1], [0, 1, 0, 1])
    >>> len(source.shots), source.missing_shots
    (4, 0)
    """

    def __init__(
        self,
        detector,
        frames: np.ndarray | Maker,
        train_id,
        pulse_id,
        cell_id,
        *,
        modules: Sequence[int] | None = None,
        present=None,
        status=None,
        trains: TrainList | None = None,
        columns: Mapping[str, np.ndarray] | None = None,
        corrected: CorrectedForm | None = None,
        mode: OperatingMode | None = None,
        meta: RunMeta | None = None,
        name: str = "MEMORY",
        notes: Sequence[str] = (),
    ) -> None:
        self.detector = detector
        self.name = name
        self.mode = mode if mode is not None else OperatingMode()
        self.meta = meta if meta is not None else RunMeta()
        self.notes = list(notes)
        self.files: list[str] = []
        self.paths: list[Path] = []
        self.others: list[Path] = []
        self.sequences: list[int] = []
        self.raw_names: dict[int, str] = {}
        self.beside = None
        self.corrected = corrected
        tid, pid = np.asarray(train_id, np.uint64), np.asarray(pulse_id, np.uint64)
        n = len(tid)
        _check_order(tid, pid)
        self._make = None if isinstance(frames, np.ndarray) else frames
        self._frames = frames if isinstance(frames, np.ndarray) else None
        if modules is None:
            count = frames.shape[1] if self._frames is not None else max(1, detector.module_count)
            modules = range(detector.first_module, detector.first_module + count)
        self.modules = tuple(int(m) for m in modules)
        if self._frames is not None:
            want = (n, len(self.modules), detector.plane_count, *detector.frame_shape)
            if self._frames.shape != want or self._frames.dtype != np.uint16:
                raise BadInput(
                    f"frames has shape {self._frames.shape} and dtype {self._frames.dtype}; expected {want} "
                    "and uint16 (shots, modules, planes, ss, fs): give the raw words of every shot and module"
                )
        self.shots = ShotList(
            train_id=tid,
            pulse_id=pid,
            cell_id=_column(cell_id, np.int32, n, "cell_id"),
            present=_present(present, n, len(self.modules)),
            status=np.zeros(n, np.uint8) if status is None else _column(status, np.uint8, n, "status"),
        )
        if trains is None:
            ids, counts = np.unique(tid, return_counts=True)
            trains = TrainList(ids, np.zeros(len(ids), np.uint64), counts.astype(np.int32))
        self.trains = trains
        self.missing_shots = int(trains.expected.sum()) - n
        if self.missing_shots < 0:
            raise BadInput(
                f"trains.expected adds up to {int(trains.expected.sum())} shots, but there are {n}"
            )
        self.readable = np.flatnonzero(self.shots.status == ShotStatus.OK).astype(np.int64)
        self._columns = {k: _column(v, np.float64, n, k) for k, v in (columns or {}).items()}

    def _repr_html_(self) -> str:
        return shown.source(self)

    def columns(
        self, params: AnnotateParams | None = None, mode: OperatingMode | None = None
    ) -> dict[str, np.ndarray]:
        """Extra columns per shot (float64, shape (S,)) as they were given; NaN means unknown."""
        if params is not None and (wanted := params.own_columns().keys() - self._columns.keys()):
            raise BadInput(
                f"[annotate] {', '.join(sorted(wanted))}: the source is in memory and has no control "
                "sources; give it these columns"
            )
        return dict(self._columns)

    def selected(self, wanted: np.ndarray) -> MemorySource:
        """Return this source with only those shots readable that are wanted, bool (S,)."""
        other = copy.copy(self)
        other.readable = self.readable[wanted[self.readable]]
        return other

    def of_modules(self, modules: Sequence[int]) -> MemorySource:
        """Return this source with only those modules; its shots and their status stay the same."""
        at = places_of(self.modules, modules)
        other = copy.copy(self)
        other.modules = tuple(self.modules[i] for i in at)
        other.shots = dataclasses.replace(self.shots, present=self.shots.present[:, at])
        if self._frames is not None:
            other._frames = self._frames[:, at]
            return other

        def make(index: np.ndarray, out: np.ndarray) -> None:
            whole = np.zeros((len(out), len(self.modules), *out.shape[2:]), np.uint16)
            self._make(index, whole)
            out[...] = whole[:, at]

        other._make = make
        return other

    def without_gain_plane(self) -> MemorySource:
        """Return this source with the first plane of every frame alone; see `Detector.needs_gain_plane`."""
        other = copy.copy(self)
        other.detector = self.detector.without_gain_plane()
        if self._frames is not None:
            other._frames = self._frames[:, :, :1]
            return other

        def make(index: np.ndarray, out: np.ndarray) -> None:
            whole = np.zeros((*out.shape[:2], self.detector.plane_count, *out.shape[3:]), np.uint16)
            self._make(index, whole)
            out[...] = whole[:, :, :1]

        other._make = make
        return other

    def changed(self) -> list[str]:
        """None: there are no files."""
        return []

    def cuts(self, max_bytes: int) -> list[tuple[int, int]]:
        """Ranges of `readable` of at most `max_bytes` raw bytes; see `cut_ranges`."""
        shot_bytes = 2 * len(self.modules) * self.detector.plane_count * self.detector.pixels
        train, cell = (ids[self.readable] for ids in (self.shots.train_id, self.shots.cell_id))
        return cut_ranges(train, rows_together(self.detector, cell), shot_bytes, max_bytes)

    def read(self, start: int, stop: int, out: np.ndarray) -> None:
        """Fill `out`, uint16 (stop - start, M, planes, ss, fs); rows of absent modules are left untouched."""
        index = self.readable[start:stop]
        check_out(out, (len(index), len(self.modules), self.detector.plane_count, *self.detector.frame_shape))
        present = self.shots.present[index]
        if self._make is not None:
            if present.all():
                self._make(index, out)
                return
            scratch = np.zeros_like(out)
            self._make(index, scratch)
            out[present] = scratch[present]
        elif present.all():
            np.take(self._frames, index, axis=0, out=out, mode="clip")
        else:
            shot, module = np.nonzero(present)
            out[shot, module] = self._frames[index[shot], module]


def places_of(own: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Return where some modules stand among those of a source.

    Raises
    ------
    BadInput
        If one of them is not there.
    """
    if unknown := [module for module in wanted if module not in own]:
        raise BadInput(f"there is no module {unknown[0]}; there are {', '.join(map(str, own))}")
    return [own.index(module) for module in wanted]


def check_out(out: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise `BadInput` unless `out` can take raw words of `shape` as they lie in the file."""
    if out.shape != shape or out.dtype != np.uint16 or not out.flags.c_contiguous or not out.flags.writeable:
        raise BadInput(
            f"out has shape {out.shape}, dtype {out.dtype}, C-contiguous {out.flags.c_contiguous}, writeable "
            f"{out.flags.writeable}; expected a writeable C-contiguous uint16 array of shape {shape}"
        )


def _column(values, dtype, n: int, name: str) -> np.ndarray:
    array = np.asarray(values, dtype)
    if array.shape != (n,):
        raise BadInput(f"{name} has shape {array.shape}; expected ({n},), one value per shot")
    return array


def _present(present, n: int, m: int) -> np.ndarray:
    if present is None:
        return np.ones((n, m), bool)
    array = np.asarray(present, bool)
    if array.shape != (n, m):
        raise BadInput(f"present has shape {array.shape}; expected ({n}, {m}): one flag per shot and module")
    return array


def _check_order(tid: np.ndarray, pid: np.ndarray) -> None:
    if tid.shape != pid.shape or tid.ndim != 1:
        raise BadInput(
            f"train_id and pulse_id have shapes {tid.shape} and {pid.shape}; expected equal 1-D arrays"
        )
    later = (tid[1:] > tid[:-1]) | ((tid[1:] == tid[:-1]) & (pid[1:] >= pid[:-1]))
    if not later.all():
        at = int(np.argmin(later)) + 1
        raise BadInput(
            f"shot {at} (train {tid[at]}, pulse {pid[at]}) stands after train {tid[at - 1]}, "
            f"pulse {pid[at - 1]}: sort the shots by (train_id, pulse_id)"
        )
