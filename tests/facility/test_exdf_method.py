"""The method for exdf-tools, on a stand-in for them that EXtra-redu's own method runs on too."""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import sys
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest
from shotsieve.errors import ShotsieveError
from shotsieve.table import FATES, Table
from shotsieve.toml_text import dumps_toml

from . import exdf_fake

extra_data = pytest.importorskip("extra_data")
GROUP = "exdf.data_reduction.method"
SOURCES = [f"SPB_DET_AGIPD1M-1/DET/{m}CH0:xtdf" for m in (3, 4)]
WHICH = ["--shotsieve-sources", "SPB_DET_AGIPD1M-1/DET/*"]
DROPPED = FATES.index("dropped")


@pytest.fixture
def method(monkeypatch):
    """The class that the entry point of the package names, as exdf-tools would load it."""
    exdf_fake.install(monkeypatch)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    [(name, reference)] = project["entry-points"][GROUP].items()
    assert name == "shotsieve"
    return exdf_fake.load(monkeypatch, reference)


def test_the_facilitys_own_method_runs_on_the_stand_in(monkeypatch, simulated):
    """Or else the stand-in would not be what such methods need."""
    pytest.importorskip("extra_redu.litfrm")
    entries = [e for e in importlib.metadata.entry_points(group=GROUP) if e.name == "LitFrames"]
    assert len(entries) == 1
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # they call what NumPy 2.4 no longer has
    exdf_fake.install(monkeypatch)
    lit_frames = exdf_fake.load(monkeypatch, entries[0].value)
    sim = simulated()
    data = extra_data.RunDirectory(sim.raw)
    words = ["--lff-source", "SPB_IRU_AGIPD1M1/REDU/LITFRM", "--lff-det-sources", "SPB_DET_AGIPD1M-1/DET/*"]
    selections = exdf_fake.run(lit_frames, data, words)
    assert len(selections) == 2 * 8
    schedule = sim.schedule
    lit = schedule.n_pulses > 0
    want = list(
        zip(schedule.train_id[schedule.train][lit].tolist(), schedule.pulse_id[lit].tolist(), strict=True)
    )
    assert exdf_fake.kept(data, SOURCES, selections) == dict.fromkeys(SOURCES, want)
    assert exdf_fake.run(lit_frames, data, []) == {}


def frames_of(result):
    """Frames of a reduced run: (train, pulse) by module, from the files themselves."""
    found = []
    for module in (3, 4):
        with h5py.File(result.out / f"CORR-R0001-AGIPD{module:02d}-S00000.h5") as file:
            group = file[f"INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/{module}CH0:output/image"]
            found.append(list(zip(group["trainId"][:].tolist(), group["pulseId"][:].tolist(), strict=True)))
    return found


def test_a_table_of_an_earlier_reduction(method, simulated, reduced, caplog):
    data = extra_data.RunDirectory(simulated().raw)
    result = reduced()
    want = dict(zip(SOURCES, frames_of(result), strict=True))
    for table in (result.out, result.out / "shotsieve" / "table.h5"):
        with caplog.at_level(logging.INFO, "exdf.data_reduction"):
            selections = exdf_fake.run(method, data, ["--shotsieve-table", str(table), *WHICH])
        assert exdf_fake.kept(data, SOURCES, selections) == want
    kept = len(want[SOURCES[0]])
    assert 2 < kept < 40
    assert f"{SOURCES[0]}: {kept} of 64 frames are kept" in caplog.text
    # One source alone.
    one = exdf_fake.run(method, data, ["--shotsieve-table", str(table), "--shotsieve-sources", SOURCES[1]])
    assert {source for source, _ in one} == {SOURCES[1]}


def test_a_table_decided_anew(method, simulated, reduced, tmp_path):
    from shotsieve.cli_decide import replay

    table = Table.open(reduced().out)
    replay(table, "lit_pixels[3] > 500 and pulse_id > 0")
    table.save(tmp_path / "new.h5")
    data = extra_data.RunDirectory(simulated().raw)
    selections = exdf_fake.run(method, data, ["--shotsieve-table", str(tmp_path / "new.h5"), *WHICH])
    kept = table.fate == 0
    want = list(zip(table.train_id[kept].tolist(), table.pulse_id[kept].tolist(), strict=True))
    assert exdf_fake.kept(data, SOURCES, selections) == dict.fromkeys(SOURCES, want)


