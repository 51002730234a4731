"""Speckles: the light of a sample that a coherent beam hits, and that moves from pulse to pulse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..sources.exposure import SLOT_MHZ
from .noise import generator, normals
from .physics import background_profile

if TYPE_CHECKING:
    from .schedule import Schedule
    from .xpcs import XpcsParameters

FIELD = 13  # stream of random numbers
GRID = 2.0**16
"""Fields are rounded to 1 / GRID, so that they do not depend on how a machine multiplies matrices."""


def field_correlation(lag_us: np.ndarray, relaxation_us: float, stretch: float) -> np.ndarray:
    """Return g1, the normalised correlation of the field: exp(-(lag / relaxation)^stretch), float64.

    With it the intensity has g2 = 1 + contrast * g1^2 (Siegert relation).

    Examples
    --------
    >>> field_correlation(np.array([0.0, 10.0]), 10.0, 1.0).round(3).tolist()
    [1.0, 0.368]
    """
    return np.exp(-((np.abs(np.asarray(lag_us, "f8")) / relaxation_us) ** stretch))


class Speckles:
    """Fully developed speckles of a few independent modes, one speckle a pixel.

    Each mode is a complex Gaussian field whose correlation in time is `field_correlation`, in every pixel on
    its own; its intensity is that of the field, and those of the modes add up with their weights. Trains are
    independent of each other. All modules of one train are in memory at a time, 4 bytes a pixel and frame.

    Parameters
    ----------
    p : XpcsParameters
    schedule : Schedule
    q, weight : ndarray, shape (M, pixels)
        Momentum transfer, 1/nm, and solid angle of every pixel.
    """

    def __init__(self, p: XpcsParameters, schedule: Schedule, q: np.ndarray, weight: np.ndarray) -> None:
        self._p, self._schedule = p, schedule
        pattern = weight / (1 + np.square(q / p.q_width_per_nm)) if p.q_width_per_nm else weight
        self._pattern = (pattern / pattern.sum()).astype(np.float32)
        self._lags = np.asarray(p.frames, "f8") * p.stride / SLOT_MHZ
        self._train = -1
        self._fields: dict[int, np.ndarray] = {}

    def mean(self, shot: int, row: int) -> np.ndarray | None:
        """Return the expected photons on one module over all speckles; see `Scene`."""
        strength = self._schedule.strength[shot]
        return None if strength == 0 else self._pattern[row] * np.float32(strength)

    def lit(self, photons: np.ndarray, hit: np.ndarray) -> np.ndarray:
        """Return the probability of a photon in each pixel, over all speckles.

        Parameters
        ----------
        photons, hit : ndarray of float64, shape (pixels,)
            Expected photons, and those of them that are of the sample.

        Notes
        -----
        The intensity of a mode with mean m has an exponential distribution, so that no photon of it comes
        with a probability of 1 / (1 + m) (Goodman, Statistical Optics, section 9.2).
        """
        none = np.exp(hit - photons)
        for share in self._p.mode_weights:
            none = none / (1 + share * hit)
        return 1 - none

    def hit(self, shot: int, row: int) -> np.ndarray | None:
        """See `Scene`."""
        mean = self.mean(shot, row)
        if mean is None:
            return None
        train = int(self._schedule.train[shot])
        place = int(shot - self._schedule.shots_of(train)[0])
        mean *= self.intensity(train, row)[place]
        return mean

    def intensity(self, train: int, row: int) -> np.ndarray:
        """Return the relative intensity of one module in all frames of a train, float32 (frames, pixels)."""
        if train != self._train:
            self._train = train
            self._fields.clear()
        if row not in self._fields:
            self._fields[row] = self._made(train, row)
        return self._fields[row]

    def background(self, q: np.ndarray) -> np.ndarray:
        """See `Scene`."""
        return background_profile(q)

    def truth(self) -> dict[str, tuple[np.ndarray, str, str]]:
        """See `Scene`."""
        p, lag = self._p, self._lags - self._lags[0]
        g1 = field_correlation(lag, p.relaxation_us, p.stretch)
        return {
            "speckle_lag": (lag, "us", "time from the first frame of a train to each of its frames"),
            "speckle_g2": (
                1 + p.contrast * g1**2,
                "",
                "intensity correlation at that lag, without shot noise",
            ),
            "speckle_contrast": (np.array(p.contrast), "", "variance of the intensity over its squared mean"),
        }

    def _made(self, train: int, row: int) -> np.ndarray:
        p = self._p
        frames, pixels = len(self._lags), self._pattern.shape[1]
        out = np.zeros((frames, pixels), np.float32)
        for mode, share in enumerate(p.mode_weights):
            rng = generator(p.seed, FIELD, train, p.modules[row], mode)
            steps = np.stack([normals(rng, np.empty(2 * pixels, np.float32)) for _ in range(frames)])
            field = self._chain(steps) if p.stretch == 1 else self._mixed(steps)
            np.square(field, out=field)
            field *= np.float32(share / 2)
            out += field[:, :pixels]
            out += field[:, pixels:]
        return out

    def _chain(self, steps: np.ndarray) -> np.ndarray:
        """Return a field whose correlation is exponential: each frame follows from the one before it."""
        kept = field_correlation(np.diff(self._lags), self._p.relaxation_us, 1.0)
        for k, part in enumerate(kept.tolist(), start=1):
            steps[k] *= np.float32(np.sqrt(1 - part * part))
            steps[k] += np.float32(part) * steps[k - 1]
        return steps

    def _mixed(self, steps: np.ndarray) -> np.ndarray:
        """Return a field of any correlation: the root of its matrix times independent numbers."""
        lag = self._lags[:, None] - self._lags
        values, vectors = np.linalg.eigh(field_correlation(lag, self._p.relaxation_us, self._p.stretch))
        root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T  # the symmetric one: it is unique
        width = 1 << 14
        for start in range(0, steps.shape[1], width):
            part = slice(start, start + width)
            steps[:, part] = np.rint(root @ steps[:, part].astype("f8") * GRID) / GRID
        return steps
