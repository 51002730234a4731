"""The native reader of extents."""

import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

_io = pytest.importorskip("shotsieve._io")


def i8(*values):
    return np.array(values, np.int64)


@pytest.fixture(scope="module")
def blob(tmp_path_factory):
    data = np.random.default_rng(3).integers(0, 256, 50_000).astype("u1")
    path = tmp_path_factory.mktemp("io") / "blob.bin"
    path.write_bytes(data.tobytes())
    return path, data


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 50_000), min_size=1, max_size=120),
    threads=st.integers(1, 5),
    order=st.randoms(use_true_random=False),
)
def test_any_extents_arrive(blob, cuts, threads, order):
    """Pieces of the file in any order, many of them consecutive, some empty, some overlapping in the file."""
    path, data = blob
    edges = sorted(cuts)
    pieces = [(a, b - a) for a, b in zip([0, *edges], [*edges, 50_000], strict=True)] + [
        (100, 900),
        (0, 5000),
    ]
    if order.random() < 0.5:
        order.shuffle(pieces)
    offsets, sizes = i8(*[p[0] for p in pieces]), i8(*[p[1] for p in pieces])
    to = np.cumsum(sizes) - sizes
    # Gaps between the targets must stay as they are.
    to = to + 3 * np.arange(len(to))
    out = np.full(int(to[-1] + sizes[-1] + 3), 7, "u1")
    expected = out.copy()
    for a, n, t in zip(offsets, sizes, to, strict=True):
        expected[t : t + n] = data[a : a + n]
    _io.read_extents(path, offsets, to, sizes, out, threads)
    assert (out == expected).all()


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_a_long_row_of_frames_is_cut_for_every_number_of_threads(tmp_path, threads):
    """Many megabytes that follow each other, and go apart from each other."""
    frame, count = 262_144, 41
    data = np.random.default_rng(8).integers(0, 256, frame * count).astype("u1")
    (path := tmp_path / "frames.bin").write_bytes(data.tobytes())
    order = np.random.default_rng(9).permutation(count)
    out = np.zeros((count, frame), "u1")
    at = np.arange(count) * frame
    _io.read_extents(path, at, order * frame, np.full(count, frame), out, threads)
    np.testing.assert_array_equal(out[order], data.reshape(count, frame))


def test_path_text_and_descriptor(blob):
    path, data = blob
    fd = os.open(path, os.O_RDONLY)
    try:
        for file in (path, str(path), fd):
            out = np.zeros(10, "u2")
            _io.read_extents(file, i8(20), i8(4), i8(16), out, 1)
            assert (out.view("u1")[4:] == data[20:36]).all()
            assert (out[:2] == 0).all()
        assert os.fstat(fd).st_size == 50_000
    finally:
        os.close(fd)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_file_that_ends_too_early_names_offset_and_bytes(blob, threads):
    path, _ = blob
    with pytest.raises(OSError, match=r"blob.bin: the file ends at offset 50000, where 6 more bytes"):
        _io.read_extents(path, i8(0, 49_990), i8(0, 10), i8(5, 16), np.zeros(40, "u1"), threads)
    with pytest.raises(OSError, match=r"ends at offset 60000, where 1 more"):
        _io.read_extents(path, i8(60_000), i8(0), i8(1), np.zeros(40, "u1"), threads)


@pytest.mark.parametrize(
    ("offset", "to", "size"),
    [
        (0, 0, 41),
        (0, 40, 1),
        (0, -1, 5),
        (0, 0, -1),
        (-1, 0, 5),
        (0, 2**62, 2**62),
        (2**63 - 2, 0, 8),
        (0, 41, 0),
    ],
)
def test_extents_outside_the_destination_are_refused_before_anything_is_read(blob, offset, to, size):
    path, _ = blob
    out = np.full(40, 9, "u1")
    with pytest.raises(ValueError, match="extent 1 "):
        _io.read_extents(path, i8(0, offset), i8(0, to), i8(4, size), out, 1)
    assert (out == 9).all()


def test_wrong_arguments(blob):
    path, _ = blob
    good = np.zeros(40, "u1")
    with pytest.raises(ValueError, match="equally long"):
        _io.read_extents(path, i8(0, 1), i8(0), i8(1), good, 1)
    with pytest.raises(ValueError, match="threads must be at least 1"):
        _io.read_extents(path, i8(0), i8(0), i8(1), good, 0)
    for bad in (bytes(40), np.zeros((4, 10), "u1")[:, ::2], np.frombuffer(bytes(40), "u1")):
        with pytest.raises((BufferError, ValueError, TypeError)):
            _io.read_extents(path, i8(0), i8(0), i8(1), bad, 1)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        _io.read_extents(path.with_name("nowhere"), i8(0), i8(0), i8(1), good, 1)
    with pytest.raises(OSError, match="descriptor 9999"):
        _io.read_extents(9999, i8(0), i8(0), i8(1), good, 1)


def test_nothing_to_read(blob):
    _io.read_extents(blob[0], i8(), i8(), i8(), np.zeros(0, "u1"), 3)


