"""The ring of slots with plain steps, and the emulated engine, which must notice a wait that is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest
import shotsieve
from shotsieve import backend as backends
from shotsieve.engine.blocks import BlockRunner
from shotsieve.engine.ring import run_ring
from shotsieve.engine.writers import KeptWriters
from shotsieve.errors import BackendUnavailable
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build, spi_source

from .waits import skip_waits_of


class Steps:
    """Steps that note what happened, and fail where they are told to."""

    def __init__(self, fail: tuple[str, int] | None = None, pause=lambda: 0.0) -> None:
        self.fail, self.pause = fail, pause
        self.log: list[tuple[str, int]] = []
        self.in_use: set[str] = set()
        self.most = 0
        self._lock = threading.Lock()

    def _step(self, name: str, start: int) -> None:
        time.sleep(self.pause())
        with self._lock:
            self.log.append((name, start))
        if self.fail == (name, start):
            raise RuntimeError(f"{name} {start}")

    def fill(self, slot: str, start: int) -> None:
        with self._lock:
            assert slot not in self.in_use, "a slot is filled while its block is still in flight"
            self.in_use.add(slot)
            self.most = max(self.most, len(self.in_use))
        self._step("fill", start)

    def submit(self, slot: str, start: int) -> None:
        assert slot in self.in_use
        self._step("submit", start)

    def collect(self, slot: str, start: int) -> int:
        assert slot in self.in_use
        self._step("collect", start)
        with self._lock:
            self.in_use.remove(slot)
        return start

    def run(self, slots: int, blocks: int) -> None:
        names = [f"slot {k}" for k in range(slots)]
        results = run_ring(names, range(blocks), self.fill, self.submit, self.collect)
        assert list(results) == list(range(blocks))

    def of(self, name: str) -> list[int]:
        return [start for step, start in self.log if step == name]


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("blocks", [0, 1, 2, 3, 12])
def test_every_cut_passes_every_step_once_and_in_order(slots, blocks, rng):
    steps = Steps(pause=lambda: rng.random() * 2e-3)
    steps.run(slots, blocks)
    for name in ("fill", "submit", "collect"):
        assert steps.of(name) == list(range(blocks))
    for k in range(blocks):
        at = [steps.log.index((name, k)) for name in ("fill", "submit", "collect")]
        assert at == sorted(at)
    assert steps.most <= min(slots, blocks)
    assert not steps.in_use


def test_cuts_are_taken_no_earlier_than_there_are_slots():
    """The number of slots bounds the memory, also where the source of the cuts is endless."""
    taken = []

    def cuts():
        for k in range(50):
            taken.append(k)
            yield k

    def collect(slot, start):
        assert len(taken) <= start + 3

    for _ in run_ring("abc", cuts(), lambda *_: None, lambda *_: None, collect):
        pass
    assert len(taken) == 50


def test_reading_goes_on_while_a_block_is_collected():
    reading = threading.Event()

    def fill(slot, start):
        if start == 1:
            reading.set()

    def collect(slot, start):
        assert reading.wait(10), "the next block is not read before this one is collected"

    for _ in run_ring("ab", [0, 1], fill, lambda *_: None, collect):
        pass


def test_whoever_stops_taking_results_stops_the_ring():
    steps, taken = Steps(), []
    results = run_ring(
        "ab", (taken.append(k) or k for k in range(10**9)), steps.fill, steps.submit, steps.collect
    )
    assert [next(results), next(results)] == [0, 1]
    time.sleep(2e-2)
    assert len(taken) <= 4
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("shotsieve-read")]
    assert len(steps.of("fill")) <= 4


@pytest.mark.parametrize("step", ["fill", "submit", "collect"])
@pytest.mark.parametrize("block", [0, 1, 4, 7])
@pytest.mark.parametrize("slots", [1, 3])
def test_what_a_step_raises_comes_out_and_nothing_follows(step, block, slots, rng):
    steps = Steps(fail=(step, block), pause=lambda: rng.random() * 1e-3)
    with pytest.raises(RuntimeError, match=f"^{step} {block}$"):
        steps.run(slots, 8)
    order = ("fill", "submit", "collect")
    for name in order:
        assert steps.of(name) == list(range(len(steps.of(name))))
    # The block that failed goes no further, and no block overtakes it; reading ahead ends with the slots.
    assert all(len(steps.of(name)) <= block for name in order[order.index(step) + 1 :])
    assert len(steps.of("collect")) <= block + 1
    assert block < len(steps.of(step))
    assert len(steps.of("fill")) <= block + slots
    settled = list(steps.log)
    assert not [t for t in threading.enumerate() if t.name.startswith("shotsieve-read")]
    time.sleep(2e-3)
    assert steps.log == settled


class Silent:
    """A stream of one block, and then of none for long; what it gives later is dropped."""

    def __init__(self, then=lambda: None) -> None:
        self.silent, self.go_on, self.over, self.then = (*(threading.Event() for _ in range(3)), then)

    def __iter__(self):
        yield 0
        self.silent.set()
        self.then()
        self.go_on.wait(60)  # where nobody ends the ring, it comes to that
        self.over.set()
        yield 1

    def end(self) -> None:
        """Let the late block come, and see that its thread ends."""
        self.go_on.set()
        for thread in threading.enumerate():
            if thread.name.startswith("shotsieve-read"):
                thread.join(60)
                assert not thread.is_alive()


class Room:
    """A slot that can be watched."""


def test_closing_does_not_wait_for_a_silent_stream():
    stream, slots, filled = Silent(), [Room() for _ in range(3)], []

    def fill(slot, block):
        filled.append(block)

    watched = [weakref.ref(one) for one in (*slots, fill)]
    results = run_ring(slots, stream, fill, lambda *_: None, lambda slot, block: block)
    assert next(results) == 0
    assert stream.silent.wait(60)
    results.close()
    assert not stream.over.is_set(), "closing waits for the stream"
    del slots, fill, results
    assert not any(one() is not None for one in watched), "the waiting thread holds what it must not"
    stream.end()
    assert filled == [0], "a slot is filled after the end"


@pytest.mark.parametrize("step", ["submit", "collect"])
def test_an_error_does_not_wait_for_a_silent_stream(step):
    stream = Silent()

    def fail(slot, block):
        assert stream.silent.wait(60)
        raise RuntimeError("mine")

    steps = {"submit": lambda *_: None, "collect": lambda *_: None} | {step: fail}
    with pytest.raises(RuntimeError, match="mine"):
        next(run_ring("ab", stream, lambda *_: None, **steps))
    assert not stream.over.is_set()
    stream.end()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals for a thread")
def test_an_interrupt_does_not_wait_for_a_silent_stream():
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("tests run beside the main thread here, and Python interrupts no other")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    stream = Silent(lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))
    try:
        with pytest.raises(KeyboardInterrupt):
            list(run_ring("ab", stream, lambda *_: None, lambda *_: None, lambda *_: None))
    finally:
        signal.signal(signal.SIGINT, before)
    assert not stream.over.is_set()
    stream.end()


def test_closing_waits_for_the_slot_that_is_being_filled():
    filling, go_on, filled = threading.Event(), threading.Event(), []

    def fill(slot, block):
        if block == 1:
            filling.set()
            assert go_on.wait(60)
        filled.append(block)

    results = run_ring("ab", range(9), fill, lambda *_: None, lambda slot, block: block)
    assert next(results) == 0
    assert filling.wait(60)
    closing = threading.Thread(target=results.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive(), "its buffers would be freed"
    go_on.set()
    closing.join(60)
    assert not closing.is_alive()
    assert filled == [0, 1]


def test_a_silent_stream_does_not_keep_the_interpreter():
    program = (
        "import threading\n"
        "from shotsieve.engine.ring import run_ring\n"
        "def stream():\n"
        "    yield 0\n"
        "    threading.Event().wait(600)\n"
        "def nothing(*_): pass\n"
        "results = run_ring('ab', stream(), nothing, nothing, nothing)\n"
        "next(results)\n"
    )
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", program], env={**os.environ, **path}, check=True, timeout=120)


def test_a_ring_without_slots_passes_no_block():
    assert list(run_ring("", [], lambda *_: None, lambda *_: None, lambda *_: None)) == []
    with pytest.raises(ValueError, match="0 slots"):
        next(run_ring("", [0], lambda *_: None, lambda *_: None, lambda *_: None))


# ------------------------------------------------------------------ waits of the engine

SEEDS_WITHOUT_FAULT = range(1, 9)
SEEDS_WITH_FAULT = range(1, 5)


@pytest.fixture(scope="module")
def small_run():
    """A source of six trains of two cells in memory, one block each, and its constants."""
    p = SpiParameters(
        n_trains=6,
        n_cells=2,
        modules=(3,),
        photons_per_hit=(1e6, 2e6),
        background=0.002,
        hit_rate=0.5,
        seed=5,
    )
    source, truth = spi_source(p)
    assert 2 <= truth.hit.sum() <= 10
    return source, constants_in_memory(p, build(p)[1])


@pytest.fixture
def reduce_small(small_run, make_recipe, places, digest):
    """``reduce_small(backend, seed)``: the digests of everything that a reduction of the small run wrote."""
    source, constants = small_run

    def run(backend: str, seed: int = 0, slots: int = 3) -> dict[str, str]:
        if backend == "emu":
            try:
                backends.get("emu").native.set_seed(seed)
            except BackendUnavailable as error:
                pytest.skip(str(error))
        out = places / f"{backend}{seed}"
        made, real = [], BlockRunner.make_slot
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BlockRunner, "make_slot", lambda runner: made.append(1) or real(runner))
            result = shotsieve.reduce(
                source, make_recipe(), out, constants=constants, backend=backend, block_bytes=1, slots=slots
            )
        assert len(made) == slots
        assert len(source.cuts(1)) == 6
        assert result.accounts.expected == 12
        return digest(out)

    return run


def test_a_slow_disk_holds_reading_back(reduce_small, monkeypatch):
    """No more is read ahead than there are slots, however long writing takes."""
    ahead, real_fill, real_append = [], BlockRunner.fill, KeptWriters.append
    told = {"filled": 0, "done": 0}

    def fill(self, slot, block):
        told["filled"] += 1
        real_fill(self, slot, block)

    def append(self, *what):
        time.sleep(0.05)
        ahead.append(told["filled"] - told["done"])
        real_append(self, *what)

    def collect(self, slot, block, real=BlockRunner.collect):
        real(self, slot, block)
        told["done"] += 1

    monkeypatch.setattr(BlockRunner, "fill", fill)
    monkeypatch.setattr(BlockRunner, "collect", collect)
    monkeypatch.setattr(KeptWriters, "append", append)
    reduce_small("cpu", slots=2)
    assert told == {"filled": 6, "done": 6}
    assert ahead
    assert max(ahead) <= 2


def test_the_engine_is_right_in_any_order_that_waits_allow(backend_name, reduce_small):
    if backend_name != "emu":
        pytest.skip("only the emulator has seeds")
    wanted = reduce_small("cpu")
    for seed in SEEDS_WITHOUT_FAULT:
        slots = 2 + seed % 5
        assert reduce_small("emu", seed, slots) == wanted, f"seed {seed}, {slots} slots"


# The wait of `upload` is left out: some seeds run that copy in time by themselves.
@pytest.mark.parametrize("caller", ["collect", "keep"])
def test_a_missing_wait_is_noticed(backend_name, reduce_small, monkeypatch, caller):
    """Without a wait of the engine the result is wrong, or there is none, on every seed."""
    if backend_name != "emu":
        pytest.skip("only the emulator runs work as late as it may")
    wanted = reduce_small("cpu")
    for seed in SEEDS_WITH_FAULT:
        with monkeypatch.context() as patch:
            skipped = skip_waits_of(patch, caller)
            try:
                found = reduce_small("emu", seed)
            except Exception as error:
                found = error
        assert skipped, "the engine waits elsewhere now"
        assert found != wanted, f"seed {seed}: the wait of {caller} is not missed"
