"""The pass of a block that counts lit pixels by the noise of each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..calibrate import COUNTS, queue_calibration
from ..errors import BadInput
from ..lit_by_noise import LitByNoise, check_sigma, merged

if TYPE_CHECKING:
    from ..backend import Backend
    from ..constants import Constants
    from ..recipe import Recipe
    from .blocks import Slot
    from .job import Job

OPTION = '[measure.lit] noise = "pixel"'


def by_pixel(recipe: Recipe) -> bool:
    """Whether pixels are lit by their own noise."""
    lit = recipe.measure.lit
    if lit is None or lit.noise != "pixel":
        return False
    check_sigma(lit.threshold, OPTION)
    return True


def make_lit_by_noise(job: Job, constants: Constants | None) -> LitByNoise | None:
    """Return what a job needs to count pixels by their own noise; None where it does not."""
    if not by_pixel(job.recipe):
        return None
    if constants is None:
        raise BadInput(
            f"{OPTION} needs the noise of the constants; frames that are corrected already have none: take "
            "a threshold in photons or keV"
        )
    return LitByNoise.make(
        constants,
        job.tables,
        job.source.modules,
        job.params,
        job.recipe.measure.lit.threshold.value,
        job.unit,
        OPTION,
        job.recipe.constants_cache(),
    )


class NoiseCounts:
    """Counts lit pixels of blocks by their noise.

    Parameters
    ----------
    backend : Backend
    lit : LitByNoise
    table : array on the device
        That of `lit`.
    """

    def __init__(self, backend: Backend, lit: LitByNoise, table: Any) -> None:
        self._backend, self._params, self._table = backend, lit.params, table

    def prepare(self, slot: Slot) -> None:
        """Give a slot room for the counts."""
        device = self._backend.device
        slot.noise_counts = device.empty_pinned((slot.shots * slot.modules, COUNTS), "i8")
        slot.device_noise_counts = device.twin(slot.noise_counts)

    def queue(self, slot: Slot, words: Any, frames: Any, groups: Any) -> None:
        """Queue the counting of the frames of a slot; `frames` and `groups` as for `queue_calibration`."""
        n = words.shape[0]
        counts = slot.device_noise_counts[:n]
        queue_calibration(
            self._backend,
            words,
            frames,
            groups,
            self._table,
            counts,
            self._params,
            shifts=slot.shifts,
            stream=slot.stream,
        )
        self._backend.device.to_host(slot.noise_counts[:n], counts, slot.stream)

    def into(self, counts: np.ndarray, slot: Slot) -> np.ndarray:
        """Return the counts of a slot's frames, int64 (n, M, 5), with those by the noise in their places."""
        n, modules, _ = counts.shape
        return merged(counts, slot.noise_counts[: n * modules].reshape(n, modules, COUNTS))
