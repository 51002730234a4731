"""What a calibration of frames in memory gives: which outputs there are, and their arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .sparse_masks import SparseMasks

COUNTED = ("lit_pixels", "lit_pixels_high", "unmasked_pixels", "intensity", "photons")
IMAGES = ("data", "photon_counts", "gain", "mask", "sparse_mask")
OUTPUTS = (*IMAGES, *COUNTED)


@dataclass(frozen=True)
class CalibratedFrames:
    """What was asked for of some frames; the rest is None.

    Attributes
    ----------
    data : float32 (n, M, ss, fs)
        NaN where a pixel is masked. Where the raw words were on a GPU this, `photon_counts`, `gain` and
        `mask` are arrays there (of CuPy); all others are in host memory.
    photon_counts : uint16 or uint8 (n, M, ss, fs)
        Whole photons of every pixel, as files hold them: 0 where a pixel is masked, the largest number where
        there are more than the dtype holds. They are counted on the host, in any case.
    gain : uint8 (n, M, ss, fs)
        0 high, 1 medium, 2 low.
    mask : uint32 (n, M, ss, fs)
        The facility's bits; with `photon_counts`, pixels with more than the dtype holds have
        VALUE_OUT_OF_RANGE. They are put together on the host, in any case.
    sparse_mask : SparseMasks
        The same masks as a static one per module and cell, and a list of what changed; n * M frames.
    lit_pixels, lit_pixels_high, unmasked_pixels, intensity, photons : ndarray (n, M)
        int64; intensity is float64 in the unit of `data`. Of frames that are not `known` -1, and NaN.
    known : ndarray of bool, shape (n, M)
        Frames that have constants and are present; the others are NaN throughout, and flagged NO_DARK_DATA.
    """

    data: Any = None
    photon_counts: Any = None
    gain: Any = None
    mask: Any = None
    sparse_mask: SparseMasks | None = None
    lit_pixels: np.ndarray | None = None
    lit_pixels_high: np.ndarray | None = None
    unmasked_pixels: np.ndarray | None = None
    intensity: np.ndarray | None = None
    photons: np.ndarray | None = None
    known: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))
