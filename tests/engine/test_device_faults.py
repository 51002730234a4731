"""A device that is too small, or fails: smaller blocks, or an error with the sizes; what stands stays."""

from __future__ import annotations

import dataclasses
import os
from types import SimpleNamespace

import pytest
import shotsieve
from shotsieve import backend as backends
from shotsieve import telling
from shotsieve.emulated import EmulatedDevice
from shotsieve.engine.blocks import BlockRunner
from shotsieve.errors import BackendUnavailable, NoRoom

BLOCK_BYTES = 60_000_000  # all three trains; 16 modules of 4 cells are 17 MB
SIZES = {  # MB of the card, and what is said: the slots, and the size of their blocks
    1000: "",
    140: "3 blocks of 30.0 MB in flight, since the device has no room for 3 of 60.0 MB",
    92: "2 blocks of 30.0 MB",
    75: "1 block of 30.0 MB",
}


@pytest.fixture
def small(monkeypatch):
    """Return what makes the emulator's card one of so many bytes."""
    try:
        emu = backends.get("emu")
    except BackendUnavailable as error:
        pytest.skip(str(error))
    monkeypatch.setattr(telling, "_said", set())

    def make(memory_bytes: int):
        device = EmulatedDevice(emu.native, memory_bytes)
        monkeypatch.setattr(backends, "get", lambda name: dataclasses.replace(emu, device=device))
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
    small(60_000_000)
    with pytest.raises(NoRoom, match=r"room for another 16\.8 MB: .* of its 60\.0 MB .* are the smallest"):
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
