"""The embedded engine: order, back-pressure, errors, and the end."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
from foreign import Named
from shotsieve import UserStage
from shotsieve import backend as backends
from shotsieve.errors import BadInput

from .embed_case import blocks, make


def test_an_endless_stream_is_taken_as_slots_are_free(embedded, embedded_source):
    (block,) = blocks(embedded_source, 5)[:1]
    taken = []

    def stream():
        while True:
            taken.append(1)
            yield block

    with make(embedded, embedded_source, slots=2) as engine:
        results = engine.run(stream())
        first, second = next(results), next(results)
        assert first.table == second.table
        assert len(taken) <= 5
        with pytest.raises(BadInput, match="a run is passing through"):
            engine.submit(block)
        results.close()
        assert not [t for t in threading.enumerate() if t.name.startswith("shotsieve-read")]
        assert engine.submit(block).result().table == first.table


def test_results_come_in_order_and_slots_bound_what_is_in_flight(embedded, embedded_source):
    heard = []
    with make(embedded, embedded_source, slots=2, on_result=heard.append) as engine:
        pending = [engine.submit(block) for block in blocks(embedded_source, 4)]
        assert [one.done for one in pending] == [True, True, False, False]
        pending[3].result()
        assert all(one.done for one in pending)
        assert heard == [one.result() for one in pending]
        assert engine.slot_bytes > 5 * 16 * 2 * 65536 * 2


def test_a_stage_that_fails_or_answers_nonsense(embedded, embedded_source):
    (block,) = blocks(embedded_source, 4)[:1]

    def fails(frames):
        raise ZeroDivisionError("mine")

    for function, error, words in (
        (fails, ZeroDivisionError, "mine"),
        (lambda frames: {"other": [1] * len(frames)}, BadInput, r"returned \['other'\]"),
        (lambda frames: {"own": 1.0}, BadInput, r"own has shape \(\)"),
        (lambda frames: frames.fill(0), ValueError, "read-only"),
    ):
        with make(embedded, embedded_source, stages=[UserStage("mine", function, {"own": ""})]) as engine:
            pending = engine.submit(block)
            with pytest.raises(error, match=words):
                pending.result()
            with pytest.raises(error, match=words):
                pending.result()
            assert pending.done


def test_a_block_that_failed_leaves_nothing_behind(embedded, embedded_source):
    one, other = blocks(embedded_source, 4)[0], blocks(embedded_source, 3)[1]
    calls = []

    def fails_once(frames):
        calls.append(len(frames))
        if len(calls) == 1:
            raise ZeroDivisionError("once")
        return {"own": [0.0] * len(frames)}

    with make(embedded, embedded_source, stages=[UserStage("mine", fails_once, {"own": ""})]) as engine:
        first, second = engine.submit(one), engine.submit(other)
        result = second.result()  # the other block's error is not this one's
        with pytest.raises(ZeroDivisionError):
            first.result()
        assert engine.profile().shots.max() == len(other)
    with make(embedded, embedded_source) as engine:
        fresh = engine.submit(other).result()
    assert np.array_equal(result.profiles.intensity, fresh.profiles.intensity, equal_nan=True)
    assert np.array_equal(result.frames["data"], fresh.frames["data"], equal_nan=True)


def test_an_error_nobody_asked_for_is_told_at_the_end(embedded, embedded_source):
    block = blocks(embedded_source, 4)[0]

    def fails(frames):
        raise ZeroDivisionError("mine")

    engine = make(embedded, embedded_source, slots=1, stages=[UserStage("mine", fails, {"own": ""})])
    engine.submit(block)
    engine.submit(block)  # collects the first
    with pytest.raises(ZeroDivisionError, match="mine"):
        engine.flush()
    engine.flush()
    engine.close()


def test_a_callback_may_submit(embedded, embedded_source):
    todo, heard = blocks(embedded_source, 4), []

    def more(result):
        heard.append(result)
        if todo:
            engine.submit(todo.pop(0))

    with make(embedded, embedded_source, slots=1, on_result=more) as engine:
        engine.submit(todo.pop(0))
        engine.submit(todo.pop(0))
    assert [len(result.table) for result in heard] == [4, 4, 4, 4]


def test_a_stream_that_pauses_holds_nothing_back(embedded, embedded_source):
    go_on = threading.Event()

    def stream():
        first, *others = blocks(embedded_source, 4)
        yield first
        assert go_on.wait(30)
        yield from others

    with make(embedded, embedded_source, slots=3) as engine:
        results = engine.run(stream())
        assert len(next(results).table) == 4
        go_on.set()
        assert len(list(results)) == 3


def test_a_silent_stream_does_not_hold_up_the_end(embedded, embedded_source):
    """Neither the end of a run nor that of the engine waits for a block; one that comes later is dropped."""
    given = blocks(embedded_source, 4)
    silent, go_on, over = (threading.Event() for _ in range(3))

    def stream():
        yield given[0]
        silent.set()
        go_on.wait(60)
        over.set()
        yield given[1]

    with make(embedded, embedded_source, slots=3) as engine:
        results = engine.run(stream())
        first = next(results).table
        assert silent.wait(60)
        results.close()
        assert not over.is_set(), "closing waits for the stream"
        assert engine.submit(given[0]).result().table == first
        silent.clear()
        left = engine.run(stream())
        next(left)
        assert silent.wait(60)
    assert not over.is_set(), "the engine waits for the stream"
    go_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("shotsieve-read"):
            thread.join(60)
            assert not thread.is_alive()
    assert list(left) == []


def test_what_came_before_an_error_is_yielded(embedded, embedded_source):
    def stream():
        yield from blocks(embedded_source, 4)[:3]
        raise OSError("the bridge broke")

    bad = [*blocks(embedded_source, 4)[:2], "no block"]
    for broken, error, words, whole in (
        (stream(), OSError, "the bridge broke", 3),
        (bad, BadInput, "a block is a", 2),
    ):
        got = []
        with make(embedded, embedded_source, slots=2) as engine, pytest.raises(error, match=words):
            got.extend(engine.run(broken))
        assert len(got) == whole


def test_closing_while_a_run_passes(embedded, embedded_source):
    engine = make(embedded, embedded_source, slots=2)
    results = engine.run(blocks(embedded_source, 4))
    next(results)
    engine.close()
    assert list(results) == []
    assert not [t for t in threading.enumerate() if t.name.startswith("shotsieve-read")]


def test_a_closed_engine_and_one_that_is_left_by_an_error(embedded, embedded_source):
    (block,) = blocks(embedded_source, 4)[:1]
    waiting = []

    def work():
        with make(embedded, embedded_source) as engine:
            waiting.extend([engine, engine.submit(block)])
            raise RuntimeError("elsewhere")

    with pytest.raises(RuntimeError, match="elsewhere"):
        work()
    engine, pending = waiting
    with pytest.raises(BadInput, match="closed before this block was collected"):
        pending.result()
    for call in (lambda: engine.submit(block), lambda: next(engine.run([block])), engine.profile):
        with pytest.raises(BadInput, match="closed"):
            call()
    engine.close()


@pytest.mark.parametrize("how", ["run", "submit"])
def test_words_are_taken_once_the_stream_that_makes_them_is_done(embedded, embedded_source, device_name, how):
    """The reader's thread takes them from a generator; nobody waits for its stream but the engine."""
    device = backends.get(device_name).device
    given, alive = blocks(embedded_source, 2)[:2], []  # the emulator waits where pinned memory goes

    def made():
        for block in given:
            stream, pinned = device.stream(), device.empty_pinned(block.raw.shape, "u2")
            pinned[...] = block.raw
            alive.append(pinned)
            raw = device.empty(block.raw.shape, "u2")
            device.to_device(raw, pinned, stream)
            # The emulator's memory is poisoned: whoever does not wait calibrates nonsense.
            yield dataclasses.replace(block, raw=Named(raw, device.handle(stream)))

    with make(embedded, embedded_source, device_name) as engine:
        wanted = [result.table for result in engine.run(given)]
        found = engine.run(made()) if how == "run" else [engine.submit(one).result() for one in made()]
        assert [result.table for result in found] == wanted
