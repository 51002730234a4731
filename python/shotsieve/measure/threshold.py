"""Thresholds with a unit, as the numbers that kernels compare calibrated values with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..constants.fold import gain_planes
from ..errors import BadInput

if TYPE_CHECKING:
    from ..constants.container import Constants
    from ..folded_tables import Tables
    from ..units import Quantity


def threshold_in_unit(
    threshold: Quantity,
    unit: str,
    photon_energy_kev: float | None,
    sigma: float = float("nan"),
    *,
    option: str,
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
    option : str
        What error texts call the threshold, such as ``"[measure.lit] threshold"``.

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
    >>> threshold_in_unit(Quantity(0.5, "photon"), "keV", 9.0, option="threshold")
    4.5
    """
    if threshold.unit == unit:
        return threshold.value
    if threshold.unit == "sigma":
        if not np.isfinite(sigma):
            raise BadInput(
                f"{option} = '{threshold}': the constants hold no noise, so sigma is not "
                f"known. "
                "Give the threshold in photon, keV or ADU."
            )
        return threshold.value * sigma
    if "ADU" in (threshold.unit, unit):
        raise BadInput(
            f"{option} = '{threshold}' cannot be compared with values in {unit}: "
            + (f"give it in {unit} or sigma." if unit == "ADU" else "give it in photon, keV or sigma.")
        )
    if photon_energy_kev is None:
        raise BadInput(
            f"{option} = '{threshold}' with values in {unit} needs the photon energy, "
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
        gains = gain_planes(tables.table.shape[1])
        gain = np.abs(tables.planes(row_of[known], gains)[:, stage])
        noise = constants.load("noise", module, tables.cell_ids[known])[stage].reshape(gain.shape)
        medians.append(np.nanmedian(noise * gain))
    return float(np.median(medians)) if medians else float("nan")
