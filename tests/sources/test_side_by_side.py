"""Files of several modules are read at once, and errors of one do not hide in another."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from shotsieve.errors import UnreadableData
from shotsieve.sources import run as run_module
from shotsieve.sources.chunks import count_inflating, inflating_s
from shotsieve.sources.side_by_side import side_by_side

PATIENCE_S = 30


@pytest.mark.parametrize("at_once", [0, 1, 2, 5])
def test_every_reading_is_done_and_tells_of_its_own_error(at_once):
    done = []

    def read(number):
        done.append(number)
        if number % 3 == 0:
            raise UnreadableData(f"number {number}")

    errors = side_by_side(read, 8, at_once)
    assert sorted(done) == list(range(8))
    assert [None if error is None else str(error) for error in errors] == [
        f"number {number}" if number % 3 == 0 else None for number in range(8)
    ]
    assert side_by_side(read, 0, at_once) == []


def test_another_error_comes_once_nothing_is_under_way():
    under_way, begun = [0], threading.Event()

    def read(number):
        if number == 0:
            assert begun.wait(PATIENCE_S)
            raise KeyError("not a file's fault")
        under_way[0] += 1
        begun.set()
        time.sleep(0.01)
        under_way[0] -= 1

    with pytest.raises(KeyError, match="not a file's fault"):
        side_by_side(read, 100, 2)
    assert under_way == [0]


def test_so_many_are_at_work_and_no_more():
    together, lock, now = threading.Barrier(3, timeout=PATIENCE_S), threading.Lock(), [0, 0]

    def read(number):
        with lock:
            now[0] += 1
            now[1] = max(now)
        together.wait()  # three of them
        with lock:
            now[0] -= 1

    assert side_by_side(read, 9, 3) == [None] * 9
    assert now[1] == 3


def test_all_is_read_though_the_system_gives_no_more_threads(monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done = []
    assert side_by_side(done.append, 5, 3) == [None] * 5
    assert done == list(range(5))


@pytest.mark.parametrize("at_once", [1, 2])
def test_the_time_of_inflating_is_that_of_the_whole(at_once):
    before = inflating_s()
    side_by_side(lambda number: count_inflating(0.5), 6, at_once)
    assert inflating_s() - before == pytest.approx(3.0 / at_once)


@pytest.mark.parametrize("layout", ["frame", "gzip"])
@pytest.mark.parametrize(("threads", "share"), [(1, 1), (2, 1), (3, 1), (4, 2), (64, 22)])
def test_modules_of_a_run_share_the_threads(
    maker, opened, read_all, truth, monkeypatch, layout, threads, share
):
    for m in (0, 1, 2):
        maker.module(m, [(10, [0, 2, 4]), (11, [0])], layout=layout)
    used, read_frames = [], run_module.read_frames

    def watched(where, frames, out, at, threads):
        used.append(threads)
        return read_frames(where, frames, out, at, threads)

    monkeypatch.setattr(run_module, "read_frames", watched)
    source = opened(threads=threads)
    out = read_all(source)
    assert used == [share] * 3
    for i in range(4):
        for m in (0, 1, 2):
            words = truth(source.shots.train_id[i], source.shots.pulse_id[i], m, maker.shape)
            np.testing.assert_array_equal(out[i, m], words)
