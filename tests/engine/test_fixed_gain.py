"""Runs in fixed gain: the gain plane says nothing, and is neither read nor moved, unless it is written."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import backend as backends
from shotsieve.engine import branches
from shotsieve.engine.blocks import BlockRunner
from shotsieve.sources.run import open_run

from .conftest import RECIPES
from .embed_case import blocks

PLANE = 2 * 65536
LAYOUTS = {
    "as it is": {},
    "in chunks": {"chunks": (1, 2, 512, 128)},
    "deflated": {"chunks": (3, 2, 512, 128), "compression": "gzip", "shuffle": True},
    "in parts of frames": {"chunks": (1, 1, 512, 128)},
}


@pytest.fixture
def reduce(simulated, make_recipe, places):
    sim = simulated("fixed_medium")

    def run(name, raw=None, backend="cpu", **options):
        options = {"constants": sim.constants, "backend": backend, "block_bytes": 1} | options
        recipe = make_recipe(**(RECIPES["fixed_medium"] | options.pop("sections", {})))
        return shotsieve.reduce(raw or sim.raw, recipe, places / name, **options)

    return run


def outputs(result, digest):
    """Return what was written, but for the bytes that were read."""
    found = {name: value for name, value in digest(result.out).items() if name != "accounts.json"}
    return found, result.table


def test_half_is_read_and_moved_and_nothing_changes(reduce, digest, backend_name, monkeypatch):
    made = []
    real = BlockRunner.make_slot
    monkeypatch.setattr(BlockRunner, "make_slot", lambda self: made.append(real(self)) or made[-1])
    half = reduce(f"half {backend_name}", backend=backend_name)
    assert {slot.raw.shape[2] for slot in made} == {slot.device_raw.shape[2] for slot in made} == {1}
    monkeypatch.setattr(branches, "leave_out_gain", lambda job: None)
    made.clear()
    whole = reduce(f"whole {backend_name}", backend=backend_name)
    assert {slot.raw.shape[2] for slot in made} == {2}
    assert outputs(half, digest) == outputs(whole, digest)
    assert 2 * half.accounts.bytes_in == whole.accounts.bytes_in > 0
    assert half.accounts.kept > 0


def test_raw_words_are_written_with_their_gain_plane(reduce, simulated, read_module):
    result = reduce("raw", sections={"write": {"content": "raw"}, "keep": None})
    sim = simulated("fixed_medium")
    for module in (3, 4):
        [path] = sim.raw.glob(f"*AGIPD{module:02d}*")
        with h5py.File(path) as file:
            words = file[f"INSTRUMENT/SPB_DET_AGIPD1M-1/DET/{module}CH0:xtdf/image/data"][()]
        np.testing.assert_array_equal(read_module(result, module)["image.data"], words)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(reduce, reduced, simulated, read_module, link_run, tmp_path, layout):
    """Words beyond the first plane may be anything."""
    run = link_run(simulated("fixed_medium").raw, tmp_path / "r0001")
    for module in (3, 4):
        [path] = run.glob(f"*AGIPD{module:02d}*")
        words = path.read_bytes()
        path.unlink()
        path.write_bytes(words)
        name = f"INSTRUMENT/SPB_DET_AGIPD1M-1/DET/{module}CH0:xtdf/image/data"
        with h5py.File(path, "r+") as file:
            data = file[name][()]
            data[:, 1] = 77
            del file[name]
            file.create_dataset(name, data=data, **LAYOUTS[layout])
    usual, other = reduced("fixed_medium"), reduce("other", run)
    assert other.table == usual.table
    for module in (3, 4):
        mine, theirs = read_module(other, module), read_module(usual, module)
        for name in ("data", "gain", "mask"):
            np.testing.assert_array_equal(mine[f"image.{name}"], theirs[f"image.{name}"])
    source = open_run(run).without_gain_plane()
    shots = len(source.readable)
    got, both = np.zeros((shots, 16, 1, 512, 128), "u2"), np.zeros((shots, 16, 2, 512, 128), "u2")
    source.read(0, shots, got)
    open_run(run).read(0, shots, both)
    np.testing.assert_array_equal(got, both[:, :, :1])


def test_in_memory(reduce, simulated):
    opened = open_run(simulated("fixed_medium").raw)
    shots = opened.shots
    words = np.zeros((len(shots), 16, 2, 512, 128), "u2")
    opened.read(0, len(shots), words)

    def make(index, out):
        out[:] = words[index]

    told = []
    for frames in (words, make):
        source = shotsieve.sources.memory.MemorySource(
            opened.detector,
            frames,
            shots.train_id,
            shots.pulse_id,
            shots.cell_id,
            present=shots.present,
            mode=opened.mode,
            name=opened.name,
        )
        result = reduce(f"memory{len(told)}", source)
        told.append(result.table)
        assert result.accounts.bytes_in == int(shots.present.sum()) * PLANE
    assert told[0] == told[1]


def test_adaptive_gain_reads_both(simulated, reduced):
    sim, result = simulated("usual"), reduced("usual")
    assert result.accounts.bytes_in == int(open_run(sim.raw).shots.present.sum()) * 2 * PLANE


def test_an_engine_moves_the_first_plane_of_blocks(reduced, simulated, make_recipe, backend_name):
    """Blocks hold both planes, wherever they lie; the second is not looked at."""
    sim, wanted = simulated("fixed_medium"), reduced("fixed_medium").table
    source, device = open_run(sim.raw), backends.get(backend_name).device
    given = [dataclasses.replace(block, raw=block.raw.copy()) for block in blocks(source, 5)]
    for block in given:
        block.raw[:, :, 1] = 77
    recipe = make_recipe(**RECIPES["fixed_medium"], write=None)
    options = {"detector": "AGIPD1M", "mode": source.mode, "columns": tuple(source.columns())}
    options |= {"block_shots": 5, "slots": 1, "backend": backend_name}
    with shotsieve.Engine(recipe, sim.constants, **options) as engine:
        assert {slot.device_raw.shape[2] for slot in engine._slots} == {1}
        lent = [engine.lend(len(block)) for block in given]
        for words, block in zip(lent, given, strict=True):
            assert words.shape == block.raw.shape
            words[:] = block.raw
        ways = {
            "elsewhere": given,
            "lent": _with(given, lent),
            "of a run": source,
            "of another": Another(source),
        }
        if backend_name != "cpu":
            ways["on the device"] = _with(given, [_on_device(device, block.raw) for block in given])
        for way, blocks_or_run in ways.items():
            results = list(engine.run(blocks_or_run))
            at = np.cumsum([0, *(len(result.table) for result in results)])
            assert at[-1] == len(wanted) == 12
            for result, first, last in zip(results, at[:-1], at[1:], strict=True):
                assert result.table == wanted.part(slice(first, last)), way
        assert sum(len(result.kept) for result in results) > 0


def test_an_engine_takes_some_shots_of_blocks_in_fixed_gain(simulated, make_recipe, backend_name):
    """Of words that are on the device only those that are selected are looked at."""
    sim = simulated("fixed_medium")
    source, device = open_run(sim.raw), backends.get(backend_name).device
    [block] = blocks(source, 12)
    recipe = make_recipe(**RECIPES["fixed_medium"], write=None, select={"rule": "cell_id != 1"})
    options = {"detector": "AGIPD1M", "mode": source.mode, "columns": tuple(source.columns())}
    options |= {"block_shots": 12, "slots": 1, "backend": backend_name}
    with shotsieve.Engine(recipe, sim.constants, **options) as engine:
        given = [block]
        if backend_name != "cpu":
            given += _with(given, [_on_device(device, block.raw)])
        first, *others = engine.run(given)
        assert (first.table.measures["unmasked_pixels"] > 0).any(axis=1).sum() == 9
        assert all(other.table == first.table for other in others)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_copies_of_some_rows(backend_name, every):
    """From pinned memory where only some are wanted, and from the device."""
    device = backends.get(backend_name).device
    words, back = device.empty_pinned((6 * every, 5), "u2"), device.empty_pinned((6, 5), "u2")
    words[:] = np.arange(words.size).reshape(words.shape)
    stream, target = device.stream(), device.empty(back.shape, "u2")
    sources = [_on_device(device, words), *([words] if every > 1 else [])]
    for source in sources:
        device.copy(target, source, stream, every)
        device.to_host(back, target, stream)
        device.wait(device.record(stream))
        assert np.array_equal(back, words[::every])
        back[:] = 0
    with pytest.raises(ValueError, match="expected"):
        device.copy(target, sources[0], stream, every + 1)


class Another:
    """A source that reads all planes and knows no other way."""

    def __init__(self, source):
        self._source = source

    def __getattr__(self, name):
        if name == "without_gain_plane":
            raise AttributeError(name)
        return getattr(self._source, name)


def _with(given, arrays):
    return [dataclasses.replace(block, raw=raw) for block, raw in zip(given, arrays, strict=True)]


def _on_device(device, words):
    stream, target = device.stream(), device.empty(words.shape, words.dtype)
    device.to_device(target, words, stream)
    device.wait(device.record(stream))
    return target
