"""A run that cannot be read wholly: an error, or with `tolerant` a loss that every account tells of."""

from __future__ import annotations

import json
import os
import re
import shutil

import h5py
import numpy as np
import pytest
import shotsieve
from click.testing import CliRunner
from shotsieve.check import check
from shotsieve.cli import cli
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput, UnreadableData
from shotsieve.sources.run import open_run
from shotsieve.table import FATES, ModuleStatus

IMAGE = "INSTRUMENT/SPB_DET_AGIPD1M-1/DET/{}CH0:xtdf/image/data"
UNREADABLE = FATES.index("unreadable")


def file_of(raw, module):
    (path,) = raw.glob(f"RAW-*AGIPD{module:02d}-S00000.h5")
    return path


def store(raw, module, damaged=(), unwritten=()):
    """Store the frames of a module in compressed chunks, one each, of which some are damaged or missing."""
    path, name = file_of(raw, module), IMAGE.format(module)
    with h5py.File(path, "r+") as f:
        data = f[name][...]
        del f[name]
        d = f.create_dataset(
            name, data.shape, "u2", chunks=(1, *data.shape[1:]), compression="gzip", shuffle=True
        )
        for frame in range(len(data)):
            if frame not in unwritten:
                d[frame] = data[frame]
    with h5py.File(path) as f:
        infos = []
        f[name].id.chunk_iter(infos.append)
    with open(path, "r+b") as raw_file:
        for info in infos:
            if info.chunk_offset[0] in damaged:
                raw_file.seek(info.byte_offset + 20)
                raw_file.write(b"\x55" * 40)
    return path


@pytest.fixture(scope="module")
def hurt(simulated, tmp_path_factory):
    """The usual run with module 4 damaged in train 1, and both modules in train 2: one so, one otherwise."""
    sim = simulated("usual")
    raw = tmp_path_factory.mktemp("hurt") / "r0001"
    shutil.copytree(sim.raw, raw)
    store(raw, 4, damaged=(5,), unwritten=(9, 10))
    store(raw, 3, damaged=(8, 11))
    return sim, raw


def frames_of(out, module):
    """Keys and pixels of the kept frames of a module."""
    found = {}
    for path in sorted(out.glob(f"*-AGIPD{module:02d}-S*.h5")):
        with h5py.File(path) as f:
            (group,) = [
                g["image"]
                for g in f["INSTRUMENT/SPB_DET_AGIPD1M-1"].values()
                for g in g.values()
                if "image" in g
            ]
            for train, pulse, data in zip(group["trainId"], group["pulseId"], group["data"], strict=True):
                found[int(train), int(pulse)] = data
    return found


def all_in_order(out, sim, raw):
    report = check(out)
    assert report.ok, report.summary()
    check_against(report, raw, constants=sim.constants, backend="cpu")
    assert report.ok, report.summary()


def test_without_it_the_first_loss_ends_the_reduction(hurt, make_recipe, places):
    sim, raw = hurt
    with pytest.raises(UnreadableData, match=r"AGIPD0\d.*train") as e:
        shotsieve.reduce(raw, make_recipe(), places / "red", constants=sim.constants, backend="cpu")
    assert "damaged" in str(e.value) or "never written" in str(e.value)
    assert not (places / "red").exists()


