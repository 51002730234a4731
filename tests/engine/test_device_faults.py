"""A device that is too small, or fails: smaller blocks, or an error with the sizes; what stands stays."""

from __future__ import annotations

import dataclasses
import os
from types import SimpleNamespace

import numpy as np
import pytest
import shotsieve
from shotsieve import backend as backends
from shotsieve import telling
from shotsieve.device import CupyDevice, HostDevice
from shotsieve.emulated import EmulatedDevice
from shotsieve.engine.blocks import BlockRunner
from shotsieve.errors import BackendUnavailable, NoRoom

BLOCK_BYTES = 60_000_000  # all three trains; 16 modules of 4 cells are 17 MB
SIZES = {  # MB of the card, and what is said: the slots, and the size of their blocks
    1000: "",
    115: "3 blocks of 30.0 MB in flight, since the device has no room for 3 of 60.0 MB",
    80: "2 blocks of 30.0 MB",
    66: "1 block of 30.0 MB",
}


@pytest.fixture
def small(emulator, monkeypatch):
    """Return what makes the emulator's card one of so many bytes."""
    monkeypatch.setattr(telling, "_said", set())

    def make(memory_bytes: int):
        device = EmulatedDevice(emulator.native, memory_bytes)
        monkeypatch.setattr(backends, "get", lambda name: dataclasses.replace(emulator, device=device))
        return device

    return make


def test_a_small_card_takes_smaller_blocks_and_says_so(
    simulated, make_recipe, digest, tmp_path, small, capsys
):
    """The same bytes; a card on which nothing fits is refused with the sizes."""
    run, found = simulated("usual"), set()

    def reduce(name):
        return shotsieve.reduce(
            run.raw, make_recipe(), tmp_path / name, run.constants, "emu", block_bytes=BLOCK_BYTES
        )

    for megabytes, words in SIZES.items():
        device = small(megabytes * 10**6)
        found.add(str(digest(reduce(str(megabytes)).out)))
        told = capsys.readouterr().err
        assert words in told
        assert told.count("\n") == bool(words)  # once
        assert device.free_bytes() >= 0
    assert len(found) == 1
    small(45_000_000)
    with pytest.raises(NoRoom, match=r"room for another 16\.8 MB: .* of its 45\.0 MB .* are the smallest"):
        reduce("none")
    assert not (tmp_path / "none").exists()


def test_an_engine_on_a_small_card_is_refused_with_the_sizes(simulated, make_recipe, small):
    run = simulated("usual")
    small(20_000_000)
    mode = {"gain_mode": "adaptive", "photon_energy_kev": 9.3}
    with pytest.raises(NoRoom, match=r"of its 20\.0 MB are free"):
        shotsieve.Engine(
            make_recipe(), run.constants, backend="emu", detector="AGIPD1M", modules=(3, 4), mode=mode
        )


@pytest.mark.parametrize("step", ["submit", "collect"])
def test_a_device_that_fails_ends_the_run_with_the_block_named(
    simulated, make_recipe, digest, tmp_path, monkeypatch, step
):
    """What was committed is intact: the reduction goes on from there."""
    run, recipe = simulated("usual"), make_recipe(write={"content": "corrected", "trains_per_file": 1})
    name, calls = {"submit": "_queue", "collect": "_tell_counts"}[step], []
    real = getattr(BlockRunner, name)

    def fail(self, slot, *rest):
        calls.append(slot)
        if len(calls) == 2:
            raise RuntimeError("CUDA error 700 (an illegal memory access was encountered): launch refused")
        return real(self, slot, *rest)

    monkeypatch.setattr(BlockRunner, name, fail)
    with pytest.raises(RuntimeError, match="illegal memory access") as told:
        shotsieve.reduce(run.raw, recipe, tmp_path / "out", run.constants, "cpu")
    train = int(run.truth.train_id[4])
    assert any(f"trains {train} to {train}" in note for note in told.value.__notes__)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    whole = shotsieve.reduce(run.raw, recipe, tmp_path / "whole", run.constants, "cpu")
    trains = []
    again = shotsieve.reduce(
        run.raw,
        recipe,
        tmp_path / "out",
        run.constants,
        "cpu",
        resume=True,
        progress=lambda done, *_: trains.append(done),
    )
    assert min(trains) > 4  # the first train was not read again
    assert digest(again.out) == digest(whole.out)


def test_steps_are_ranges_for_the_profiler_of_the_device(simulated, make_recipe, tmp_path, monkeypatch):
    named = []

    class Marking(HostDevice):
        def range(self, name):
            named.append(name)
            return super().range(name)

    cpu, run = backends.get("cpu"), simulated("usual")
    monkeypatch.setattr(backends, "get", lambda name="auto": dataclasses.replace(cpu, device=Marking()))
    shotsieve.reduce(run.raw, make_recipe(), tmp_path / "out", run.constants, "cpu")
    assert {"read", "queue", "wait for counts", "decide", "write", "finish", "commit"} <= set(named)


