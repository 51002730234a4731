"""The map from pixels to bins, prepared once for every backend.

Profiles, cakes and regions of interest are the same sums with different maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from .parts import cut_parts, part_pixels

NO_BIN = 0xFFFF
CHUNK, WARPS = 128, 8  # kBinChunk and kBinWarps of cpp/core/bins.hpp
MOST_PIXELS = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Entries:
    """Which bins the pixels of a slab belong to, and with which share.

    Attributes
    ----------
    pixel : ndarray of int64, shape (E,)
        Number of the pixel in the slab, row by row; ascending.
    bin : ndarray of int64, shape (E,)
        Ascending for each pixel.
    coef : ndarray of float64, shape (E,), or None
        Share of the pixel that lies in the bin; None: every pixel has one bin at most, and lies wholly in it.
    """

    pixel: np.ndarray
    bin: np.ndarray
    coef: np.ndarray | None = None

    @classmethod
    def whole(cls, bins: np.ndarray) -> Entries:
        """Take a map that gives every pixel one bin.

        Parameters
        ----------
        bins : ndarray of int, shape (rows, columns)
            Below 0: in no bin.

        Examples
        --------
        >>> Entries.whole(np.array([[0, -1, 2]])).pixel.tolist()
        [0, 2]
        """
        flat = np.asarray(bins).ravel()
        pixel = np.flatnonzero(flat >= 0)
        return cls(pixel, flat[pixel].astype("i8"))


@dataclass(frozen=True, eq=False)
class BinPlan:
    """The map from pixels to bins with all that the kernels need; one plan serves every backend.

    Make it with `make`.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the slab.
    n_bins : int
    names : tuple of str
        Names of the static columns.
    totals : ndarray of float64, shape (K, n_bins)
        Sums of the columns over all entries.
    arrays : dict of str to ndarray
        What the native function takes.
    """

    shape: tuple[int, int]
    n_bins: int
    names: tuple[str, ...]
    totals: np.ndarray
    arrays: dict[str, np.ndarray]

    @classmethod
    def make(
        cls,
        shape: tuple[int, int],
        n_bins: int,
        entries: Entries,
        columns: Mapping[str, np.ndarray],
        *,
        parts: np.ndarray | None = None,
        norm: np.ndarray | None = None,
        dark: np.ndarray | None = None,
    ) -> BinPlan:
        """Prepare the sums.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns of the slab.
        n_bins : int
        entries : Entries
        columns : mapping of str to ndarray of float64, shape (E,)
            Static values of the entries, whose sums over the valid ones are wanted for every frame: 1 for
            counts, the norm, its square ... They are rounded so that their sums are exact in any order:
            to 2^-52 of the largest sum of a bin.
        parts : array of int, shape (P, 4), or None
            Tiles of the detector: ss_start, ss_stop, fs_start, fs_stop in the slab. Sums are made tile by
            tile, large ones in pieces; None takes pieces of the whole slab. Entries outside are refused.
        norm, dark : ndarray of float64, shape (rows, columns), or None
            For mode "residual": norm of every pixel, above 0 where it has an entry, and what is subtracted.

        Returns
        -------
        BinPlan

        Raises
        ------
        BadInput
            If shapes disagree, bins or pixels are out of range, or tiles overlap.

        Examples
        --------
        >>> entries = Entries.whole(np.array([[0, 1, 1, -1]]))
        >>> plan = BinPlan.make((1, 4), 2, entries, {"count": np.ones(3)})
        >>> plan.totals.tolist()
        [[1.0, 2.0]]
        """
        n_pixels = shape[0] * shape[1]
        if not 0 < n_pixels <= MOST_PIXELS or n_bins < 1:
            raise BadInput(
                f"bins: a slab of {shape} pixels with {n_bins} bins: expected at least one of each"
            )
        _check_entries(entries, n_pixels, n_bins)
        rects = cut_parts(shape, parts)
        pixels, part_start = part_pixels(rects, shape)
        place = np.full(n_pixels, -1, "i8")
        place[pixels] = np.arange(len(pixels))
        own = place[entries.pixel]
        if (own < 0).any():
            raise BadInput(
                f"bins: {np.count_nonzero(own < 0)} pixels that belong to a bin lie in no part: "
                "expected parts that cover them"
            )
        order = np.argsort(own, kind="stable")
        own, bins = own[order], entries.bin[order]
        part = np.searchsorted(part_start, own, side="right") - 1
        arrays = _slots(part, bins, len(rects), n_bins)
        local = arrays.pop("local_of_entry")
        arrays |= {"parts": rects, "part_start": part_start.astype("i4")}
        names = tuple(columns)
        values = np.stack(
            [exactly_summed(columns[name], entries.bin, n_bins)[order] for name in names], axis=1
        )
        totals = np.stack([np.bincount(bins, column, n_bins) for column in values.T])
        entry = own
        if entries.coef is None:
            arrays["local"] = np.full(len(pixels), NO_BIN, "u2")
            arrays["local"][own] = local
            arrays["columns"] = np.zeros((len(pixels), len(names)))
            arrays["columns"][own] = values
        else:
            entry = np.arange(len(own))
            arrays["entry_start"] = np.searchsorted(own, np.arange(len(pixels) + 1)).astype("i4")
            arrays |= {"entry_bin": local, "columns": values, "coef": entries.coef[order].astype("f8")}
        for name, given in (("norm", norm), ("dark", dark)):
            if given is not None:
                arrays[name] = np.asarray(given, "f8").ravel()[pixels]
        arrays |= _runs(part, own - part_start[part], local, entry, np.diff(part_start))
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        for array in arrays.values():
            array.flags.writeable = False  # the kernels trust the indices in them
        return cls(shape, n_bins, names, totals, arrays)

    @property
    def pixels(self) -> int:
        """Number of pixels of a slab."""
        return self.shape[0] * self.shape[1]

    @property
    def most_slots(self) -> int:
        """Bins of the part that meets most of them."""
        return int(np.diff(self.arrays["slot_start"]).max(initial=0))


def exactly_summed(values: np.ndarray, bins: np.ndarray, n_bins: int) -> np.ndarray:
    """Round values so that float64 sums of them over a bin are exact, in any order and of any part.

    Parameters
    ----------
    values : ndarray of float64, shape (E,)
    bins : ndarray of int, shape (E,)
    n_bins : int

    Returns
    -------
    ndarray of float64, shape (E,)
        Multiples of one power of two, 2^-52 of the largest sum of magnitudes of a bin or finer.

    Examples
    --------
    >>> exactly_summed(np.array([1.0, 2.0]), np.array([0, 0]), 1).tolist()
    [1.0, 2.0]
    """
    values = np.asarray(values, "f8")
    largest = np.bincount(bins, np.abs(values), n_bins).max(initial=0.0)
    if largest == 0.0:
        return values.copy()
    unit = np.ldexp(1.0, int(np.frexp(largest)[1]) - 52)
    return np.rint(values / unit) * unit


def _check_entries(entries: Entries, n_pixels: int, n_bins: int) -> None:
    pixel, bins, coef = entries.pixel, entries.bin, entries.coef
    if pixel.ndim != 1 or bins.shape != pixel.shape or (coef is not None and coef.shape != pixel.shape):
        raise BadInput("bins: pixels, bins and shares of the entries differ in length: expected one of each")
    if len(pixel) > MOST_PIXELS:
        raise BadInput(f"bins: {len(pixel)} entries: expected at most {MOST_PIXELS}")
    if len(pixel) == 0:
        return
    if pixel.min() < 0 or pixel.max() >= n_pixels or bins.min() < 0 or bins.max() >= n_bins:
        raise BadInput(
            f"bins: pixels {pixel.min()} to {pixel.max()} in bins {bins.min()} to {bins.max()}: expected "
            f"pixels below {n_pixels} and bins below {n_bins}"
        )
    step = np.diff(pixel)
    if (step < 0).any() or (coef is None and (step == 0).any()) or (np.diff(bins)[step == 0] <= 0).any():
        raise BadInput("bins: expected entries in the order of pixels, and of bins for each pixel")


def _slots(part: np.ndarray, bins: np.ndarray, n_parts: int, n_bins: int) -> dict[str, np.ndarray]:
    """Number the bins that each part meets; `local_of_entry` is a bin's place within its part."""
    key, slot_of_entry = np.unique(part * n_bins + bins, return_inverse=True)
    slot_part, slot_bin = np.divmod(key, n_bins)
    slot_start = np.searchsorted(slot_part, np.arange(n_parts + 1))
    if np.diff(slot_start).max(initial=0) >= NO_BIN:
        raise BadInput(
            f"bins: a part of the detector meets {np.diff(slot_start).max()} bins: expected fewer than "
            f"{NO_BIN}; take fewer bins"
        )
    by_bin = np.argsort(slot_bin, kind="stable")
    return {
        "slot_start": slot_start.astype("i4"),
        "slot_bin": slot_bin.astype("i4"),
        "bin_start": np.searchsorted(slot_bin[by_bin], np.arange(n_bins + 1)).astype("i4"),
        "bin_slot": by_bin.astype("i4"),
        "local_of_entry": (slot_of_entry - slot_start[part]).astype("u2"),
    }


