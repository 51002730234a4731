"""Item 10: inputs of every format version and with every oddity of the container give the same output."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.errors import UnreadableData
from shotsieve.sources import frame_map

from ..sources.conftest import words

extra_data = pytest.importorskip("extra_data")
components = pytest.importorskip("extra_data.components")
DET = "SPB_DET_AGIPD1M-1"
P = [0, 2, 4]
TRAINS = [(10, P), (11, P), (12, P)]
RECIPE = {"keep": {"rule": "pulse_id > 0"}, "write": {"content": "raw", "others": True}}
KEPT = [(t, p) for t in (10, 11, 12) for p in (2, 4)]
IMAGE = f"INSTRUMENT/{DET}/DET/0CH0:xtdf/image"


@pytest.fixture
def reduce(full_maker, validated, tmp_path):
    """Write files with a function, reduce, and check what every input of these has to give."""

    def run(write, sound=True):
        maker = full_maker()
        write(maker)
        result = shotsieve.reduce(maker.folder, RECIPE, tmp_path / "red", backend="cpu")
        result.accounts.check()
        validated(result.out)
        with extra_data.RunDirectory(result.out) as opened:
            assert len(opened.files) == 2
            assert {file.format_version for file in opened.files} == {"1.2"}
            for module in (0, 1) if sound else ():
                source = opened[f"{DET}/DET/{module}CH0:xtdf"]
                keys = [source[f"image.{key}"].ndarray() for key in ("trainId", "pulseId")]
                assert list(zip(*(k.tolist() for k in keys), strict=True)) == KEPT
                assert all(k.ndim == 1 for k in keys)
                expected = np.array([words(t, p, module, (512, 128)) for t, p in KEPT])
                np.testing.assert_array_equal(source["image.data"].ndarray(), expected)
            if sound:
                agipd = components.AGIPD1M(opened, raw=True)
                assert agipd["image.data"].xarray(subtrain_index="pulseId").shape[:2] == (2, len(KEPT))
        return result

    return run


def both(maker, trains=TRAINS, **options):
    for module in (0, 1):
        maker.module(module, trains, **options)


@pytest.mark.parametrize("version", ["0.5", "1.0", "1.1", "1.2", "1.3"])
def test_format_version(version, reduce):
    flags = [0, 0, 0] if version == "1.1" else None  # there 0 is the time server
    result = reduce(lambda maker: both(maker, version=version, flags=flags))
    assert (result.accounts.kept, result.accounts.expected) == (6, 9)


def test_format_0_5_with_the_last_row_and_a_status(reduce):
    reduce(lambda maker: both(maker, version="0.5", last_status=True))


@pytest.mark.parametrize(("version", "flags"), [("1.0", [1, 0, 1]), ("1.1", [0, 2, 0]), ("1.2", [1, 0, 1])])
def test_suspect_trains_of_each_version(version, flags, reduce):
    result = reduce(lambda maker: both(maker, version=version, flags=flags), sound=False)
    assert (result.accounts.kept, result.accounts.suspect) == (4, 3)
    with h5py.File(result.files[0]) as file:
        assert file["INDEX/flag"][:].tolist() == [1, 0, 1]


@pytest.mark.parametrize("flat_ids", [False, True])
def test_ids_with_and_without_their_axis(flat_ids, reduce):
    reduce(lambda maker: both(maker, flat_ids=flat_ids))


def test_ids_of_both_forms_in_one_run(reduce):
    def write(maker):
        maker.module(0, TRAINS, flat_ids=True)
        maker.module(1, TRAINS)

    reduce(write)


def test_a_sequence_file_without_trains(reduce):
    def write(maker):
        both(maker, TRAINS[:1])
        both(maker, [], sequence=1)
        both(maker, TRAINS[1:], sequence=2)

    reduce(write)


def test_a_padded_index(reduce):
    reduce(lambda maker: both(maker, pad=7))


def test_datasets_that_are_longer_than_the_index_says(reduce):
    def write(maker):
        both(maker, layout="several")

    reduce(write)


# ---------------------------------------------------------------------- compressed by a plugin

ZSTD = 32015


def compress(path, number):
    """Store the frames as if a plugin had compressed them: a chunk that cannot be opened holds anything."""
    with h5py.File(path, "r+") as file:
        group = file[IMAGE]
        frames = group["data"][()]
        del group["data"]
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk((1, *frames.shape[1:]))
        how.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple(frames.shape)
        made = h5py.h5d.create(group.id, b"data", h5py.h5t.NATIVE_UINT16, space, how)
        for row, frame in enumerate(frames):
            made.write_direct_chunk((row, 0, 0, 0), frame.tobytes())


@pytest.mark.parametrize(("number", "called"), [(ZSTD, "zstd"), (300, "filter 300")])
def test_compressed_by_a_plugin_that_is_not_there(number, called, full_maker, tmp_path, monkeypatch):
    monkeypatch.setattr(frame_map, "register_plugins", lambda: False)  # as without hdf5plugin
    if h5py.h5z.filter_avail(number):
        pytest.skip(f"the plugin {called} is loaded in this process")
    maker = full_maker()
    both(maker)
    compress(maker.folder / "RAW-R0001-AGIPD00-S00000.h5", number)
    with pytest.raises(UnreadableData) as error:
        shotsieve.reduce(maker.folder, RECIPE, tmp_path / "red", backend="cpu")
    text = str(error.value)
    assert "RAW-R0001-AGIPD00-S00000.h5" in text
    assert f"{IMAGE}/data is compressed by {called} (HDF5 filter {number})" in text
    assert "pip install hdf5plugin" in text
    assert "h5repack -f GZIP=1" in text
    assert "this affects trains 10-12 (3 trains)" in text
    assert not (tmp_path / "red").exists()
    # The peer's own words, for comparison: it fails too, and names neither file nor filter.
    with extra_data.RunDirectory(maker.folder) as run, pytest.raises(OSError, match="read data"):
        run[f"{DET}/DET/0CH0:xtdf", "image.data"].ndarray()


def test_plain_compression_is_read(reduce):
    reduce(lambda maker: both(maker, layout="gzip"))
