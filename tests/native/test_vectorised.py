"""The compiler turned every hot CPU loop into vector code; otherwise the backend is ten times slower."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "cpp" / "cpu" / "calibrate.cpp"
# Vectors of these bytes are what a level is built for. SSE (v2) has no masked loads, which the loop over
# mixed stages needs; it runs on the few pixels that switched gain only.
LEVELS = {"v2": (16, {"mixed_loop"}), "v3": (32, set()), "v4": (64, set())}


def exact_flags() -> list[str]:
    """The flags that the build itself uses."""
    text = (ROOT / "CMakeLists.txt").read_text()
    return re.search(r"set\(SHOTSIEVE_EXACT_FLAGS ([^)]*)\)", text)[1].split()


def hot_loops() -> dict[int, str]:
    lines = SOURCE.read_text().splitlines()
    found = ((n, re.search(r"for \(.*// hot: (\w+)", line)) for n, line in enumerate(lines, 1))
    return {n: match[1] for n, match in found if match}


def vectorised(level: str, flags: list[str], work: Path) -> dict[int, set[int]]:
    """Line number of each vectorised loop, with the sizes of its vectors."""
    wide = ["-mprefer-vector-width=512"] if level == "v4" else []
    target = ["-c", str(SOURCE), "-o", str(work / "out.o")]
    command = ["g++", "-std=c++17", "-O3", f"-march=x86-64-{level}", *wide, *flags, "-fopt-info-vec", *target]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found: dict[int, set[int]] = {}
    for line, size in re.findall(
        r"calibrate\.cpp:(\d+):\d+: optimized: +loop vectorized using (\d+) byte", report
    ):
        found.setdefault(int(line), set()).add(int(size))
    return found


@pytest.fixture(autouse=True)
def compiler():
    if shutil.which("g++") is None:
        pytest.skip("no g++ to ask")
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("levels are those of x86-64")


@pytest.mark.parametrize("level", LEVELS)
def test_every_hot_loop_is_vectorised(level, tmp_path):
    size, excused = LEVELS[level]
    found = vectorised(level, exact_flags(), tmp_path)
    loops = hot_loops()
    assert len(loops) >= 4
    slow = [
        name for line, name in loops.items() if name not in excused and size not in found.get(line, set())
    ]
    assert not slow, f"x86-64-{level}: not vectorised: {slow}"


def test_the_report_would_show_a_loop_that_is_not(tmp_path):
    """Without the flag that forbids traps the calibrating loops stay scalar: the check can fail."""
    flags = [flag for flag in exact_flags() if flag != "-fno-trapping-math"]
    found = vectorised("v3", flags, tmp_path)
    assert any(line not in found for line, name in hot_loops().items() if name == "uniform_loop")
