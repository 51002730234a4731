"""Compiles the test programs against the emulator, with faults planted in copies of their sources."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
BARRIER = "__syncthreads();"
CLEAN_SEEDS = range(1, 21)
FAULTY_SEEDS = range(1, 5)
FLAGS = ["-std=c++17", "-g", "-ffp-contract=off", "-fno-trapping-math", "-pthread"]
SANITIZER_FLAGS = {
    "none": ["-O0"],  # compiled in half the time of -O1, and the programs are small
    "thread": ["-O1", "-fsanitize=thread", "-DCUEMU_THREADS"],
    "address": ["-O0", "-fsanitize=address"],
}


@dataclass(frozen=True)
class Fault:
    """A change of source text: in `file`, the `nth` occurrence of `old` becomes `new`."""

    file: str
    old: str
    new: str = ""
    nth: int = 0

    def plant(self, text: str) -> str:
        places = [m.start() for m in re.finditer(re.escape(self.old), text)]
        # A fault that is not planted would look like one that was not found.
        assert len(places) > self.nth, (
            f"{self.file}: no occurrence {self.nth} of {self.old!r} to plant a fault in"
        )
        at = places[self.nth]
        return text[:at] + self.new + text[at + len(self.old) :]


MATRIX = "cuda/correlation_matrix.cuh"
# Products of matrices need no barrier, but each number in its place; keys are values of `gone`.
MISTAKES = {
    100 + k: Fault(MATRIX, right, f"(gone == {100 + k} ? {wrong} : {right})")
    for k, (right, wrong) in enumerate(
        [
            ("low.x", "top.y"),  # rows g + 8 of the left matrix
            ("b[j].z", "b[j].x"),  # the second half of a row
            ("8 * (k / 2)", "8 * (k % 2)"),  # rows of the sums
            ("2 * q + k % 2", "q + 4 * (k % 2)"),  # columns of the sums
            ("column >= row + kWarpRows", "column >= row"),
            ("place < piece.stop ? c.plan.order[place] : -1", "c.plan.order[place]"),
            ("t + k < frames", "true"),
        ]
    )
}


@dataclass(frozen=True)
class Variant:
    """A program of `programs/` with some faults planted in it or in the package's files that it includes."""

    program: str
    faults: tuple[Fault, ...] = ()


def optional_barriers(program: str, file: str) -> Variant:
    """Return `program` with a question before each barrier of `file`: is it the one that is `gone`?

    One compilation is enough for all of them then. The program declares `int gone` before the include.
    """
    barriers = (ROOT / file).read_text().count(BARRIER)
    return Variant(
        program, tuple(Fault(file, BARRIER, f"if (gone != {k}) {BARRIER}", k) for k in range(barriers))
    )


class Flattener:
    """One variant as one text, own files in place of their includes, so that many fit in one compilation."""

    def __init__(self, variant: Variant) -> None:
        self.variant = variant
        self.system: set[str] = set()
        self._seen: set[Path] = set()
        self.text = self._file(PROGRAMS / variant.program, variant.program)
        names = {str(path.relative_to(ROOT)) for path in self._seen} | {variant.program}
        for fault in variant.faults:
            assert fault.file in names, f"{variant.program} does not include {fault.file}: no fault planted"

    def _file(self, path: Path, name: str) -> str:
        self._seen.add(path)
        text = path.read_text()
        for fault in self.variant.faults:
            if fault.file == name:
                text = fault.plant(text)
        lines = [f'#line 1 "{name}"']
        for number, line in enumerate(text.splitlines(), 1):
            include = re.match(r'\s*#include\s+([<"])([^>"]+)[>"]', line)
            if include and include[1] == '"' and not include[2].endswith("portable.cuh"):
                inner = next(p for p in (path.parent / include[2], ROOT / include[2]) if p.exists()).resolve()
                if inner not in self._seen:
                    lines.append(self._file(inner, str(inner.relative_to(ROOT))))
                lines.append(f'#line {number + 1} "{name}"')
            elif include:
                self.system.add("cuda/portable.cuh" if include[1] == '"' else include[2])
            elif line.strip() != "#pragma once":
                lines.append(line)
            if include and include[1] == "<":
                lines.append("")
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Program:
    """A compiled variant."""

    binary: Path
    index: int
    variant: Variant

    def run(self, *arguments: str, seed: int = 1, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run with a seed and return what it said; stdout ends in "crash" where an access faulted."""
        done = subprocess.run(
            [self.binary, str(self.index), *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "CUEMU_SEED": str(seed), **environment},
            timeout=120,
            check=False,
        )
        if done.returncode == -signal.SIGSEGV:
            done.stdout += "crash"
        return done

    def check_clean(self, *arguments: str) -> None:
        """Assert that the program is right with every seed."""
        for seed in CLEAN_SEEDS:
            done = self.run(*arguments, seed=seed)
            assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", ""), f"seed {seed}: {done}"

    def check_race(self, *arguments: str, where: str) -> None:
        """Assert that ThreadSanitizer's first word is of a race, at a line of the file `where`."""
        # It would go on and look into each of thousands of accesses; the first is enough.
        done = self.run(*arguments, TSAN_OPTIONS="halt_on_error=1")
        assert done.returncode != 0
        assert "WARNING: ThreadSanitizer: data race" in done.stderr
        assert where in done.stderr

    def check_faulty(self, *arguments: str, sign: str) -> None:
        """Assert that every seed shows the fault, by a result, a message or a crash that matches `sign`."""
        for seed in FAULTY_SEEDS:
            done = self.run(*arguments, seed=seed)
            assert done.returncode != 0, f"seed {seed} did not show {self.variant.faults}"
            shown = done.stdout + done.stderr
            assert re.search(sign, shown), (
                f"seed {seed}: {self.variant.faults} showed as {shown!r}, not {sign!r}"
            )


class Workshop:
    """Compiles variants, many at once: the emulator's headers cost more time than what the programs add."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.compiler = shutil.which("g++")

    def build(self, variants: Iterable[Variant], sanitizer: str = "none") -> list[Program]:
        """Return the compiled variants, each in a namespace of its own within one binary."""
        if self.compiler is None:
            pytest.skip("the emulator's self-tests need g++")
        flat = [Flattener(variant) for variant in variants]
        parts = [
            f'#include "{name}"' for name in sorted(set().union(*(f.system for f in flat)), reverse=True)
        ]
        for k, f in enumerate(flat):
            parts.append(f"namespace variant{k} {{\n{f.text.replace('int main(', 'int program(')}}}")
        cases = "".join(
            f"case {k}: return variant{k}::program(argc - 1, argv + 1);\n" for k in range(len(flat))
        )
        parts.append(
            "int main(int argc, char** argv) {\nswitch (std::atoi(argv[1])) {\n" + cases + "}\nreturn 2;\n}\n"
        )

        source = self.folder / f"bundle{len(list(self.folder.iterdir()))}.cpp"
        source.write_text("\n".join(parts))
        binary = source.with_suffix("")
        includes = [f"-I{ROOT}", f"-I{ROOT / 'cpp/emu'}"]
        command = [
            self.compiler,
            *FLAGS,
            *SANITIZER_FLAGS[sanitizer],
            *includes,
            str(source),
            "-o",
            str(binary),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[:5000]}"
        return [Program(binary, k, f.variant) for k, f in enumerate(flat)]
