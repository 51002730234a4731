"""Folded constants of a run as the calibrating kernel reads them: a row for each module and memory cell.

Promise: exact; the same constants give the same bits, however many cells are folded at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .calibrate import MAX_GROUP
from .constants.fold import fold, table_planes
from .constants.packed import PackingLimits, is_packed, pack, packed_shape, unpack
from .constants.pieces import close_up, pieces_of_cells
from .linearise import linear_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .constants.container import Constants
    from .constants.masks import StaticMask
    from .constants.steps import Steps
    from .detectors import Detector


@dataclass(frozen=True)
class Tables:
    """Folded constants of all modules of a run, for the memory cells that occur in it.

    Attributes
    ----------
    table : ndarray of float32, shape (R, P, n_pixels), or uint16, shape (R, P, 8 + n_pixels)
        What the kernel reads; P is 8, 10 where gain stages are forced, and 2 where there is only one. uint16
        where constants are packed: `shotsieve.constants.packed`.
    mask : ndarray of uint32, shape (R, stages, n_pixels)
        Static mask per gain stage.
    row_of : ndarray of int32, shape (M, C)
        Row of a module and cell, -1 where there are no constants.
    cell_ids : ndarray of int32, shape (C,)
        Memory cells of the run, ascending.
    bad_bits : int
        Mask bits that take a pixel out of the measures.
    linear : ndarray of uint16, shape (R, n_pixels, entries), or None
        Linearisation of the words of each row; None where words are linear.
    most_together : int
        Frames of a row that share one reading of it, at most.
    packed_error : float
        Of packed constants: bound of what a value in high gain may be off, in the unit of the values.
    sha256 : str or None
        Of ``table``, where it is known already; see `shotsieve.folded_cache.constants_checksum`.
    crossed : int
        Pixels of all rows whose thresholds are out of order; see `shotsieve.constants.fold.FoldedModule`.
    not_finite : int
        Likewise, with a threshold that is not finite.
    """

    table: np.ndarray
    mask: np.ndarray
    row_of: np.ndarray
    cell_ids: np.ndarray
    bad_bits: int
    linear: np.ndarray | None = None
    most_together: int = MAX_GROUP
    packed_error: float = 0.0
    sha256: str | None = None
    crossed: int = 0
    not_finite: int = 0

    @classmethod
    def of_corrected(cls, modules: int, pixels: int, cell_id: np.ndarray, bad_bits: int) -> Tables:
        """Return what stands for constants of frames that are calibrated already: a row for all.

        Parameters
        ----------
        modules, pixels : int
            Number of modules, and of pixels of each.
        cell_id : array of int
            Memory cells that may come, repeated or not.
        bad_bits : int
            Mask bits that take a pixel out of the measures.
        """
        cells = np.unique(cell_id).astype("i4")
        row_of = np.zeros((modules, len(cells)), "i4")
        # Kernels look at the number of rows alone; the masks of kept frames are in the frames themselves.
        table, mask = np.zeros((1, 1, pixels), "f4"), np.zeros((1, 1, pixels), "u4")
        return cls(table, mask, row_of, cells, bad_bits, most_together=1)

    def planes(self, rows: Any, planes: slice = slice(None)) -> np.ndarray:
        """Return some planes of some rows of ``table`` as float32, (..., n_pixels), packed or not."""
        found = self.table[rows, planes]
        return unpack(found) if is_packed(self.table) else found

    def rows(self, cell_id: np.ndarray) -> np.ndarray:
        """Return the row of ``table`` for each shot and module, int32 (S, M); -1 without constants.

        ``cell_id`` (S,) may hold cells that are not here; they have none.
        """
        if len(self.cell_ids) == 0:
            return np.full((len(cell_id), len(self.row_of)), -1, "i4")
        at = np.minimum(np.searchsorted(self.cell_ids, cell_id), len(self.cell_ids) - 1)
        known = self.cell_ids[at] == cell_id
        return np.ascontiguousarray(np.where(known, self.row_of[:, at], np.int32(-1)).T)


def make_tables(
    constants: Constants,
    detector: Detector,
    modules: Sequence[int],
    cell_id: np.ndarray,
    steps: Steps,
    unit: str,
    photon_energy_kev: float | None,
    gain_mode: str,
    masks: StaticMask | None = None,
) -> Tables:
    """Fold the constants of a run, for the cells that occur and have constants.

    Parameters
    ----------
    constants : Constants
    detector : Detector
    modules : sequence of int
        Module numbers; one without constants gets no rows, and its frames count as unknown.
    cell_id : array of int
        Memory cells of the run, repeated or not.
    steps : Steps
        Switches of the calibration.
    unit : {"ADU", "keV", "photon"}
    photon_energy_kev : float or None
    gain_mode : str
        As in `OperatingMode`.
    masks : StaticMask or None
        Bits of bad pixels beside those of the constants.

    Returns
    -------
    Tables

    Raises
    ------
    BadInput
        As `shotsieve.constants.fold.fold`; or if constants are to be packed and do not fit 16 bits.
    """
    cells = np.unique(cell_id).astype("i4")
    holders = [at for at, module in enumerate(modules) if constants.has("offset", module)]
    row_of = np.full((len(modules), len(cells)), -1, "i4")
    shape = (len(holders) * len(cells), table_planes(detector, steps, gain_mode), detector.pixels)
    packed = steps.packed_constants
    table = np.empty(packed_shape(*shape), "u2") if packed else np.empty(shape, "f4")
    mask = np.empty((len(holders) * len(cells), detector.stages, detector.pixels), "u4")
    wanted, linear = steps.for_detector(detector).linearise, []
    limits = PackingLimits.of(detector, gain_mode, wanted, unit, photon_energy_kev)
    used, error, crossed, not_finite = 0, 0.0, 0, 0
    pieces = [
        (at, some) for at in holders for some in pieces_of_cells(constants, detector, modules[at], cells)
    ]
    for at, some in pieces:
        # Where they are packed, the folded ones are not yet what the kernel reads.
        exact = np.empty((len(some), *shape[1:]), "f4") if packed else table[used : used + len(some)]
        folded = fold(
            constants,
            detector,
            modules[at],
            some,
            steps,
            unit,
            photon_energy_kev,
            gain_mode=gain_mode,
            masks=masks,
            into=(exact, mask[used : used + len(some)]),
        )
        known = some[folded.known]
        rows = slice(used, used + len(known))
        close_up(folded.mask, folded.known)
        close_up(exact, folded.known)
        if packed:
            made = pack(exact[: len(known)], detector, modules[at], known, limits, into=table[rows])
            error = max(error, made.high_gain_error)
        row_of[at, np.searchsorted(cells, known)] = np.arange(rows.start, rows.stop)
        crossed += int(folded.crossed.sum())
        not_finite += int(folded.not_finite.sum())
        used = rows.stop
        if wanted and known.size:
            linear.append(linear_rows(constants, detector, modules[at], known))
    return Tables(
        table[:used],
        mask[:used],
        row_of,
        cells,
        steps.all_bad_bits(),
        linear=np.concatenate(linear) if wanted and used else None,
        packed_error=error,
        crossed=crossed,
        not_finite=not_finite,
    )
