"""g2 at every lag straight from events, without the sums of every pair of frames."""

from __future__ import annotations

import numpy as np

from ..errors import BadInput
from ..photon_list import PhotonList
from .correlation_bins import WHO
from .correlation_input import TrainFrames
from .correlation_lags import Correlation, flags_of
from .event_summer import EventSummer
from .listed_trains import ListedTrains
from .pair_summer import PairSummer
from .two_time import DIAGONALS

LONG = 512
"""Frames of a train from which on listing its photons costs less than the sums of every pair of frames."""


def can_by_lags(given: TrainFrames) -> bool:
    """Return whether `lags_by_events` takes these frames and is the quicker way."""
    if isinstance(given.frames, ListedTrains):
        return True
    return given.length >= LONG and given.valid is None and not given.there


def lags_by_events(given: TrainFrames, diagonal: str | None, summer: PairSummer) -> Correlation:
    """Return what the g2 of the two-time correlation is by ``how="ratio"``: the same whole numbers, added up.

    Promise: exact; the same bits as those of `TwoTime.g2`.

    Parameters
    ----------
    given : TrainFrames
        Photon counts on the host, or listed, with the same pixels in all frames.
    diagonal : {"corrected", "raw", "neighbours"} or None
        For lag 0; the neighbours are those of a matrix, so that there it is raw.
    summer : PairSummer
        Of these frames.

    Returns
    -------
    Correlation

    Raises
    ------
    BadInput
        If there is no such diagonal.
    """
    if diagonal not in (None, *DIAGONALS):
        raise BadInput(f"{WHO}: diagonal = {diagonal!r}: expected one of {', '.join(DIAGONALS)}")
    listed, maker = given.frames, summer
    if not isinstance(listed, ListedTrains):
        backend, threads = summer.backend, summer.threads
        lists = [PhotonList.of(train, backend=backend, threads=threads) for train in listed]
        listed, maker = ListedTrains.of(lists), EventSummer(backend, summer.plan, threads, summer.stream)
    length, bins = given.length, given.bins
    lags = np.arange(length)
    products, of_frames = maker.lags(listed, np.stack([np.zeros_like(lags), lags], axis=1))
    norm = np.stack(
        [(of_frames[..., : length - k] * of_frames[..., k:]).sum(axis=-1) for k in lags.tolist()], axis=-1
    )
    if diagonal in (None, "corrected"):
        for sums in (products, norm):
            sums[..., 0] -= of_frames.sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = bins.over_static(bins.pixels[:, None] * products / norm)
    intensity = bins.total(of_frames.sum(axis=2))
    flags = flags_of(empty_pairs(of_frames), bins)
    return Correlation(lags, length - lags, values, intensity, flags, "event_lags")


def empty_pairs(of_frames: np.ndarray) -> np.ndarray:
    """Return whether any pair of frames, and whether all have no counts; a frame by itself needs two.

    Parameters
    ----------
    of_frames : ndarray, shape (K, S, T)
        Photons of every frame in each static bin.

    Returns
    -------
    ndarray of bool, shape (K, S, 2)
        For `shotsieve.measure.correlation_lags.flags_of`.

    Examples
    --------
    >>> empty_pairs(np.array([[[1, 2], [0, 1]]])).tolist()
    [[[True, False], [True, True]]]
    """
    lit = (of_frames > 0).sum(axis=2)
    every = (lit == 0) | ((lit == 1) & (of_frames.max(axis=2) <= 1))
    return np.stack([(of_frames <= 1).any(axis=2), every], axis=2)
