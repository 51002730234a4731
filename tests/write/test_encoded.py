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


@pytest.mark.parametrize("dtype", ["uint16", "uint8"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_photons_are_stored_as_they_are(tmp_path, make_source, frames_of, rng, dtype, compression):
    source = make_source(shape=(6, 8), modules=(0, 1, 2))
    kept, present = np.arange(2), source.shots.present[:2]
    frames = frames_of(source, kept)
    frames["data"] = rng.integers(0, np.iinfo(dtype).max, frames["data"].shape).astype(dtype)
    modules = (0, 2, 5)
    made = {}
    for encode in (False, True):
        folder = tmp_path / str(encode)
        folder.mkdir()
        options = {"compression": compression, "dtype": dtype, "modules": modules}
        with ReducedRunWriter(folder, source, "photons", "photon", {}, **options) as writer:
            encoded = EncodedFrames(frames, present, writer.compressed, dtype=dtype) if encode else None
            writer.append(kept, present, frames, encoded)
            made[encode] = writer.finish()
    for m, one, other in zip((0, 2), made[False], made[True], strict=True):
        assert one.read_bytes() == other.read_bytes()
        with h5py.File(one) as file:
            data = file[f"INSTRUMENT/{writer.source_name(m)}/{source.detector.group}/data"]
            assert (data.dtype, data.attrs["units"]) == (dtype, "photon")
            np.testing.assert_array_equal(data[()], frames["data"][:, m])


def test_another_dtype_and_modules_without_frames_are_refused(tmp_path, make_source, frames_of):
    source = make_source(shape=(6, 8), modules=(0, 1, 2))
    frames, present = frames_of(source, [0]), source.shots.present[:1]
    with pytest.raises(BadInput, match="none of the chosen modules has a single frame"):
        ReducedRunWriter(tmp_path, source, "corrected", "keV", {}, modules=(7,))
    with ReducedRunWriter(tmp_path, source, "photons", "photon", {}, "gzip", dtype="u2") as writer:
        encoded = EncodedFrames(frames, present, dict.fromkeys(frames, True))
        photons = frames | {"data": np.zeros(frames["data"].shape, "u2")}
        with pytest.raises(BadInput, match="as float32, deflated; this file stores it as uint16, deflated"):
            writer.append([0], present, photons, encoded)
        with pytest.raises(BadInput, match="data is float32; expected photons as uint16"):
            writer.append([0], present, frames)
    for content, dtype in (("photons", "f4"), ("rounded", "u2")):
        with pytest.raises(BadInput, match="photons need uint8 or uint16, rounded values float32"):
            ReducedRunWriter(tmp_path, source, content, "keV", {}, dtype=dtype)
    assert encoded.only("mask").compressed == {"mask": True}
    with pytest.raises(KeyError):
        encoded.only("mask").chunk("data", 0, 0)
