"""Frames of kept shots on their way from a block to a file: what is taken from a slot, and what can wait."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..calibrate import STAGE_BITS
from ..frame_masks import flag_masks, make_masks
from ..sources.corrected import planes_in
from .pixels import most_kept

if TYPE_CHECKING:
    from .blocks import Slot
    from .job import Job
    from .passes import FramesOf
    from .pixels import PixelPass


class KeptFrameMaker:
    """Makes the frames of kept shots as they are written.

    Parameters
    ----------
    job : Job
        With something to write.
    second : PixelPass or None
        Calibrates to pixels; None where frames are written as they came.
    block_shots : int
        Shots of the largest block.
    """

    def __init__(self, job: Job, second: PixelPass | None, block_shots: int) -> None:
        self._job, self._second, self._most = job, second, most_kept(job, block_shots)
        self._written = None  # places of the modules that are: all of a CXI file
        if not job.recipe.write.cxi:
            self._written = [job.source.modules.index(number) for number in job.modules]

    def at_once(self, shots: np.ndarray) -> int:
        """Return how many of some kept shots are handed over at once; of whole trains, whole ones."""
        if self._job.source.detector.keep_unit == "shot":
            return self._most
        trains = self._job.table.train_id[shots]
        of_train = int(np.count_nonzero(trains == trains[0]))
        # Blocks from outside may hold trains that are longer; nobody there asks for whole ones.
        return self._most - self._most % of_train or self._most

    def of(self, slot: Slot, at: np.ndarray) -> FramesOf:
        """Return what makes the frames of shots at some positions of a slot, without the slot.

        It is to be called before this is called for the second time after.
        """
        job, raw = self._job, None
        detector = job.source.detector
        if job.copies_frames or detector.is_corrected:
            with slot.times.host("write"):
                raw = slot.raw[at].reshape(len(at), slot.modules, -1, *detector.frame_shape)
        if job.copies_frames:
            return partial(self._as_they_came, raw)
        kept = self._second.keep(slot, at, slot.present[at], slot.rows[at])
        return partial(self._calibrated, kept, np.where(slot.present[at], slot.rows[at], -1), raw)

    def _as_they_came(self, raw: np.ndarray) -> dict[str, np.ndarray]:
        """Return raw words, or frames that were calibrated before in the form of the output."""
        detector, form = self._job.source.detector, self._job.form
        if not detector.is_corrected:
            return {"raw": raw}
        planes = planes_in(raw, detector.dimensions)
        with np.errstate(invalid="ignore", over="ignore"):  # frames that are absent are anything
            data = planes["data"].astype(form.values, copy=False)
        return form.apply({**planes, "data": data}, self._written)

    def _calibrated(
        self, kept: dict[str, np.ndarray], rows: np.ndarray, raw: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        """Return what `PixelPass.keep` gave in the form of the output; with what came, of frames that were
        calibrated before.
        """
        detector, tables, stage = self._job.source.detector, self._job.tables, kept["stage"]
        if raw is None:
            gain, mask = stage & np.uint8(STAGE_BITS), make_masks(stage, rows, tables, kept["mask"])
        else:
            planes = planes_in(raw, detector.dimensions)
            gain, mask = planes["gain"], planes["mask"].reshape(stage.shape)
            flag_masks(stage, mask, tables.bad_bits)
        shape = (*stage.shape[:2], *detector.frame_shape)
        frames = {"data": kept["pixels"], "gain": gain, "mask": mask}
        frames = {name: values.reshape(shape) for name, values in frames.items()}
        return self._job.form.apply(frames, self._written)
