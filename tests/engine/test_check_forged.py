"""Whatever an output says of itself is checked, also where the ledger was written anew over a forgery."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.accounts import Split, counts_of
from shotsieve.check import check
from shotsieve.engine.against import check_against
from shotsieve.table import Table
from shotsieve.write.checksums import chunk_checksum

from .forgery import fit_bytes, forge, swap_words

FILE = "CORR-R0001-AGIPD03-S00000.h5"
SOURCE = "SPB_DET_AGIPD1M-1/CORR/3CH0:output"
FRAMES = f"REDUCTION/SHOTSIEVE/{SOURCE}/image"
LIT = f"INSTRUMENT/{SOURCE}/litpx"
RUN = f"RUN/SHOTSIEVE/{SOURCE}"


@pytest.fixture(params=["usual", "suspect_train", "missed_train"])
def spoilt(request, reduced, simulated, tmp_path):
    """A copy of an output that may be spoilt, and its run."""
    out = tmp_path / "copy"
    shutil.copytree(reduced(request.param).out, out)
    return out, simulated(request.param)


@pytest.fixture
def usual(reduced, simulated, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(reduced("usual").out, out)
    return out, simulated("usual")


def against(out, sim):
    """Compare with the run alone, as if nobody had checked the output by itself."""
    report = check(out)
    report.faults.clear()
    return check_against(report, sim.raw, constants=sim.constants, backend="cpu").faults


def add(*keys, by=1):
    def change(file):
        for key in keys:
            values = file[f"{FRAMES}/{key}"][:]
            values[0] += by
            file[f"{FRAMES}/{key}"][:] = values

    return change


def move(key, to):
    """Count a frame as something else, where there is one."""

    def change(file):
        values = file[f"{FRAMES}/{key}"][:]
        train = int(np.flatnonzero(values)[0])
        file[f"{FRAMES}/{key}"][train] -= 1
        file[f"{FRAMES}/{to}"][train] += 1

    return change


def reverse(file):
    pattern = file[f"{FRAMES}/framePattern"]
    values = pattern[:]
    assert (values != values[:, ::-1]).any()
    pattern[:] = values[:, ::-1]


def raise_value(path):
    def change(file):
        file[path][0] += 1

    return change


def swap_status(file):
    values = file[f"{LIT}/status"]
    values[0] = 2 if values[0] != 2 else 0


def other_recipe(file):
    text = file[f"{RUN}/recipe/value"]
    text[0] = text.asstr()[0].replace("1000", "1001")


def other_attribute(file):
    file.attrs["recipe"] = file.attrs["recipe"].replace("1000", "1001")


def new_value(file):
    file[f"{RUN}/approved/value"] = np.ones(1)


def no_value(file):
    del file[f"{RUN}/lit_threshold"]


def other_unit(file):
    file[f"INSTRUMENT/{SOURCE}/image/data"].attrs["units"] = "ADU"


def no_flag(file):
    file["INDEX/flag"][0] = 1 - file["INDEX/flag"][0]


IN_A_FILE = {
    "before and dropped": (add("framesBefore", "framesDropped"), "framesBefore of train"),
    "dropped as rejected": (move("framesDropped", "framesRejected"), "framesRejected of train"),
    "dropped as unreadable": (move("framesDropped", "framesUnreadable"), "framesUnreadable of train"),
    "missing": (add("framesMissing"), "framesMissing of train"),
    "undecided": (add("framesUndecided"), "framesUndecided of train"),
    "by chance": (add("framesByChance"), "framesByChance of train"),
    "pattern": (reverse, "framePattern of train"),
    "lit pixels": (raise_value(f"{LIT}/litPixels"), "litpx/litPixels is not what"),
    "intensity": (raise_value(f"{LIT}/totalIntensity"), "litpx/totalIntensity is not what"),
    "pulse": (raise_value(f"{LIT}/pulseId"), "litpx/pulseId is not what"),
    "status": (swap_status, "litpx/status is not what"),
    "recipe": (other_recipe, f"{RUN}/recipe/value is not what"),
    "attribute": (other_attribute, "the attribute recipe is not what"),
    "threshold": (raise_value(f"{RUN}/lit_threshold/value"), "lit_threshold/value is not what"),
    "time of a setting": (raise_value(f"{RUN}/unit/timestamp"), "unit/timestamp is not what"),
    "a new setting": (new_value, "approved/value is not what"),
    "a setting that is gone": (no_value, "lit_threshold/value is not what"),
    "unit": (other_unit, "the pixels are in ADU"),
    "flag": (no_flag, "INDEX/flag does not say"),
    "origin": (raise_value("INDEX/origin"), "INDEX/origin"),
}


@pytest.mark.parametrize("name", IN_A_FILE)
def test_what_a_data_file_says(spoilt, name):
    out, _ = spoilt
    change, fault = IN_A_FILE[name]
    with h5py.File(out / FILE, "r+") as file:
        change(file)
    forge(out)
    faults = check(out).faults
    assert any(fault in found and FILE in found for found in faults), faults


def edit(out, change):
    """Change the accounts, with all that follows from them."""
    path = out / "shotsieve/accounts.json"
    told = json.loads(path.read_text())
    change(told)
    asked = told["kept"] + told["dropped"] - told["not_read"]
    undecided = told["undecided"]["kept"] + told["undecided"]["dropped"]
    told["undecided_share"] = undecided / asked
    path.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")
    forge(out)


@pytest.mark.parametrize(
    "changed",
    [
        {"undecided": {"kept": 1, "dropped": 1}},
        {"partial": {"kept": 0, "dropped": 3}},
        {"no_dark_data": {"kept": 1, "dropped": 0}},
        {"misses": 1},
        {"companions": 1},
        {"not_read": 1},
        {"modules": {"3": {"missing": 1, "no_constants": 0, "unreadable": 0}}},
        {"modules": {}},
        {"ratio": 100.0},
        {"rejected": 7},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_the_accounts_say(usual, changed):
    out, sim = usual
    edit(out, lambda told: told.update(changed))
    [name] = changed
    assert any(f"{name} " in fault for fault in check(out).faults)
    if name not in ("ratio",):
        assert any(f"accounts: {name} is" in fault for fault in against(out, sim))


def test_missing_shots_need_the_run(usual):
    """How many should have been there no table tells."""
    out, sim = usual
    edit(out, lambda told: told.update(missing=told["missing"] + 5, expected=told["expected"] + 5))
    assert check(out).ok
    faults = " ".join(against(out, sim))
    assert "accounts: missing is 0 in the run, the output says 5" in faults
    assert "accounts: expected is" in faults


def test_trains_of_the_accounts_need_the_run(usual):
    out, sim = usual
    edit(out, lambda told: told.update(trains=told["trains"] + 1))
    assert "accounts: trains is 3 in the run, the output says 4" in against(out, sim)


def test_timestamps_need_the_run(usual):
    out, sim = usual
    with h5py.File(out / FILE, "r+") as file:
        file["INDEX/timestamp"][1] += 1
    forge(out)
    assert check(out).ok
    assert f"{FILE}: INDEX/timestamp is not that of the run" in against(out, sim)


@pytest.mark.parametrize("name", ["before and dropped", "dropped as rejected", "missing", "status", "flag"])
def test_the_run_knows_too(spoilt, name):
    out, sim = spoilt
    with h5py.File(out / FILE, "r+") as file:
        IN_A_FILE[name][0](file)
    forge(out)
    assert FILE in " ".join(against(out, sim))


def test_another_recipe_in_the_settings(usual):
    out, _ = usual
    path = out / "shotsieve/settings.json"
    path.write_text(path.read_text().replace("> 1000", "> 1001"))
    forge(out)
    assert "settings.json has another recipe than recipe.toml" in " ".join(check(out).faults)


def test_another_input_file_in_the_settings(usual):
    out, _ = usual
    path = out / "shotsieve/settings.json"
    path.write_text(path.read_text().replace("RAW-R0001-AGIPD03", "RAW-R0001-AGIPD05"))
    forge(out)
    faults = " ".join(check(out).faults)
    assert "settings.json is not in the ledger" in faults
    assert "no settings.json names the input RAW-R0001-AGIPD03" in faults


def test_settings_that_were_changed_everywhere_need_the_run(usual):
    out, sim = usual
    swap_words(out, ("RAW-R0001-AGIPD03", "RAW-R0001-AGIPD05"))
    assert check(out).ok
    assert "input_files is" in " ".join(against(out, sim))


def test_another_number_of_bytes(usual):
    out, _ = usual

    def change(told):
        told["bytes_out"] -= 1
        told["ratio"] = told["bytes_in"] / told["bytes_out"]

    edit(out, change)
    assert "bytes_out" in " ".join(check(out).faults)


def test_an_index_that_lost_a_dropped_train(usual):
    """Of a train that was dropped whole nothing but numbers is left; the table has it still."""
    out, sim = usual
    drop_train(out, Table.open(out).train_id[0], files=[FILE], all_of_it=False)
    assert "in no index of module 3" in " ".join(check(out).faults)
    assert "the index of module 3 has other trains than the run" in " ".join(against(out, sim))


def drop_train(out, train, files=None, all_of_it=True):
    """Take a train out of data files, and of table and accounts with all that follows; forge the ledger."""
    for name in files or [path.name for path in out.glob("CORR-*.h5")]:
        with h5py.File(out / name, "r+") as file:
            take_out(file, train)
    if all_of_it:
        old = Table.open(out)
        left = old.part(old.train_id != train)
        left.save(out / "shotsieve/table.h5")

        def change(told):
            for name, value in counts_of(left).items():
                told[name] = vars(value) if isinstance(value, Split) else value
            told["expected"] -= len(old) - len(left)
            told["trains"] -= 1

        edit(out, change)
        fit_bytes(out)
    forge(out)


def take_out(file, train):
    trains = file["INDEX/trainId"][:]
    groups = [*file["METADATA/dataSources/dataSourceId"].asstr()[:]]
    groups += [*file["METADATA/auxiliarySources/REDUCTION"].asstr()[:]]
    for path in groups:
        index = file[f"INDEX/{path.partition('/')[2]}"]
        count = index["count"][:]
        stay = np.repeat(trains, count.astype("i8")) != train
        for name in list(file[path]):
            keep_rows(file[path], name, stay)
        count = count[trains != train]
        for name, values in (("count", count), ("first", np.cumsum(count) - count)):
            del index[name]
            index[name] = values.astype("u8")
    images = file[f"INSTRUMENT/{SOURCE.replace('3CH', f'{module_of(file)}CH')}/image"]
    sums = file[images.name.replace("/INSTRUMENT/", "REDUCTION/SHOTSIEVE/").replace("/image", "/checksum")]
    for plane in sums:  # the pixels were stored anew, so what says that they are what was written is too
        stored = [images[plane].id.read_direct_chunk((row, 0, 0))[1] for row in range(len(images[plane]))]
        sums[plane][:] = np.frombuffer(b"".join(map(chunk_checksum, stored)), "u1").reshape(-1, 16)
    for name in ("trainId", "timestamp", "flag", "origin"):
        keep_rows(file["INDEX"], name, trains != train)
    stamp = file["INDEX/timestamp"][:1]
    file["RUN"].visititems(
        lambda name, item: item.write_direct(stamp) if name.endswith("/timestamp") else None
    )


def module_of(file):
    [source] = [name for name in file["METADATA/dataSources/deviceId"].asstr()[:] if name.endswith("/image")]
    return int(source.partition("CORR/")[2].partition("CH")[0])


def keep_rows(group, name, stay):
    old = group[name]
    values, attrs = old[:][stay], dict(old.attrs)
    how = {"chunks": old.chunks, "compression": old.compression, "shuffle": old.shuffle}
    how["compression_opts"] = old.compression_opts
    how = {} if old.chunks is None else how
    del group[name]
    made = group.create_dataset(name, data=values, maxshape=(None, *values.shape[1:]) if how else None, **how)
    for key, value in attrs.items():
        made.attrs[key] = value


@pytest.mark.parametrize("which", [0, -1])
def test_a_train_that_was_taken_out_everywhere(usual, reduced, which):
    """Nothing in the output speaks of it any more: the digest does, and the run."""
    out, sim = usual
    digest, kept = reduced("usual").digest, reduced("usual").table
    trains = kept.train_id[kept.fate == 0]
    drop_train(out, trains[which])
    report = check(out)
    assert report.ok, report.summary()
    assert f"expected {digest}" in " ".join(check(out, digest).faults)
    faults = " ".join(against(out, sim))
    assert f"the run has {len(kept)} shots, the output tells of {report.shots}" in faults


@pytest.mark.parametrize("detail", ["select", "raw", "misses", "parts"])
def test_honest_outputs_of_every_kind_are_in_order(simulated, make_recipe, tmp_path, detail):
    sim = simulated("missed_train")
    changed = {
        "select": {"select": {"cells": "1:3"}},
        "raw": {"write": {"content": "raw"}},
        "misses": {"keep": {"rule": "lit_pixels[3] > 1000", "misses": 0.5}},
        "parts": {"write": {"content": "corrected", "trains_per_file": 1}},
    }[detail]
    recipe = make_recipe(**changed)
    result = shotsieve.reduce(sim.raw, recipe, tmp_path / "r", constants=sim.constants, backend="cpu")
    report = check(result.out)
    assert report.ok, report.summary()
    assert check_against(report, sim.raw, constants=sim.constants, backend="cpu").ok, report.summary()