@pytest.mark.parametrize("content", ["corrected", "raw"])
def test_what_is_lost_is_counted_everywhere(hurt, simulated, make_recipe, places, content):
    sim, raw = hurt
    recipe = make_recipe(write={"content": content})
    given = {"constants": sim.constants, "backend": "cpu"}
    whole = shotsieve.reduce(sim.raw, recipe, places / "whole", **given)
    got = shotsieve.reduce(raw, recipe, places / "red", tolerant=True, **given)
    table, first = got.table, sim.parameters.first_train
    train = (table.train_id - np.uint64(first)).astype(int)
    status = table.module_status[:, [3, 4]]
    assert (status[train == 0] == ModuleStatus.OK).all()
    assert (status[train == 1] == [ModuleStatus.OK, ModuleStatus.UNREADABLE]).all()
    assert (status[train == 2] == ModuleStatus.UNREADABLE).all()
    assert ((table.fate == UNREADABLE) == (train == 2)).all()
    accounts = got.accounts
    assert accounts.unreadable == 4
    assert accounts.kept + accounts.dropped == 8
    assert accounts.modules["4"]["unreadable"] == 4
    assert "3" not in accounts.modules
    assert accounts.partial.total == 8  # of 16 modules only two are there
    trains = f"trains {first + 1}"
    assert any("AGIPD04" in n and "1 frame damaged (5)" in n and trains in n for n in accounts.notes)
    assert any("AGIPD04" in n and "2 frames never written (9-10)" in n for n in accounts.notes)
    assert any("AGIPD03" in n and "2 frames damaged (8, 11)" in n for n in accounts.notes)
    ledger = json.loads((got.out / "shotsieve" / "ledger.json").read_text())
    assert ledger["accounts"]["unreadable"] == 4
    # What could be read is what it would have been; nothing stands where something is lost.
    for module in (3, 4):
        mine, theirs = frames_of(got.out, module), frames_of(whole.out, module)
        gone = {1, 2} if module == 4 else {2}
        assert mine.keys() == {key for key in theirs if key[0] - first not in gone}
        for key, data in mine.items():
            np.testing.assert_array_equal(data, theirs[key])
    np.testing.assert_array_equal(
        table.measures["lit_pixels"][train < 2, 3], whole.table.measures["lit_pixels"][train < 2, 3]
    )
    (path,) = got.out.glob("*AGIPD04*")
    with h5py.File(path) as f:
        (numbers,) = [g["image"] for name, g in _groups(f["REDUCTION/SHOTSIEVE"])]
        assert numbers["framesUnreadable"][:].tolist() == [0, 4, 4]
        names = ("framesKept", "framesDropped", "framesRejected", "framesUnreadable")
        assert (sum(numbers[name][:] for name in names) == numbers["framesBefore"][:]).all()
    all_in_order(got.out, sim, raw)


def _groups(group):
    found = []
    group.visititems(
        lambda name, g: found.append((name, g)) if isinstance(g, h5py.Group) and "image" in g else None
    )
    return found


def test_a_rule_over_all_shots_and_whole_trains(hurt, make_recipe, places):
    """Two passes: what is read again has the same losses, also where only kept shots are asked for."""
    sim, raw = hurt
    recipe = make_recipe(keep={"rule": "lit_pixels[3] > 1000", "whole": "train"})
    got = shotsieve.reduce(raw, recipe, places / "red", constants=sim.constants, backend="cpu", tolerant=True)
    assert got.accounts.unreadable == 4
    assert sum(" damaged (" in note for note in got.accounts.notes) == 2
    all_in_order(got.out, sim, raw)


@pytest.mark.parametrize(
    "keep", [{"rule": "lit_pixels[3] > 1000"}, {"rule": "lit_pixels[3] > 1000", "whole": "train"}]
)
def test_resumed(hurt, make_recipe, places, digest, interrupt_after, keep):
    sim, raw = hurt
    recipe = make_recipe(keep=keep, write={"content": "corrected", "trains_per_file": 1})
    given = {"constants": sim.constants, "backend": "cpu"}
    whole = shotsieve.reduce(raw, recipe, places / "whole", tolerant=True, **given)
    step = "measure" if "whole" in keep else "reduce"
    with interrupt_after(step, 1):
        shotsieve.reduce(raw, recipe, places / "red", tolerant=True, **given)
    with pytest.raises(BadInput, match="tolerant"):
        shotsieve.reduce(raw, recipe, places / "red", resume=True, **given)
    again = shotsieve.reduce(raw, recipe, places / "red", resume=True, tolerant=True, **given)
    assert digest(again.out) == digest(whole.out)
    stands = shotsieve.reduce(raw, recipe, places / "red", resume=True, tolerant=True, **given)
    assert stands.digest == again.digest
    with pytest.raises(BadInput, match="differs in tolerant"):
        shotsieve.reduce(raw, recipe, places / "red", resume=True, **given)


def test_from_a_table_only_what_is_kept_is_read(hurt, make_recipe, places):
    sim, raw = hurt
    given = {"constants": sim.constants, "backend": "cpu", "tolerant": True}
    one = shotsieve.reduce(raw, make_recipe(write=None), places / "one", **given)
    got = shotsieve.reduce(raw, make_recipe(), places / "two", table=one.table, **given)
    assert got.accounts.unreadable == 4
    assert any("AGIPD04" in note and " damaged (" in note for note in got.accounts.notes)
    report = check(got.out)
    assert report.ok, report.summary()


