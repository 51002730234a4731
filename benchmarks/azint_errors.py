"""Do reported errors tell how much profiles scatter? Thousands of Poisson frames on a small detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shotsieve
from shotsieve.geometry import PixelMap
from shotsieve.geometry.tile import Tile

BACKGROUNDS = (0.01, 1.0, 100.0)
SHAPE, BINS, AT_ONCE = (96, 128), 24, 500
MODELS = ("poisson", "azimuthal")


@dataclass(frozen=True)
class Errors:
    """Empirical variance over the mean reported one, of every bin.

    Attributes
    ----------
    ratio : ndarray of float64, shape (bins,)
    error : ndarray of float64, shape (bins,)
        Standard error of the ratio: sqrt((2 + 1 / counts of the bin) / frames).
    """

    ratio: np.ndarray
    error: np.ndarray

    @property
    def pulls(self) -> np.ndarray:
        """(ratio - 1) / error of every bin."""
        return (self.ratio - 1) / self.error

    @property
    def mean(self) -> tuple[float, float]:
        """Mean ratio of all bins and its standard error."""
        return float(self.ratio.mean()), float(np.sqrt((self.error**2).sum()) / len(self.error))


def detector() -> PixelMap:
    """A tile beside the beam."""
    step = 2e-4
    corner = np.array([0.002, -0.5 * SHAPE[0] * step, 0.1])
    tile = Tile((0, SHAPE[0], 0, SHAPE[1]), corner, np.array([0, step, 0]), np.array([step, 0, 0]))
    return PixelMap((tile,), SHAPE, 0.1, 9.3, "a tile")


def measure(background: float, frames: int, model: str = "poisson", seed: int = 1) -> Errors:
    """Integrate so many frames of so many photons per pixel, and compare scatter and errors."""
    rng = np.random.default_rng(seed)
    good = rng.random(SHAPE) > 0.05
    options = {"polarisation": 0.99, "error_model": model, "backend": "cpu"}
    ai = shotsieve.AzimuthalIntegrator(detector(), good, BINS, **options)
    norm = ai.pixels.solid_angle() * ai.pixels.polarisation(0.99)
    intensity, variance, signal = [], [], []
    for start in range(0, frames, AT_ONCE):
        n = min(AT_ONCE, frames - start)
        # Expected photons follow the norm, as scattered light does.
        values = rng.poisson(background * norm, (n, *SHAPE)).astype("f4")
        values[rng.random(values.shape) < 0.01] = np.nan
        result = ai(values)
        intensity.append(result.intensity)
        variance.append(result.sigma**2)
        signal.append(result.sum_signal)
    intensity, variance = np.concatenate(intensity), np.concatenate(variance)
    counts = np.concatenate(signal).mean(axis=0)
    ratio = intensity.var(axis=0, ddof=1) / variance.mean(axis=0)
    return Errors(ratio, np.sqrt((2 + 1 / counts) / frames))