def test_a_pipe_cannot_be_read_at_offsets():
    """Reading at an offset fails for it: the error of the system is passed on."""
    r, w = os.pipe()
    try:
        with pytest.raises(OSError, match="failed"):
            _io.read_extents(r, i8(0), i8(0), i8(1), np.zeros(1, "u1"), 1)
    finally:
        os.close(r)
        os.close(w)


def test_several_python_threads_at_once(blob):
    path, data = blob
    outs = [np.zeros(50_000, "u1") for _ in range(8)]
    offsets = np.arange(0, 50_000, 50, dtype=np.int64)
    sizes = np.full(1000, 50, np.int64)
    work = [
        threading.Thread(target=_io.read_extents, args=(path, offsets, offsets, sizes, out, 3))
        for out in outs
    ]
    for t in work:
        t.start()
    for t in work:
        t.join()
    assert all((out == data).all() for out in outs)


@settings(max_examples=60, deadline=None)
@given(
    size=st.sampled_from([1, 2, 3, 4, 8, 16]),
    total=st.integers(0, 200),
    ends=st.tuples(st.integers(0, 200), st.integers(0, 200)),
    offset=st.integers(0, 17),
    past=st.booleans(),
)
def test_unshuffle_any_elements(size, total, ends, offset, past):
    first, last = sorted(min(end, total) for end in ends)
    data = np.random.default_rng(total).integers(0, 256, (total, size)).astype("u1")
    out = np.full(total * size + 18, 7, "u1")
    expected = out.copy()
    expected[offset : offset + (last - first) * size] = data[first:last].reshape(-1)
    _io.unshuffle(np.ascontiguousarray(data.T), size, first, last - first, out, offset, past)
    assert (out == expected).all()


@pytest.mark.parametrize(
    ("size", "first", "count", "offset"),
    [(3, 0, 1, 0), (0, 0, 1, 0), (4, -1, 1, 0), (4, 3, 2, 0), (4, 0, 5, 0), (4, 0, 4, 1), (4, 0, 1, -1),
     (4, 2**62, 2**62, 0)],
)  # fmt: skip
def test_unshuffle_refuses_what_does_not_fit(size, first, count, offset):
    with pytest.raises(ValueError, match=r"do not fit|does not hold"):
        _io.unshuffle(np.zeros(16, "u1"), size, first, count, np.zeros(16, "u1"), offset)


def test_lengths_in_a_bitshuffled_chunk():
    """Two blocks of 8 elements and 3 elements more, of 2 bytes each; and every way to be wrong."""
    blocks = b"\0\0\0\5abcde" + b"\0\0\0\3xyz" + b"123456"
    sound = (38).to_bytes(8, "big") + (16).to_bytes(4, "big") + blocks
    assert _io.bitshuffle_block(sound, 38, 2) == 8
    assert _io.bitshuffle_block(sound + b"more", 38, 2) == 8
    for length in range(len(sound)):
        assert _io.bitshuffle_block(sound[:length], 38, 2) == -1
    assert _io.bitshuffle_block(sound, 40, 2) == -1
    assert _io.bitshuffle_block(sound, 38, 4) == -1
    assert _io.bitshuffle_block(sound, 38, 0) == -1
    for block in (0, 3, 12, 2**32 - 1):
        assert _io.bitshuffle_block(sound[:8] + block.to_bytes(4, "big") + blocks, 38, 2) == -1
    assert _io.bitshuffle_block(sound[:12] + b"\xff\xff\xff\xff" + sound[16:], 38, 2) == -1


FLAGS = ((0x10, 0x20, 0x40), (1 << 2, 1 << 3, 1 << 4), 0b1, 1 << 7)


def test_full_masks_by_hand():
    """Sixteen pixels at once, and the rest one by one: stage, flags, what is explained, no constants."""
    planes = np.arange(2 * 3 * 37, dtype="u4").reshape(2, 3, 37) << 8
    planes[1, 0, 5] |= 1  # bad, so that its missing value is explained
    found = np.zeros((3, 37), "u1")
    found[0, [3, 5, 20, 36]] = 0x10, 0x10, 0x21, 0x72
    mask = np.full((3, 37), 9, "u4")
    _io.full_masks(found, np.array([1, -1, 0], "i4"), planes, mask, *FLAGS)
    expected = planes[1, 0].copy()
    expected[3] |= 1 << 2
    expected[20], expected[36] = planes[1, 1, 20] | 1 << 3, planes[1, 2, 36] | 0b11100
    assert mask[0].tolist() == expected.tolist()
    assert (mask[1] == 1 << 7).all()
    assert mask[2].tolist() == planes[0, 0].tolist()


def test_full_masks_refuse_what_does_not_fit():
    found, planes, mask = np.zeros((1, 20), "u1"), np.zeros((1, 2, 20), "u4"), np.zeros((1, 20), "u4")
    row = np.zeros(1, "i4")
    with pytest.raises(IndexError, match="no row 1"):
        _io.full_masks(found, row + 1, planes, mask, *FLAGS)
    with pytest.raises(IndexError, match="gain stage"):
        _io.full_masks(found + np.uint8(2), row, planes, mask, *FLAGS)
    for wrong in (
        (found[:, :19], row, planes, mask),
        (found, row, planes[0], mask),
        (found, row, planes, mask.T),
    ):
        with pytest.raises((ValueError, TypeError)):
            _io.full_masks(*wrong, *FLAGS)
