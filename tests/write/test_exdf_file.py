"""The container of one file, read back with h5py alone."""

import hashlib

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shotsieve.errors import BadInput, OutputError
from shotsieve.write.exdf_file import ExdfFile

TRAINS = np.arange(100, 103, dtype="u8")
SOURCE = "SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"


@pytest.fixture
def new(tmp_path, meta):
    def make(name="RAW-R0035-AGIPD03-S00002.h5", train_ids=TRAINS, **options):
        stamps = np.asarray(train_ids, "u8") * 10**8
        return ExdfFile(tmp_path / name, train_ids=train_ids, timestamps=stamps, meta=meta, **options)

    return make


def fill(f):
    group = f.instrument(SOURCE, "image", [3, 0, 2])
    group["pulseId"] = np.arange(5, dtype="u8")[:, None]
    f.control(
        "A/B/C", {"x.y": [1.5, 2.5, 3.5], "mode": "adaptive", "n": np.arange(6).reshape(3, 2)}, class_id="K"
    )
    extra = f.auxiliary("REDUCTION", f"TOOL/{SOURCE}", "image", [1, 1, 1])
    extra["framesKept"] = np.array([3, 0, 2], "u4")
    f.run_values(f"TOOL/{SOURCE}", {"version": "0.1", "measure.threshold": 0.7, "files": ["a", "b"]})
    f.root_attributes({"writer": "us", "files": ["a", "b"], "number": 3})


def test_every_section_of_the_format(new):
    with new(sequence=2, flags=[1, 0, 1], origin=[-1, 0, -1]) as f:
        fill(f)
    with h5py.File(f.path) as h:
        meta = {k: d[0] for k, d in h["METADATA"].items() if isinstance(d, h5py.Dataset)}
        assert meta == {
            "dataFormatVersion": b"1.2",
            "creationDate": b"20260102T030405Z",
            "updateDate": b"20260102T040506Z",
            "daqLibrary": b"1.9.0",
            "karaboFramework": b"2.7.0",
            "runType": b"test",
            "sample": b"water",
            "proposalNumber": 1234,
            "runNumber": 35,
            "sequenceNumber": 2,
        }
        assert h["METADATA/runNumber"].dtype == "u4"
        ids = {k: d.asstr()[:].tolist() for k, d in h["METADATA/dataSources"].items()}
        assert ids == {
            "dataSourceId": [f"INSTRUMENT/{SOURCE}/image", "CONTROL/A/B/C"],
            "root": ["INSTRUMENT", "CONTROL"],
            "deviceId": [f"{SOURCE}/image", "A/B/C"],
        }
        assert h["METADATA/auxiliarySources/REDUCTION"].asstr()[:].tolist() == [
            f"REDUCTION/TOOL/{SOURCE}/image"
        ]
        index = h["INDEX"]
        assert {
            k: (index[k].dtype, index[k][:].tolist()) for k in ("trainId", "timestamp", "flag", "origin")
        } == {
            "trainId": ("u8", [100, 101, 102]),
            "timestamp": ("u8", [100 * 10**8, 101 * 10**8, 102 * 10**8]),
            "flag": ("i4", [1, 0, 1]),
            "origin": ("i4", [-1, 0, -1]),
        }
        assert index[f"{SOURCE}/image/first"][:].tolist() == [0, 3, 3]
        assert index[f"{SOURCE}/image/count"][:].tolist() == [3, 0, 2]
        assert index[f"{SOURCE}/image/count"].chunks is None
        assert index["A/B/C/count"][:].tolist() == [1, 1, 1]
        assert h["CONTROL/A/B/C/x/y/value"][:].tolist() == [1.5, 2.5, 3.5]
        assert h["CONTROL/A/B/C/x/y/timestamp"][:].tolist() == index["timestamp"][:].tolist()
        assert h["CONTROL/A/B/C/mode/value"].asstr()[:].tolist() == ["adaptive"] * 3
        assert h["RUN/A/B/C/x/y/value"][:].tolist() == [1.5]
        assert h["RUN/A/B/C/n/value"].shape == (1, 2)
        assert h["RUN/A/B/C/classId/value"].asstr()[:].tolist() == ["K"]
        assert h[f"RUN/TOOL/{SOURCE}/measure/threshold/value"][0] == 0.7
        assert h.attrs["files"].tolist() == ["a", "b"]


