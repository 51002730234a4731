"""Which frame of a reduced run stands where: read from its finished files, over any number of sequences."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from ..errors import OutputError
from .labels import read_labels
from .virtual import Mapped

if TYPE_CHECKING:
    from ..detectors import Detector


@dataclass(frozen=True)
class Span:
    """Consecutive rows of one file whose frames are consecutive kept shots.

    Attributes
    ----------
    module : int
        Place of the module, from 0.
    file : str
        Name of the file.
    group : str
        Group of the frames in it.
    rows : int
        Rows of the datasets there.
    first, count : int
        Rows of the span.
    shot : int
        Kept shot of its first frame.
    frames : int
        Frames in a row; 1, but for detectors that store whole trains.
    """

    module: int
    file: str
    group: str
    rows: int
    first: int
    count: int
    shot: int
    frames: int


@dataclass(frozen=True)
class KeptFrames:
    """The kept shots of a reduced run with corrected frames, and where their frames stand.

    Attributes
    ----------
    detector : Detector
    modules : int
    train_id, pulse_id : ndarray of uint64, shape (N,)
        Ascending. Where the detector has no pulse id it is the index in the train.
    cell_id : ndarray of uint16, shape (N,)
    spans : tuple of Span
    begin, end : int
        First and last train of the run, in ns since the epoch; 0 where the files do not say.
    """

    detector: Detector
    modules: int
    train_id: np.ndarray
    pulse_id: np.ndarray
    cell_id: np.ndarray
    spans: tuple[Span, ...]
    begin: int
    end: int

    def __len__(self) -> int:
        return len(self.train_id)

    @classmethod
    def of(cls, files: Sequence[Path], detector: Detector, name: str, modules: Sequence[int]) -> KeptFrames:
        """Find the frames of all finished files; files without corrected frames of the detector are left out.

        Parameters
        ----------
        files : sequence of Path
            Any number for each module, in one folder.
        detector : Detector
        name : str
            Its name in the run.
        modules : sequence of int
            Module numbers, in the order of their places.

        Raises
        ------
        OutputError
            If a file cannot be read, or two rows of a module are the same shot.

        Examples
        --------
        >>> len(KeptFrames.of(files, detector, name, range(16)))    # doctest: +SKIP
        412
        """
        found, stamps = [], []
        for path in sorted(files):
            if path.suffix == ".h5":
                try:
                    with h5py.File(path) as file:
                        found += _images_of(file, path.name, detector, name, list(modules), stamps)
                except (OSError, KeyError) as err:
                    raise OutputError(f"{path} was just written and cannot be read: {err}") from err
        keys = np.concatenate([np.zeros((2, 0), "u8"), *(images.keys for images in found)], axis=1)
        cells = np.concatenate([np.zeros(0, "u2"), *(images.cell for images in found)])
        shots, first, place = _unique(keys)
        spans: list[Span] = []
        start = 0
        for images in found:
            count = images.keys.shape[1]
            spans += images.spans(place[start : start + count])
            start += count
        _refuse_twice(spans)
        known = np.concatenate([np.zeros(0, "u8"), *stamps])
        known = known[known > 0]
        ends = (int(known.min()), int(known.max())) if len(known) else (0, 0)
        return cls(detector, len(modules), shots[0], shots[1], cells[first], tuple(spans), *ends)

    def mapped(self, plane: str, slab: bool) -> list[Mapped]:
        """Return where the blocks of a plane stand in an array of all kept shots.

        Parameters
        ----------
        plane : str
            Dataset in the files: ``"data"``, ``"mask"``.
        slab : bool
            (N, modules * ss, fs), the modules one below the other; else (N, modules, ss, fs).
        """
        (ss, fs), frame = self.detector.shape, self.detector.frame_shape
        inner = self.detector.layout == "trains"
        blocks = []
        for span in self.spans:
            tail = (span.frames, *frame) if inner else frame
            shots = span.count * span.frames
            at = (span.shot, span.module * ss, 0) if slab else (span.shot, span.module, 0, 0)
            size = (shots, ss, fs) if slab else (shots, 1, ss, fs)
            rows = (span.rows, *tail), (span.first, *(0 for _ in tail)), (span.count, *tail)
            blocks.append(Mapped(span.file, f"{span.group}/{plane}", *rows, at, size))
        return blocks


@dataclass(frozen=True)
class _Images:
    """The frames of one file: keys (2, n) and cells (n,) of each, row by row."""

    module: int
    file: str
    group: str
    rows: int
    frames: int
    keys: np.ndarray
    cell: np.ndarray

    def spans(self, place: np.ndarray) -> list[Span]:
        """Cut the rows where their shots are not one after the other; `place` is the shot of each frame."""
        here = place[:: self.frames]
        cuts = np.flatnonzero(np.diff(here) != self.frames) + 1
        return [
            Span(self.module, self.file, self.group, self.rows, a, b - a, int(here[a]), self.frames)
            for a, b in zip([0, *cuts.tolist()], [*cuts.tolist(), len(here)], strict=True)
            if b > a
        ]


def _images_of(
    file: h5py.File,
    file_name: str,
    detector: Detector,
    name: str,
    modules: list[int],
    stamps: list[np.ndarray],
) -> list[_Images]:
    pattern = re.compile(f"INSTRUMENT/(?:{detector.corrected_source_pattern})/{re.escape(detector.group)}")
    found = []
    for source in file["METADATA/dataSources/dataSourceId"].asstr()[:]:
        hit = pattern.fullmatch(source)
        if hit is None or hit["detector"] != name or detector.module_of(hit) not in modules:
            continue
        if f"{source}/mask" not in file:  # raw words under a name of before 2020
            continue
        group = file[source]
        labels = read_labels(group, detector)
        keys = np.stack([labels.train, labels.pulse])
        stamps.append(file["INDEX/timestamp"][:])
        place = modules.index(detector.module_of(hit))
        rows, cell = len(labels.row_train), labels.cell.astype("u2")
        found.append(_Images(place, file_name, f"/{source}", rows, labels.per_row, keys, cell))
    return found


def _unique(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the shots in order (2, N), a frame of each, and the shot of each frame."""
    order = np.lexsort((keys[1], keys[0]))
    ordered = keys[:, order]
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(ordered.astype("i8"), axis=1) != 0).any(axis=0)
    place = np.empty(len(order), "i8")
    place[order] = np.cumsum(new) - 1
    return ordered[:, new], order[new], place


def _refuse_twice(spans: list[Span]) -> None:
    ends: dict[int, list[tuple[int, int]]] = {}
    for span in spans:
        ends.setdefault(span.module, []).append((span.shot, span.shot + span.count * span.frames))
    for module, parts in ends.items():
        parts.sort()
        if any(later[0] < earlier[1] for earlier, later in itertools.pairwise(parts)):
            raise OutputError(f"two rows of module place {module} are the same shot: the files disagree")
