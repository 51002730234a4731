"""What every test shares: one fixture per way of running the kernels, and where real data lies."""

from __future__ import annotations

import errno
import importlib
import os
import platform
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from shotsieve import backend as backends
from shotsieve.backend import Backend
from shotsieve.device import HostDevice
from shotsieve.errors import BackendUnavailable

# Each level is a module of its own on x86-64; elsewhere there is one module for the whole architecture.
ON_X86 = platform.machine() in ("x86_64", "AMD64")
CPU_LEVELS = {"cpu_v2": 2, "cpu_v3": 3, "cpu_v4": 4} if ON_X86 else {}
CPU_NAMES = tuple(CPU_LEVELS) or ("cpu_baseline",)
# Set by `make test`: these must be there, so that a suite that ran nothing does not pass.
REQUIRED = set(os.environ.get("SHOTSIEVE_REQUIRE", "").replace(",", " ").split())
if not ON_X86 and "cpu_v2" in REQUIRED:
    REQUIRED = REQUIRED - {"cpu_v2"} | {"cpu_baseline"}
# In the environment, so that the workers of xdist and programs that tests start have the same.
EMU_SEED = int(os.environ.setdefault("SHOTSIEVE_EMU_SEED", str(random.SystemRandom().randint(1, 1000))))
# A page after every reduction of the command line would take longer than the reduction.
os.environ.setdefault("SHOTSIEVE_REPORT", "0")
EMU_SEED_TEXT = f"emulator seed {EMU_SEED}; repeat with SHOTSIEVE_EMU_SEED={EMU_SEED}"


def pytest_configure() -> None:
    """Set up what has to be there before the first test."""
    # Ctrl-C works as in a terminal: a suite started in the background ignores it, and so would its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Every device array is an allocation of its own where asked: compute-sanitizer then sees its end.
    if os.environ.get("SHOTSIEVE_CUPY_NO_POOL") == "1":
        import cupy

        cupy.cuda.set_allocator(None)


def pytest_report_header() -> list[str]:
    """Say once which backends the suite runs on, and why the others are left out."""
    found = [
        f"shotsieve backend {status.name}: {'' if status.available else 'left out: '}{status.detail}"
        for status in backends.describe()
    ]
    return [*found, EMU_SEED_TEXT]


def _absent(name: str, reason: str) -> None:
    if name in REQUIRED:
        pytest.fail(f"{name} is required by SHOTSIEVE_REQUIRE, but {reason}")
    pytest.skip(f"{name}: {reason}")


def _get(name: str) -> Backend:
    """Return a backend by its own name; every test starts from the emulator's seed, so it repeats alone."""
    try:
        backend = backends.get(name)
    except BackendUnavailable as error:
        _absent(name, str(error))
    if name == "emu":
        backend.native.set_seed(EMU_SEED)
        print(EMU_SEED_TEXT)
    return backend


def _make(name: str) -> Backend:
    """Return a backend by its test name: a CPU level, cpu_baseline, emu or cuda."""
    if name not in CPU_NAMES:
        return _get(name)
    try:
        if name in CPU_LEVELS:
            level = importlib.import_module("shotsieve._cpu_v2").cpu_level()
            if level < CPU_LEVELS[name]:
                pytest.skip(f"{name}: this processor is x86-64-v{level}")
        native = importlib.import_module(f"shotsieve._{name}" if name in CPU_LEVELS else "shotsieve._cpu")
    except ImportError as error:
        _absent(name, f"it is not built ({error})")
    return Backend("cpu", native, HostDevice(), name, 2)


class Chromium:
    """A browser without a window, for pages that are looked at; what its console says is a failure.

    Parameters
    ----------
    program : str
    folder : Path
        For its profile.
    """

    QUIET = (
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-device-scale-factor=1",
        "--enable-logging=stderr", "--v=0",
    )  # fmt: skip

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder = program, folder

    def __call__(self, address: str, *options: str) -> str:
        """Return the page as it stands once its scripts have run."""
        return self._run("--dump-dom", *options, address)

    def picture(self, address: str, path: Path, width: int, height: int, *options: str) -> Path:
        """Take a picture of the page: PNG, of the window's size."""
        self._run(f"--screenshot={path}", f"--window-size={width},{height}", *options, address)
        assert path.is_file(), f"{self.program} took no picture of {address}"
        return path

    def _run(self, *options: str) -> str:
        words = [self.program, *self.QUIET, f"--user-data-dir={self.folder}", *options]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert "CONSOLE" not in done.stderr, done.stderr
        return done.stdout


@pytest.fixture
def browser(tmp_path: Path) -> Chromium:
    """Chromium, where it is installed; required where SHOTSIEVE_REQUIRE names chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        _absent("chromium", f"none of {', '.join(names)} is on PATH: no page was opened in a browser")
    return Chromium(program, tmp_path / "chromium")


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that differ from run to run; a failing test shows how to have the same again."""
    seed = int(os.environ.get("SHOTSIEVE_SEED") or int.from_bytes(os.urandom(8), "little"))
    print(f"numpy seed {seed}; repeat with SHOTSIEVE_SEED={seed}")
    return np.random.default_rng(seed)


