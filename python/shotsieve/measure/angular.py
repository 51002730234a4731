"""Angular correlation of polar maps: sums over frames that grow, and what they say at the end.

C(q1, q2, delta) is the mean over azimuths and frames of the product of ring q1 at phi and ring q2 at
phi + delta: one matrix product over frames for each angular harmonic, and one inverse transform at the end.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadInput
from .state import State

NORMALISE = ("mean_of_ratios", "ratio_of_sums", "none")
BLOCK = 64
"""Frames of one matrix product. Always this many, so that sums do not depend on how frames come."""


@dataclass(frozen=True, eq=False)
class AngularCorrelation:
    """What `AngularSums` have come to.

    Attributes
    ----------
    correlation : ndarray of float64, shape (n_q, n_q, n_phi), or (n_q, n_phi) of equal rings alone
        At [q1, q2, d]: of ring q1 at phi with ring q2 at phi + delta[d]. NaN where no frame has a
        pair of valid azimuths.
    pairs : ndarray of float64, same shape
        What the sum of products was divided by: pairs of azimuths, or the products of their rings' means.
    delta : ndarray of float64, shape (n_phi,)
        In degrees, from 0.
    n_frames : int
    rings_left_out : int
        Rings of single frames whose mean is not above 0; they cannot be normalised.
    """

    correlation: np.ndarray
    pairs: np.ndarray
    delta: np.ndarray
    n_frames: int
    rings_left_out: int

    @property
    def harmonics(self) -> np.ndarray:
        """Angular Fourier coefficients C_n(q1, q2), complex, the last axis is n = 0, 1, ...; NaN as above.

        C(delta) is the sum of C_n exp(i n delta) over positive and negative n.
        """
        return np.fft.rfft(self.correlation) / len(self.delta)


class AngularSums:
    """Sums of products of rings, harmonic by harmonic.

    Promise: within 1e-12 of the sum of magnitudes; the same bits however frames are handed over, on
    one machine with one number of BLAS threads.

    Parameters
    ----------
    n_q, n_phi : int
        Rings and azimuths of a map.
    normalise : {"mean_of_ratios", "ratio_of_sums", "none"}
        With I the values and m their mean over the valid azimuths of a ring of a frame: the mean over
        frames of (I1 / m1 - 1) (I2 / m2 - 1); the sum of (I1 - m1) (I2 - m2) over that of m1 m2, in which
        bright frames count more; the mean of I1 I2.
    diagonal : bool
        Of equal rings alone, which takes a hundredth of the time.

    Raises
    ------
    BadInput
        If there is no such way to normalise, no ring, or a single azimuth.

    Examples
    --------
    >>> sums = AngularSums(1, 4)
    >>> sums.add(np.array([[[1.0, 3.0, 1.0, 3.0]]]))
    >>> sums.result().correlation
    array([[[ 0.25, -0.25,  0.25, -0.25]]])
    """

    def __init__(
        self, n_q: int, n_phi: int, *, normalise: str = "mean_of_ratios", diagonal: bool = False
    ) -> None:
        if normalise not in NORMALISE:
            raise BadInput(f"xcca: normalise = {normalise!r}: expected one of {', '.join(NORMALISE)}")
        if n_q < 1 or n_phi < 2:
            raise BadInput(
                f"xcca: maps of {n_q} rings and {n_phi} azimuths: expected at least one ring and two azimuths"
            )
        self.shape, self.normalise, self.diagonal = (n_q, n_phi), normalise, diagonal
        harmonics = n_phi // 2 + 1
        size = (harmonics, n_q) if diagonal else (harmonics, n_q, n_q)
        kind = "f8" if diagonal else "c16"
        self._sums = np.zeros(size, kind), np.zeros(size, kind)
        self._maps, self._valid = np.zeros((0, n_q, n_phi)), np.zeros((0, n_q, n_phi), bool)
        self.n_frames = self.rings_left_out = 0

    @staticmethod
    def n_bytes(n_q: int, n_phi: int, diagonal: bool) -> int:
        """Return the memory that sums and the frames of a block take at most."""
        harmonics = n_phi // 2 + 1
        sums = 16 * harmonics * n_q if diagonal else 32 * harmonics * n_q**2
        return sums + 9 * BLOCK * n_q * n_phi

    def add(self, maps: Any, valid: Any = None) -> None:
        """Add frames.

        Parameters
        ----------
        maps : array, shape (F, n_q, n_phi)
            Polar maps; values that are not finite are not valid.
        valid : array of bool of the same shape, or None
            Where a map has a value.

        Raises
        ------
        BadInput
            If shapes disagree, or values are complex.
        """
        maps = np.asarray(maps)
        if maps.ndim != 3 or maps.shape[1:] != self.shape or maps.dtype.kind not in "fiub":
            raise BadInput(
                f"xcca: maps of shape {maps.shape} and type {maps.dtype}: expected (frames, {self.shape[0]}, "
                f"{self.shape[1]}) of real numbers"
            )
        good = np.isfinite(maps)
        if valid is not None:
            if np.shape(valid) != maps.shape:
                raise BadInput(f"xcca: valid has shape {np.shape(valid)}: expected {maps.shape}, as the maps")
            good &= np.asarray(valid, bool)
        self.n_frames += len(maps)
        maps = np.concatenate([self._maps, np.where(good, maps, 0.0)])
        good = np.concatenate([self._valid, good])
        whole = len(maps) // BLOCK * BLOCK
        for start in range(0, whole, BLOCK):
            block = slice(start, start + BLOCK)
            self.rings_left_out += self._fold(maps[block], good[block], self._sums)
        self._maps, self._valid = maps[whole:].copy(), good[whole:].copy()

    def settle(self) -> None:
        """Take the frames that wait for a full block as a block: no more are to come, or not soon."""
        self.rings_left_out += self._fold(self._maps, self._valid, self._sums)
        self._maps, self._valid = self._maps[:0], self._valid[:0]

    def result(self) -> AngularCorrelation:
        """Return the correlation of all frames so far; more may be added."""
        sums = tuple(one.copy() for one in self._sums)
        left_out = self.rings_left_out + self._fold(self._maps, self._valid, sums)
        n_phi = self.shape[1]
        numerator, pairs = (np.fft.irfft(np.moveaxis(x, 0, -1), n_phi) for x in sums)
        if self.normalise == "ratio_of_sums":
            # Nothing there, but for what transforms leave of it.
            pairs[pairs < 1e-12 * pairs.max(initial=0.0)] = 0.0
        else:
            pairs = np.rint(pairs)
        with np.errstate(divide="ignore", invalid="ignore"):
            correlation = np.where(pairs > 0, numerator / pairs, np.nan)
        delta = np.arange(n_phi) * (360.0 / n_phi)
        return AngularCorrelation(correlation, pairs, delta, self.n_frames, left_out)

    def left_out(self) -> int:
        """Return how many rings of frames so far cannot be normalised."""
        return self.rings_left_out + _fluctuation(self._maps, self._valid, self.normalise)[2]

    def snapshot(self) -> State:
        """Return all sums; `restore` goes on from them."""
        return {
            "counts": np.array([self.n_frames, self.rings_left_out]),
            "numerator": self._sums[0],
            "denominator": self._sums[1],
            "maps": self._maps,
            "valid": self._valid,
        }

    def restore(self, state: State) -> None:
        """Take what `snapshot` returned."""
        self.n_frames, self.rings_left_out = state["counts"].tolist()
        self._sums = state["numerator"].copy(), state["denominator"].copy()
        self._maps, self._valid = state["maps"].copy(), state["valid"].copy()

    def _fold(self, maps: np.ndarray, valid: np.ndarray, sums: tuple[np.ndarray, ...]) -> int:
        """Add the frames of a block to numerator and denominator; return the number of rings left out."""
        if not len(maps):
            return 0
        signal, weight, left_out = _fluctuation(maps, valid, self.normalise)
        self._add_products(signal, sums[0])
        self._add_products(_each_once(weight) if weight.dtype == bool else weight, sums[1])
        return left_out

    def _add_products(self, x: np.ndarray, sums: np.ndarray) -> None:
        """Add the products of harmonics, summed over frames, to (harmonics, q1, q2) or (harmonics, q)."""
        transformed = np.fft.rfft(x)
        if self.diagonal:
            sums += np.einsum("fqh,fqh->hq", transformed.conj(), transformed).real
            return
        # Products with their own transpose need half the work of a complex one: BLAS fills one triangle.
        for real, imag, total in zip(
            np.ascontiguousarray(transformed.real.transpose(2, 1, 0)),
            np.ascontiguousarray(transformed.imag.transpose(2, 1, 0)),
            sums,
            strict=True,
        ):
            cross = real @ imag.T
            total.real += real @ real.T + imag @ imag.T
            total.imag += cross - cross.T


def _fluctuation(maps: np.ndarray, valid: np.ndarray, normalise: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Return what is correlated, what it is divided by the correlation of, and the rings that cannot be."""
    if normalise == "none":
        return maps, valid, 0
    number = np.count_nonzero(valid, axis=-1, keepdims=True)
    mean = maps.sum(axis=-1, keepdims=True) / np.maximum(number, 1)
    usable = mean > 0
    left_out = int(np.count_nonzero((number > 0) & ~usable))
    valid = valid & usable
    if normalise == "ratio_of_sums":
        return (maps - mean) * valid, mean * valid, left_out
    signal = maps / np.where(usable, mean, 1.0)
    signal -= 1.0
    signal *= valid
    return signal, valid, left_out


def _each_once(masks: np.ndarray) -> np.ndarray:
    """Return the different ones of some masks, each times the root of how many there are of it."""
    if (masks == masks[0]).all():  # as most often
        return masks[:1] * np.sqrt(len(masks))
    number = Counter(row.tobytes() for row in np.packbits(masks.reshape(len(masks), -1), axis=1))
    packed = np.frombuffer(b"".join(number), "u1").reshape(len(number), -1)
    distinct = np.unpackbits(packed, axis=1, count=masks[0].size).reshape(len(number), *masks.shape[1:])
    return distinct * np.sqrt(list(number.values()))[:, None, None]
