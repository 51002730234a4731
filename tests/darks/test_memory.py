"""The memory that constants of dark runs take is what was planned."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
from shotsieve.constants import Constants
from shotsieve.darks import DarkOptions, make_dark_constants
from shotsieve.darks.collect import Gate
from shotsieve.darks.gains import Gains
from shotsieve.darks.memory import OVERHEAD, Need
from shotsieve.darks.runs import open_dark_runs

CELLS, MODULES, TRAINS = 24, (1, 2, 3), 2


def gains_for(detector):
    arrays = {"relative_gain": {m: np.ones((3, CELLS, *detector.shape), "f4") for m in MODULES}}
    return Constants.from_arrays(detector, arrays, modules=MODULES, cell_ids=np.arange(CELLS))


@pytest.mark.parametrize("name", ["AGIPD1M", "DSSC1M", "LPD1M", "EPIX100"])
@pytest.mark.parametrize(
    ("at_once", "gated", "more"), [(1, False, False), (3, False, False), (2, True, True)]
)
def test_no_more_than_planned(dark_run, tmp_path, name, at_once, gated, more):
    stages = range(1 if name in ("DSSC1M", "EPIX100") else 3)
    runs = [dark_run(name, g, TRAINS, tuple(range(CELLS)), MODULES) for g in stages]
    detector = runs[0].detector
    gain_from = gains_for(detector) if more and len(runs) > 1 else None
    gains = None if gain_from is None else Gains.open(gain_from, detector)
    gate = Gate(frames=2) if gated else None
    opened = open_dark_runs(runs)
    for stage, run in enumerate(opened):
        run.stage = stage
    block = 1 << 16
    need = Need(opened, len(MODULES), CELLS, gate, gains, block, name == "EPIX100")
    most = need.bytes(at_once)
    assert need.at_a_time(most) == at_once
    options = DarkOptions(min_frames=1, gate=gate, gain_from=gain_from, memory=(most + 1) / 1e9)
    told: list[str] = []
    make_dark_constants(runs, tmp_path / "warm.h5", options, backend="cpu", block_bytes=block)
    tracemalloc.start()
    try:
        make_dark_constants(
            runs, tmp_path / "c.h5", options, backend="cpu", block_bytes=block, told=told.append
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert told[0].endswith(f"{at_once} of 3 modules at a time")
    # Lists of frames and what Python holds beside arrays are small, and part of what is always allowed for.
    assert 0.75 * (most - OVERHEAD) < peak < most - OVERHEAD + (1 << 20)


def test_less_than_one_module(dark_run):
    run = dataclasses.replace(open_dark_runs([dark_run("DSSC1M")])[0], stage=0)
    need = Need([run], 2, 2)
    assert need.at_a_time(need.bytes(2)) == 2
    assert need.at_a_time(need.bytes(2) - 1) == 1
