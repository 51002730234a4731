"""Where the time went: every step once, none of it lost, and only host time."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from shotsieve.cli import main
from shotsieve.device import HostDevice
from shotsieve.engine.clock import READ, STEPS, StepClock, profile_text


def test_steps_add_up_over_threads_and_through_errors():
    clock = StepClock(HostDevice())

    def pause(number):
        with clock.step(READ):
            time.sleep(0.002)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(pause, range(20)))
    with pytest.raises(ZeroDivisionError), clock.step("decide"):
        raise ZeroDivisionError
    assert clock.seconds.keys() == {READ, "decide"}
    assert clock.seconds[READ] >= 20 * 0.002


@pytest.mark.parametrize("content", ["corrected", "raw", None])
def test_a_reduction_says_where_its_time_went(simulated, make_recipe, tmp_path, content):
    import shotsieve

    sim = simulated("usual")
    recipe = make_recipe(write=None if content is None else {"content": content})
    result = shotsieve.reduce(sim.raw, recipe, tmp_path / "out", constants=sim.constants, backend="cpu")
    steps = result.performance["steps_s"]
    assert set(steps) <= set(STEPS)
    assert {READ, "queue", "wait for counts", "decide", "finish"} <= set(steps)
    assert ("write" in steps) == (content is not None)
    assert ("calibrate kept" in steps) == (content == "corrected")
    assert (
        sum(seconds for name, seconds in steps.items() if name != READ) <= result.performance["run_s"] + 0.01
    )
    machine = json.loads((tmp_path / "out/shotsieve/machine.json").read_text())
    assert machine["steps_s"] == steps


def test_the_option(simulated, tmp_path, capsys):
    sim = simulated("usual")
    (tmp_path / "r.toml").write_text('[calibrate]\n[measure.lit]\n[keep]\nrule = "lit_pixels > 5"\n')
    args = ["reduce", str(sim.raw), "-r", str(tmp_path / "r.toml"), "--constants", str(sim.constants)]
    small = ["--block", "0.5", "--slots", "2"]
    assert main([*args, "-o", str(tmp_path / "a"), "--backend", "cpu", "--profile", *small]) == 0
    told = capsys.readouterr().out
    assert "where the time went" in told
    assert "waiting for the reader" in told
    assert main([*args, "-o", str(tmp_path / "b"), "--backend", "cpu"]) == 0
    assert "where the time went" not in capsys.readouterr().out


def test_the_text_has_every_step():
    text = profile_text({"run_s": 2.0, "prepare_s": 0.5, "steps_s": {READ: 1.5, "queue": 0.5}})
    lines = text.splitlines()
    assert "2.00 s after 0.50 s" in lines[0]
    assert "75 %" in lines[1]
    assert "25 %" in lines[2]
    assert lines[3].split()[:4] == ["other", "1.50", "s", "75"]
    assert profile_text({"run_s": 0.0, "prepare_s": 0.0, "steps_s": {}})
