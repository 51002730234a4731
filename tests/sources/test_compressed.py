"""Frames of compressed and virtual datasets: what h5py reads, to the bit, or an error or a counted loss."""

import os
import tracemalloc
import zlib
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve.errors import UnreadableData
from shotsieve.sources import chunks
from shotsieve.sources.extents import Loss, find_losses, map_frames, read_frames

hdf5plugin = pytest.importorskip("hdf5plugin")

IN_THREADS = {
    "nothing": {},
    "gzip": {"compression": "gzip", "compression_opts": 1},
    "shuffle": {"shuffle": True},
    "shuffled gzip": {"compression": "gzip", "shuffle": True},
    "bitshuffle-lz4": dict(hdf5plugin.Bitshuffle(cname="lz4")),
    "bitshuffle-zstd": dict(hdf5plugin.Bitshuffle(cname="zstd")),
    "small blocks": dict(hdf5plugin.Bitshuffle(nelems=16, cname="lz4")),
}
BY_H5PY = {
    "checked": {"compression": "gzip", "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "only bitshuffled": dict(hdf5plugin.Bitshuffle(cname="none")),
    "blosc": dict(hdf5plugin.Blosc()),
}
FRAME = (9, 5)


def words(shape, dtype, seed=0):
    """Numbers with something to compress in them, other ones in every frame."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 200, shape) * (rng.random(shape) < 0.5)
    return values.astype(dtype) + np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1)).astype(dtype)


def store(path, data, chunk, options, **more):
    with h5py.File(path, "w") as f:
        f.create_dataset("d", data=data, chunks=chunk, **options, **more)
    return path


def read(path, frames, lead=1, dtype=None, threads=2, lost=None, dataset="d"):
    """Read frames into rows that stand apart, and look that nothing is written between them."""
    where = map_frames(path, dataset, lead)
    size = int(np.prod(where.frame))
    out = np.full((len(frames), size + 3), 7, dtype or where.dtype)
    at = np.arange(len(frames), dtype=np.int64) * (size + 3)
    got = read_frames(where, np.asarray(frames, "i8"), out, at, threads, lost)
    assert (out[:, size:] == 7).all()
    good = len(frames) if lost is None else int((lost == 0).sum())
    assert where.why_h5py or got == good * where.frame_bytes
    return out[:, :size].reshape(-1, *where.frame)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_as_h5py_reads_it(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.h5"
    name = data.draw(st.sampled_from([*IN_THREADS, *BY_H5PY]))
    dtype = np.dtype(data.draw(st.sampled_from(["u1", "u2", "u4", "f4", "i8", "c16"])))
    lead = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=2))
    chunk = [data.draw(st.integers(1, n)) for n in lead]
    stored = words((*lead, *FRAME), dtype, data.draw(st.integers(0, 9)))
    store(path, stored, (*chunk, *FRAME), {**IN_THREADS, **BY_H5PY}[name])
    number = int(np.prod(lead))
    frames = data.draw(st.lists(st.integers(0, number - 1), max_size=12))
    wider = data.draw(st.sampled_from([dtype, np.dtype("f8") if dtype.kind == "f" else dtype]))
    where = map_frames(path, "d", len(lead))
    assert bool(where.why_h5py) == (name in BY_H5PY)
    got = read(path, frames, len(lead), wider, data.draw(st.integers(1, 3)))
    wanted = stored.reshape(-1, *FRAME)[frames].astype(wider)
    assert got.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("options", IN_THREADS.values(), ids=IN_THREADS)
def test_many_batches(tmp_path, monkeypatch, options):
    """More chunks than a thread takes at once, of every dtype that a corrected run has."""
    monkeypatch.setattr(chunks, "BATCH_BYTES", 1000)
    for dtype in ("u1", "u4", "f4"):
        data = words((50, 16, 16), dtype)
        for chunk in (1, 16):
            path = store(tmp_path / "x.h5", data, (chunk, 16, 16), options)
            frames = np.random.default_rng(1).permutation(50)
            assert read(path, frames, threads=4).tobytes() == data[frames].tobytes()


def test_gain_bytes_into_wider_words(tmp_path):
    data = words((6, *FRAME), "u1")
    for options in IN_THREADS.values():
        path = store(tmp_path / "x.h5", data, (2, *FRAME), options)
        assert (read(path, [5, 0, 3], dtype="u2") == data[[5, 0, 3]]).all()


def test_filters_that_a_chunk_was_stored_without(tmp_path):
    """HDF5 leaves a filter out of single chunks where it does not help, and says so in their masks."""
    data = words((4, *FRAME), "u4")
    path = store(tmp_path / "x.h5", data, (1, *FRAME), IN_THREADS["shuffled gzip"])
    with h5py.File(path, "r+") as f:
        d = f["d"]
        shuffled = data[1].reshape(-1).view("u1").reshape(-1, 4).T.tobytes()
        d.id.write_direct_chunk((0, 0, 0), data[0].tobytes(), 3)
        d.id.write_direct_chunk((1, 0, 0), shuffled, 2)
        d.id.write_direct_chunk((2, 0, 0), zlib.compress(data[2].tobytes()), 1)
    with h5py.File(path) as f:
        assert (f["d"][...] == data).all()
    assert (read(path, range(4)) == data).all()


def damage(path, number, how=b"\x55"):
    """Overwrite a chunk."""
    with h5py.File(path) as f:
        info = f["d"].id.get_chunk_info(number)
    raw = bytearray(path.read_bytes())
    raw[info.byte_offset : info.byte_offset + info.size] = how * info.size
    path.write_bytes(raw)
    return info


@pytest.mark.parametrize("name", [name for name in IN_THREADS if "gzip" in name or "b" in name])
@pytest.mark.parametrize("how", [b"\x55", b"\0", b"\xff"])
def test_a_damaged_chunk(tmp_path, name, how):
    data = words((12, *FRAME), "u2")
    path = store(tmp_path / "x.h5", data, (4, *FRAME), IN_THREADS[name])
    info = damage(path, 1, how)
    with pytest.raises(
        UnreadableData, match=f"at byte {info.byte_offset} .* with frames 4 to 6, is damaged"
    ) as e:
        read(path, [0, 4, 6, 9])
    assert f"{path}: dataset d: the chunk of {info.size} bytes" in str(e.value)
    lost = np.zeros(4, "u1")
    got = read(path, [0, 4, 6, 9], lost=lost)
    assert lost.tolist() == [Loss.NONE, Loss.DAMAGED, Loss.DAMAGED, Loss.NONE]
    assert (got[[0, 3]] == data[[0, 9]]).all()


@pytest.mark.parametrize("name", ["gzip", "shuffled gzip", "bitshuffle-lz4", "bitshuffle-zstd"])
def test_a_flipped_byte_is_an_error_or_harmless(tmp_path, name):
    """Deflate has a checksum; the others have none, so that what is decoded is what h5py decodes."""
    data = words((1, 40, 40), "u2")
    path = store(tmp_path / "x.h5", data, (1, 40, 40), IN_THREADS[name])
    with h5py.File(path) as f:
        info = f["d"].id.get_chunk_info(0)
    sound = path.read_bytes()
    for place in np.random.default_rng(2).integers(0, info.size, 60).tolist():
        raw = bytearray(sound)
        raw[info.byte_offset + place] ^= 0x10
        path.write_bytes(raw)
        try:
            got = read(path, [0])
        except UnreadableData:
            continue
        with h5py.File(path) as f:
            assert (got == f["d"][...]).all()
        assert name.startswith("bitshuffle")


def test_a_chunk_of_another_length(tmp_path):
    data = words((2, *FRAME), "u2")
    path = store(tmp_path / "x.h5", data, (1, *FRAME), IN_THREADS["gzip"])
    with h5py.File(path, "r+") as f:
        f["d"].id.write_direct_chunk((1, 0, 0), zlib.compress(data[1].tobytes()[:-2]))
    with pytest.raises(UnreadableData, match="holds 88 bytes of data, and should hold 90"):
        read(path, [0, 1])


@pytest.mark.parametrize("name", IN_THREADS)
def test_a_truncated_file(tmp_path, name):
    """A file that loses its end after it was opened."""
    data = words((8, *FRAME), "u2")
    path = store(tmp_path / "x.h5", data, (1, *FRAME), IN_THREADS[name])
    where = map_frames(path, "d", 1)
    out, at = np.zeros((8, *FRAME), "u2"), np.arange(8) * 45
    os.truncate(path, int(np.sort(where.offset)[4]) + 10)
    with pytest.raises(UnreadableData, match="truncated") as e:
        read_frames(where, np.arange(8), out, at)
    assert str(path) in str(e.value)
    assert "dataset d" in str(e.value)
    lost = np.zeros(8, "u1")
    read_frames(where, np.arange(8), out, at, 2, lost)
    assert sorted(lost.tolist()) == [Loss.NONE] * 4 + [Loss.UNREADABLE] * 4
    assert (out[lost == 0] == data[lost == 0]).all()


@pytest.mark.parametrize("name", ["nothing", "gzip", "checked"])
def test_frames_that_were_never_written(tmp_path, name):
    data = words((6, *FRAME), "u2")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        d = f.create_dataset("d", data.shape, "u2", chunks=(2, *FRAME), **{**IN_THREADS, **BY_H5PY}[name])
        d[:2], d[4:] = data[:2], data[4:]
    with pytest.raises(UnreadableData, match="1 of 3 frames were never written"):
        read(path, [5, 2, 1])
    lost = np.zeros(3, "u1")
    assert (read(path, [5, 2, 1], lost=lost)[[0, 2]] == data[[5, 1]]).all()
    assert lost.tolist() == [Loss.NONE, Loss.NEVER_WRITTEN, Loss.NONE]


def test_rows_that_h5py_cannot_read(tmp_path):
    data = words((6, *FRAME), "u2")
    path = store(tmp_path / "x.h5", data, (2, *FRAME), BY_H5PY["checked"])
    damage(path, 1)
    with pytest.raises(UnreadableData, match="rows 1 to 4 cannot be read"):
        read(path, [1, 2, 3, 4])
    lost = np.zeros(4, "u1")
    assert (read(path, [1, 2, 3, 4], lost=lost)[[0, 3]] == data[[1, 4]]).all()
    assert lost.tolist() == [Loss.NONE, Loss.UNREADABLE, Loss.UNREADABLE, Loss.NONE]


def test_memory_beside_the_block_is_bounded(tmp_path):
    """One batch of stored chunks and one unpacked chunk for every thread, whatever is read."""
    data = words((200, 64, 64), "u2")
    path = store(tmp_path / "x.h5", data, (10, 64, 64), IN_THREADS["shuffled gzip"])
    where = map_frames(path, "d", 1)
    out, at = np.zeros((400, 64, 64), "u2"), np.arange(400, dtype="i8") * 64 * 64
    used = []
    for frames in (np.arange(20), np.tile(np.arange(200), 2)):
        read_frames(where, frames, out, at[: len(frames)], 2)
        tracemalloc.start()
        read_frames(where, frames, out, at[: len(frames)], 2)
        used.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    chunk = where.unpacker.nbytes
    assert used[1] < 2 * (2 * chunk + chunks.BATCH_BYTES) + 100_000
    assert used[1] < out.nbytes // 2


class TestVirtual:
    """Datasets that show rows of others."""

    def make(self, folder, show, options=IN_THREADS["gzip"], rows=20):
        """Make two files and a third one that shows them as `show(layout, first, second)` says."""
        parts = [words((10, *FRAME), "u2", seed) for seed in (1, 2)]
        for number, data in enumerate(parts):
            store(folder / f"part{number}.h5", data, (2, *FRAME), options)
        layout = h5py.VirtualLayout((rows, *FRAME), "u2")
        show(layout, *(h5py.VirtualSource(f"part{n}.h5", "d", (10, *FRAME)) for n in (0, 1)))
        with h5py.File(folder / "all.h5", "w") as f:
            f.create_virtual_dataset("d", layout, fillvalue=9)
        with h5py.File(folder / "all.h5") as f:
            return folder / "all.h5", f["d"][...]

    def test_rows_one_after_the_other(self, tmp_path):
        def show(layout, one, two):
            layout[3:8], layout[10:20] = one[2:7], two

        path, wanted = self.make(tmp_path, show)
        assert not map_frames(path, "d", 1).why_h5py
        frames = [4, 19, 10, 3, 7, 4]
        assert (read(path, frames) == wanted[frames]).all()
        with pytest.raises(UnreadableData, match=r"2 of 3 frames were never written \(first: frame 2\)"):
            read(path, [2, 3, 9])
        lost = np.zeros(3, "u1")
        read(path, [2, 3, 9], lost=lost)
        assert lost.tolist() == [Loss.NEVER_WRITTEN, Loss.NONE, Loss.NEVER_WRITTEN]

    def test_what_is_shown_is_damaged(self, tmp_path):
        def show(layout, one, two):
            layout[:10], layout[10:] = two, one

        path, wanted = self.make(tmp_path, show)
        damage(tmp_path / "part0.h5", 0)
        with pytest.raises(UnreadableData, match=r"part0.h5: dataset d: the chunk .* frames 1 to 1, is dam"):
            read(path, [0, 11])
        lost = np.zeros(3, "u1")
        assert (read(path, [0, 11, 12], lost=lost)[[0, 2]] == wanted[[0, 12]]).all()
        assert lost.tolist() == [Loss.NONE, Loss.DAMAGED, Loss.NONE]

    def test_what_h5py_reads(self, tmp_path):
        def backwards(layout, one, two):
            layout[:10], layout[5:15] = one, two

        def every_second(layout, one, two):
            layout[:10] = one
            layout[10:15] = two[::2]

        def columns(layout, one, two):
            layout[:10, :, :3], layout[:10, :, 3:] = one[:, :, :3], two[:, :, 3:]
            layout[10:, :, :3], layout[10:, :, 3:] = two[:, :, :3], one[:, :, 3:]

        for show in (backwards, every_second, columns):
            path, wanted = self.make(tmp_path, show)
            assert "does not show whole rows" in map_frames(path, "d", 1).why_h5py
            assert (read(path, [1, 14, 6]) == wanted[[1, 14, 6]]).all()

    def test_of_what_h5py_reads(self, tmp_path):
        def show(layout, one, two):
            layout[:10], layout[10:] = two, one

        path, wanted = self.make(tmp_path, show, BY_H5PY["checked"])
        assert map_frames(path, "d", 1).why_h5py.startswith("it shows data of which it is compressed")
        assert (read(path, [1, 14, 6]) == wanted[[1, 14, 6]]).all()

    def test_a_file_that_is_gone(self, tmp_path):
        def show(layout, one, two):
            layout[:10], layout[10:] = two, one

        path, _ = self.make(tmp_path, show)
        os.remove(tmp_path / "part1.h5")
        with pytest.raises(UnreadableData, match=r"part1\.h5 does not exist"):
            map_frames(path, "d", 1)


@pytest.mark.parametrize("options", [{}, IN_THREADS["shuffled gzip"], None], ids=["chunks", "gzip", "whole"])
def test_a_user_block(tmp_path, options):
    data = words((6, *FRAME), "u2")
    with h5py.File(tmp_path / "x.h5", "w", userblock_size=1024) as f:
        if options is None:
            f["d"] = data
        else:
            f.create_dataset("d", data=data, chunks=(2, *FRAME), **options)
    assert not map_frames(tmp_path / "x.h5", "d", 1).why_h5py
    assert (read(tmp_path / "x.h5", [5, 0, 2]) == data[[5, 0, 2]]).all()


@pytest.mark.parametrize("options", [*IN_THREADS.values(), BY_H5PY["checked"]], ids=[*IN_THREADS, "checked"])
def test_rows_at_the_edges_are_left_out(tmp_path, options):
    """Frames whose first and last rows are none of the sensor, into words of that size and larger."""
    data = words((6, *FRAME), "u2")
    for chunk in (1, 3):
        path = store(tmp_path / "x.h5", data, (chunk, *FRAME), options)
        where = replace(map_frames(path, "d", 1), edges=(1, 2))
        frames, at = np.array([5, 0, 3]), np.arange(3) * 30
        for dtype in ("u2", "u4"):
            out = np.zeros((3, 6, 5), dtype)
            read_frames(where, frames, out, at)
            assert (out == data[frames, 1:7]).all()
        assert find_losses(where, frames).tolist() == [0, 0, 0]


def test_the_last_frame_of_a_file_with_rows_at_the_edges(tmp_path):
    """A file may end with its last frame: nothing is looked for behind it."""
    data = words((4, *FRAME), "u2")
    path = store(tmp_path / "x.h5", data, (1, *FRAME), {})
    where = map_frames(path, "d", 1)
    last = int(where.offset.argmax())
    os.truncate(path, int(where.offset.max()) + where.frame_bytes)
    where = replace(where, edges=(1, 2))
    assert find_losses(where, np.arange(4)).tolist() == [0] * 4
    os.truncate(path, int(where.offset.max()) + where.frame_bytes - where.edge_bytes[1] - 1)
    assert np.flatnonzero(find_losses(where, np.arange(4))).tolist() == [last]


def test_a_virtual_dataset_that_shows_nothing(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.create_virtual_dataset("d", h5py.VirtualLayout((4, *FRAME), "u2"))
    where = map_frames(tmp_path / "x.h5", "d", 1)
    assert find_losses(where, np.arange(4)).tolist() == [Loss.NEVER_WRITTEN] * 4
    with pytest.raises(UnreadableData, match="never written"):
        read_frames(where, np.arange(2), np.zeros((2, *FRAME), "u2"), np.arange(2))
