"""The pass of a block that counts lit pixels by the noise of each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..calibrate import COUNTS, CalibrateParams, queue_calibration
from ..constants.steps import Steps
from ..errors import BadInput
from ..folded_cache import noise_of
from ..measure.lit_noise import noise_params

if TYPE_CHECKING:
    from ..backend import Backend
    from ..constants import Constants
    from ..recipe import Recipe
    from .blocks import Slot
    from .job import Job

OF_THE_NOISE = slice(0, 2)
"""Counts that follow from the noise: lit and unmasked pixels; a pixel without noise is neither."""


@dataclass(frozen=True)
class LitByNoise:
    """What a job knows of it.

    Attributes
    ----------
    table : ndarray of float32
        From `shotsieve.measure.lit_noise.noise_table`.
    params : CalibrateParams
    """

    table: np.ndarray
    params: CalibrateParams


def by_pixel(recipe: Recipe) -> bool:
    """Whether pixels are lit by their own noise."""
    lit = recipe.measure.lit
    if lit is None or lit.noise != "pixel":
        return False
    if lit.threshold.unit != "sigma":
        raise BadInput(
            f'[measure.lit] noise = "pixel" goes with a threshold in sigma, such as "5 sigma"; it is '
            f"{lit.threshold}."
        )
    return True


def make_lit_by_noise(job: Job, constants: Constants | None) -> LitByNoise | None:
    """Return what a job needs to count pixels by their own noise; None where it does not."""
    if not by_pixel(job.recipe):
        return None
    if constants is None:
        raise BadInput(
            '[measure.lit] noise = "pixel" needs the noise of the constants; frames that are corrected '
            "already have none: take a threshold in photons or keV"
        )
    if job.params.value_limit < Steps.value_limit:
        raise BadInput(
            f'[measure.lit] noise = "pixel" counts in sigma, and [calibrate] value_limit = '
            f"{job.params.value_limit:g} is in {job.unit}: leave one of them out"
        )
    cache = job.recipe.constants_cache()
    table = noise_of(constants, job.tables, job.source.modules, cache)
    return LitByNoise(table, noise_params(job.params, job.recipe.measure.lit.threshold.value))


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
        merged = counts.copy()
        own = slot.noise_counts[: n * modules].reshape(n, modules, COUNTS)
        merged[..., OF_THE_NOISE] = own[..., OF_THE_NOISE]
        return merged
