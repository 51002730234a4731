"""What a run of scripts/gpu-check found: each acceptance line and each kernel, as JSON and as text.

    python scripts/gpu_summary.py LOGS SUMMARY

reads the records, test reports and lists in the folder LOGS, and writes SUMMARY.json and SUMMARY.txt. What
has not run is named too: a line is met only where there is a figure.
"""

from __future__ import annotations

import json
import operator
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# What is asked for: words, benchmark, variant, the figure (dots for what lies inside), comparison, target.
LINES = (
    ("peaks, setting A, hits: AGIPD-1M shots/s", "peakfinder8", "A, lazy, hits", "shots_per_s", ">=", 1e5),
    ("peaks, setting A, blanks: shots/s", "peakfinder8", "A, lazy, blanks", "shots_per_s", ">=", 1e5),
    ("peaks, dense: shots/s", "peakfinder8", "B, lazy, hits", "shots_per_s", ">=", 3e4),
    ("profiles: share of copy bandwidth", "azint", "no splitting", "floor_fraction", ">=", 0.5),
    ("counts only: AGIPD-1M shots/s", "calibrate_lit", "lit", "shots_per_s", ">=", 1e5),
    ("chain from pinned memory: share of the bus", "device_chain", "chain", "floor_fraction", ">=", 0.85),
    ("chain from pinned memory: shots/s", "device_chain", "chain", "shots_per_s", ">", 1e4),
    ("chain: work beside copies", "device_chain", "chain", "details.overlap.work_beside_copies", ">", 0.5),
    ("one train, submit to table: ms (99 %)", "device_chain", "chain", "details.latency_ms.p99", "<", 100),
    ("from files: share of reading alone", "device_chain", "from files", "read_fraction", ">=", 0.95),
    ("constants of 352 cells: s to load", "device_chain", "full constants", "details.loading_s", "<=", 60),
    ("352 frames of 1e6 pixels: ms", "kernels", "pair_sums, products", "details.ms", "<", 1),
    ("352 frames of 1e6 pixels, events: ms", "kernels", "pair_sums, events", "details.ms", "<", 1),
)
COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}

# Kernel: the files of its tests, the sanitizer's name of them, and its benchmark and how a variant begins.
KERNELS: dict[str, tuple[tuple[str, ...], str, tuple[str, str]]] = {
    "bin_sums": (("native.test_bins", "azint", "roi"), "test_bins", ("azint", "no splitting")),
    "calibrate_count": (("native.test_calibrate", "native.test_candidates"), "", ("calibrate_lit", "lit")),
    "calibrate_count with pixels": (("native.test_calibrate",), "", ("kernels", "calibrate_count, pixels")),
    "calibrate_count with shifts": (("native.test_shifts",), "test_shifts", ("", "")),
    "calibrate_count, corrected": (
        ("native.test_corrected",), "test_corrected", ("kernels", "calibrate_count, corrected"),
    ),
    "common_mode": (("native.test_common_mode",), "test_common_mode", ("kernels", "common_mode")),
    "cell_common_mode": (("native.test_common_mode",), "test_common_mode", ("kernels", "cell_common_mode")),
    "baseline": (("native.test_baseline",), "test_baseline", ("", "")),
    "with packed constants": (("native.test_packed",), "test_packed", ("", "")),
    "bank_values, bank_median": (("native.test_bank_mode",), "test_bank_mode", ("kernels", "bank_mode")),
    "linearise": (("native.test_linearise",), "test_linearise", ("kernels", "linearise")),
    "keep_list, gather_rows": (("native.test_compact",), "", ("kernels", "keep_list")),
    "photon_numbers, photon_list": (("photon_list.test_kernel",), "test_kernel", ("kernels", "photon_list")),
    "find_peaks": (("peaks",), "", ("peakfinder8", "A, lazy, hits")),
    "dark_sums": (("native.test_darks",), "test_darks", ("kernels", "dark_sums")),
    "score_sums": (("scores.test_kernels",), "test_kernels", ("kernels", "score_sums")),
    "pair_sums": (("correlation.test_sums",), "test_sums", ("kernels", "pair_sums, products")),
    "pair_sums of values": (("correlation.test_sums",), "test_sums", ("kernels", "pair_sums, values")),
    "event_pairs, event_lags": (("correlation.test_listed",), "test_listed", ("", "")),
    "lag_sums": (("correlation.test_sums",), "test_sums", ("kernels", "lag_sums")),
    "frame_stats": (("native.test_stats",), "", ("kernels", "frame_stats, 1 group")),
    "frame_stats, 64 groups": (("native.test_stats",), "", ("kernels", "frame_stats, 64 groups")),
}  # fmt: skip


def records_in(folder: Path) -> list[dict[str, Any]]:
    """Return all records of a folder."""
    return [record for file in sorted(folder.glob("*.json")) for record in json.loads(file.read_text())]


def find(records: Iterable[dict[str, Any]], name: str, variant: str) -> dict[str, Any] | None:
    """Return the latest record of a benchmark whose variant is, or else begins with, some words."""
    mine = [record for record in records if record["name"] == name]
    told = [(record["details"].get("variant", ""), record) for record in mine]
    same = [record for is_, record in told if is_ == variant]
    like = [record for is_, record in told if is_.startswith(variant)]
    return (same or like or [None])[-1]


