"""Calibration step by step in float64 from the constants as they were measured: the oracle of the folding.

It shares nothing with the folding, so that a mistake in one shows in the other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["UnfoldedResult", "calibrate_unfolded"]


class UnfoldedResult(NamedTuple):
    """What `calibrate_unfolded` gives.

    Attributes
    ----------
    pixels : ndarray of float64, shape (F, npix)
        NaN where a pixel is bad or without constants.
    stage : ndarray of uint8, shape (F, npix)
        0, 1, 2.
    mask : ndarray of uint32, shape (F, npix)
        Bits of the constants of that stage, and `found`.
    found : ndarray of uint32, shape (F, npix)
        Bits that the words and values themselves raise: 3, 11, 12, 21.
    static : ndarray of uint32, shape (F, npix)
        Bits of the constants of that stage; some may be those of `found`.
    """

    pixels: np.ndarray
    stage: np.ndarray
    mask: np.ndarray
    found: np.ndarray
    static: np.ndarray


def calibrate_unfolded(
    raw,
    cell_row,
    *,
    offset,
    subtract_offset=True,
    thresholds=None,
    relative_gain=None,
    ff_map=None,
    gain_amp_map=None,
    mg_baseline=None,
    adu_per_kev=None,
    adu_per_photon=None,
    noise=None,
    parallel_sigma=(5.0, 100.0),
    bad_pixels=None,
    linearisation=None,
    encoding=0,
    fixed_stage=-1,
    signed_gain=False,
    low_medium_gap=False,
    force_mg_if_below=None,
    force_hg_if_below=None,
    force_hg_reference="hg",
    set_min=False,
    photon_energy_kev=None,
    round_photons=False,
    rounding_threshold=0.5,
    value_limit=1e7,
    bad_bits=0xFFFFFFFF,
    medium_code=1,
    low_code=3,
    lost_adc=0x3FFF,
    saturated_adc=0,
    adc_bits=12,
    zero_adc=0,
):
    """Calibrate step by step in float64 from the constants as they are: the oracle of the folded path.

    A step is done when its constants or its level are given. Promise: bounded; the folded float32 values
    agree within 2^-20 of the larger of word and offset, times the gain.

    Parameters
    ----------
    raw : ndarray of uint16, shape (F, planes, npix)
    cell_row : ndarray of int, shape (F,)
        Index on the cell axis of the constants; -1: no constants.
    offset : ndarray, shape (3, C, npix), or None
        ADU; None leaves the words as they are. Of a detector with one gain stage the first axis is 1.
    subtract_offset : bool
        False leaves the words as they are too, but still forces stages by the offset.
    thresholds : ndarray, shape (2, C, npix), or None
        Digital levels; needed for ``encoding=0`` with ``fixed_stage=-1``.
    relative_gain : ndarray, shape (3, C, npix), or None
        Multiplier to ADU of high gain.
    ff_map, gain_amp_map : ndarray, shape (1 or 3, C, npix), or None
        Further multipliers.
    mg_baseline : ndarray, shape (1, C, npix), or None
        ADU added to medium gain after the relative gain.
    adu_per_kev : ndarray, shape (1 or 3, C, npix), or None
        Divisor.
    adu_per_photon : float or None
        Divisor instead, to photons.
    noise : ndarray, shape (3, C, npix), or None
        ADU; needed for ``encoding=4``.
    parallel_sigma : (float, float)
        For ``encoding=4``: high and medium gain count up to so many sigma below the largest signal.
    bad_pixels : ndarray of uint32, shape (3, C, npix), or None
    linearisation : ndarray of uint16, shape (entries, C, npix), or None
        What stands for each word of plane 0, before anything else; its lowest bits count.
    encoding, fixed_stage, set_min, round_photons, rounding_threshold, value_limit
        As for `calibrate_count_folded`.
    medium_code, low_code, lost_adc, saturated_adc, adc_bits, zero_adc
        Likewise.
    signed_gain : bool
        Whether gains may be negative. If not, a gain of zero or below is broken, like one that is not finite.
    low_medium_gap, force_mg_if_below, force_hg_if_below, force_hg_reference
        As in `shotsieve.constants.steps.Steps`; forcing is for adaptive gain only. Without the rule of the
        gap, a pixel whose thresholds are out of order has bit 13 in medium and low gain.
    photon_energy_kev : float or None
        Given, the values are photons.
    bad_bits : int
        Bits that make a pixel NaN.

    Returns
    -------
    UnfoldedResult

    Examples
    --------
    >>> raw = np.array([[[3369], [0]]], np.uint16)
    >>> offset = np.array([3000, 15000, 14500.0]).reshape(3, 1, 1)
    >>> gain = np.array([41, -1.439, -0.1145]).reshape(3, 1, 1)
    >>> calibrate_unfolded(raw, [0], offset=offset, adu_per_kev=gain, encoding=1, signed_gain=True).pixels
    array([[9.]])
    """
    n_frames, _, n_pixels = raw.shape
    values = np.full((n_frames, n_pixels), np.nan)
    stages = np.zeros((n_frames, n_pixels), np.uint8)
    masks = np.full((n_frames, n_pixels), 1 << 3, np.uint32)
    founds, statics = masks.copy(), np.zeros_like(masks)
    for frame, cell in enumerate(cell_row):
        if cell < 0:
            continue
        words = raw[frame].astype(np.int64)
        if linearisation is not None:
            table = np.asarray(linearisation)[:, cell].astype(np.int64)
            words[0] = table[words[0] % len(table), np.arange(n_pixels)]
        adc, word = words[0], words[-1]
        if encoding in (2, 4):
            words, code = words % 2**adc_bits, words // 2**adc_bits % 4
            adc, word = words[0], code[0]
        elif encoding == 3:
            adc = np.where(adc == 0, zero_adc, adc)

        def of_cell(constant, cell=cell):
            return None if constant is None else np.asarray(constant)[:, cell].astype(np.float64)

        # Steps 1-3: the stage.
        crossed = np.zeros(n_pixels, bool)  # thresholds out of order, and no rule for them
        lawless = crossed  # the first one is not finite, so that no stage is known
        found = np.zeros(n_pixels, np.uint32)  # bits that the words and values themselves raise
        if encoding in (1, 2):
            g = np.where(word == medium_code, 1, np.where(word == low_code, 2, 0))
            known = (word == 0) | (word == medium_code) | (word == low_code)
            lost = (word == low_code) & (adc == lost_adc)
            other = (g != fixed_stage) if fixed_stage >= 0 else np.zeros(n_pixels, bool)
            found[~known | lost | other] |= 1 << 21
            found[((word == medium_code) | (word == low_code)) & (adc == saturated_adc)] |= 1 << 12
        elif encoding == 3:
            g = np.zeros(n_pixels, np.int64)
        elif encoding == 4:
            largest = 2**adc_bits - 1
            with np.errstate(invalid="ignore"):  # 0 times infinity
                ends = [largest - k * s for k, s in zip(parallel_sigma, of_cell(noise)[:2], strict=True)]
            g = np.where(words[0] > ends[0], np.where(words[1] > ends[1], 2, 1), 0)
            adc = words[g, np.arange(n_pixels)]
        elif fixed_stage >= 0:
            g = np.full(n_pixels, fixed_stage)
        else:
            t0, t1 = of_cell(thresholds)
            crossed = ((t1 < t0) & (not low_medium_gap)) | ~np.isfinite(t0) | ~np.isfinite(t1)
            lawless = ~np.isfinite(t0)
            if low_medium_gap:
                t1 = np.where(t1 <= 1.05 * t0, 65535.0, t1)
            g = np.zeros(n_pixels, np.int64)
            g[word > t0] = 1
            g[(word > t0) & (word > t1)] = 2
            # Step 4: weak signals in a low stage; medium first, then high.
            off = of_cell(offset) if offset is not None else np.zeros((3, n_pixels))
            if force_mg_if_below is not None:
                g[(g == 2) & (adc - off[1] < force_mg_if_below)] = 1
            if force_hg_if_below is not None:
                reference = off[0] if force_hg_reference == "hg" else off[1]
                g[(g > 0) & (adc - reference < force_hg_if_below)] = 0

        # Step 5: the constants of that stage.
        pixel = np.arange(n_pixels)
        broken = np.zeros(n_pixels, bool)
        static = np.zeros(n_pixels, np.uint32)
        if bad_pixels is not None:
            static = np.asarray(bad_pixels)[:, cell].astype(np.uint32)[g, pixel]
        static[(crossed & (g > 0)) | lawless] |= 1 << 13
        x = adc.astype(np.float64)
        with np.errstate(all="ignore"):
            # Step 6: offset.
            if offset is not None and subtract_offset:
                own = of_cell(offset)[g, pixel]
                broken |= ~np.isfinite(own)
                x = x - own
            # Step 9: relative gain.
            if relative_gain is not None:
                own = of_cell(relative_gain)[g, pixel]
                broken |= ~np.isfinite(own) | (~np.bool_(signed_gain) & (own <= 0))
                x = x * own
            for factor in (ff_map, gain_amp_map):
                if factor is not None:
                    own = of_cell(factor)
                    own = own[g, pixel] if len(own) == 3 else own[0]
                    broken |= ~np.isfinite(own) | (~np.bool_(signed_gain) & (own <= 0))
                    x = x * own
            # Step 10: the medium-gain baseline, and no negative medium gain.
            if mg_baseline is not None:
                own = of_cell(mg_baseline)[0]
                broken |= (g == 1) & ~np.isfinite(own)
                x = np.where(g == 1, x + own, x)
            if set_min:
                x = np.where((g == 1) & (x < 0), 0.0, x)
            # Step 11: x-ray gain.
            if adu_per_kev is not None:
                own = of_cell(adu_per_kev)
                own = own[g, pixel] if len(own) == 3 else own[0]
                broken |= ~np.isfinite(own) | (own == 0) | (~np.bool_(signed_gain) & (own < 0))
                x = x / own
            # Step 12: photons.
            if adu_per_photon is not None:
                x = x / adu_per_photon
            elif photon_energy_kev is not None:
                x = x / photon_energy_kev
            if round_photons:
                x = np.floor(x) + (x - np.floor(x) >= rounding_threshold)
        # Step 13: what cannot be a value. What the words say is never up to the choice of bits.
        bad = (static & np.uint32(bad_bits)) != 0
        x[broken] = np.nan
        found[~np.isfinite(x)] |= 1 << 11
        found[np.isfinite(x) & (np.abs(x) > value_limit)] |= 1 << 12
        x[bad | (found != 0)] = np.nan
        values[frame], stages[frame], masks[frame] = x, g, static | found
        founds[frame], statics[frame] = found, static
    return UnfoldedResult(values, stages, masks, founds, statics)
