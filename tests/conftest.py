"""What every test shares: one fixture per way of running the kernels, and where real data lies."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest
from shotsieve import backend as backends
from shotsieve.backend import Backend
from shotsieve.device import HostDevice
from shotsieve.errors import BackendUnavailable

CPU_LEVELS = {"cpu_v2": 2, "cpu_v3": 3, "cpu_v4": 4}
# Set by `make test`: these must be there, so that a suite that ran nothing does not pass.
REQUIRED = set(os.environ.get("SHOTSIEVE_REQUIRE", "").replace(",", " ").split())


def pytest_report_header() -> list[str]:
    """Say once which backends the suite runs on, and why the others are left out."""
    return [
        f"shotsieve backend {status.name}: {'' if status.available else 'left out: '}{status.detail}"
        for status in backends.describe()
    ]


def _absent(name: str, reason: str) -> None:
    if name in REQUIRED:
        pytest.fail(f"{name} is required by SHOTSIEVE_REQUIRE, but {reason}")
    pytest.skip(f"{name}: {reason}")


def _make(name: str) -> Backend:
    """Return a backend by its test name: a CPU level, emu or cuda."""
    if name not in CPU_LEVELS:
        try:
            return backends.get(name)
        except BackendUnavailable as error:
            _absent(name, str(error))
    try:
        level = importlib.import_module("shotsieve._cpu_v2").cpu_level()
        if level < CPU_LEVELS[name]:
            pytest.skip(f"{name}: this processor is x86-64-v{level}")
        native = importlib.import_module(f"shotsieve._{name}")
    except ImportError as error:
        _absent(name, f"it is not built ({error})")
    return Backend("cpu", native, HostDevice(), name, 2)


@pytest.fixture(params=[*CPU_LEVELS, "emu", "cuda"])
def native_backend(request: pytest.FixtureRequest) -> Backend:
    """Every compiled backend of this machine, each CPU level on its own."""
    return _make(request.param)


@pytest.fixture(params=["cpu", "emu", "cuda"])
def backend_name(request: pytest.FixtureRequest) -> str:
    """The name of every backend that `shotsieve.reduce` can be given here."""
    try:
        backends.get(request.param)
    except BackendUnavailable as error:
        _absent(request.param, str(error))
    return request.param


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real detector data, which is not part of the project."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SHOTSIEVE_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set SHOTSIEVE_DATA")
    return folder
