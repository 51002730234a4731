"""REDU files beside those of EXtra-redu: the same names, shapes, types and numbers."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pytest
from shotsieve.check import check
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.sources.run import open_run
from shotsieve.table import Table
from shotsieve.write.output import OutputFolder
from shotsieve.write.redu import HitFinding, hit_scores, write_redu

extra_data = pytest.importorskip("extra_data")
fileutils = pytest.importorskip("extra_redu.fileutils")
spi = pytest.importorskip("extra_redu.spi")

DET = "SPB_DET_AGIPD1M-1"
COUNTER, FINDER = f"{DET}/REDU/LITPX_COUNTER", f"{DET}/REDU/SPI_HITFINDER"
CORRECTED = DET + r"/CORR/(?P<key>\d+)CH0:output"
# What EXtra-redu does with an empty quantile or a share of nothing is its own affair.
pytestmark = [
    pytest.mark.filterwarnings("ignore:'where' used without 'out':UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:extra_redu"),
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),
]


def stacked(folder, group):
    data = extra_data.RunDirectory(folder)
    return fileutils.StackedPulseSource.from_datacollection(data, CORRECTED, group)


def validate(folder):
    command = [sys.executable, "-m", "extra_data.validation", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def shots_of(table):
    """The table with one row for each train and pulse: the one that was measured, if any was."""
    rows = {}
    for row, key in enumerate(zip(table.train_id.tolist(), table.pulse_id.tolist(), strict=True)):
        if key not in rows or not table.ok()[rows[key]].any():
            rows[key] = row
    return table.part([rows[key] for key in sorted(rows)])


def flags(table):
    """What the flags have to be, by the table alone."""
    kept = table.fate == 0
    return {"hitFlag": table.verdict == 1, "missFlag": kept & (table.verdict == 0), "dataFlag": kept}


def test_counts_are_those_of_the_facility_on_the_same_frames(whole):
    ours, theirs = stacked(whole.result.out, "litpx"), whole.counter
    np.testing.assert_array_equal(ours.trainId, theirs.trainId)
    np.testing.assert_array_equal(ours.pulseId, theirs.pulseId)
    with h5py.File(whole.result.out / "CORR-R0001-REDU00-S00000.h5") as file:
        group = file[f"INSTRUMENT/{COUNTER}:output/data"]
        for key in ("litPixels", "unmaskedPixels", "totalIntensity"):
            want = theirs[key].ndarray()
            assert want.any()
            np.testing.assert_array_equal(ours[key].ndarray(), want, key)
            np.testing.assert_array_equal(group[key][:, [3, 4]], want, key)
            assert not np.delete(group[key][:], [3, 4], axis=1).any()


def test_scores_are_those_of_the_facility(whole):
    from_litpx = spi.SpiHitfinder([0], mode="fixed", miss_fraction=0, miss_fraction_abs=0)
    from_litpx.find_hits(stacked(whole.result.out, "litpx"))
    with h5py.File(whole.result.out / "CORR-R0001-REDU00-S00000.h5") as file:
        ours = file[f"INSTRUMENT/{FINDER}:output/data/hitscore"][:]
    np.testing.assert_array_equal(ours, from_litpx.hitscore)
    np.testing.assert_array_equal(ours, whole.finder.hitscore)
    assert len(np.unique(ours)) > 10


def layout(path):
    """Every dataset below a REDU source: dtype, and shape behind the first axis."""
    found = {}

    def add(name, item):
        if isinstance(item, h5py.Dataset) and "/REDU/" in name:
            text = h5py.check_string_dtype(item.dtype)
            found[name] = (item.dtype.kind, text or item.dtype.str, item.shape[1:])

    with h5py.File(path) as file:
        file.visititems(add)
        # EXtra-redu writes its names as text of fixed length, with a dot before the group.
        sources = [name.replace(".", "/") for name in file["METADATA/dataSources/dataSourceId"].asstr()[:]]
    return found, sorted(sources)


def test_names_shapes_and_types_are_those_of_the_facility(whole):
    ours, our_sources = layout(whole.result.out / "CORR-R0001-REDU00-S00000.h5")
    theirs, their_sources = layout(whole.theirs / "CORR-R0001-REDU00-S00000.h5")
    assert our_sources == their_sources
    assert ours.keys() == theirs.keys()
    # They keep whatever type of number a caller gave; these are whole numbers by default.
    free = ("fixedThreshold/value", "missFraction/value", "xgmMinimalEnergy/value")
    assert {n for n in ours if ours[n][:2] != theirs[n][:2] and not n.endswith(free)} == set()
    # Their file has the two modules that there is data of, ours all of the detector.
    wide = {
        f"INSTRUMENT/{COUNTER}:output/data/{key}" for key in ("litPixels", "unmaskedPixels", "totalIntensity")
    }
    wide |= {f"{section}/{FINDER}/modules/value" for section in ("CONTROL", "RUN")}
    assert {n: (ours[n][2], theirs[n][2]) for n in ours if ours[n][2] != theirs[n][2]} == dict.fromkeys(
        wide, ((16,), (2,))
    )


@pytest.mark.parametrize("name", ["usual", "odd"])
def test_the_facilitys_hit_finder_reads_our_file(reduced, name):
    result = reduced(name)
    run = extra_data.RunDirectory(result.out)
    finder = spi.SpiHitfinder.from_datacollection(run, FINDER)
    table = shots_of(result.table)
    assert (len(table) < len(result.table)) == (name == "odd")
    assert (finder.mode, finder.modules, finder.snr, finder.xgm_norm) == ("adaptive", [3], 4.0, False)
    assert (finder.miss_fraction, finder.miss_fraction_base, finder.max_modules) == (0.2, "miss", 16)
    np.testing.assert_array_equal(finder.trainId, table.train_id)
    np.testing.assert_array_equal(finder.pulseId, table.pulse_id)
    np.testing.assert_array_equal(finder.hitscore, hit_scores(table, (3,)))
    want = flags(table)
    for mine, key in ((finder.hit_mask, "hitFlag"), (finder.miss_mask, "missFlag")):
        np.testing.assert_array_equal(mine, want[key])
    np.testing.assert_array_equal(finder.data_mask, want["dataFlag"])
    assert 0 < finder.hit_mask.sum() < finder.data_mask.sum() < len(table)
    assert finder.overall_hitrate == (table.verdict == 1).mean()
    trains, first = np.unique(table.train_id, return_index=True)
    assert finder.num_events == len(table)
    assert (
        finder.count[finder.count > 0].tolist() == np.unique(table.train_id, return_counts=True)[1].tolist()
    )
    assert set(trains.tolist()) <= set(finder.train_ids)
    np.testing.assert_array_equal(finder.threshold, table.columns["limit"][first] * 65536)
    np.testing.assert_allclose(finder.threshold, finder.mu + 4.0 * finder.sig, rtol=1e-12)
    known = np.isfinite(finder.threshold)
    assert known.any()
    if name == "usual":
        # Median and width once more, straight from the scores of a window of four trains.
        scores = finder.hitscore[:32] / 1.0
        assert finder.mu[0] == pytest.approx(np.median(scores), abs=1)
        assert finder.sig[0] == pytest.approx(1.4826 * np.median(abs(scores - np.median(scores))), abs=3)


@pytest.mark.parametrize("name", ["usual", "odd"])
def test_everything_opens_and_is_in_order(reduced, simulated, name):
    result, sim = reduced(name), simulated(name)
    assert result.files[-1].name == "CORR-R0001-REDU00-S00000.h5"
    found = validate(result.out)
    assert (found.returncode, "No problems found" in found.stdout) == (0, True), found.stdout
    run = extra_data.RunDirectory(result.out)
    assert len(run.files) == len(result.files) == 3
    assert {COUNTER, FINDER} <= run.control_sources
    assert run[f"{FINDER}:output"].index_groups == {"data", "threshold"}
    lit = run[f"{COUNTER}:output", "data.litPixels"]
    np.testing.assert_array_equal(lit.ndarray(), shots_of(result.table).measures["lit_pixels"])
    assert run[COUNTER].run_value("threshold") == 0.7
    # EXtra-redu's own reader takes the counter as one source of pulses.
    source = fileutils.StackedPulseSource.from_datacollection(run, [f"{COUNTER}:output"], "data")
    np.testing.assert_array_equal(source["litPixels"].ndarray()[:, 0], lit.ndarray())
    np.testing.assert_array_equal(source.pulseId, shots_of(result.table).pulse_id)
    assert run[f"{COUNTER}:output", "data.totalIntensity"].units == "photon"
    report = check(result.out)
    check_against(report, sim.raw, constants=sim.constants, backend="cpu")
    assert report.ok, report.summary()
    assert report.files == 3 + 4  # the side folder has table, recipe, settings and accounts
    with OutputFolder(result.out, overwrite=True) as out:  # nothing in it is foreign
        out.abort()


def test_a_changed_file_is_found(reduce):
    result = reduce()
    path = result.files[-1]
    with h5py.File(path, "r+") as file:
        file[f"INSTRUMENT/{FINDER}:output/data/hitFlag"][0] = 1
    report = check(result.out)
    assert [path.name in fault for fault in report.faults] == [True, True]
    assert "checksum" in report.faults[0]
    assert "hitFlag is not what the table tells" in report.faults[1]
    # Whatever the ledger says, the file has to be readable.
    path.write_bytes(path.read_bytes()[:2000])
    assert any("cannot be read" in fault for fault in check(result.out).faults)


def test_the_table_alone_and_the_same_bytes(reduce, reduced):
    """Without frames, from a table, in another decision: the file depends on the table alone."""
    want = (reduced().out / "CORR-R0001-REDU00-S00000.h5").read_bytes()
    assert reduce(out="again").files[-1].read_bytes() == want
    alone = reduce(out="alone", write=None)
    assert [path.name for path in alone.files] == ["CORR-R0001-REDU00-S00000.h5"]
    assert check(alone.out).ok
    replayed = reduce(out="replayed", table=reduced().out)
    for key in ("hitscore", "hitFlag", "missFlag", "dataFlag"):
        for other in (alone, replayed):
            with h5py.File(other.files[-1]) as mine, h5py.File(reduced().files[-1]) as theirs:
                name = f"INSTRUMENT/{FINDER}:output/data/{key}"
                np.testing.assert_array_equal(mine[name][:], theirs[name][:])


def read(result):
    with h5py.File(result.files[-1]) as file:
        group = file.get(f"INSTRUMENT/{FINDER}:output/threshold")
        return None if group is None else {key: group[key][:] for key in ("value", "mu", "sig")}


def test_where_the_threshold_comes_from(reduce):
    fixed = {"derive": None, "keep": {"rule": "lit_pixels[3] > 3000"}}
    result = reduce(out="1", **fixed, redu={"modules": "4, 3", "threshold": 3000.5})
    finder = spi.SpiHitfinder.from_datacollection(extra_data.RunDirectory(result.out), FINDER)
    assert (finder.mode, finder.modules, finder.fixed_threshold) == ("fixed", [3, 4], 3000.5)
    assert (finder.threshold == 3000.5).all()
    assert np.isnan(read(result)["mu"]).all()
    # Nothing is known: no threshold, and a note that says why.
    for out, derive, rule in (
        ("2", None, "lit_pixels[3] > 3000"),
        # A column of another scale, of a part of the cells, or of other modules is not the score's.
        ("3", {"limit": {"kind": "adaptive", "of": "lit_pixels[3]", "k": 4.0}}, "lit_pixels[3] > limit"),
        ("4", {"limit": {"kind": "adaptive", "of": "lit_fraction[4]", "k": 4.0}}, "lit_fraction[4] > limit"),
        (
            "5",
            {"limit": {"kind": "adaptive", "of": "lit_fraction[3]", "k": 4.0, "per_cell": True}},
            "lit_fraction[3] > limit",
        ),
    ):
        result = reduce(out=out, derive=derive, keep={"rule": rule})
        assert np.isnan(read(result)["value"]).all()
        assert any("has no threshold" in note for note in result.accounts.notes)
    # Without a rule there are no hits; the counts are written all the same.
    result = reduce(out="6", derive=None, keep=None)
    assert read(result) is None
    assert any("no rule" in note for note in result.accounts.notes)
    assert f"{COUNTER}:output" in extra_data.RunDirectory(result.out).instrument_sources


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ({"redu": {"modules": "3, 16"}}, "has 0, 1"),
        ({"redu": {"modules": "3, 3"}}, "each once"),
        ({"redu": {"modules": "3-4"}}, "expected numbers of modules"),
        ({"redu": {"modules": "3", "threshold": 5.0}}, "adaptive column limit"),
        ({"redu": {"module": "3"}}, "no key 'module'"),
        (
            {"measure": {}, "derive": None, "keep": {"rule": "n_modules > 0"}},
            r"add a section \[measure.lit\]",
        ),
    ],
)
def test_recipes_that_cannot_be(reduce, sections, text):
    with pytest.raises(BadInput, match=text):
        reduce(**sections)


def test_a_file_of_the_run_in_the_way(reduce, simulated, reduced, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for file in [*simulated().raw.iterdir(), reduced().files[-1]]:
        (raw / file.name).symlink_to(file)
    with pytest.raises(BadInput, match="leave one of the two out"):
        reduce(raw=raw, write={"content": "raw", "others": True})


def test_unknown_shots_and_keys_that_came_twice(simulated, tmp_path):
    source = open_run(simulated().raw)
    train = source.trains.train_id
    table = Table(
        train[[0, 0, 0, 2, 2]], [4, 0, 4, 8, 12], [1, 0, 1, 2, 3], (3, 4), 100,
        ["lit_pixels", "unmasked_pixels", "intensity"],
    )  # fmt: skip
    table.set_module_status(slice(None), [[4, 4], [0, 0], [0, 1], [1, 1], [0, 0]])
    table.set_measure("lit_pixels", slice(None), [[0, 0], [50, 5], [10, 0], [0, 0], [1, 1]])
    table.set_measure("unmasked_pixels", slice(None), [[0, 0], [100, 60], [80, 0], [0, 0], [0, 90]])
    table.set_measure("intensity", slice(None), [[0, 0], [7.9, -7.9], [1, 0], [0, 0], [1, 1]])
    table.set_fate([0], "duplicate")
    table.set_fate([1, 3], "kept")
    table.set_fate([2, 4], "dropped")
    table.set_verdict(slice(None), [-1, 1, 0, -1, 0])
    path = write_redu(
        tmp_path, source, table, lit_threshold=1.0, unit="keV", hits=HitFinding((3, 4), misses=0.5)
    )
    with h5py.File(path) as file:
        group = file[f"INSTRUMENT/{FINDER}:output/data"]
        assert group["pulseId"][:].tolist() == [0, 4, 8, 12]
        assert group["hitscore"][:].tolist() == [int(55 / 160 * 200), 25, -1, 4]
        assert group["hitFlag"][:].tolist() == [1, 0, 0, 0]
        assert group["missFlag"][:].tolist() == [0, 0, 0, 0]  # the third is kept undecided: no miss
        assert group["dataFlag"][:].tolist() == [1, 0, 1, 0]
        assert file["INDEX/trainId"][:].tolist() == train[[0, 2]].tolist()
        assert file[f"INDEX/{FINDER}:output/data/count"][:].tolist() == [2, 2]
        counts = file[f"INSTRUMENT/{COUNTER}:output/data"]
        assert counts["totalIntensity"][0].tolist() == [7, -7]
    del table.measures["intensity"]
    with pytest.raises(BadInput, match="no intensity"):
        write_redu(tmp_path, source, table, lit_threshold=1.0, unit="keV")
