"""`packed_constants`: counting lit pixels with constants of 16 bits against those of 32, in turns in one run.

The case of `calibrate_lit`: 64 memory cells of one AGIPD module, constants larger than the last-level
cache; 8 trains, whose frames share a reading of the constants of a cell, and 1, where none does. Time is that
of the processor: one thread, and others may use the machine.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import pytest
import records
from lit_case import PHOTON_KEV, OnDevice, make_case
from shotsieve import backend as backends
from shotsieve import detectors
from shotsieve.constants.packed import HIGH_GAIN_PHOTON, PackingLimits, pack

ROUNDS = 21
MOST = 1.0  # of the time with exact constants


@pytest.mark.parametrize("trains", [8, 1])
def test_packed_against_exact(trains: int, record: Callable, target: Callable, quick: bool) -> None:
    backend = dataclasses.replace(backends.get("cpu"), threads=1)
    exact = make_case(cells=3 if quick else 64, trains=trains)
    detector = detectors.load("AGIPD1M")
    limits = PackingLimits.of(detector, "adaptive", False, "keV", PHOTON_KEV)
    made = pack(exact.table, detector, 0, np.arange(exact.cells), limits)
    cases = {"exact": exact, "packed": dataclasses.replace(exact, table=made.table)}
    on_device = {name: OnDevice(case, backend) for name, case in cases.items()}
    params = exact.params(photons=False)
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(2 if quick else ROUNDS):
        for name, device in on_device.items():
            start = time.process_time_ns()
            device.run(params)
            seconds[name].append((time.process_time_ns() - start) / 1e9)
    check_counts(*(on_device[name].result()[:, 0] for name in cases))
    ours, theirs = (min(seconds[name]) for name in ("packed", "exact"))
    made_record = records.make(
        "packed_constants",
        backend="cpu",
        detector="AGIPD1M",
        shots_per_s=exact.frames / exact.module_count / ours,
        gb_per_s=exact.raw.nbytes / ours / 1e9,
        read_fraction=None,
        floor_fraction=None,
        peer=f"exact constants, {trains} frames a reading",
        ratio_to_peer=theirs / ours,
        threads=1,
        notes="time of the processor, one module; ratio above 1: packed is faster",
        details={
            "trains": trains,
            "cells": exact.cells,
            "constants_bytes": {name: case.table.nbytes for name, case in cases.items()},
            "high_gain_error_photon": made.high_gain_error / PHOTON_KEV,
            "rounds": len(seconds["exact"]),
            "seconds": {name: min(times) for name, times in seconds.items()},
            "seconds_rounds": seconds,
        },
    )
    record(made_record)
    assert made.high_gain_error / PHOTON_KEV <= HIGH_GAIN_PHOTON
    if not quick:
        target(ours <= MOST * theirs, f"packed constants: {ours / theirs:.3f} x exact, wanted {MOST}")


def check_counts(exact: np.ndarray, packed: np.ndarray) -> None:
    """Unmasked pixels are the same; others differ by the few pixels that lie at a threshold."""
    np.testing.assert_array_equal(packed[:, 1], exact[:, 1])
    assert np.abs(packed[:, 0] - exact[:, 0]).max() <= 5 + 0.01 * exact[:, 0].max()
    # Within 0.1 keV for each pixel on average.
    assert (np.abs(packed[:, 2] - exact[:, 2]) / 128 <= 0.1 * exact[:, 1]).all()
