"""What is wrong with the constants of a run, once they are folded: said before a frame is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..constants.fold import THRESHOLDS, gain_planes

if TYPE_CHECKING:
    from .job import Job


def note_odd_constants(job: Job) -> None:
    """Say how many pixels have no usable gain though no bit tells so, and thresholds in the wrong order.

    Neither stops a reduction: such a pixel is NaN, with the bit VALUE_IS_NAN, or goes from high to low gain
    at once. ``shotsieve constants show`` says it constant by constant.
    """
    tables, detector = job.tables, job.source.detector
    gains = gain_planes(tables.table.shape[1])
    stage = detector.fixed_stage(job.mode.gain_mode)
    ordered = detector.encoding == "threshold" and stage < 0
    stages = slice(None) if stage < 0 or detector.stages == 1 else slice(stage, stage + 1)
    unusable = disordered = 0
    for row, mask in enumerate(tables.mask):
        table = tables.planes(row)
        good = (mask[stages] & np.uint32(tables.bad_bits)) == 0
        unusable += int(np.count_nonzero(np.isnan(table[gains][stages]) & good))
        if ordered:
            low, high = table[THRESHOLDS]
            disordered += int(np.count_nonzero(high < low))
    total = tables.mask[:, stages].size
    if unusable:
        job.notes.append(
            f"constants: {unusable:,} of {total:,} gains or offsets are zero, not finite or of the wrong "
            "sign, "
            "and no bit of the mask says so: these pixels are NaN and flagged VALUE_IS_NAN"
        )
    if disordered:
        job.notes.append(
            f"constants: of {disordered:,} pixels the threshold to low gain is below the one to medium gain: "
            "they go from high to low gain at once (low_medium_gap = true keeps them from low gain)"
        )
