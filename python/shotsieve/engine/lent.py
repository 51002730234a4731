"""Pinned memory that callers of the embedded engine fill, so that a device reads words where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..device import Device


class LentMemory:
    """Pinned arrays for raw words, and whether an array lies in one of them.

    Parameters
    ----------
    device : Device
    frame_shape : tuple of int
        (modules, planes, ss, fs) of a shot.

    Examples
    --------
    >>> from shotsieve.device import HostDevice
    >>> lent = LentMemory(HostDevice(), (1, 2, 4, 8))
    >>> words = lent.make(3)
    >>> [lent.holds(array) for array in (words, words[1:], words[::2], words.copy())]
    [True, True, False, False]
    """

    def __init__(self, device: Device, frame_shape: tuple[int, ...]) -> None:
        self._device, self._frame_shape = device, frame_shape
        self._arrays: list[np.ndarray] = []

    def make(self, shots: int) -> np.ndarray:
        """Return an uninitialised array of so many shots, uint16."""
        self._arrays.append(self._device.empty_pinned((shots, *self._frame_shape), "u2"))
        return self._arrays[-1]

    def holds(self, raw: Any) -> bool:
        """Return whether an array lies in one of them, frame after frame."""
        if not (isinstance(raw, np.ndarray) and raw.flags.c_contiguous):
            return False
        return any(np.may_share_memory(raw, array) for array in self._arrays)
