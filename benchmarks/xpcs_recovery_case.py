"""Speckles of a known contrast and relaxation, counted at some rates, and what is found of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import curve_fit
from shotsieve.measure.correlation_bins import CorrelationBins
from shotsieve.measure.train_correlator import TrainCorrelator, TrainOptions

RATES = (0.01, 0.1, 1.0)
"""Photons per pixel and frame."""

CONTRAST, RELAXATION = 0.5, 5.0
"""Of two equal modes; frames in which the field correlation falls to 1 / e."""

QUANTITIES = ("contrast", "relaxation", "diagonal", "baseline")
TRUE = {"contrast": CONTRAST, "relaxation": RELAXATION, "diagonal": 1 + CONTRAST, "baseline": 1.0}


@dataclass(frozen=True)
class Size:
    """Of a run."""

    trains: int = 12
    frames: int = 16
    pixels: int = 20000


def speckles(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Return intensities of a train, mean 1: two independent modes whose fields relax exponentially."""
    kept = np.exp(-1 / RELAXATION)
    total = np.zeros((size.frames, size.pixels), np.float32)
    for _ in range(4):  # real and imaginary parts of two modes
        field = rng.standard_normal((size.frames, size.pixels), np.float32)
        for t in range(1, size.frames):
            field[t] = kept * field[t - 1] + np.sqrt(1 - kept**2) * field[t]
        total += field**2
    return total / 4


def fitted(g2: np.ndarray) -> tuple[float, float]:
    """Return contrast and relaxation of a correlation function with a base of 1.

    Lags to three quarters of a train, each with the weight of its pairs of frames.
    """
    lag = np.arange(3 * len(g2) // 4)

    def model(lag: np.ndarray, contrast: float, rate: float) -> np.ndarray:
        return contrast * np.exp(-2 * lag * rate)

    sigma = 1 / np.sqrt(len(g2) - lag)
    start = (CONTRAST, 1 / RELAXATION)
    found, _ = curve_fit(model, lag, g2[lag] - 1, p0=start, sigma=sigma, maxfev=5000)
    return float(found[0]), float(1 / found[1])


def recover(seed: int, size: Size) -> dict[float, dict[str, tuple[float, float]]]:
    """Simulate and correlate a run; return for each rate the value and the error of each quantity.

    Errors of the fit are those of the jackknife over trains; the others are those of the averages. Pulses
    differ in energy by a factor of three.
    """
    rng = np.random.default_rng([20261128, seed])
    bins, use = CorrelationBins.of(np.zeros(size.pixels, int)), np.ones(size.trains, bool)
    options = TrainOptions(size.frames, two_time=False)
    all_ = {r: TrainCorrelator(bins, options, use, np.full(size.trains, 16, "u1"), "cpu") for r in RATES}
    for train in range(size.trains):
        intensity = speckles(rng, size) * rng.uniform(0.5, 1.5, (size.frames, 1)).astype("f4")
        for rate, one in all_.items():
            for place, photons in enumerate(rng.poisson(rate * intensity).astype("u1")):
                one.add(train, place, photons)
    return {rate: _found(one) for rate, one in all_.items()}


def _found(one: TrainCorrelator) -> dict[str, tuple[float, float]]:
    weights, g2 = one.intensity, one.g2[:, 0]
    mean, error = (part[0] for part in one.average.result())
    value = fitted(mean)
    n = len(g2)
    others = np.array(
        [fitted((weights * g2)[np.arange(n) != k].sum(0) / (weights.sum() - weights[k])) for k in range(n)]
    )
    errors = np.sqrt((n - 1) / n * ((others - others.mean(axis=0)) ** 2).sum(axis=0))
    base = tuple(float(part[0, 0]) for part in one.baseline[0].result())
    return {
        "contrast": (value[0], float(errors[0])),
        "relaxation": (value[1], float(errors[1])),
        "diagonal": (float(mean[0]), float(error[0])),
        "baseline": base,
    }


def deviations(runs: list[dict[float, dict[str, tuple[float, float]]]]) -> dict[float, dict[str, np.ndarray]]:
    """Return how many errors each run is off, for each rate and quantity."""
    return {
        rate: {
            name: np.array([(run[rate][name][0] - TRUE[name]) / run[rate][name][1] for run in runs])
            for name in QUANTITIES
        }
        for rate in RATES
    }


def bias(
    runs: list[dict[float, dict[str, tuple[float, float]]]], rate: float, name: str
) -> tuple[float, float]:
    """Return how far the mean over all runs is off, and its standard error."""
    values = np.array([run[rate][name][0] for run in runs])
    return float(values.mean() - TRUE[name]), float(values.std(ddof=1) / np.sqrt(len(values)))
