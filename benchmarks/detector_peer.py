"""The peers of `calibrate_detectors`: `NumpyPeer` for words of every kind, in the same three ways.

Detectors with one gain stage have nothing to choose: *single* is their only form, in place as the others.
"""

from __future__ import annotations

import numpy as np
from detector_case import DetectorCase
from lit_case import LitCase
from numpy_peer import STAGE_CHOICES, NumpyPeer, all_peers
from shotsieve.calibrate import CalibrateParams

PIXELS_TOGETHER = 65536  # of frames that are smaller: so many are done at once


class _Peer(NumpyPeer):
    case: DetectorCase

    def __init__(self, case: DetectorCase, params: CalibrateParams, stage_choice: str, together: int) -> None:
        super().__init__(case, params, stage_choice, together)
        self._calibrate = {**self._ways(), "single": self._single}[stage_choice]
        shape = (together, case.pixels)
        self._adc, self._code = np.empty(shape, "u2"), np.empty(shape, "u2")
        if case.linear is not None:
            self._index = np.empty(shape, "i8")
            self._base = np.arange(case.pixels) * case.linear.shape[2]

    def _single(self, words: np.ndarray, constants: np.ndarray, cell: int) -> None:
        adc = words[:, 0]
        np.subtract(adc, constants[0], out=self._x)
        if self.params.zero_adc:
            np.equal(adc, 0, out=self._lit)
            row, pixel = np.divmod(np.flatnonzero(self._lit), self.case.pixels)
            self._x[row, pixel] = self.params.zero_adc - constants[0, pixel]
        np.multiply(self._x, constants[1], out=self._x)

    def _is_low(self, words: np.ndarray, cell: int, row: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        return self._codes_at(words, row, pixel) == self.params.low_code

    def _codes_at(self, words: np.ndarray, row: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class CodePeer(_Peer):
    """Gain codes in a plane of their own."""

    def _signal(self, words: np.ndarray, cell: int) -> np.ndarray:
        if self.case.linear is None:
            return words[:, 0]
        np.add(words[:, 0], self._base, out=self._index)
        return np.take(self.case.linear[cell].reshape(-1), self._index, out=self._adc, mode="clip")

    def _switched(self, words: np.ndarray, cell: int) -> None:
        np.not_equal(words[:, 1], 0, out=self._above0)

    def _split(self, words: np.ndarray, cell: int) -> np.ndarray:
        self._switched(words, cell)
        np.equal(words[:, 1], self.params.low_code, out=self._above1)
        return self._signal(words, cell)

    def _codes_at(self, words: np.ndarray, row: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        return words[row, 1, pixel]


class WordPeer(_Peer):
    """Gain codes above the signal, in the same word."""

    def _switched(self, words: np.ndarray, cell: int) -> None:
        np.greater(words[:, 0], self._largest, out=self._above0)

    @property
    def _largest(self) -> np.uint16:
        return np.uint16((1 << self.params.adc_bits) - 1)

    def _signal(self, words: np.ndarray, cell: int) -> np.ndarray:
        return np.bitwise_and(words[:, 0], self._largest, out=self._adc)

    def _split(self, words: np.ndarray, cell: int) -> np.ndarray:
        self._switched(words, cell)
        np.right_shift(words[:, 0], np.uint16(self.params.adc_bits), out=self._code)
        np.equal(self._code, self.params.low_code, out=self._above1)
        return self._signal(words, cell)

    def _codes_at(self, words: np.ndarray, row: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        return words[row, 0, pixel] >> self.params.adc_bits


class ParallelPeer(WordPeer):
    """A word in every stage, of which the first counts that is not near the end of its range."""

    def _switched(self, words: np.ndarray, cell: int) -> None:
        np.bitwise_and(words[:, 0], self._largest, out=self._adc)
        np.greater(self._adc, self._thresholds[cell, 0], out=self._above0)

    def _split(self, words: np.ndarray, cell: int) -> np.ndarray:
        self._switched(words, cell)
        np.bitwise_and(words[:, 1], self._largest, out=self._code)
        np.greater(self._code, self._thresholds[cell, 1], out=self._above1)
        np.logical_and(self._above0, self._above1, out=self._above1)
        np.copyto(self._adc, self._code, where=self._above0)
        np.bitwise_and(words[:, 2], self._largest, out=self._code)
        np.copyto(self._adc, self._code, where=self._above1)
        return self._adc

    def _is_low(self, words: np.ndarray, cell: int, row: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        return words[row, 1, pixel] & self._largest > self._thresholds[cell, 1, pixel]

    def _signal_at(self, words, adc: np.ndarray, low: np.ndarray, row, pixel) -> np.ndarray:
        return words[row, np.where(low, 2, 1), pixel] & self._largest


PEERS = {"code": CodePeer, "word": WordPeer, "plain": _Peer, "parallel": ParallelPeer}


def peers_of(case: LitCase, params: CalibrateParams) -> dict[str, NumpyPeer]:
    """Return every way, few and all frames of a cell at once, where the buffers of all stay small."""
    if not isinstance(case, DetectorCase):
        return all_peers(case, params)
    ways = STAGE_CHOICES if case.detector.codes else ("single",)
    few = min(case.trains, max(1, PIXELS_TOGETHER // case.pixels))
    while case.trains % few:
        few -= 1
    counts = {few} if case.pixels * case.trains > 4 * PIXELS_TOGETHER * 8 else {few, case.trains}
    make = PEERS[case.detector.encoding]
    return {f"{way}, {n} frames at once": make(case, params, way, n) for way in ways for n in sorted(counts)}
