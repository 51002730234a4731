"""Where the time went: every step once, none of it lost, and only host time."""

from __future__ import annotations

import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from shotsieve import backend as backends
from shotsieve.cli import main
from shotsieve.device import HostDevice
from shotsieve.engine.clock import BESIDE, MAKE_KEPT, READ, STEPS, StepClock, profile_text
from shotsieve.engine.slot_times import KINDS, SlotTimes
from shotsieve.sources.extents import map_frames, read_frames


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
    assert (MAKE_KEPT in steps) == ("hand over" in steps) == (content is not None)
    one_by_one = [seconds for name, seconds in steps.items() if name not in BESIDE]
    assert sum(one_by_one) <= result.performance["run_s"] + 0.01
    machine = json.loads((tmp_path / "out/shotsieve/machine.json").read_text())
    assert machine["steps_s"] == steps
    assert machine["slots_s"] == result.performance["slots_s"]
    for seconds in machine["slots_s"]:
        assert seconds.keys() == KINDS.keys()
        assert sum(seconds.values()) <= result.performance["run_s"] + 0.01
    total = {kind: sum(seconds[kind] for seconds in machine["slots_s"]) for kind in KINDS}
    assert total["read"] <= steps[READ] + 0.01
    assert total["compute"] > 0
    assert total["write"] > 0 or content is None
    assert total["inflate"] == 0
    for spans in result.slot_spans:  # of a slot one follows the other
        assert all(one[2] <= other[1] + 1e-6 for one, other in itertools.pairwise(sorted(spans, key=begin)))


def begin(span):
    return span[1]


class Timed(HostDevice):
    """A device that tells times of its own: a clock that goes on by one second with each mark."""

    def __init__(self):
        self.now = 100.0

    def mark(self, stream):
        self.now += 1.0
        return self.now


def test_a_slot_tells_what_its_device_tells():
    device = Timed()
    times = SlotTimes(device, None)
    times.take()
    for kind in ("copy in", "", "compute", "copy out", ""):
        times.mark(kind)
    times.release()
    assert {kind: round(seconds) for kind, seconds in times.seconds.items() if seconds >= 1} == {
        "copy in": 1,
        "compute": 1,
        "copy out": 1,
    }
    assert [kind for kind, *_ in times.spans] == ["copy in", "compute", "copy out"]
    times.mark("compute")  # of a block that fails
    times.take()
    times.release()
    assert times.seconds["compute"] == 1
    times.take()
    time.sleep(0.01)
    times.release()
    assert times.seconds["wait"] >= 0.01


def test_inflating_is_told_apart_from_reading(tmp_path):
    import h5py

    words = np.random.default_rng(1).integers(0, 200, (64, 512, 128), "u2")
    told = {}
    for name, how in {"plain": {}, "packed": {"compression": "gzip", "shuffle": True}}.items():
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_dataset("data", data=words, chunks=(1, 512, 128), **how)
        times, out = SlotTimes(HostDevice(), None), np.zeros_like(words)
        where = map_frames(tmp_path / f"{name}.h5", "data", 1)
        with times.host("read"):
            read_frames(where, np.arange(64), out, np.arange(64) * 65536, threads=2)
        assert np.array_equal(out, words)
        told[name] = times.seconds
    assert told["plain"]["inflate"] == 0
    assert told["packed"]["inflate"] > told["packed"]["read"] > 0


def test_the_option(simulated, tmp_path, capsys):
    sim = simulated("usual")
    (tmp_path / "r.toml").write_text('[calibrate]\n[measure.lit]\n[keep]\nrule = "lit_pixels > 5"\n')
    args = ["reduce", str(sim.raw), "-r", str(tmp_path / "r.toml"), "--constants", str(sim.constants)]
    picture = str(tmp_path / "slots.png")
    assert main([*args, "-o", str(tmp_path / "z"), "--profile-plot", str(tmp_path / "no" / "s.png")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    assert not (tmp_path / "z").exists()
    small = ["--block", "0.5", "--slots", "2", "--profile-plot", picture]
    assert (
        main(
            [
                *args,
                "-o",
                str(tmp_path / "a"),
                "--backend",
                "cpu",
                "--profile",
                *small,
                "--profile-plot",
                picture,
            ]
        )
        == 0
    )
    assert Path(picture).read_bytes()[:4] == b"\x89PNG"
    told = capsys.readouterr().out
    assert "where the time went" in told
    assert "waiting for the reader" in told
    slots = told[told.index("  slot") :].splitlines()
    assert [line.split()[0] for line in slots][:2] == ["slot", "0"]
    assert slots[0].split()[1:] == [*" ".join(KINDS).split(), "seconds"]
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


def test_marks_of_a_device(backend_name):
    device = backends.get(backend_name).device
    stream, source = device.stream(), device.empty_pinned((1 << 20,), "u1")
    source[:] = 1
    one = device.mark(stream)
    device.to_device(device.twin(np.empty_like(source)), source, stream)
    other = device.mark(stream)
    if backend_name == "emu":
        assert one is other is None
        return
    assert 0 <= device.seconds_between(one, other) < 10
    assert device.seconds_between(one, one) == 0
