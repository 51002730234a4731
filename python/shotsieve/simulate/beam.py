"""The pulses of a simulated run: bunch patterns of every train, and what each frame sees of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .parameters import BUNCH_SLOTS, SpiParameters

CHARGE = 8  # code of 0.25 nC
T4D, T5D, SOFT_KICK = 4 << 18, 2 << 18, 1 << 27
BUNCH = {1: T4D | CHARGE, 2: T5D | CHARGE, 3: T4D | SOFT_KICK | CHARGE}
# What passes the XGM of an instrument beside its own pulses, and with what share of their energy.
COMPANION = {1: 3, 2: None, 3: 1}
COMPANION_ENERGY = 0.4
EXTRA_PULSES = 3  # the machine delivers a few pulses after the last frame
XGM_ENTRIES = 1000
XGM_FILL = 1.0


@dataclass(frozen=True)
class Beam:
    """The pulses of a run; a frame is counted among the stored ones of a train.

    Attributes
    ----------
    words : ndarray of uint32, shape (T, 2700)
        Bunch patterns.
    own, companion : ndarray of float32, shape (T, n)
        Energy of the pulses of the instrument's SASE, and of the other one behind the same XGM, in uJ and in
        order of time; 1 behind the last.
    xgm : ndarray of float32, shape (T, 1000)
        Both in order of time, then 1.
    n_pulses : ndarray of int32, shape (T, F)
        X-ray pulses in the exposure of every frame.
    energy : ndarray of float64, shape (T, F)
        Their energy, uJ.
    laser : ndarray of int32, shape (T, F)
        Pulses of the optical laser in the exposure of every frame.
    master, number : list of ndarray
        Per train: slots of the pulses that any frame has seen, and their places in `xgm`.
    """

    words: np.ndarray
    own: np.ndarray
    companion: np.ndarray
    xgm: np.ndarray
    n_pulses: np.ndarray
    energy: np.ndarray
    laser: np.ndarray
    master: list[np.ndarray]
    number: list[np.ndarray]


@dataclass(frozen=True)
class _Train:
    """The slots of one kind of train: those that frames see, with the frames, and all that hold a pulse."""

    seen: tuple[np.ndarray, np.ndarray]
    own: np.ndarray
    companion: np.ndarray


def _kind(p: SpiParameters, dark_cells: tuple[int, ...], beam: bool) -> _Train:
    """Place the pulses of a train whose given cells are dark."""
    lit = {
        f for f, c in zip(p.frames, p.cells, strict=True) if f >= p.reference_frame and c not in dark_cells
    }
    # Frames that are not stored were exposed all the same.
    unstored = set(range(p.reference_frame, max(p.frames) + 1)) - set(p.frames)
    exposed = sorted(lit | unstored | {p.reference_frame})
    begin = {f: p.first_slot + (f - p.reference_frame) * p.stride for f in exposed}
    inside = range(p.pulses_per_frame)
    slots = [begin[f] + k for f in exposed for k in inside]
    after = p.first_slot + (max(*p.frames, p.reference_frame) + 1 - p.reference_frame) * p.stride
    slots += [after + k * p.stride for k in range(EXTRA_PULSES)]
    # Pulses of the other SASE before the first and, where there is room, between the own ones: an index that
    # forgets them, or that is a cell or a pulseId, points at another energy.
    others = [p.first_slot - 9, p.first_slot - 6, p.first_slot - 3]
    if p.stride > 1:
        between = p.stride // 2 if p.pulses_per_frame == 1 else p.stride - 1
        firsts = [begin[f] for f in exposed] + slots[len(exposed) * p.pulses_per_frame :]
        others += [s + between for s in firsts[::2]]
    frames = [[begin[f] + k for k in inside] if f in lit and beam else [] for f in p.frames]
    seen = np.array([slot for slots in frames for slot in slots], np.int64)
    at = np.repeat(np.arange(len(frames)), [len(slots) for slots in frames])
    own = np.array(sorted(slots) if beam else [], np.int64)
    return _Train((seen, at), own, np.array(sorted(others), np.int64))


def _pumped(p: SpiParameters, train: int, pulses: int) -> np.ndarray:
    """Return which X-ray pulses of a train the laser accompanies, bool (pulses,)."""
    number = np.arange(pulses)
    return {
        "none": np.zeros(pulses, bool),
        "every": np.ones(pulses, bool),
        "even_pulses": number % 2 == 0,
        "odd_pulses": number % 2 == 1,
        "even_trains": np.full(pulses, (p.first_train + train) % 2 == 0),
    }[p.pump]


def make_beam(p: SpiParameters, own: np.ndarray, companion: np.ndarray) -> Beam:
    """Make the bunch patterns of a run and what every frame sees of them.

    Parameters
    ----------
    p : SpiParameters
    own, companion : ndarray of float32, shape (T, n)
        Energies for as many pulses of the two SASE as `pulse_counts` says.

    Returns
    -------
    Beam

    Examples
    --------
    >>> p = SpiParameters(n_trains=1, n_cells=3)
    >>> make_beam(p, *(np.ones((1, n), "f4") for n in pulse_counts(p))).n_pulses
    array([[0, 1, 1]], dtype=int32)
    """
    kinds = _kinds(p)
    shape, sase = (p.n_trains, len(p.frames)), p.instrument.sase
    words = np.zeros((p.n_trains, BUNCH_SLOTS), np.uint32)
    xgm = np.full((p.n_trains, XGM_ENTRIES), XGM_FILL, np.float32)
    own, companion = own.copy(), companion.copy()
    n_pulses, laser = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    energy, master, number = np.zeros(shape), [], []
    for t in range(p.n_trains):
        train = kinds[_kind_of(p, t)]
        own[t, len(train.own) :], companion[t, len(train.companion) :] = XGM_FILL, XGM_FILL
        words[t, train.own] = BUNCH[sase]
        both = train.own
        other = COMPANION[sase]
        if other is not None:
            words[t, train.companion] = BUNCH[other]
            both = np.sort(np.concatenate([train.own, train.companion]))
            xgm[t, np.searchsorted(both, train.companion)] = companion[t, : len(train.companion)]
        xgm[t, np.searchsorted(both, train.own)] = own[t, : len(train.own)]
        pumped = train.own[_pumped(p, t, len(train.own))]
        if len(pumped):
            # The pattern has the laser begin at slot 0, wherever it really is.
            words[t, pumped - pumped[0]] |= np.uint32(1 << p.laser_bit)
        seen, frame = train.seen
        master.append(seen)
        number.append(np.searchsorted(both, seen))
        frames = shape[1]
        n_pulses[t] = np.bincount(frame, minlength=frames)
        laser[t] = np.bincount(frame[np.isin(seen, pumped)], minlength=frames)
        of_seen = own[t, np.searchsorted(train.own, seen)].astype(np.float64)
        energy[t] = np.bincount(frame, weights=of_seen, minlength=frames)
    return Beam(words, own, companion, xgm, n_pulses, energy, laser, master, number)


def _kinds(p: SpiParameters) -> list[_Train]:
    return [_kind(p, p.dark_cells, True), _kind(p, p.later_dark_cells, True), _kind(p, p.dark_cells, False)]


def _kind_of(p: SpiParameters, train: int) -> int:
    if train in p.dark_trains:
        return 2
    return int(p.later_from is not None and train >= p.later_from)


def pulse_counts(p: SpiParameters) -> tuple[int, int]:
    """Return how many pulses a train has at most: of the instrument's SASE, and of the other one."""
    kinds = _kinds(p)
    return max(len(kind.own) for kind in kinds), max(len(kind.companion) for kind in kinds)
