"""What is wrong with constants, once they are folded: said before a frame is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .constants.fold import gain_planes
from .constants.thresholds import told_thresholds

if TYPE_CHECKING:
    from .constants.container import Constants
    from .constants.steps import Steps
    from .detectors import Detector
    from .folded_tables import Tables

FLAGGED = "their frames are flagged NO_DARK_DATA, and what is counted in them is unknown"


def told_odd(tables: Tables, detector: Detector, gain_mode: str, steps: Steps) -> list[str]:
    """Say how many pixels have no usable gain though no bit tells so, and thresholds that are no good.

    None stops a calibration: such a pixel is NaN, with the bit VALUE_IS_NAN or GAIN_THRESHOLDING_ERROR, or
    never goes to low gain.
    ``shotsieve constants show`` says it constant by constant.

    Parameters
    ----------
    tables : Tables
    detector : Detector
    gain_mode : str
        Of a fixed mode only the stage counts that it has.
    steps : Steps

    Returns
    -------
    list of str
        A sentence for each; empty where nothing is odd.

    Examples
    --------
    >>> told_odd(tables, detector, "adaptive", Steps())    # doctest: +SKIP
    ['constants: 12 of 786,432 gains or offsets are zero, not finite or of the wrong sign, ...']
    """
    gains = gain_planes(tables.table.shape[1])
    stage = detector.fixed_stage(gain_mode)
    stages = slice(None) if stage < 0 or detector.stages == 1 else slice(stage, stage + 1)
    unusable, notes = 0, []
    for row, mask in enumerate(tables.mask):
        table = tables.planes(row)
        good = (mask[stages] & np.uint32(tables.bad_bits)) == 0
        unusable += int(np.count_nonzero(np.isnan(table[gains][stages]) & good))
    total = tables.mask[:, stages].size
    if unusable:
        notes.append(
            f"constants: {unusable:,} of {total:,} gains or offsets are zero, not finite or of the wrong "
            "sign, "
            "and no bit of the mask says so: these pixels are NaN and flagged VALUE_IS_NAN"
        )
    return notes + told_thresholds(tables.crossed, tables.not_finite, steps)


def lacking_of(constants: Constants, needed: Sequence[str], modules: Sequence[int]) -> list[str]:
    """Name the constants that some of these modules lack, of those that are needed.

    Examples
    --------
    >>> from shotsieve.constants import Constants
    >>> constants = Constants.from_arrays("JUNGFRAU", {"offset": {1: np.zeros((3, 1, 512, 1024))}})
    >>> lacking_of(constants, ("offset", "adu_per_kev"), [1])
    ['adu_per_kev']
    """
    return [name for name in needed if not all(constants.has(name, module) for module in modules)]


def told_unknown(
    constants: Constants,
    needed: Sequence[str],
    row_of: np.ndarray,
    modules: Sequence[int],
    cells: Sequence[int],
) -> list[str]:
    """Say which modules and memory cells have no constants, since their frames stay unknown.

    Parameters
    ----------
    constants : Constants
    needed : sequence of str
        From `shotsieve.constants.fold.required`.
    row_of : ndarray of int32, shape (M, C)
        As of `shotsieve.folded_tables.Tables`, of these modules and cells.
    modules, cells : sequence of int

    Returns
    -------
    list of str
        A sentence for modules, and one for cells; empty where all are known.

    Examples
    --------
    >>> from shotsieve.constants import Constants
    >>> constants = Constants.from_arrays("DSSC1M", {"offset": {1: np.zeros((1, 1, 128, 512))}})
    >>> told_unknown(constants, ("offset",), np.array([[0], [-1]]), [1, 2], [0])[0][:41]
    'no constants for module 2 (offset): their'
    """
    unknown, notes = row_of < 0, []
    alone = [module for module, lacks in zip(modules, unknown.all(axis=1), strict=True) if lacks]
    if alone:
        names = lacking_of(constants, needed, alone)
        which = f" ({', '.join(names)})" if names else ""
        # Where every module has what is needed, it is the cells.
        of_cells = f"memory cell {listed(cells)} of " if unknown.all() and not names and len(cells) else ""
        notes.append(f"no constants for {of_cells}module {listed(alone)}{which}: {FLAGGED}")
    partly = unknown & ~unknown.all(axis=1, keepdims=True)
    if partly.any():
        some = [cell for cell, lacks in zip(cells, partly.any(axis=0), strict=True) if lacks]
        notes.append(f"no constants for memory cell {listed(some)}: {FLAGGED}")
    return notes


def listed(numbers: Sequence[int]) -> str:
    """Return some numbers as text, the first ten of them.

    Examples
    --------
    >>> listed([3, 4]), listed(range(12))
    ('3, 4', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 ...')
    """
    return ", ".join(map(str, numbers[:10])) + (" ..." if len(numbers) > 10 else "")
