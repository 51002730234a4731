"""Runs in fixed gain: the gain plane says nothing, and is neither read nor moved, unless it is written."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.engine import branches
from shotsieve.engine.blocks import BlockRunner
from shotsieve.sources.run import open_run

from .conftest import RECIPES

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
    monkeypatch.setattr(branches, "_leave_out_gain", lambda job: None)
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
def test_any_layout(reduce, simulated, read_module, link_run, tmp_path, layout):
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
    usual, other = reduce("usual"), reduce("other", run)
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


def test_adaptive_gain_reads_both(simulated, make_recipe, places):
    sim = simulated("usual")
    result = shotsieve.reduce(sim.raw, make_recipe(), places / "both", sim.constants, "cpu")
    assert result.accounts.bytes_in == int(open_run(sim.raw).shots.present.sum()) * 2 * PLANE
