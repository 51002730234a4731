"""Middle and width of values, some of which may be anything."""

from __future__ import annotations

import numpy as np

MAD_TO_SIGMA = 1.4826
"""A median absolute deviation times this is the standard deviation of a normal distribution."""


def middle_and_width(values: np.ndarray) -> tuple[float, float]:
    """Return the median, and the standard deviation that the median distance from it stands for.

    Parameters
    ----------
    values : ndarray of int or float, shape (n,)
        At least one, all finite.

    Returns
    -------
    middle, width : float

    Examples
    --------
    >>> middle_and_width(np.array([1.0, 2.0, 3.0, 4.0, 900.0]))
    (3.0, 1.4826)
    """
    middle = float(np.median(values))
    return middle, float(MAD_TO_SIGMA * np.median(np.abs(values - middle)))