def test_same_calls_give_the_same_bytes(new):
    digests = set()
    for name in ("a.h5", "b.h5"):
        with new(name) as f:
            fill(f)
        digests.add(hashlib.sha256(f.path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_run_group_exists_and_no_train_is_fine(new):
    with new(train_ids=[]) as f:
        f.instrument(SOURCE, "image", [])["pulseId"] = np.zeros(0, "u8")
        f.control("A/B/C", {"x": []})
    with h5py.File(f.path) as h:
        assert "RUN" in h
        assert h["CONTROL/A/B/C/x/value"].shape == (0,)
        assert "x" not in h["RUN/A/B/C"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(0, 9), max_size=12))
def test_index_is_a_running_cursor(new, tmp_path, counts):
    name = f"{len(list(tmp_path.iterdir()))}.h5"
    with new(name, train_ids=np.arange(1, len(counts) + 1)) as f:
        group = f.instrument(SOURCE, "image")
        group["pulseId"] = np.zeros(sum(counts), "u8")
        f.set_counts(SOURCE, "image", counts)
    with h5py.File(f.path) as h:
        first, count = (h[f"INDEX/{SOURCE}/image/{key}"][:].astype(int) for key in ("first", "count"))
        assert count.tolist() == counts
        assert (first[1:] == (first + count)[:-1]).all()
        assert not first[:1].any()


def test_explicit_first_and_control_gaps_are_possible(new):
    with new() as f:
        f.instrument(SOURCE, "image", [1, 0, 1], first=[0, 0, 1])["pulseId"] = np.zeros(2, "u8")
        f.control("A/B/C", {"x": [5.0, 6.0]}, counts=[0, 1, 1])
    with h5py.File(f.path) as h:
        assert h[f"INDEX/{SOURCE}/image/first"][:].tolist() == [0, 0, 1]
        assert h["INDEX/A/B/C/first"][:].tolist() == [0, 0, 1]
        assert h["CONTROL/A/B/C/x/timestamp"][:].tolist() == [101 * 10**8, 102 * 10**8]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda f: f.instrument(SOURCE, "image", [1, 2]),
            BadInput,
            r"counts of .* has shape \(2,\); .* 3 trains",
        ),
        (lambda f: f.instrument(SOURCE, "image", [1, -2, 0]), BadInput, "negative"),
        (lambda f: f.set_counts(SOURCE, "nothing", [1, 1, 1]), BadInput, "was not created"),
        (
            lambda f: [f.instrument(SOURCE, "image", [0] * 3)] * 2 and f.instrument(SOURCE, "image"),
            BadInput,
            "already",
        ),
        (lambda f: f.auxiliary("SUNDRY", SOURCE, "image"), BadInput, "'REDUCTION' or 'ERRATA'"),
        (lambda f: f.control("A/B/C", {"x": [1, 2]}), BadInput, r"A/B/C\.x has 2 values for 3 trains"),
        (lambda f: f.run_values("A/B/C", {"x": object()}), BadInput, "cannot store"),
        (lambda f: f.instrument(SOURCE, "image"), OutputError, "counts of .* never given"),
        (
            lambda f: f.instrument(SOURCE, "image", [1, 1, 1]).create_dataset("pulseId", data=[1, 2]),
            OutputError,
            "pulseId has 2 rows, its index counts 3",
        ),
    ],
)
def test_mistakes_are_named(new, call, error, text):
    with pytest.raises(error, match=text), new() as f:
        call(f)


def test_existing_file_is_not_touched(new, tmp_path):
    (tmp_path / "a.h5").write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"a\.h5: the file cannot be created"):
        new("a.h5")
    assert (tmp_path / "a.h5").read_bytes() == b"precious"


def test_closed_file_refuses(new):
    f = new()
    f.close()
    f.close()
    with pytest.raises(OutputError, match="is closed"):
        f.control("A/B/C", {"x": 1})
