"""The order in which a train fills memory cells: told by the run, a condition of constants of LPD."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.cell_order import order_of, read_order, same_order, shown_order
from shotsieve.constants import Constants
from shotsieve.constants.importers.extra import from_extra
from shotsieve.constants.importers.references import check_conditions
from shotsieve.constants.to_facility import save_facility
from shotsieve.darks import DarkOptions, make_dark_constants
from shotsieve.errors import BadInput
from shotsieve.simulate import SpiParameters, simulate_spi
from shotsieve.simulate.darks import DarkParameters, simulate_darks
from shotsieve.sources.run import open_run

from .small import SMALL

WRAPPED = (4, 5, 0, 1)
LPD = {**SMALL, "detector": "LPD1M", "modules": (0, 5), "photon_energy_kev": 12.0, "radius_nm": 3.0}
FACILITY = ",".join(map(str, range(510))) + ","
"""Every cell in order, in the form of the facility's database."""
IMAGE = "INSTRUMENT/FXE_DET_LPD1M-1/DET/{}CH0:xtdf/image"


def simulated_with(folder, **changes):
    return simulate_spi(folder, SpiParameters(**{**LPD, "cell_ids": WRAPPED, "n_trains": 4, **changes}))


@pytest.fixture(scope="module")
def wrapped(tmp_path_factory):
    """A run whose trains begin at cell 4."""
    return simulated_with(tmp_path_factory.mktemp("wrapped"))


def taken_in(order, path, run):
    """Write the constants of a run as those of another order of cells."""
    constants = Constants.open(run.constants)
    constants.conditions["memory_cell_order"] = order
    return constants.save(path)


def recipe_with(constants, content="corrected", **calibrate):
    return {
        "calibrate": {
            "constants": str(constants),
            "unit": "photon",
            "adu_per_photon": "14.4 ADU",
            **calibrate,
        },
        "measure": {"lit": {"threshold": "0.7 photon"}},
        "keep": {"rule": "lit_pixels[0] > 10000"},
        "write": {"content": content},
    }


def with_cells(run, folder, change):
    """Copy a run, and change the memory cells that its files tell."""
    shutil.copytree(run, folder)
    for module in (0, 5):
        with h5py.File(folder / f"RAW-R0001-LPD{module:02d}-S00000.h5", "r+") as file:
            cells = file[IMAGE.format(module)]["cellId"]
            told = cells[()].reshape(-1, len(WRAPPED))
            change(told)
            cells[...] = told.reshape(cells.shape)
    return folder


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (FACILITY, "0-509"),
        ("0", "0"),
        (7, "7"),
        (" 12 - 511, 0-11", "12-511,0-11"),
        ("0,256,1,257,", "0,256,1,257"),
        ("0-3,4,5", "0-5"),
        ("3,2,1", "3,2,1"),
    ],
)
def test_every_form_of_an_order_is_kept_as_one(text, kept):
    assert read_order(text) == kept
    assert read_order(kept) == kept


@pytest.mark.parametrize("text", ["", ",", "interleaved", "0,,1", "5-3", "-1", "1.5", "0-", "1e3"])
def test_what_is_no_order_is_refused(text):
    with pytest.raises(BadInput, match="expected memory cells in the order"):
        read_order(text)


def test_orders_that_ascend_are_alike_and_others_are_not():
    assert same_order("0-509", "0-99")
    assert same_order(FACILITY, "0,2,4,9")  # cells that were vetoed
    assert same_order("4-5,0-1", "4,5,0,1,")
    assert not same_order("4-5,0-1", "0-509")
    assert not same_order("4-5,0-1", "4-6,0-1")
    assert same_order("a word of its own", "a word of its own")


def test_a_long_order_is_shown_by_its_begin():
    long = order_of(cell for pair in zip(range(200), range(200, 400), strict=True) for cell in pair)
    assert shown_order(long) == "0,200,1,201,2,202,3,203,4,204,5,205,6,206,7,207, ... (400 cells)"
    assert shown_order("12-511,0-11") == "12-511,0-11"


def test_the_order_of_a_run_is_that_of_its_frames(wrapped, simulated):
    mode = open_run(wrapped.raw).mode
    assert mode.memory_cell_order == "4-5,0-1"
    assert mode.origin["memory_cell_order"] == "cellId of most trains"
    assert open_run(simulated("lpd").raw).mode.memory_cell_order == "0-2"
    # What stands behind the first third is junk.
    assert open_run(simulated("parallel").raw).mode.memory_cell_order == "0,2,5"
    assert open_run(simulated("lpdmini").raw).mode.memory_cell_order == "0-2"
    assert open_run(simulated("dssc").raw).mode.memory_cell_order is None
    assert open_run(simulated("agipd500k").raw).mode.memory_cell_order is None


