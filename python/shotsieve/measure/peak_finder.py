"""Runs the peak finder of a backend on batches of shots, and hands its lists over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import shown
from .peaks import FILTERS, PEAK_DTYPE, PLAN_ARRAYS, PeakPlan
from .uploads import uploaded

if TYPE_CHECKING:
    from ..backend import Backend

SLOTS = 64
"""Peaks of a panel that a device backend has room for at first; a call that finds more is repeated."""


@dataclass(frozen=True)
class Peaks:
    """The peaks of some shots.

    Attributes
    ----------
    records : ndarray of `PEAK_DTYPE`, shape (n,)
        Peaks of all shots one after the other; in a shot by panel, in a panel by the raster position of the
        first pixel that is not on the panel's border.
    first : ndarray of int64, shape (S + 1,)
        Shot k has ``records[first[k]:first[k + 1]]``, at most ``max_num_peaks``.
    panel_counts : ndarray of int32, shape (S, P)
        All peaks of each panel, also those beyond ``max_num_peaks``.
    rejected : ndarray of int32, shape (S, 6)
        Components that each of `FILTERS` rejected.

    Examples
    --------
    >>> none = Peaks.empty(2, 1)
    >>> len(none), none.n_peaks.tolist(), len(none[0])
    (2, [0, 0], 0)
    """

    records: np.ndarray
    first: np.ndarray
    panel_counts: np.ndarray
    rejected: np.ndarray

    @classmethod
    def empty(cls, shots: int, panels: int) -> Peaks:
        """Return shots without peaks."""
        return cls(
            np.zeros(0, PEAK_DTYPE),
            np.zeros(shots + 1, "i8"),
            np.zeros((shots, panels), "i4"),
            np.zeros((shots, len(FILTERS)), "i4"),
        )

    @property
    def n_peaks(self) -> np.ndarray:
        """All peaks of each shot, int32 (S,), also those beyond ``max_num_peaks``."""
        return self.panel_counts.sum(axis=1, dtype="i4")

    def _repr_html_(self) -> str:
        return shown.peaks(self.n_peaks)

    def __len__(self) -> int:
        return len(self.first) - 1

    def __getitem__(self, shot: int) -> np.ndarray:
        shot = range(len(self))[shot]
        return self.records[self.first[shot] : self.first[shot + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[shot] for shot in range(len(self)))

    @classmethod
    def joined(cls, parts: list[Peaks]) -> Peaks:
        """Return the shots of several batches, one after the other."""
        ends = np.cumsum([0, *(part.first[-1] for part in parts)])
        first = [part.first[:-1] + begin for part, begin in zip(parts, ends, strict=False)]
        return cls(
            np.concatenate([part.records for part in parts]),
            np.concatenate([*first, ends[-1:]]).astype("i8"),
            np.concatenate([part.panel_counts for part in parts]),
            np.concatenate([part.rejected for part in parts]),
        )


class PeakFinder:
    """A plan on a backend, with buffers for so many shots at once.

    Parameters
    ----------
    backend : Backend
    plan : PeakPlan
    shots : int
        Most shots of a call.
    slots : int
        Peaks per panel that a device backend has room for at first.
    """

    def __init__(self, backend: Backend, plan: PeakPlan, shots: int, slots: int = SLOTS) -> None:
        self.backend, self.plan, self.shots = backend, plan, shots
        device = backend.device
        self._plan = uploaded(plan, plan.arrays, device)
        panels = len(plan.arrays["panels"])
        small = {"first": (shots + 1,), "panel_counts": (shots, panels), "rejected": (shots, len(FILTERS))}
        self._host = {name: device.empty_pinned(shape, "i4") for name, shape in small.items()}
        self._host["overflow"] = device.empty_pinned((1,), "i4")
        self._device = {name: device.twin(array) for name, array in self._host.items()}
        self._make_room(slots)

    def _make_room(self, slots: int) -> None:
        """Allocate what depends on the number of peaks a panel may have."""
        device, plan = self.backend.device, self.plan
        panels = len(plan.arrays["panels"])
        most = plan.stored_peaks
        if self.backend.name != "cpu":
            most = min(most, panels * slots)
        self.slots = slots
        self._peaks_host = device.empty_pinned((self.shots * most, PEAK_DTYPE.itemsize // 8), "f8")
        self._peaks = device.twin(self._peaks_host)
        size = self.backend.native.peaks_scratch_bytes(
            n_shots=self.shots,
            rows=plan.shape[0],
            columns=plan.shape[1],
            n_bins=len(plan.arrays["bin_start"]) - 1,
            n_panels=panels,
            panel_words=plan.panel_words,
            slots=slots,
        )
        self._scratch = device.empty((max(size, 1),), "u1")

    def find(
        self,
        pixels: Any,
        candidates: Any,
        stream: Any,
        *,
        all_bins: bool = False,
        threads: int | None = None,
    ) -> Peaks:
        """Search some shots, and wait for the result. Promise: exact.

        Parameters
        ----------
        pixels : float32 (n, n_pixels) on the device
            Calibrated slabs, NaN where masked.
        candidates : uint32 (n, words) on the device, or None
            Bits of the pixels at or above the threshold; None finds them here.
        stream : stream of the device
        all_bins : bool
            Compute the statistics of every bin; the result is the same.
        threads : int or None
            CPU threads; None takes the backend's.

        Returns
        -------
        Peaks
            Arrays of their own.
        """
        device, n = self.backend.device, pixels.shape[0]
        if n == 0:
            return Peaks.empty(0, len(self.plan.arrays["panels"]))
        lengths = {"first": n + 1, "panel_counts": n, "rejected": n, "overflow": 1}
        while True:
            small = {name: self._device[name][:length] for name, length in lengths.items()}
            self.backend.native.find_peaks(
                pixels,
                candidates,
                *(self._plan[name] for name in PLAN_ARRAYS),
                self._peaks,
                small["first"],
                small["panel_counts"],
                small["rejected"],
                small["overflow"],
                self._scratch,
                rows=self.plan.shape[0],
                columns=self.plan.shape[1],
                panel_words=self.plan.panel_words,
                **self.plan.params.kernel_args(),
                max_num_peaks=self.plan.stored_peaks,
                slots=self.slots,
                all_bins=all_bins,
                **self.backend.on(stream, threads),
            )
            for name, length in lengths.items():
                device.to_host(self._host[name][:length], small[name], stream)
            device.wait(device.record(stream))
            if (needed := int(self._host["overflow"][0])) == 0:
                break
            # More peaks in a panel than there is room for: nothing of this attempt is used.
            self._make_room(2 * needed)
        found = int(self._host["first"][n])
        device.to_host(self._peaks_host[:found], self._peaks[:found], stream)
        device.wait(device.record(stream))
        return Peaks(
            self._peaks_host[:found].copy().view(PEAK_DTYPE).reshape(found),
            self._host["first"][: n + 1].astype("i8"),
            self._host["panel_counts"][:n].copy(),
            self._host["rejected"][:n].copy(),
        )
