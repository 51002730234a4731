"""What happens in a simulated run before any pixel: trains, pulses and their energies, hits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from .beam import COMPANION_ENERGY, Beam, make_beam, pulse_counts
from .noise import generator
from .parameters import SpiParameters

FIRST_TIMESTAMP = 1_700_000_000_000_000_000  # ns
TRAIN_PERIOD = 100_000_000  # ns


@dataclass(frozen=True)
class Schedule:
    """The course of a run; every array is a pure function of the parameters.

    Attributes
    ----------
    train_id, timestamp : numpy.ndarray
        (T,) uint64; ns since the epoch.
    beam : Beam
        Pulses of every train, and what they are to the frames.
    train : numpy.ndarray
        (S,) int64: index of the train of each shot; shots of empty trains do not exist.
    frame, cell_id : numpy.ndarray
        (S,) int32.
    pulse_id : numpy.ndarray
        (S,) uint64.
    n_pulses : numpy.ndarray
        (S,) int32: X-ray pulses in the frame.
    laser : numpy.ndarray
        (S,) int32: pulses of the optical laser in the frame.
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
    beam: Beam
    train: np.ndarray
    frame: np.ndarray
    cell_id: np.ndarray
    pulse_id: np.ndarray
    n_pulses: np.ndarray
    laser: np.ndarray
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
    n, frames = p.n_trains, len(p.cells)
    rng = generator(p.seed, 3)
    own, companion = pulse_counts(p)
    energies = _energies(rng, p, p.pulse_energy_uj, (n, own))
    others = _energies(rng, p, COMPANION_ENERGY * p.pulse_energy_uj, (n, companion))
    beam = make_beam(p, energies, others)
    lit = beam.n_pulses > 0
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
    frame = np.asarray(p.frames, np.int32)[position]
    return Schedule(
        train_id=np.uint64(p.first_train) + np.arange(n, dtype=np.uint64),
        timestamp=FIRST_TIMESTAMP + TRAIN_PERIOD * np.arange(n, dtype=np.uint64),
        beam=beam,
        train=train,
        frame=frame,
        cell_id=np.asarray(p.cells, np.int32)[position],
        pulse_id=(frame * p.stride).astype(np.uint64),
        n_pulses=beam.n_pulses[kept].ravel(),
        laser=beam.laser[kept].ravel(),
        pulse_energy=beam.energy[kept].ravel(),
        strength=strength,
        radius=np.where(strength > 0, radius, 0.0),
        present=present,
    )
