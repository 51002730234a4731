"""The list of peaks while it grows, block by block and part by part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import BadInput
from .measure.peaks import FILTERS, PEAK_DTYPE
from .peak_list import FOUND, UNKNOWN, PeakList

if TYPE_CHECKING:
    from .measure.peak_finder import Peaks

_ADDED = {"shots": "i8", "counts": "i8", "records": PEAK_DTYPE, "q": "f8"}
"""What a call of `PeakListBuilder.set` adds: rows of the table, peaks of each, and all of them in a row."""


class PeakListBuilder:
    """Collects the peaks of a run block by block.

    Parameters
    ----------
    train_id, pulse_id, cell_id : array, shape (S,)
        Keys of all shots of the run, searched or not.
    modules : sequence of int
        Module numbers in the order of the slab.
    module_shape : (int, int)
        Slow-scan and fast-scan size of a module.
    unit : str
        Unit of the frames that are searched.
    panels : array of int32, shape (P, 4), optional
        The panels that are searched.

    Notes
    -----
    Promise: exact; the same list however the shots are cut into blocks, and in whatever order blocks come.

    Examples
    --------
    >>> builder = PeakListBuilder(tid, pid, cell, (0, 1), (512, 128), "keV")    # doctest: +SKIP
    >>> builder.set(shots, found, q)    # doctest: +SKIP
    >>> builder.finish().save("peaks.h5")    # doctest: +SKIP
    """

    def __init__(
        self,
        train_id: Any,
        pulse_id: Any,
        cell_id: Any,
        modules: Sequence[int],
        module_shape: tuple[int, int],
        unit: str,
        panels: Any = None,
    ) -> None:
        self._keys = (train_id, pulse_id, cell_id)
        self.shots = len(train_id)
        self.modules, self.module_shape = tuple(modules), tuple(module_shape)
        self.unit, self.panels = unit, panels
        self.n_peaks = np.full(self.shots, UNKNOWN, "i4")
        self.rejected = np.full((self.shots, len(FILTERS)), UNKNOWN, "i4")
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def set(self, shots: Any, peaks: Peaks, q: Any = None) -> None:
        """Set the peaks of some shots.

        Parameters
        ----------
        shots : array of int, shape (n,)
            Rows of the table, ascending, each set once.
        peaks : Peaks
            What `shotsieve.peakfinder8` found in them, in the same order.
        q : array of float64, shape (number of records,), optional
            Momentum transfer of each peak in 1/nm; unknown by default.

        Raises
        ------
        BadInput
            If numbers of shots or peaks disagree, a shot does not exist or was set before, or a peak lies
            outside the slab.

        Examples
        --------
        >>> builder.set(shots, found)    # doctest: +SKIP
        """
        shots = np.asarray(shots, "i8")
        records, counts = peaks.records, np.diff(peaks.first)
        if shots.shape != counts.shape:
            raise BadInput(f"peak list: peaks of {len(counts)} shots are given for {shots.shape} shots")
        q = np.full(len(records), np.nan) if q is None else np.array(q, "f8")
        if q.shape != records.shape:
            raise BadInput(f"peak list: q has shape {q.shape}; expected {records.shape}: one value per peak")
        if len(shots) == 0:
            return
        if shots[0] < 0 or shots[-1] >= self.shots or (np.diff(shots) <= 0).any():
            raise BadInput(
                f"peak list: shots {shots[0]} to {shots[-1]} of a run of {self.shots}: they must exist and"
                " ascend"
            )
        if (again := self.n_peaks[shots] != UNKNOWN).any():
            raise BadInput(f"peak list: the peaks of shot {shots[again][0]} were set before")
        ss_size, fs_size = self.module_shape
        # A pixel reaches half a pixel to either side of its centre.
        inside = (records["ss"] >= -0.5) & (records["ss"] < len(self.modules) * ss_size - 0.5)
        inside &= (records["fs"] >= -0.5) & (records["fs"] < fs_size - 0.5)
        if not inside.all():
            bad = records[~inside][0]
            raise BadInput(
                f"peak list: a peak at ss {bad['ss']:g}, fs {bad['fs']:g} lies outside the slab of"
                f" {len(self.modules)} modules of {ss_size} x {fs_size} pixels"
            )
        self.n_peaks[shots], self.rejected[shots] = peaks.n_peaks, peaks.rejected
        # The caller may use the memory again for the next block.
        self._parts.append((shots, counts, records.copy(), q))

    def part(self, shots: slice) -> dict[str, np.ndarray]:
        """Return what was set for some shots that were set one after the other; `put` takes it."""
        added = self._added(part for part in self._parts if shots.start <= part[0][0] < shots.stop)
        return {"n_peaks": self.n_peaks[shots], "rejected": self.rejected[shots], **added}

    def put(self, shots: slice, found: Mapping[str, np.ndarray]) -> None:
        """Take what `part` returned of the same shots."""
        self.n_peaks[shots], self.rejected[shots] = found["n_peaks"], found["rejected"]
        if len(found["shots"]):
            self._parts.append(tuple(found[name] for name in _ADDED))

    @staticmethod
    def _added(parts: Iterable[tuple[np.ndarray, ...]]) -> dict[str, np.ndarray]:
        columns = list(zip(*parts, strict=True)) or [()] * len(_ADDED)
        return {
            name: np.concatenate([np.zeros(0, dtype), *column])
            for (name, dtype), column in zip(_ADDED.items(), columns, strict=True)
        }

    def finish(self) -> PeakList:
        """Return the list of all shots; those that were not set are unknown."""
        shots, counts, records, q = self._added(self._parts).values()
        if (np.diff(shots) < 0).any():
            # Stable: the peaks of a shot keep their order.
            order = np.argsort(np.repeat(shots, counts), kind="stable")
            records, q = records[order], q[order]
        first = np.zeros(self.shots + 1, "i8")
        first[shots + 1] = counts
        place = np.floor((records["ss"] + 0.5) / self.module_shape[0]).astype("i8")
        return PeakList(
            *self._keys,
            np.cumsum(first),
            self.n_peaks.copy(),
            self.rejected.copy(),
            fs=records["fs"].copy(),
            ss=records["ss"] - place * float(self.module_shape[0]),
            module=np.array(self.modules, "i4")[place],
            **{name: records[name].copy() for name in FOUND},
            q=q,
            modules=self.modules,
            module_shape=self.module_shape,
            unit=self.unit,
            panels=self.panels,
        )
