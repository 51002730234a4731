"""Deflated chunks that compiled code reads and inflates: what zlib gives, a chunk left, or a refusal."""

import os
import re
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shotsieve import unpack
from shotsieve.errors import UnreadableData
from shotsieve.sources import chunks
from shotsieve.sources.extents import Loss, map_frames, read_frames

_io = pytest.importorskip("shotsieve._io")
pytest.importorskip("deflate")
FUNCTIONS = unpack.inflate_functions()
if FUNCTIONS is None:
    pytest.skip(
        "this build of the package deflate hides its library: chunks are then inflated by threads of Python, "
        "which test_compressed.py tests",
        allow_module_level=True,
    )


def sound_call(path, number=3, frame=8):
    """Return what reads `number` chunks of two frames of `frame` uint16, and these frames."""
    rng = np.random.default_rng(number)
    data = rng.integers(0, 4, (number, 2, frame)).astype("u2")
    packed = [zlib.compress(chunk.tobytes(), 1) for chunk in data]
    path.write_bytes(b"before" + b"".join(packed))
    stored = np.array([len(one) for one in packed], "i8")
    call = {
        "functions": FUNCTIONS,
        "offset": 6 + np.cumsum(stored) - stored,
        "stored": stored,
        "bounds": np.arange(number + 1) * 2,
        "first": np.tile([0, frame], number),
        "to": np.arange(2 * number) * frame * 2,
        "elements": frame,
        "size": 2,
        "nbytes": 4 * frame,
        "shuffled": False,
        "dest": np.full((number, 2, frame), 7, "u2"),
        "threads": 2,
    }
    return call, data


def run(path, call):
    with open(path, "rb") as file:
        done, reading_s, unpacking_s = _io.inflate_frames(file.fileno(), **call)
    assert reading_s >= 0
    assert unpacking_s >= 0
    assert done.dtype == bool
    return done.tolist()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_chunks(tmp_path_factory, data):
    """Frames in any order, some more than once, some chunks with none, from any place of the chunk."""
    path = tmp_path_factory.getbasetemp() / "inflate"
    draw = data.draw
    size, total, number = (
        draw(st.sampled_from([1, 2, 3, 4, 8])),
        draw(st.integers(1, 90)),
        draw(st.integers(0, 9)),
    )
    shuffled, level = draw(st.booleans()), draw(st.integers(0, 9))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = rng.integers(0, draw(st.sampled_from([2, 256])), (number, total, size)).astype("u1")
    packed = [
        zlib.compress((np.ascontiguousarray(one.T) if shuffled else one).tobytes(), level) for one in values
    ]
    gaps = rng.integers(0, 3, number)
    path.write_bytes(b"".join(b"x" * gap + one for gap, one in zip(gaps, packed, strict=True)))
    stored = np.array([len(one) for one in packed], "i8")
    of = rng.integers(0, 4, number)
    elements = int(rng.integers(1, total + 1))
    first = rng.integers(0, total - elements + 1, int(of.sum()))
    places = rng.permutation(len(first))
    out = np.full((len(first), elements * size + 3), 7, "u1")
    done = run(
        path,
        {
            "functions": FUNCTIONS,
            "offset": np.cumsum(gaps + stored) - stored,
            "stored": stored,
            "bounds": np.append(0, np.cumsum(of)),
            "first": first,
            "to": places * (elements * size + 3),
            "elements": elements,
            "size": size,
            "nbytes": total * size,
            "shuffled": shuffled,
            "dest": out,
            "threads": draw(st.integers(1, 4)),
        },
    )
    assert done == [True] * number
    for chunk, begin, place in zip(np.repeat(np.arange(number), of), first, places, strict=True):
        assert (out[place, : elements * size] == values[chunk, begin : begin + elements].reshape(-1)).all()
    assert (out[:, elements * size :] == 7).all()


def test_large_pieces(tmp_path):
    """More than a thread takes at once, and more than caches hold."""
    call, data = sound_call(tmp_path / "x", 40, 1 << 17)
    assert run(tmp_path / "x", call) == [True] * 40
    assert (call["dest"] == data).all()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda raw: b"\x55" * len(raw), id="other bytes"),
        pytest.param(lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), id="checksum"),
        pytest.param(lambda raw: zlib.compress(zlib.decompress(raw)[:-1]), id="too short"),
        pytest.param(lambda raw: zlib.compress(zlib.decompress(raw) + b"a"), id="too long"),
        pytest.param(lambda raw: raw[: len(raw) // 2], id="half of it"),
        pytest.param(lambda raw: b"", id="nothing"),
    ],
)
def test_a_chunk_that_is_damaged_is_left(tmp_path, change):
    call, data = sound_call(tmp_path / "x")
    raw = (tmp_path / "x").read_bytes()
    begin, end = int(call["offset"][1]), int(call["offset"][2])
    other = change(raw[begin:end])
    call["offset"][1], call["stored"][1] = len(raw), len(other)
    (tmp_path / "x").write_bytes(raw + other)
    assert run(tmp_path / "x", call) == [True, False, True]
    assert (call["dest"][[0, 2]] == data[[0, 2]]).all()


