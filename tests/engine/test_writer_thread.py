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
        self.go, self.begun = threading.Semaphore(0), threading.Event()

    def _called(self, name: str, what: object = None) -> None:
        self.calls.append((name, what, threading.current_thread() is threading.main_thread()))
        if name == self.fails:
            raise OutputError(f"{name} failed")

    def begin(self) -> None:
        self._called("begin")

    def append(self, shots, present, frames, peaks=()) -> None:
        self.begun.set()
        assert self.go.acquire(timeout=PATIENCE_S)
        self._called("append", int(frames["data"]))

    def finish(self):
        self._called("finish")
        return []

    def abort(self) -> None:
        self._called("abort")


def give(sink: WriterThread, data: np.ndarray) -> None:
    sink.append(np.zeros(1, int), np.ones((1, 1), bool), lambda: {"data": data})


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
    assert writers.begun.wait(PATIENCE_S)
    threading.Timer(0.05, writers.go.release).start()
    sink.abort()
    assert [name for name, *_ in writers.calls] == ["begin", "append", "abort"]


def test_what_has_not_begun_is_given_up_too():
    writers, sink = Writers(), None
    writers.begin = lambda: writers.go.acquire(timeout=PATIENCE_S)
    sink = WriterThread(writers, StepClock(HostDevice()))
    threading.Timer(0.05, writers.go.release).start()
    sink.abort()
    assert [name for name, *_ in writers.calls] == ["abort"]


def test_writers_are_given_up_where_no_thread_can_be_started(monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    writers = Writers()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="new thread"):
        WriterThread(writers, StepClock(HostDevice()))
    assert [name for name, *_ in writers.calls] == ["abort"]


def test_writers_are_given_up_though_the_wait_is_interrupted(monkeypatch):
    writers = Writers()
    sink = WriterThread(writers, StepClock(HostDevice()))
    with monkeypatch.context() as patch:
        patch.setattr(sink._pool, "shutdown", lambda **_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sink.abort()
    assert writers.calls[-1][0] == "abort"
    sink._pool.shutdown()


def test_an_error_of_the_thread_is_not_that_of_a_later_block():
    writers = Writers()
    writers.append = lambda *_: (_ for _ in ()).throw(MemoryError("no room to encode"))
    sink = WriterThread(writers, StepClock(HostDevice()))
    give(sink, np.array(1))
    with pytest.raises(MemoryError) as caught:
        give(sink, np.array(2))
    assert caught.value.__notes__ == ["while kept shots were written, the first of them row 0"]
    sink.abort()


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
