"""Lit pixels by the noise of each pixel and memory cell: constants folded to values in units of that noise.

A second table, of the form that the calibrating kernel knows, gives `(adc - offset) / noise` in place of the
calibrated value, so that `k sigma` is one number for all pixels. It is counted in a pass of its own: who does
not ask for it pays nothing.

Promise: exact; the same counts on every backend and with any block size.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ..constants.fold import NAN, gain_planes
from ..errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..calibrate import CalibrateParams
    from ..constants.container import Constants
    from ..folded_tables import Tables


def noise_table(constants: Constants, tables: Tables, modules: Sequence[int]) -> np.ndarray:
    """Return the folded constants with gains of one over the noise, of each gain stage.

    The sign of the gain stays. A pixel without a known noise above 0 is masked, as one without a gain is.

    Parameters
    ----------
    constants : Constants
    tables : Tables
        Made from them.
    modules : sequence of int
        Module numbers, as those of the tables.

    Returns
    -------
    ndarray of float32, shape (R, P, n_pixels)
        Never packed, since values are in another unit; offsets and thresholds are those of ``tables``.

    Raises
    ------
    BadInput
        If a module has no noise.

    Examples
    --------
    >>> noise_table(constants, tables, source.modules).shape    # doctest: +SKIP
    (1024, 8, 65536)
    """
    table = np.array(tables.planes(slice(None)))
    gains = gain_planes(table.shape[1])
    for module, row_of in zip(modules, tables.row_of, strict=True):
        known = row_of >= 0
        if not known.any():
            continue
        if not constants.has("noise", module):
            raise BadInput(
                f"a threshold by the noise of each pixel needs it, and the constants hold none of module "
                f'{module}: give constants with noise, or leave noise at "median".'
            )
        noise = constants.load("noise", module, tables.cell_ids[known])
        noise = noise.reshape(*noise.shape[:2], -1).swapaxes(0, 1).astype(np.float64)
        gain = table[row_of[known], gains]
        good = np.isfinite(gain) & np.isfinite(noise) & (noise > 0)
        each = np.divide(1.0, noise, out=np.ones_like(noise), where=good)
        table[row_of[known], gains] = np.where(good, np.copysign(each, gain).astype(np.float32), NAN)
    return table


def noise_params(params: CalibrateParams, sigma: float) -> CalibrateParams:
    """Return the parameters of the pass that counts pixels above so many sigma, and nothing else.

    Parameters
    ----------
    params : CalibrateParams
        Of the calibration.
    sigma : float
    """
    return dataclasses.replace(
        params,
        lit_threshold=sigma,
        to_photon=0.0,
        round_photons=False,
        candidate_threshold=float("nan"),
    )