class Faulty(HostDevice):
    """After a fault it refuses everything, as CUDA does."""

    failed = False

    def record(self, stream):
        if self.failed:
            raise RuntimeError("CUDA error 700: an event cannot be recorded")


@pytest.fixture
def faulty(monkeypatch):
    """A device that is at fault from the second block on."""
    device, real, calls = Faulty(), BlockRunner._queue, []

    def queue(self, slot, *rest):
        calls.append(slot)
        if len(calls) == 2:
            device.failed = True
            raise RuntimeError("CUDA error 700 (an illegal memory access was encountered): launch refused")
        return real(self, slot, *rest)

    cpu = backends.get("cpu")
    monkeypatch.setattr(backends, "get", lambda name="auto": dataclasses.replace(cpu, device=device))
    monkeypatch.setattr(BlockRunner, "_queue", queue)
    return device


def test_the_first_error_of_a_device_is_told_and_not_those_that_follow(
    simulated, make_recipe, tmp_path, faulty
):
    run, recipe = simulated("usual"), make_recipe(write={"content": "corrected", "trains_per_file": 1})
    with pytest.raises(RuntimeError, match="launch refused") as told:
        shotsieve.reduce(run.raw, recipe, tmp_path / "out", run.constants, "cpu")
    assert any("in a block of 4 shots" in note for note in told.value.__notes__)
    assert any("1 part" in note for note in told.value.__notes__)


def test_an_engine_on_a_device_at_fault_is_freed(simulated, make_recipe, faulty):
    run = simulated("usual")
    mode = {"gain_mode": "adaptive", "photon_energy_kev": 9.3}
    engine = shotsieve.Engine(
        make_recipe(write=None), run.constants, backend="cpu", detector="AGIPD1M", modules=(3, 4), mode=mode
    )
    words = np.full((2, 2, 2, 512, 128), 5200, "u2")
    first, second = (shotsieve.Block(words, train, [0, 4], [0, 1]) for train in (1, 2))
    with pytest.raises(RuntimeError, match="launch refused") as told, engine:
        engine.submit(first), engine.submit(second)
    assert any("trains 2 to 2" in note for note in told.value.__notes__)
    assert engine.slot_bytes == 0


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("Tesla V100 has compute capability 7.0, and 8.0 or newer is needed", True),
        ("cudaErrorInitializationError (driver API 13000, built with runtime 13000)", True),
        ("cudaErrorInsufficientDriver (driver API 11040, built with runtime 13000)", True),
        ("cudaErrorNoDevice (driver API 13000, built with runtime 13000)", False),
        ("cudaErrorInsufficientDriver (driver API not found, built with runtime 13000)", False),
    ],
)
def test_a_gpu_that_cannot_be_used_is_not_passed_over_in_silence(monkeypatch, capsys, reason, told):
    monkeypatch.setattr(telling, "_said", set())
    real, cuda = backends._import_native, SimpleNamespace(probe=lambda: (0, "", reason))
    monkeypatch.setattr(backends, "_import_native", lambda name: cuda if name == "_cuda" else real(name))
    assert backends.get("auto").name == "cpu"
    assert (f"the GPU is not used: no usable GPU: {reason}" in capsys.readouterr().err) == told
    with pytest.raises(BackendUnavailable, match="no usable GPU"):
        backends.get("cuda")


def test_pinned_memory_that_the_host_refuses_is_an_error_with_the_size():
    class CUDARuntimeError(RuntimeError):
        status = 2

    def refuse(shape, dtype):
        raise CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")

    device = object.__new__(CupyDevice)
    device._pid, device._empty_pinned = os.getpid(), refuse
    device._cupy = SimpleNamespace(
        cuda=SimpleNamespace(runtime=SimpleNamespace(CUDARuntimeError=CUDARuntimeError))
    )
    with pytest.raises(NoRoom, match=r"no room for another 8\.0 MB of pinned memory"):
        device.empty_pinned((1000, 1000), "f8")
    CUDARuntimeError.status = 700
    with pytest.raises(CUDARuntimeError):
        device.empty_pinned((1000, 1000), "f8")


def test_what_was_made_before_a_fork_is_refused_after_it():
    device = object.__new__(CupyDevice)
    device._pid = os.getpid()
    child = os.fork()
    if child == 0:
        told = 0
        for ask in (device.stream, lambda: device.empty((1,), "u1"), lambda: device.record(None)):
            try:
                ask()
            except BackendUnavailable as error:
                told += "cannot be used after a fork" in str(error)
        os._exit(told)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


def test_a_forked_process_that_asks_for_the_gpu_is_told(monkeypatch):
    """A real fork; the driver is not needed, since nothing of it may be touched."""
    monkeypatch.setattr(backends, "_first_cuda_pid", os.getpid())
    monkeypatch.setattr(backends, "_import_native", lambda name: SimpleNamespace(probe=_never))
    child = os.fork()
    if child == 0:
        told = 0
        for name in ("cuda", "auto"):
            try:
                backends.get(name)
            except BackendUnavailable as error:
                told += "cannot be used after a fork" in str(error) and "'spawn'" in str(error)
        os._exit(told)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2


def _never() -> None:
    os._exit(77)
