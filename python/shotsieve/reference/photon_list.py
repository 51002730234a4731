"""Photon lists in plain NumPy: the pixels of a frame that hold photons."""

from __future__ import annotations

import numpy as np


def list_photons(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the pixels that hold photons, frame by frame.

    Parameters
    ----------
    frames : ndarray of integers, shape (n, pixels)

    Returns
    -------
    first : ndarray of int64, shape (n + 1,)
        Entries of frame k are ``first[k]`` to ``first[k + 1]``.
    pixel : ndarray of uint32, shape (entries,)
        Ascending in every frame.
    count : ndarray, shape (entries,)
        Of the dtype of the frames.

    Examples
    --------
    >>> first, pixel, count = list_photons(np.array([[0, 3, 0, 1], [0, 0, 0, 0]], "u1"))
    >>> first.tolist(), pixel.tolist(), count.tolist()
    ([0, 2, 2], [1, 3], [3, 1])
    """
    first, pixel, count = [0], [], []
    for frame in frames:
        for place, photons in enumerate(frame):
            if photons != 0:
                pixel.append(place)
                count.append(photons)
        first.append(len(pixel))
    return np.array(first, "i8"), np.array(pixel, "u4"), np.array(count, frames.dtype)


def dense(first: np.ndarray, pixel: np.ndarray, count: np.ndarray, pixels: int) -> np.ndarray:
    """Return the frames of lists, (n, pixels) of the dtype of `count`.

    Examples
    --------
    >>> dense(np.array([0, 2, 2]), np.array([1, 3]), np.array([3, 1], "u1"), 4).tolist()
    [[0, 3, 0, 1], [0, 0, 0, 0]]
    """
    frames = np.zeros((len(first) - 1, pixels), count.dtype)
    for k, frame in enumerate(frames):
        for entry in range(int(first[k]), int(first[k + 1])):
            frame[pixel[entry]] = count[entry]
    return frames
