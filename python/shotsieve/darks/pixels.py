"""Offset, noise, thresholds and bad pixels of one module, from the sums of its dark frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..constants.bad_pixels import BadPixels
from ..detectors import Detector
from ..measure.darks import DarkSums
from .rules import Rules, StageData, bits_of_stage, separation_bits, stuck_bits


@dataclass
class ModuleConstants:
    """Constants of one module; arrays of shape (gains, cells, pixels).

    Attributes
    ----------
    offset, noise : ndarray of float32
        ADU; NaN where there is no sample, or for the noise fewer than two.
    bad_pixels : ndarray of uint32
    thresholds, levels, level_noise : ndarray of float32 or None
        Of a digital level: mid-points between stages, mean and standard deviation of each stage.
    """

    offset: np.ndarray
    noise: np.ndarray
    bad_pixels: np.ndarray
    thresholds: np.ndarray | None = None
    levels: np.ndarray | None = None
    level_noise: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what there is, by the names of the container."""
        names = ("offset", "noise", "thresholds", "levels", "level_noise", "bad_pixels")
        return {name: array for name in names if (array := getattr(self, name)) is not None}


def stage_of(sums: DarkSums, modules: int, cells: int) -> list[StageData]:
    """Return what the sums say of each module, in one stage."""
    values, levels = sums.values(), sums.levels() if sums.words.has_levels else None
    wrong = sums.fetch("wrong")
    outside = sums.fetch("outside") if sums.gated else None
    found = []
    for module in range(modules):
        at = slice(module * cells, (module + 1) * cells)
        found.append(
            StageData(
                values.mean[at],
                values.std[at],
                values.count[at],
                wrong[at],
                None if outside is None else outside[at],
                None if levels is None else levels.mean[at],
                None if levels is None else levels.std[at],
            )
        )
    return found


def of_sensors(data: StageData, sensors: np.ndarray) -> StageData:
    """Return the data of a stage without those of pixels that are of no sensor, bool (pixels,)."""
    if sensors.all():
        return data
    nothing = {"count": 0, "wrong": 0, "outside": 0}  # and whatever was measured there
    parts = {name: array for name, array in vars(data).items() if array is not None}
    return StageData(
        **{
            name: np.where(sensors, array, array.dtype.type(nothing.get(name, np.nan)))
            for name, array in parts.items()
        }
    )


def finish_module(
    stages: list[StageData | None], detector: Detector, rules: Rules, cells: int, fixed: bool = False
) -> ModuleConstants:
    """Return the constants of a module.

    Parameters
    ----------
    stages : list of StageData or None
        By stage; None where there was no dark run.
    detector : Detector
    rules : Rules
    cells : int
    fixed : bool
        Whether the runs are of fixed gain modes: the digital level then says nothing of the stage.

    Returns
    -------
    ModuleConstants
    """
    shape = (detector.stages, cells, detector.pixels)
    group = asics(detector) if rules.scope == "asic" else np.zeros(detector.pixels, np.int64)
    offset, noise = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    bad = np.zeros(shape, np.uint32)
    nothing = StageData(offset[0], noise[0], *(np.zeros(shape[1:], np.uint32) for _ in range(2)))
    has_codes = detector.encoding in ("code", "word")
    for g, one in enumerate(stages):
        bad[g] = bits_of_stage(one or nothing, g, rules, group, has_codes)
        if one is not None:
            offset[g], noise[g] = one.offset, one.noise
    if has_codes and any(one is not None for one in stages):
        bad |= stuck_bits(stages, rules)
    made = ModuleConstants(offset, noise, bad)
    if not fixed and all(one is not None and one.level is not None for one in stages):
        made.levels = np.stack([one.level for one in stages])
        made.level_noise = np.stack([one.level_noise for one in stages])
        middle = (made.levels[:-1].astype(np.float64) + made.levels[1:]) / 2
        made.thresholds = middle.astype(np.float32)
        made.bad_pixels |= separation_bits(stages, rules)
    made.bad_pixels[..., ~detector.sensor_pixels()] = np.uint32(BadPixels.NON_SENSITIVE)
    return made


def asics(detector: Detector) -> np.ndarray:
    """Return the number of the ASIC of every pixel, int64 (pixels,).

    Examples
    --------
    >>> from shotsieve import detectors
    >>> int(asics(detectors.load("AGIPD1M")).max())
    15
    """
    rows, columns = detector.asic
    ss, fs = np.divmod(np.arange(detector.pixels), detector.shape[1])
    across = -(-detector.shape[1] // columns)
    return ss // rows * across + fs // columns
