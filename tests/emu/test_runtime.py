"""The emulated device as Python sees it: memory, streams and events."""

from __future__ import annotations

import numpy as np
import pytest

emu = pytest.importorskip("shotsieve._emu", reason="the emulated device is built with SHOTSIEVE_EMU=ON")

SEEDS = range(6)


@pytest.fixture(params=SEEDS)
def seed(request):
    emu.set_seed(request.param)
    yield request.param
    emu.device_synchronize()


@pytest.fixture
def stream():
    handle = emu.stream_create()
    yield handle
    emu.stream_destroy(handle)


@pytest.fixture
def device():
    """Allocate device memory that is given back after the test."""
    pointers = []

    def allocate(nbytes: int) -> int:
        pointers.append(emu.malloc(nbytes))
        return pointers[-1]

    yield allocate
    for pointer in pointers:
        emu.free(pointer)


def upload(target: int, values: np.ndarray, stream: int) -> None:
    emu.memcpy_async(target, values.ctypes.data, values.nbytes, stream)


def download(source: int, shape: tuple[int, ...], dtype: str, stream: int) -> np.ndarray:
    values = np.empty(shape, dtype)
    emu.memcpy_async(values.ctypes.data, source, values.nbytes, stream)
    return values


def test_memory_is_aligned_poisoned_and_given_back(seed, device):
    before = emu.live_allocations()
    pointer = device(1000)
    assert pointer % 16 == 0
    assert (download(pointer, (1000,), "u1", 0) == 0xCD).all()
    pinned = emu.host_alloc(64)
    emu.memcpy_async(pointer, pinned, 64, 0)
    assert (download(pointer, (64,), "u1", 0) == 0xCB).all()
    assert emu.live_allocations() == before + 2
    emu.host_free(pinned)
    assert emu.live_allocations() == before + 1
    assert emu.malloc(0) == 0
    emu.free(0)


def test_copies_of_a_stream_run_in_order(seed, stream, device):
    values = np.random.default_rng(seed).integers(0, 2**16, 5000).astype("u2")
    first, second = device(values.nbytes), device(values.nbytes)
    upload(first, values, stream)
    emu.memcpy_async(second, first, values.nbytes, stream)
    emu.memset_async(first, 7, values.nbytes, stream)
    assert (download(second, values.shape, "u2", stream) == values).all()
    assert (download(first, values.shape, "u2", stream) == 0x0707).all()


def test_pageable_source_is_read_before_the_call_returns(seed, stream, device):
    values = np.arange(100, dtype="i4")
    pointer = device(values.nbytes)
    upload(pointer, values, stream)
    values[:] = -1
    assert (download(pointer, (100,), "i4", stream) == np.arange(100)).all()


def test_events_order_streams(seed, stream, device):
    other = emu.stream_create()
    event = emu.event_create()
    pointer = device(4000)
    for value in range(20):
        emu.memset_async(pointer, value, 4000, stream)
        emu.event_record(event, stream)
        emu.stream_wait_event(other, event)
        assert (download(pointer, (4000,), "u1", other) == value).all()
    emu.event_synchronize(event)
    assert emu.event_query(event)
    assert emu.stream_query(stream)
    emu.event_destroy(event)
    emu.stream_destroy(other)


def test_work_is_mostly_late_and_sometimes_early(seed, stream, device):
    pointer = device(4)
    late = 0
    for value in range(50):
        for _ in range(3):
            emu.memset_async(pointer, value, 4, stream)
        late += not emu.stream_query(stream)  # each question lets one piece of the work run
        while not emu.stream_query(stream):
            pass
        assert (download(pointer, (4,), "u1", 0) == value).all()
    assert late == 50 if seed == 0 else 25 < late < 50


def test_memory_lives_until_the_work_queued_before_its_release_is_done(seed, stream):
    before = emu.live_allocations()
    pointer = emu.malloc(1 << 16)
    for value in range(10):
        emu.memset_async(pointer, value, 1 << 16, stream)
    emu.free(pointer)
    emu.stream_synchronize(stream)
    assert emu.live_allocations() == before


def test_misuse_is_an_error_that_says_what_it_is(device):
    pointer = device(100)
    values = np.zeros(101, "u1")
    with pytest.raises(RuntimeError, match="101 bytes from offset 0 of an allocation of 100 bytes"):
        upload(pointer, values, 0)
    with pytest.raises(RuntimeError, match="not the start of an allocation"):
        emu.free(pointer + 1)
    with pytest.raises(RuntimeError, match="stream handle that was never created"):
        emu.stream_synchronize(12345)
    with pytest.raises(RuntimeError, match="event handle that was never created"):
        emu.event_synchronize(12345)
    destroyed = emu.stream_create()
    emu.stream_destroy(destroyed)
    with pytest.raises(RuntimeError, match="stream that was destroyed"):
        emu.memset_async(pointer, 0, 100, destroyed)
    with pytest.raises(RuntimeError, match="memset of memory that is not the device's"):
        emu.memset_async(values.ctypes.data, 0, 100, 0)
    twice = emu.malloc(16)
    emu.free(twice)
    with pytest.raises(RuntimeError, match="freed twice"):
        emu.free(twice)
