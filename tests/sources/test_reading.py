"""The words of a frame are the file's words, however HDF5 stores them; what cannot be read is never zeros."""

import os

import h5py
import numpy as np
import pytest
from shotsieve.errors import BadInput, UnreadableData

P = [0, 2, 4, 6, 8]
IMAGE = "INSTRUMENT/SPB_DET_AGIPD1M-1/DET/0CH0:xtdf/image"
DIRECT = ("frame", "several", "contiguous", "gzip", "virtual", "userblock")
SLOW = {
    "checked": "compressed (fletcher32)",
    "bigendian": "byte order",
    "split": "parts of frames",
    "external": "external file",
}


@pytest.mark.parametrize("layout", [*DIRECT, *SLOW])
def test_layouts(maker, opened, read_all, truth, layout):
    for m in (0, 1):
        maker.module(m, [(10, P), (11, P[:3]), (12, P)], layout=layout)
    source = opened()
    for max_bytes in (1 << 30, 1):
        out = read_all(source, max_bytes)
        for i in range(len(source.shots)):
            t, p = source.shots.train_id[i], source.shots.pulse_id[i]
            for m in (0, 1):
                assert (out[i, m] == truth(t, p, m, maker.shape)).all()
        assert (out[:, 2:] == 7).all()
    said = [n for n in source.notes if "h5py" in n]
    assert len(said) == (layout in SLOW)
    assert not said or SLOW[layout] in said[0]


@pytest.mark.parametrize("adc", [*DIRECT, "gzip", "bigendian"])
@pytest.mark.parametrize("gain", ["frame", "several", "gzip"])
def test_layouts_of_datasets_with_a_row_per_train(maker, opened, read_all, truth, adc, gain):
    cells = list(range(5))
    maker.jungfrau(1, [(10, 1), (11, 1), (12, 1)], cells, layout=adc, gain_layout=gain)
    source = opened(name="JUNGFRAU")
    out = read_all(source)
    for i in range(15):
        words = truth(source.shots.train_id[i], source.shots.pulse_id[i], 1, maker.shape)
        assert (out[i, 0, 0] == words[0]).all()
        assert (out[i, 0, 1] == words[1] % 4).all()


def test_any_range_gives_the_same_words(maker, opened, read_all):
    rng = np.random.default_rng(1)
    for m in (0, 1):
        maker.module(m, [(t, [int(p) for p in rng.permutation(12)]) for t in (10, 11, 12)], layout="several")
    source = opened()
    whole = read_all(source)
    for _ in range(20):
        a, b = sorted(int(i) for i in rng.integers(0, len(source.readable) + 1, 2))
        out = np.full((b - a, *whole.shape[1:]), 7, np.uint16)
        source.read(a, b, out)
        assert (out == whole[a:b]).all()


def test_out_is_checked(maker, opened):
    maker.module(0, [(10, P)])
    source = opened()
    good = np.zeros((5, 16, 2, *maker.shape), np.uint16)
    for bad in (good[:4], good.astype("f4"), np.asfortranarray(good), good[:, ::2]):
        with pytest.raises(BadInput, match="expected a writeable C-contiguous uint16 array"):
            source.read(0, 5, bad)


def test_cuts_keep_trains_and_rows_of_cells(maker, opened):
    maker.module(0, [(10, list(range(70))), (11, list(range(5))), (12, list(range(70)))])
    source = opened()
    shot = 2 * 16 * 2 * maker.shape[0] * maker.shape[1]
    assert source.cuts(1 << 30) == [(0, 145)]
    assert source.cuts(75 * shot) == [(0, 75), (75, 145)]
    assert source.cuts(40 * shot) == [(0, 32), (32, 70), (70, 75), (75, 107), (107, 145)]
    assert source.cuts(1)[:2] == [(0, 32), (32, 64)]


def test_a_truncated_file_is_named_with_its_trains(maker, opened):
    path = maker.module(0, [(10, P), (11, P)], sequence=3)
    maker.module(1, [(10, P), (11, P)], sequence=3)
    maker.module(1, [(12, P)], sequence=4)
    os.truncate(path, path.stat().st_size - 1000)
    with pytest.raises(UnreadableData, match="truncated") as e:
        opened()
    assert path.name in str(e.value)
    assert "it affects trains 10-11 (2 trains)" in str(e.value)


def test_a_file_cut_to_nothing(maker, opened):
    path = maker.module(0, [(10, P)])
    os.truncate(path, 0)
    with pytest.raises(UnreadableData, match="Which trains it affects is not known") as e:
        opened()
    assert path.name in str(e.value)


def test_a_file_that_is_truncated_after_it_was_opened(maker, opened):
    """What a disk does that loses data while we work."""
    path = maker.module(0, [(10, P), (11, P)])
    source = opened()
    out = np.zeros((10, 16, 2, *maker.shape), np.uint16)
    source.read(0, 10, out)
    with h5py.File(path) as f:
        last = max(f[f"{IMAGE}/data"].id.get_chunk_info(i).byte_offset for i in range(10))
    os.truncate(path, last + 10)
    with pytest.raises(UnreadableData, match="truncated") as e:
        source.read(5, 10, out[5:])
    assert path.name in str(e.value)
    assert "image/data" in str(e.value)
    assert "this affects trains 11" in str(e.value)


