"""A reduction in parts that meets a fault at each of its calls in turn, and is resumed each time.

The suite has the short form, tests/faults. Takes about an hour on two idle cores, most of it "everything".
With ``--minutes`` the kills of a recipe stop after so many, other faults after their share of it: calls that
are no writes come first, and the rest lies evenly among all.
"""

from __future__ import annotations

import collections
import importlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import records

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
faults = importlib.import_module("faults.server")
cases = importlib.import_module("faults.cases")

SERVERS = 4
TIMES = 100
DISKS = 25
MODES = {"kill": 1.0, "time": 0.5, "full": 0.25, "fail": 0.25, "disk": 0.25}
COLUMNS = ["mode", "cases", "possible", "killed", "told", "crashed", "done", "resumed_equal"]
WRITES = ("write", "create", "mkdir")


class Servers:
    """Several servers of one recipe, which share the cases among them.

    Parameters
    ----------
    start : callable
        Starts a server.
    say : callable
        Shows progress.
    minutes : float
        After which no kill is begun; of the other modes after their share of it.

    Attributes
    ----------
    expected : dict of str to bytes
        What an undisturbed reduction gives, the same of all servers.
    calls : list of str
        The calls of one, in their order.
    seconds : float
        That one took.
    failures : list of str
    """

    def __init__(self, start: Callable[[], Any], say: Callable[[str], None], minutes: float) -> None:
        self.say, self.minutes, self.failures = say, minutes, []
        self.servers = [start() for _ in range(SERVERS)]
        first, *rest = self.servers
        log = first.folder.with_suffix(".log")
        done = first("undisturbed", log=str(log))
        self.expected, self.seconds = faults.contents(first.folder / "undisturbed"), done["seconds"]
        self.calls = [line.split()[0] for line in log.read_text().splitlines()]
        assert all(other.undisturbed() == (self.expected, len(self.calls)) for other in rest)

    def points(self, mode: str) -> list[int]:
        """Return all calls at which a fault is possible: what is no write first, the rest evenly spread."""
        points = [k + 1 for k, call in enumerate(self.calls) if mode != "full" or call in WRITES]
        return sorted(points, key=lambda k: (self.calls[k - 1] == "write", f"{k:020b}"[::-1]))

    def run(self, mode: str, points: Sequence[Any], one: Callable[[Any, Any], str]) -> list[Any]:
        """Go through the cases of a mode: `one` meets the fault and says how it ended; then it is resumed."""
        counts, lock = collections.Counter(), threading.Lock()
        waiting, stop = iter(points), time.monotonic() + 60 * self.minutes * MODES[mode]

        def serve(server: Any) -> None:
            while True:
                with lock:
                    point = next(waiting, None) if time.monotonic() < stop else None
                if point is None:
                    return
                try:
                    ended = one(server, point)
                    server.resumed("out", self.expected)
                except AssertionError as error:
                    self.failures.append(f"{mode} at {point}: {str(error)[:600]}")
                    self.say(self.failures[-1])
                    server.clear()
                    continue
                with lock:
                    counts.update([ended, "cases", "resumed_equal"])
                    if counts["cases"] % 100 == 0:
                        self.say(f"{mode}: {counts['cases']} of {len(points)}")

        with ThreadPoolExecutor(len(self.servers)) as pool:
            list(pool.map(serve, self.servers))
        row = [mode, *(counts[column] for column in COLUMNS[1:])]
        row[COLUMNS.index("possible")] = len(points)
        self.say(", ".join(f"{name} {count}" for name, count in zip(COLUMNS, row, strict=True)))
        return row


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable]:
    """Start a server for a recipe."""
    with faults.folder_in_memory() as folder:
        try:
            factory = faults.Factory(folder or tmp_path_factory.mktemp("faults"))
        except RuntimeError as reason:
            pytest.skip(str(reason))
        yield factory
        factory.close()


@pytest.fixture(scope="module")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print at once."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n  {text}", end="", flush=True)

    return say


@pytest.fixture(scope="module", params=list(cases.RECIPES))
def servers(
    request: pytest.FixtureRequest, start: Callable, say: Callable, minutes: float
) -> Iterator[tuple[str, Servers]]:
    """A recipe, and servers of it."""
    name = request.param
    started = Servers(lambda: start(name), say, minutes)
    say(f"{name}: {len(started.calls)} calls")
    yield name, started
    for server in started.servers:
        server.close()


@pytest.mark.parametrize("mode", MODES)
def test_every_call_in_turn(
    mode: str, servers: tuple[str, Servers], start: Callable, record: Callable, quick: bool, tmp_path: Path
) -> None:
    """After every fault nothing partial under the final name, and resumed the bytes of an undisturbed run."""
    name, these = servers
    if mode == "disk":
        row = disks(these, name, start, tmp_path, 2 if quick else DISKS)
    elif mode == "time":
        # Microseconds from the first call that changes the folder, and once more of the resumed one.
        longest = these.seconds * 1e6
        times = np.random.default_rng(1).integers(0, longest, (2 if quick else TIMES, 2)).tolist()

        def twice(server: Any, times: tuple[int, int]) -> str:
            ended = server.outcome("out", "time", times[0], these.expected)
            server.outcome("out", "time", times[1], these.expected, resume=True)
            return ended

        row = these.run(mode, times, twice)
    else:
        points = these.points(mode)
        row = these.run(
            mode,
            points[:: len(points) // 4] if quick else points,
            lambda server, point: server.outcome("out", mode, point, these.expected),
        )
    failures, these.failures = these.failures, []
    assert not failures, "\n".join(failures[:10])
    record(
        records.alone(
            "kill_everywhere",
            detector="AGIPD1M",
            threads=SERVERS,
            notes="not a rate but a proof, so rates are 0: after every fault nothing partial stood under the "
            "final name, and the resumed output had the bytes of an undisturbed one, with nothing beside it",
            details={
                "variant": f"{name}, {mode}",
                "calls": dict(sorted(collections.Counter(these.calls).items())),
                "files": len(these.expected),
                "failures": len(failures),
                **dict(zip(COLUMNS, row, strict=True)),
            },
        )
    )


def disks(servers: Servers, name: str, start: Callable, folder: Path, number: int) -> list[Any]:
    """Reduce on file systems that are too small, from hardly any room to nearly enough, then with room."""
    with faults.small_disk(folder) as resize:
        if resize is None:
            pytest.skip("a small disk can only be mounted by root on a machine that allows it")
        assert resize("1g")
        server = start(name, folder)

        def one(server: Any, size: int) -> str:
            assert resize(size)
            ended = server.outcome("out", "count", 0, servers.expected)
            assert resize("1g")
            return ended

        before, servers.servers = servers.servers, [server]
        need = sum(map(len, servers.expected.values()))
        try:
            return servers.run("disk", np.linspace(2**16, need, number, dtype=int).tolist(), one)
        finally:
            servers.servers = before
            server.close()
