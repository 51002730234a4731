"""Lit pixels: how many pixels of a frame stand above a threshold, and what the whole frame holds.

The counting itself happens in the calibrating kernel (see `shotsieve.calibrate`); this module turns a
threshold with a unit into the kernel's number, and the kernel's counts into columns.

A pixel is lit when it is unmasked and strictly above the threshold, as in the facility's lit-pixel counter.
Promise: exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..calibrate import INTENSITY_SCALE
from ..errors import BadInput

if TYPE_CHECKING:
    from ..calibrate import Tables
    from ..constants.container import Constants
    from ..units import Quantity


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


def threshold_in_unit(
    threshold: Quantity, unit: str, photon_energy_kev: float | None, sigma: float = float("nan")
) -> float:
    """Convert a threshold to the unit of the calibrated values.

    Parameters
    ----------
    threshold : Quantity
        In ADU, keV, photon or sigma.
    unit : {"ADU", "keV", "photon"}
        Unit of the calibrated values.
    photon_energy_kev : float or None
    sigma : float
        The noise of a typical pixel, in ``unit``; needed for a threshold in sigma.

    Returns
    -------
    float

    Raises
    ------
    BadInput
        If the two units cannot be converted into each other.

    Examples
    --------
    >>> from shotsieve.units import Quantity
    >>> threshold_in_unit(Quantity(0.5, "photon"), "keV", 9.0)
    4.5
    """
    if threshold.unit == unit:
        return threshold.value
    if threshold.unit == "sigma":
        if not np.isfinite(sigma):
            raise BadInput(
                f"[measure.lit] threshold = '{threshold}': the constants hold no noise, so sigma is not "
                f"known. "
                "Give the threshold in photon, keV or ADU."
            )
        return threshold.value * sigma
    if "ADU" in (threshold.unit, unit):
        raise BadInput(
            f"[measure.lit] threshold = '{threshold}' cannot be compared with values in {unit}: "
            + (f"give it in {unit} or sigma." if unit == "ADU" else "give it in photon, keV or sigma.")
        )
    if photon_energy_kev is None:
        raise BadInput(
            f"[measure.lit] threshold = '{threshold}' with values in {unit} needs the photon energy, "
            f"which the run "
            'does not tell: set [calibrate] photon_energy = "9.3 keV".'
        )
    return threshold.value * (photon_energy_kev if unit == "keV" else 1 / photon_energy_kev)


def median_noise(constants: Constants, tables: Tables, modules: tuple[int, ...], stage: int = 0) -> float:
    """Return the median noise of the good pixels, in the unit of the tables; NaN if there is none.

    It is that of the gain stage in which an unlit pixel is: high gain, or the only one of the run.
    One sigma for all pixels keeps a threshold in sigma a single number, which can be read back from the
    output.
    """
    medians = []
    for module, row_of in zip(modules, tables.row_of, strict=True):
        known = row_of >= 0
        if not known.any() or not constants.has("noise", module):
            continue
        gain = np.abs(tables.table[row_of[known], 5 + stage])
        noise = constants.load("noise", module, tables.cell_ids[known])[stage].reshape(gain.shape)
        medians.append(np.nanmedian(noise * gain))
    return float(np.median(medians)) if medians else float("nan")


def lit_measures(counts: np.ndarray, photons: bool) -> dict[str, np.ndarray]:
    """Name the kernel's counts.

    Parameters
    ----------
    counts : ndarray of int64, shape (n, M, 4)
    photons : bool
        Whether photons were counted.

    Returns
    -------
    dict of str to ndarray, shape (n, M)
        ``lit_pixels``, ``unmasked_pixels`` (int64), ``intensity`` (float64, in the unit of the calibrated
        values) and, if counted, ``photons`` (int64).

    Examples
    --------
    >>> lit_measures(np.array([[[3, 100, 640, 5]]]), photons=True)["intensity"]
    array([[5.]])
    """
    measures = {
        "lit_pixels": counts[..., 0],
        "unmasked_pixels": counts[..., 1],
        "intensity": counts[..., 2] / INTENSITY_SCALE,
    }
    if photons:
        measures["photons"] = counts[..., 3]
    return measures
