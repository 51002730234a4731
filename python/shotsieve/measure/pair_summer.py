"""Sums of products of frames on a backend, train by train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from .correlation_bins import WHO, PartPlan
from .correlation_input import MOST_COUNT, too_many

if TYPE_CHECKING:
    from ..backend import Backend

SPARSE = 0.1
"""Mean count of a pixel and frame below which lists of events are faster than a product of matrices."""

SUMS_BYTES = 256_000_000
"""Sums of a call: more trains go in several calls."""

METHODS = ("auto", "events", "matrix")


class PairSummer:
    """Makes sums of products over the pixels of each bin.

    Parameters
    ----------
    backend : Backend
    plan : PartPlan
    threads : int or None
    stream : stream of the device, int or None
    """

    def __init__(self, backend: Backend, plan: PartPlan, threads: int | None, stream: Any) -> None:
        self.backend, self.plan, self.threads = backend, plan, threads
        device = backend.device
        self.stream = device.stream() if stream is None else device.given_stream(stream)
        self._arrays = {name: self._up(array) for name, array in plan.arrays.items()}

    def pairs(self, frames: Any, others: Any, events: bool) -> tuple[np.ndarray, np.ndarray]:
        """Sum products of frames.

        Parameters
        ----------
        frames, others : array of uint8 or float32, shape (K, T, N), on the host or the device
            `others` None: the frames themselves.
        events : bool

        Returns
        -------
        sums : ndarray of int64 or float64, shape (K, n_bins, T, U)
        frame_sums : ndarray, the same dtype, shape (K, n_bins, T)

        Raises
        ------
        BadInput
            If counts are above 127, or values on a device are not finite.
        """
        trains, length = frames.shape[:2]
        width = length if others is None else others.shape[1]
        counts = np.dtype(frames.dtype) == np.uint8
        kind = np.dtype("i4" if counts else "f8")
        parts = len(self.plan.part_bin)
        room = max(1, min(trains, SUMS_BYTES // max(1, parts * length * width * kind.itemsize)))
        sums, frame_sums = [], []
        need = 0
        if counts:
            need = self.backend.native.pair_scratch_bytes(
                n_frames=length, n_others=0 if others is None else width,
                n_places=len(self.plan.arrays["order"]), n_parts=parts, events=events,
            )  # fmt: skip
        empty = self.backend.device.empty
        scratch = empty((need,), "u1") if need else None
        for start in range(0, trains, room):
            rows = slice(start, min(start + room, trains))
            n = rows.stop - rows.start
            first = self._up(frames[rows])
            second = None if others is None else self._up(others[rows])
            found = empty((n, parts, length, width), kind)
            of_frames = empty((n, parts, length), kind)
            largest = empty((n, parts), "i4") if counts else None
            self.backend.native.pair_sums(
                first, second, found, of_frames, largest, scratch, plan=self._arrays, events=events,
                **self.backend.on(self.stream, self.threads),
            )  # fmt: skip
            if counts and (most := int(self._down(largest).max(initial=0))) > MOST_COUNT:
                raise too_many(0, most)
            sums.append(self.plan.by_bin(self._down(found)))
            frame_sums.append(self.plan.by_bin(self._down(of_frames)))
        whole, of_frames = joined(sums), joined(frame_sums)
        self._check_finite(of_frames)
        return whole, of_frames

    def lags(self, frames: Any, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sum products of frames of some levels at some lags.

        Parameters
        ----------
        frames : array of uint8 or float32, shape (K, T, N)
        lags : ndarray of int32, shape (L, 2)
            Level and lag.

        Returns
        -------
        sums : ndarray of float64, shape (K, n_bins, L)
        frame_sums : ndarray of float64, shape (K, n_bins, T)
        """
        trains, length = frames.shape[:2]
        parts, given = len(self.plan.part_bin), self._up(np.ascontiguousarray(lags, "i4"))
        empty, sums, frame_sums = self.backend.device.empty, [], []
        need = self.backend.native.lag_scratch_bytes(
            n_trains=1,
            n_frames=length,
            n_places=len(self.plan.arrays["order"]),
            n_parts=parts,
            n_lags=len(lags),
        )
        scratch = empty((need,), "u1") if need else None
        # A device takes one train at a time: its scratch grows with them.
        room = trains if self.backend.name == "cpu" else 1
        for start in range(0, trains, room):
            first = self._up(frames[start : start + room])
            found, of_frames = empty((room, parts, len(lags)), "f8"), empty((room, parts, length), "f8")
            self.backend.native.lag_sums(
                first, given, found, of_frames, scratch, plan=self._arrays,
                **self.backend.on(self.stream, self.threads),
            )  # fmt: skip
            sums.append(self.plan.by_bin(self._down(found)))
            frame_sums.append(self.plan.by_bin(self._down(of_frames)))
        whole, of_frames = joined(sums), joined(frame_sums)
        self._check_finite(of_frames)
        return whole, of_frames

    def _check_finite(self, frame_sums: np.ndarray) -> None:
        if not np.isfinite(frame_sums).all():
            raise BadInput(f"{WHO}: frames hold NaN or infinities: on a device expected finite values only")

    def _up(self, array: Any) -> Any:
        """Return an array on the device, after waiting for the copy."""
        if not isinstance(array, np.ndarray):
            return array
        if self.backend.name == "cpu":
            return np.ascontiguousarray(array)
        device = self.backend.device
        pinned = device.empty_pinned(array.shape, array.dtype)
        pinned[...] = array
        there = device.twin(pinned)
        device.to_device(there, pinned, self.stream)
        device.wait(device.record(self.stream))
        return there

    def _down(self, array: Any) -> np.ndarray:
        if isinstance(array, np.ndarray):
            return array
        device = self.backend.device
        out = device.empty_pinned(array.shape, array.dtype)
        device.to_host(out, array, self.stream)
        device.wait(device.record(self.stream))
        return np.array(out)


def joined(parts: list[np.ndarray]) -> np.ndarray:
    """Return arrays one after the other; a single one as it is."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def takes_events(method: str, frames: Any, counts: bool, backend: Backend) -> bool:
    """Return whether sums are made by lists of events; they come out the same by either method.

    Raises
    ------
    BadInput
        If there is no such method, or events are asked for values.

    Examples
    --------
    >>> from shotsieve import backend
    >>> few = np.zeros((1, 2, 100), "u1")
    >>> [takes_events(m, few, True, backend.get("cpu")) for m in ("auto", "matrix")]
    [True, False]
    """
    if method not in METHODS:
        raise BadInput(f"{WHO}: method = {method!r}: expected one of {', '.join(METHODS)}")
    if method == "events" and not counts:
        raise BadInput(f"{WHO}: events are made of photon counts, and these are values: take method='matrix'")
    if method != "auto" or not counts:
        return method == "events"
    if not hasattr(frames, "mean"):  # an array of the emulator
        return False
    # Of some frames every seventh pixel: enough to tell, and little beside the sums.
    return float(frames[:, :: max(1, frames.shape[1] // 16), ::7].mean()) < SPARSE
