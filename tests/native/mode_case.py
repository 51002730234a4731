"""Helpers: run the common mode of any backend, or the reference, on host arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from kernels import Case, download, upload
from shotsieve.backend import Backend
from shotsieve.common_mode import CommonModeParams, Units, queue_cell_common_mode, queue_common_mode
from shotsieve.device import HostDevice
from shotsieve.reference import common_mode as reference
from shotsieve.shifts import Tiles

REFERENCE = Backend("reference", reference, HostDevice(), "NumPy", 1)
TILES = Tiles(64, 64, 128)
ADU = 256


def params(**changes: Any) -> CommonModeParams:
    """The values of the facility's parameter sets."""
    how = {
        "encoding": 0, "fixed_stage": -1, "low": -30 * ADU, "high": 30 * ADU, "fraction": 0.15, "n_itr": 4,
        "cells": False, "tiles": TILES, "row_cells": 32,
    }  # fmt: skip
    return CommonModeParams(**how | changes)


def asics(
    backend: Backend, case: Case, how: CommonModeParams, start: np.ndarray | None = None, **more: Any
) -> np.ndarray:
    """Return the shifts of all tiles, int32 (F, n_tiles); 77 where nothing was written."""
    stream, raw = backend.device.stream(), case.flat_raw()
    frames, groups = case.lists()
    shape = (len(raw), how.tiles.count(raw.shape[-1]))
    shift = upload(backend, np.full(shape, 77, "i4") if start is None else start, stream)
    inputs = [upload(backend, array, stream) for array in (raw, frames, groups, case.table)]
    arrays = {name: upload(backend, array, stream) for name, array in case.shifts.items()}
    queue_common_mode(backend, *inputs, shift, how, **arrays, stream=stream, **more)
    return download(backend, shift, stream)


def cells(
    backend: Backend,
    case: Case,
    units: Units,
    how: CommonModeParams,
    start: np.ndarray | None = None,
    shift: np.ndarray | None = None,
) -> np.ndarray:
    """Return the shifts of all pixels of all units, int32 (U, n_pixels)."""
    stream, raw = backend.device.stream(), case.flat_raw()
    given = np.full((len(units.frames), raw.shape[-1]), 77, "i4") if start is None else start
    found = upload(backend, given, stream)
    inputs = [upload(backend, array, stream) for array in (raw, units.frames, units.rows, case.table)]
    before = None if shift is None else upload(backend, shift, stream)
    queue_cell_common_mode(backend, *inputs, found, how, shift=before, add=start is not None, stream=stream)
    return download(backend, found, stream)
