"""Options of the benchmarks and what they share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import records
from shotsieve import backend as backends
from shotsieve.backend import Backend
from shotsieve.errors import BackendUnavailable

_made: list[dict[str, Any]] = []
_written: list[Path] = []
_missed: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("shotsieve benchmarks")
    group.addoption("--record", action="store_true", help="write records to benchmarks/history/")
    group.addoption("--record-to", type=Path, help="write records to this folder")
    group.addoption(
        "--quick", action="store_true", help="tiny sizes: shows that the benchmarks run, measures nothing"
    )
    group.addoption(
        "--minutes", type=float, default=float("inf"), help="how long the kills of a recipe may take"
    )
    group.addoption("--strict-targets", action="store_true", help="fail where a rate misses its target")


def pytest_configure(config: pytest.Config) -> None:
    if _folder(config) is not None and config.getoption("--quick"):
        raise pytest.UsageError("--record with --quick: tiny sizes measure nothing; leave one of them out")


def _folder(config: pytest.Config) -> Path | None:
    """Where records are written; None: nowhere."""
    return config.getoption("--record-to") or (records.HISTORY if config.getoption("--record") else None)


@pytest.fixture(scope="session")
def quick(request: pytest.FixtureRequest) -> bool:
    """Whether sizes are tiny."""
    return request.config.getoption("--quick")


@pytest.fixture(scope="module", params=["cuda", "emu"])
def device(request: pytest.FixtureRequest, quick: bool) -> Backend:
    """A GPU; or the emulator, to see that a benchmark runs."""
    if request.param == "emu" and not quick:
        pytest.skip("the emulator says nothing about speed: it runs with --quick")
    try:
        return backends.get(request.param)
    except BackendUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def minutes(request: pytest.FixtureRequest) -> float:
    """Return how long something that can stop anywhere may take."""
    return request.config.getoption("--minutes")


@pytest.fixture(scope="module")
def one_core() -> Iterator[None]:
    """Keep this process, and the threads that libraries start in it, on one core."""
    before, threads = os.sched_getaffinity(0), os.environ.get("OMP_NUM_THREADS")
    os.sched_setaffinity(0, {min(before)})
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    os.sched_setaffinity(0, before)
    if threads is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = threads


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], None]:
    """Take a record: shown at the end of the session, and written with --record."""

    def take(made: dict[str, Any]) -> None:
        _made.append(made)
        folder = _folder(request.config)
        if folder is not None:
            _written.append(records.append(made, folder))

    return take


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Callable[[bool, str], None]:
    """Say that a target was missed; a failure only with --strict-targets, since machines differ."""

    def judge(met: bool, text: str) -> None:
        if met:
            return
        if request.config.getoption("--strict-targets"):
            pytest.fail(text)
        _missed.append(text)

    return judge


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if _made:
        terminalreporter.section("records")
        for line in records.lines(_made):
            terminalreporter.write_line(line)
    for text in _missed:
        terminalreporter.write_line(f"target missed: {text}")
    for file in sorted(set(_written)):
        terminalreporter.write_line(f"written: {file.parent.name}/{file.name}")