@pytest.mark.parametrize("layout", ["frame", "gzip"])
def test_an_overwritten_chunk_index(maker, opened, layout):
    path = maker.module(0, [(10, P), (11, P)], layout=layout)
    damage_chunk_index(path)
    source = opened()
    out = np.zeros((10, 16, 2, *maker.shape), np.uint16)
    with pytest.raises(UnreadableData, match="this affects trains 10-11") as e:
        source.read(0, 10, out)
    assert path.name in str(e.value)
    assert f"{IMAGE}/data" in str(e.value)


def damage_chunk_index(path):
    """Overwrite the B-tree nodes of the image dataset's chunks, and nothing else."""
    with h5py.File(path) as f:
        chunks = f[f"{IMAGE}/data"].id
        first = min(chunks.get_chunk_info(i).byte_offset for i in range(chunks.get_num_chunks()))
    raw = bytearray(path.read_bytes())
    # Nodes of chunk B-trees have type 1 after the signature; the only one with room for that many chunks
    # before or after the data of this dataset belongs to it.
    at = [i for i in range(len(raw)) if raw[i : i + 4] == b"TREE" and raw[i + 4] == 1]
    assert at, "no chunk index found"
    near = min(at, key=lambda i: abs(i - first))
    raw[near : near + 64] = b"\xff" * 64
    path.write_bytes(raw)


def test_a_damaged_compressed_chunk(maker, opened):
    path = maker.module(0, [(10, P), (11, P)], layout="gzip")
    with h5py.File(path) as f:
        info = f[f"{IMAGE}/data"].id.get_chunk_info(7)
    raw = bytearray(path.read_bytes())
    raw[info.byte_offset : info.byte_offset + info.size] = b"\x55" * info.size
    path.write_bytes(raw)
    source = opened()
    out = np.zeros((5, 16, 2, *maker.shape), np.uint16)
    source.read(0, 5, out)
    with pytest.raises(UnreadableData, match="this affects trains 11") as e:
        source.read(5, 10, out)
    assert path.name in str(e.value)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_frames_that_were_never_written_are_not_zeros(maker, opened, compression):
    path = maker.module(0, [(10, P), (11, P)])
    with h5py.File(path, "r+") as f:
        data = f[f"{IMAGE}/data"][...]
        del f[f"{IMAGE}/data"]
        d = f.create_dataset(
            f"{IMAGE}/data", data.shape, "u2", chunks=(1, *data.shape[1:]), compression=compression
        )
        d[:6] = data[:6]
    source = opened()
    out = np.zeros((5, 16, 2, *maker.shape), np.uint16)
    source.read(0, 5, out)
    with pytest.raises(UnreadableData, match="4 of 5 frames were never written") as e:
        source.read(5, 10, out)
    assert "this affects trains 11" in str(e.value)


def test_a_contiguous_dataset_that_was_never_written(maker, opened):
    path = maker.module(0, [(10, P)])
    with h5py.File(path, "r+") as f:
        shape = f[f"{IMAGE}/data"].shape
        del f[f"{IMAGE}/data"]
        f.create_dataset(f"{IMAGE}/data", shape, "u2")
    with pytest.raises(UnreadableData, match="never written"):
        opened().read(0, 5, np.zeros((5, 16, 2, *maker.shape), np.uint16))


def test_a_virtual_dataset_whose_file_is_gone(maker, opened):
    path = maker.module(0, [(10, P)], layout="virtual")
    os.remove(f"{path}.part")
    with pytest.raises(UnreadableData, match=r"does not exist.*this affects trains 10"):
        opened().read(0, 5, np.zeros((5, 16, 2, *maker.shape), np.uint16))


def test_an_index_that_speaks_of_more_rows_than_there_are(maker, opened):
    path = maker.module(0, [(10, P), (11, P)])
    with h5py.File(path, "r+") as f:
        f[IMAGE.replace("INSTRUMENT", "INDEX") + "/count"][1] = 6
    with pytest.raises(
        UnreadableData, match=r"speaks of 11 rows, but .*/data has 10: the data of trains 11 is"
    ):
        opened()


def test_an_index_that_gives_rows_twice(maker, opened):
    path = maker.module(0, [(10, P), (11, P)])
    with h5py.File(path, "r+") as f:
        f[IMAGE.replace("INSTRUMENT", "INDEX") + "/first"][1] = 3
    with pytest.raises(UnreadableData, match="belong to another train already, for trains 11"):
        opened()


def test_an_index_that_is_too_short(maker, opened):
    path = maker.module(0, [(10, P), (11, P)])
    with h5py.File(path, "r+") as f:
        where = IMAGE.replace("INSTRUMENT", "INDEX") + "/count"
        del f[where]
        f[where] = np.array([5], "u8")
    with pytest.raises(UnreadableData, match=r"has 1 entries for 2 trains; trains 11 have none"):
        opened()


def test_labels_that_are_missing_or_too_short(maker, opened):
    path = maker.module(0, [(10, P), (11, P)])
    with h5py.File(path, "r+") as f:
        short = f[f"{IMAGE}/pulseId"][:7]
        del f[f"{IMAGE}/pulseId"]
        f[f"{IMAGE}/pulseId"] = short
    with pytest.raises(UnreadableData, match="pulseId has 7 entries"):
        opened()
    with h5py.File(path, "r+") as f:
        del f[f"{IMAGE}/pulseId"]
    with pytest.raises(UnreadableData, match=r"pulseId cannot be read .* trains 10-11"):
        opened()
