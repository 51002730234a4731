"""Sums of dark frames: for every pixel and memory cell the number, sum and squares of its samples.

Promise: exact. The sums are integers, so they are the same bits on every backend, with any block size, number
of threads and order of frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput

if TYPE_CHECKING:
    from ..backend import Backend
    from ..detectors import Detector

SUMS = {"count": "u4", "sum": "u4", "squares": "u8", "wrong": "u4"}
GATED = {"outside": "u4"}
LEVELS = {"level_count": "u4", "level_sum": "u4", "level_squares": "u8"}
MAX_SUM = 2**32 - 1
ROWS_AT_ONCE = 8  # of the accumulators, made floats


@dataclass(frozen=True)
class DarkWords:
    """How a sample is read from its raw words; the scalars of ``dark_sums``.

    Attributes
    ----------
    value_plane, value_mask : int
        The plane, and the bits in it, that are the value.
    code_plane, code_shift, code_mask, code : int
        Where the gain code stands, and that of the expected stage; a sample with another one is wrong.
    zero_as : int
        What a value of 0 stands for.
    least, most : int
        A value outside is no measurement, and counted as wrong.
    level_plane : int
        Plane of the digital level; -1 where there is none.
    """

    value_plane: int = 0
    value_mask: int = 0xFFFF
    code_plane: int = 0
    code_shift: int = 0
    code_mask: int = 0
    code: int = 0
    zero_as: int = 0
    least: int = 0
    most: int = 0xFFFF
    level_plane: int = -1

    @property
    def has_levels(self) -> bool:
        """Whether there is a digital level beside the value."""
        return self.level_plane >= 0

    @property
    def has_codes(self) -> bool:
        """Whether every sample says its gain stage."""
        return self.code_mask > 0

    @property
    def most_frames(self) -> int:
        """Frames that a row may get, so that no sum can exceed 32 bits.

        Examples
        --------
        >>> DarkWords(most=16383).most_frames
        262160
        """
        return MAX_SUM // max(self.most, 1)

    def kernel_args(self) -> dict[str, int]:
        """Return the keyword arguments of the native function."""
        return {**vars(self), "level_plane": max(self.level_plane, 0)}


def dark_words(detector: Detector, stage: int, zero_as: int = 0) -> DarkWords:
    """Return how samples of a dark run of one gain stage are read.

    Parameters
    ----------
    detector : Detector
    stage : int
        0 high, 1 medium, 2 low gain.
    zero_as : int
        What a stored 0 stands for, of a detector with one gain stage.

    Returns
    -------
    DarkWords

    Examples
    --------
    >>> from shotsieve import detectors
    >>> words = dark_words(detectors.load("JUNGFRAU"), 2)
    >>> words.code, words.least, words.most
    (3, 1, 16382)
    """
    if detector.encoding == "threshold":
        return DarkWords(most=detector.adc_max, level_plane=1)
    if detector.encoding == "plain":
        return DarkWords(zero_as=zero_as)  # words may have more bits than the usual ones
    if detector.encoding == "parallel":
        # Each plane is a stage of its own, whatever its gain bits say.
        return DarkWords(value_plane=stage, value_mask=(1 << detector.adc_bits) - 1, most=detector.adc_max)
    if detector.encoding == "code":
        where = {"code_plane": 1, "code_mask": 0xFFFF}
    else:
        bits = detector.adc_bits
        where = {"value_mask": (1 << bits) - 1, "code_shift": bits, "code_mask": 3}
    most = detector.adc_max
    # Words that stand for something else lie at the ends of the range.
    return DarkWords(
        code=detector.codes[stage],
        least=1 if stage > 0 and detector.saturated_adc == 0 else 0,
        most=most - 1 if stage == 2 and detector.lost_adc == most else most,
        **where,
    )


def kinds(words: DarkWords, gated: bool) -> dict[str, str]:
    """Return names and dtypes of the accumulators.

    Examples
    --------
    >>> list(kinds(DarkWords(), gated=False))
    ['count', 'sum', 'squares', 'wrong']
    """
    return {**SUMS, **(GATED if gated else {}), **(LEVELS if words.has_levels else {})}


def accumulator_bytes(rows: int, n_pixels: int, words: DarkWords, gated: bool) -> int:
    """Return the bytes of the accumulators of so many rows.

    Examples
    --------
    >>> accumulator_bytes(352, 65536, DarkWords(level_plane=1), gated=False)
    830472192
    """
    per_pixel = sum(np.dtype(dtype).itemsize for dtype in kinds(words, gated).values())
    return rows * n_pixels * (per_pixel + (4 if gated else 0))


@dataclass
class Lists:
    """Which frames of a block are added to which rows: pinned memory and its twin on the device."""

    frames: np.ndarray
    rows: np.ndarray
    device_frames: Any
    device_rows: Any

    @classmethod
    def make(cls, backend: Backend, frames: int) -> Lists:
        """Make lists for so many frames."""
        device = backend.device
        pinned = [device.empty_pinned((frames,), "i4") for _ in range(2)]
        return cls(*pinned, *(device.twin(one) for one in pinned))


@dataclass(frozen=True)
class Moments:
    """What follows from the sums of one kind of word; arrays of shape (rows, n_pixels).

    Attributes
    ----------
    mean : ndarray of float32
        NaN without a sample.
    std : ndarray of float32
        Standard deviation over count - 1; NaN with fewer than two samples.
    count : ndarray of uint32
    """

    mean: np.ndarray
    std: np.ndarray
    count: np.ndarray


class DarkSums:
    """Accumulators of dark frames on a backend.

    Promise: exact; see the module.

    Parameters
    ----------
    backend : Backend
    rows, n_pixels : int
        A row is a memory cell of a module.
    words : DarkWords
    gate : (ndarray, ndarray) or None
        Lowest and highest value that counts, uint16 (rows, n_pixels).
    most_bytes : int or None
        What the accumulators may take.

    Attributes
    ----------
    stream
        Stream of the device on which everything is queued: two must not add to a row at a time.
    frames_in : ndarray of int64, shape (rows,)
        Frames that each row got.

    Raises
    ------
    BadInput
        If the accumulators do not fit; the text gives their size.

    Examples
    --------
    >>> from shotsieve import backend
    >>> cpu = backend.get("cpu")
    >>> sums = DarkSums(cpu, rows=1, n_pixels=2, words=DarkWords())
    >>> sums.add(np.array([[[4, 7]], [[6, 7]]], "u2"), [0, 1], [0, 0])
    >>> sums.values().mean.tolist(), sums.values().std.tolist()
    ([[5.0, 7.0]], [[1.4142135381698608, 0.0]])
    """

    def __init__(
        self,
        backend: Backend,
        rows: int,
        n_pixels: int,
        words: DarkWords,
        gate: tuple[np.ndarray, np.ndarray] | None = None,
        most_bytes: int | None = None,
    ) -> None:
        size = accumulator_bytes(rows, n_pixels, words, gate is not None)
        if most_bytes is not None and size > most_bytes:
            raise BadInput(
                f"sums of dark frames: {rows} cells of {n_pixels} pixels take {size / 1e9:.2f} GB; there are "
                f"{most_bytes / 1e9:.2f} GB for them"
            )
        self.backend, self.words, self.n_bytes = backend, words, size
        self.rows, self.n_pixels = rows, n_pixels
        self.frames_in = np.zeros(rows, np.int64)
        self.stream = backend.device.stream()
        self._sums: dict[str, Any] = {}
        self._kinds = kinds(words, gate is not None)
        for name, dtype in self._kinds.items():
            self._put(name, np.zeros((rows, n_pixels), dtype))
        if gate is not None:
            for name, values in zip(("low", "high"), gate, strict=True):
                self._put(name, np.ascontiguousarray(values, "u2"))

    @property
    def gated(self) -> bool:
        """Whether only values inside a gate count."""
        return "outside" in self._kinds

    def queue(self, raw: Any, lists: Lists, frames: Any, rows: Any) -> None:
        """Queue the addition of some frames on `stream`; waits for nothing.

        Parameters
        ----------
        raw : uint16 (F, planes, n_pixels) on the device
        lists : Lists
            Left alone until the work is done.
        frames, rows : array of int, shape (k,)
            Which frames, and their rows.

        Raises
        ------
        BadInput
            If a row would get more frames than a sum can hold.
        """
        frames, rows = np.asarray(frames, np.int32), np.asarray(rows, np.int32)
        held = self.frames_in + np.bincount(rows, minlength=self.rows)
        if held.max(initial=0) > self.words.most_frames:
            raise BadInput(
                f"sums of dark frames: a memory cell has more than {self.words.most_frames} frames, beyond "
                f"which a sum of words up to {self.words.most} may not fit into 32 bits: give fewer trains"
            )
        self.frames_in = held
        # Frames of a row one after the other: its sums are then read and written once.
        order, k, device = np.argsort(rows, kind="stable"), len(rows), self.backend.device
        lists.frames[:k], lists.rows[:k] = frames[order], rows[order]
        device.to_device(lists.device_frames[:k], lists.frames[:k], self.stream)
        device.to_device(lists.device_rows[:k], lists.rows[:k], self.stream)
        self.backend.native.dark_sums(
            raw,
            lists.device_frames[:k],
            lists.device_rows[:k],
            **self._sums,
            **self.words.kernel_args(),
            **self.backend.on(self.stream),
        )

    def add(self, raw: np.ndarray, frames: Any, rows: Any) -> None:
        """Add some frames of host memory, and wait.

        Parameters
        ----------
        raw : ndarray of uint16, shape (F, planes, n_pixels)
        frames, rows : array of int, shape (k,)
        """
        device = self.backend.device
        pinned = device.empty_pinned(raw.shape, "u2")
        pinned[...] = raw
        there = device.twin(pinned)
        device.to_device(there, pinned, self.stream)
        self.queue(there, Lists.make(self.backend, max(len(frames), 1)), frames, rows)
        device.wait(device.record(self.stream))

    def fetch(self, name: str) -> np.ndarray:
        """Return an accumulator on the host, (rows, n_pixels)."""
        device, array = self.backend.device, self._sums[name]
        host = device.empty_pinned(array.shape, self._kinds[name])
        device.to_host(host, array, self.stream)
        device.wait(device.record(self.stream))
        return host

    def values(self) -> Moments:
        """Return mean and spread of the values."""
        return moments(*(self.fetch(name) for name in ("count", "sum", "squares")))

    def levels(self) -> Moments:
        """Return mean and spread of the digital levels."""
        return moments(*(self.fetch(name) for name in LEVELS))

    def _put(self, name: str, values: np.ndarray) -> None:
        device = self.backend.device
        pinned = device.empty_pinned(values.shape, values.dtype)
        pinned[...] = values
        self._sums[name] = device.twin(pinned)
        device.to_device(self._sums[name], pinned, self.stream)
        device.wait(device.record(self.stream))


def moments(count: np.ndarray, total: np.ndarray, squares: np.ndarray) -> Moments:
    """Return mean and standard deviation from integer sums.

    ``n * squares - total**2`` is exact in 64 bits, since a total is below 2**32: nothing cancels, and no root
    of a negative number is taken.

    Parameters
    ----------
    count, total : ndarray of uint32, shape (rows, n)
    squares : ndarray of uint64, shape (rows, n)

    Returns
    -------
    Moments

    Examples
    --------
    >>> one = np.array([[3]], "u4")
    >>> moments(one, one * 65535, np.array([[3 * 65535**2]], "u8")).std.item()
    0.0
    """
    mean, std = (np.empty(count.shape, np.float32) for _ in range(2))
    for start in range(0, len(count), ROWS_AT_ONCE):
        at = slice(start, start + ROWS_AT_ONCE)
        n, s = count[at].astype(np.uint64), total[at].astype(np.uint64)
        spread = (n * squares[at] - s * s).astype(np.float64)
        pairs = n.astype(np.float64) * (n.astype(np.float64) - 1)
        mean[at] = np.divide(s, n, out=np.full(n.shape, np.nan), where=n > 0)
        std[at] = np.sqrt(np.divide(spread, pairs, out=np.full(n.shape, np.nan), where=n > 1))
    return Moments(mean, std, count)
