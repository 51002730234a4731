"""Calibrated values as whole photons: small integers, nearly all of them 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..constants.bad_pixels import BadPixels

DTYPES = ("uint16", "uint8")


@dataclass(frozen=True)
class PhotonCounts:
    """Counts photons per pixel as the calibrating kernel counts them per frame.

    A value x is ``n = floor(y)`` photons, plus 1 where ``y - n >= rounding_threshold``, with ``y = x *
    per_unit`` in float32; below 0 there are none. What is larger than the dtype holds is stored as the
    largest number and flagged VALUE_OUT_OF_RANGE. Where there is no value (NaN) it is 0, and the mask, which
    says why, stays as it is.

    Promise: exact. Summed over the pixels of a frame this is the measure ``photons``, unless a pixel is out
    of range.

    Attributes
    ----------
    per_unit : float
        Photons per unit of the calibrated values.
    rounding_threshold : float
        Fraction of a photon from which is rounded up.
    dtype : {"uint16", "uint8"}

    Examples
    --------
    >>> counts = PhotonCounts(per_unit=1 / 9.3, dtype="uint8")
    >>> values = np.array([[-20, 4.6, 4.7, np.nan, 5000]], np.float32)
    >>> mask, out = np.array([[0, 0, 0, 8, 0]], np.uint32), np.empty((1, 5), np.uint8)
    >>> counts.count(values, mask, out), out.tolist(), mask.tolist()
    (1, [[0, 0, 1, 0, 255]], [[0, 0, 0, 8, 4096]])
    """

    per_unit: float
    rounding_threshold: float = 0.5
    dtype: str = "uint16"

    def count(self, values: np.ndarray, mask: np.ndarray, out: np.ndarray) -> int:
        """Count the photons of a frame.

        Parameters
        ----------
        values : ndarray of float32, shape (ss, fs)
            NaN where a pixel is masked.
        mask : ndarray of uint32, shape (ss, fs), C-contiguous
            BadPixels bits; pixels out of range are added.
        out : ndarray of `dtype`, shape (ss, fs)
            Receives the photons.

        Returns
        -------
        int
            Pixels that hold more photons than `out` can say.
        """
        with np.errstate(invalid="ignore"):
            part = np.multiply(values, np.float32(self.per_unit))
            whole = np.floor(part)
            part -= whole
            whole += part >= np.float32(self.rounding_threshold)
        # fmax takes 0 where there is no number. Bounds come before the cast, which would wrap around.
        np.fmax(whole, np.float32(0), out=whole)
        largest = np.float32(np.iinfo(self.dtype).max)
        beyond = np.flatnonzero(whole > largest)
        np.minimum(whole, largest, out=whole)
        out[...] = whole
        mask.reshape(-1)[beyond] |= np.uint32(BadPixels.VALUE_OUT_OF_RANGE)
        return len(beyond)
