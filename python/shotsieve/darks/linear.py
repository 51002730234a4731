"""Words of dark frames made linear before they are summed, where the detector needs it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Backend
from ..calibrate import list_frames
from ..linearise import Lineariser


class LinearWords:
    """Room for the linear words of one block in flight, and the lists that the kernel wants.

    Parameters
    ----------
    backend : Backend
    lineariser : Lineariser
        Of the tables; one without leaves words as they are.
    shape : tuple of int
        (shots, modules, planes, pixels) of the largest block.
    """

    def __init__(self, backend: Backend, lineariser: Lineariser, shape: tuple[int, ...]) -> None:
        self._backend, self._lineariser = backend, lineariser
        self._words = lineariser.buffer(shape)
        if self._words is not None:
            most = shape[0] * shape[1]
            device = backend.device
            self._pinned = [device.empty_pinned((most,), "i4"), device.empty_pinned((most, 3), "i4")]
            self._there = [device.twin(one) for one in self._pinned]

    def queue(self, raw: Any, rows: np.ndarray, stream: Any) -> Any:
        """Queue the linearisation of a block, and return the words that are summed.

        Parameters
        ----------
        raw : uint16 (n * modules, planes, pixels) on the device
        rows : ndarray of int32, shape (n, modules)
            Row of the tables of every frame; -1 for one that is not there.
        stream : stream of the device
        """
        if self._words is None:
            return raw
        device, there = self._backend.device, []
        for found, pinned, twin in zip(list_frames(rows >= 0, rows), self._pinned, self._there, strict=True):
            pinned[: len(found)] = found
            device.to_device(twin[: len(found)], pinned[: len(found)], stream)
            there.append(twin[: len(found)])
        return self._lineariser.queue(raw, *there, self._words, stream)


def looked_up(table: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Return the linear words of one cell on the host.

    Parameters
    ----------
    table : ndarray of uint16, shape (pixels, entries)
        Entries are a power of two.
    words : ndarray of uint16, shape (n, pixels)

    Examples
    --------
    >>> looked_up(np.array([[0, 2, 4, 6]], "u2"), np.array([[3], [1]], "u2")).tolist()
    [[6], [2]]
    """
    return table[np.arange(table.shape[0]), words & np.uint16(table.shape[1] - 1)]
