"""Shifts of frames: whole numbers of 1/256 ADU that are added to the offset of a pixel."""

from __future__ import annotations

import numpy as np

__all__ = ["SHIFT_SCALE", "shifts_of_pixels", "tile_of_pixel"]

SHIFT_SCALE = np.float32(256)
"""Units of a shift per ADU."""


def tile_of_pixel(n_pixels, tile_rows, tile_columns, row_pixels):
    """Return the number of the tile that each pixel of a frame is in, counted along the rows.

    Parameters
    ----------
    n_pixels, tile_rows, tile_columns, row_pixels : int
        Pixels of a frame, of a tile in both directions, and of a row of the frame.

    Returns
    -------
    ndarray of int64, shape (n_pixels,)

    Examples
    --------
    >>> tile_of_pixel(8, 1, 2, 4).tolist()
    [0, 0, 1, 1, 2, 2, 3, 3]
    """
    row, column = np.divmod(np.arange(n_pixels), row_pixels)
    return row // tile_rows * (row_pixels // tile_columns) + column // tile_columns


def shifts_of_pixels(shape, shift, pixel_shift, pixel_shift_row, tile_rows, tile_columns, row_pixels):
    """Return the shift of every pixel of every frame.

    Parameters
    ----------
    shape : (int, int)
        Frames, and pixels of each.
    shift : ndarray of int32, shape (F, n_tiles), or None
        Of the tiles of a frame.
    pixel_shift : ndarray of int32, shape (U, n_pixels), or None
        Of the pixels of the frames that share a row.
    pixel_shift_row : ndarray of int32, shape (F,), or None
        Row of a frame; -1 is none.
    tile_rows, tile_columns, row_pixels : int
        As for `tile_of_pixel`.

    Returns
    -------
    ndarray of int32, shape (F, n_pixels)

    Examples
    --------
    >>> shifts_of_pixels((1, 4), np.array([[5, 7]], "i4"), None, None, 1, 2, 4).tolist()
    [[5, 5, 7, 7]]
    """
    total = np.zeros(shape, np.int32)
    if shift is not None:
        total += shift[:, tile_of_pixel(shape[1], tile_rows, tile_columns, row_pixels)]
    if pixel_shift is not None:
        rows = np.asarray(pixel_shift_row)
        total[rows >= 0] += pixel_shift[rows[rows >= 0]]
    return total
