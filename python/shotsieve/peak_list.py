"""The Bragg peaks of a run: a ragged list, shot by shot, that outlives whatever is dropped.

Every shot of the run has its place. A shot that was not searched has no peaks and ``n_peaks`` -1: unknown,
which is not the same as a shot that was searched and has none.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import shown
from .errors import BadInput
from .measure.peaks import FILTERS, PEAK_DTYPE
from .table_columns import Column

if TYPE_CHECKING:
    import pandas


UNKNOWN = -1
"""Stands in ``n_peaks`` and ``rejected`` of a shot that was not searched."""

VALUE = "unit of the frames"  # `PeakList.describe` puts the real one in its place

SHOTS = {
    "train_id": Column("", "train of the shot", "u8"),
    "pulse_id": Column("", "pulse of the shot; index in the train where the detector has no pulse ids", "u8"),
    "cell_id": Column("", "memory cell that holds the shot", "i4"),
    "first": Column("", "shot k has the peaks first[k] to first[k + 1], the last one excluded", "i8"),
    "n_peaks": Column(
        "", "peaks found, more than are stored where the list was limited; -1 not searched", "i4"
    ),
    "rejected": Column("", "components no peak was made of, by filter; -1 not searched", "i4"),
}
PEAKS = {
    "fs": Column("pixel", "fast-scan position; the centre of the first pixel is 0", "f8"),
    "ss": Column("pixel", "slow-scan position in the module; the centre of the first pixel is 0", "f8"),
    "module": Column("", "module number", "i4"),
    "panel": Column("", "index in the list of panels that were searched", "i4"),
    "total": Column(VALUE, "sum of the peak's pixels above the local background", "f8"),
    "max": Column(VALUE, "brightest pixel above the local background", "f8"),
    "snr": Column("", "total over sigma, as peakfinder8 defines it: not I/sigma(I)", "f8"),
    "background": Column(VALUE, "mean of the local background", "f8"),
    "sigma": Column(VALUE, "standard deviation of one pixel of the local background", "f8"),
    "n_pixels": Column("pixel", "size of the peak", "i4"),
    "q": Column("1/nm", "momentum transfer, 4 pi sin(theta) / wavelength; NaN unknown", "f8"),
}
FOUND = tuple(name for name in PEAK_DTYPE.names if name not in ("fs", "ss"))
_LIST_DTYPE = np.dtype([(name, column.dtype) for name, column in PEAKS.items()])


@dataclass(frozen=True, eq=False)
class PeakList:
    """The peaks of all shots of a run; made by `shotsieve.peak_list_build.PeakListBuilder` or `open`.

    Attributes
    ----------
    train_id, pulse_id, cell_id : ndarray of uint64, uint64, int32, shape (S,)
        Key of each shot.
    first : ndarray of int64, shape (S + 1,)
        Shot k has the peaks ``first[k]`` to ``first[k + 1]``.
    n_peaks : ndarray of int32, shape (S,)
        All peaks found in the modules that were there, also those beyond the limit of what is stored; -1
        where the shot was not searched.
    rejected : ndarray of int32, shape (S, 6)
        Components that each of `shotsieve.measure.peaks.FILTERS` rejected; -1 where not searched.
    fs, ss : ndarray of float64, shape (N,)
        Position in the module, in pixels; the centre of the first pixel is 0.
    module, panel : ndarray of int32, shape (N,)
        Module number, and index in the list of panels that were searched.
    total, max, snr, background, sigma : ndarray of float64, shape (N,)
        In `unit`; snr has none.
    n_pixels : ndarray of int32, shape (N,)
    q : ndarray of float64, shape (N,)
        Momentum transfer in 1/nm; NaN is unknown.
    modules : tuple of int
        Module numbers in the order in which they stand in a slab.
    module_shape : (int, int)
        Slow-scan and fast-scan size of a module.
    unit : str
        Unit of the frames that were searched.
    panels : ndarray of int32, shape (P, 4), or None
        ss_start, ss_stop, fs_start, fs_stop of the searched panels in the slab, stop exclusive.

    Notes
    -----
    Promise: exact; holds what it is given. Module and slab positions turn into each other without rounding.

    Examples
    --------
    >>> from shotsieve.peak_list_build import PeakListBuilder
    >>> peaks = PeakListBuilder([7, 7], [0, 4], [0, 1], (0, 1), (512, 128), "keV").finish()
    >>> len(peaks), peaks.n_peaks.tolist(), len(peaks.of(1))
    (2, [-1, -1], 0)
    """

    train_id: np.ndarray
    pulse_id: np.ndarray
    cell_id: np.ndarray
    first: np.ndarray
    n_peaks: np.ndarray
    rejected: np.ndarray
    fs: np.ndarray
    ss: np.ndarray
    module: np.ndarray
    panel: np.ndarray
    total: np.ndarray
    max: np.ndarray
    snr: np.ndarray
    background: np.ndarray
    sigma: np.ndarray
    n_pixels: np.ndarray
    q: np.ndarray
    modules: tuple[int, ...]
    module_shape: tuple[int, int]
    unit: str
    panels: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name, column in (SHOTS | PEAKS).items():
            object.__setattr__(self, name, np.asarray(getattr(self, name), column.dtype))
        object.__setattr__(self, "modules", tuple(int(m) for m in self.modules))
        object.__setattr__(self, "module_shape", tuple(int(n) for n in self.module_shape))
        if self.panels is not None:
            object.__setattr__(self, "panels", np.asarray(self.panels, "i4").reshape(-1, 4))
        shots, first = len(self.train_id), self.first
        if first.shape != (shots + 1,) or first[0] != 0 or (np.diff(first) < 0).any():
            raise BadInput(
                f"peak list: first has shape {first.shape} for {shots} shots: expected {(shots + 1,)},"
                " from 0 and never falling"
            )
        shapes = dict.fromkeys(("pulse_id", "cell_id", "n_peaks"), (shots,))
        shapes |= {"rejected": (shots, len(FILTERS))} | dict.fromkeys(PEAKS, (int(first[-1]),))
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise BadInput(
                    f"peak list: {name} has shape {getattr(self, name).shape}; expected {shape}: one value"
                    f" per {'peak' if name in PEAKS else 'shot'}"
                )
        if not np.isin(self.module, self.modules).all():
            raise BadInput(
                f"peak list: peaks lie in module {sorted(set(self.module.tolist()) - set(self.modules))[0]};"
                f" the modules are {', '.join(map(str, self.modules))}"
            )

    def _repr_html_(self) -> str:
        return shown.peaks(self.n_peaks, self.unit)

    def __len__(self) -> int:
        return len(self.train_id)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PeakList):
            return NotImplemented
        same = all(getattr(self, n) == getattr(other, n) for n in ("modules", "module_shape", "unit"))
        same &= (self.panels is None) == (other.panels is None)
        same &= self.panels is None or np.array_equal(self.panels, other.panels)
        return same and all(
            np.array_equal(getattr(self, n), getattr(other, n), equal_nan=column.dtype == "f8")
            for n, column in (SHOTS | PEAKS).items()
        )

    __hash__ = None  # arrays have none

    def of(self, shot: int) -> np.ndarray:
        """Return the stored peaks of one shot.

        Parameters
        ----------
        shot : int
            Row of the table; negative counts from the end.

        Returns
        -------
        ndarray, shape (n,)
            A structured array with the fields of a peak, in the order in which they were found.

        Raises
        ------
        IndexError
            If there is no such shot.

        Examples
        --------
        >>> peaks.of(3)["snr"].max()    # doctest: +SKIP
        """
        part = self._slice(shot)
        out = np.empty(part.stop - part.start, _LIST_DTYPE)
        for name in PEAKS:
            out[name] = getattr(self, name)[part]
        return out

    def records(self, shot: int) -> np.ndarray:
        """Return the stored peaks of one shot as the finder gave them, with slab positions.

        Parameters
        ----------
        shot : int

        Returns
        -------
        ndarray of PEAK_DTYPE, shape (n,)

        Raises
        ------
        IndexError
            If there is no such shot.

        Examples
        --------
        >>> writer.append(..., peaks=[peaks.records(k) for k in kept])    # doctest: +SKIP
        """
        part = self._slice(shot)
        out = np.empty(part.stop - part.start, PEAK_DTYPE)
        for name in ("fs", *FOUND):
            out[name] = getattr(self, name)[part]
        out["ss"] = self.slab_ss(part)
        return out

    def slab_ss(self, part: Any = slice(None)) -> np.ndarray:
        """Return slow-scan positions in the slab, in which the modules stand one below the other.

        Parameters
        ----------
        part : slice or index array, optional
            Which peaks; all by default.

        Returns
        -------
        ndarray of float64, shape (n,)

        Examples
        --------
        >>> rows = peaks.slab_ss()    # doctest: +SKIP
        """
        order = np.argsort(self.modules)
        place = order[np.searchsorted(np.array(self.modules), self.module[part], sorter=order)]
        return place * float(self.module_shape[0]) + self.ss[part]

    def shot(self) -> np.ndarray:
        """Return the shot of each peak, int64 (N,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.first))

    def describe(self) -> dict[str, Column]:
        """Return unit and meaning of every column."""
        return {
            name: Column(self.unit if column.unit == VALUE else column.unit, column.meaning, column.dtype)
            for name, column in (SHOTS | PEAKS).items()
        }

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a pandas DataFrame, one row per peak; see `shotsieve.peak_list_io.to_dataframe`."""
        from .peak_list_io import to_dataframe

        return to_dataframe(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the list as HDF5; the same list gives the same bytes. See `shotsieve.peak_list_io.save`."""
        from .peak_list_io import save

        save(self, path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> PeakList:
        """Read a list that `save` wrote; see `shotsieve.peak_list_io.load`."""
        from .peak_list_io import load

        return load(path)

    def _slice(self, shot: int) -> slice:
        shot = range(len(self))[shot]
        return slice(int(self.first[shot]), int(self.first[shot + 1]))
