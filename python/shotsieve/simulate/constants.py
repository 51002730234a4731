"""The simulated detector's constants: in memory, and as the facility's store would have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from .. import detectors
from ..constants.container import Constants
from ..constants.facility_writer import write_facility
from .badpixels import NO_DARK_DATA
from .chip_constants import chip_arrays, facility_chip_arrays
from .chips import ChipModel, ChipModule
from .detector import DetectorModel, ModuleModel
from .geometry import SHAPE
from .kinds import BIAS_VOLTAGE, detector_of
from .parameters import SpiParameters

SLOPE_PLANES = 10  # slope, intercept and deviation of high gain, then of medium gain, then what is not used


def _cells(p: SpiParameters) -> list[int]:
    """Return the cells of the constants' axis: a tail of cells without constants makes it shorter."""
    cells = list(range(p.cells_with_constants))
    while len(cells) > 1 and cells[-1] in p.constants_without_cells:
        cells.pop()
    return cells


def conditions(p: SpiParameters) -> dict[str, object]:
    """Return the operating mode the constants are for.

    Parameters
    ----------
    p : SpiParameters

    Returns
    -------
    dict
        As `Constants.conditions`; `cells` is what the detector was set to, however many the constants hold.

    Examples
    --------
    >>> conditions(SpiParameters())["cells"]
    8
    """
    found = {
        "gain_mode": p.gain_mode if detector_of(p).stages > 1 else "fixed_high",
        "cells": p.memory_cells,
        "rate_mhz": p.rate_mhz,
        "integration_time": float(p.integration_time),
        "bias_voltage": BIAS_VOLTAGE,
    }
    return found | ({"parallel_gain": 1} if p.parallel_gain else {})


def facility_arrays(p: SpiParameters, module: ModuleModel | ChipModule) -> dict[str, np.ndarray]:
    """Return one module's constants by the facility's names.

    Parameters
    ----------
    p : SpiParameters
    module : ModuleModel or ChipModule

    Returns
    -------
    dict of str to numpy.ndarray
        Axes (fs, ss, cell, plane), or (fs, ss, cell) for SlopesFF, BadPixelsPC and BadPixelsFF; float32 and
        uint32. Cells of `constants_without_cells` inside the axis are NaN with the bit NO_DARK_DATA. For LPD
        and DSSC see `facility_chip_arrays`.

    Examples
    --------
    >>> p = SpiParameters(n_cells=2)
    >>> facility_arrays(p, DetectorModel(1, 2).module(0))["Offset"].shape
    (128, 512, 2, 3)
    """
    cells = _cells(p)
    if isinstance(module, ChipModule):
        return facility_chip_arrays(module, cells, p.constants_without_cells)
    planes = {"Offset": 3, "Noise": 3, "ThresholdsDark": 5, "SlopesPC": SLOPE_PLANES, "SlopesFF": 1}
    n, pixels = len(cells), SHAPE[0] * SHAPE[1]
    out = {k: np.zeros((v, n, pixels), np.float32) for k, v in planes.items()}
    masks = {"BadPixelsDark": 3, "BadPixelsPC": 1, "BadPixelsFF": 1}
    out |= {k: np.zeros((v, n, pixels), np.uint32) for k, v in masks.items()}
    for i, cell in enumerate(cells):
        for gain in range(3):
            out["Offset"][gain, i] = module.offset(gain, cell)
            out["Noise"][gain, i] = module.noise(gain, cell)
            out["BadPixelsDark"][gain, i] = module.bad.dark_bits(cell, gain)
        out["ThresholdsDark"][:, i] = module.thresholds(cell)
        out["SlopesPC"][[0, 1, 3, 4], i] = module.slopes_pc(cell)
        out["SlopesFF"][0, i] = module.slopes_ff(cell)
        out["BadPixelsPC"][0, i] = module.bad.pc_bits()
        out["BadPixelsFF"][0, i] = module.bad.ff_bits()
        if cell in p.constants_without_cells:
            for name in planes:
                out[name][:, i] = np.nan
            for name in masks:
                out[name][:, i] |= np.uint32(NO_DARK_DATA)
    without_planes = ("SlopesFF", "BadPixelsPC", "BadPixelsFF")
    arrays = {k: a.reshape(len(a), n, *SHAPE) for k, a in out.items()}
    return {k: (a[0] if k in without_planes else a).T for k, a in arrays.items()}


