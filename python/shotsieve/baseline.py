"""Baseline shift: where the noise peak of a module's image stands, which sinks when the module is bright.

The peak is looked for in a histogram of the pixels in high gain, by wavelets as wide as the noise and wider,
first roughly and then finely. It is subtracted from the whole image before anything else. Source of the
steps: what is known of the facility's ``blc-noise``, from recollection; the definition is ours.

Promise: exact. Histograms are counted in integers and the wavelets are integers, so that the same words and
constants give the same bits on every backend, block size and thread count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import BadInput
from .shifts import SHIFT_SCALE

if TYPE_CHECKING:
    from .backend import Backend
    from .constants.container import Constants
    from .constants.steps import Steps
    from .detectors import Detector
    from .folded_tables import Tables

__all__ = ["BaselineParams", "queue_baseline", "wavelets"]

BINS = (210, 200)
"""Bins of the first histogram, -2000 to 100 ADU, and of the second, 200 ADU to both sides of its peak."""
BIN_ADU = (10, 2)
WIDTHS = (1, 3, 5)
"""Widths of the wavelets in units of the noise."""
WAVELET_SCALE = 2.0**20
LEAST_NOISE = 1 / SHIFT_SCALE
"""In ADU; wavelets for less would not fit into 32 bits."""


@dataclass(frozen=True, eq=False)
class BaselineParams:
    """What the baseline of a run is looked for with.

    Attributes
    ----------
    lowest : int
        A peak below it, in 1/256 ADU, is none.
    taps, reach : ndarray of int32, shapes (R, 2, 3, T) and (R, 2, 3)
        Wavelets for the noise of the module and cell of each row of the tables; see `wavelets`.
    """

    lowest: int
    taps: np.ndarray
    reach: np.ndarray
    _on: dict[str, tuple[Any, Any]] = field(default_factory=dict, init=False, repr=False)

    def on(self, backend: Backend) -> tuple[Any, Any]:
        """Return `taps` and `reach` on the backend's device, where they are copied once."""
        if backend.name not in self._on:
            device, host = backend.device, (self.taps, self.reach)
            copies, stream = (device.twin(host[0]), device.twin(host[1])), device.stream()
            for target, source in zip(copies, host, strict=True):
                device.to_device(target, source, stream)
            device.wait(device.record(stream))
            self._on[backend.name] = copies
        return self._on[backend.name]

    @classmethod
    def make(
        cls,
        steps: Steps,
        detector: Detector,
        gain_mode: str,
        constants: Constants,
        tables: Tables,
        modules: tuple[int, ...],
    ) -> BaselineParams | None:
        """Return what the switches of a recipe say, None where no baseline is subtracted.

        Raises
        ------
        BadInput
            If the run has no pixels in high gain, or the constants have no noise.
        """
        steps = steps.for_detector(detector)
        if not steps.blc_noise:
            return None
        stage = detector.fixed_stage(gain_mode)
        if stage > 0:
            raise BadInput(
                f"blc_noise = true looks at pixels in high gain, and the gain mode is {gain_mode}: set "
                "[calibrate] blc_noise = false"
            )
        noise = np.full(len(tables.table), np.nan)
        for module, row_of in zip(modules, tables.row_of, strict=True):
            known = row_of >= 0
            if not known.any() or not constants.has("noise", module):
                continue
            planes = constants.load("noise", module, tables.cell_ids[known])[0].reshape(known.sum(), -1)
            noise[row_of[known]] = np.nanmean(planes.astype("f8"), axis=1)
        if not ((noise >= LEAST_NOISE) & np.isfinite(noise)).all():
            raise BadInput(
                "blc_noise = true needs the noise of every module and cell, of at least 1/256 ADU, and the "
                "constants lack it: give constants with noise, or set [calibrate] blc_noise = false"
            )
        limit = np.inf if steps.blc_noise_threshold is None else steps.blc_noise_threshold
        lowest = int(np.ceil(-min(limit * SHIFT_SCALE, 2.0**30)))
        # Without any constants the table has one row that no frame is of.
        return cls(lowest, *wavelets(noise if len(noise) else np.ones(1)))


def wavelets(noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Ricker wavelets of three widths for both histograms, as whole numbers.

    Parameters
    ----------
    noise : ndarray of float64, shape (R,)
        In ADU.

    Returns
    -------
    taps : ndarray of int32, shape (R, 2, 3, T)
        Half of each wavelet, from its middle outwards; 0 beyond its reach.
    reach : ndarray of int32, shape (R, 2, 3)
        The last tap that counts: five widths, and no more than the bins there are.

    Examples
    --------
    >>> taps, reach = wavelets(np.array([8.0]))
    >>> reach.tolist(), taps.shape
    ([[[4, 12, 20], [20, 60, 100]]], (1, 2, 3, 101))
    """
    width = np.asarray(noise, "f8")[:, None, None] * np.array(WIDTHS) / np.array(BIN_ADU)[:, None]
    reach = np.minimum(np.ceil(5 * width), np.array(BINS)[:, None] - 1).astype("i4")
    bins = np.arange(reach.max() + 1)
    square = (bins / width[..., None]) ** 2
    norm = 2 / (np.sqrt(3 * width[..., None]) * np.pi**0.25)
    taps = np.rint(WAVELET_SCALE * norm * (1 - square) * np.exp(-square / 2))
    return np.where(bins <= reach[..., None], taps, 0).astype("i4"), reach


def queue_baseline(
    backend: Backend,
    raw: Any,
    frames: Any,
    groups: Any,
    table: Any,
    taps: Any,
    reach: Any,
    shift: Any,
    *,
    encoding: int,
    fixed_stage: int,
    lowest: int,
    stream: Any = None,
) -> None:
    """Queue the baselines of listed frames on a stream; returns at once and never waits.

    Promise: exact.

    Parameters
    ----------
    backend : Backend
    raw, frames, groups, table
        As for `shotsieve.calibrate.queue_calibration`, of a detector with three gain stages.
    taps, reach : int32 (R, 2, 3, T) and (R, 2, 3)
        From `wavelets`.
    shift : int32 (F, n_tiles)
        All of a listed frame with constants become its baseline, in 1/256 ADU; 0 where there is no peak.
    encoding, fixed_stage : int
        As in `shotsieve.calibrate.CalibrateParams`.
    lowest : int
        A peak below it is none, in 1/256 ADU.
    stream : object

    Raises
    ------
    ValueError, TypeError
        If an array is not what it has to be; the text names it.

    Examples
    --------
    >>> queue_baseline(backend, raw, frames, groups, table, taps, reach, shift, **how)  # doctest: +SKIP
    """
    how = {"encoding": encoding, "fixed_stage": fixed_stage, "lowest": lowest}
    backend.native.baseline(raw, frames, groups, table, taps, reach, shift, **how, **backend.on(stream))
