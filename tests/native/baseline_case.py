"""Helpers: frames with a baseline, and what any backend, or the reference, finds in them, on host arrays."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from kernels import Case, download, upload
from mode_case import ADU
from shotsieve.backend import Backend
from shotsieve.baseline import queue_baseline, wavelets
from shotsieve.device import HostDevice
from shotsieve.reference.baseline import baseline
from shotsieve.reference.common_mode import cell_common_mode, common_mode

FUNCTIONS = SimpleNamespace(baseline=baseline, common_mode=common_mode, cell_common_mode=cell_common_mode)
REFERENCE = Backend("reference", FUNCTIONS, HostDevice(), "NumPy", 1)
NOISE = 8.0  # ADU
LOWEST = -5000 * ADU
KINDS = {
    "adaptive": {"encoding": 0},
    "forced": {"encoding": 0, "planes": 10},
    "fixed_high": {"encoding": 0, "fixed_stage": 0},
    "code": {"encoding": 1},
}


def baselines(backend, case, noise=NOISE, lowest=LOWEST, tiles=3, switches=None, taps=None) -> np.ndarray:
    """Return the shifts of all tiles, int32 (F, tiles); 77 where nothing was written."""
    stream, raw = backend.device.stream(), case.flat_raw()
    frames, groups = case.lists()
    taps = wavelets(np.broadcast_to(noise, len(case.table))) if taps is None else taps
    shift = upload(backend, np.full((len(raw), tiles), 77, "i4"), stream)
    inputs = [upload(backend, array, stream) for array in (raw, frames, groups, case.table, *taps)]
    how = {"encoding": 0, "fixed_stage": -1} | case.params
    queue_baseline(backend, *inputs, shift, **how, lowest=lowest, stream=stream)
    return download(backend, shift, stream)


def flat_case(values, rows=1, **how) -> Case:
    """Frames of one module from pixels after an offset of 5000 ADU; whole numbers of ADU."""
    values = np.atleast_2d(values)
    table = np.tile(np.array([7000, 9000, 5000, 0, 0, 1, 1, 1], "f4")[:, None], (rows, 1, values.shape[1]))
    table = np.concatenate([table, np.full((rows, how.get("planes", 8) - 8, values.shape[1]), 100, "f4")], 1)
    raw = np.zeros((len(values), 1, 2, values.shape[1]), "u2")
    raw[:, 0, 0] = np.clip(values + 5000, 0, 65535)
    switches = {name: value for name, value in how.items() if name in ("encoding", "fixed_stage")}
    shape = (len(values), 1)
    return Case(raw, np.zeros(shape, "i4"), np.ones(shape, bool), table, switches)


def noisy(rng, peak, lit=0.0, n=4096):
    """Pixels around a peak, a share of them with photons of 70 ADU."""
    photons = 70 * rng.poisson(1.0, n) * (rng.random(n) < lit)
    return np.rint(peak + rng.normal(0, NOISE, n) + photons)