def figure(record: dict[str, Any] | None, path: str) -> float | None:
    """Return a figure of a record, None where there is none."""
    found: Any = record
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def tests_in(files: Iterable[Path]) -> list[tuple[str, str]]:
    """Return (where, outcome) of every test of JUnit reports; outcomes are passed, failed and skipped."""
    found = []
    for file in files:
        for case in ET.parse(file).getroot().iter("testcase"):
            kinds = {child.tag for child in case}
            outcome = (
                "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            )
            found.append((case.get("classname", ""), outcome))
    return found


def count(tests: Iterable[tuple[str, str]], places: tuple[str, ...] = ()) -> dict[str, int]:
    """Count outcomes of the tests in some files or folders; of all without."""
    prefixes = tuple(f"tests.{place}" for place in places)
    outcomes = [how for where, how in tests if not places or where.startswith(prefixes)]
    return {how: outcomes.count(how) for how in ("passed", "failed", "skipped")}


def sanitizers(logs: Path) -> dict[str, dict[str, str]]:
    """Return what each tool said of each file of tests."""
    said = {"0": "clean", "124": "not finished", "137": "not finished"}
    found: dict[str, dict[str, str]] = {}
    path = logs / "sanitizer.list"
    for line in path.read_text().splitlines() if path.exists() else ():
        tool, name, status = line.split()
        text = logs / f"sanitizer-{tool}-{name}.txt"
        errors = re.search(r"ERROR SUMMARY: ([1-9]\d*) error", text.read_text() if text.exists() else "")
        found.setdefault(name, {})[tool] = f"{errors[1]} errors" if errors else said.get(status, "failed")
    return found


def summarise(logs: Path) -> dict[str, Any]:
    """Return all that is known of a run, JSON types only."""
    records, tests = records_in(logs / "records"), tests_in(sorted(logs.glob("*.xml")))
    checked, lines, kernels = sanitizers(logs), [], []
    for words, name, variant, path, how, target in LINES:
        value = figure(find(records, name, variant), path)
        met = None if value is None else bool(COMPARE[how](value, target))
        lines.append({"line": words, "figure": value, "target": f"{how} {target:g}", "met": met})
    for name, (places, file, (benchmark, variant)) in KERNELS.items():
        record, outcomes = find(records, benchmark, variant), count(tests, places)
        kernels.append(
            {
                "kernel": name,
                "ran": outcomes["passed"] > 0 or record is not None,
                "equal": outcomes["passed"] > 0 and outcomes["failed"] == 0,
                "tests": outcomes,
                "frames_per_s": figure(record, "shots_per_s"),
                "ms": figure(record, "details.ms"),
                "of_the_floor": figure(record, "floor_fraction"),
                "sanitizer": checked.get(file, {}),
            }
        )
    steps = [line.split() for line in _lines(logs / "steps.txt")]
    machines = sorted({(record["machine"], record["commit"]) for record in records})
    return {
        "machines": [{"machine": machine, "commit": commit} for machine, commit in machines],
        "steps": [{"step": name, "status": int(s), "seconds": int(took)} for name, s, took in steps],
        "tests": count(tests),
        "lines": lines,
        "kernels": kernels,
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def text(found: dict[str, Any]) -> str:
    """Return a summary for people."""
    lines = [f"{one['machine']}, commit {one['commit']}" for one in found["machines"]]
    for one in found["steps"]:
        ended = {0: "", 124: ", out of time"}.get(one["status"], f", status {one['status']}")
        lines.append(f"  {one['step']:<14}{one['seconds']:>5} s{ended}")
    lines.append("tests: " + ", ".join(f"{number} {how}" for how, number in found["tests"].items()))
    lines += ["", f"{'acceptance':<48}{'figure':>12}  {'target':<10}"]
    for one in found["lines"]:
        verdict = {True: "met", False: "MISSED", None: "not run"}[one["met"]]
        lines.append(f"{one['line']:<48}{_number(one['figure']):>12}  {one['target']:<10}{verdict}")
    lines += ["", f"{'kernel':<30}{'equal':<9}{'frames/s':>12}{'ms':>9}{'floor':>7}  sanitizer"]
    for one in found["kernels"]:
        equal = "yes" if one["equal"] else "not run" if not one["tests"]["failed"] else "NO"
        told = ", ".join(f"{tool} {what}" for tool, what in sorted(one["sanitizer"].items())) or "-"
        numbers = [_number(one[key]) for key in ("frames_per_s", "ms", "of_the_floor")]
        lines.append(f"{one['kernel']:<30}{equal:<9}{numbers[0]:>12}{numbers[1]:>9}{numbers[2]:>7}  {told}")
    return "\n".join(lines) + "\n"


def main(logs: str, target: str) -> None:
    """Write both forms."""
    found = summarise(Path(logs))
    Path(f"{target}.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    Path(f"{target}.txt").write_text(text(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
