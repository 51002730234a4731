"""Frames that were encoded before, for several files: the files of the run do not change by it."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from shotsieve.errors import BadInput
from shotsieve.write.encoded import EncodedFrames, encode_chunk
from shotsieve.write.exdf import ReducedRunWriter


def digests(folder, source, frames_of, encode, compression="none"):
    folder.mkdir()
    shots = np.arange(len(source.shots))
    present = source.shots.present
    frames = frames_of(source, shots)
    with ReducedRunWriter(folder, source, "corrected", "keV", {}, compression) as writer:
        encoded = EncodedFrames(frames, present, writer.compressed) if encode else None
        writer.append(shots, present, frames, encoded)
        files = writer.finish()
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize(
    "run",
    [
        {"name": "AGIPD1M", "modules": (0, 1, 2), "absent": [(0, 1)]},
        {"name": "JUNGFRAU", "per_train": (1, 1, 1)},  # one frame per train: the same chunks
        {"name": "JUNGFRAU", "per_train": (2, 2, 2)},  # two: chunks of two frames, which are encoded anew
    ],
)
def test_the_same_bytes_with_frames_that_were_encoded_before(
    tmp_path, make_source, frames_of, compression, run
):
    source = make_source(shape=(6, 8), **run)
    fresh = digests(tmp_path / "fresh", source, frames_of, False, compression)
    assert digests(tmp_path / "before", source, frames_of, True, compression) == fresh


def test_frames_encoded_in_another_way_are_refused(tmp_path, make_source, frames_of):
    source = make_source(shape=(6, 8), modules=(0, 1, 2))
    frames = frames_of(source, [0])
    with ReducedRunWriter(tmp_path, source, "corrected", "keV", {}) as writer:
        encoded = EncodedFrames(frames, source.shots.present[:1], {"data": True, "gain": True, "mask": True})
        with pytest.raises(BadInput, match="as float32, deflated; this file stores it as float32, plain"):
            writer.append([0], source.shots.present[:1], frames, encoded)
        encoded = EncodedFrames({"data": frames["data"]}, source.shots.present[:1], {"data": False})
        with pytest.raises(
            BadInput, match=r"gain of the frames was encoded not at all; this file .* uint8, defl"
        ):
            writer.append([0], source.shots.present[:1], frames, encoded)


def test_compressed_chunks_are_the_same_bytes_every_time(rng):
    """Deflate libraries look for matches in memory that others have used before."""
    frames = [((rng.random((64, 48)) < share) * 7).astype("u4") for share in (0.001, 0.03, 0.5)]
    frames += [frame[:2, :24] for frame in frames]
    for frame in frames:
        with ThreadPoolExecutor(4) as pool:
            chunks = set(pool.map(lambda _, frame=frame: encode_chunk(frame, "<u4", True), range(200)))
        assert len(chunks) == 1


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4", "<f4", "<f8"])
def test_hdf5_reads_what_is_encoded(tmp_path, rng, dtype):
    frame = rng.integers(0, 200, (33, 7)).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        filters = {"compression": "gzip", "shuffle": np.dtype(dtype).itemsize > 1}
        data = file.create_dataset("a", frame.shape, dtype, chunks=frame.shape, **filters)
        data.id.write_direct_chunk((0, 0), encode_chunk(frame, dtype, True))
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["a"][()], frame)
