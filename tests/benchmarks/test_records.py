"""Records of measurements: the fields, what is refused, and that the committed history holds valid ones."""

from __future__ import annotations

import json
import math
import platform
import re

import machine
import pytest
import records

GOOD = {
    "backend": "cpu_v3",
    "detector": "AGIPD1M",
    "shots_per_s": 1234.5678,
    "gb_per_s": 5.1,
    "read_fraction": 0.2,
    "floor_fraction": None,
    "peer": "NumPy",
    "ratio_to_peer": 30.0,
    "threads": 1,
}


def test_a_record_has_the_agreed_fields():
    record = records.make("calibrate_lit", **GOOD)
    agreed = (
        "name backend detector shots_per_s gb_per_s read_fraction floor_fraction peer ratio_to_peer threads"
    )
    assert set(records.FIELDS) == {
        *agreed.split(),
        "machine",
        "versions",
        "commit",
        "date",
        "notes",
        "details",
    }
    assert list(record) == list(records.FIELDS)
    assert record["shots_per_s"] == 1235
    json.dumps(record, allow_nan=False)


def test_every_benchmark_is_listed_with_a_record_that_exists():
    root = records.HISTORY.parents[1]
    page, readme = ((root / name).read_text() for name in ("docs/benchmarks.md", "benchmarks/README.md"))
    for name in {path.name[11:].rpartition("-")[0] for path in records.HISTORY.glob("*.json")}:
        assert f"\n| `{name}` |" in page, name
        assert f"\n| `{name}` (" in readme, name
    linked = re.findall(r"\.\./(benchmarks/history/[^)]*)", page)
    assert len(linked) > 20
    assert not [name for name in linked if not (root / name).is_file()]


def test_a_record_names_no_host():
    text = json.dumps(records.make("calibrate_lit", **GOOD))
    host = platform.node()
    assert not host or host not in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shots_per_s": None}, "shots_per_s is None"),
        ({"gb_per_s": math.nan}, "gb_per_s is nan"),
        ({"gb_per_s": -1.0}, "gb_per_s is -1.0"),
        ({"threads": 0}, "threads is 0"),
        ({"threads": True}, "threads is True"),
        ({"backend": "gpu"}, "backend is 'gpu'"),
        ({"peer": None}, "both be given"),
        ({"date": "today"}, "YYYY-MM-DD"),
        ({"speed": 3}, "no field 'speed'"),
        ({"versions": {"python": "3.11"}}, "versions lacks h5py, numpy, shotsieve"),
    ],
)
def test_what_is_wrong_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        records.make("calibrate_lit", **{**GOOD, **change})


def test_missing_field_is_named():
    with pytest.raises(ValueError, match="threads is missing"):
        records.make("calibrate_lit", **{k: v for k, v in GOOD.items() if k != "threads"})


def test_append_extends_the_file_of_the_day(tmp_path):
    record = records.make("calibrate_lit", **GOOD, date="2026-11-20", details={"curve": [[1, 2], [3, 4]]})
    file = records.append(record, tmp_path)
    assert file.name == "2026-11-20-calibrate_lit-cpu.json"
    assert records.append(record, tmp_path) == file
    assert records.load(file) == [record, record]
    assert [f.name for f in tmp_path.iterdir()] == [file.name]


def test_append_refuses_a_file_that_holds_something_else(tmp_path):
    record = records.make("calibrate_lit", **GOOD, date="2026-11-20")
    file = records.append(record, tmp_path)
    file.write_text('[{"name": "x"}]')
    with pytest.raises(ValueError, match="backend is missing"):
        records.append(record, tmp_path)


@pytest.mark.parametrize("file", sorted(records.HISTORY.glob("*.json")), ids=lambda file: file.name)
def test_history_is_valid(file):
    known = records.load(file)
    assert known
    assert all(file.name.startswith(f"{record['date']}-{record['name']}-") for record in known)
    assert records.lines(known)


def test_machine_is_said_in_words():
    assert "cores" in machine.describe()
    assert machine.describe("a GPU").startswith("a GPU, ")
    assert machine.last_level_cache() >= 0


def test_a_record_of_nothing_beside_it():
    record = records.alone("darks", detector="AGIPD1M", threads=3)
    assert record["threads"] == 3
    assert (record["backend"], record["shots_per_s"], record["peer"]) == ("cpu", 0, None)
    with pytest.raises(ValueError, match="detector is missing"):
        records.alone("darks")
