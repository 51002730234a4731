"""The bad pixels of the simulated detector: what is wrong with them, and the bits the constants carry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

OFFSET_OUT_OF_THRESHOLD = 1 << 0
NOISE_OUT_OF_THRESHOLD = 1 << 1
OFFSET_NOISE_EVAL_ERROR = 1 << 2
NO_DARK_DATA = 1 << 3
CI_GAIN_OUT_OF_THRESHOLD = 1 << 4
FF_GAIN_DEVIATION = 1 << 8
FF_NO_ENTRIES = 1 << 9
GAIN_THRESHOLDING_ERROR = 1 << 13

# Share of each kind among the bad pixels.
KINDS = {
    "dead": 0.15,
    "hot": 0.2,
    "offset": 0.15,
    "not_evaluated": 0.05,
    "no_separation": 0.1,
    "pulse_capacitor": 0.1,
    "flat_field": 0.15,
    "one_cell": 0.1,
}


@dataclass(frozen=True)
class BadPixelMap:
    """What is wrong with the pixels of one module.

    Attributes
    ----------
    dead, hot, not_evaluated, no_separation, pulse_capacitor, flat_field : numpy.ndarray
        (pixels,) bool: no signal at all; noise twelve times too high in high gain; no offset known; digital
        levels of the stages indistinguishable; pulse-capacitor slope wrong; flat-field slope wrong.
    offset_error : numpy.ndarray
        (3, pixels) float32, ADU: dark level far off in one stage.
    noise_factor : numpy.ndarray
        (3, pixels) float32.
    cell_hot : numpy.ndarray
        (pixels,) int32: the one memory cell in which the pixel is hot, -1 for none.
    """

    dead: np.ndarray
    hot: np.ndarray
    not_evaluated: np.ndarray
    no_separation: np.ndarray
    pulse_capacitor: np.ndarray
    flat_field: np.ndarray
    offset_error: np.ndarray
    noise_factor: np.ndarray
    cell_hot: np.ndarray

    def dark_bits(self, cell: int, gain: int) -> np.ndarray:
        """Return BadPixelsDark of one cell and stage, (pixels,) uint32.

        Parameters
        ----------
        cell, gain : int
            Memory cell and stage.

        Examples
        --------
        >>> bool(choose_bad_pixels(np.random.default_rng(1), 100, 2, 0.0).dark_bits(0, 0).any())
        False
        """
        noisy = self.dead | (self.noise_factor[gain] > 1)
        if gain == 0:
            noisy = noisy | (self.cell_hot == cell)
        out = np.zeros(self.dead.size, np.uint32)
        out |= np.where(noisy, np.uint32(NOISE_OUT_OF_THRESHOLD), np.uint32(0))
        out |= np.where(self.offset_error[gain] != 0, np.uint32(OFFSET_OUT_OF_THRESHOLD), np.uint32(0))
        out |= np.where(self.not_evaluated, np.uint32(OFFSET_NOISE_EVAL_ERROR), np.uint32(0))
        out |= np.where(self.no_separation, np.uint32(GAIN_THRESHOLDING_ERROR), np.uint32(0))
        return out

    def pc_bits(self) -> np.ndarray:
        """Return BadPixelsPC, the same in every cell, (pixels,) uint32.

        Examples
        --------
        >>> choose_bad_pixels(np.random.default_rng(1), 100, 2, 0.0).pc_bits().dtype
        dtype('uint32')
        """
        return np.where(self.pulse_capacitor, np.uint32(CI_GAIN_OUT_OF_THRESHOLD), np.uint32(0))

    def ff_bits(self) -> np.ndarray:
        """Return BadPixelsFF, the same in every cell, (pixels,) uint32.

        Examples
        --------
        >>> choose_bad_pixels(np.random.default_rng(1), 100, 2, 0.0).ff_bits().dtype
        dtype('uint32')
        """
        out = np.where(self.flat_field, np.uint32(FF_GAIN_DEVIATION), np.uint32(0))
        return out | np.where(self.dead, np.uint32(FF_NO_ENTRIES), np.uint32(0))

    def bits(self, cell: int, gain: int) -> np.ndarray:
        """Return all bits of one cell and stage, Dark | PC | FF, (pixels,) uint32.

        Parameters
        ----------
        cell, gain : int
            Memory cell and stage.

        Examples
        --------
        >>> bool(choose_bad_pixels(np.random.default_rng(1), 100, 2, 0.0).bits(0, 0).any())
        False
        """
        return self.dark_bits(cell, gain) | self.pc_bits() | self.ff_bits()


class Flagged:
    """A module whose constants know some of its pixels wrongly; `bad` says which.

    A model gives `true_offset` and `true_noise`, what its pixels really do.
    """

    bad: BadPixelMap

    def offset(self, gain: int, cell: int) -> np.ndarray:
        """Return constant Offset in ADU, (pixels,) float32; NaN where it could not be evaluated."""
        return np.where(self.bad.not_evaluated, np.float32(np.nan), self.true_offset(gain, cell))

    def noise(self, gain: int, cell: int) -> np.ndarray:
        """Return constant Noise in ADU rms, (pixels,) float32; NaN where it could not be evaluated."""
        return np.where(self.bad.not_evaluated, np.float32(np.nan), self.true_noise(gain, cell))

    def good(self, cell: int, gain: int = 0) -> np.ndarray:
        """Return which pixels no constant flags in a stage, (pixels,) bool."""
        return self.bad.bits(cell, gain) == 0


def choose_bad_pixels(
    rng: np.random.Generator,
    pixels: int,
    cells: int,
    fraction: float,
    kinds: tuple[str, ...] = tuple(KINDS),
    offset_error: float = -1200.0,
) -> BadPixelMap:
    """Choose which pixels are bad, and how.

    Parameters
    ----------
    rng : numpy.random.Generator
    pixels, cells : int
        Size of the module and number of memory cells.
    fraction : float
        Share of bad pixels, all kinds together.
    kinds : tuple of str
        Keys of `KINDS` that a detector has; pixels of the others are good.
    offset_error : float
        How far off the dark level of a pixel is, ADU. Below zero, so that the hard switches
        (force_hg_if_below ...) do not take it for another stage.

    Returns
    -------
    BadPixelMap
        Every bad pixel is of one kind.

    Examples
    --------
    >>> int(choose_bad_pixels(np.random.default_rng(1), 1000, 2, 0.1).hot.sum())
    20
    """
    order = rng.permutation(pixels)
    where: dict[str, np.ndarray] = {}
    start = 0
    for kind, share in KINDS.items():
        count = round(share * fraction * pixels)
        where[kind] = order[start : start + count if kind in kinds else start]
        start += count
    flags = {k: np.zeros(pixels, bool) for k in KINDS}
    for kind, at in where.items():
        flags[kind][at] = True
    wrong = np.zeros((3, pixels), np.float32)
    # Some pixels are wrong in high gain, some only in medium: a mask that ignores the stage fails on them.
    stage = np.arange(where["offset"].size) % 2
    wrong[stage, where["offset"]] = offset_error
    noise_factor = np.ones((3, pixels), np.float32)
    noise_factor[:, flags["dead"]] = 0.25
    noise_factor[0, flags["hot"]] = 12.0
    cell_hot = np.full(pixels, -1, np.int32)
    cell_hot[where["one_cell"]] = rng.integers(0, cells, where["one_cell"].size)
    return BadPixelMap(
        dead=flags["dead"],
        hot=flags["hot"],
        not_evaluated=flags["not_evaluated"],
        no_separation=flags["no_separation"],
        pulse_capacitor=flags["pulse_capacitor"],
        flat_field=flags["flat_field"],
        offset_error=wrong,
        noise_factor=noise_factor,
        cell_hot=cell_hot,
    )
