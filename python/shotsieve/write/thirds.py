"""Raw frames of parallel gain on their way into a file: a train in high gain, then in medium, then in low."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


class Thirds:
    """Frames of one module, held until the train is over, since only then its blocks can be written.

    The frames of one train are in memory at most. Promise: exact; values are copied.

    Examples
    --------
    >>> thirds, frames = Thirds(), np.arange(12, dtype="u2").reshape(2, 3, 1, 2)
    >>> list(thirds.add(np.array([7, 7]), frames))
    []
    >>> [frame.tolist() for frame in thirds.rest()]
    [[[[0, 1]]], [[[6, 7]]], [[[2, 3]]], [[[8, 9]]], [[[4, 5]]], [[[10, 11]]]]
    """

    def __init__(self) -> None:
        self._train: int | None = None
        self._held: list[np.ndarray] = []

    def add(self, trains: np.ndarray, frames: np.ndarray) -> Iterator[np.ndarray]:
        """Take frames; yield those of trains that are over, in the order of the file.

        Parameters
        ----------
        trains : ndarray, shape (n,)
            Train of each, not descending, also from call to call.
        frames : ndarray, shape (n, 3, ss, fs)
            Words in high, medium and low gain.

        Yields
        ------
        ndarray, shape (1, ss, fs)
        """
        for train in np.unique(trains):
            if train != self._train:
                yield from self.rest()
            self._train = train
            self._held.append(frames[trains == train].copy())

    def rest(self) -> Iterator[np.ndarray]:
        """Yield the frames that are still held."""
        if self._held:
            whole = np.concatenate(self._held)
            self._held = []
            for stage in range(3):
                yield from whole[:, stage, None]