def test_the_order_is_that_of_storage_and_not_that_of_pulses(wrapped, tmp_path):
    """Shots are sorted by pulse; constants were taken in the order in which frames lie in the file."""
    shutil.copytree(wrapped.raw, tmp_path / "raw")
    for module in (0, 5):
        with h5py.File(tmp_path / f"raw/RAW-R0001-LPD{module:02d}-S00000.h5", "r+") as file:
            for key in ("cellId", "pulseId"):
                ids = file[IMAGE.format(module)][key]
                ids[...] = ids[()].reshape(4, 4)[:, [2, 3, 0, 1]].reshape(ids.shape)
    source = open_run(tmp_path / "raw")
    assert source.shots.cell_id[:4].tolist() == list(WRAPPED)
    assert source.mode.memory_cell_order == "0-1,4-5"


def test_trains_in_another_order_are_told(wrapped, tmp_path):
    def one_other(told):
        told[2] = (0, 1, 4, 5)

    source = open_run(with_cells(wrapped.raw, tmp_path / "raw", one_other))
    assert source.mode.memory_cell_order == "4-5,0-1"
    train = source.trains.train_id[2]
    assert any(f"another order than in most trains in {train}" in note for note in source.notes)
    assert not any("another order" in note for note in open_run(wrapped.raw).notes)


def test_constants_of_another_order_are_refused_and_what_to_do_is_said(wrapped, tmp_path):
    constants = taken_in("0-509", tmp_path / "c.h5", wrapped)
    text = (
        r"memory_cell_order: the run has 4-5,0-1, the constants were taken with 0-509 \(offsets differ .*"
        r'set \[calibrate\] memory_cell_order = "any"\)'
    )
    with pytest.raises(BadInput, match=text):
        shotsieve.reduce(wrapped.raw, recipe_with(constants), tmp_path / "a", backend="cpu")
    same = taken_in("4,5,0,1,", tmp_path / "same.h5", wrapped)
    shotsieve.reduce(wrapped.raw, recipe_with(same), tmp_path / "b", backend="cpu")
    recipe = recipe_with(same, memory_cell_order="0,1,4,5")
    with pytest.raises(BadInput, match=r"the run has 0-1,4-5, .* \(the recipe sets memory_cell_order\)"):
        shotsieve.reduce(wrapped.raw, recipe, tmp_path / "c", backend="cpu")
    forced = shotsieve.reduce(wrapped.raw, recipe_with(constants), tmp_path / "d", backend="cpu", force=True)
    assert any("forced" in note and "memory_cell_order" in note for note in forced.accounts.notes)


def test_constants_of_any_order_do_where_the_recipe_says_so(wrapped, tmp_path):
    constants = taken_in("0-509", tmp_path / "c.h5", wrapped)
    recipe = recipe_with(constants, memory_cell_order="any")
    result = shotsieve.reduce(wrapped.raw, recipe, tmp_path / "out", backend="cpu")
    assert any('memory_cell_order = "any"' in note for note in result.accounts.notes)
    # The output still tells the run's own.
    with h5py.File(next(result.out.glob("CORR-*LPD00*.h5"))) as file:
        assert file.attrs["mode.memory_cell_order"] == "4-5,0-1"


def test_a_recipe_cannot_ask_for_what_has_no_meaning(simulated, wrapped, recipe_of, tmp_path):
    recipe = recipe_of("dssc", memory_cell_order="any")
    with pytest.raises(BadInput, match="constants of DSSC1M do not depend on the order"):
        shotsieve.reduce(simulated("dssc").raw, recipe, tmp_path / "a", backend="cpu")
    recipe = recipe_with(wrapped.constants, memory_cell_order="interleaved")
    with pytest.raises(BadInput, match=r"\[calibrate\] memory_cell_order = 'interleaved': expected"):
        shotsieve.reduce(wrapped.raw, recipe, tmp_path / "b", backend="cpu")


def test_a_reduced_run_tells_the_order_of_the_run_that_it_is_of(wrapped, tmp_path):
    """Kept frames are in an order of their own, of which no constants were taken."""
    recipe = recipe_with(wrapped.constants, "raw") | {"keep": {"rule": "cell_id != 5"}}
    result = shotsieve.reduce(wrapped.raw, recipe, tmp_path / "out", backend="cpu")
    source = open_run(result.out)
    assert source.shots.cell_id[:3].tolist() == [4, 0, 1]
    assert source.mode.memory_cell_order == "4-5,0-1"
    assert source.mode.origin["memory_cell_order"].startswith("stored by shotsieve")
    # One that says nothing of it, as an earlier version wrote them, is not taken by its frames.
    for path in result.out.glob("RAW-*LPD*.h5"):
        with h5py.File(path, "r+") as file:
            for group in file["RUN/SHOTSIEVE"].values():
                for inner in group["DET"].values():
                    del inner["mode/memory_cell_order"]
    assert open_run(result.out).mode.memory_cell_order is None


