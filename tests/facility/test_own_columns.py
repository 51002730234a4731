"""What EXtra-redu or shotsieve found in a run becomes columns of another reduction, pulse by pulse."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest
from shotsieve.errors import BadInput, UnreadableData
from shotsieve.recipe import Recipe
from shotsieve.sources.annotate import AnnotateParams
from shotsieve.sources.run import open_run

DET = "SPB_DET_AGIPD1M-1"
FINDER, COUNTER = f"{DET}/REDU/SPI_HITFINDER:output", f"{DET}/REDU/LITPX_COUNTER:output"
NAME = "CORR-R0001-REDU00-S00000.h5"
COLUMNS = {
    "hit": f"{FINDER}:data.hitFlag",
    "score": f"{FINDER}:data.hitscore",
    "level": f"{FINDER}:threshold.value",
    "lit": f"{COUNTER}:data.litPixels[1]",
    "asked": f"{DET}/REDU/SPI_HITFINDER:snr",
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:'where' used without 'out':UserWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),
]


@pytest.fixture
def joined(simulated, tmp_path):
    """A run with a REDU file in its own folder."""

    def make(redu, name="joined"):
        folder = tmp_path / name
        folder.mkdir()
        for file in simulated().raw.iterdir():
            (folder / file.name).symlink_to(file)
        shutil.copyfile(redu, folder / NAME)
        return folder

    return make


def columns_of(folder, **options):
    source = open_run(folder)
    return source, source.columns(AnnotateParams(**options))


def check_columns(columns, whole):
    finder, table = whole.finder, whole.result.table
    known = np.isin(table.train_id, whole.trains)
    assert 0 < known.sum() < len(known)
    per_shot = np.repeat(finder.threshold, finder.count)
    for name, want in (
        ("hit", finder.hit_mask),
        ("score", finder.hitscore),
        ("level", per_shot),
        ("lit", whole.counter.num_lit_px[:, 1]),
        ("asked", np.full(len(known), 4.0)),
    ):
        np.testing.assert_array_equal(columns[name], np.where(known, want, np.nan), name)


def test_hits_of_the_facility_in_the_runs_folder(joined, whole, reduce):
    folder = joined(whole.theirs / NAME)
    source, columns = columns_of(folder, columns=COLUMNS)
    check_columns(columns, whole)
    assert any("hit is matched by train and pulse; unknown for 16 of 64 shots" in n for n in source.notes)
    result = reduce(
        raw=folder, derive=None, redu=None, annotate={"columns": {"hit": COLUMNS["hit"]}},
        keep={"rule": "hit == 1", "undecided": "drop"},
    )  # fmt: skip
    known = np.isin(result.table.train_id, whole.trains)
    np.testing.assert_array_equal(result.table.fate == 0, known & whole.finder.hit_mask)
    np.testing.assert_array_equal(result.table.verdict, np.where(known, whole.finder.hit_mask, -1))
    assert result.accounts.kept > 2
    # Hits alone are read at all, and what nobody knows.
    result = reduce(
        out="selected", raw=folder, derive=None, redu=None, keep=None, write=None,
        annotate={"columns": {"hit": COLUMNS["hit"]}}, select={"rule": "hit == 1"},
    )  # fmt: skip
    np.testing.assert_array_equal(result.table.fate == 0, ~known | whole.finder.hit_mask)


def test_hits_of_the_facility_beside_the_run(simulated, whole, reduce, make_recipe, tmp_path):
    source, columns = columns_of(simulated().raw, columns=COLUMNS, beside=str(whole.theirs))
    check_columns(columns, whole)
    assert any(f"{FINDER} comes from {NAME} in {whole.theirs}" in note for note in source.notes)
    # Relative to the folder of the recipe; a file will do too.
    shutil.copytree(whole.theirs, tmp_path / "proc")
    text = make_recipe(derive=None, redu=None, keep={"rule": "hit == 1"})
    for beside in ("proc", f"proc/{NAME}"):
        given = {**text, "annotate": {"beside": beside, "columns": {"hit": COLUMNS["hit"]}}}
        recipe = Recipe.from_dict(given, folder=tmp_path)
        assert Recipe.from_dict(recipe.filled(), folder=tmp_path) == recipe
        found = open_run(simulated().raw).columns(recipe.annotate)
        np.testing.assert_array_equal(found["hit"], columns["hit"])
    with pytest.raises(BadInput, match="does not exist"):
        open_run(simulated().raw).columns(Recipe.from_dict(given, folder=tmp_path / "x").annotate)


def test_the_run_goes_before_what_is_beside_it(joined, whole, tmp_path):
    folder = joined(whole.theirs / NAME)
    other = tmp_path / "other"
    shutil.copytree(whole.theirs, other)
    with h5py.File(other / NAME, "r+") as file:
        file[f"INSTRUMENT/{FINDER}/data/hitFlag"][:] = 7
    _, columns = columns_of(folder, columns=COLUMNS, beside=str(other))
    check_columns(columns, whole)


@pytest.mark.parametrize("name", ["usual", "odd"])
def test_our_own_file_goes_round(simulated, reduced, name):
    """What one reduction found, another one can use, duplicates and rejected shots too."""
    result = reduced(name)
    columns = {
        "hit": f"{FINDER}:data.hitFlag",
        "kept": f"{FINDER}:data.dataFlag",
        "lit": f"{COUNTER}:data.litPixels[3]",
        "limit": f"{FINDER}:threshold.value",
    }
    _, found = columns_of(simulated(name).raw, columns=columns, beside=str(result.out))
    table = result.table
    measured = table.module_status[:, 3] == 0
    np.testing.assert_array_equal(found["lit"][measured], table.measures["lit_pixels"][measured, 3])
    np.testing.assert_array_equal(found["hit"][measured], table.verdict[measured] == 1)
    np.testing.assert_array_equal(found["kept"][measured], table.fate[measured] == 0)
    np.testing.assert_array_equal(found["limit"][measured], table.columns["limit"][measured] * 65536)
    # A suspect train is one in the file of results too.
    np.testing.assert_array_equal(np.isnan(found["hit"]), table.fate == 2)
    assert (table.fate == 2).any() == (name == "odd")


def test_any_source_with_pulse_ids_is_matched_by_pulse(simulated):
    """The rule is general: raw labels of a module are as good as results."""
    source, columns = columns_of(
        simulated("odd").raw, columns={"cell": f"{DET}/DET/4CH0:xtdf:image.cellId"}, pattern="none"
    )
    there = source.shots.present[:, 4] & (source.shots.status == 0)
    np.testing.assert_array_equal(columns["cell"][there], source.shots.cell_id[there])
    assert np.isnan(columns["cell"][source.shots.train_id == source.trains.train_id[1]]).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{FINDER}:data.hitflag", "has no key 'data.hitflag'.*Did you mean 'data.hitFlag'"),
        (f"{DET}/REDU/HITFINDER:output:data.hitFlag", "no instrument source.*Did you mean"),
        (f"{DET}/REDU/LITPX:threshold", "no control source"),
        (f"{COUNTER}:data.litPixels", r"2 values of type int64 per shot.*as data.litPixels\[0\]"),
        (f"{COUNTER}:data.litPixels[2]", r"2 values per shot, so the last one is data.litPixels\[1\]"),
        (f"{FINDER}:data.hitFlag[1]", "1 values per shot"),
        (f"{FINDER}:threshold.value[1]", "1 values per train"),
        (f"{DET}/DET/3CH0:xtdf:image.data", "expected a number, or a list of numbers"),
    ],
)
def test_columns_that_cannot_be(joined, whole, text, words):
    with pytest.raises(BadInput, match=words):
        columns_of(joined(whole.theirs / NAME), columns={"x": text})


def test_a_number_of_many_per_train(simulated):
    xgm = "SA1_XTD2_XGM/XGM/DOOCS:output:data.intensityTD"
    source = open_run(simulated().raw)
    names = {s for f in source._files for s in f.instrument if "XGM" in s}
    xgm = f"{sorted(names)[0]}:data.intensityTD"
    found = source.columns(AnnotateParams(columns={"a": f"{xgm}[0]", "b": f"{xgm}[999]"}))
    assert (found["b"] == 1).all()  # behind the last pulse stands the fill value
    assert (found["a"] > 1).all()
    assert len(np.unique(found["a"])) == len(source.trains)


def spoil(path, change):
    with h5py.File(path, "r+") as file:
        change(file, f"INSTRUMENT/{FINDER}/data")


def test_damaged_and_contradictory_files(joined, whole, tmp_path):
    hit = {"columns": {"hit": COLUMNS["hit"]}}

    def shorten(key):
        def change(file, group):
            values = file[f"{group}/{key}"][:-1]
            del file[f"{group}/{key}"]
            file[f"{group}/{key}"] = values

        return change

    def other_train(file, group):
        file[f"{group}/trainId"][0] += 1

    def twice(value):
        def change(file, group):
            file[f"{group}/pulseId"][1] = file[f"{group}/pulseId"][0]
            file[f"{group}/hitFlag"][:2] = [0, value]

        return change

    def no_pulses(file, group):
        del file[f"{group}/pulseId"]

    for number, (change, error, words) in enumerate(
        [
            (shorten("hitFlag"), UnreadableData, "hitFlag has 47 rows, and its index counts 48"),
            (shorten("pulseId"), UnreadableData, "pulseId has 47 rows, and its index counts 48"),
            (other_train, UnreadableData, "trainId does not fit its index in trains"),
            (twice(1), BadInput, "1 shots have two different values; the first is pulse 0 of train"),
        ]
    ):
        folder = joined(whole.theirs / NAME, str(number))
        spoil(folder / NAME, change)
        with pytest.raises(error, match=words):
            columns_of(folder, **hit)
    # The same told twice is no contradiction; the pulse whose place it took is unknown.
    folder = joined(whole.theirs / NAME, "same")
    spoil(folder / NAME, twice(0))
    _, columns = columns_of(folder, **hit)
    assert np.isnan(columns["hit"]).sum() == 17
    # Without pulse ids it is a source with rows per train, of which each train would have one.
    folder = joined(whole.theirs / NAME, "rest")
    shutil.copyfile(folder / NAME, folder / "CORR-R0001-REDU01-S00000.h5")
    spoil(folder / NAME, no_pulses)
    with pytest.raises(UnreadableData, match="has no pulseId, and other files"):
        columns_of(folder, **hit)


def test_another_run_beside(simulated, whole, tmp_path):
    shutil.copytree(whole.theirs, tmp_path / "theirs")
    with h5py.File(tmp_path / "theirs" / NAME, "r+") as file:
        del file["METADATA/runNumber"]
        file["METADATA/runNumber"] = np.array([2], "u4")
    with pytest.raises(BadInput, match="run 2, and the run is"):
        columns_of(simulated().raw, columns={"hit": COLUMNS["hit"]}, beside=str(tmp_path / "theirs"))
    with pytest.raises(BadInput, match=r"beside.*is for columns and delay"):
        AnnotateParams(beside="proc")
