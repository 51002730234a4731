"""Bounded rounding in plain NumPy and float64, where everything in it is exact: the oracle of the tests."""

from __future__ import annotations

import numpy as np

NAN = np.uint32(0x7FC00000).view(np.float32)
SMALLEST_NORMAL = 2.0**-126


def rounded(values, step, bits):
    """Round to the nearest multiple of ``max(step, 2^(floor(log2 |x|) - bits))``, half to even.

    Parameters
    ----------
    values : ndarray of float32
    step : float
        A power of two, or 0.
    bits : int
        Bits of the mantissa that are kept.

    Returns
    -------
    ndarray of float32

    Examples
    --------
    >>> rounded(np.array([9.31, 0.3], np.float32), 1024, 23).tolist()
    [0.0, 0.0]
    """
    with np.errstate(invalid="ignore"):  # signalling NaN
        x = values.astype(np.float64)
    usual = np.isfinite(x) & (x != 0)
    if step == 0:
        usual &= np.abs(x) >= SMALLEST_NORMAL
    exponent = np.frexp(np.where(usual, x, 1.0))[1] - 1
    steps = np.maximum(step, np.ldexp(1.0, exponent - bits))
    with np.errstate(over="ignore"):
        near = (np.rint(np.where(usual, x, 1.0) / steps) * steps).astype(np.float32)
    out = np.where(usual & np.isfinite(near), near, values)
    return np.where(np.isnan(values), NAN, out).astype(np.float32)
