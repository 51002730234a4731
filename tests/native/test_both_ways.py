"""What a level of processors does in two ways, of which a run takes the better: both give the same."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Flags of the processor by which the better way of v4 is taken.
BETTER = {"find_lit": "avx512_vbmi2", "gram_tile": "avx512_vnni"}


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("level", ["v2", "v3", "v4"])
def test_both_ways_are_those_of_a_loop(level, tmp_path):
    base = pytest.importorskip("shotsieve._cpu_v2", reason="needs x86-64")
    if base.cpu_level() < int(level[1:]):
        pytest.skip(f"this processor is x86-64-v{base.cpu_level()}")
    program = tmp_path / "both_ways"
    source = ROOT / "tests" / "native" / "programs" / "both_ways.cpp"
    options = [
        "-std=c++17",
        "-O2",
        f"-march=x86-64-{level}",
        "-fsanitize=address,undefined",
        "-I",
        ROOT / "cpp",
    ]
    subprocess.run(["g++", *options, source, "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    plain, better, wide, wider = map(int, done.stdout.split())
    assert (plain, wide) == (1800, 11)
    flags = Path("/proc/cpuinfo").read_text().split()
    has = {name: level == "v4" and flag in flags for name, flag in BETTER.items()}
    assert (better, wider) == (1800 * has["find_lit"], 11 * has["gram_tile"])
