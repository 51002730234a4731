"""Pulses of the optical laser: where they really are, and which frames they fall into."""

from __future__ import annotations

import numpy as np

from .annotate import AnnotateParams
from .bunches import PulsePattern
from .exdf import train_text
from .exposure import Alignment, first_slots


def laser_offsets(
    pattern: PulsePattern, sase: int, params: AnnotateParams
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return by how many slots the laser pulses of each train are to be moved, and its first X-ray slot.

    Parameters
    ----------
    pattern : PulsePattern
    sase : int
    params : AnnotateParams
        Its `laser_position`, `laser_offset` or `laser_pulse_offset`.

    Returns
    -------
    offset, first : ndarray of int64, shape (T,)
        Trains with too few X-ray pulses take both from the last train that had enough.
    known : ndarray of bool, shape (T,)
        False before the first such train; the values mean nothing there.

    Notes
    -----
    As ``extra.components.PumpProbePulses`` does it.

    Examples
    --------
    >>> words = np.zeros((1, 9), np.uint32)
    >>> words[0, [5, 7]] = 4 << 18
    >>> pattern = PulsePattern.make(np.array([1], "u8"), words, "server")
    >>> laser_offsets(pattern, 1, AnnotateParams(laser_pulse_offset=0.5))
    (array([6]), array([5]), array([ True]))
    """
    own = pattern.own(sase)
    first = first_slots(own)
    rest = own.copy()
    rest[np.arange(len(own)), np.maximum(first, 0)] = False
    second = first_slots(rest)
    if params.laser_position is not None:
        needs, offset = np.ones(len(own), bool), np.full(len(own), params.laser_position)
    elif params.laser_pulse_offset:
        needs = second >= 0
        offset = first + ((second - first) * params.laser_pulse_offset).astype(np.int64)
    else:
        needs, offset = first >= 0, first + (params.laser_offset or 0)
    index, told = pattern.index, pattern.index >= 0
    moved, knows_offset = _carried_on(offset[index], told & needs[index])
    begin, knows_first = _carried_on(first[index], told & (first >= 0)[index])
    return moved, begin, knows_offset & knows_first


def _carried_on(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values, unknown ones replaced by the last known one before, and where there is any."""
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return values[np.maximum(last, 0)], last >= 0


def laser_per_frame(
    pattern: PulsePattern, sase: int, laser: str, align: Alignment, params: AnnotateParams, notes: list[str]
) -> np.ndarray | None:
    """Count the laser pulses of every frame of every train.

    Parameters
    ----------
    pattern : PulsePattern
    sase : int
    laser : str
        See `shotsieve.sources.instruments.laser_bit`.
    align : Alignment
    params : AnnotateParams
    notes : list of str
        Gets where the laser was taken to be.

    Returns
    -------
    ndarray of float64, shape (T, n_frames), or None
        NaN where it is not known; None where the source does not tell of this laser.

    Notes
    -----
    Promise: exact.

    Examples
    --------
    >>> words = np.zeros((1, 9), np.uint32)
    >>> words[0, [5, 7]], words[0, 0] = 4 << 18, 1 << 10
    >>> pattern = PulsePattern.make(np.array([1], "u8"), words, "server")
    >>> laser_per_frame(pattern, 1, "SPB", Alignment(1, 1, 0, 3), AnnotateParams(), [])
    array([[1., 0., 0.]])
    """
    if not pattern.tells_of(laser):
        notes.append(
            f"{pattern.origin} tells of {', '.join(pattern.lasers or ()) or 'no laser'}, not of {laser}"
        )
        return None
    on = pattern.laser(laser)
    offset, first, known = laser_offsets(pattern, sase, params)
    counts = np.full((len(pattern.train_id), align.n_frames), np.nan)
    keys = np.stack([pattern.index, offset, first, known], axis=1)
    kinds, which = np.unique(keys, axis=0, return_inverse=True)
    for k, (kind, moved, begin, is_known) in enumerate(kinds):
        if kind < 0 or (not is_known and on[kind].any()):
            continue
        frame = align.frame_of(np.flatnonzero(on[kind]) + moved - begin)
        counts[which.reshape(-1) == k] = np.bincount(frame[frame >= 0], minlength=align.n_frames)
    if on.any():
        notes.append(_where(laser, params))
    if np.isnan(counts).any():
        trains = pattern.train_id[np.isnan(counts).any(axis=1)]
        notes.append(f"laser is unknown in trains {train_text(trains)}: no X-ray pulse says where they begin")
    return counts


def _where(laser: str, params: AnnotateParams) -> str:
    told = f"pulses of the laser {laser} begin at"
    if params.laser_position is not None:
        return f"{told} slot {params.laser_position}, as the recipe says"
    if params.laser_pulse_offset is not None:
        return f"{told} {params.laser_pulse_offset:g} X-ray pulses behind the first, as the recipe says"
    if params.laser_offset is not None:
        return f"{told} {params.laser_offset} slots behind the first X-ray pulse, as the recipe says"
    return (
        f"{told} the first X-ray pulse: assumed, as the bunch pattern does not say ([annotate] laser_offset)"
    )
