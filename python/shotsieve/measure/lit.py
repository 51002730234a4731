"""Lit pixels: how many pixels of a frame stand above a threshold, and what the whole frame holds.

The counting itself happens in the calibrating kernel (see `shotsieve.calibrate`); this module turns a
threshold with a unit into the kernel's number, and the kernel's counts into columns.

A pixel is lit when it is unmasked and strictly above the threshold, as in the facility's lit-pixel counter.
Promise: exact.
"""

from __future__ import annotations

import numpy as np

from ..calibrate import CANDIDATES, INTENSITY_SCALE


def photons_per_unit(unit: str, photon_energy_kev: float | None) -> float:
    """Return how many photons one unit of a calibrated value is, 0 where that is not known.

    Examples
    --------
    >>> photons_per_unit("photon", None), photons_per_unit("keV", 8.0), photons_per_unit("ADU", 8.0)
    (1.0, 0.125, 0.0)
    """
    if unit == "photon":
        return 1.0
    if unit == "keV" and photon_energy_kev:
        return 1.0 / photon_energy_kev
    return 0.0


def just_above(threshold: float) -> float:
    """Return the float32 that follows a threshold: to be at least that is to be strictly above the threshold.

    The calibrating kernel counts the candidates of peaks with ``>=``; where no peaks are searched, that count
    serves a second threshold of lit pixels.

    Examples
    --------
    >>> just_above(1.0) > 1.0, np.float32(just_above(1.0)) == just_above(1.0)
    (True, np.True_)
    """
    return float(np.nextafter(np.float32(threshold), np.float32(np.inf)))


def lit_measures(counts: np.ndarray, photons: bool, high: bool = False) -> dict[str, np.ndarray]:
    """Name the kernel's counts.

    Parameters
    ----------
    counts : ndarray of int64, shape (n, M, 5)
        As the kernel writes them.
    photons : bool
        Whether photons were counted.
    high : bool
        Whether the count of candidates is that of a second threshold; see `just_above`.

    Returns
    -------
    dict of str to ndarray, shape (n, M)
        ``lit_pixels``, ``unmasked_pixels`` (int64), ``intensity`` (float64, in the unit of the calibrated
        values) and, if counted, ``photons`` and ``lit_pixels_high`` (int64).

    Examples
    --------
    >>> lit_measures(np.array([[[3, 100, 640, 5, 0]]]), photons=True)["intensity"]
    array([[5.]])
    """
    measures = {
        "lit_pixels": counts[..., 0],
        "unmasked_pixels": counts[..., 1],
        "intensity": counts[..., 2] / INTENSITY_SCALE,
    }
    if photons:
        measures["photons"] = counts[..., 3]
    if high:
        measures["lit_pixels_high"] = counts[..., CANDIDATES]
    return measures
