"""Reduces a small run in several parts, again and again, with a fault each time."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .cases import RECIPES, Case, simulate

PATIENCE_S = 120
HERE = Path(__file__).parent


class Server:
    """Starts `harness.py` and sends it orders.

    Parameters
    ----------
    shim : Path
        The library that `build_shim` made.
    folder : Path
        Empty; outputs go into it.
    case : Case
    text : str
        The recipe.
    prepared : bool
        Open run and constants once for all; see `harness.py`.
    """

    def __init__(self, shim: Path, folder: Path, case: Case, text: str, prepared: bool = False) -> None:
        self.folder = folder
        recipe = folder.with_suffix(".toml")
        recipe.write_text(case.recipe(text))
        arguments = [str(case.sim.raw), str(recipe), str(case.sim.constants), str(folder)]
        arguments += ["prepared"] if prepared else []
        preload = " ".join(filter(None, [str(shim), os.environ.get("LD_PRELOAD")]))
        self._errors = folder.with_name(f"errors-{folder.name}").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "harness.py"), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            env={**os.environ, "LD_PRELOAD": preload, "FAULT_ROOT": str(folder)},
        )  # fmt: skip

    def __call__(self, out: str, mode: str = "count", at: int = 0, **more) -> dict:
        """Reduce once with a fault; see `harness.py`."""
        order = {"out": out, "mode": mode, "at": at, **more}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], PATIENCE_S)[0]:
            self._process.kill()
            raise TimeoutError(f"no answer within {PATIENCE_S} s: {order}")
        line = self._process.stdout.readline()
        assert line, Path(self._errors.name).read_text()[-2000:]
        return json.loads(line)

    def undisturbed(self) -> tuple[dict[str, bytes], int]:
        """Reduce without a fault; return what that gives, and the number of calls."""
        done = self("undisturbed")
        assert done["status"] == 0, done["text"]
        return contents(self.folder / "undisturbed"), done["calls"]

    def outcome(self, out: str, mode: str, at: int, expected: dict[str, bytes], resume: bool = False) -> str:
        """Reduce once with a fault, check what there is then, and say how it ended.

        Returns
        -------
        {"done", "killed", "told", "crashed"}
            All was written; killed by us; an error of ours that says what it was; HDF5 crashed.
        """
        done = self(out, mode, at, resume=resume)
        self.nothing_partial(out, expected)
        status, text = done["status"], done.get("text")
        if status == 0:
            assert contents(self.folder / out) == expected
            return "done"
        if mode in ("kill", "time"):
            assert status == -signal.SIGKILL, done
            return "killed"
        if status in (-signal.SIGSEGV, -signal.SIGABRT):
            return "crashed"
        assert (status, done.get("error")) == (1, "OutputError"), done
        assert re.search("Input/output error|errno = 5" if mode == "fail" else "the disk is full", text), text
        parts = list(self.folder.glob(f".{out}.parts-*/*.npz"))
        assert ("--resume" in text) == bool(parts), (text, parts)
        if mode != "fail" and not parts:  # a disk that fails may refuse that too
            assert not list(self.folder.glob(f".{out}*"))
        return "told"

    def nothing_partial(self, out: str, expected: dict[str, bytes]) -> None:
        """Under the final name there is the whole output, or nothing."""
        final = self.folder / out
        assert not final.exists() or contents(final) == expected

    def resumed(self, out: str, expected: dict[str, bytes]) -> None:
        """Resume, check what there is then, and remove it."""
        done = self(out, resume=True)
        assert done["status"] == 0, done["text"]
        assert contents(self.folder / out) == expected
        assert {entry.name for entry in self.folder.iterdir()} <= {out, "undisturbed"}
        shutil.rmtree(self.folder / out)

    def clear(self) -> None:
        """Remove all but the undisturbed output."""
        for entry in self.folder.iterdir():
            if entry.name != "undisturbed":
                shutil.rmtree(entry)

    def close(self) -> None:
        """End it; a second call does nothing."""
        self._process.stdin.close()
        self._process.wait(60)
        self._errors.close()


@contextmanager
def folder_in_memory() -> Iterator[Path | None]:
    """Give a folder whose fsyncs take no time, which a kill does not need; None where there is no room."""
    place = Path("/dev/shm")
    if not os.access(place, os.W_OK) or shutil.disk_usage(place).free < 2**31:
        yield None
        return
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[int], bool] | None]:
    """Mount a file system at a folder; gives what sets its bytes, None where nothing may be mounted."""

    def mount(*options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if not mount("size=1m"):
        yield None
        return
    try:
        yield lambda size: mount("remount", f"size={size}")
    finally:
        subprocess.run(["umount", str(folder)], check=False)


def contents(folder: Path) -> dict[str, bytes]:
    """What an output holds, but for what depends on the machine."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "machine.json"
    }


class Factory:
    """Makes servers of the run and recipes of `cases.py`, each with a folder of its own.

    Parameters
    ----------
    folder : Path
        Where everything goes.

    Raises
    ------
    RuntimeError
        Where there is no C compiler, or no Linux.
    """

    def __init__(self, folder: Path) -> None:
        shim = build_shim(folder)
        if shim is None:
            raise RuntimeError("needs a C compiler and Linux")
        self.shim, self.folder, self.case = shim, folder, simulate(folder / "simulated")
        self.started: list[Server] = []

    def __call__(self, name: str, folder: Path | None = None, prepared: bool = True) -> Server:
        """Start a server for a recipe, by name, and for a folder of one's own."""
        if folder is None:
            folder = self.folder / f"served{len(self.started)}"
            folder.mkdir()
        self.started.append(Server(self.shim, folder, self.case, RECIPES[name], prepared))
        return self.started[-1]

    def close(self) -> None:
        """End all servers."""
        for server in self.started:
            server.close()


def build_shim(folder: Path, name: str = "shim") -> Path | None:
    """Make a library that stands between a process and the system; None where there is no compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "c++", "g++", "clang"))), None)
    if compiler is None or sys.platform != "linux":
        return None
    made, source = folder / f"{name}.so", HERE / f"{name}.c"
    words = ["-shared", "-fPIC", "-O1", "-x", "c", str(source), "-o", str(made), "-ldl"]
    subprocess.run([compiler, *words], check=True)
    return made
