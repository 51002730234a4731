"""Sums of products of frames that are photon lists, pixel by pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from .correlation_bins import WHO, CorrelationBins, PartPlan
from .correlation_input import TrainFrames, read_frames
from .listed_trains import ListedTrains, given_lists, read_lists
from .pair_summer import SUMS_BYTES, PairSummer, joined, takes_events

if TYPE_CHECKING:
    from ..backend import Backend


class EventSummer(PairSummer):
    """Makes the sums of `PairSummer` of photon lists, without their frames.

    Promise: exact; the same bits as those of the frames.
    """

    def pairs(
        self, frames: ListedTrains, others: ListedTrains | None, events: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sum products of frames: see `PairSummer.pairs`."""
        trains, length = frames.shape[:2]
        width = length if others is None else others.shape[1]
        parts = len(self.plan.part_bin)
        room = max(1, min(trains, SUMS_BYTES // max(1, parts * length * width * 4)))
        sums, frame_sums = [], []
        for start in range(0, trains, room):
            rows = slice(start, min(start + room, trains))
            own, of_frames = self._sorted(frames[rows])
            other = None if others is None else self._sorted(others[rows])[0]
            found = self.backend.device.empty((rows.stop - rows.start, parts, length, width), "i4")
            self.backend.native.event_pair_sums(
                own, other, found, plan=self._arrays, **self.backend.on(self.stream, self.threads)
            )
            sums.append(self.plan.by_bin(self._down(found)))
            frame_sums.append(self.plan.by_bin(of_frames))
        return joined(sums), joined(frame_sums)

    def lags(self, frames: ListedTrains, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sum products of frames of some levels at some lags: see `PairSummer.lags`."""
        own, of_frames = self._sorted(frames)
        found = self.backend.device.empty((frames.shape[0], len(self.plan.part_bin), len(lags)), "i8")
        self.backend.native.event_lag_sums(
            own, self._up(np.ascontiguousarray(lags, "i4")), found, n_frames=frames.shape[1],
            plan=self._arrays, **self.backend.on(self.stream, self.threads),
        )  # fmt: skip
        # Whole numbers below 2^53: the very floats that sums of frames are.
        return self.plan.by_bin(self._down(found)).astype("f8"), self.plan.by_bin(of_frames).astype("f8")

    def _sorted(self, frames: ListedTrains) -> tuple[tuple[Any, ...], np.ndarray]:
        table, of_frames = frames.sorted(self.plan, self.backend.native)
        return tuple(self._up(array) for array in table), of_frames


def read_given(frames: Any, bins: Any, valid: Any, counts: bool | None, backend: Backend) -> TrainFrames:
    """Check frames, or photon lists in their place: see `read_frames`."""
    lists = given_lists(frames)
    if lists is None:
        return read_frames(frames, bins, valid, counts, backend)
    return read_lists(lists, CorrelationBins.of(bins), valid, counts)


def summer_of(given: TrainFrames, backend: Backend, threads: int | None, stream: Any) -> PairSummer:
    """Return what makes the sums of frames, or of photon lists."""
    made = EventSummer if isinstance(given.frames, ListedTrains) else PairSummer
    plan = PartPlan.make(given.bins.labels, given.bins.n_static)
    return made(backend, plan, threads, given.stream(stream, backend))


def by_events(method: str, given: TrainFrames, backend: Backend) -> bool:
    """Return whether sums are made by lists of events, which those of photon lists always are.

    Raises
    ------
    BadInput
        As `takes_events`; also if another method is asked for photon lists.
    """
    if not isinstance(given.frames, ListedTrains):
        return takes_events(method, given.frames, given.counts, backend)
    if method not in ("auto", "events"):
        raise BadInput(
            f"{WHO}: method = {method!r} with photon lists: expected 'auto' or 'events', without frames; "
            "for others give frames, .dense()"
        )
    return True
