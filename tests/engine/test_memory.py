"""Memory is bounded by the slots, constants and sums, however long the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from shotsieve.engine.passes import SLOTS
from shotsieve.measure.frame_stats import accumulator_bytes
from shotsieve.simulate.geometry import write_geometry

CASE = Path(__file__).with_name("memory_case.py")
PIXELS = 65536
CELLS, FRAME = 4, 2 * 2 * PIXELS
COPIES = {"cpu": 1, "emu": 2}  # host and device buffer
FOLDED, MASKS = 32, 12  # bytes per pixel and cell: what the kernel reads, and what kept frames need
PEAKS = {"threshold": "4.3 photon", "min_snr": 5.0, "max_pix_count": 30}
AZINT = {"npt": 60, "polarisation": 0.99, "error_model": "poisson"}

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux")


@pytest.fixture
def name(host_name):
    return host_name


def check_memory(name, block, trains, *, cells=CELLS, measure=None, geometry=None, constants=0, groups=0):
    """Reduce; beside idle, at most 1.5 times the slots, constants and accumulators may be needed."""
    case = {"name": name, "trains": trains, "cells": cells, "measure": measure or {}, "geometry": geometry}
    answer = subprocess.run(
        [sys.executable, CASE, json.dumps(case | {"options": {"block_bytes": block}})],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert answer.returncode == 0, answer.stderr
    idle, peak = json.loads(answer.stdout)
    constants = constants or cells * PIXELS * FOLDED
    most = 1.5 * SLOTS * block * COPIES[name] + constants + accumulator_bytes(groups, PIXELS)
    assert peak - idle < most, f"{(peak - idle) / 1e6:.0f} MB more than idle; at most {most / 1e6:.0f}"


def test_memory_is_that_of_the_slots(name):
    """A run ten times the size of the slots."""
    block = {"cpu": 64_000_000, "emu": 16_000_000}[name]
    trains = 10 * SLOTS * block * COPIES[name] // (FRAME * CELLS)
    check_memory(name, block, trains, measure={"average": {"by": "cell"}}, groups=CELLS)


def test_memory_is_that_of_the_accumulators(name):
    """Averages of every train, which take more than twice what the slots do: nowhere are they copied."""
    block, trains = {"cpu": (32_000_000, 150), "emu": (16_000_000, 100)}[name]
    assert accumulator_bytes(trains, PIXELS) > 2 * SLOTS * block * COPIES[name]
    check_memory(name, block, trains, measure={"average": {"by": "train"}}, groups=trains)


def test_memory_is_that_of_the_constants(name):
    """One module with many cells: folding them needs little beside."""
    block, cells = 33_600_000, 64
    trains = (10 if name == "cpu" else 1.7) * SLOTS * block // (FRAME * cells)  # the emulator takes its time
    constants = cells * PIXELS * (FOLDED * COPIES[name] + MASKS)
    assert constants > 1.5 * SLOTS * block
    check_memory(name, block, int(trains), cells=cells, constants=constants)


def test_memory_of_peaks_and_profiles(name, tmp_path):
    """What looks at pixels needs a few buffers, and the maps of all pixels; the list of peaks is small."""
    block = {"cpu": 64_000_000, "emu": 20_000_000}[name]
    trains = (10 if name == "cpu" else 1.05) * SLOTS * block // (FRAME * CELLS)  # the emulator takes its time
    geometry = write_geometry(tmp_path / "agipd.geom", 1.6, 9.3)
    check_memory(name, block, int(trains), measure={"peaks": PEAKS, "azint": AZINT}, geometry=str(geometry))
