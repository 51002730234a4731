"""Reduces a small run in several parts, again and again, with a fault each time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from shotsieve.simulate import SpiParameters
from shotsieve.simulate.spi import SimulatedRun

HERE = Path(__file__).parent
SIMULATED = SpiParameters(
    n_trains=6, n_cells=4, modules=(3, 4), hit_rate=0.5, photons_per_hit=(1e6, 1e7), radius_nm=15.0,
    background=0.002, seed=11,
)  # fmt: skip
RECIPE = """
[[detector]]
geometry = "{geometry}"
[calibrate]
[measure.lit]
threshold = "0.7 photon"
[measure.azint]
npt = 50
average = "cell"
[measure.average]
[keep]
rule = "lit_pixels[3] > 1000"
misses = 0.2
[write]
content = "corrected"
trains_per_file = 2
"""
LATE = (
    RECIPE.replace("lit_pixels[3] > 1000", "lit_pixels[3] > limit")
    + """
[derive.limit]
kind = "adaptive"
of = "lit_pixels[3]"
k = 3
"""
)


class Server:
    """Starts `harness.py` and sends it orders.

    Parameters
    ----------
    shim : Path
        The library that `build_shim` made.
    folder : Path
        Empty; outputs go into it.
    sim : SimulatedRun
    text : str
        The recipe.
    """

    def __init__(self, shim: Path, folder: Path, sim: SimulatedRun, text: str) -> None:
        self.folder = folder
        recipe = folder.with_suffix(".toml")
        recipe.write_text(text.format(geometry=sim.geometry))
        arguments = [str(sim.raw), str(recipe), str(sim.constants)]
        preload = " ".join(filter(None, [str(shim), os.environ.get("LD_PRELOAD")]))
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "harness.py"), *arguments, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "LD_PRELOAD": preload, "FAULT_ROOT": str(folder)},
        )  # fmt: skip

    def __call__(self, out: str, mode: str = "count", at: int = 0, **more) -> dict:
        """Reduce once with a fault; see `harness.py`."""
        order = {"out": out, "mode": mode, "at": at, **more}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def undisturbed(self) -> tuple[dict[str, bytes], int]:
        """Reduce without a fault; return what that gives, and the number of calls."""
        done = self("undisturbed")
        assert done["status"] == 0, done["text"]
        return contents(self.folder / "undisturbed"), done["calls"]

    def nothing_partial(self, out: str, expected: dict[str, bytes]) -> None:
        """Under the final name there is the whole output, or nothing."""
        final = self.folder / out
        assert not final.exists() or contents(final) == expected

    def resumed(self, out: str, expected: dict[str, bytes]) -> None:
        """Resume, check what there is then, and remove it."""
        done = self(out, resume=True)
        assert done["status"] == 0, done["text"]
        assert contents(self.folder / out) == expected
        assert not [entry.name for entry in self.folder.iterdir() if entry.name.startswith(f".{out}.")]
        shutil.rmtree(self.folder / out)

    def close(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.wait(60)


def contents(folder: Path) -> dict[str, bytes]:
    """What an output holds, but for what depends on the machine."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "machine.json"
    }


def build_shim(folder: Path) -> Path | None:
    """Make the library that stands between a process and the system; None where there is no compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "c++", "g++", "clang"))), None)
    if compiler is None or sys.platform != "linux":
        return None
    made, source = folder / "shim.so", HERE / "shim.c"
    words = ["-shared", "-fPIC", "-O1", "-x", "c", str(source), "-o", str(made), "-ldl"]
    subprocess.run([compiler, *words], check=True)
    return made
