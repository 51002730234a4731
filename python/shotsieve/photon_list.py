"""Photon lists: of frames with few photons, the pixels that hold any, and how many.

Promise: exact on every backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backend as backends
from .cpus import usable_cpus
from .errors import BadInput

if TYPE_CHECKING:
    from .backend import Backend

COUNT_DTYPES = ("uint8", "uint16")


@dataclass(frozen=True)
class PhotonList:
    """Frames of whole photons as lists: every pixel that holds photons, ascending in each frame.

    Promise: exact. The list says all that the frames say: `dense` gives them again, bit for bit.

    Attributes
    ----------
    frame_shape : tuple of int
        Of one frame, such as (512, 128); pixels are counted along its last axis first.
    first : ndarray of int64, shape (n + 1,)
        Entries of frame k are ``first[k]`` to ``first[k + 1]``.
    pixel : ndarray of uint32, shape (entries,)
        Index of the pixel in its frame.
    count : ndarray of uint8 or uint16, shape (entries,)
        Photons; never 0.

    Examples
    --------
    >>> photons = PhotonList.of(np.array([[[0, 3], [0, 1]]], "u1"))
    >>> photons.pixel.tolist(), photons.count.tolist(), photons.photons.tolist()
    ([1, 3], [3, 1], [4])
    >>> photons.dense().tolist()
    [[[0, 3], [0, 1]]]
    """

    frame_shape: tuple[int, ...]
    first: np.ndarray
    pixel: np.ndarray
    count: np.ndarray

    def __len__(self) -> int:
        return len(self.first) - 1

    @classmethod
    def of(
        cls,
        frames: np.ndarray,
        *,
        axes: int | None = None,
        backend: str | Backend = "cpu",
        threads: int | None = None,
    ) -> PhotonList:
        """List the photons of frames.

        Parameters
        ----------
        frames : ndarray of uint8 or uint16, shape (n, ...)
            Whole photons, as ``[write] content = "photons"`` has them, masked pixels 0.
        axes : int, optional
            Axes of one frame; by default all but the first. Those before them are counted as one.
        backend : {"cpu", "cuda", "emu", "auto"} or Backend
            Frames are in host memory; a backend with memory of its own gets a copy.
        threads : int, optional
            Of the CPU; by default all that the process may use.

        Returns
        -------
        PhotonList

        Raises
        ------
        BadInput
            If the frames are not whole photons in one of these dtypes.

        Examples
        --------
        >>> PhotonList.of(np.zeros((2, 16, 512, 128), "u2"), axes=2).number.shape
        (32,)
        """
        frames = np.asarray(frames)
        if frames.dtype.name not in COUNT_DTYPES or frames.ndim < 2:
            raise BadInput(
                f"photon list: frames are {frames.dtype} of shape {frames.shape}; expected whole photons as "
                f"{' or '.join(COUNT_DTYPES)} and an axis of frames before those of a frame. Values in keV "
                'or ADU are counted first: [write] content = "photons", shotsieve.write.photons.PhotonCounts'
            )
        axes = frames.ndim - 1 if axes is None else axes
        if not 1 <= axes < frames.ndim:
            raise BadInput(f"photon list: axes = {axes}: expected 1 to {frames.ndim - 1}, those of one frame")
        shape = frames.shape[frames.ndim - axes :]
        pixels = int(np.prod(shape))
        if not 0 < pixels < 2**31:
            raise BadInput(f"photon list: frames of {shape} have {pixels} pixels; expected 1 to 2^31 - 1")
        flat = np.ascontiguousarray(frames).reshape(-1, pixels)
        chosen = backends.get(backend) if isinstance(backend, str) else backend
        return cls(tuple(shape), *_listed(flat, chosen, threads or usable_cpus()))

    @property
    def number(self) -> np.ndarray:
        """Pixels that hold photons in each frame, int64 (n,)."""
        return np.diff(self.first)

    @property
    def photons(self) -> np.ndarray:
        """Photons of each frame, int64 (n,)."""
        sums = np.concatenate([np.zeros(1, "i8"), np.cumsum(self.count, dtype="i8")])
        return np.diff(sums[self.first])

    def dense(self, frames: slice | np.ndarray = slice(None)) -> np.ndarray:
        """Return frames again, of the dtype of the counts.

        Parameters
        ----------
        frames : slice or ndarray of int
            Which; by default all.

        Returns
        -------
        ndarray of uint8 or uint16, shape (k, *frame_shape)
        """
        which = np.arange(len(self))[frames]
        out = np.zeros((len(which), int(np.prod(self.frame_shape))), self.count.dtype)
        for row, k in zip(out, which.tolist(), strict=True):
            mine = slice(self.first[k], self.first[k + 1])
            row[self.pixel[mine]] = self.count[mine]
        return out.reshape(-1, *self.frame_shape)

    def by_pixel(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the same entries pixel by pixel, in the order of the frames: what correlations in time need.

        Returns
        -------
        first : ndarray of int64, shape (pixels + 1,)
            Entries of pixel p are ``first[p]`` to ``first[p + 1]``.
        frame : ndarray of uint32, shape (entries,)
            Ascending in every pixel.
        count : ndarray of uint8 or uint16, shape (entries,)

        Examples
        --------
        >>> first, frame, count = PhotonList.of(np.array([[0, 3], [2, 1]], "u1")).by_pixel()
        >>> first.tolist(), frame.tolist(), count.tolist()
        ([0, 1, 3], [1, 0, 1], [2, 3, 1])
        """
        order = np.argsort(self.pixel, kind="stable")
        number = np.bincount(self.pixel, minlength=int(np.prod(self.frame_shape)))
        frame = np.repeat(np.arange(len(self), dtype="u4"), self.number)
        return np.concatenate([np.zeros(1, "i8"), np.cumsum(number)]), frame[order], self.count[order]

    @classmethod
    def beside(cls, parts: Sequence[PhotonList]) -> PhotonList:
        """Join the lists of modules to those of one slab: frames under one another, along their first axis.

        Parameters
        ----------
        parts : sequence of PhotonList
            Of frames of one shape, each of the same shots.

        Raises
        ------
        BadInput
            If shapes or numbers of shots differ, or a frame of all has 2^32 pixels.

        Examples
        --------
        >>> one = PhotonList.of(np.array([[[0, 3], [0, 1]]], "u1"))
        >>> joined = PhotonList.beside([one, one])
        >>> joined.frame_shape, joined.pixel.tolist()
        ((4, 2), [1, 3, 5, 7])
        """
        shapes, numbers = {one.frame_shape for one in parts}, {len(one) for one in parts}
        pixels = int(np.prod(parts[0].frame_shape)) if parts else 0
        if len(shapes) != 1 or len(numbers) != 1 or len(parts) * pixels >= 2**32:
            raise BadInput(
                f"photon list: {len(parts)} lists of frames of shapes {sorted(shapes)} and of "
                f"{sorted(numbers)} shots: expected one shape, the same shots, and below 2^32 pixels in all"
            )
        number = np.stack([one.number for one in parts])
        first = np.concatenate([np.zeros(1, "i8"), np.cumsum(number.sum(axis=0))])
        begin = first[:-1] + np.cumsum(number, axis=0) - number  # of each module in each frame
        pixel = np.empty(first[-1], "u4")
        count = np.empty(first[-1], np.result_type(*(one.count for one in parts)))
        for m, one in enumerate(parts):
            to = np.repeat(begin[m] - one.first[:-1], one.number) + np.arange(len(one.pixel))
            pixel[to], count[to] = one.pixel + np.uint32(m * pixels), one.count
        rows, *others = parts[0].frame_shape
        return cls((len(parts) * rows, *others), first, pixel, count)

    def part(self, start: int, stop: int) -> PhotonList:
        """Return the lists of frames `start` to `stop`.

        Examples
        --------
        >>> len(PhotonList.of(np.ones((5, 4), "u1")).part(1, 3))
        2
        """
        first = self.first[start : stop + 1]
        mine = slice(first[0], first[-1])
        return PhotonList(self.frame_shape, first - first[0], self.pixel[mine], self.count[mine])


def _listed(frames: np.ndarray, backend: Backend, threads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, make room, list."""
    device, stream = backend.device, backend.device.stream()
    call = backend.on(stream, threads=threads)

    def empty(shape: int, dtype: Any) -> Any:
        return device.empty((shape,), dtype)

    def host(array: Any) -> np.ndarray:
        if isinstance(array, np.ndarray):
            return array
        target = device.empty_pinned(array.shape, array.dtype)
        device.to_host(target, array, stream)
        device.wait(device.record(stream))
        return target

    def there(array: np.ndarray) -> Any:
        target = device.twin(array)
        if target is not array:
            device.to_device(target, array, stream)
        return target

    given = there(frames)
    number = empty(len(frames), "i4")
    backend.native.photon_numbers(given, number, **call)
    first = np.concatenate([np.zeros(1, "i8"), np.cumsum(host(number), dtype="i8")])
    if not first[-1]:
        return first, np.zeros(0, "u4"), np.zeros(0, frames.dtype)
    pixel, count, entries = empty(int(first[-1]), "u4"), empty(int(first[-1]), frames.dtype), there(first)
    backend.native.photon_list(given, entries, pixel, count, **call)
    return first, host(pixel), host(count)
