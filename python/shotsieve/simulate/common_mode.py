"""The common mode of simulated frames: what every pixel of an ASIC has more, frame by frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .noise import generator

if TYPE_CHECKING:
    from .parameters import SpiParameters
    from .schedule import Schedule

ASICS = 16


def common_mode_of(p: SpiParameters, train: int, frame: int, module: int) -> np.ndarray:
    """Return the common mode of the ASICs of one frame in ADU, counted along the rows, float32 (16,).

    Evenly distributed around 0, with the rms that the parameters say.

    Examples
    --------
    >>> from shotsieve.simulate import SpiParameters
    >>> common_mode_of(SpiParameters(), 0, 0, 3).any().item()
    False
    """
    reach = np.sqrt(3.0) * p.common_mode_adu
    rng = generator(p.seed, 5, train, frame, module)
    return (reach * (2 * rng.random(ASICS) - 1)).astype(np.float32)


def common_mode_of_run(p: SpiParameters, schedule: Schedule) -> np.ndarray:
    """Return the common mode of all frames in ADU, float32 (shots, modules, 16)."""
    found = np.empty((len(schedule), len(p.modules), ASICS), np.float32)
    for shot, (train, frame) in enumerate(zip(schedule.train, schedule.frame, strict=True)):
        for row, module in enumerate(p.modules):
            found[shot, row] = common_mode_of(p, int(train), int(frame), module)
    return found
