"""Check what goes to users: the wheel holds what it must and no more; the sdist builds alone, offline."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ["build", "scikit-build-core>=0.10,<2", "pybind11>=2.13,<4", "cmake>=3.24", "ninja"]
# What is checked is which files there are; optimised code is compiled from the same ones elsewhere.
UNOPTIMISED = ["-C", "cmake.build-type=Debug", "-C", "cmake.define.CMAKE_CXX_FLAGS_DEBUG=-O0"]
NEEDED = [
    "detectors/agipd1m.toml",
    "detectors/jungfrau.toml",
    "darks/presets.toml",
    "view/page.html",
    "_native.pyi",
    "py.typed",
    "_io.",
    "engine/__init__.py",
]
FORBIDDEN = [".cpp", ".hpp", ".cu", ".cuh", "_emu.", "__pycache__", "CMakeLists"]


def run(*command: str, cwd: Path = ROOT) -> None:
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    run(sys.executable, "-m", "pip", "install", "--quiet", *TOOLS)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(work))
        (sdist,) = work.glob("shotsieve-*.tar.gz")
        with tarfile.open(sdist) as archive:
            members = archive.getnames()
            # The filter is missing in early releases of Python 3.11.
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            archive.extractall(work / "source", **safe)
        built = [m for m in members if m.endswith(".so")]
        assert not built, f"the sdist holds compiled files: {built}"
        (source,) = (work / "source").iterdir()
        run(
            sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation",
            *UNOPTIMISED, "-C", "cmake.define.SHOTSIEVE_CUDA=OFF",
            "--wheel-dir", str(work / "wheel"), ".", cwd=source,
        )  # fmt: skip
        (wheel,) = (work / "wheel").glob("*.whl")
        names = zipfile.ZipFile(wheel).namelist()
    for needed in NEEDED:
        assert any(f"shotsieve/{needed}" in name for name in names), f"the wheel lacks {needed}"
    for forbidden in FORBIDDEN:
        found = [name for name in names if forbidden in name]
        assert not found, f"the wheel holds {found}"
    licence = [name for name in names if name.endswith("LICENSE")]
    assert licence, "the wheel lacks the licence"
    print(f"sdist of {len(members)} files builds offline; wheel of {len(names)} files is as it should be")


if __name__ == "__main__":
    main()
