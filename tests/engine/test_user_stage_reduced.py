"""Stages of a user's own in a reduction: columns, rules, resuming, and what a check says of them."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import UserStage
from shotsieve.check import check
from shotsieve.cli_decide import replay
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.table import Table
from shotsieve.write.ledger import Ledger

from .corrected_case import same_tables, whole
from .embed_case import SECTIONS, make
from .test_average_groups import averages_of

__all__ = ["whole"]

RULE = {"rule": "brightest > 100"}
IN_PARTS = {"content": "corrected", "trains_per_file": 1}


def host(frames):
    """Frames as a NumPy array, wherever they are."""
    return getattr(frames, "get", lambda: frames)()


def brightest(frames):
    flat = host(frames).reshape(len(frames), -1)
    return {"brightest": np.nanmax(flat, axis=1), "good": np.isfinite(flat).sum(axis=1)}


MEANINGS = {"brightest": "largest pixel of the shot", "good": "valid pixels"}
STAGE = UserStage("mine", brightest, MEANINGS)


def after(calls, function=brightest, error=ZeroDivisionError):
    """A function that fails once it was asked so many times."""
    asked = []

    def fails(frames):
        asked.append(len(frames))
        if len(asked) > calls:
            raise error("mine")
        return function(frames)

    return fails


@pytest.fixture
def usual(simulated, make_recipe, tmp_path):
    """``usual(out, **sections)``: the usual run reduced with a stage, its rule, and options as given."""
    sim = simulated("usual")

    def reduce(out="out", stages=(STAGE,), backend="cpu", options=None, **sections):
        recipe = make_recipe(**{"keep": RULE, **sections})
        options = {"constants": sim.constants, "backend": backend, "stages": stages, **(options or {})}
        return shotsieve.reduce(sim.raw, recipe, tmp_path / out, **options)

    reduce.raw, reduce.constants, reduce.folder = sim.raw, sim.constants, tmp_path
    return reduce


def checked(result, usual, **options):
    report = check(result.out, result.digest)
    return check_against(report, usual.raw, constants=usual.constants, backend="cpu", **options)


# ---------------------------------------------------------------------- columns and rules


def test_columns_are_in_the_table_and_decide(usual, backend_name):
    result = usual(backend=backend_name)
    table = Table.open(result.out)
    assert table == result.table
    values = table.columns["brightest"]
    assert not np.isnan(values).any()
    assert np.array_equal(table.fate == 0, values > 100)
    assert 0 < (values > 100).sum() < len(values)
    told = table.describe()
    assert {name: told[name].meaning for name in MEANINGS} == MEANINGS
    # What was written of kept shots is what the function saw.
    found = np.full(len(table), -np.inf)
    for path in result.files:
        with h5py.File(path) as file:
            assert (file.attrs["stages"], file.attrs["stage.mine"]) == ("mine", "brightest, good")
            [name] = [key for key in file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR"] if "CH0" in key]
            image = file[f"INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/{name}/image"]
            keys = zip(image["trainId"][:].ravel(), image["pulseId"][:].ravel(), strict=True)
            for key, data in zip(keys, image["data"][:], strict=True):
                row = np.flatnonzero((table.train_id == key[0]) & (table.pulse_id == key[1]))
                found[row] = np.fmax(found[row], np.nanmax(data))
    kept = table.fate == 0
    assert np.array_equal(found[kept], values[kept])
    settings = json.loads((result.out / "shotsieve" / "settings.json").read_text())
    assert (settings["stages"], settings["stage.mine"]) == ("mine", "brightest, good")
    assert "stage mine: columns brightest, good" in result.accounts.notes


def test_the_numbers_of_the_engine(embedded, embedded_source, backend_name, tmp_path):
    sections = SECTIONS | {"keep": RULE}
    stage = UserStage("mine", brightest, MEANINGS)
    out = shotsieve.reduce(
        embedded.raw, embedded.recipe(**sections), tmp_path / "out", embedded.constants, backend_name,
        stages=[stage],
    )  # fmt: skip
    with make(embedded, embedded_source, backend_name, embedded.recipe(**sections), stages=[stage]) as engine:
        results = list(engine.run(embedded_source))
    for name in MEANINGS:
        values = np.concatenate([result.table.columns[name] for result in results])
        assert np.array_equal(out.table.columns[name], values)


def test_blocks_and_other_measures_change_nothing(usual, digest):
    one = usual()
    other = usual("small", options={"block_bytes": 1, "slots": 2})
    assert digest(one.out) == digest(other.out)
    without = usual("without", (), keep={"rule": "lit_pixels[3] > 1000"})
    for name, values in without.table.measures.items():
        assert np.array_equal(values, one.table.measures[name])


def test_shots_that_nobody_can_calibrate_are_unknown(simulated, make_recipe, tmp_path):
    sim = simulated("cell_without_constants")
    result = shotsieve.reduce(
        sim.raw, make_recipe(keep=RULE), tmp_path / "out", sim.constants, "cpu", stages=[STAGE]
    )
    unknown = result.table.cell_id == 2
    assert unknown.any()
    assert np.array_equal(np.isnan(result.table.columns["brightest"]), unknown)
    assert (result.table.verdict[unknown] == -1).all()
    assert (result.table.fate[unknown] == 0).all()
    report = check_against(check(result.out), sim.raw, constants=sim.constants, backend="cpu")
    assert report.ok, report.summary()


def test_raw_words_of_kept_shots(usual):
    result = usual(write={"content": "raw"})
    assert np.array_equal(result.table.fate == 0, result.table.columns["brightest"] > 100)
    report = checked(result, usual, stages=[STAGE])
    assert report.ok, report.summary()


def test_a_corrected_run_gives_the_same(usual, whole, make_recipe, backend_name):
    raw = usual()
    out = usual.folder / "corrected"
    found = shotsieve.reduce(
        whole(), make_recipe(keep=RULE), out, backend=backend_name, stages=[STAGE], block_bytes=6_000_000
    )
    same_tables(raw.table, found.table)


def test_what_follows_from_the_column(usual):
    """Derived columns, averages in its bins, and decisions that need every shot: one call for each shot."""
    asked = []

    def counted(frames):
        asked.append(len(frames))
        return brightest(frames)

    result = usual(
        stages=[UserStage("mine", counted, MEANINGS)],
        measure={"lit": {}, "average": {"by": "brightest", "bins": "0 100 1e9"}},
        derive={"place": {"kind": "rank", "of": "brightest"}, "twice": {"kind": "value", "of": "2 * good"}},
        keep={"rule": "place < 0.3"},
        write=IN_PARTS,
    )
    table = result.table
    assert sum(asked) == len(table)
    assert np.array_equal(table.columns["twice"], 2 * table.columns["good"])
    kept = table.fate == 0
    assert 0 < kept.sum() < len(table)
    assert table.columns["brightest"][kept].min() >= table.columns["brightest"][~kept].max()
    bright = table.columns["brightest"] >= 100
    assert averages_of(result.out)["shots"].tolist() == [(~bright).sum(), bright.sum()]
    report = checked(result, usual)
    assert report.ok, report.summary()
    again = replay(Table.open(result.out), "brightest > 100")
    assert again["kept"] == (table.columns["brightest"] > 100).sum()


# ---------------------------------------------------------------------- failing, and going on


@pytest.mark.parametrize("late", [False, True])
def test_what_was_complete_stays_when_a_stage_fails(usual, digest, late, backend_name):
    sections = {"write": IN_PARTS, "derive": {"place": {"kind": "rank", "of": "brightest"}}}
    sections |= {"keep": {"rule": "place < 0.4"}} if late else {"keep": RULE, "derive": None}
    undisturbed = usual("whole", backend=backend_name, **sections)
    fails = UserStage("mine", after(1), MEANINGS)
    with pytest.raises(ZeroDivisionError, match="mine") as told:
        usual(stages=[fails], backend=backend_name, **sections)
    train = np.unique(undisturbed.table.train_id)[1]
    notes = "\n".join(told.value.__notes__)
    assert f"in the stage 'mine' of shotsieve, asked about 4 shots from train {train} pulse" in notes
    assert "is kept (1 part): with --resume" in notes
    assert not (usual.folder / "out").exists()
    seen = []

    def counted(frames):
        seen.append(len(frames))
        return brightest(frames)

    options = {"resume": True}
    result = usual(
        stages=[UserStage("mine", counted, MEANINGS)], backend=backend_name, options=options, **sections
    )
    assert sum(seen) == 8  # of 12 shots, four were complete
    assert digest(result.out) == digest(undisturbed.out)
    assert result.table == undisturbed.table
    assert usual(backend=backend_name, options=options, **sections).digest == undisturbed.digest


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ((), "no stage of a user's own"),
        ((UserStage("other", brightest, MEANINGS),), r"stage other \(brightest, good\)"),
        (
            (STAGE, UserStage("more", lambda frames: {}, {})),
            r"stage mine \(brightest, good\), stage more \(no columns\)",
        ),
        ((UserStage("mine", brightest, {"good": ""}),), r"stage mine \(good\)"),
    ],
    ids=["none", "another name", "one more", "other columns"],
)
def test_other_stages_are_not_resumed(usual, interrupt_after, stages, words):
    """Though the rule of the recipe asks for their columns."""
    begun = r"it was begun with stage mine \(brightest, good\), and what is given now is "
    with interrupt_after("reduce", 0):
        usual(write=IN_PARTS)
    with pytest.raises(BadInput, match=f"out cannot be resumed: {begun}{words}\\. Give the same"):
        usual(stages=stages, options={"resume": True}, write=IN_PARTS)
    usual(options={"resume": True}, write=IN_PARTS)
    with pytest.raises(BadInput, match=f"{begun}{words}"):
        usual(stages=stages, options={"resume": True}, write=IN_PARTS)


def test_a_run_begun_without_stages_is_not_resumed_with_some(usual, interrupt_after):
    with interrupt_after("reduce", 0):
        usual(stages=(), keep=None, write=IN_PARTS)
    with pytest.raises(BadInput, match="begun with no stage of a user's own, and what is given now is stage"):
        usual(keep=None, write=IN_PARTS, options={"resume": True})
    usual(stages=(), keep=None, write=IN_PARTS, options={"resume": True})


def test_the_order_of_stages_is_that_of_columns(usual, interrupt_after):
    stages = [STAGE, UserStage("other", lambda frames: {"n": np.arange(len(frames))}, {"n": ""})]
    with interrupt_after("reduce", 0):
        usual(stages=stages, write=IN_PARTS)
    with pytest.raises(BadInput, match=r"cannot be resumed, since this has changed: stages\."):
        usual(stages=stages[::-1], write=IN_PARTS, options={"resume": True})


def test_nothing_is_left_of_a_run_that_failed_at_once(usual):
    for function, error, words in (
        (after(0), ZeroDivisionError, "mine"),
        (lambda frames: {"other": [1] * len(frames)}, BadInput, r"stage mine: it returned \['other'\]"),
        (lambda frames: dict.fromkeys(MEANINGS, 1.0), BadInput, r"stage mine: brightest has shape \(\)"),
        (lambda frames: {name: ["a"] * len(frames) for name in MEANINGS}, ValueError, "could not convert"),
    ):
        with pytest.raises(error, match=words) as told:
            usual(stages=[UserStage("mine", function, MEANINGS)])
        assert any("in the stage 'mine' of shotsieve, asked about" in note for note in told.value.__notes__)
        assert not list(usual.folder.iterdir())


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        (STAGE, "expected a sequence of shotsieve.UserStage"),
        ([brightest], "expected shotsieve.UserStage, not"),
        ([UserStage("a b", brightest, {})], "cannot be called 'a b'"),
        ([UserStage("a", None, {})], "stage a: None is no function"),
        ([UserStage("a", brightest, ["x"])], "stage a: columns = .* expected a mapping"),
        ([STAGE, STAGE], "two stages are called 'mine'"),
        ([STAGE, UserStage("b", brightest, {"good": ""})], "stages mine and b have both a column 'good'"),
        ([UserStage("a", brightest, {"lit_pixels": ""})], "stage a: a column cannot be called 'lit_pixels'"),
        ([UserStage("a", brightest, {"keep_probability": ""})], "a column 'keep_probability' already"),
        ({"jf": [STAGE]}, "stages for 'jf': the recipe has no detector with that label"),
    ],
)
def test_stages_that_cannot_be(usual, stages, words):
    with pytest.raises(BadInput, match=words):
        usual(stages=stages)
    assert not list(usual.folder.iterdir())


def test_nothing_is_calibrated_without_the_section(usual):
    with pytest.raises(BadInput, match=r"stages look at calibrated frames: add a section \[calibrate\]"):
        usual(calibrate=None, measure=None, keep=None, write={"content": "raw"})


# ---------------------------------------------------------------------- a table that is given


def test_a_table_has_the_columns_already(usual):
    first = usual("first", keep=None, write=None)
    never = UserStage("mine", after(0), MEANINGS)
    result = usual(stages=[never], options={"table": first.out})
    assert np.array_equal(result.table.fate == 0, first.table.columns["brightest"] > 100)
    report = checked(result, usual)
    assert report.ok, report.summary()
    # Nor do they have to be given: the output that it lies in tells of them.
    again = usual("again", (), options={"table": first.out})
    assert again.digest == result.digest
    with pytest.raises(BadInput, match="there is no column 'brightest'"):
        usual("third", (), options={"table": first.table})
    with pytest.raises(BadInput, match="the table has no column 'new' of the stage other"):
        usual("third", [never, UserStage("other", brightest, {"new": ""})], options={"table": first.out})
    # Other values of the same column are another table.
    first.table.columns["brightest"][0] += 1
    first.table.save(usual.folder / "other.h5")
    with pytest.raises(BadInput, match="differs in table_sha256"):
        usual(stages=[never], options={"table": usual.folder / "other.h5", "resume": True})


# ---------------------------------------------------------------------- checks


def test_a_check_says_what_it_cannot_make_again(usual, monkeypatch):
    result = usual()
    report = check(result.out, result.digest)
    assert report.ok, report.summary()
    [note] = [note for note in report.notes if "stage mine" in note]
    assert "(brightest, good) are of a function of a user's own" in note
    report = checked(result, usual)
    assert report.ok, report.summary()
    assert any("(brightest, good) were not made again" in note for note in report.notes)
    report = checked(result, usual, stages=[STAGE])
    assert report.ok, report.summary()
    assert not any("not made again" in note for note in report.notes)
    # Where the function is there its numbers are compared, and so are the stages themselves.
    other = UserStage("mine", lambda frames: {k: v + 1 for k, v in brightest(frames).items()}, MEANINGS)
    report = checked(result, usual, stages=[other])
    assert any(fault.startswith("brightest of 12 shots is another") for fault in report.faults)
    more = UserStage("more", lambda frames: {"new": np.zeros(len(frames))}, {"new": ""})
    report = checked(result, usual, stages=[STAGE, more])
    assert any(fault.startswith("stage.more is new, the output says None") for fault in report.faults)


def test_a_forged_column_is_found_as_far_as_that_goes(usual):
    """By the checksum; along with a new ledger by the decisions that no longer follow from it."""
    result = usual()
    side = result.out / "shotsieve"
    table = Table.open(result.out)
    table.columns["brightest"][np.argmax(table.fate)] = 1e6
    table.save(side / "table.h5")
    assert any("shotsieve/table.h5 " in fault for fault in check(result.out).faults)
    listed = Ledger.load(result.out)
    files = {name: told for name, told in listed.files.items() if name != "shotsieve/table.h5"}
    forged = Ledger.make(result.out, listed.inputs, listed.accounts, files)
    (side / "ledger.json").write_text(forged.dumps(), encoding="utf-8")
    report = check(result.out)
    assert report.ok, report.summary()
    check_against(report, usual.raw, constants=usual.constants, backend="cpu")
    assert any(fault.startswith("fate of 1 shots is another") for fault in report.faults)
    del table.columns["brightest"]
    table.save(side / "table.h5")
    faults = check(result.out).faults
    assert "the table has no column brightest of the stage mine, which settings.json tells of" in faults
