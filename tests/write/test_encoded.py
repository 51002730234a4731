"""Frames that were encoded before, for several files: the files of the run do not change by it."""

import hashlib

import numpy as np
import pytest
from shotsieve.errors import BadInput
from shotsieve.write.encoded import EncodedFrames
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
        with pytest.raises(BadInput, match=r"encoded as .*'data': True.*; needed .*'data': False"):
            writer.append([0], source.shots.present[:1], frames, encoded)
        encoded = EncodedFrames({"data": frames["data"]}, source.shots.present[:1], {"data": False})
        with pytest.raises(BadInput, match=r"encoded as .*'data': False.; needed .*'gain': True"):
            writer.append([0], source.shots.present[:1], frames, encoded)
