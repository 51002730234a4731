"""What a reduction costs is linear in its shots: bytes, system calls and CPU time; buffers are made once."""

from __future__ import annotations

import collections
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from shotsieve.constants import Constants
from shotsieve.device import HostDevice
from shotsieve.simulate import SpiParameters, simulate_spi

from .cost_case import FRAME, reduce

CASE = Path(__file__).with_name("cost_case.py")
TRAINS = (2, 21, 40)  # as many more each time, and twenty times in all
COUNTERS = ("rchar", "wchar", "syscr", "syscw")
WAITING = {"futex", "sched_yield", "poll", "clock_nanosleep"}  # as often as threads have to


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    p = SpiParameters(n_cells=4, modules=(3,), hit_rate=0.0)
    return [simulate_spi(folder / str(n), dataclasses.replace(p, n_trains=n)) for n in TRAINS]


@pytest.fixture
def buffers(monkeypatch):
    """Return a list that notes shape and dtype of every buffer that is made."""
    made = []
    for name in ("empty", "empty_pinned"):
        real = getattr(HostDevice, name)

        def noted(self, shape, dtype, real=real):
            made.append((shape, np.dtype(dtype).str))
            return real(self, shape, dtype)

        monkeypatch.setattr(HostDevice, name, noted)
    return made


def counters():
    """Return bytes and calls that this process has read and written with."""
    with open("/proc/self/io") as file:
        told = dict(line.split(": ") for line in file.read().splitlines())
    return np.array([int(told[name]) for name in COUNTERS])


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="needs Linux")
@pytest.mark.parametrize("recipe", ["measured", "kept"])
def test_cost_is_linear_in_the_shots(runs, tmp_path, buffers, recipe):
    """A run twenty times as long costs no more per shot, and its second half no more than its first."""
    constants = Constants.open(runs[0].constants)
    reduce(runs[0].raw, constants, tmp_path / "warm", recipe)
    costs, seconds, made, shots = [], [], [], []
    for run, trains in zip(runs, TRAINS, strict=True):
        buffers.clear()
        began, before = time.process_time(), counters()
        result = reduce(run.raw, constants, tmp_path / str(trains), recipe)
        costs.append(counters() - before)
        seconds.append(time.process_time() - began)
        made.append(sorted(buffers))
        shots.append(len(result.table))
        assert result.accounts.kept == shots[-1] == 4 * trains
    assert (costs[2] / shots[2] <= costs[0] / shots[0]).all()
    assert seconds[2] / shots[2] <= 1.25 * seconds[0] / shots[0]
    assert made[0] == made[1] == made[2] != []
    first, second = costs[1] - costs[0], costs[2] - costs[1]
    assert (second <= 1.05 * first + 10).all(), dict(
        zip(COUNTERS, zip(first, second, strict=True), strict=True)
    )
    read, written, *calls = second / (shots[2] - shots[1]) / [FRAME, FRAME, 1, 1]
    if recipe == "measured":
        assert read < 1.1
        assert written < 0.02
    else:  # frames of the same size are written, and read once more for the checksum of their file
        assert read < 2.2
        assert 1 < written < 1.1
    assert max(calls) < 8


def calls_of(trace):
    """Return how often each system call stands between the marks of each run, as strace tells it."""
    found, counts = [], None
    for line in trace.read_text(errors="replace").splitlines():
        if mark := re.search(r'"/(begin|end)[^"]*/"', line):
            counts = collections.Counter() if mark[1] == "begin" else None
            found += [] if counts is None else [counts]
        elif counts is not None and (call := re.match(r"\d+ +(\w+)\(", line)):
            counts[call[1]] += 1
    return found


def test_every_system_call_is_linear_in_the_shots(runs, tmp_path):
    """All that the process asks of the system while it writes frames, memory too; waits aside."""
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs strace that may be used; reads and writes are counted above without it")
    trace = tmp_path / "trace"
    arguments = [runs[0].constants, tmp_path, *(run.raw for run in runs)]
    subprocess.run(
        [strace, "-f", "-s", "32", "-o", trace, sys.executable, CASE, *map(str, arguments)],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    calls = calls_of(trace)
    totals = [sum(counts[call] for call in counts.keys() - WAITING) for counts in calls]
    assert len(totals) == 3
    assert totals[0] > 500
    first, second = totals[1] - totals[0], totals[2] - totals[1]
    assert second <= 1.1 * first, calls[2] - calls[1]
    assert totals[2] / TRAINS[2] <= totals[0] / TRAINS[0]
