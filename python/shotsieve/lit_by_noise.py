"""What is needed to count lit pixels by the noise of each of them, for a run or for frames in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .calibrate import CalibrateParams
from .constants.steps import Steps
from .errors import BadInput
from .folded_cache import noise_of
from .measure.lit_noise import noise_params

if TYPE_CHECKING:
    from .constants.container import Constants
    from .folded_tables import Tables
    from .units import Quantity

NOISES = ("median", "pixel")
"""What a sigma may be: the median noise of all pixels, or that of each."""

OF_THE_NOISE = slice(0, 2)
"""Counts that follow from the noise: lit and unmasked pixels; a pixel without noise is neither."""


@dataclass(frozen=True)
class LitByNoise:
    """A second table and the parameters of the pass that counts with it.

    Attributes
    ----------
    table : ndarray of float32
        From `shotsieve.measure.lit_noise.noise_table`.
    params : CalibrateParams
    """

    table: np.ndarray
    params: CalibrateParams

    @classmethod
    def make(
        cls,
        constants: Constants,
        tables: Tables,
        modules: Sequence[int],
        params: CalibrateParams,
        sigma: float,
        unit: str,
        option: str,
        cache: str | os.PathLike[str] | None = None,
    ) -> LitByNoise:
        """Return it for folded constants.

        Parameters
        ----------
        constants, tables, modules, cache
            As for `shotsieve.folded_cache.noise_of`.
        params : CalibrateParams
            Of the calibration.
        sigma : float
            From where a pixel is lit.
        unit : str
            Of the calibrated values.
        option : str
            What asks for it: begins the error's text.

        Raises
        ------
        BadInput
            If a module has no noise, or values have a limit, which is in another unit.

        Examples
        --------
        >>> LitByNoise.make(constants, tables, (3,), params, 5.0, "keV", 'noise = "pixel"')  # doctest: +SKIP
        """
        if params.value_limit < Steps.value_limit:
            raise BadInput(
                f"{option} counts in sigma, and [calibrate] value_limit = {params.value_limit:g} is in "
                f"{unit}: leave one of them out"
            )
        return cls(noise_of(constants, tables, modules, cache), noise_params(params, sigma))


def check_sigma(threshold: Quantity | float, option: str) -> None:
    """Refuse a threshold that is no multiple of the noise, where pixels are lit by that.

    Parameters
    ----------
    threshold : Quantity or float
    option : str
        What asks for it: begins the error's text.

    Raises
    ------
    BadInput

    Examples
    --------
    >>> from shotsieve.units import Quantity
    >>> check_sigma(Quantity(5.0, "sigma"), 'noise = "pixel"')
    """
    if getattr(threshold, "unit", None) != "sigma":
        raise BadInput(f'{option} goes with a threshold in sigma, such as "5 sigma"; it is {threshold}.')


def merged(counts: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return counts with those by the noise in their places.

    Parameters
    ----------
    counts, own : ndarray of int64, shape (..., 5)
        As the kernel counts with the table of the values, and with that of the noise.

    Returns
    -------
    ndarray of int64, shape (..., 5)

    Examples
    --------
    >>> merged(np.array([[3, 100, 640, 5, 0]]), np.array([[1, 90, 7, 7, 7]])).tolist()
    [[1, 90, 640, 5, 0]]
    """
    both = counts.copy()
    both[..., OF_THE_NOISE] = own[..., OF_THE_NOISE]
    return both
