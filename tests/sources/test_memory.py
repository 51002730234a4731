"""Shots in memory look like shots of a run."""

import numpy as np
import pytest
from shotsieve.errors import BadInput
from shotsieve.sources import MemorySource, ShotStatus, Source, TrainList


@pytest.fixture
def arrays(small):
    rng = np.random.default_rng(5)
    frames = rng.integers(0, 65536, (6, 3, 2, 8, 4)).astype("u2")
    return small(), frames, [1, 1, 1, 2, 2, 4], [0, 1, 2, 0, 1, 0], [0, 1, 2, 0, 1, 0]


def test_it_is_a_source(arrays):
    detector, frames, *labels = arrays
    status = [0, 0, 3, 0, 1, 0]
    energy = [1.0, 2, 3, np.nan, 5, 6]
    present = np.ones((6, 3), bool)
    present[3, 1] = False
    source = MemorySource(
        detector, frames, *labels, present=present, status=status, columns={"pulse_energy": energy}
    )
    assert isinstance(source, Source)
    assert source.modules == (0, 1, 2)
    assert source.readable.tolist() == [0, 1, 3, 5]
    assert source.missing_shots == 0
    assert source.raw_names == {}
    assert np.isnan(source.columns()["pulse_energy"][3])
    out = np.full((4, 3, 2, 8, 4), 7, "u2")
    for start, stop in source.cuts(2 * frames[0].nbytes):
        source.read(start, stop, out[start:stop])
    expected = frames[[0, 1, 3, 5]]
    expected[2, 1] = 7
    assert (out == expected).all()


def test_frames_made_on_demand(arrays):
    detector, frames, *labels = arrays
    present = np.ones((6, 3), bool)
    present[2, 0] = False

    def make(index, out):
        out[...] = frames[index]

    trains = TrainList(np.array([1, 2, 3, 4], "u8"), np.zeros(4, "u8"), np.array([3, 2, 3, 1], "i4"))
    source = MemorySource(detector, make, *labels, modules=(3, 4, 8), present=present, trains=trains)
    assert source.modules == (3, 4, 8)
    assert source.missing_shots == 3
    out = np.full((4, 3, 2, 8, 4), 7, "u2")
    source.read(1, 5, out)
    expected = frames[1:5].copy()
    expected[1, 0] = 7
    assert (out == expected).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": np.zeros((6, 3, 2, 8, 5), "u2")}, "expected \\(6, 3, 2, 8, 4\\)"),
        ({"frames": np.zeros((6, 3, 2, 8, 4), "f4")}, "float32"),
        ({"train_id": [2, 1, 1, 2, 2, 4]}, "sort the shots"),
        ({"pulse_id": [0, 2, 1, 0, 1, 0]}, "shot 2 \\(train 1, pulse 1\\)"),
        ({"cell_id": [0]}, "cell_id has shape"),
        ({"present": np.ones((6, 2), bool)}, "present has shape"),
        ({"columns": {"x": [1.0]}}, "x has shape"),
        ({"trains": TrainList(np.array([1], "u8"), np.zeros(1, "u8"), np.array([2], "i4"))}, "adds up to 2"),
    ],
)
def test_what_does_not_fit_is_refused(arrays, change, words):
    detector, frames, train, pulse, cell = arrays
    given = {"frames": frames, "train_id": train, "pulse_id": pulse, "cell_id": cell, **change}
    with pytest.raises(BadInput, match=words):
        MemorySource(detector, **given)


def test_duplicates_may_share_a_key(arrays):
    detector, frames, *_ = arrays
    source = MemorySource(
        detector, frames[:2], [1, 1], [0, 0], [0, 0], status=[ShotStatus.OK, ShotStatus.DUPLICATE]
    )
    assert source.readable.tolist() == [0]
