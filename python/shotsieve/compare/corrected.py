"""A corrected run as the facility writes it: which frames it has, and their values, gains and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import detectors
from ..detectors import Detector
from ..errors import DAMAGE, BadInput, UnreadableData
from ..sources.exdf import RunFile, opened, reason, train_text
from ..sources.extents import FrameMap, map_frames, read_frames
from ..sources.inputs import find_inputs

__all__ = ["CorrectedRun", "Frames"]


@dataclass(frozen=True)
class Frames:
    """Some frames of one module.

    Attributes
    ----------
    data : ndarray, shape (n, ss, fs)
        In the dtype of the file.
    gain : ndarray of uint8, shape (n, ss, fs), or None
    mask : ndarray of uint32, shape (n, ss, fs), or None
        None where the files have none.
    """

    data: np.ndarray
    gain: np.ndarray | None
    mask: np.ndarray | None


@dataclass(frozen=True)
class _Piece:
    """One module in one file."""

    file: RunFile
    group: str
    maps: dict[str, FrameMap]


class CorrectedRun:
    """The frames of one detector in a corrected run.

    Parameters
    ----------
    run : path-like, sequence of path-like, or DataCollection
    detector : Detector
    name : str
        Of the detector in the run, as in the raw one.

    Attributes
    ----------
    modules : tuple of int
        That the run has, ascending.
    dtype : dtype
        Of the values.
    with_gain, with_mask : tuple of int
        Modules of which every file has them.
    notes : list of str

    Raises
    ------
    BadInput
        If the run has no corrected data of the detector.
    UnreadableData
        If a file is damaged.

    Examples
    --------
    >>> run = CorrectedRun("proc/r0022", detectors.load("AGIPD1M"), "SPB_DET_AGIPD1M-1")  # doctest: +SKIP
    >>> run.read(3, run.locate(3, [1000], [4])).data.shape  # doctest: +SKIP
    (1, 512, 128)
    """

    def __init__(self, run: Any, detector: Detector, name: str) -> None:
        inputs = find_inputs(run)
        self.detector, self.name, self.notes = detector, name, list(inputs.notes)
        found = _found(inputs.files, detector, name, inputs.label)
        self.modules = tuple(found)
        self._pieces: dict[int, list[_Piece]] = {}
        self._keys: dict[int, np.ndarray] = {}
        self._trains = np.unique(np.concatenate([file.train_id for file in inputs.files]))
        self.cells: dict[int, np.ndarray] = {}
        for module, source in found.items():
            self._add(module, source, [file for file in inputs.files if source in file.instrument])
        planes = [piece.maps for pieces in self._pieces.values() for piece in pieces]
        self.dtype = planes[0]["data"].dtype
        self.with_gain, self.with_mask = (self._with(key) for key in ("gain", "mask"))

    @property
    def trains(self) -> np.ndarray:
        """Trains of which there are frames, ascending."""
        there = [self._trains[np.unique(keys[:, 0].astype(np.int64))] for keys in self._keys.values()]
        return np.unique(np.concatenate(there)) if there else np.zeros(0, "u8")

    def _with(self, key: str) -> tuple[int, ...]:
        """Return the modules of which every file has gains or masks; where some lack them, say which."""
        have = [m for m, pieces in self._pieces.items() if all(key in piece.maps for piece in pieces)]
        lack = [m for m in self.modules if m not in have]
        if lack and any(key in piece.maps for pieces in self._pieces.values() for piece in pieces):
            numbers = ", ".join(map(str, lack))
            self.notes.append(f"files without a {key}, so that none is compared there: module {numbers}")
        return tuple(have)

    def _add(self, module: int, source: str, files: list[RunFile]) -> None:
        """Take up the frames of a module: key, memory cell, and where each lies."""
        keys, cells, self._pieces[module] = [], [], []
        for number, file in enumerate(files):
            piece, rows = self._piece(file, source)
            self._pieces[module].append(piece)
            keys.append(np.column_stack([*rows[:2], np.full(len(rows[0]), number, "u8"), rows[3]]))
            cells.append(rows[2])
        whole = np.concatenate(keys)
        order = np.lexsort((whole[:, 1], whole[:, 0]))
        whole, cell = whole[order], np.concatenate(cells)[order]
        again = (whole[1:, :2] == whole[:-1, :2]).all(axis=1)
        if again.any():
            trains = train_text(self._trains[whole[1:][again][:, 0].astype(np.int64)])
            raise BadInput(
                f"{source}: frames of trains {trains} are there twice: give the files of one correction."
            )
        self._keys[module], self.cells[module] = whole, cell

    def _piece(self, file: RunFile, source: str) -> tuple[_Piece, tuple[np.ndarray, ...]]:
        """Return a module's part of a file, and train, pulse, cell and frame of each of its frames."""
        d = self.detector
        group, lead = f"INSTRUMENT/{source}/{d.group}", 1 if d.layout == "frames" else 2
        with opened(file.path) as f:
            first, count = file.index(f, source, d.group)
            names = {"data": d.planes[0], "gain": "gain", "mask": "mask"}
            try:
                shape = f[f"{group}/{names['data']}"].shape
                there = {key: name for key, name in names.items() if f"{group}/{name}" in f}
            except DAMAGE as error:
                raise UnreadableData(f"{file.path}: {group} cannot be read ({reason(error)})") from error
            if shape[lead:] != d.frame_shape:
                raise BadInput(
                    f"{file.path}: {group}/{names['data']} has shape {shape}; corrected data of {d.name} has "
                    f"(rows{', cells' * (lead - 1)}, {', '.join(map(str, d.frame_shape))}). Is this the "
                    "corrected run?"
                )
            per_row = shape[1] if lead == 2 else 1
            rows = np.concatenate([np.arange(a, a + n) for a, n in zip(first, count, strict=True)] or [[]])
            rows = rows.astype(np.int64)
            frames = (rows[:, None] * per_row + np.arange(per_row)).reshape(-1)
            train = np.repeat(np.searchsorted(self._trains, file.train_id), count * per_row)
            total = int(frames.max(initial=-1)) + 1
            if d.pulse_key:
                pulse = file.label(f, f"{group}/{d.pulse_key}", total).astype("u8")[frames]
            else:
                start = np.repeat(np.cumsum(count * per_row) - count * per_row, count * per_row)
                pulse = (np.arange(len(frames)) - start).astype("u8")
            cell = np.full(len(frames), -1, "i4")
            if d.cell_key and f"{group}/{d.cell_key}" in f:
                cell = file.label(f, f"{group}/{d.cell_key}", total).astype("i4")[frames]
        maps = {key: map_frames(file.path, f"{group}/{name}", lead) for key, name in there.items()}
        if maps["data"].dtype.kind not in "fiu":
            raise BadInput(
                f"{file.path}: {group}/{names['data']} has dtype {maps['data'].dtype}; expected numbers."
            )
        return _Piece(file, group, maps), (train.astype("u8"), pulse, cell, frames.astype("u8"))

    def locate(self, module: int, train_id: np.ndarray, pulse_id: np.ndarray) -> np.ndarray:
        """Return where the frames of shots are, for `read`.

        Parameters
        ----------
        module : int
        train_id, pulse_id : array of int, shape (n,)

        Returns
        -------
        ndarray of int64, shape (n,)
            -1 where there is none.
        """
        keys = self._keys[module]
        at = np.minimum(np.searchsorted(self._trains, train_id), max(len(self._trains) - 1, 0))
        known = self._trains[at] == train_id
        # Both parts of a key in one number: trains are counted, and pulses are far below 2^32.
        mine = keys[:, 0] << np.uint64(32) | keys[:, 1]
        asked = at.astype("u8") << np.uint64(32) | np.asarray(pulse_id, "u8")
        if not len(mine):
            return np.full(len(asked), -1, np.int64)
        found = np.minimum(np.searchsorted(mine, asked), len(mine) - 1)
        return np.where(known & (mine[found] == asked), found, -1)

    def count(self, module: int, trains: np.ndarray) -> int:
        """Return how many frames of a module are of some trains.

        Parameters
        ----------
        module : int
        trains : array of int

        Returns
        -------
        int
        """
        return int(np.isin(self._trains[self._keys[module][:, 0].astype(np.int64)], trains).sum())

    def read(self, module: int, at: np.ndarray) -> Frames:
        """Read frames of a module.

        Parameters
        ----------
        module : int
        at : ndarray of int64, shape (n,)
            From `locate`; none is -1.

        Returns
        -------
        Frames

        Raises
        ------
        UnreadableData
            The text names the file.
        """
        keys, shape = self._keys[module][at], (len(at), *self.detector.shape)
        arrays: dict[str, np.ndarray] = {}
        for key, dtype in (("data", self.dtype), ("gain", "u1"), ("mask", "u4")):
            if module not in {"data": self.modules, "gain": self.with_gain, "mask": self.with_mask}[key]:
                continue
            arrays[key] = np.empty(shape, dtype)
            for number in np.unique(keys[:, 2]):
                mine = np.flatnonzero(keys[:, 2] == number)
                piece = self._pieces[module][int(number)]
                begin = mine.astype(np.int64) * self.detector.pixels
                self._fill(piece.maps[key], keys[mine, 3].astype(np.int64), arrays[key], begin)
        return Frames(arrays["data"], arrays.get("gain"), arrays.get("mask"))

    @staticmethod
    def _fill(where: FrameMap, frames: np.ndarray, out: np.ndarray, begin: np.ndarray) -> None:
        if where.dtype == out.dtype or where.dtype.kind == out.dtype.kind == "u":
            read_frames(where, frames, out, begin)
            return
        part = np.empty((len(frames), *out.shape[1:]), where.dtype)
        read_frames(where, frames, part, np.arange(len(frames), dtype=np.int64) * part[0].size)
        out.reshape(-1, part[0].size)[begin // part[0].size] = part.reshape(len(part), -1)


def _found(files: list[RunFile], detector: Detector, name: str, label: str) -> dict[int, str]:
    """Return source by module of the corrected data of a detector."""
    there = detectors.match({source for file in files for source in file.instrument})
    mine = [one for one in there if one.detector.name == detector.name]
    corrected = [one for one in mine if not one.raw and one.name == name]
    if corrected:
        return corrected[0].modules
    # Corrected files of before 2020 have the raw names; raw files of the same shape do not pass as corrected.
    old = [one for one in mine if one.raw and one.name == name]
    if old:
        return old[0].modules
    told = ", ".join(f"{one.name} ({'raw' if one.raw else 'corrected'})" for one in there) or "no detector"
    raise BadInput(f"{label} has no corrected data of {name}; it has {told}.")
