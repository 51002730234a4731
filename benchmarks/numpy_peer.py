"""The peer of `calibrate_lit`: the same counts by NumPy, vectorised over pixels, cell by cell and in place.

Buffers are made once, every operation that can writes into one of them, and all trains of a cell may be done
at once. Three ways of finding the gain stage, from what is usually written to what is quickest on these data:

choose
    a stage number per pixel, offset and gain picked by `np.choose`
masked
    high-gain constants copied, then overwritten where a pixel switched (`np.copyto(where=)`)
sparse
    every pixel as in high gain, then the few switched ones once more; quick only while they are few
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from lit_case import LitCase
from shotsieve.calibrate import CalibrateParams

STAGE_CHOICES = ("choose", "masked", "sparse")


class NumpyPeer:
    """Counts lit and unmasked pixels, intensity and, if asked, photons of every frame.

    Parameters
    ----------
    case : LitCase
    params : CalibrateParams
        Thresholds and limits; photons are counted when ``to_photon`` is not 0.
    stage_choice : {"choose", "masked", "sparse"}
    together : int
        Trains of a cell that are handled at once; a divisor of the number of trains.
    """

    def __init__(self, case: LitCase, params: CalibrateParams, stage_choice: str, together: int) -> None:
        self.case, self.params, self.together = case, params, together
        self._calibrate = self._ways().get(stage_choice)
        shape = (together, case.pixels)
        self._x, self._a, self._b = (np.empty(shape, "f4") for _ in range(3))
        self._above0, self._above1, self._good, self._lit = (np.empty(shape, bool) for _ in range(4))
        self._stage = np.empty(shape, "u1")
        # Raw words are integers: compared with whole thresholds of their own type they need no conversion.
        self._thresholds = np.clip(np.floor(np.nan_to_num(case.table[:, :2], nan=65535)), 0, 65535).astype(
            "u2"
        )
        self.counts = np.zeros((case.trains, case.cells, 4))

    def _ways(self) -> dict[str, Callable[[np.ndarray, np.ndarray, int], None]]:
        return {"choose": self._choose, "masked": self._masked, "sparse": self._sparse}

    def run(self) -> np.ndarray:
        """Count; return lit, unmasked, intensity and photons as float64, shape (trains, cells, 4)."""
        for cell in range(self.case.cells):
            for first in range(0, self.case.trains, self.together):
                trains = slice(first, first + self.together)
                words = self.case.raw[trains, cell]
                self._calibrate(words, self.case.table[cell], cell)
                self._count(self.counts[trains, cell])
        return self.counts

    def _signal(self, words: np.ndarray, cell: int) -> np.ndarray:
        """Return the ADU of every pixel."""
        return words[:, 0]

    def _split(self, words: np.ndarray, cell: int) -> np.ndarray:
        """Find which pixels left high gain and which of them are in low gain; return the ADU of all."""
        self._switched(words, cell)
        np.greater(words[:, 1], self._thresholds[cell, 1], out=self._above1)
        np.logical_and(self._above0, self._above1, out=self._above1)
        return self._signal(words, cell)

    def _switched(self, words: np.ndarray, cell: int) -> None:
        np.greater(words[:, 1], self._thresholds[cell, 0], out=self._above0)

    def _is_low(self, words: np.ndarray, cell: int, row: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        """Of a few pixels that left high gain: which are in low gain."""
        return words[row, 1, pixel] > self._thresholds[cell, 1, pixel]

    def _signal_at(self, words, adc: np.ndarray, low: np.ndarray, row, pixel) -> np.ndarray:
        """Of a few pixels that left high gain: their ADU."""
        return adc[row, pixel]

    def _choose(self, words: np.ndarray, constants: np.ndarray, cell: int) -> None:
        adc, stage = self._split(words, cell), self._stage
        np.add(self._above0.view("u1"), self._above1.view("u1"), out=stage)
        np.choose(stage, constants[2:5], out=self._a, mode="clip")
        np.choose(stage, constants[5:8], out=self._b, mode="clip")
        np.subtract(adc, self._a, out=self._x)
        np.multiply(self._x, self._b, out=self._x)

    def _masked(self, words: np.ndarray, constants: np.ndarray, cell: int) -> None:
        adc = self._split(words, cell)
        for target, first in ((self._a, 2), (self._b, 5)):
            target[...] = constants[first]
            np.copyto(target, constants[first + 1], where=self._above0)
            np.copyto(target, constants[first + 2], where=self._above1)
        np.subtract(adc, self._a, out=self._x)
        np.multiply(self._x, self._b, out=self._x)

    def _sparse(self, words: np.ndarray, constants: np.ndarray, cell: int) -> None:
        adc = self._signal(words, cell)
        self._switched(words, cell)
        np.subtract(adc, constants[2], out=self._x)
        np.multiply(self._x, constants[5], out=self._x)
        at = np.flatnonzero(self._above0)
        if at.size == 0:
            return
        row, pixel = np.divmod(at, self.case.pixels)
        low = self._is_low(words, cell, row, pixel)
        offset = np.where(low, constants[4, pixel], constants[3, pixel])
        gain = np.where(low, constants[7, pixel], constants[6, pixel])
        self._x[row, pixel] = (self._signal_at(words, adc, low, row, pixel) - offset) * gain

    def _count(self, counts: np.ndarray) -> None:
        x, a, good, lit, params = self._x, self._a, self._good, self._lit, self.params
        np.absolute(x, out=a)
        np.less_equal(a, np.float32(params.value_limit), out=good)  # false for NaN
        np.greater(x, np.float32(params.lit_threshold), out=lit)
        np.logical_and(lit, good, out=lit)
        counts[:, 0] = np.count_nonzero(lit, axis=1)
        counts[:, 1] = np.count_nonzero(good, axis=1)
        np.logical_not(good, out=good)
        np.copyto(x, 0, where=good)
        counts[:, 2] = x.sum(axis=1)
        if params.to_photon:
            np.multiply(x, np.float32(params.to_photon), out=x)
            np.maximum(x, 0, out=x)
            np.floor(x, out=a)
            np.subtract(x, a, out=x)
            np.greater_equal(x, np.float32(params.rounding_threshold), out=lit)
            counts[:, 3] = a.sum(axis=1)
            counts[:, 3] += np.count_nonzero(lit, axis=1)


def all_peers(case: LitCase, params: CalibrateParams) -> dict[str, NumpyPeer]:
    """Return every way, each frame by frame and with all trains of a cell at once."""
    return {
        f"{choice}, {'all trains' if together > 1 else 'frame by frame'}": NumpyPeer(
            case, params, choice, together
        )
        for choice in STAGE_CHOICES
        for together in sorted({1, case.trains})
    }
