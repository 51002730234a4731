"""What is wrong with the constants of a run, once they are folded: said before a frame is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..constants.examine import told_crossed
from ..constants.fold import gain_planes

if TYPE_CHECKING:
    from ..constants.steps import Steps
    from .job import Job


def note_odd_constants(job: Job, steps: Steps) -> None:
    """Say how many pixels have no usable gain though no bit tells so, and thresholds in the wrong order.

    Neither stops a reduction: such a pixel is NaN, with the bit VALUE_IS_NAN, or never goes to low gain.
    ``shotsieve constants show`` says it constant by constant.
    """
    tables, detector = job.tables, job.source.detector
    gains = gain_planes(tables.table.shape[1])
    stage = detector.fixed_stage(job.mode.gain_mode)
    stages = slice(None) if stage < 0 or detector.stages == 1 else slice(stage, stage + 1)
    unusable = 0
    for row, mask in enumerate(tables.mask):
        table = tables.planes(row)
        good = (mask[stages] & np.uint32(tables.bad_bits)) == 0
        unusable += int(np.count_nonzero(np.isnan(table[gains][stages]) & good))
    total = tables.mask[:, stages].size
    if unusable:
        job.notes.append(
            f"constants: {unusable:,} of {total:,} gains or offsets are zero, not finite or of the wrong "
            "sign, "
            "and no bit of the mask says so: these pixels are NaN and flagged VALUE_IS_NAN"
        )
    job.notes += told_crossed(tables.crossed, steps.for_detector(detector))
