"""A reduction in parts that meets a fault at each of its calls in turn, and is resumed each time.

The suite has the short form, tests/faults. Takes about an hour on two cores, most of it for "everything".
"""

from __future__ import annotations

import collections
import importlib
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import records

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
faults = importlib.import_module("faults.server")
cases = importlib.import_module("faults.cases")

SERVERS = 2
TIMES = 100
DISKS = 25
COLUMNS = ["mode", "cases", "killed", "told", "crashed", "done", "resumed_equal"]
WRITES = ("write", "create", "mkdir")


class Servers:
    """Several servers of one recipe, which share the cases among them.

    Parameters
    ----------
    start : callable
        Starts a server.
    say : callable
        Shows progress.

    Attributes
    ----------
    expected : dict of str to bytes
        What an undisturbed reduction gives, the same of all servers.
    calls : list of str
        The calls of one, in their order.
    seconds : float
        That one took.
    rows : list of list
        What came of each mode.
    failures : list of str
    """

    def __init__(self, start: Callable[[], Any], say: Callable[[str], None]) -> None:
        self.say, self.rows, self.failures = say, [], []
        self.servers = [start() for _ in range(SERVERS)]
        log = self.servers[0].folder.with_suffix(".log")
        assert self.servers[0]("traced", log=str(log))["status"] == 0
        shutil.rmtree(self.servers[0].folder / "traced")
        self.calls = [line.split()[0] for line in log.read_text().splitlines()]
        self.seconds = self.servers[0]("traced")["seconds"]
        shutil.rmtree(self.servers[0].folder / "traced")
        (self.expected, calls), *others = [server.undisturbed() for server in self.servers]
        assert calls == len(self.calls)
        assert all(other == (self.expected, calls) for other in others)

    def run(self, mode: str, points: Iterable[Any], one: Callable[[Any, Any], str]) -> None:
        """Go through the cases of a mode: `one` meets the fault and says how it ended; then it is resumed."""
        points = list(points)
        counts = collections.Counter(mode=mode, cases=len(points)) | dict.fromkeys(COLUMNS[2:], 0)
        waiting, lock = iter(points), threading.Lock()

        def serve(server: Any) -> Iterator[tuple[Any, str]]:
            while True:
                with lock:
                    point = next(waiting, None)
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
                    counts[ended] += 1
                    counts["resumed_equal"] += 1
                    if counts["resumed_equal"] % 200 == 0:
                        self.say(f"{mode}: {counts['resumed_equal']} of {len(points)}")

        with ThreadPoolExecutor(SERVERS) as pool:
            for done in as_completed([pool.submit(serve, server) for server in self.servers]):
                done.result()
        self.rows.append([counts[column] for column in COLUMNS])
        self.say(", ".join(f"{name} {count}" for name, count in zip(COLUMNS, self.rows[-1], strict=True)))


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


@pytest.fixture
def say(capfd: pytest.CaptureFixture) -> Callable[[str], None]:
    """Print at once."""

    def say(text: str) -> None:
        with capfd.disabled():
            print(f"\n  {text}", end="", flush=True)

    return say


@pytest.mark.parametrize("name", cases.RECIPES)
def test_every_call_in_turn(
    name: str, start: Callable, say: Callable, record: Callable, quick: bool, tmp_path: Path
) -> None:
    """After every fault nothing partial under the final name, and resumed the bytes of an undisturbed run."""
    servers, rng = Servers(lambda: start(name), say), np.random.default_rng(1)
    number, step = len(servers.calls), 300 if quick else 1
    say(f"{name}: {number} calls")
    everywhere = range(1, number + 1, step)

    def at(mode: str) -> Callable[[Any, int], str]:
        return lambda server, point: server.outcome("out", mode, point, servers.expected)

    def twice(server: Any, times: tuple[int, int]) -> str:
        ended = server.outcome("out", "time", times[0], servers.expected)
        server.outcome("out", "time", times[1], servers.expected, resume=True)
        return ended

    servers.run("kill", everywhere, at("kill"))
    # Microseconds from the first call that changes the folder.
    times = rng.integers(0, servers.seconds * 1e6, (2 if quick else TIMES, 2)).tolist()
    servers.run("time", times, twice)
    writes = [point for point in range(1, number + 1) if servers.calls[point - 1] in WRITES]
    servers.run("full", writes[::step], at("full"))
    servers.run("fail", everywhere, at("fail"))
    for server in servers.servers:
        server.close()
    disks(servers, name, start, tmp_path, 2 if quick else DISKS)
    assert not servers.failures, "\n".join(servers.failures[:10])
    record(
        records.make(
            "kill_everywhere",
            backend="cpu",
            detector="AGIPD1M",
            shots_per_s=0,
            gb_per_s=0,
            read_fraction=None,
            floor_fraction=None,
            peer=None,
            ratio_to_peer=None,
            threads=SERVERS,
            notes="not a rate but a proof, so rates are 0: after every fault nothing partial stood under the "
            "final name, and the resumed output had the bytes of an undisturbed one, with nothing beside it",
            details={
                "variant": name,
                "calls": dict(sorted(collections.Counter(servers.calls).items())),
                "files": len(servers.expected),
                "failures": len(servers.failures),
                "columns": COLUMNS,
                "rows": servers.rows,
            },
        )
    )


def disks(servers: Servers, name: str, start: Callable, folder: Path, number: int) -> None:
    """Reduce on file systems that are too small, from hardly any room to nearly enough, then with room."""
    with faults.small_disk(folder) as resize:
        if resize is None:
            servers.say("no small disks: they can only be mounted by root on a machine that allows it")
            return
        assert resize("1g")
        server = start(name, folder)
        need = sum(map(len, servers.expected.values()))

        def one(server: Any, size: int) -> str:
            assert resize(size)
            ended = server.outcome("out", "count", 0, servers.expected)
            assert resize("1g")
            return ended

        servers.servers = [server]
        servers.run("disk", np.linspace(2**16, need, number, dtype=int).tolist(), one)
        server.close()
