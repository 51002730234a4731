"""Linearisation of raw words in plain NumPy: what the kernels have to give, word by word."""

from __future__ import annotations

import numpy as np

__all__ = ["linearise"]


def linearise(raw, frames, groups, linear, words, *, entries=0, stream=None, threads=1):
    """Do what the kernels do, under the same name and with the same arguments.

    Promise: exact; this is the definition of the words that every backend gives.

    Parameters
    ----------
    raw : ndarray of uint16, shape (F, planes, npix)
    frames : ndarray of int32, shape (L,)
    groups : ndarray of int32, shape (G, 3)
        start, stop into `frames` and the row of `linear`; row -1: words stay as they are.
    linear : ndarray of uint16, shape (R, npix, entries), or (R, npix, more)
    words : ndarray of uint16, shape (F, planes, npix)
        Written for every listed frame.
    entries : int
        Of a table; 0: all that there is of each.
    stream, threads
        Not used; there so that the reference can stand in for a backend.

    Examples
    --------
    >>> raw = np.array([[[2, 5], [0, 1]]], np.uint16)
    >>> linear = np.array([[[0, 10, 20, 30], [1, 2, 3, 4]]], np.uint16)
    >>> words = np.zeros_like(raw)
    >>> linearise(raw, [0], [(0, 1, 0)], linear, words)
    >>> words.tolist()
    [[[20, 2], [0, 1]]]
    """
    entries = entries or linear.shape[2]
    for start, stop, row in np.asarray(groups).reshape(-1, 3):
        for frame in np.asarray(frames)[start:stop]:
            words[frame] = raw[frame]
            if row >= 0:
                for pixel, word in enumerate(raw[frame, 0]):
                    words[frame, 0, pixel] = linear[row, pixel, word % entries]
