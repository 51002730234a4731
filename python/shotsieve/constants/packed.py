"""Packed constants: 16 bits instead of 32 for each plane of the folded table, so that small cards hold it.

A plane of one module and memory cell has a base and a step; a pixel is a number of steps above the base::

    constant = base + step * code        (float32; code 65535 is NaN where it is a gain: a bad pixel)

Thresholds and forcing levels are whole numbers, and stay exact: they compare with raw words as before.
Offsets have a step of a power of two, gains one of 1 / 65534 of the range of the plane. What would be off by
more than the limits below is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ..cpus import usable_cpus
from ..detectors import Detector
from ..errors import BadInput
from .fold import FORCE, FORCED_PLANES, NAN, OFFSETS, SINGLE_OFFSET, SINGLE_PLANES, THRESHOLDS, gain_planes

__all__ = [
    "HIGH_GAIN_PHOTON",
    "PackedRows",
    "PackingLimits",
    "is_packed",
    "pack",
    "packed_shape",
    "unpack",
]

HEAD = 8
"""Words before the codes of a plane: base, step and the constant of code 65535, float32; two not used."""

HIGH_GAIN_PHOTON = 0.01
"""Photons by which a value in high gain may be off, at any raw word."""

OFFSET_STEP = 0.25
"""ADU; values are then within 1/8 ADU."""

GAIN_SHARE = 2.0**-12
"""Of the median gain of a plane: by so much a gain of any stage may be off."""

_LAST = 65535  # code
_LEAST_STEP = 2.0**-10  # of offsets: base and code then fit the 24 bits of float32
_WHAT_TO_DO = (
    "Mark such pixels as bad in the constants or by [calibrate] mask, or set packed_constants = false"
)


class PackingLimits(NamedTuple):
    """What packed constants are measured by.

    Attributes
    ----------
    stages : sequence of int
        Gain stages that the run can be in; constants of others are not looked at.
    largest_word : int
        Largest signal of a raw word, in ADU.
    to_photon : float
        Photons per unit of the values, 0 where that is not known.
    """

    stages: Sequence[int]
    largest_word: int
    to_photon: float

    @classmethod
    def of(
        cls, detector: Detector, gain_mode: str, linear: bool, unit: str, photon_energy_kev: float | None
    ) -> PackingLimits:
        """Return those of a run; `linear`: words are looked up in a table before anything else."""
        fixed = detector.fixed_stage(gain_mode)
        stages = range(detector.stages) if fixed < 0 or detector.stages == 1 else [fixed]
        to_photon = 1.0 if unit == "photon" else 0.0
        if unit == "keV" and photon_energy_kev:
            to_photon = 1 / photon_energy_kev
        # Eight bits may be nine; a linearised word may be anything.
        return cls(list(stages), 65535 if linear else max(detector.adc_max, 511), to_photon)


class PackedRows(NamedTuple):
    """Packed constants of some memory cells of a module.

    Attributes
    ----------
    table : ndarray of uint16, shape (C, P, 8 + n_pixels)
    high_gain_error : float
        Bound of what a value in high gain (or the only stage of the run) may be off, at any raw word, beside
        the rounding of float32; in the unit of the values.
    """

    table: np.ndarray
    high_gain_error: float


def is_packed(table: np.ndarray) -> bool:
    """Return whether a folded table is packed."""
    return table.dtype == np.uint16


def packed_shape(rows: int, planes: int, pixels: int) -> tuple[int, int, int]:
    """Return the shape of a packed table, of uint16.

    Examples
    --------
    >>> 2 * np.prod(packed_shape(16 * 352, 8, 65536)) / 1e9 < 6    # AGIPD-1M with all of its cells, GB
    np.True_
    """
    return rows, planes, HEAD + pixels


def unpack(table: np.ndarray) -> np.ndarray:
    """Return the constants of packed planes.

    Parameters
    ----------
    table : ndarray of uint16, shape (..., 8 + n_pixels)
        Any planes of a packed table.

    Returns
    -------
    ndarray of float32, shape (..., n_pixels)

    Examples
    --------
    >>> head = np.array([10, 0.5, np.nan, 0], "f4").view("u2")
    >>> unpack(np.concatenate([head, np.array([0, 3, 65535], "u2")]))
    array([10. , 11.5,  nan], dtype=float32)
    """
    scale = np.ascontiguousarray(table[..., :6]).view(np.float32)
    codes = table[..., HEAD:]
    values = codes.astype(np.float32)
    values *= scale[..., 1:2]
    values += scale[..., :1]
    np.copyto(values, scale[..., 2:], where=codes == _LAST)
    return values


def pack(
    table: np.ndarray,
    detector: Detector,
    module: int,
    cell_ids: np.ndarray,
    limits: PackingLimits,
    *,
    into: np.ndarray | None = None,
) -> PackedRows:
    """Pack the folded constants of some memory cells, in threads.

    Promise: exact; the same constants give the same bits. Bad pixels stay bad, thresholds and forcing levels
    compare with every raw word up to 65534 as before. An offset is within half a step, at most 1/8 ADU; a
    gain within 1/131068 of the range of its plane, at most 2^-12 of its median. In high gain both together
    are at most 0.01 photon, where it is known how much a photon is.

    Parameters
    ----------
    table : ndarray of float32, shape (C, P, n_pixels)
        From `shotsieve.constants.fold`.
    detector : Detector
    module : int
        For messages.
    cell_ids : array of int, shape (C,)
        For messages.
    limits : PackingLimits
    into : ndarray of uint16, shape (C, P, 8 + n_pixels), optional
        The table of the result, of any content; by default it is made.

    Returns
    -------
    PackedRows

    Raises
    ------
    BadInput
        If constants of a plane lie too far apart.

    Examples
    --------
    >>> pack(folded.table, detector, 3, [0, 1], limits).table.shape  # doctest: +SKIP
    (2, 8, 65544)
    """
    made = np.empty(packed_shape(*table.shape), np.uint16) if into is None else into
    made[..., :HEAD] = 0

    def row(at: int) -> float:
        return _Row(table[at], made[at], detector, f"module {module}, cell {cell_ids[at]}", limits).pack()

    with ThreadPoolExecutor(usable_cpus()) as pool:
        errors = list(pool.map(row, range(len(table))))
    return PackedRows(made, max(errors, default=0.0))


class _Row:
    """One memory cell that is packed; `made` receives it."""

    def __init__(
        self, planes: np.ndarray, made: np.ndarray, detector: Detector, where: str, limits: PackingLimits
    ) -> None:
        self.planes, self.made, self.detector, self.where = planes, made, detector, where
        self.limits = limits

    def pack(self) -> float:
        count = len(self.planes)
        if count != SINGLE_PLANES:
            for plane in range(*THRESHOLDS.indices(count)):
                self._threshold(plane)
        if count == FORCED_PLANES:
            for plane in range(*FORCE.indices(count)):
                never = np.nan_to_num(self.planes[plane], nan=0.0, posinf=_LAST, neginf=0.0)
                self._store(plane, never, 0, 1)
        offsets = range(*(SINGLE_OFFSET if count == SINGLE_PLANES else OFFSETS).indices(count))
        gains = range(*gain_planes(count).indices(count))
        error = 0.0
        for stage, (offset, gain) in enumerate(zip(offsets, gains, strict=True)):
            good = np.isfinite(self.planes[gain])
            found = self._offset(offset, good, stage), self._gain(gain, good, stage)
            if stage == self.limits.stages[0]:
                error = self._together(offset, gain, good, *found)
        return error

    def _threshold(self, plane: int) -> None:
        """Pack thresholds: nothing is above 65535, and everything above -1."""
        values = np.nan_to_num(self.planes[plane], nan=_LAST, posinf=_LAST, neginf=-1).clip(-1, _LAST)
        # Mostly a code is the threshold itself, which a backend may compare with as it is.
        self._store(plane, values, min(values.min(initial=0.0), 0.0), 1)

    def _offset(self, plane: int, good: np.ndarray, stage: int) -> float:
        """Pack offsets, which may be anything for bad pixels; return by how much one is off at most."""
        if not good.any():
            self._store(plane, np.zeros_like(self.planes[plane]), 0, 1)
            return 0.0
        values, used = self.planes[plane], stage in self.limits.stages
        low, high = _range(values, good)
        step = 2.0 ** math.ceil(math.log2((high - low) / (_LAST - 1))) if high > low else 0.0
        step = max(step, _LEAST_STEP)
        if used and step > OFFSET_STEP:
            raise BadInput(
                f"packed constants, {self.where}: the offsets of gain stage {stage} go from {low:g} to "
                f"{high:g} ADU (pixel {self._farthest(values, good)}), too far for 16 bits in steps of "
                f"{OFFSET_STEP} ADU. {_WHAT_TO_DO}"
            )
        values = np.where(good, values, np.float32(low))
        return self._store(plane, values, math.floor(low / step) * step, step)

    def _gain(self, plane: int, good: np.ndarray, stage: int) -> float:
        """Pack gains; return by how much one is off at most."""
        values = self.planes[plane]
        low, high = _range(values, good) if good.any() else (0.0, 0.0)
        step = (high - low) / (_LAST - 1)
        error = self._store(plane, np.where(good, values, np.float32(low)), low, step, ~good)
        # The median takes longer than the rest, and is no less than the smallest.
        smallest = max(low, -high, 0.0)
        if stage not in self.limits.stages or error <= GAIN_SHARE * smallest:
            return error
        usual = float(np.median(np.abs(values[good]))) if good.any() else 0.0
        if not error <= GAIN_SHARE * usual:
            raise BadInput(
                f"packed constants, {self.where}: {self._gains_told(values, good, stage, usual)}: with 16 "
                f"bits they would be off by {error / usual:.1e} of the median, and {GAIN_SHARE:.1e} is "
                f"allowed. {_WHAT_TO_DO}"
            )
        return error

    def _together(
        self, offset: int, gain: int, good: np.ndarray, offset_error: float, gain_error: float
    ) -> float:
        """Return the bound of a value in the first stage of the run, and hold it against that of photons."""
        if not good.any():
            return 0.0
        low, high = _range(self.planes[offset], good)
        reach = max(self.limits.largest_word - low, high)
        low, high = _range(self.planes[gain], good)
        error = (max(-low, high) + gain_error) * offset_error + reach * gain_error
        stage, photons = self.limits.stages[0], error * self.limits.to_photon
        if stage == 0 and photons > HIGH_GAIN_PHOTON:
            usual = float(np.median(np.abs(self.planes[gain][good])))
            raise BadInput(
                f"packed constants, {self.where}: "
                f"{self._gains_told(self.planes[gain], good, stage, usual)}: with 16 bits values would be "
                f"off by up to {photons:.2g} photon in high gain, and {HIGH_GAIN_PHOTON} is allowed. "
                f"{_WHAT_TO_DO}"
            )
        return error

    def _store(
        self, plane: int, values: np.ndarray, base: float, step: float, bad: np.ndarray | None = None
    ) -> float:
        """Write a plane, NaN where it is bad; return by how much a constant is off at most."""
        base, step = np.float32(base), np.float32(step)
        head, codes = self.made[plane, :HEAD].view(np.float32), self.made[plane, HEAD:]
        head[:3] = base, step, NAN if bad is not None else base + step * np.float32(_LAST)
        scaled = values - base
        if step:
            scaled *= np.float32(1) / step
        np.clip(np.rint(scaled, out=scaled), 0, _LAST if bad is None else _LAST - 1, out=scaled)
        codes[:] = scaled
        if bad is not None:
            np.copyto(codes, _LAST, where=bad)
        scaled *= step
        scaled += base
        return float(np.abs(scaled - values).max(initial=0.0))

    def _farthest(self, values: np.ndarray, good: np.ndarray) -> str:
        """Return where the value farthest from the median is, as the detector counts."""
        distance = np.where(good, np.abs(values - np.median(values[good])), -1)
        return str(tuple(int(i) for i in np.unravel_index(np.argmax(distance), self.detector.frame_shape)))

    def _gains_told(self, values: np.ndarray, good: np.ndarray, stage: int, usual: float) -> str:
        return (
            f"the gains of stage {stage} go from {values[good].min():g} to {values[good].max():g}, with a "
            f"median of {usual:g} (farthest from it is pixel {self._farthest(values, good)})"
        )


def _range(values: np.ndarray, good: np.ndarray) -> tuple[float, float]:
    """Return the least and the largest of the good pixels, of which there is one."""
    filled = np.where(good, values, values[np.argmax(good)])
    return float(filled.min()), float(filled.max())
