"""Common mode by medians in plain NumPy: what the kernels have to give, number by number."""

from __future__ import annotations

import numpy as np

__all__ = ["bank_mode", "bank_shifts"]

SCALE = np.float32(256)
LEAST = 10


def bank_mode(
    raw,
    frames,
    groups,
    table,
    shift,
    *,
    row_pixels,
    bank_rows,
    bank_columns,
    limit,
    banks=True,
    rows=True,
    columns=True,
    passes=1,
    stream=None,
    threads=1,
):
    """Do what the kernels do, under the same name and with the same arguments.

    Promise: exact; this is the definition of the shifts that every backend gives.

    Parameters
    ----------
    raw : ndarray of uint16, shape (F, 1, npix)
    frames, groups : ndarray of int32
        As for `shotsieve.reference.calibrate.calibrate_count`; frames of row -1 are left alone.
    table : ndarray of float32, shape (R, 2, npix)
        Offset and gain; a gain that is not finite marks a bad pixel.
    shift : ndarray of int32, shape (F, npix)
        Written for listed frames with constants.
    row_pixels, bank_rows, bank_columns, limit, banks, rows, columns, passes
        As for `shotsieve.bank_mode.BankModeParams`.
    stream, threads
        Not used.

    Examples
    --------
    >>> raw = np.full((1, 1, 12), 103, np.uint16)
    >>> table = np.stack([np.full(12, 100), np.ones(12)])[None].astype("f4")
    >>> shift = np.zeros((1, 12), np.int32)
    >>> bank = {"row_pixels": 12, "bank_rows": 1, "bank_columns": 12}
    >>> bank_mode(raw, [0], [(0, 1, 0)], table, shift, **bank, limit=9999)
    >>> shift[0, :2].tolist()
    [768, 768]
    """
    for start, stop, row in np.asarray(groups).reshape(-1, 3):
        for frame in np.asarray(frames)[start:stop]:
            if row >= 0:
                values = (raw[frame, 0].astype(np.float32) - table[row, 0]) * SCALE
                good = np.isfinite(table[row, 1]) & ~np.isnan(values)
                shape, bank = (-1, row_pixels), (bank_rows, bank_columns)
                found = bank_shifts(
                    values.reshape(shape), good.reshape(shape), bank, limit, banks, rows, columns, passes
                )
                shift[frame] = found.ravel()


def bank_shifts(values, good, bank, limit, banks=True, rows=True, columns=True, passes=1):
    """Return what the pixels of each bank share, int32 of the shape of a frame.

    Parameters
    ----------
    values : ndarray of float32, shape (ss, fs)
        Pixels after the offset, in 1/256 ADU.
    good : ndarray of bool, shape (ss, fs)
    bank : (int, int)
        Pixels of a bank.
    limit : int
    banks, rows, columns : bool
    passes : int

    Examples
    --------
    >>> bank_shifts(np.full((1, 10), 5, "f4"), np.ones((1, 10), bool), (1, 10), 6).tolist()
    [[5, 5, 5, 5, 5, 5, 5, 5, 5, 5]]
    """
    far = 2.0**24
    whole = np.rint(np.clip(np.where(good, values, 0), -far, far)).astype(np.int64)
    left = whole.copy()
    high, wide = bank
    for y in range(0, values.shape[0], high):
        for x in range(0, values.shape[1], wide):
            part, mask = left[y : y + high, x : x + wide], good[y : y + high, x : x + wide]
            for _ in range(passes):
                if banks:
                    part -= _step(part[mask], limit)
                for line in range(high) if rows else ():
                    part[line] -= _step(part[line][mask[line]], limit)
                for line in range(wide) if columns else ():
                    part[:, line] -= _step(part[:, line][mask[:, line]], limit)
    return np.where(good, whole - left, 0).astype(np.int32)


def _step(values, limit):
    """Return the median of good values if it counts, else 0."""
    n = len(values)
    if n < LEAST:
        return 0
    ordered = np.sort(values)
    median = (ordered[(n - 1) // 2] + ordered[n // 2]) >> 1
    return median if abs(median) < limit else 0
