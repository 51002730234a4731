"""The constants of simulated LPD and DSSC modules, by the facility's names and by our own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .badpixels import NO_DARK_DATA
from .chips import ChipModule


def chip_arrays(module: ChipModule, cells: Sequence[int]) -> dict[str, np.ndarray]:
    """Return one module's constants as our container has them.

    Parameters
    ----------
    module : ChipModule
    cells : sequence of int
        Memory cells of the cell axis.

    Returns
    -------
    dict of str to numpy.ndarray
        (gain, cell, ss, fs), float32 and uint32.

    Examples
    --------
    >>> from .chips import DSSC
    >>> chip_arrays(ChipModule(DSSC, 1, 0, 2, 0.0), [0, 1])["offset"].shape
    (1, 2, 128, 512)
    """
    chip = module.chip
    gains, n = range(chip.stages), len(cells)
    planes = {
        "offset": [[module.offset(g, c) for c in cells] for g in gains],
        "noise": [[module.noise(g, c) for c in cells] for g in gains],
        "bad_pixels": [[module.bad.bits(c, g) for c in cells] for g in gains],
        "adu_per_kev": [[module.adu_per_kev()] * n],
    }
    if chip.stages > 1:
        planes |= {
            "relative_gain": [[module.relative_gain(g)] * n for g in gains],
            "ff_map": [[module.ff_map()] * n],
            "gain_amp_map": [[module.gain_amp_map(g)] * n for g in gains],
        }
    dtype = {"bad_pixels": np.uint32}
    return {
        name: np.asarray(values, dtype.get(name, np.float32)).reshape(len(values), n, *chip.shape)
        for name, values in planes.items()
    }


def facility_chip_arrays(
    module: ChipModule, cells: Sequence[int], without: Sequence[int]
) -> dict[str, np.ndarray]:
    """Return one module's constants by the facility's names.

    Parameters
    ----------
    module : ChipModule
    cells : sequence of int
        Memory cells of the cell axis.
    without : sequence of int
        Those that the constants say nothing about.

    Returns
    -------
    dict of str to numpy.ndarray
        Axes (fs, ss, cell, gain); no gain axis where a detector has one stage, and for BadPixelsFF.

    Examples
    --------
    >>> from .chips import DSSC
    >>> facility_chip_arrays(ChipModule(DSSC, 1, 0, 2, 0.0), [0, 1], [])["Offset"].shape
    (512, 128, 2)
    """
    own = chip_arrays(module, cells)
    gone = [i for i, cell in enumerate(cells) if cell in without]
    if module.chip.stages == 1:
        out = {"Offset": own["offset"][0], "Noise": own["noise"][0]}
        for array in out.values():
            array[gone] = np.nan
        return {name: array.T for name, array in out.items()}
    dark = [[module.bad.dark_bits(c, g) for c in cells] for g in range(module.chip.stages)]
    out = {
        "Offset": own["offset"],
        "Noise": own["noise"],
        "RelativeGain": own["relative_gain"],
        "FFMap": np.repeat(own["ff_map"], module.chip.stages, axis=0),
        "GainAmpMap": own["gain_amp_map"],
        "BadPixelsDark": np.asarray(dark, np.uint32).reshape(own["bad_pixels"].shape),
    }
    ff = np.tile(module.bad.ff_bits().reshape(module.chip.shape), (len(cells), 1, 1))
    for name in ("Offset", "Noise"):
        out[name][:, gone] = np.nan
    out["BadPixelsDark"][:, gone] |= np.uint32(NO_DARK_DATA)
    return {name: array.T for name, array in out.items()} | {"BadPixelsFF": ff.T}
