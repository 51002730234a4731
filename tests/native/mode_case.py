"""Helpers: cases of common mode, run on any backend, or the reference, on host arrays."""

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
SIGMA = 8.0  # ADU
KINDS = {
    "adaptive": {"encoding": 0},
    "forced": {"encoding": 0, "planes": 10},
    "fixed_high": {"encoding": 0, "fixed_stage": 0},
    "fixed_medium": {"encoding": 0, "fixed_stage": 1},
    "code": {"encoding": 1},
    "code_fixed_high": {"encoding": 1, "fixed_stage": 0},
}


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


def dark_case(
    rng: np.random.Generator, shots: int = 4, rows: int = 1, n_pixels: int = 8192, **how
) -> tuple[Case, np.ndarray]:
    """Dark frames around an offset of 5000 ADU, and the common mode (F, tiles) in ADU that is in them."""
    table = np.empty((rows, how.get("planes", 8), n_pixels), "f4")
    table[:, 0], table[:, 1] = 7000, 9000
    table[:, 2:5] = rng.uniform(4000, 6000, (rows, 3, n_pixels))
    table[:, 5:8] = rng.uniform(0.05, 0.15, (rows, 3, n_pixels))
    table[:, 8:] = 100
    row = rng.integers(0, rows, (shots, 1)).astype("i4")
    mode = rng.uniform(-20, 20, (shots, TILES.count(n_pixels)))
    tile = np.arange(n_pixels) // 128 // 64 * 2 + np.arange(n_pixels) % 128 // 64
    adc = table[row[:, 0], 2] + mode[:, tile] + rng.normal(0, SIGMA, (shots, n_pixels))
    raw = np.zeros((shots, 1, 2, n_pixels), "u2")
    raw[:, 0, 0] = np.rint(adc)
    raw[:, 0, 1] = rng.integers(0, 5000, (shots, n_pixels)) * (how.get("encoding", 0) == 0)
    switches = {name: value for name, value in how.items() if name in ("encoding", "fixed_stage")}
    return Case(raw, row, np.ones((shots, 1), bool), table, switches), mode


def rows_of_cells(rng: np.random.Generator, kind: dict) -> tuple[Case, np.ndarray]:
    """Two rows of 8 cells of one train, with a pattern of pixels that all cells of a row share, in ADU."""
    case, _ = dark_case(rng, shots=16, rows=16, **kind)
    case.rows[:, 0] = np.arange(16)
    pattern = rng.uniform(-15, 15, (2, 8192))
    offset = case.table[:, 2]
    noise = rng.normal(0, SIGMA, offset.shape)
    case.raw[:, 0, 0] = np.rint(offset + np.repeat(pattern, 8, axis=0) + noise)
    return case, pattern
