"""Gain thresholds that are no good, out of order or not finite: what becomes of their pixels."""

from __future__ import annotations

import numpy as np

from .bad_pixels import BadPixels
from .steps import Steps

__all__ = ["flag_thresholds", "told_thresholds"]

_BIT = np.uint32(BadPixels.GAIN_THRESHOLDING_ERROR)


def flag_thresholds(
    low: np.ndarray, high: np.ndarray, bits: np.ndarray, steps: Steps
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flag pixels by whose thresholds no stage can be told, and count those that no bit told before.

    Out of order: with the rule of the gap they stay in use up to medium gain, as at the facility. Without it
    they would go from high to low gain at once, whatever the pixel did: its levels are not told apart, and
    they are flagged in every stage but high gain.

    Not finite: a word is never above NaN, so the pixel would be taken as in high gain whatever it did. It is
    flagged in every stage; where only the threshold to low gain is so, in every stage but high gain.

    Parameters
    ----------
    low, high : ndarray of float, shape (C, n_pixels)
        Thresholds to medium and to low gain.
    bits : ndarray of uint32, shape (3, C, n_pixels)
        Bits of bad pixels of each stage.
    steps : Steps

    Returns
    -------
    bits : ndarray of uint32, shape (3, C, n_pixels)
        With GAIN_THRESHOLDING_ERROR; the same array where there is nothing to flag.
    crossed, not_finite : ndarray of int64, shape (C,)
        Pixels out of order, and not finite.

    Examples
    --------
    >>> low, high = np.array([[6000.0, 6000.0, np.nan]]), np.array([[9000.0, np.inf, 9000.0]])
    >>> bits, crossed, not_finite = flag_thresholds(low, high, np.zeros((3, 1, 3), "u4"), Steps())
    >>> (bits[:, 0] >> 13).tolist(), crossed.tolist(), not_finite.tolist()
    ([[0, 0, 1], [0, 1, 1], [0, 1, 1]], [0], [2])
    """
    bad = np.uint32(steps.all_bad_bits())
    no_low, no_high = ~np.isfinite(low), ~np.isfinite(high)
    not_finite = no_low | no_high
    crossed = (high < low) & ~not_finite
    reached = 1 if steps.low_medium_gap else 2  # the stage that comes after high gain
    untold = crossed & (bits[reached] & bad == 0)
    untold_either = not_finite & (np.where(no_low, bits[0], bits[1]) & bad == 0)
    switched = not_finite if steps.low_medium_gap else not_finite | crossed
    if switched.any():
        bits = bits.copy()
        bits[0][no_low] |= _BIT
        bits[1:, switched] |= _BIT
    return bits, untold.sum(axis=-1), untold_either.sum(axis=-1)


def told_thresholds(crossed: int, not_finite: int, steps: Steps) -> list[str]:
    """Say of how many pixels thresholds are no good, and what becomes of them.

    Parameters
    ----------
    crossed, not_finite : int
        As `shotsieve.folded_tables.Tables` has them.
    steps : Steps

    Returns
    -------
    list of str
        A sentence for each kind; empty where there are none.

    Examples
    --------
    >>> told_thresholds(0, 0, Steps())
    []
    """
    told = []
    if crossed:
        kept = "they never go to low gain (low_medium_gap = true); low_medium_gap = false flags them"
        flagged = "they are flagged GAIN_THRESHOLDING_ERROR in medium and low gain"
        told.append(
            f"constants: of {crossed:,} pixels the threshold to low gain is below the one to medium gain, "
            f"and no bit of the mask says so: {kept if steps.low_medium_gap else flagged}"
        )
    if not_finite:
        told.append(
            f"constants: of {not_finite:,} pixels a threshold is not finite, and no bit of the mask says so: "
            "they are flagged GAIN_THRESHOLDING_ERROR, where it is the one to low gain in medium and low "
            "gain alone"
        )
    return told
