"""The compiler turned every hot CPU loop into vector code; otherwise the backend is ten times slower."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [ROOT / "cpp" / "cpu" / name for name in ("calibrate.cpp", "corrected.cpp")]
HEADERS = [ROOT / "cpp" / "cpu" / name for name in ("calibrate_chosen.hpp", "packed.hpp")]
# Every loop but the scans is a template; each instantiation is vectorised on its own, or is not.
UNIFORM = 4 * 2 * 2 * 3  # Uniform x Round x Photons x Output
CHOSEN = CORRECTED = 2 * 2 * 3  # Round x Photons x Output
STAGES = 2 * 2 + 2  # Encoding, two of them x Forced
LOOPS = {
    "threshold_scan": 1, "level_scan": 1, "code_scan": 1, "parallel_scan": 1, "unpack_numbers": 1,
    "unpack_constants": 1, "uniform_loop": UNIFORM, "stage_loop": STAGES, "constant_loop": STAGES,
    "chosen_loop": CHOSEN, "corrected_loop": CORRECTED,
}  # fmt: skip
LEVELS = {"v2": 16, "v3": 32, "v4": 64}  # bytes of the vectors that a level is built for


def exact_flags() -> list[str]:
    """The flags that the build itself uses."""
    text = (ROOT / "CMakeLists.txt").read_text()
    return re.search(r"set\(SHOTSIEVE_EXACT_FLAGS ([^)]*)\)", text)[1].split()


def hot_loops() -> dict[tuple[str, int], str]:
    found = {
        (source.name, n): re.search(r"for \(.*// hot: (\w+)", line)
        for source in (*SOURCES, *HEADERS)
        for n, line in enumerate(source.read_text().splitlines(), 1)
    }
    return {place: match[1] for place, match in found.items() if match}


def vectorised(
    level: str, flags: list[str], work: Path, sources: list[Path] = SOURCES
) -> Counter[tuple[str, int]]:
    """Return how many instantiations of each hot loop were vectorised, by (loop, bytes of the vectors)."""
    wide = ["-mprefer-vector-width=512"] if level == "v4" else []
    options = ["-std=c++17", "-O3", f"-march=x86-64-{level}", *wide, *flags, "-fopt-info-vec"]
    report = ""
    for source in sources:
        command = ["g++", *options, "-c", str(source), "-o", str(work / "out.o")]
        report += subprocess.run(command, capture_output=True, text=True, check=True).stderr
    lines = re.findall(
        r"(\w+\.[ch]pp):(\d+):\d+: optimized: +loop vectorized using (\d+) byte vectors", report
    )
    loops = hot_loops()
    found = [((name, int(line)), int(size)) for name, line, size in lines]
    return Counter((loops[place], size) for place, size in found if place in loops)


@pytest.fixture(autouse=True)
def compiler():
    if shutil.which("g++") is None:
        pytest.skip("no g++ to ask")
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("levels are those of x86-64")


@pytest.mark.parametrize("level", LEVELS)
def test_every_instantiation_of_a_hot_loop_is_vectorised(level, tmp_path):
    size, wanted = LEVELS[level], LOOPS
    assert sorted(hot_loops().values()) == sorted(wanted)
    found = vectorised(level, exact_flags(), tmp_path)
    few = {name: found[name, size] for name, number in wanted.items() if found[name, size] < number}
    assert not few, f"x86-64-{level}: too few loops with vectors of {size} byte: {few}, expected {wanted}"
    # The loop that nearly every pixel passes: all of them, and none counted twice.
    assert found["uniform_loop", size] == UNIFORM == 48


def test_prefetches_are_in_the_code(tmp_path):
    """A function that only prefetches has no effect in g++'s eyes: its calls would be left out."""
    command = ["g++", "-std=c++17", "-O1", "-march=x86-64-v3", *exact_flags(), "-S", str(SOURCES[0])]
    subprocess.run([*command, "-o", str(tmp_path / "out.s")], check=True)
    assert len(re.findall(r"^\s+prefetcht0\b", (tmp_path / "out.s").read_text(), re.MULTILINE)) >= 3


def test_the_report_would_show_a_loop_that_is_not(tmp_path):
    """Without the flag that forbids traps the calibrating loops stay scalar: the check can fail."""
    flags = [flag for flag in exact_flags() if flag != "-fno-trapping-math"]
    [source] = {name for (name, _), loop in hot_loops().items() if loop == "uniform_loop"}
    [path] = [path for path in SOURCES if path.name == source]
    assert vectorised("v3", flags, tmp_path, [path])["uniform_loop", 32] < UNIFORM
