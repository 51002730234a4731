"""What is kept is written in a thread of its own, one call at a time and in order."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import shotsieve
from shotsieve.device import HostDevice
from shotsieve.engine.clock import WRITE, StepClock
from shotsieve.engine.writer_thread import WriterThread
from shotsieve.errors import OutputError
from shotsieve.write.exdf import ReducedRunWriter

PATIENCE_S = 30


class Writers:
    """Notes what is called in which thread; calls of `append` wait until they are let go."""

    def __init__(self, fails: str = "") -> None:
        self.notes, self.calls, self.fails = ["a note"], [], fails
        self.go = threading.Semaphore(0)

    def _called(self, name: str, what: object = None) -> None:
        self.calls.append((name, what, threading.current_thread() is threading.main_thread()))
        if name == self.fails:
            raise OutputError(f"{name} failed")

    def begin(self) -> None:
        self._called("begin")

    def append(self, shots, present, frames, peaks=()) -> None:
        assert self.go.acquire(timeout=PATIENCE_S)
        self._called("append", int(frames["data"]))

    def finish(self):
        self._called("finish")
        return []

    def abort(self) -> None:
        self._called("abort")


def give(sink: WriterThread, data: np.ndarray) -> None:
    sink.append(np.zeros(1, int), np.ones((1, 1), bool), {"data": data})


def test_two_sets_of_buffers_are_enough():
    writers, clock = Writers(), StepClock(HostDevice())
    sink, sets = WriterThread(writers, clock), [np.zeros((), int), np.zeros((), int)]
    for number in range(20):
        sets[number % 2][...] = number  # while the other set is being written
        if number:
            writers.go.release()
        give(sink, sets[number % 2])
    writers.go.release()
    assert sink.finish() == []
    assert sink.notes == ["a note"]
    names = [("begin", None, False), *(("append", number, False) for number in range(20))]
    assert writers.calls == [*names, ("finish", None, True)]
    assert clock.seconds.keys() == {WRITE}


def test_a_call_returns_while_the_frames_are_being_written():
    writers = Writers()
    sink = WriterThread(writers, StepClock(HostDevice()))
    give(sink, np.array(1))
    assert [name for name, *_ in writers.calls if name != "begin"] == []
    writers.go.release()
    sink.finish()


@pytest.mark.parametrize("step", ["begin", "append"])
def test_the_next_call_raises_what_the_disk_refused(step):
    writers = Writers(step)
    sink = WriterThread(writers, StepClock(HostDevice()))
    writers.go.release(2)
    every = (give(sink, np.array(number)) for number in range(2))
    with pytest.raises(OutputError, match=f"{step} failed"):
        list(every)
    with pytest.raises(OutputError, match=f"{step} failed"):
        sink.finish()
    sink.abort()
    assert writers.calls[-1][0] == "abort"
    assert "finish" not in [name for name, *_ in writers.calls]


def test_giving_up_waits_for_what_is_being_written():
    writers = Writers()
    sink = WriterThread(writers, StepClock(HostDevice()))
    give(sink, np.array(1))
    threading.Timer(0.05, writers.go.release).start()
    sink.abort()
    assert [name for name, *_ in writers.calls] == ["begin", "append", "abort"]


def test_a_disk_that_refuses_ends_a_run_and_leaves_nothing(simulated, make_recipe, tmp_path, monkeypatch):
    sim, calls = simulated("usual"), []

    def refuse(*_, **__):
        calls.append(threading.current_thread().name)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ReducedRunWriter, "append", refuse)
    with pytest.raises(OutputError, match="the disk is full"):
        shotsieve.reduce(sim.raw, make_recipe(), tmp_path / "out", constants=sim.constants, backend="cpu")
    assert not (tmp_path / "out").exists()
    assert len(calls) == 1
    assert calls[0].startswith("shotsieve-write")
