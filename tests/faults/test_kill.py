"""A killed reduction leaves complete parts alone; resumed it gives the bytes of an undisturbed one."""

from __future__ import annotations

import pytest

from .cases import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_killed_at_any_call(serve, rng, name):
    """The long form, every call in turn, is benchmarks/test_kill_everywhere.py."""
    server = serve(name)
    expected, calls = server.undisturbed()
    assert calls > 500
    for point in sorted({1, calls - 1, calls, *rng.integers(1, calls, 3).tolist()}):
        assert server.outcome("out", "kill", point, expected) == "killed"
        server.resumed("out", expected)


def test_killed_twice_and_at_any_time(serve, rng):
    server = serve("one pass", prepared=False)
    expected, calls = server.undisturbed()
    assert server.outcome("out", "time", int(rng.integers(0, 300_000)), expected) in ("killed", "done")
    again = server.outcome("out", "kill", int(rng.integers(1, calls // 2)), expected, resume=True)
    assert again in ("killed", "done")
    server.resumed("out", expected)
