"""Values rounded within a bound, so that they compress: fewer bits of the mantissa, multiples of a step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import BadInput

NAN = np.uint32(0x7FC00000).view(np.float32)

MANTISSA_BITS = 23
"""Of float32; as many are kept where nothing is rounded relative to the value."""

# Beyond these an inverse is no float32 any more, or a step is larger than any calibrated value.
_LEAST_STEP, _LARGEST_STEP = 2.0**-100, 2.0**24
_SMALLEST_NORMAL, _INFINITE, _SIGN = 0x00800000, 0x7F800000, 0x7FFFFFFF


@dataclass(frozen=True)
class Rounding:
    """Rounds float32 to multiples of a power of two that grows with the value.

    A finite value x becomes the nearest multiple of ::

        step(x) = max(step, 2^(floor(log2 |x|) - bits))

    and of two that are equally near the one that is an even multiple. So ``|rounded - x| <= step(x) / 2``.
    Nothing else happens to a value: one whose nearest multiple is not finite stays as it is, and so does,
    without a step, one below 2^-126, where float32 has fewer bits. The sign is kept, also that of a value
    that becomes 0; 0 stays 0 and an infinity what it is; every NaN becomes 0x7fc00000.

    Promise: exact. Only additions of whole numbers, products with powers of two and roundings to whole
    numbers take part, which have one result everywhere.

    Attributes
    ----------
    step : float
        A power of two from 2^-100 to 2^24, or 0: none.
    bits : int
        Bits of the mantissa that are kept, 1 to 23; 23 keeps all.

    Notes
    -----
    Steps that are no powers of two would give numbers with long mantissas, which do not compress.

    Examples
    --------
    >>> rounding = Rounding.within(absolute=0.05, relative=0.01)
    >>> rounding
    Rounding(step=0.03125, bits=6)
    >>> values = np.array([0.02, -9.31, 1234.5], np.float32)
    >>> rounding.apply(values)
    >>> values.tolist()
    [0.03125, -9.25, 1232.0]
    """

    step: float = 0.0
    bits: int = MANTISSA_BITS

    def __post_init__(self) -> None:
        power = self.step == 0 or (
            _LEAST_STEP <= self.step <= _LARGEST_STEP and math.frexp(self.step)[0] == 0.5
        )
        if not power or not 1 <= self.bits <= MANTISSA_BITS:
            raise BadInput(
                f"rounding: step = {self.step}, bits = {self.bits}; expected a power of two from 2^-100 to "
                f"2^24 or 0, and 1 to {MANTISSA_BITS} bits"
            )

    @classmethod
    def within(cls, absolute: float | None = None, relative: float | None = None) -> Rounding:
        """Return the coarsest rounding that keeps to a bound.

        Parameters
        ----------
        absolute : float, optional
            Step in the unit of the values: at most half of it is the error.
        relative : float, optional
            Error in units of the value.

        Returns
        -------
        Rounding
            With ``|rounded - x| <= max(absolute / 2, relative * |x|)`` for every finite x.

        Raises
        ------
        BadInput
            If neither is given, or one is out of range.

        Examples
        --------
        >>> Rounding.within(relative=2**-8)
        Rounding(step=0.0, bits=7)
        """
        if absolute is None and relative is None:
            raise BadInput("rounding: expected an absolute step, a relative error or both")
        if absolute is not None and not _LEAST_STEP <= absolute <= _LARGEST_STEP:
            raise BadInput(
                f"rounding: an absolute step of {absolute:g}; expected {_LEAST_STEP:.3g} to {_LARGEST_STEP:g}"
            )
        if relative is not None and not 2.0**-MANTISSA_BITS <= relative <= 0.25:
            raise BadInput(
                f"rounding: a relative error of {relative:g}; expected {2.0**-MANTISSA_BITS:.3g}, below "
                "which float32 has nothing to round, to 0.25"
            )
        # frexp: x = m * 2^e with m from 0.5 to below 1, so 2^(e - 1) is the power of two at or below x.
        step = 0.0 if absolute is None else math.ldexp(0.5, math.frexp(absolute)[1])
        bits = MANTISSA_BITS if relative is None else min(-math.frexp(relative)[1], MANTISSA_BITS)
        return cls(step, bits)

    def apply(self, values: np.ndarray) -> None:
        """Round values where they stand; arrays of one frame stay in the cache.

        Parameters
        ----------
        values : ndarray of float32, C-contiguous
            Overwritten.

        Examples
        --------
        >>> values = np.array([0.3, -0.2], np.float32)
        >>> Rounding(step=0.5).apply(values)
        >>> values.tolist()
        [0.5, -0.0]
        """
        if values.dtype != np.float32 or not values.flags.c_contiguous:
            raise BadInput(f"rounding: expected contiguous float32, got {values.dtype}, {values.strides}")
        flat = values.reshape(-1)
        missing = np.flatnonzero(np.isnan(flat))
        if self.step == 0:
            self._drop_bits(flat)
        else:
            # From here on the step is that of the value, not the one that is given.
            large = np.flatnonzero(np.abs(flat) >= np.float32(self.step * 2.0**self.bits))
            kept = flat[large]
            self._drop_bits(kept)
            # Large values and NaN may overflow or complain here, and are set below.
            with np.errstate(over="ignore", invalid="ignore", under="ignore"):
                np.multiply(flat, np.float32(1 / self.step), out=flat)
                np.rint(flat, out=flat)
                np.multiply(flat, np.float32(self.step), out=flat)
            flat[large] = kept
        flat[missing] = NAN

    def _drop_bits(self, values: np.ndarray) -> None:
        """Round the mantissas, half to even, as whole numbers: a carry goes to the exponent, as it should."""
        drop = MANTISSA_BITS - self.bits
        if drop == 0:
            return
        words, half = values.view(np.uint32), 1 << (drop - 1)
        # What is too small to be normal, or would be rounded to infinity, or is no number.
        size = (words & np.uint32(_SIGN)) - np.uint32(_SMALLEST_NORMAL)
        other = np.flatnonzero(size >= np.uint32(_INFINITE - half - _SMALLEST_NORMAL))
        kept = values[other]
        odd = words >> np.uint32(drop)
        odd &= np.uint32(1)
        odd += np.uint32(half - 1)
        words += odd
        words &= np.uint32(~((1 << drop) - 1) & 0xFFFFFFFF)
        values[other] = kept
