"""Arrows that must never exist, and files that stay readable."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "shotsieve"
CXX = [*ROOT.glob("cpp/**/*.?pp"), *ROOT.glob("cuda/*")]
SOFT_LIMIT, HARD_LIMIT = 400, 700


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


def resolved(path: Path, include: str) -> Path | None:
    """The file of ours that an include names, or None for a system header."""
    candidate = (path.parent / include).resolve()
    return candidate if candidate.is_file() else None


def imports(path: Path) -> set[str]:
    """Absolute names of everything a module of the package imports, at any depth of its code."""
    module = path.relative_to(PACKAGE.parent).with_suffix("").parts
    package = module[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{name}.{alias.name}" for alias in node.names} | {name}
    return found


def of_package(names: set[str], *parts: str) -> set[str]:
    return {
        n for n in names for part in parts if n == f"shotsieve.{part}" or n.startswith(f"shotsieve.{part}.")
    }


def outside(names: set[str], *allowed: str) -> set[str]:
    standard = sys.stdlib_module_names | {"__future__"}
    return {
        n for n in names
        if n.split(".")[0] not in standard and n.split(".")[0] not in allowed
    }  # fmt: skip


@pytest.mark.parametrize("path", sorted(ROOT.glob("cpp/math/*")), ids=lambda p: p.name)
def test_math_includes_only_itself_and_three_standard_headers(path):
    for include in includes(path):
        own = resolved(path, include)
        assert include in {"cstdint", "cmath", "limits"} or (own and own.parent.name == "math"), include


def test_cpu_sides_know_nothing_of_cuda_and_cuda_only_math_and_core():
    seen = 0
    for path in CXX:
        folder = path.relative_to(ROOT).parts[:2]
        for include in includes(path):
            own = resolved(path, include)
            where = own.relative_to(ROOT).parts[:2] if own else (include,)
            seen += 1
            if folder[0] == "cpp" and folder[1] in ("core", "cpu", "io", "math"):
                assert where[0] != "cuda", f"{path}: {include}"
                assert "cuda" not in include, f"{path}: {include}"
            if folder[0] == "cuda" and own:
                assert where[0] == "cuda" or where in (("cpp", "math"), ("cpp", "core")), f"{path}: {include}"
    assert seen > 20


def test_bindings_compute_nothing():
    """No loop over pixels and no arithmetic header in cpp/bind."""
    for path in ROOT.glob("cpp/bind/*.?pp"):
        text = path.read_text()
        assert not re.search(r"\bn_pixels\s*;\s*\+\+", text), path
        assert "math::measure_pixel" not in text, path


def test_decide_sees_no_native_module_and_no_pixels():
    assert not outside(imports(PACKAGE / "decide.py"), "numpy", "shotsieve")
    assert of_package(imports(PACKAGE / "decide.py"), "errors") >= {"shotsieve.errors"}
    allowed = {"shotsieve.errors"}
    ours = {n for n in imports(PACKAGE / "decide.py") if n.startswith("shotsieve.")}
    assert all(n == "shotsieve" or n.startswith("shotsieve.errors") for n in ours - allowed)


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("reference/*.py")), ids=lambda p: p.name)
def test_reference_imports_numpy_alone(path):
    names = imports(path)
    assert not outside(names, "numpy", "shotsieve")
    ours = {n for n in names if n.startswith("shotsieve.")}
    assert all(n.startswith("shotsieve.reference") for n in ours), ours


def test_stages_know_blocks_not_files():
    for path in [PACKAGE / "calibrate.py", PACKAGE / "compact.py", *PACKAGE.glob("measure/*.py")]:
        forbidden = {n for n in imports(path) if n.split(".")[0] in ("h5py", "extra_data")}
        assert not forbidden, f"{path}: {forbidden}"
        assert not of_package(imports(path), "sources.exdf", "sources.run", "write", "engine"), path


def test_no_detector_is_named_in_code():
    """A difference between detectors is a field of a TOML file; simulation makes one detector by nature."""
    pattern = re.compile(
        r"""(==|!=|\bin\b)\s*\(?\s*["'](AGIPD|JUNGFRAU|LPD|DSSC|EPIX|GOTTHARD)""", re.IGNORECASE
    )
    for path in PACKAGE.rglob("*.py"):
        if "simulate" in path.parts:
            continue
        assert not pattern.search(path.read_text()), path


def test_the_package_imports_neither_tests_nor_benchmarks():
    for path in PACKAGE.rglob("*.py"):
        assert not {n for n in imports(path) if n.split(".")[0] in ("tests", "benchmarks", "pytest")}, path


# What lies further down may not be imported from further up; the engine sees all.
LAYERS = [
    (
        "errors",
        "units",
        "cpus",
        "telling",
        "memory",
        "backend",
        "cache_folder",
        "cell_order",
        "device",
        "emulated",
        "pages",
        "robust",
        "shown",
        "stage_settings",
        "steady_file",
        "toml_text",
        "filters",
        "unpack",
    ),
    ("detectors", "geometry", "sparse_masks"),
    ("sources", "constants", "reference"),
    (
        "linearise",
        "nine_bits",
        "calibrate",
        "frame_masks",
        "bank_mode",
        "baseline",
        "calibrated_frames",
        "common_mode",
        "compact",
        "folded_cache",
        "folded_tables",
        "lit_by_noise",
        "measure",
        "odd_constants",
        "photon_list",
        "shift_finder",
        "shifts",
    ),
    (
        "table",
        "table_columns",
        "table_io",
        "side_file",
        "peak_list",
        "peak_list_build",
        "peak_list_io",
        "decide",
        "derive",
        "judged",
        "keep",
        "select",
        "shot_list",
    ),
    ("accounts", "calibrator", "frame_queue", "write"),
    (
        "check",
        "check_frames",
        "check_lists",
        "check_told",
        "photon_list_files",
        "photon_list_io",
        "xcca_file",
        "xpcs_file",
        "xpcs_fit",
    ),
    ("engine", "zero_std"),
    ("darks",),
    ("plot", "plot_constants", "plot_shots", "plot_slots", "plot_xpcs"),
    ("bench", "compare", "report"),
    ("plot_compare", "surveys", "view"),
    (
        "cli",
        "cli_bench",
        "cli_check",
        "cli_compare",
        "cli_constants",
        "cli_dark",
        "cli_decide",
        "cli_ledger",
        "cli_mask",
        "cli_pulses",
        "cli_reduce",
        "cli_report",
        "cli_simulate",
        "cli_survey",
        "cli_table",
        "cli_view",
        "exdf_method",
        "__main__",
    ),
]
# The recipe is read by everyone who is told what to do and knows only what may be said.
FREE = {"simulate", "__init__", "_version"}
FREE |= {
    "recipe",
    "recipe_build",
    "recipe_check",
    "recipe_correlation",
    "recipe_detectors",
    "recipe_keys",
    "recipe_rules",
    "recipe_scores",
    "recipe_sections",
}


def test_nothing_imports_upward_along_the_flow():
    level = {name: number for number, names in enumerate(LAYERS) for name in names}
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if part in FREE:
            continue
        assert part in level, f"{part} belongs to no layer: add it to LAYERS"
        for name in imports(path):
            other = name.split(".")[1] if name.startswith("shotsieve.") and name.count(".") else None
            if other in level and other != part:
                assert level[other] <= level[part], f"{path} imports {name}"


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split() if (ROOT / name).is_file()]


def test_files_stay_readable():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked("*.py", "*.pyi", "*.?pp", "*.cu", "*.cuh")
        if (lines := len(path.read_text().splitlines())) > SOFT_LIMIT
    }
    assert all(lines <= HARD_LIMIT for lines in long.values()), long
    assert len(long) <= 3, f"more and more files pass {SOFT_LIMIT} lines: {long}"


def test_no_machine_paths():
    pattern = re.compile(r"/(home|root|work|Users)/\w")
    for path in tracked("*.py", "*.md", "*.toml", "*.?pp", "*.cu*", "Makefile", "scripts/*", ".ci/*"):
        if path == Path(__file__).resolve():
            continue
        assert not pattern.search(path.read_text()), path
