"""Statistics of frames: mean, variance, maximum and number of valid values of every pixel, by groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .state import State

if TYPE_CHECKING:
    from ..backend import Backend

KINDS = {"shift": "f8", "sum": "f8", "squares": "f8", "count": "i4", "maximum": "f4"}
LISTS = {"frames": "i4", "group": "i4", "scale": "f8"}
PIECE_BYTES = 4_000_000
"""About how much of the sums is copied at a time when they are put away."""

BYTES_PER_PIXEL = sum(np.dtype(dtype).itemsize for dtype in KINDS.values())


@dataclass(frozen=True)
class FrameStats:
    """Statistics of the frames of G groups, arrays of shape (G, n_pixels); of one group (n_pixels,).

    Attributes
    ----------
    mean : ndarray of float64
        NaN where a pixel never had a valid value.
    variance : ndarray of float64
        Of the values, over count - 1; NaN with fewer than two.
    maximum : ndarray of float32
        NaN without a value.
    count : ndarray of int32
        Valid values.
    """

    mean: np.ndarray
    variance: np.ndarray
    maximum: np.ndarray
    count: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """Standard error of the mean; NaN with fewer than two values."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(self.variance / self.count)


class FrameSums:
    """Accumulators of frame statistics on a backend.

    Promise: exact, the same bits on every backend, thread count and cut of the frames into calls:
    each pixel is summed in the order of the frames.

    Parameters
    ----------
    backend : Backend
    groups, n_pixels : int
    frames : int
        Most frames of a call.

    Examples
    --------
    >>> from shotsieve import backend
    >>> cpu = backend.get("cpu")
    >>> sums = FrameSums(cpu, groups=1, n_pixels=2, frames=2)
    >>> sums.add(np.array([[1, 5], [3, np.nan]], "f4"), np.zeros(2, "i4"), cpu.device.stream())
    >>> sums.result().mean.tolist()
    [[2.0, 5.0]]
    """

    def __init__(self, backend: Backend, groups: int, n_pixels: int, frames: int) -> None:
        self.backend = backend
        device = backend.device
        self._stream = device.stream()
        self.groups, self.n_pixels = groups, n_pixels
        self._sums = {}
        self._rows: dict[str, np.ndarray] = {}  # where a group of the device's comes to
        for name, dtype in KINDS.items():
            start = (
                np.zeros((groups, n_pixels), dtype)
                if name != "maximum"
                else np.full((groups, n_pixels), -np.inf, "f4")
            )
            self._sums[name] = device.twin(start)
            self._put(self._sums[name], start)
        self._lists = {name: device.empty_pinned((frames,), dtype) for name, dtype in LISTS.items()}
        self._device_lists = {name: device.twin(array) for name, array in self._lists.items()}

    def add(self, pixels: Any, group: np.ndarray, stream: Any, scale: np.ndarray | None = None) -> None:
        """Add some frames, and wait.

        Parameters
        ----------
        pixels : float32 (k, n_pixels) on the device
        group : ndarray of int, shape (k,)
            Group of each frame; a frame of none is -1.
        stream : stream of the device
        scale : ndarray of float64, shape (k,), or None
            What the values of each frame are multiplied with.
        """
        device, group = self.backend.device, np.asarray(group)
        # Frames of a group one after the other: its sums are then read and written once.
        frames = np.argsort(group, kind="stable")
        frames = frames[group[frames] >= 0]
        factors = np.ones(len(group)) if scale is None else np.asarray(scale)
        given, k = {"frames": frames, "group": group[frames], "scale": factors[frames]}, len(frames)
        for name, values in given.items():
            self._lists[name][:k] = values
            device.to_device(self._device_lists[name][:k], self._lists[name][:k], stream)
        self.backend.native.frame_stats(
            pixels,
            *(self._device_lists[name][:k] for name in LISTS),
            *(self._sums[name] for name in KINDS),
            **self.backend.on(stream),
        )
        # The lists are overwritten by the next call.
        device.wait(device.record(stream))

    def snapshot(self) -> State:
        """Return the accumulators in pieces of some groups; `restore` goes on from them.

        They may take most of the memory, so they are not copied: these are the accumulators themselves, or
        what becomes an array of their values when NumPy asks for it. Store them before the next `add`.
        """
        rows = max(1, PIECE_BYTES // max(1, 8 * self.n_pixels))
        pieces: State = {}
        for name, array in self._sums.items():
            for first in range(0, self.groups, rows):
                last = min(first + rows, self.groups)
                here = isinstance(array, np.ndarray)
                pieces[f"{name}/{first}"] = array[first:last] if here else _Fetched(self, name, first, last)
        return pieces

    def restore(self, state: State) -> None:
        """Take what `snapshot` returned."""
        for piece, values in state.items():
            name, first = piece.split("/")
            self._put(self._sums[name][int(first) : int(first) + len(values)], np.asarray(values))

    def _put(self, target: Any, values: np.ndarray) -> None:
        device = self.backend.device
        device.to_device(target, values, self._stream)
        device.wait(device.record(self._stream))

    def row(self, name: str, group: int) -> np.ndarray:
        """Return an accumulator of one group on the host; it is not copied where it lies there already.

        Parameters
        ----------
        name : str
            See `KINDS`.
        group : int

        Returns
        -------
        ndarray of shape (n_pixels,)
            Only to be read, before the next call.

        Examples
        --------
        >>> from shotsieve import backend
        >>> FrameSums(backend.get("cpu"), groups=1, n_pixels=2, frames=2).row("count", 0).tolist()
        [0, 0]
        """
        device, array = self.backend.device, self._sums[name][group : group + 1]
        if isinstance(array, np.ndarray):
            return array[0]
        if name not in self._rows:
            self._rows[name] = device.empty_pinned(array.shape, KINDS[name])
        device.to_host(self._rows[name], array, self._stream)
        device.wait(device.record(self._stream))
        return self._rows[name][0]

    def each(self) -> Iterator[FrameStats]:
        """Yield the statistics of one group after the other, which takes little memory.

        Yields
        ------
        FrameStats
            Of one group, arrays of shape (n_pixels,).

        Examples
        --------
        >>> from shotsieve import backend
        >>> sums = FrameSums(backend.get("cpu"), groups=3, n_pixels=2, frames=2)
        >>> [found.count.tolist() for found in sums.each()]
        [[0, 0], [0, 0], [0, 0]]
        """
        for group in range(self.groups):
            yield self.of(group)

    def of(self, group: int) -> FrameStats:
        """Return the statistics of one group, arrays of shape (n_pixels,).

        Examples
        --------
        >>> from shotsieve import backend
        >>> FrameSums(backend.get("cpu"), groups=1, n_pixels=2, frames=2).of(0).mean.tolist()
        [nan, nan]
        """
        host = {name: self.row(name, group) for name in KINDS}
        n = host["count"].copy()
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(n > 0, host["shift"] + host["sum"] / n, np.nan)
            spread = np.maximum(host["squares"] - host["sum"] ** 2 / n, 0.0)
            variance = np.where(n > 1, spread / (n - 1), np.nan)
        return FrameStats(mean, variance, np.where(n > 0, host["maximum"], np.float32(np.nan)), n)

    def result(self) -> FrameStats:
        """Return the statistics of all frames that were added; `each` takes less memory."""
        shape = (self.groups, self.n_pixels)
        found = FrameStats(np.empty(shape), np.empty(shape), np.empty(shape, "f4"), np.empty(shape, "i4"))
        for group, of_group in enumerate(self.each()):
            for name, values in vars(of_group).items():
                getattr(found, name)[group] = values
        return found


class _Fetched:
    """Accumulators of some groups on a device, which are copied to the host when NumPy asks for an array."""

    def __init__(self, sums: FrameSums, name: str, first: int, last: int) -> None:
        self._sums, self._name, self._groups = sums, name, range(first, last)

    def __len__(self) -> int:
        return len(self._groups)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        values = np.empty((len(self), self._sums.n_pixels), KINDS[self._name])
        for at, group in enumerate(self._groups):
            values[at] = self._sums.row(self._name, group)
        return values if dtype is None else values.astype(dtype, copy=False)


def accumulator_bytes(groups: int, n_pixels: int) -> int:
    """Return the bytes that the accumulators of so many groups take.

    Examples
    --------
    >>> accumulator_bytes(1, 1_000_000)
    32000000
    """
    return groups * n_pixels * BYTES_PER_PIXEL
