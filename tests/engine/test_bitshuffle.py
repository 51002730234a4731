"""[write] compression = "bitshuffle-...": where it is asked for, read by everyone who has the plugin."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import filters
from shotsieve.check import check
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.write import chunks
from shotsieve.write.checksums import chunk_checksum
from shotsieve.write.encoded import encode_chunk

from .spots import RULE, Run

hdf5plugin = pytest.importorskip("hdf5plugin")
CODECS = ("bitshuffle-lz4", "bitshuffle-zstd")
BITSHUFFLE = 32008


@pytest.fixture
def reduce(simulated, make_recipe, tmp_path):
    def reduce(write, run=None, block_bytes=256_000_000, **sections):
        sim, out = simulated("usual"), tmp_path / f"r{len(list(tmp_path.iterdir()))}"
        recipe = make_recipe(write=write, **sections)
        return shotsieve.reduce(
            run or sim.raw, recipe, out, constants=sim.constants, backend="cpu", block_bytes=block_bytes
        )

    return reduce


def images_of(result, kind="CORR", module="3CH0:output"):
    with h5py.File(result.files[0]) as file:
        group = file[f"INSTRUMENT/SPB_DET_AGIPD1M-1/{kind}/{module}/image"]
        return {name: (dataset[()], list(filter_numbers(dataset))) for name, dataset in group.items()}


def filter_numbers(dataset):
    how = dataset.id.get_create_plist()
    return (how.get_filter(place)[0] for place in range(how.get_nfilters()))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("content", ["corrected", "photons"])
def test_frames_read_back_the_same(reduce, digest, monkeypatch, codec, content):
    write = {"content": content, "compression": codec}
    plain, mine = reduce({"content": content}), reduce(write)
    told, shown = images_of(plain), images_of(mine)
    for name in ("data", "gain", "mask"):
        assert shown[name][1] == [BITSHUFFLE]
        np.testing.assert_array_equal(shown[name][0], told[name][0])
    assert not any(BITSHUFFLE in numbers for _, numbers in told.values())
    # The digests are of what is stored, and the bytes hang on nothing.
    with h5py.File(mine.files[0]) as file:
        source = "SPB_DET_AGIPD1M-1/CORR/3CH0:output"
        for name in ("data", "gain", "mask"):
            sums = file[f"REDUCTION/SHOTSIEVE/{source}/checksum/{name}"][:]
            for row, sum_ in enumerate(sums):
                skipped, chunk = file[f"INSTRUMENT/{source}/image/{name}"].id.read_direct_chunk((row, 0, 0))
                assert (skipped, chunk_checksum(chunk)) == (0, sum_.tobytes())
    monkeypatch.setattr(chunks, "usable_cpus", lambda: 1)
    assert digest(reduce(write, block_bytes=1).out) == digest(mine.out)


@pytest.mark.parametrize("codec", CODECS)
def test_check_reads_them(reduce, simulated, codec):
    mine, sim = reduce({"compression": codec}), simulated("usual")
    assert check(mine.out).ok
    report = check_against(check(mine.out), sim.raw, constants=sim.constants, backend="cpu")
    assert report.ok, report.faults
    with h5py.File(mine.files[0], "r+") as file:
        file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/3CH0:output/image/data"][0, 7, 7] = -5
    assert not check(mine.out).ok
    report = check_against(check(mine.out), sim.raw, constants=sim.constants, backend="cpu")
    assert any("data is not what its source gives" in fault for fault in report.faults)


@pytest.mark.parametrize("codec", CODECS)
def test_raw_words_are_reduced_again(reduce, read_module, codec):
    raw = {"content": "raw"}
    first, plain = reduce({**raw, "compression": codec}), reduce(raw)
    assert images_of(first, "DET", "3CH0:xtdf")["data"][1] == [BITSHUFFLE]
    np.testing.assert_array_equal(read_module(first, 3)["image.data"], read_module(plain, 3)["image.data"])
    again, direct = reduce({}, run=first.out), reduce({})
    assert "h5py" not in " ".join(again.accounts.notes)
    for key, values in read_module(direct, 3).items():
        if key.startswith("image."):
            np.testing.assert_array_equal(read_module(again, 3)[key], values)


def test_another_process_reads_them_with_the_plugin_alone(reduce):
    mine = reduce({"content": "raw", "compression": "bitshuffle-lz4"})
    code = "import sys, shotsieve.sources.run as r, numpy as np; s = r.open_run(sys.argv[1])\n"
    code += "out = np.zeros((1, 16, 2, 512, 128), 'u2'); s.read(0, 1, out); print(int(out.any()))"
    told = subprocess.run([sys.executable, "-c", code, str(mine.out)], capture_output=True, text=True)
    assert told.stdout.strip() == "1", told.stderr


def test_crystfel_files_have_the_same_chunks(tmp_path):
    spots = Run(tmp_path / "run")
    write = {"cxi": True, "compression": "bitshuffle-lz4"}
    result = spots.reduce(tmp_path / "r", keep={"rule": RULE}, write=write)
    with h5py.File(next(result.out.glob("*.cxi"))) as cxi, h5py.File(result.files[0]) as file:
        image = file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/3CH0:output/image"]
        for name in ("data", "mask"):
            slab = cxi[f"entry_1/data_1/{name}"]
            assert list(filter_numbers(slab)) == [BITSHUFFLE]
            assert slab.id.read_direct_chunk((0, 3 * 512, 0)) == image[name].id.read_direct_chunk((0, 0, 0))
    assert check(result.out).ok


def test_without_the_plugin_the_command_to_install_it_is_told(reduce, monkeypatch, tmp_path):
    monkeypatch.setattr(filters, "register_plugins", lambda: False)
    with pytest.raises(BadInput, match=r"needs hdf5plugin.*pip install"):
        reduce({"compression": "bitshuffle-zstd"})
    assert not list(tmp_path.glob("r*/CORR*"))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("dtype", ["<f4", "|u1", "<u4", "<u2"])
def test_chunks_are_those_of_the_filter(codec, dtype, tmp_path):
    rng = np.random.default_rng(2)
    frame = rng.integers(0, 200, (512, 128)).astype(dtype)
    packed = encode_chunk(frame, dtype, codec)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        how = hdf5plugin.Bitshuffle(cname=codec.partition("-")[2])
        data = file.create_dataset("d", (2, 512, 128), dtype, chunks=(1, 512, 128), **how)
        data[0] = frame
        assert data.id.read_direct_chunk((0, 0, 0)) == (0, packed)
        data.id.write_direct_chunk((1, 0, 0), packed)
        np.testing.assert_array_equal(data[1], frame)
    assert encode_chunk(frame, dtype, codec) == packed
