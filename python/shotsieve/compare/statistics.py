"""What is counted while frames are compared: bounded memory, whatever the number of frames."""

from __future__ import annotations

import numpy as np

from ..constants.bad_pixels import BadPixels
from .corrected import Frames
from .spread import BINS, binned

__all__ = ["MOMENTS", "Statistics"]

STAGES = 3
OTHER = 3
"""Column of the gain confusion for a stage of theirs that is none of 0, 1, 2."""

MOMENTS = ("n", "differ", "d", "dd", "t", "tt", "dt")
"""Sums kept for each module, cell and stage, over pixels that are good and in that stage in both: their
number, how many differ by more than the tolerance, and sums of d = ours - theirs and t = theirs."""

BITS = 32
RELATIVE = 1e-5
"""Values that differ by less than this share are the same: another order of operations makes as much."""


class Statistics:
    """Sums and counts over frames.

    Parameters
    ----------
    modules : tuple of int
    cells : ndarray of int
        Memory cells that may come, ascending.
    shape : (int, int)
        Of a frame.
    bad_bits : int
        Bits of a mask that make a pixel bad.
    tolerance : float
        Values differ where \\|ours - theirs\\| > tolerance + 1e-5 \\|theirs\\|.

    Attributes
    ----------
    frames : ndarray of int64, shape (modules,)
    moments : ndarray of float64, shape (modules, cells, 3, len(MOMENTS))
    largest : ndarray of float64, shape (modules, cells, 3)
        The difference of the largest size.
    equal : ndarray of int64, shape (modules, 3)
        Values that are the same bits, by stage.
    spread, relative : ndarray of int64, shape (modules, 3, BINS)
        Histograms of the differences, and of differences over theirs, by stage.
    gains : ndarray of int64, shape (modules, 3, 4)
        Pixels by our stage and theirs, of all that have constants here; the last column is another number.
    bits : ndarray of int64, shape (modules, 32, 3)
        Pixels with a bit here only, there only, in both.
    bad : ndarray of int64, shape (modules, 4)
        Pixels that are good in both, bad here only, bad there only, bad in both.
    pixel_frames, pixel_differ, pixel_gains : ndarray of uint32, shape (modules, ss, fs)
        Frames in which a pixel was compared, in which it differed, and in which its gain differed.
    pixel_sum : ndarray of float64, shape (modules, ss, fs)
        Of the differences.
    """

    def __init__(
        self,
        modules: tuple[int, ...],
        cells: np.ndarray,
        shape: tuple[int, int],
        bad_bits: int,
        tolerance: float,
    ) -> None:
        m, c = len(modules), len(cells)
        self.modules, self.cell_ids = modules, np.asarray(cells)
        self.bad_bits, self.tolerance = np.uint32(bad_bits), tolerance
        self.frames = np.zeros(m, np.int64)
        self.moments = np.zeros((m, c, STAGES, len(MOMENTS)))
        self.largest = np.zeros((m, c, STAGES))
        self.equal = np.zeros((m, STAGES), np.int64)
        self.spread, self.relative = (np.zeros((m, STAGES, BINS), np.int64) for _ in range(2))
        self.gains = np.zeros((m, STAGES, OTHER + 1), np.int64)
        self.bits = np.zeros((m, BITS, 3), np.int64)
        self.bad = np.zeros((m, 4), np.int64)
        self.pixel_frames, self.pixel_differ, self.pixel_gains = (
            np.zeros((m, *shape), np.uint32) for _ in range(3)
        )
        self.pixel_sum = np.zeros((m, *shape))

    def add(self, at: int, cell: int, ours: Frames, theirs: Frames) -> None:
        """Compare frames of one module and one memory cell. Threads may do so for different modules.

        Parameters
        ----------
        at : int
            Which of the modules.
        cell : int
            Which of the cells.
        ours : Frames
            With gain and mask; data is float32.
        theirs : Frames
        """
        self.frames[at] += len(ours.data)
        known = ours.mask & np.uint32(BadPixels.NO_DARK_DATA) == 0
        good = self._masks(at, ours, theirs)
        same_stage = good
        if theirs.gain is not None:
            their_gain = np.minimum(theirs.gain, OTHER)
            code = (ours.gain.astype(np.int64) * (OTHER + 1) + their_gain)[known]
            self.gains[at] += np.bincount(code, minlength=STAGES * (OTHER + 1)).reshape(STAGES, OTHER + 1)
            other = ours.gain != theirs.gain
            self.pixel_gains[at] += (other & known).sum(axis=0, dtype=np.uint32)
            same_stage = good & ~other
        self.pixel_frames[at] += same_stage.sum(axis=0, dtype=np.uint32)
        value = theirs.data.astype(np.float64)
        with np.errstate(invalid="ignore"):
            difference = ours.data - value
            differs = np.abs(difference) > self.tolerance + RELATIVE * np.abs(value)
        differs &= same_stage
        self.pixel_differ[at] += differs.sum(axis=0, dtype=np.uint32)
        self.pixel_sum[at] += np.where(same_stage, difference, 0).sum(axis=0)
        for stage in range(STAGES):
            mine = same_stage & (ours.gain == stage)
            if mine.any():
                self._stage(at, cell, stage, difference[mine], value[mine], int(differs[mine].sum()))

    def _stage(self, at: int, cell: int, stage: int, d: np.ndarray, t: np.ndarray, differ: int) -> None:
        """Add values of one stage."""
        # Not as dot products: a BLAS sums in another order from one machine to the next.
        sums = (len(d), differ, d.sum(), (d * d).sum(), t.sum(), (t * t).sum(), (d * t).sum())
        self.moments[at, cell, stage] += sums
        extreme = d[np.argmax(np.abs(d))]
        if abs(extreme) > abs(self.largest[at, cell, stage]):
            self.largest[at, cell, stage] = extreme
        self.equal[at, stage] += np.count_nonzero(d == 0)
        self.spread[at, stage] += binned(d)
        there = t != 0
        self.relative[at, stage] += binned(d[there] / t[there])

    def _masks(self, at: int, ours: Frames, theirs: Frames) -> np.ndarray:
        """Count bits of the masks; return which pixels are good in both, (n, ss, fs)."""
        bad = ~np.isfinite(ours.data) | (ours.mask & self.bad_bits != 0)
        their_bad = ~np.isfinite(theirs.data) if theirs.data.dtype.kind == "f" else np.zeros_like(bad)
        if theirs.mask is not None:
            their_bad = their_bad | (theirs.mask & self.bad_bits != 0)
            there = int(np.bitwise_or.reduce(ours.mask | theirs.mask, axis=None))
            for bit in range(BITS):
                if there >> bit & 1:
                    one, two = (mask & np.uint32(1 << bit) != 0 for mask in (ours.mask, theirs.mask))
                    both = np.count_nonzero(one & two)
                    counts = (np.count_nonzero(one) - both, np.count_nonzero(two) - both, both)
                    self.bits[at, bit] += counts
        both, mine, yours = (int(np.count_nonzero(which)) for which in (bad & their_bad, bad, their_bad))
        self.bad[at] += (bad.size - mine - yours + both, mine - both, yours - both, both)
        return ~(bad | their_bad)
