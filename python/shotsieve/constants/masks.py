"""Masks beside those of the constants: bits of a user or a run, and noisy readout blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from .bad_pixels import BadPixels

__all__ = ["MEANINGS", "StaticMask", "flag_noisy", "noisy_blocks", "parse_block"]

MEANINGS = ("zero", "nonzero", "bits")
"""What marks a bad pixel in a file: 0 (or False), anything else, or the facility's bits themselves."""


@dataclass(frozen=True)
class StaticMask:
    """Bits of bad pixels that hold for a whole run, whatever the gain stage.

    Attributes
    ----------
    bits : ndarray of uint32, shape (M, C, n_pixels)
        C is 1 where every memory cell has the same.
    modules : tuple of int
    cell_ids : tuple of int or None
        None where C is 1.

    Examples
    --------
    >>> mask = StaticMask(np.full((1, 1, 4), 2, "u4"), (3,), None)
    >>> mask.of(3, np.array([0, 7])).shape
    (2, 4)
    """

    bits: np.ndarray
    modules: tuple[int, ...]
    cell_ids: tuple[int, ...] | None

    def of(self, module: int, cell_ids: np.ndarray) -> np.ndarray:
        """Return the bits of some cells of a module, uint32 (cells, n_pixels).

        Raises
        ------
        BadInput
            If the mask does not have the module or a cell.
        """
        if module not in self.modules:
            raise BadInput(f"mask: it has no module {module} (modules are {self.modules})")
        own = self.bits[self.modules.index(module)]
        if self.cell_ids is None:
            return np.broadcast_to(own, (len(cell_ids), own.shape[1]))
        known = np.array(self.cell_ids)
        if len(lacking := np.setdiff1d(cell_ids, known)):
            raise BadInput(f"mask: it has no memory cell {lacking[0]}, which occurs")
        order = np.argsort(known)
        return own[order[np.searchsorted(known[order], cell_ids)]]

    def share(self) -> float:
        """Return the share of pixels that have a bit."""
        return float(np.mean(self.bits != 0))

    def __or__(self, other: StaticMask | None) -> StaticMask:
        """Return the bits of both, of the modules that both have."""
        if other is None:
            return self
        modules = tuple(m for m in self.modules if m in other.modules)
        if not modules:
            raise BadInput(f"two masks have no module in common: {self.modules} and {other.modules}")
        if self.cell_ids is not None and other.cell_ids is not None:
            cells = tuple(sorted(set(self.cell_ids) & set(other.cell_ids)))
        else:
            cells = self.cell_ids or other.cell_ids
        at = np.array(cells or (0,))
        bits = np.stack([self.of(m, at) | other.of(m, at) for m in modules])
        return StaticMask(bits, modules, cells)


def parse_block(text: str, shape: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return the pixels (slow scan, fast scan) of a readout block.

    Raises
    ------
    BadInput
        If the text is not of that form, or blocks do not divide a module of the given shape.

    Examples
    --------
    >>> parse_block("64x16")
    (64, 16)
    """
    words = text.lower().split("x")
    if len(words) != 2 or not all(word.strip().isdigit() and int(word) > 0 for word in words):
        raise BadInput(f'noisy_adc_block = "{text}": expected slow scan x fast scan, as in "64x16"')
    block = int(words[0]), int(words[1])
    if shape is not None and (shape[0] % block[0] or shape[1] % block[1]):
        raise BadInput(
            f'noisy_adc_block = "{text}" does not divide a module of {shape[0]} x {shape[1]} pixels'
        )
    return block


def noisy_blocks(bad: np.ndarray, shape: tuple[int, int], block: tuple[int, int], share: float) -> np.ndarray:
    """Return the pixels of blocks of which strictly more than a share is bad.

    Parameters
    ----------
    bad : ndarray of bool, shape (..., n_pixels)
    shape, block : (int, int)
        Pixels of a module and of a block.
    share : float

    Returns
    -------
    ndarray of bool, shape (..., n_pixels)

    Examples
    --------
    >>> noisy_blocks(np.array([True, False, False, False]), (1, 4), (1, 2), 0.25).tolist()
    [True, True, False, False]
    """
    down, across = shape[0] // block[0], shape[1] // block[1]
    cut = bad.reshape(*bad.shape[:-1], down, block[0], across, block[1])
    noisy = cut.mean(axis=(-3, -1), keepdims=True) > share
    return np.broadcast_to(noisy, cut.shape).reshape(bad.shape)


def flag_noisy(
    bits: np.ndarray, shape: tuple[int, int], block: tuple[int, int], share: float, bad_bits: int
) -> np.ndarray:
    """Return bits of bad pixels with NOISY_ADC in blocks of which strictly more than a share is bad.

    Parameters
    ----------
    bits : ndarray of uint32, shape (..., n_pixels)
    shape, block : (int, int)
        Pixels of a module and of a block.
    share : float
    bad_bits : int
        Bits that make a pixel bad.

    Returns
    -------
    ndarray of uint32, of the same shape

    Examples
    --------
    >>> flag_noisy(np.array([1, 0, 0, 0], "u4"), (1, 4), (1, 2), 0.25, 0xFFFF).tolist()
    [131073, 131072, 0, 0]
    """
    noisy = noisy_blocks((bits & np.uint32(bad_bits)) != 0, shape, block, share)
    return bits | np.where(noisy, np.uint32(BadPixels.NOISY_ADC), np.uint32(0))