def write_constants(folder: Path, p: SpiParameters, model: DetectorModel | ChipModel) -> list[Path]:
    """Write the constants of every simulated module in the facility's layout, with `modules.toml`.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    p : SpiParameters
        `constants_dims` and `constants_dtype` say how.
    model : DetectorModel

    Returns
    -------
    list of Path

    Examples
    --------
    >>> write_constants(Path("constants"), SpiParameters(), DetectorModel(1, 8))  # doctest: +SKIP
    """
    detector = detectors.load(p.detector)
    pdus = {f"{detector.family.upper()}_SIM_M{m:03d}": m for m in p.modules}

    def pairs() -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        for pdu, m in pdus.items():
            yield pdu, facility_arrays(p, model.module(m))

    return write_facility(
        folder, detector, pairs(), pdus, conditions(p), dims=p.constants_dims, dtype=p.constants_dtype
    )


def constants_in_memory(
    p: SpiParameters, model: DetectorModel | ChipModel, modules: Iterable[int] | None = None
) -> Constants:
    """Return the constants without writing them.

    Parameters
    ----------
    p : SpiParameters
        Cells of `constants_without_cells` are left out of the cell axis.
    model : DetectorModel or ChipModel
    modules : iterable of int, optional
        By default all simulated modules.

    Returns
    -------
    Constants
        The values a reader of `write_constants` gets; of LPD and DSSC also ADU per keV, which the facility's
        store does not have.

    Examples
    --------
    >>> p = SpiParameters(n_cells=2, modules=(3,))
    >>> constants_in_memory(p, DetectorModel(1, 2)).cell_ids
    array([0, 1], dtype=int32)
    """
    detector = detectors.load(p.detector)
    cells = [c for c in range(p.cells_with_constants) if c not in p.constants_without_cells]
    names = ("offset", "noise", "thresholds", "relative_gain", "mg_baseline", "adu_per_kev", "bad_pixels")
    arrays: dict[str, dict[int, np.ndarray]] = {n: {} for n in names}
    for m in p.modules if modules is None else modules:
        one = model.module(m)
        if isinstance(one, ChipModule):
            for n, array in chip_arrays(one, cells).items():
                arrays.setdefault(n, {})[m] = array
            continue
        parts: dict[str, list] = {n: [] for n in names}
        for cell in cells:
            high, base_high, medium, base_medium = one.slopes_pc(cell).astype(np.float64)
            ratio = high / medium
            parts["offset"].append([one.offset(g, cell) for g in range(3)])
            parts["noise"].append([one.noise(g, cell) for g in range(3)])
            parts["thresholds"].append(one.thresholds(cell)[:2])
            parts["relative_gain"].append([np.ones_like(ratio), ratio, detector.medium_low_ratio * ratio])
            parts["mg_baseline"].append([base_high - base_medium * ratio])
            parts["adu_per_kev"].append([one.slopes_ff(cell)])
            parts["bad_pixels"].append([one.bad.bits(cell, g) for g in range(3)])
        for n, by_cell in parts.items():
            dtype = np.uint32 if n == "bad_pixels" else np.float32
            stacked = np.asarray(by_cell, np.float64 if n != "bad_pixels" else dtype).astype(dtype)
            arrays[n][m] = np.ascontiguousarray(stacked.swapaxes(0, 1)).reshape(-1, len(cells), *SHAPE)
    return Constants.from_arrays(
        detector,
        {n: by_module for n, by_module in arrays.items() if by_module},
        cell_ids=np.array(cells, np.int32),
        conditions=conditions(p),
        provenance={"simulation": {"seed": p.seed}},
    )
