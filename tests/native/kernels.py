"""Helpers: run the kernels of any backend on host arrays, and make random input for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from shotsieve.backend import Backend
from shotsieve.calibrate import COUNTS, CalibrateParams, list_frames, queue_calibration
from shotsieve.compact import queue_compaction
from shotsieve.shifts import Shifts, Tiles

POISON = {"counts": -7, "pixels": 3.25, "stage": 0xEE, "candidates": 0xDEADBEEF}


@dataclass
class Case:
    """Input of one call: S shots of M modules, with the row of constants of each frame."""

    raw: np.ndarray  # (S, M, planes, n_pixels)
    rows: np.ndarray  # (S, M)
    present: np.ndarray  # (S, M)
    table: np.ndarray  # (R, P, n_pixels)
    params: dict[str, Any] = field(default_factory=dict)
    shifts: dict[str, np.ndarray] = field(default_factory=dict)  # tile, pixel and pixel_row, as in `Shifts`
    tiles: Tiles | None = None

    def lists(self) -> tuple[np.ndarray, np.ndarray]:
        return list_frames(self.present, self.rows)

    def flat_raw(self) -> np.ndarray:
        return self.raw.reshape(-1, *self.raw.shape[2:])


def upload(backend: Backend, array: np.ndarray, stream: Any) -> Any:
    """Copy a host array to a device array of its own (a copy on the CPU too)."""
    array = np.ascontiguousarray(array)
    target = backend.device.empty(array.shape, array.dtype)
    backend.device.to_device(target, array, stream)
    backend.device.wait(backend.device.record(stream))
    return target


def download(backend: Backend, array: Any, stream: Any) -> np.ndarray:
    target = backend.device.empty_pinned(array.shape, array.dtype)
    backend.device.to_host(target, array, stream)
    backend.device.wait(backend.device.record(stream))
    return target


def poisoned(case: Case, pixels: bool = True, room: int | None = None) -> dict[str, np.ndarray]:
    """Return arrays for the results, with bits of candidates where the frames are whole words of them."""
    n_frames, _, n_pixels = case.flat_raw().shape
    n_frames = n_frames if room is None else room
    out = {"counts": np.full((n_frames, COUNTS), POISON["counts"], "i8")}
    if pixels:
        out["pixels"] = np.full((n_frames, n_pixels), POISON["pixels"], "f4")
        out["stage"] = np.full((n_frames, n_pixels), POISON["stage"], "u1")
    if pixels and n_pixels % 32 == 0:
        out["candidates"] = np.full((n_frames, n_pixels // 32), POISON["candidates"], "u4")
    return out


def calibrate(
    backend: Backend,
    case: Case,
    pixels: bool = True,
    places: np.ndarray | None = None,
    room: int | None = None,
) -> dict[str, np.ndarray]:
    """Run `calibrate_count`; results start out poisoned, so that what is not written shows.

    `places` says of every frame of raw where its results go, in arrays with `room` for so many.
    """
    stream = backend.device.stream()
    raw = case.flat_raw()
    frames, groups = case.lists()
    out = poisoned(case, pixels, room)
    on_device = {name: upload(backend, array, stream) for name, array in out.items()}
    inputs = [upload(backend, array, stream) for array in (raw, frames, groups, case.table)]
    shifts = {name: upload(backend, array, stream) for name, array in case.shifts.items()}
    queue_calibration(
        backend,
        *inputs,
        on_device["counts"],
        CalibrateParams(**case.params),
        pixels=on_device.get("pixels"),
        stage=on_device.get("stage"),
        candidates=on_device.get("candidates"),
        places=None if places is None else upload(backend, places[frames].astype("i4"), stream),
        shifts=Shifts(**shifts, tiles=case.tiles) if shifts else None,
        stream=stream,
    )
    return {name: download(backend, array, stream) for name, array in on_device.items()}


def compact(backend: Backend, source: np.ndarray, keep: np.ndarray, capacity: int) -> dict[str, np.ndarray]:
    """Run the compaction; what is not written stays 0xEE."""
    stream = backend.device.stream()
    index = upload(backend, np.full(len(keep), -1, "i4"), stream)
    count = upload(backend, np.full(1, -1, "i4"), stream)
    target = upload(backend, np.full((capacity, source.shape[1]), 0xEE, "u1"), stream)
    rows, flags = upload(backend, source, stream), upload(backend, keep.astype("u1"), stream)
    queue_compaction(backend, rows, flags, index, count, target, stream)
    return {
        "index": download(backend, index, stream),
        "count": download(backend, count, stream),
        "target": download(backend, target, stream),
    }


def random_table(rng: np.random.Generator, rows: int, planes: int, n_pixels: int) -> np.ndarray:
    """Folded constants over a wide range, with NaN, infinities, zeros and thresholds in the wrong order."""
    if planes == 2:  # one gain stage
        return random_table(rng, rows, 8, n_pixels)[:, [2, 5]]
    table = np.empty((rows, planes, n_pixels), "f4")
    table[:, 0] = rng.integers(0, 65536, (rows, n_pixels))
    table[:, 1] = table[:, 0] + rng.integers(-2000, 20000, (rows, n_pixels))
    table[:, 2:5] = rng.normal(6000, 4000, (rows, 3, n_pixels))
    table[:, 5:8] = rng.normal(0, 1, (rows, 3, n_pixels)) * 10.0 ** rng.integers(-4, 3, (rows, 3, n_pixels))
    if planes == 10:
        table[:, 8:10] = rng.integers(0, 65536, (rows, 2, n_pixels))
    odd = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 65535, 1e30, -1e30], "f4")
    where = rng.random(table.shape) < 0.01
    table[where] = rng.choice(odd, where.sum())
    return table


def random_case(
    rng: np.random.Generator,
    shots: int = 7,
    modules: int = 3,
    n_pixels: int = 1000,
    planes: int = 8,
    rows: int = 4,
    quiet: float = 0.5,
    **params: Any,
) -> Case:
    """Random words over all 16 bits; a share `quiet` of the frames never leaves high gain."""
    encoding = params.get("encoding")
    words = {2: 1, 3: 1, 4: 3}.get(encoding, 2)
    raw = rng.integers(0, 65536, (shots, modules, words, n_pixels), "u2")
    raw[..., ::7] = rng.choice(np.array([0, 0x3FFF, 0xFFFF, 1, 2, 3], "u2"), raw[..., ::7].shape)
    calm = rng.random((shots, modules)) < quiet
    if encoding in (2, 4):
        raw[calm, 0] &= 0x0FFF
        raw[..., 1::7] = rng.choice(np.array([0x0123, 0x1123, 0x2123, 0x3123], "u2"), raw[..., 1::7].shape)
    elif encoding != 3:
        raw[calm, 1] = 0
    if encoding == 1:
        raw[:, :, 1] = np.where(calm[..., None], 0, rng.integers(0, 5, (shots, modules, n_pixels)))
    case_rows = rng.integers(-1, rows, (shots, modules)).astype("i4")
    present = rng.random((shots, modules)) < 0.9
    table = random_table(rng, rows, 2 if encoding == 3 else planes, n_pixels)
    if encoding == 4:
        table[:, :2] /= 8  # within and beyond the twelve bits of a signal
    return Case(raw, case_rows, present, table, params)
