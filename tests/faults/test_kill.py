"""A killed reduction leaves complete parts alone; resumed it gives the bytes of an undisturbed one."""

from __future__ import annotations

import signal

import pytest

from .server import LATE, RECIPE


@pytest.mark.parametrize("recipe", [RECIPE, LATE], ids=["one pass", "two passes"])
def test_killed_at_any_call(serve, rng, recipe):
    """The long form, every call in turn, is benchmarks/test_kill_everywhere.py."""
    server = serve(recipe)
    expected, calls = server.undisturbed()
    assert calls > 300
    last = range(calls - 3, calls + 1)
    for point in sorted({1, *last, *rng.integers(1, calls, 3).tolist()}):
        assert server("out", "kill", point)["status"] == -signal.SIGKILL
        server.nothing_partial("out", expected)
        server.resumed("out", expected)


def test_killed_twice_and_at_any_time(serve, rng):
    server = serve(RECIPE)
    expected, calls = server.undisturbed()
    status = server("out", "time", int(rng.integers(0, 500_000)))["status"]
    assert status in (-signal.SIGKILL, 0)
    again = server("out", "kill", int(rng.integers(1, calls // 2)), resume=True)["status"]
    assert again in (-signal.SIGKILL, 0)
    server.nothing_partial("out", expected)
    server.resumed("out", expected)
