"""What happens in a simulated run before any pixel: trains, pulses and their energies, hits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from .noise import generator
from .parameters import BUNCH_SLOTS, FIRST_SLOT, SpiParameters

SASE1_BUNCH = 0x00100008
SASE3_BUNCH = 0x08100008
XGM_ENTRIES = 1000
XGM_FILL = 1.0
EXTRA_PULSES = 3  # the machine delivers a few pulses after the last frame
FIRST_TIMESTAMP = 1_700_000_000_000_000_000  # ns
TRAIN_PERIOD = 100_000_000  # ns


@dataclass(frozen=True)
class Schedule:
    """The course of a run; every array is a pure function of the parameters.

    Attributes
    ----------
    train_id, timestamp : numpy.ndarray
        (T,) uint64; ns since the epoch.
    bunch_pattern : numpy.ndarray
        (2700,) uint32, the same in every train: SASE1 and SASE3 interleaved.
    sase1, sase3 : numpy.ndarray
        (T, n) float32: energy of every pulse of the two beamlines, uJ, in order of time.
    xgm : numpy.ndarray
        (T, 1000) float32: all pulses of both in order of time, then 1.
    train : numpy.ndarray
        (S,) int64: index of the train of each shot; shots of empty trains do not exist.
    frame, cell_id : numpy.ndarray
        (S,) int32.
    pulse_id : numpy.ndarray
        (S,) uint64.
    n_pulses : numpy.ndarray
        (S,) int32: X-ray pulses in the frame, 0 or 1.
    pulse_energy : numpy.ndarray
        (S,) float64, uJ; 0 in dark frames.
    strength : numpy.ndarray
        (S,) float64: expected photons of the hit on all simulated modules at mean pulse energy; 0 for a miss.
    radius : numpy.ndarray
        (S,) float64, nm; 0 for a miss.
    present : numpy.ndarray
        (S, M) bool: which of `SpiParameters.modules` recorded the shot.
    """

    train_id: np.ndarray
    timestamp: np.ndarray
    bunch_pattern: np.ndarray
    sase1: np.ndarray
    sase3: np.ndarray
    xgm: np.ndarray
    train: np.ndarray
    frame: np.ndarray
    cell_id: np.ndarray
    pulse_id: np.ndarray
    n_pulses: np.ndarray
    pulse_energy: np.ndarray
    strength: np.ndarray
    radius: np.ndarray
    present: np.ndarray

    def __len__(self) -> int:
        return len(self.train)

    def shots_of(self, train: int) -> np.ndarray:
        """Return the shots of one train, (frames,) int64; none for an empty train.

        Parameters
        ----------
        train : int
            Index of the train.

        Examples
        --------
        >>> make_schedule(SpiParameters(n_trains=2, n_cells=2)).shots_of(1)
        array([2, 3])
        """
        return np.arange(*np.searchsorted(self.train, [train, train + 1]))

    @property
    def hit(self) -> np.ndarray:
        """(S,) bool: shots that hit a particle."""
        return self.strength > 0


def _pattern(p: SpiParameters) -> tuple[np.ndarray, np.ndarray]:
    """Return the bunch pattern and, for every frame of a train, the number of its pulse (-1: dark)."""
    pattern = np.zeros(BUNCH_SLOTS, np.uint32)
    lit = {
        f for f, c in zip(p.frames, p.cells, strict=True) if f >= p.reference_frame and c not in p.dark_cells
    }
    # Frames that are not stored were exposed all the same.
    unstored = set(range(p.reference_frame, max(p.frames) + 1)) - set(p.frames)
    exposed = sorted(lit | unstored | {p.reference_frame})
    slots = [FIRST_SLOT + (f - p.reference_frame) * p.stride for f in exposed]
    after = FIRST_SLOT + (max(*p.frames, p.reference_frame) + 1 - p.reference_frame) * p.stride
    slots += [after + k * p.stride for k in range(EXTRA_PULSES)]
    pattern[slots] = SASE1_BUNCH
    # SASE3 pulses before the first and, where there is room, between the SASE1 pulses: an index that forgets
    # them, or that is a cell or a pulseId, points at another energy.
    pattern[[FIRST_SLOT - 9, FIRST_SLOT - 6, FIRST_SLOT - 3]] = SASE3_BUNCH
    if p.stride > 1:
        pattern[[s + p.stride // 2 for s in slots[::2]]] = SASE3_BUNCH
    number = {f: k for k, f in enumerate(exposed)}
    return pattern, np.array([number[f] if f in lit else -1 for f in p.frames])


def _energies(rng: np.random.Generator, p: SpiParameters, mean: float, shape: tuple[int, int]) -> np.ndarray:
    """Return gamma-distributed pulse energies, (T, n) float32."""
    if p.energy_jitter == 0:
        return np.full(shape, mean, np.float32)
    k = p.energy_jitter**-2
    return (rng.standard_gamma(k, shape) * (mean / k)).astype(np.float32)


def make_schedule(p: SpiParameters, strengths: np.ndarray | None = None) -> Schedule:
    """Draw the course of a run.

    Parameters
    ----------
    p : SpiParameters
    strengths : array_like, optional
        (S,) expected photons of every shot's hit, 0 for a miss, instead of the random ones. Shots are ordered
        by train and frame, empty trains left out; values in dark frames must be 0.

    Returns
    -------
    Schedule

    Raises
    ------
    BadInput
        When `strengths` does not fit.

    Examples
    --------
    >>> len(make_schedule(SpiParameters(n_trains=2, n_cells=4)))
    8
    """
    pattern, pulse = _pattern(p)
    n, frames = p.n_trains, len(p.cells)
    is1, is3 = pattern == SASE1_BUNCH, pattern == SASE3_BUNCH
    rng = generator(p.seed, 3)
    sase1 = _energies(rng, p, p.pulse_energy_uj, (n, int(is1.sum())))
    sase3 = _energies(rng, p, 0.4 * p.pulse_energy_uj, (n, int(is3.sum())))
    xgm = np.full((n, XGM_ENTRIES), XGM_FILL, np.float32)
    both = np.flatnonzero(is1 | is3)
    xgm[:, np.flatnonzero(is1[both])] = sase1
    xgm[:, np.flatnonzero(is3[both])] = sase3

    lit = np.broadcast_to(pulse >= 0, (n, frames))
    hit = (rng.random((n, frames)) < p.hit_rate) & lit
    low, high = np.log(p.photons_per_hit)
    strength = np.where(hit, np.exp(rng.uniform(low, high, (n, frames))), 0.0)
    radius = p.radius_nm * (1 + p.size_jitter * np.clip(rng.standard_normal((n, frames)), -4, 4))

    kept = np.ones(n, bool)
    kept[list(p.empty_trains)] = False
    train = np.repeat(np.flatnonzero(kept), frames)
    strength, radius = strength[kept].ravel(), radius[kept].ravel()
    lit_shots = lit[kept].ravel()
    if strengths is not None:
        strength = np.asarray(strengths, np.float64)
        if strength.shape != train.shape or not (strength >= 0).all() or (strength[~lit_shots] > 0).any():
            raise BadInput(
                f"strengths has shape {strength.shape}; expected one value >= 0 for each of the {train.size} "
                "shots, 0 in dark frames (lit frames: Schedule.n_pulses)"
            )
    position = np.tile(np.arange(frames), int(kept.sum()))
    present = np.ones((train.size, len(p.modules)), bool)
    column = {m: i for i, m in enumerate(p.modules)}
    for m in p.missing_modules:
        present[:, column[m]] = False
    for m, t in p.missed_trains:
        present[train == t, column[m]] = False
    for m, t, k in p.short_trains:
        present[(train == t) & (position >= k), column[m]] = False
    energy = np.where(pulse >= 0, sase1[:, np.maximum(pulse, 0)], 0.0)[kept].ravel()
    frame = np.asarray(p.frames, np.int32)[position]
    return Schedule(
        train_id=np.uint64(p.first_train) + np.arange(n, dtype=np.uint64),
        timestamp=FIRST_TIMESTAMP + TRAIN_PERIOD * np.arange(n, dtype=np.uint64),
        bunch_pattern=pattern,
        sase1=sase1,
        sase3=sase3,
        xgm=xgm,
        train=train,
        frame=frame,
        cell_id=np.asarray(p.cells, np.int32)[position],
        pulse_id=(frame * p.stride).astype(np.uint64),
        n_pulses=lit_shots.astype(np.int32),
        pulse_energy=energy.astype(np.float64),
        strength=strength,
        radius=np.where(strength > 0, radius, 0.0),
        present=present,
    )