def test_a_repaired_run_is_another(hurt, make_recipe, places):
    """The check reads again what was said to be lost."""
    sim, raw = hurt
    got = shotsieve.reduce(
        raw, make_recipe(), places / "red", constants=sim.constants, backend="cpu", tolerant=True
    )
    report = check(got.out)
    check_against(report, sim.raw, constants=sim.constants, backend="cpu")
    assert any("module_status of 8 shots is another" in fault for fault in report.faults)


def test_a_file_that_cannot_be_opened(simulated, make_recipe, places):
    sim = simulated("second_sequence")
    raw = places / "r0001"
    shutil.copytree(sim.raw, raw)
    (path,) = raw.glob("*AGIPD04-S00001.h5")
    os.truncate(path, path.stat().st_size - 1000)
    given = {"constants": sim.constants, "backend": "cpu"}
    with pytest.raises(UnreadableData, match="truncated"):
        shotsieve.reduce(raw, make_recipe(), places / "red", **given)
    got = shotsieve.reduce(raw, make_recipe(), places / "red", tolerant=True, **given)
    (note,) = [n for n in got.accounts.notes if "left out" in n]
    assert note.startswith(path.name)
    assert f"affects trains {sim.parameters.first_train + 2}" in note
    assert got.accounts.modules["4"]["missing"] == 4
    assert got.accounts.unreadable == 0
    assert str(raw) not in (got.out / "shotsieve" / "accounts.json").read_text()
    all_in_order(got.out, sim, raw)


def test_sound_runs_are_what_they_were(simulated, reduced, make_recipe, places):
    """Only the setting says that it was asked for."""
    sim, one = simulated("usual"), reduced("usual")
    got = shotsieve.reduce(
        sim.raw, make_recipe(), places / "red", constants=sim.constants, backend="cpu", tolerant=True
    )
    assert got.table == one.table
    mine, theirs = (json.loads(r.accounts.to_json()) for r in (got, one))
    for told in (mine, theirs):
        del told["bytes_out"], told["ratio"]
    assert mine == theirs
    settings = [json.loads((r.out / "shotsieve/settings.json").read_text()) for r in (got, one)]
    assert settings[0].pop("tolerant") is True
    assert settings[0] == settings[1]


def test_a_source_that_was_opened_already(hurt, make_recipe, places):
    sim, raw = hurt
    with pytest.raises(BadInput, match="open_run"):
        shotsieve.reduce(open_run(raw), make_recipe(), places / "red", constants=sim.constants, tolerant=True)
    got = shotsieve.reduce(
        open_run(raw, tolerant=True), make_recipe(), places / "red", constants=sim.constants, backend="cpu"
    )
    assert got.accounts.unreadable == 4


def test_embedded(hurt, make_recipe):
    """The same statuses and fates, block by block."""
    sim, raw = hurt
    source, fates, lost = open_run(raw, tolerant=True), [], []
    given = {"constants": sim.constants, "mode": source.mode, "block_shots": 4, "backend": "cpu"}
    given["detector"] = "AGIPD1M"
    with shotsieve.Engine(make_recipe(write=None), **given) as engine:
        for result in engine.run(source):
            fates += result.table.fate.tolist()
            lost += (result.table.module_status == ModuleStatus.UNREADABLE).sum(axis=1).tolist()
    assert lost == [0] * 4 + [1] * 4 + [2] * 4
    assert fates[8:] == [UNREADABLE] * 4


def test_on_the_command_line(hurt, make_recipe, places):
    sim, raw = hurt
    recipe = shotsieve.Recipe.of(make_recipe())
    (places / "recipe.toml").write_text(recipe.dumps_toml())
    told = ["reduce", str(raw), "--recipe", str(places / "recipe.toml"), "--constants", str(sim.constants)]
    told += ["--backend", "cpu", "-o"]
    got = CliRunner().invoke(cli, [*told, str(places / "red"), "--tolerant"])
    assert got.exit_code == 0, got.output
    assert re.search(r"unreadable +4 +33\.3 %  in the files, but damaged", got.output)
