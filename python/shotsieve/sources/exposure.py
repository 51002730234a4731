"""Which pulses fall into which frame of the detector: the arithmetic of the facility's lit-frame finder.

Source: EXtra-redu, ``base/litfrm.py``. Frame f is sensitive in the first `exposure` of its `stride` slots;
the first pulse of the instrument lies `shift` slots behind the begin of frame 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import BadInput

STRIDES = {4.5: 1, 2.2: 2, 1.1: 4, 0.5: 8}  # by the rates that detectors are set to, in MHz
SLOT_MHZ = 4.5139  # rate of the bunch pattern's slots
TICKS_PER_SLOT = 24  # of the timing system
METRES_PER_TICK = 2.76708438734  # light in 9.23 ns


@dataclass(frozen=True)
class Alignment:
    """How slots of the bunch pattern belong to frames.

    Attributes
    ----------
    stride : int
        Slots from one frame to the next.
    exposure : int
        Slots at the beginning of a frame's stride in which it is sensitive.
    shift : int
        Slots from the begin of frame 0 to the first pulse.
    n_frames : int

    Raises
    ------
    BadInput
        If a value is out of range.

    Examples
    --------
    >>> Alignment(stride=4, exposure=1, shift=4, n_frames=3).frame_of(np.array([0, 4, 5]))
    array([ 1,  2, -1])
    """

    stride: int
    exposure: int
    shift: int
    n_frames: int

    def __post_init__(self) -> None:
        if not 1 <= self.exposure <= self.stride or self.n_frames < 0:
            raise BadInput(
                f"stride = {self.stride}, exposure = {self.exposure}, {self.n_frames} frames: expected an "
                "exposure of at least one slot and at most the stride"
            )

    def frame_of(self, after_first: np.ndarray) -> np.ndarray:
        """Return the frame of each pulse, -1 for none; slots are counted from the first pulse."""
        frame, phase = np.divmod(after_first + self.shift, self.stride)
        inside = (frame >= 0) & (frame < self.n_frames) & (phase < self.exposure)
        return np.where(inside, frame, -1)


@dataclass(frozen=True)
class Exposed:
    """The pulses that frames have seen, of every pattern, one row each, by pattern and time.

    Attributes
    ----------
    pattern : ndarray of int64
        Row of the pattern.
    frame : ndarray of int64
    slot : ndarray of int64
        Where the pulse stands in the bunch pattern.
    number : ndarray of int64
        Running number of the pulse among those that are listed.
    """

    pattern: np.ndarray
    frame: np.ndarray
    slot: np.ndarray
    number: np.ndarray

    def per_frame(self, patterns: int, frames: int) -> np.ndarray:
        """Return the number of pulses of each frame of each pattern, int64 (patterns, frames)."""
        counts = np.bincount(self.pattern * frames + self.frame, minlength=patterns * frames)
        return counts.reshape(patterns, frames)


def first_slots(own: np.ndarray) -> np.ndarray:
    """Return the slot of the first pulse of each pattern, -1 where there is none; bool (P, slots) given."""
    return np.where(own.any(axis=1), own.argmax(axis=1), -1)


def exposed_pulses(own: np.ndarray, listed: np.ndarray, align: Alignment) -> Exposed:
    """Find the frame of every pulse, aligned by the first pulse of the train.

    Parameters
    ----------
    own : ndarray of bool, shape (P, slots)
        Slots with a pulse of the instrument.
    listed : ndarray of bool, shape (P, slots)
        Slots with a pulse that counts for the running number.
    align : Alignment

    Returns
    -------
    Exposed

    Notes
    -----
    Promise: exact.

    Examples
    --------
    >>> own = np.array([[False, False, True, False, True]])       # two pulses of the instrument ...
    >>> listed = own | np.array([[False, False, False, True, False]])   # ... and another one between them
    >>> found = exposed_pulses(own, listed, Alignment(stride=1, exposure=1, shift=1, n_frames=6))
    >>> found.frame, found.number
    (array([1, 3]), array([0, 2]))
    """
    number = np.cumsum(listed, axis=1) - 1
    pattern, slot = np.nonzero(own)
    frame = align.frame_of(slot - first_slots(own)[pattern])
    hit = frame >= 0
    pattern, slot, frame = pattern[hit], slot[hit], frame[hit]
    return Exposed(pattern, frame, slot, number[pattern, slot])


def stride_of(rate_mhz: float) -> int | None:
    """Return the slots between frames at a rate, None for a rate that fits no pattern.

    The rates are written down roughly (0.5 MHz for 0.564).

    Examples
    --------
    >>> stride_of(1.1), stride_of(3.0)
    (4, None)
    """
    stride = min(STRIDES.values(), key=lambda s: abs(math.log(rate_mhz * s / SLOT_MHZ)))
    return stride if abs(math.log(rate_mhz * stride / SLOT_MHZ)) < 0.15 else None


def exposure_of(integration_time: float, clocks_per_slot: float, stride: int) -> int:
    """Return the slots in which a frame is sensitive.

    Examples
    --------
    >>> exposure_of(20, 22, stride=4), exposure_of(30, 22, stride=4), exposure_of(300, 22, stride=4)
    (1, 2, 4)
    """
    return min(max(1, math.ceil(integration_time / clocks_per_slot)), stride)


def shift_by_delay(
    reference_delay: float,
    reference_frame: int,
    reference_stride: int,
    trigger_delay: float,
    nearer_m: float = 0.0,
) -> int:
    """Return the shift for a train whose trigger was moved since it was aligned.

    Parameters
    ----------
    reference_delay : float
        Delay of the trigger, in ticks of 9.23 ns, at which the first pulse fell into `reference_frame`.
    reference_frame : int
    reference_stride : int
        Slots between frames then.
    trigger_delay : float
        Delay of the trigger now, in ticks.
    nearer_m : float
        By how much the detector is nearer to the sample than then, in m: light comes earlier.

    Returns
    -------
    int
        round((delay + frame * stride * 24 - trigger - nearer / 2.767) / 24).

    Examples
    --------
    >>> shift_by_delay(1000, 1, 1, 952)
    3
    """
    ticks = reference_delay + reference_frame * reference_stride * TICKS_PER_SLOT - trigger_delay
    return round((ticks - nearer_m / METRES_PER_TICK) / TICKS_PER_SLOT)