@pytest.mark.parametrize("late", [True, False])
def test_a_recipe_measures_the_run_itself(method, simulated, reduced, make_recipe, tmp_path, late):
    """All sections may stand in it, those about writing too; constants are named in it, or given."""
    sim = simulated()
    changes = {} if late else {"derive": None, "keep": {"rule": "lit_pixels[3] > 3000"}}
    recipe = make_recipe(**changes, ledger={"checksum_inputs": True})
    constants = sim.constants.save(tmp_path / "constants.h5", compression=None)
    if late:
        recipe["calibrate"]["constants"] = "constants.h5"
    (tmp_path / "recipe.toml").write_text(dumps_toml(recipe))
    data = extra_data.RunDirectory(sim.raw)
    words = ["--shotsieve-recipe", str(tmp_path / "recipe.toml"), "--shotsieve-backend", "cpu", *WHICH]
    if not late:
        words += ["--shotsieve-constants", str(constants)]
    selections = exdf_fake.run(method, data, words)
    found = exdf_fake.kept(data, SOURCES, selections)
    if late:
        assert found == dict(zip(SOURCES, frames_of(reduced()), strict=True))
    else:
        table = reduced().table
        bright = table.measures["lit_pixels"][:, 3] > 3000
        want = list(zip(table.train_id[bright].tolist(), table.pulse_id[bright].tolist(), strict=True))
        assert found == dict.fromkeys(SOURCES, want)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["constants.h5", "recipe.toml"]


def test_what_is_not_known_stays(method, simulated, reduced, tmp_path):
    """Rejected shots, shots that no table has, and trains that a module missed."""
    sim, result = simulated("gaps"), reduced("gaps")
    data = extra_data.RunDirectory(sim.raw)
    table = result.table.part(np.arange(len(result.table) - 4))  # the last shots are in no table
    table.save(tmp_path / "part.h5")
    selections = exdf_fake.run(method, data, ["--shotsieve-table", str(tmp_path / "part.h5"), *WHICH])
    gone = {
        (int(t), int(p)) for t, p, fate in zip(table.train_id, table.pulse_id, table.fate, strict=True)
        if fate == DROPPED
    }  # fmt: skip
    assert len(gone) > 5
    for source, found in exdf_fake.kept(data, SOURCES, selections).items():
        everything = exdf_fake.kept(data, [source], {})[source]
        assert found == [key for key in everything if key not in gone]
    assert {FATES[fate] for fate in np.unique(table.fate)} == {"kept", "dropped", "suspect"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--shotsieve-table", "TABLE", "--shotsieve-recipe", "r.toml", *WHICH], "give one"),
        (["--shotsieve-table", "TABLE"], "--shotsieve-sources is missing"),
        (["--shotsieve-table", "TABLE", "--shotsieve-sources", "SPB_DET_AGIPD1M-2/*"], "AGIPD1M-2"),
        (["--shotsieve-table", "TABLE", "--shotsieve-sources", "*/REDU/LITFRM:output"], "image.pulseId"),
        (["--shotsieve-table", "OTHER", *WHICH], "of another run"),
        (["--shotsieve-table", "nowhere", *WHICH], "nowhere"),
        (["--shotsieve-recipe", "nowhere.toml", *WHICH], "nowhere.toml"),
    ],
)
def test_options_that_cannot_be(method, simulated, reduced, tmp_path, words, text):
    other = Table.open(reduced().out)
    other.train_id += 10**6
    other.save(tmp_path / "other.h5")
    paths = {"TABLE": str(reduced().out), "OTHER": str(tmp_path / "other.h5")}
    data = extra_data.RunDirectory(simulated().raw)
    with pytest.raises(ShotsieveError, match=text):
        exdf_fake.run(method, data, [paths.get(word, word) for word in words])


def test_without_options_nothing_is_done(method, simulated):
    assert exdf_fake.run(method, extra_data.RunDirectory(simulated().raw), WHICH) == {}


def test_without_exdf_tools_the_module_can_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "exdf", None)
    monkeypatch.setitem(sys.modules, "shotsieve.exdf_method", None)
    del sys.modules["shotsieve.exdf_method"]
    from shotsieve.exdf_method import ShotsieveFrames

    assert ShotsieveFrames.__mro__[1:] == (object,)
    parser = argparse.ArgumentParser()
    ShotsieveFrames.arguments(parser)
    assert "--shotsieve-table" in parser.format_help()
