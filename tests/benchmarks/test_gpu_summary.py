"""The summary of a run on a GPU: lines are met where figures say so, and never where nothing ran."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
import records
from kernel_cases import CASES
from test_device_chain import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "gpu_summary.py"
JUNIT = """<testsuites><testsuite>
<testcase classname="tests.native.test_common_mode" name="a[cuda]"/>
<testcase classname="tests.native.test_darks" name="b[cuda]"><failure message="no"/></testcase>
<testcase classname="tests.scores.test_kernels" name="c[cuda]"><skipped message="no"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture(scope="module")
def summary():
    spec = importlib.util.spec_from_file_location("gpu_summary", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made(name, shots_per_s, floor=None, **details):
    return records.alone(
        name, detector="AGIPD1M", backend="cuda", shots_per_s=shots_per_s, floor_fraction=floor,
        machine="a GPU", commit="abc", details=details,
    )  # fmt: skip


def test_lines_and_kernels(summary, tmp_path):
    for one in (
        made("kernels", 1e6, 0.4, variant="pair_sums, products", ms=0.5),
        made("kernels", 1e5, 0.3, variant="common_mode", ms=2.0),
        made("device_chain", 9000, 0.9, variant="chain", latency_ms={"p50": 40, "p99": 120}),
        made("device_chain", 1, 0.1, variant="chain, hits kept", latency_ms={"p50": 1, "p99": 1}),
    ):
        records.append(one, tmp_path / "records")
    (tmp_path / "equal.xml").write_text(JUNIT)
    (tmp_path / "steps.txt").write_text("build 0 61\nsuite 124 90\n")
    (tmp_path / "sanitizer.list").write_text("memcheck test_common_mode 0\nracecheck test_common_mode 124\n")
    found = summary.summarise(tmp_path)
    met = {one["line"]: one["met"] for one in found["lines"]}
    assert met["352 frames of 1e6 pixels: ms"] is True
    assert met["352 frames of 1e6 pixels, events: ms"] is None
    assert met["chain from pinned memory: share of the bus"] is True
    assert met["chain from pinned memory: shots/s"] is False
    assert met["one train, submit to table: ms (99 %)"] is False
    kernels = {one["kernel"]: one for one in found["kernels"]}
    assert kernels["common_mode"]["equal"]
    assert kernels["common_mode"]["of_the_floor"] == 0.3
    assert kernels["common_mode"]["sanitizer"] == {"memcheck": "clean", "racecheck": "not finished"}
    assert not kernels["dark_sums"]["equal"]
    assert not kernels["score_sums"]["ran"]
    summary.main(str(tmp_path), str(tmp_path / "summary"))
    told = (tmp_path / "summary.txt").read_text()
    assert "suite            90 s, out of time" in told
    assert "MISSED" in told
    assert (tmp_path / "summary.json").stat().st_size > 1000


def test_nothing_ran(summary, tmp_path):
    found = summary.summarise(tmp_path)
    assert all(one["met"] is None for one in found["lines"])
    assert not any(one["ran"] or one["equal"] for one in found["kernels"])
    assert "not run" in summary.text(found)


def test_every_line_has_a_benchmark(summary):
    """Of those in files that import without a GPU; peaks, profiles and counts keep their own words."""
    wanted = {(name, variant) for _, name, variant, *_ in summary.LINES}
    wanted |= {benchmark for _, _, benchmark in summary.KERNELS.values()}
    assert {variant for name, variant in wanted if name == "device_chain"} <= {
        *VARIANTS, "from files", "full constants",
    }  # fmt: skip
    for variant in (variant for name, variant in wanted if name == "kernels"):
        assert any(case.startswith(variant) for case in CASES), variant


def test_every_kernel_has_tests_that_are_there(summary):
    tests = {place for places, *_ in summary.KERNELS.values() for place in places}
    for place in tests:
        path = ROOT / "tests" / place.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), place


def test_the_sanitizer_looks_at_what_the_summary_names(summary):
    check = (SCRIPT.parent / "gpu-check").read_text()
    listed = re.search(r"^sanitized=\(.*?\)$", check, re.M | re.S)[0]
    told = subprocess.run(
        ["bash", "-c", f'{listed}; printf "%s\\n" "${{sanitized[@]}}"'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    files = [ROOT / line for line in told.stdout.split()]
    assert all(file.is_file() for file in files)
    named = {file for _, file, _ in summary.KERNELS.values() if file}
    assert {file.stem for file in files} == named