def _runs(
    part: np.ndarray, within: np.ndarray, local: np.ndarray, entry: np.ndarray, areas: np.ndarray
) -> dict[str, np.ndarray]:
    """Sort the entries of each chunk by bin, and share its bins among the warps.

    `within` is the pixel's number in its part. A warp gets whole bins, about as many entries as the others.
    """
    chunk_start = np.concatenate([[0], np.cumsum(-(-areas // CHUNK))])
    chunk = chunk_start[part] + within // CHUNK
    order = np.lexsort((within, local, chunk))
    chunk, sorted_local = chunk[order], local[order]
    first = np.searchsorted(chunk, np.arange(chunk_start[-1] + 1))
    # The warp of an entry follows from where its bin begins in the chunk.
    begins = np.ones(len(order), bool)
    begins[1:] = (np.diff(chunk) != 0) | (np.diff(sorted_local.astype("i4")) != 0)
    bin_begin = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    size = np.diff(first)[chunk]
    warp = (bin_begin - first[chunk]) * WARPS // np.maximum(size, 1)
    run_start = np.searchsorted(chunk * WARPS + warp, np.arange(chunk_start[-1] * WARPS + 1))
    return {
        "chunk_start": chunk_start.astype("i4"),
        "run_start": run_start.astype("i4"),
        "run_pixel": (within[order] % CHUNK).astype("u1"),
        "run_bin": sorted_local,
        "run_entry": entry[order].astype("i4"),
    }
