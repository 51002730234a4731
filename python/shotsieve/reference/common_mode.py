"""Common mode in plain NumPy: the mean of dark pixels, of an ASIC in a frame or a pixel over a row of cells.

Source of the steps: the public description of the facility's calibration; the definition is ours. Values are
whole numbers of 1/256 ADU, so that a sum does not depend on its order.
"""

from __future__ import annotations

import numpy as np

from .calibrate import _stages_by_level
from .packed import planes_of
from .shift import SHIFT_SCALE, tile_of_pixel

__all__ = ["NEVER_DARK", "cell_common_mode", "common_mode", "dark_values"]

NEVER_DARK = np.int32(1 << 28)
"""Value of a pixel that is not in high gain, or is bad: outside every dark range."""


def dark_values(words, planes, encoding, fixed_stage):
    """Return adc - offset of the pixels of a frame in 1/256 ADU.

    Parameters
    ----------
    words : ndarray of uint16, shape (planes, npix)
    planes : ndarray of float32, shape (8 or 10, npix)
        Row of the folded table.
    encoding, fixed_stage
        As for `shotsieve.reference.calibrate.calibrate_count_folded`.

    Returns
    -------
    ndarray of int32, shape (npix,)
        `NEVER_DARK` where a pixel is not in high gain, or its gain is not finite.

    Examples
    --------
    >>> planes = np.array([50, 60, 20, 0, 0, 0.5, 1, 1], np.float32).reshape(8, 1)
    >>> dark_values(np.array([[21], [0]], np.uint16), planes, 0, -1).tolist()
    [256]
    """
    adc = words[0].astype(np.float32)
    if encoding == 1:
        high = (words[-1] == 0) & (fixed_stage <= 0)
    else:
        stage = _stages_by_level(adc, words[-1], planes, fixed_stage)
        high = stage == 0
    far = np.float32(NEVER_DARK)
    with np.errstate(invalid="ignore", over="ignore"):
        units = (adc - planes[2]) * SHIFT_SCALE
        units = np.where(units < far, units, far)
    units = np.rint(np.where(units > -far, units, -far)).astype(np.int32)
    return np.where(high & np.isfinite(planes[5]), units, NEVER_DARK)


def common_mode(
    raw,
    frames,
    groups,
    table,
    shift,
    *,
    encoding,
    fixed_stage,
    low,
    high,
    least,
    n_itr,
    tile_rows,
    tile_columns,
    row_pixels,
    pixel_shift=None,
    pixel_shift_row=None,
    add=False,
    stream=None,
    threads=1,
):
    """Do what the kernels do, under the same name and with the same arguments.

    Promise: exact; this is the definition of the bits that every backend gives. In every iteration the mean
    of the dark pixels of a tile, rounded to a whole number (halves to even), is added to its shift, if there
    are strictly more than `least` of them.

    Parameters
    ----------
    raw, frames, groups, table, encoding, fixed_stage
        As for `shotsieve.reference.calibrate.calibrate_count`.
    shift : ndarray of int32, shape (F, n_tiles)
        Written for listed frames with constants.
    low, high : int
        Dark range in 1/256 ADU, both ends included.
    least, n_itr : int
    tile_rows, tile_columns, row_pixels : int
        As for `shotsieve.reference.shift.tile_of_pixel`.
    pixel_shift, pixel_shift_row
        Subtracted before.
    add : bool
        Start from what stands in `shift`.
    stream, threads
        Not used; there so that the reference can stand in for a backend.

    Examples
    --------
    >>> raw = np.array([[[25] * 8, [0] * 8]], np.uint16)
    >>> table = np.repeat(np.array([50, 60, 20, 0, 0, 1, 1, 1], np.float32)[None, :, None], 8, axis=2)
    >>> shift = np.zeros((1, 1), np.int32)
    >>> how = dict(encoding=0, fixed_stage=-1, low=-7680, high=7680, least=1, n_itr=4)
    >>> common_mode(raw, [0], [(0, 1, 0)], table, shift, **how, tile_rows=1, tile_columns=8, row_pixels=8)
    >>> shift / 256
    array([[5.]])
    """
    tile = tile_of_pixel(raw.shape[-1], tile_rows, tile_columns, row_pixels)
    for start, stop, row in np.asarray(groups).reshape(-1, 3):
        if row < 0:
            continue
        for frame in np.asarray(frames)[start:stop]:
            values = dark_values(raw[frame], planes_of(table, row), encoding, fixed_stage).astype(np.int64)
            if pixel_shift is not None and pixel_shift_row[frame] >= 0:
                values = values - pixel_shift[pixel_shift_row[frame]]
            if not add:
                shift[frame] = 0
            for asic in range(shift.shape[1]):
                own = values[tile == asic]
                for _ in range(n_itr):
                    now = own - shift[frame, asic]
                    dark = now[(low <= now) & (now <= high)]
                    if len(dark) > least:
                        shift[frame, asic] += np.int32(np.rint(dark.sum() / len(dark)))


def cell_common_mode(
    raw,
    unit_frames,
    unit_rows,
    table,
    pixel_shift,
    *,
    encoding,
    fixed_stage,
    low,
    high,
    least,
    shift=None,
    tile_rows=0,
    tile_columns=0,
    row_pixels=0,
    add=False,
    stream=None,
    threads=1,
):
    """Do what the kernels do: the mean of each pixel over those of a row of cells in which it is dark.

    Promise: exact, as `common_mode`.

    Parameters
    ----------
    raw, table, encoding, fixed_stage, low, high
        As for `common_mode`.
    unit_frames, unit_rows : ndarray of int32, shape (U, cells)
        Frames of a row of cells in one train, and their rows of `table`.
    pixel_shift : ndarray of int32, shape (U, npix)
        Written.
    least : int
        A pixel is corrected if it is dark in strictly more cells.
    shift, tile_rows, tile_columns, row_pixels
        Shifts of tiles, subtracted before; None: none.
    add : bool
        Add to what stands in `pixel_shift`, and subtract that before.
    stream, threads
        Not used.

    Examples
    --------
    >>> raw = np.array([[[25]], [[27]]], np.uint16)
    >>> table = np.array([50, 60, 20, 0, 0, 1, 1, 1], np.float32).reshape(1, 8, 1)
    >>> found = np.zeros((1, 1), np.int32)
    >>> how = dict(encoding=0, fixed_stage=0, low=-7680, high=7680, least=1)
    >>> cell_common_mode(raw, np.array([[0, 1]]), np.array([[0, 0]]), table, found, **how)
    >>> found / 256
    array([[6.]])
    """
    n_pixels = raw.shape[-1]
    for unit, (frames, rows) in enumerate(zip(unit_frames, unit_rows, strict=True)):
        before = pixel_shift[unit].astype(np.int64) if add else np.zeros(n_pixels, np.int64)
        total, count = np.zeros(n_pixels, np.int64), np.zeros(n_pixels, np.int64)
        for frame, row in zip(frames, rows, strict=True):
            now = dark_values(raw[frame], planes_of(table, row), encoding, fixed_stage) - before
            if shift is not None:
                now = now - shift[frame][tile_of_pixel(n_pixels, tile_rows, tile_columns, row_pixels)]
            dark = (low <= now) & (now <= high)
            total += np.where(dark, now, 0)
            count += dark
        mean = np.rint(total / np.maximum(count, 1)).astype(np.int64)
        pixel_shift[unit] = before + np.where(count > least, mean, 0)
