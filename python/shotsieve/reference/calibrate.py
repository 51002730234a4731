"""Calibration with folded constants in plain NumPy and float32: what the kernels have to give, bit by bit.

The oracle of the folding itself, float64 and step by step, is `calibrate_unfolded` in the file of that name.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .calibrate_unfolded import UnfoldedResult, calibrate_unfolded
from .packed import planes_of
from .shift import SHIFT_SCALE, shifts_of_pixels

__all__ = [
    "FoldedResult",
    "UnfoldedResult",
    "calibrate_count",
    "calibrate_count_folded",
    "calibrate_unfolded",
]

NAN = np.uint32(0x7FC00000).view(np.float32)
NOT_FINITE, OUT_OF_RANGE, WRONG_GAIN, NO_CONSTANTS = 0x10, 0x20, 0x40, 0x80
INTENSITY_SCALE = np.float32(128)


class FoldedResult(NamedTuple):
    """What `calibrate_count_folded` gives.

    Attributes
    ----------
    counts : ndarray of int64, shape (F, 5)
        Lit pixels, unmasked pixels, intensity in 1/128 of the unit, photons, candidates of peaks.
    pixels : ndarray of float32, shape (F, npix)
        Calibrated values, NaN (0x7fc00000) where a pixel does not count.
    stage : ndarray of uint8, shape (F, npix)
        Stage in bits 0-1; 0x10 not finite, 0x20 out of range, 0x40 wrong gain, 0x80 no constants.
    candidates : ndarray of uint32, shape (F, ceil(npix / 32))
        Bit p % 32 of word p // 32 is set where pixel p is a candidate of a peak.
    """

    counts: np.ndarray
    pixels: np.ndarray
    stage: np.ndarray
    candidates: np.ndarray


def calibrate_count(
    raw,
    frames,
    groups,
    table,
    counts,
    pixels=None,
    stage=None,
    candidates=None,
    places=None,
    *,
    shift=None,
    pixel_shift=None,
    pixel_shift_row=None,
    tile_rows=0,
    tile_columns=0,
    row_pixels=0,
    stream=None,
    threads=1,
    **rules,
):
    """Do what the kernels do, under the same name and with the same arguments.

    Promise: exact; this is the definition of the bits that every backend gives.

    Parameters
    ----------
    raw : ndarray of uint16, shape (F, planes, npix)
        Plane 0 the ADC, the last plane the digital level or the gain code; or as `encoding` says.
    frames : ndarray of int32, shape (L,)
        Indices into `raw`.
    groups : ndarray of int32, shape (G, 3)
        start, stop into `frames` and the row of `table`; row -1: no constants.
    table : ndarray of float32, shape (R, 8 or 10, npix), or (R, 2, npix) for one gain stage
        Planes: two thresholds, three offsets, three gains, and with 10 two forcing levels; or one offset and
        one gain. Or packed, uint16 with 8 words before the pixels of a plane: `shotsieve.reference.packed`.
    counts : ndarray of int64, shape (P, 5)
        Written for every listed frame.
    pixels : ndarray of float32, shape (P, npix), or None
        Written for every listed frame.
    stage : ndarray of uint8, shape (P, npix), or None
        Written for every listed frame.
    candidates : ndarray of uint32, shape (P, npix // 32), or None
        Written for every listed frame.
    places : ndarray of int32, shape (L,), or None
        Indices into what is written; None: as in `raw`.
    shift, pixel_shift, pixel_shift_row, tile_rows, tile_columns, row_pixels
        As for `shotsieve.reference.shift.shifts_of_pixels`; None: no shifts.
    stream, threads
        Not used; there so that the reference can stand in for a backend.
    **rules
        From `encoding` to `mask_bad`: as for `calibrate_count_folded`, which has the defaults.

    Examples
    --------
    >>> raw = np.array([[[100], [0]]], np.uint16)
    >>> table = np.array([[50, 60, 20, 0, 0, 0.5, 1, 1]], np.float32).reshape(1, 8, 1)
    >>> counts = np.zeros((1, 5), np.int64)
    >>> calibrate_count(raw, [0], [(0, 1, 0)], table, counts, encoding=0, lit_threshold=39)
    >>> counts
    array([[   1,    1, 5120,    0,    0]])
    """
    rows = np.full(len(frames), -2, np.int64)
    for start, stop, row in np.asarray(groups).reshape(-1, 3):
        rows[start:stop] = row
    grouped = rows > -2
    listed, rows = np.asarray(frames, int)[grouped], rows[grouped]
    places = listed if places is None else np.asarray(places)[grouped]
    total = None
    if shift is not None or pixel_shift is not None:
        shape = (len(raw), np.shape(raw)[-1])
        total = shifts_of_pixels(
            shape, shift, pixel_shift, pixel_shift_row, tile_rows, tile_columns, row_pixels
        )[listed]
    result = calibrate_count_folded(
        np.asarray(raw)[listed],
        rows,
        table,
        shift=total,
        **rules,
    )
    counts[places] = result.counts
    if pixels is not None:
        pixels[places] = result.pixels
    if stage is not None:
        stage[places] = result.stage
    if candidates is not None:
        candidates[places] = result.candidates


def calibrate_count_folded(
    raw,
    cell_row,
    table,
    *,
    encoding,
    fixed_stage=-1,
    set_min=False,
    round_photons=False,
    rounding_threshold=0.5,
    value_limit=1e7,
    lit_threshold=float("nan"),
    to_photon=0.0,
    candidate_threshold=float("nan"),
    medium_code=1,
    low_code=3,
    lost_adc=0x3FFF,
    saturated_adc=0,
    adc_bits=12,
    zero_adc=0,
    mask_bad=0xFFFFFFFF,
    shift=None,
):
    """Calibrate frames with folded constants in float32, and count their pixels.

    Promise: exact; the kernels give the same bits.

    Parameters
    ----------
    raw : ndarray of uint16, shape (F, planes, npix)
    cell_row : ndarray of int, shape (F,)
        Row of `table` for each frame; -1: no constants.
    table : ndarray of float32, shape (R, 8 or 10, npix), or (R, 2, npix) for encoding 3
    encoding : int
        0: the last plane is a digital level, compared with two thresholds. 1: it is a gain code. 2: there is
        one plane, whose words hold signal and gain code. 3: one plane and one gain stage. 4: the planes are
        the words of high, medium and low gain, of which the first counts that is not above its threshold. 5:
        the planes are the bytes of float32 values, of their uint32 mask and of uint8 stages, which fill half
        of the fifth plane; nothing of a row of `table` is looked at.
    fixed_stage : int
        -1 adaptive, else the stage of a fixed-gain run: with levels the only stage, and nothing is forced;
        with codes every other code is wrong.
    set_min : bool
        Medium-gain values below 0 become 0.
    round_photons, rounding_threshold
        Whether values are rounded to whole photons, and the fraction from which up.
    value_limit : float
        A larger absolute value is out of range.
    lit_threshold : float
        A pixel is lit strictly above it; NaN counts none.
    to_photon : float
        Photons per unit of the values; 0 counts none.
    candidate_threshold : float
        A pixel that counts is a candidate from this value on; NaN makes none.
    medium_code, low_code : int
        Gain codes of these stages, for encodings 1 and 2; high gain has code 0, every other code is wrong.
    lost_adc, saturated_adc : int
        Likewise: what the ADC reads, with the code of low gain, for a lost packet, and with that of medium or
        low gain for a saturated pixel; -1 for none.
    adc_bits : int
        Lowest bits of a word that are the signal, for encodings 2 and 4; two bits of gain code are above.
    zero_adc : int
        What a stored 0 stands for, for encoding 3.
    mask_bad : int
        Bits of the mask of which one makes a pixel bad, for encoding 5.
    shift : ndarray of int32, shape (F, npix), or None
        Added to the offset of every stage, in 1/256 ADU.

    Returns
    -------
    FoldedResult

    Examples
    --------
    >>> raw = np.array([[[100], [0]]], np.uint16)
    >>> table = np.array([[50, 60, 20, 0, 0, 0.5, 1, 1]], np.float32).reshape(1, 8, 1)
    >>> calibrate_count_folded(raw, [0], table, encoding=0).pixels
    array([[40.]], dtype=float32)
    """
    n_frames, _, n_pixels = raw.shape
    result = FoldedResult(
        np.zeros((n_frames, 5), np.int64),
        np.full((n_frames, n_pixels), NAN, np.float32),
        np.full((n_frames, n_pixels), NO_CONSTANTS, np.uint8),
        np.zeros((n_frames, -(-n_pixels // 32)), np.uint32),
    )
    for frame, row in enumerate(cell_row):
        if row < 0:
            continue
        planes = planes_of(table, row)
        codes = (medium_code, low_code, lost_adc, saturated_adc)
        if encoding == 0:
            adc = raw[frame, 0].astype(np.float32)
            stage, flags = _stages_by_level(adc, raw[frame, -1], planes, fixed_stage), np.zeros(n_pixels, int)
        elif encoding == 1:
            adc = raw[frame, 0].astype(np.float32)
            stage, flags = _stages_by_code(raw[frame, 0], raw[frame, 1], fixed_stage, *codes)
        elif encoding == 2:
            adc, code = raw[frame, 0] & ((1 << adc_bits) - 1), raw[frame, 0] >> adc_bits & 3
            stage, flags = _stages_by_code(adc, code, fixed_stage, *codes)
        elif encoding == 3:
            adc = np.where(raw[frame, 0] == 0, zero_adc, raw[frame, 0])
            stage, flags = np.zeros(n_pixels, int), np.zeros(n_pixels, int)
        elif encoding == 5:
            adc, stage = _corrected(raw[frame], mask_bad)
            flags = np.zeros(n_pixels, int)
        else:
            adc = raw[frame] & ((1 << adc_bits) - 1)
            above0, above1 = adc[0] > planes[0], adc[1] > planes[1]
            stage, flags = above0.astype(int) + (above0 & above1), np.zeros(n_pixels, int)
            adc = np.choose(stage, adc)
        adc = adc.astype(np.float32)
        if encoding == 5:
            offset, gain = np.float32(0), np.float32(1)
        else:
            offset = np.choose(stage, planes[2:5]) if encoding != 3 else planes[0]
            gain = np.choose(stage, planes[5:8]) if encoding != 3 else planes[1]
        if shift is not None:
            offset = offset + shift[frame].astype(np.float32) / SHIFT_SCALE
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            x = (adc - offset) * gain
            if set_min:
                x = np.where((stage == 1) & (x < 0), np.float32(0), x)
            if round_photons:
                x = _round(x, rounding_threshold)
            finite, inside = np.isfinite(x), np.abs(x) <= np.float32(value_limit)
            flags |= np.where(finite, 0, NOT_FINITE) | np.where(finite & ~inside, OUT_OF_RANGE, 0)
            good = flags == 0
            lit = good & (x > np.float32(lit_threshold))
            candidate = good & (x >= np.float32(candidate_threshold))
            counted = np.where(good, x, np.float32(0))
            photons = _round(counted * np.float32(to_photon), rounding_threshold)
        intensity = np.rint(counted * INTENSITY_SCALE).astype(np.int64)
        photons = np.maximum(photons, np.float32(0)).astype(np.int64)
        result.counts[frame] = lit.sum(), good.sum(), intensity.sum(), photons.sum(), candidate.sum()
        result.pixels[frame] = np.where(good, x, NAN)
        result.stage[frame] = stage | flags
        for pixel in np.flatnonzero(candidate):
            result.candidates[frame, pixel // 32] |= np.uint32(1 << (pixel % 32))
    return result


def _round(x, threshold):
    # floor(x + 0.5) would round 0.49999997 up; rint would round 2.5 down.
    whole = np.floor(x)
    with np.errstate(invalid="ignore"):  # inf - inf
        return whole + (x - whole >= np.float32(threshold)).astype(np.float32)


def _stages_by_level(adc, digital, planes, fixed_stage):
    if fixed_stage >= 0:
        return np.full(adc.shape, fixed_stage, np.int64)
    level = digital.astype(np.float32)
    above0 = level > planes[0]
    stage = above0.astype(np.int64) + (above0 & (level > planes[1]))
    if len(planes) == 10:
        stage[(stage == 2) & (adc < planes[8])] = 1
        stage[(stage > 0) & (adc < planes[9])] = 0
    return stage


def _stages_by_code(adc, code, fixed_stage, medium_code, low_code, lost_adc, saturated_adc):
    """Return the stage of every pixel and the flags that the words themselves raise."""
    stage = np.select([code == medium_code, code == low_code], [1, 2], 0)
    wrong = ~np.isin(code, (0, medium_code, low_code))
    wrong |= (code == low_code) & (adc == lost_adc)
    if fixed_stage >= 0:
        wrong |= stage != fixed_stage
    saturated = (stage > 0) & (adc == saturated_adc)
    return stage, np.where(wrong, WRONG_GAIN, 0) | np.where(saturated, OUT_OF_RANGE, 0)


def _corrected(words, mask_bad):
    """Return the values of a frame that is calibrated already, NaN where its mask is bad, and the stages."""
    words = np.ascontiguousarray(words)
    value = words[0:2].reshape(-1).view(np.float32)
    mask = words[2:4].reshape(-1).view(np.uint32)
    gain = words[4].view(np.uint8)[: len(value)]
    return np.where(mask & np.uint32(mask_bad) == 0, value, NAN), (gain & 3).astype(int)