@pytest.fixture(params=[*CPU_NAMES, "emu", "cuda"])
def native_backend(request: pytest.FixtureRequest) -> Backend:
    """Every compiled backend of this machine, each CPU level on its own."""
    return _make(request.param)


def _reference() -> Backend:
    """Return the reference in the place of the kernels that calibrate; what only moves frames is compiled."""
    from shotsieve.reference import bank_mode, calibrate, linearise

    native = SimpleNamespace(**vars(_get("cpu").native))
    native.calibrate_count, native.linearise = calibrate.calibrate_count, linearise.linearise
    native.bank_mode = bank_mode.bank_mode
    return Backend("cpu", native, HostDevice(), "reference", 1)


@pytest.fixture(params=[*CPU_NAMES, "emu", "cuda", "reference"])
def any_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """Every compiled backend of this machine, each CPU level on its own, and the reference.

    `shotsieve.reduce` takes it too, whatever name it is given.
    """
    chosen = _reference() if request.param == "reference" else _make(request.param)
    monkeypatch.setattr(backends, "get", lambda name="auto": chosen)
    return chosen


@pytest.fixture(params=["cpu", "emu", "cuda"])
def backend_name(request: pytest.FixtureRequest) -> str:
    """The name of every backend that `shotsieve.reduce` can be given here."""
    return _get(request.param).name


@pytest.fixture(params=["cpu", "emu"])
def host_name(request: pytest.FixtureRequest) -> str:
    """The name of every backend here whose memory is that of the process."""
    return _get(request.param).name


@pytest.fixture
def emulator() -> Backend:
    """The emulator, whose streams run as late as they may."""
    return _get("emu")


@pytest.fixture(params=["emu", "cuda"])
def device_name(request: pytest.FixtureRequest) -> str:
    """The name of every backend here whose device has a memory of its own."""
    return _get(request.param).name


@pytest.fixture
def interrupt_after() -> Callable[[str, int], AbstractContextManager[list[str]]]:
    """Interrupt a reduction as by Ctrl-C once a part of a step is complete; gives what it says then."""
    from shotsieve.engine import passes

    @contextmanager
    def interrupt(step: str, number: int) -> Iterator[list[str]]:
        run, notes = passes.Pass._run, []

        def stop(self: passes.Pass, part: Any, *rest: Any) -> None:
            run(self, part, *rest)
            if self.step is not None and (self.step.name, part.number) == (step, number):
                raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(passes.Pass, "_run", stop)
            try:
                yield notes
            except KeyboardInterrupt as interrupted:
                notes += interrupted.__notes__
            else:
                pytest.fail(f"part {number} of {step} was never complete")

    return interrupt


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real detector data, which is not part of the project."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SHOTSIEVE_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set SHOTSIEVE_DATA")
    return folder


class Disk:
    """Stands between the reader of plain frames and the files, and refuses bytes as a broken disk does.

    Attributes
    ----------
    bad : dict
        Of each file and byte the number of readings over it that are refused; infinite by default.
    before : callable
        Called once, before the next reading.
    frames : int
        Frames that were asked for so far.
    """

    def __init__(self, compiled: Any) -> None:
        self._compiled, self.frames = compiled, 0
        self.bad: dict[tuple[str, int], float] = {}
        self.before: Callable[[], None] | None = None

    def refuse(
        self, path: Path, dataset: str, frame: int, times: float = float("inf"), lead: int = 1
    ) -> None:
        """Refuse a byte in the middle of a frame."""
        from shotsieve.sources.extents import map_frames

        where = map_frames(path, dataset, lead)
        for piece in where.pieces:  # of a virtual dataset that shows the whole of one other
            where = piece.where
        at = int(where.offsets(np.array([frame]))[0]) + where.frame_bytes // 2
        self.bad[str(where.path), at] = times

    def read_extents(self, path: str, offset: Any, to: Any, size: Any, *rest: Any) -> None:
        before, self.before = self.before, None
        if before is not None:
            before()
        self.frames += len(offset)
        for (name, at), times in self.bad.items():
            if name == path and times > 0 and ((offset <= at) & (at < offset + size)).any():
                self.bad[name, at] = times - 1
                raise OSError(errno.EIO, f"{path}: reading at offset {at} failed: {os.strerror(errno.EIO)}")
        self._compiled.read_extents(path, offset, to, size, *rest)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk that refuses what it is told to, of frames that are stored as they are."""
    from shotsieve.sources import extents

    one = Disk(extents.native())
    monkeypatch.setattr(extents, "native", lambda: one)
    return one