def test_an_order_that_was_stored_wrongly_is_not_used(wrapped, tmp_path):
    result = shotsieve.reduce(
        wrapped.raw, recipe_with(wrapped.constants, "raw"), tmp_path / "out", backend="cpu"
    )
    for path in result.out.glob("RAW-*LPD*.h5"):
        with h5py.File(path, "r+") as file:
            for group in file["RUN/SHOTSIEVE"].values():
                for inner in group["DET"].values():
                    inner["mode/memory_cell_order/value"][0] = "4 to 5"
    source = open_run(result.out)
    assert source.mode.memory_cell_order is None
    assert any("'4 to 5'" in note and "not used" in note for note in source.notes)


def test_conditions_that_are_imported_have_one_form(wrapped, tmp_path):
    assert check_conditions({"memory_cell_order": FACILITY}) == {"memory_cell_order": "0-509"}
    with pytest.raises(BadInput, match="conditions: memory_cell_order = 'interleaved'"):
        check_conditions({"memory_cell_order": "interleaved"})


class Looked(dict):
    """What EXtra's `CalibrationData` offers, without any constant."""

    detector_name = "FXE_DET_LPD1M-1"
    module_details = ({"karabo_da": "LPD00", "module_number": 0, "physical_name": "LPD_M0"},)


@pytest.mark.parametrize("order", [None, FACILITY])
def test_what_extra_looked_constants_up_for_is_their_condition(order, monkeypatch):
    taken = {}
    monkeypatch.setattr(
        "shotsieve.constants.importers.extra.open_references",
        lambda *_, conditions, **__: taken.update(check_conditions(conditions)),
    )
    condition = SimpleNamespace(memory_cells=512, memory_cell_order=order, parallel_gain=True)
    from_extra(Looked(), condition=condition)
    expected = {"cells": 512, "parallel_gain": 1}
    assert taken == expected | ({"memory_cell_order": "0-509"} if order else {})


def test_a_folder_of_constants_says_the_order(wrapped, tmp_path):
    save_facility(Constants.open(taken_in("4-5,0-1", tmp_path / "c.h5", wrapped)), tmp_path / "folder")
    modules = tmp_path / "folder" / "modules.toml"
    assert Constants.open(tmp_path / "folder").conditions["memory_cell_order"] == "4-5,0-1"
    modules.write_text(modules.read_text().replace('"4-5,0-1"', '"4,5,0,1,"'))
    assert Constants.open(tmp_path / "folder").conditions["memory_cell_order"] == "4-5,0-1"
    modules.write_text(modules.read_text().replace('"4,5,0,1,"', "4"))
    with pytest.raises(BadInput, match=r"memory_cell_order = 4 in \[conditions\] must be a text"):
        Constants.open(tmp_path / "folder")


def test_constants_of_dark_runs_are_of_their_order(tmp_path):
    darks = simulate_darks(tmp_path, DarkParameters("LPD1M", n_trains=3, n_cells=2, modules=(0,)))
    options = DarkOptions(min_frames=3)
    made = make_dark_constants(darks.runs, tmp_path / "c.h5", options, backend="cpu")
    assert Constants.open(made.path).conditions["memory_cell_order"] == "0-1"
    for path in darks.runs[1].glob("*LPD00*.h5"):
        with h5py.File(path, "r+") as file:
            cells = next(iter(file["INSTRUMENT"].values()))["DET/0CH0:xtdf/image/cellId"]
            cells[...] = cells[()].reshape(-1, 2)[:, ::-1].reshape(cells.shape)
    with pytest.raises(BadInput, match=r"memory_cell_order is 0-1 in .* and 1,0 in .*same conditions"):
        make_dark_constants(darks.runs, tmp_path / "d.h5", options, backend="cpu")


def test_numbers_of_frames_do_not_make_another_order(wrapped, tmp_path):
    """A train that lost a frame is told elsewhere."""
    shutil.copytree(wrapped.raw, tmp_path / "raw")
    for module in (0, 5):
        with h5py.File(tmp_path / f"raw/RAW-R0001-LPD{module:02d}-S00000.h5", "r+") as file:
            count = file[f"INDEX/FXE_DET_LPD1M-1/DET/{module}CH0:xtdf/image/count"]
            count[0] = 3
    source = open_run(tmp_path / "raw")
    assert source.mode.memory_cell_order == "4-5,0-1"
    assert not any("another order" in note for note in source.notes)
    assert np.count_nonzero(source.shots.train_id == source.trains.train_id[0]) == 3
