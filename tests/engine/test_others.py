"""What a run holds beside the frames goes along into the reduced run."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput, UnreadableData

SOURCE = "SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"
RAW = {"content": "raw", "others": True}


@pytest.fixture
def reduce(simulated, make_recipe, tmp_path):
    def run(name="usual", out="r", raw=None, **sections):
        sim = simulated(name)
        options = {"constants": sim.constants, "backend": "cpu"}
        return shotsieve.reduce(raw or sim.raw, make_recipe(**sections), tmp_path / out, **options)

    return run


def groups(folder, pattern):
    """All of a module's groups but the frames, of every train, straight from the files."""
    found = {}
    for path in sorted(folder.glob(pattern)):
        with h5py.File(path) as file:
            trains = file["INDEX/trainId"][()]
            for group in ("header", "detector", "trailer"):
                first, count = (file[f"INDEX/{SOURCE}/{group}/{key}"][()] for key in ("first", "count"))
                items = []
                file[f"INSTRUMENT/{SOURCE}/{group}"].visititems(
                    lambda name, item, items=items: (
                        items.append((name, item[()])) if isinstance(item, h5py.Dataset) else None
                    )
                )
                for train, a, n in zip(trains, first, count, strict=True):
                    for name, values in items:
                        if n:
                            found.setdefault((train, group, name), values[int(a) : int(a + n)])
    return found


@pytest.mark.parametrize(
    "name", ["usual", "second_sequence", "duplicate_train", "empty_train", "missed_train"]
)
def test_raw_output_has_all_groups_and_files(reduce, simulated, name):
    result, sim = reduce(name, write=RAW), simulated(name)
    expected = groups(sim.raw, "RAW-R0001-AGIPD03-*.h5")
    mine = groups(result.out, "RAW-R0001-AGIPD03-*.h5")
    assert mine.keys() == expected.keys()
    assert len(mine) > 0
    for key, values in mine.items():
        np.testing.assert_array_equal(values, expected[key])
    others = [path for path in sim.raw.glob("*.h5") if "AGIPD0" not in path.name]
    assert len(others) >= 2
    for path in others:
        assert (result.out / path.name).read_bytes() == path.read_bytes()
    report = check_against(check(result.out), sim.raw, constants=sim.constants, backend="cpu")
    assert report.ok, report.summary()


def test_the_reduced_run_stands_for_the_raw_one(reduce, reduced, read_module):
    """Reduced to raw words and then calibrated, or calibrated at once: the same frames and columns."""
    raw, expected = reduce(write=RAW), reduced("usual")
    again = reduce(out="again", raw=raw.out)
    kept = expected.table.fate == 0
    assert "pulse_energy" in again.table.columns
    for name, values in again.table.columns.items():
        np.testing.assert_array_equal(values, expected.table.columns[name][kept])
    assert (again.table.verdict == 1).all()
    for module in (3, 4):
        mine, theirs = read_module(again, module), read_module(expected, module)
        for key in ("image.data", "image.gain", "image.mask", "image.pulseId"):
            np.testing.assert_array_equal(mine[key], theirs[key])


def test_extra_data_finds_control_data(reduce, simulated):
    extra_data = pytest.importorskip("extra_data")
    result = reduce(write={"content": "corrected", "others": True})
    folders = (result.out, simulated("usual").raw)
    mine, raw = (extra_data.RunDirectory(folder, parallelize=False) for folder in folders)
    with mine, raw:
        assert mine.control_sources == raw.control_sources
        assert len(mine.control_sources) > 0
        assert mine.train_ids == raw.train_ids
        for source in mine.control_sources:
            assert mine.get_run_values(source).keys() == raw.get_run_values(source).keys()


def test_without_it_nothing_is_copied(reduce):
    result = reduce(write={"content": "raw"})
    assert sorted(path.name for path in result.out.glob("*.h5")) == [
        f"RAW-R0001-AGIPD{m:02d}-S00000.h5" for m in (3, 4)
    ]


def test_what_goes_wrong(reduce, simulated, link_run, tmp_path):
    raw = tmp_path / "raw/r0001"
    raw.mkdir(parents=True)
    for path in simulated("usual").raw.iterdir():
        (raw / path.name).write_bytes(path.read_bytes())
    result = reduce(write=RAW, raw=raw)
    # A copy that is no longer what the run holds.
    [other] = raw.glob("*DA01*")
    with h5py.File(other, "r+") as file:
        file["INDEX/timestamp"][0] += 1
    report = check_against(check(result.out), raw, constants=simulated("usual").constants, backend="cpu")
    assert report.faults == [f"{other.name} is not the file of the run"]
    # A group with fewer rows than its index says.
    with h5py.File(raw / "RAW-R0001-AGIPD03-S00000.h5", "r+") as file:
        file[f"INDEX/{SOURCE}/trailer/count"][-1] += 5
    with pytest.raises(UnreadableData, match="trailer"):
        reduce(out="broken", write=RAW, raw=raw)
    assert not (tmp_path / "broken").exists()
    with pytest.raises(BadInput, match="others"):
        reduce(out="word", write={"content": "raw", "others": "yes"})