def test_a_file_that_ends_early(tmp_path):
    call, data = sound_call(tmp_path / "x", 200)
    os.truncate(tmp_path / "x", int(call["offset"][150]) + 3)
    done = run(tmp_path / "x", call)
    assert done[:100] == [True] * 100
    assert not any(done[150:])
    assert (call["dest"][done] == data[done]).all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"offset": [-1, 5, 9]}, "chunk 0: .* are in no file"),
        ({"offset": [2**63 - 5, 5, 9]}, "chunk 0: .* are in no file"),
        ({"stored": [4, -1, 4]}, "chunk 1: .* are in no file"),
        ({"offset": [1, 2]}, r"shape \(chunks,\)"),
        ({"to": [0]}, r"shape \(chunks,\)"),
        ({"bounds": [0, 2, 4]}, r"shape \(chunks,\)"),
        ({"bounds": [0, 2, 4, 7]}, "rise from 0 to the number of frames, 6"),
        ({"bounds": [0, 5, 4, 6]}, "rise from 0"),
        ({"bounds": [1, 2, 4, 6]}, "rise from 0"),
        ({"first": [0, 8, 0, 9, 0, 8]}, "frame 3: 8 elements from 9 of a chunk of 16 do not fit"),
        ({"first": [-1, 8, 0, 8, 0, 8]}, "frame 0: 8 elements from -1"),
        ({"to": [0, 16, 32, 48, 64, 81]}, "frame 5: .* at byte 81 of a destination of 96 bytes"),
        ({"to": [0, 16, 32, 48, 64, -1]}, "frame 5: .* at byte -1"),
        ({"to": [0, 16, 32, 48, 64, 2**63 - 1]}, "frame 5: .* do not fit"),
        ({"elements": 17}, "16 elements does not hold frames of 17"),
        ({"elements": -1}, "does not hold frames of -1"),
        ({"nbytes": 31}, "a chunk of 31 bytes does not hold elements of 2 bytes"),
        ({"nbytes": 0}, "a chunk of 0 bytes"),
        ({"size": 0}, "elements of 0 bytes"),
        ({"threads": 0}, "threads must be at least 1, not 0"),
        ({"functions": (1, 0, 1)}, "a function has no address"),
    ],
)
def test_refusals(tmp_path, change, text):
    call, _ = sound_call(tmp_path / "x")
    call |= {name: np.array(v) if isinstance(v, list) else v for name, v in change.items()}
    with pytest.raises(ValueError, match=text):
        run(tmp_path / "x", call)
    assert (call["dest"] == 7).all()


def test_a_destination_that_cannot_be_written(tmp_path):
    call, _ = sound_call(tmp_path / "x")
    call["dest"].flags.writeable = False
    with pytest.raises((BufferError, ValueError), match=r"read-only|writ"):
        run(tmp_path / "x", call)


@pytest.mark.parametrize("shuffle", [False, True])
def test_errors_and_losses_are_those_of_the_slow_way(tmp_path, monkeypatch, shuffle):
    """Chunks that are damaged, of another length or cut off, each told in the same words with libdeflate's
    addresses and without; and frames that are sound are the same."""
    data = np.random.default_rng(0).integers(0, 9, (12, 9, 5)).astype("u4")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        d = f.create_dataset("d", data=data, chunks=(1, 9, 5), compression="gzip", shuffle=shuffle)
        raw = d.id.read_direct_chunk((3, 0, 0))[1]
        d.id.write_direct_chunk((3, 0, 0), b"\x55" * len(raw))
        d.id.write_direct_chunk((5, 0, 0), zlib.compress(data[5].tobytes()[:-4]))
        d.id.write_direct_chunk((6, 0, 0), zlib.compress(data[6].tobytes() + b"more"))
        d.id.write_direct_chunk((8, 0, 0), raw + b"behind it")
    where = map_frames(path, "d", 1)
    told = {}
    for way in ("fast", "slow"):
        if way == "slow":
            monkeypatch.setattr(chunks, "inflate_functions", lambda: None)
        texts, out, lost = [], np.zeros((12, 9, 5), "u4"), np.zeros(12, "u1")
        at = np.arange(12) * 45
        for frame in range(12):
            try:
                read_frames(where, np.array([frame]), out, at[:1])
                texts.append("")
            except UnreadableData as e:
                texts.append(str(e))
        read_frames(where, np.arange(12), out, at, 2, lost)
        told[way] = (texts, lost.tolist(), out[lost == 0].tobytes())
    assert told["fast"] == told["slow"]
    texts, lost, _ = told["fast"]
    assert [bool(text) for text in texts] == [loss == Loss.DAMAGED for loss in lost]
    assert lost[3] == lost[5] == lost[6] == Loss.DAMAGED
    assert re.search("is damaged: deflate: ", texts[3])


def test_sound_chunks_are_not_done_twice(tmp_path, monkeypatch):
    """What compiled code has done is not unpacked once more for the sake of a chunk that it left."""
    data = np.arange(12 * 45, dtype="u4").reshape(12, 9, 5)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        d = f.create_dataset("d", data=data, chunks=(1, 9, 5), compression="gzip")
        d.id.write_direct_chunk((3, 0, 0), zlib.compress(data[3].tobytes()[:-4]))
        d.id.write_direct_chunk((7, 0, 0), data[7].tobytes(), 1)  # stored without its filter
    where, seen = map_frames(path, "d", 1), []
    take = chunks._Work._unpack
    monkeypatch.setattr(
        chunks._Work, "_unpack", lambda self, one, *more: (seen.append(one), take(self, one, *more))
    )
    out, lost = np.zeros_like(data), np.zeros(12, "u1")
    read_frames(where, np.arange(12), out, np.arange(12) * 45, 2, lost)
    assert len(seen) == 2
    assert np.flatnonzero(lost).tolist() == [3]
    assert (out[lost == 0] == data[lost == 0]).all()
