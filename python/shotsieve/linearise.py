"""Linearisation: raw words of strip detectors are looked up in a table of every pixel, before the offset.

Promise: exact on every backend, since words become words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import BadInput

if TYPE_CHECKING:
    from .backend import Backend
    from .constants.container import Constants
    from .detectors import Detector

__all__ = ["Lineariser", "apart", "linear_rows", "queue_linearisation"]

_BETWEEN = 32
"""Words between tables, a line of a cache: a power of two apart, they push each other out of it."""


def linear_rows(constants: Constants, detector: Detector, module: int, cell_ids: np.ndarray) -> np.ndarray:
    """Return the linearisation tables of some cells of a module, as the kernel reads them.

    Parameters
    ----------
    constants : Constants
    detector : Detector
    module : int
    cell_ids : array of int, shape (C,)
        Each must have constants.

    Returns
    -------
    ndarray of uint16, shape (C, n_pixels, 2 ** adc_bits)

    Raises
    ------
    BadInput
        If the module has no table, or one of another length than the detector's words need.

    Examples
    --------
    >>> linear_rows(constants, detector, 1, [0, 1]).shape    # doctest: +SKIP
    (2, 1280, 4096)
    """
    array = constants.load("linearisation", module, cell_ids)
    entries = 1 << detector.adc_bits
    if len(array) != entries:
        raise BadInput(
            f"linearisation of module {module}: {len(array)} entries, but words of {detector.name} need "
            f"{entries}."
        )
    flat = array.reshape(entries, array.shape[1], detector.pixels)
    return np.ascontiguousarray(flat.transpose(1, 2, 0))


def apart(linear: np.ndarray) -> np.ndarray:
    """Return tables with room between them, so that they do not push each other out of a cache.

    Parameters
    ----------
    linear : ndarray of uint16, shape (R, n_pixels, entries)

    Returns
    -------
    ndarray of uint16, shape (R, n_pixels, entries + 32)

    Examples
    --------
    >>> apart(np.ones((2, 1280, 4096), "u2")).shape
    (2, 1280, 4128)
    """
    return np.pad(linear, ((0, 0), (0, 0), (0, _BETWEEN)))


def queue_linearisation(
    backend: Backend,
    raw: Any,
    frames: Any,
    groups: Any,
    linear: Any,
    words: Any,
    stream: Any = None,
    entries: int = 0,
) -> None:
    """Queue the linearisation of listed frames on a stream; returns at once. Promise: exact.

    Parameters
    ----------
    backend : Backend
        All arrays live on its device.
    raw : uint16 (F, planes, n_pixels)
    frames, groups : int32 (L,), int32 (G, 3)
        From `shotsieve.calibrate.list_frames`; rows are those of `linear`.
    linear : uint16 (R, n_pixels, entries), or (R, n_pixels, entries + 32)
        From `linear_rows`, or from `apart`.
    words : uint16 (F, planes, n_pixels)
        Receives plane 0 made linear and the other planes as they are; of listed frames only.
    stream : object
        A stream of ``backend.device``.
    entries : int
        Of a table, a power of two; 0 takes all that there is of each.

    Raises
    ------
    ValueError, TypeError
        If an array is not what it has to be; the text names it.

    Examples
    --------
    >>> queue_linearisation(backend, raw, frames, groups, linear, words)    # doctest: +SKIP
    """
    backend.native.linearise(raw, frames, groups, linear, words, entries=entries, **backend.on(stream))


class Lineariser:
    """The tables of a run on a backend's device, and words made linear in a buffer beside the raw ones.

    Parameters
    ----------
    backend : Backend
    linear : ndarray of uint16, shape (R, n_pixels, entries), or None
        None for a detector or recipe without linearisation: then words are the raw ones.

    Examples
    --------
    >>> Lineariser(backend, None).buffer((2, 2, 1280)) is None    # doctest: +SKIP
    True
    """

    def __init__(self, backend: Backend, linear: np.ndarray | None) -> None:
        self._backend, self._linear = backend, None
        if linear is not None:
            self._entries, linear = linear.shape[2], apart(linear)
            device = backend.device
            self._linear, stream = device.twin(linear), device.stream()
            device.to_device(self._linear, linear, stream)
            device.wait(device.record(stream))

    def buffer(self, shape: tuple[int, ...]) -> Any:
        """Return room for the words of so many frames, uint16; None where none is needed."""
        return None if self._linear is None else self._backend.device.empty(shape, "u2")

    def queue(self, raw: Any, frames: Any, groups: Any, words: Any, stream: Any) -> Any:
        """Queue the linearisation, and return the words that are to be calibrated.

        Parameters
        ----------
        raw : uint16 (F, planes, n_pixels)
        frames, groups : int32
            As for `queue_linearisation`.
        words : uint16, or None
            From `buffer`, at least as large.
        stream : object
        """
        if self._linear is None:
            return raw
        words = words.reshape(-1, *raw.shape[1:])[: raw.shape[0]]
        queue_linearisation(self._backend, raw, frames, groups, self._linear, words, stream, self._entries)
        return words
