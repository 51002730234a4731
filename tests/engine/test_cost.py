"""What a reduction costs: memory is bounded by the slots, and reading by the shots, however long the run."""

from __future__ import annotations

import dataclasses
import os
import time

import numpy as np
import pytest
import shotsieve
from shotsieve.constants import Constants
from shotsieve.device import HostDevice
from shotsieve.simulate import SpiParameters, simulate_spi

CELLS, FRAME = 4, 2 * 2 * 65536
BLOCK = {"cpu": 64_000_000, "emu": 16_000_000}
COPIES = {"cpu": 1, "emu": 2}  # host and device buffer
CONSTANTS = CELLS * 65536 * 32


def reading(call):
    """Bytes and system calls that this process reads with meanwhile."""

    def counters():
        with open("/proc/self/io") as file:
            told = dict(line.split(": ") for line in file.read().splitlines())
        return int(told["rchar"]), int(told["syscr"])

    before = counters()
    result = call()
    return result, [after - first for after, first in zip(counters(), before, strict=True)]


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="needs Linux")
def test_cost_is_linear_in_the_shots(tmp_path, monkeypatch):
    """Bytes, calls and CPU time per shot of a run twenty times as long are no more, nor is there a buffer."""
    p = SpiParameters(n_trains=2, n_cells=8, modules=(3,), hit_rate=0.0)
    runs = {
        trains: simulate_spi(tmp_path / str(trains), dataclasses.replace(p, n_trains=trains))
        for trains in (2, 40)
    }
    constants = Constants.open(runs[2].constants)
    recipe = {"calibrate": {}, "measure": {"lit": {"threshold": "0.7 photon"}}}

    def reduce(trains, out):
        return shotsieve.reduce(
            runs[trains].raw, recipe, tmp_path / out, constants=constants, backend="cpu",
            block_bytes=FRAME, slots=2,  # the short run has two blocks
        )  # fmt: skip

    for name in ("empty", "empty_pinned"):
        real = getattr(HostDevice, name)

        def noted(self, shape, dtype, real=real):
            buffers.append((shape, np.dtype(dtype).str))
            return real(self, shape, dtype)

        monkeypatch.setattr(HostDevice, name, noted)

    buffers: list[tuple] = []
    reduce(2, "warm")
    costs = {}
    for trains in runs:
        buffers.clear()
        began = time.process_time()
        result, (size, calls) = reading(lambda trains=trains: reduce(trains, f"out{trains}"))
        seconds, shots = time.process_time() - began, len(result.table)
        costs[trains] = size / shots, calls / shots, seconds / shots, sorted(buffers)
    assert costs[40][0] <= 1.05 * costs[2][0]
    assert costs[40][0] < 1.2 * FRAME
    assert costs[40][1] <= costs[2][1]
    assert costs[40][2] <= 1.25 * costs[2][2]
    assert costs[40][3] == costs[2][3] != []
