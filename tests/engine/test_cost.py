"""What a reduction costs: memory is bounded by the slots, and reading by the shots, however long the run."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import shotsieve
from shotsieve import backend as backends
from shotsieve.constants import Constants
from shotsieve.device import HostDevice
from shotsieve.engine.passes import SLOTS
from shotsieve.measure.frame_stats import accumulator_bytes
from shotsieve.simulate import SpiParameters, simulate_spi

CELLS, FRAME = 4, 2 * 2 * 65536
BLOCK = {"cpu": 64_000_000, "emu": 16_000_000}
COPIES = {"cpu": 1, "emu": 2}  # host and device buffer
CONSTANTS = CELLS * 65536 * 32

MEMORY = """
    import json, sys, tempfile
    import numpy as np
    import shotsieve, shotsieve.engine.pixels
    from shotsieve import backend, detectors
    from shotsieve.simulate import SpiParameters
    from shotsieve.simulate.constants import constants_in_memory
    from shotsieve.simulate.memory import build, spi_source
    from shotsieve.sources.memory import MemorySource

    name, block, trains, cells, by = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
    # As it is beside the blocks of 256 MB that are the default.
    shotsieve.engine.pixels.PASS_BYTES = block // 4
    p = SpiParameters(n_trains=1, n_cells=cells, modules=(3,), seed=1)
    constants = constants_in_memory(p, build(p)[1])
    simulated, _ = spi_source(p)
    words = np.empty((2, 512, 128), "u2")
    words[0], words[1] = 5200, 6000

    def frames(index, out):
        out[:] = words

    train = np.repeat(np.arange(10, 10 + trains), cells)
    pulse = np.tile(np.arange(cells), trains)
    detector = detectors.load("AGIPD1M")
    source = MemorySource(detector, frames, train, pulse, pulse, modules=(3,), mode=simulated.mode)
    recipe = {
        "calibrate": {},
        "measure": {"lit": {"threshold": "0.7 photon"}, "average": {"by": by}},
        "keep": {"rule": "cell_id < 1"},
        "write": {"content": "corrected"},
    }

    def status(key):
        lines = open("/proc/self/status").read().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))

    backend.get(name)
    with tempfile.TemporaryDirectory() as out:
        open("/proc/self/clear_refs", "w").write("5")  # forget the highest so far
        idle = status("VmRSS")
        result = shotsieve.reduce(
            source, recipe, out + "/r", constants=constants, backend=name, block_bytes=block
        )
        assert result.accounts.kept == trains
        print(json.dumps([idle, status("VmHWM")]))
"""


def check_memory(name: str, block: int, trains: int, by: str, groups: int) -> None:
    """Reduce; beside idle, at most 1.5 times the slots, constants and accumulators may be needed."""
    if name not in [status.name for status in backends.describe() if status.available]:
        pytest.skip(f"{name} is not there")
    arguments = [name, *(str(number) for number in (block, trains, CELLS)), by]
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEMORY), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert answer.returncode == 0, answer.stderr
    idle, peak = json.loads(answer.stdout)
    most = 1.5 * SLOTS * block * COPIES[name] + CONSTANTS + accumulator_bytes(groups, 65536)
    assert peak - idle < most, f"{(peak - idle) / 1e6:.0f} MB more than idle; at most {most / 1e6:.0f}"


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux")
@pytest.mark.parametrize("name", ["cpu", "emu"])
def test_memory_is_that_of_the_slots(name):
    """A run ten times the size of the slots."""
    trains = 10 * SLOTS * BLOCK[name] * COPIES[name] // (FRAME * CELLS)
    check_memory(name, BLOCK[name], trains, "cell", CELLS)


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux")
@pytest.mark.parametrize("name", ["cpu", "emu"])
def test_memory_is_that_of_the_accumulators(name):
    """Averages of every train, which take more than twice what the slots do: nowhere are they copied."""
    block, trains = {"cpu": (32_000_000, 150), "emu": (16_000_000, 100)}[name]
    assert accumulator_bytes(trains, 65536) > 2 * SLOTS * block * COPIES[name]
    check_memory(name, block, trains, "train", trains)


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
