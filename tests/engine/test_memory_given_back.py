"""Buffers go back when the last who needs them lets go of them: nothing waits for the garbage collector."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import pytest
from shotsieve import UserStage
from shotsieve.engine.blocks import BlockRunner, Slot
from shotsieve.engine.pixels import PixelPass
from shotsieve.errors import BadInput

from .embed_case import SECTIONS, blocks, make

FEW = SECTIONS | {"select": {"rule": "cell_id < 1"}}  # a shot of each train
# Calibrated twice, the second time to pixels: all that a device holds, without the work of many modules.
PLAIN = FEW | {"measure": {"lit": {"threshold": "0.7 photon"}}, "keep": {"rule": "lit_pixels[3] > 0"}}
MODULES = [3, 4]


def small(spots, source, backend="cpu", **options):
    return make(spots, source, backend, block_shots=2, modules=MODULES, **options)


def two_blocks(source):
    """Return four shots of the run, of the modules that recorded."""
    return [
        dataclasses.replace(block, raw=block.raw[:, MODULES].copy(), present=block.present[:, MODULES])
        for block in blocks(source, 2, 4)
    ]


@pytest.fixture
def left(monkeypatch):
    """Return what tells which of the large things that were made since are still there."""
    made = []
    for kind in (Slot, BlockRunner, PixelPass):
        real = kind.__init__

        def note(self, *args, real=real, **options):
            made.append(weakref.ref(self))
            real(self, *args, **options)

        monkeypatch.setattr(kind, "__init__", note)
    gc.collect()
    gc.disable()
    yield (
        lambda: [type(one()).__name__ for one in made if one() is not None] if made else ["nothing was made"]
    )
    gc.enable()


def test_of_a_reduction(embedded, tmp_path, left, backend_name):
    embedded.reduce(tmp_path / "out", backend_name, **(FEW if backend_name == "cpu" else PLAIN))
    assert left() == []


@pytest.mark.parametrize("step", ["fill", "submit", "collect"])
def test_of_a_reduction_that_fails(embedded, tmp_path, left, monkeypatch, step):
    calls = []
    name = {"fill": "describe", "submit": "_queue", "collect": "_tell_counts"}[step]
    real = getattr(BlockRunner, name)

    def fail(self, *rest):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("mine")
        return real(self, *rest)

    monkeypatch.setattr(BlockRunner, name, fail)
    with pytest.raises(RuntimeError, match="mine"):
        embedded.reduce(tmp_path / "out", block_bytes=1, **PLAIN)
    assert left() == []


def test_of_an_engine(embedded, embedded_source, left, backend_name):
    given = two_blocks(embedded_source)
    with small(embedded, embedded_source, backend_name) as engine:
        for result in engine.run(given):
            assert len(result.table)
        engine.submit(given[0])
    assert left() == []


def test_of_blocks_that_failed(embedded, embedded_source, left):
    """Neither their words nor the engine are kept by what tells of the error, for as long as that may be."""
    words = []

    def fails(frames):
        raise ZeroDivisionError("mine")

    def submit(engine):
        block = two_blocks(embedded_source)[0]
        words.append(weakref.ref(block.raw))
        return engine.submit(block)

    engine = small(embedded, embedded_source, slots=1, stages=[UserStage("mine", fails, {"own": ""})])
    asked, unasked = submit(engine), submit(engine)
    with pytest.raises(ZeroDivisionError):
        asked.result()
    with pytest.raises(ZeroDivisionError):
        engine.flush()
    assert not any(one() is not None for one in words)
    assert unasked.done
    engine.close()
    del engine, unasked, asked
    assert left() == []


def test_of_a_run_that_fails(embedded, embedded_source, left):
    def stream():
        yield from two_blocks(embedded_source)
        raise OSError("the bridge broke")

    with small(embedded, embedded_source, slots=2) as engine, pytest.raises(OSError, match="broke"):
        list(engine.run(stream()))
    assert left() == []


def test_a_stage_cannot_use_its_engine(embedded, embedded_source):
    first, second = two_blocks(embedded_source)
    waiting, told = [], []

    def greedy(frames):  # its errors would be told by the engine
        for call in (lambda: engine.submit(second), waiting[-1].result):
            with pytest.raises(BadInput, match="this engine is collecting a block"):
                call()
        told.append(len(frames))
        return {"own": [0.0] * len(frames)}

    with small(embedded, embedded_source, stages=[UserStage("mine", greedy, {"own": ""})]) as engine:
        waiting = [engine.submit(first), engine.submit(second)]
        assert len(waiting[0].result().table) == 2
        waiting.append(engine.submit(first))
    assert sum(told) == 2 + 2 + 2
