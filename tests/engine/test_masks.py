"""Masks of a recipe: a user's own, and pixels that never change, from the run to what is written."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.cli import main
from shotsieve.constants.bad_pixels import BadPixels
from shotsieve.constants.mask_file import read_mask
from shotsieve.errors import BadInput
from shotsieve.zero_std import find_zero_std

RAW = "INSTRUMENT/SPB_DET_AGIPD1M-1/DET/3CH0:xtdf/image/data"
STUCK = {0: (100, 7), 2: (300, 90)}  # cell -> pixel that never changes


@pytest.fixture
def stuck(simulated, tmp_path):
    """The usual run, with a pixel in each of two cells that never changes, in module 3."""
    raw = tmp_path / "raw"
    shutil.copytree(simulated("usual").raw, raw)
    cells = np.tile(np.arange(4), 3)
    with h5py.File(next(raw.glob("*AGIPD03*")), "r+") as file:
        words = file[RAW][()]
        for cell, (y, x) in STUCK.items():
            words[cells == cell, 0, y, x] = 4321
        file[RAW][...] = words
    return raw


def pixels_of(mask, module, bit):
    found = mask.of(module, np.arange(4)).reshape(4, 512, 128) & np.uint32(bit)
    return [tuple(int(n) for n in at) for at in np.argwhere(found)]


def test_pixels_that_never_change_are_found_and_masked(stuck, simulated, make_recipe, read_module, tmp_path):
    made = tmp_path / "zero.h5"
    assert main(["mask", str(stuck), "-o", str(made), "--min-trains", "3"]) == 0
    agipd = shotsieve.detectors.load("AGIPD1M")
    mask = read_mask(f"{made}:/mask", "bits", agipd, (3, 4))
    bit = int(BadPixels.DATA_STD_IS_ZERO)
    found = pixels_of(mask, 3, bit)
    assert {(cell, *at) for cell, at in STUCK.items()} <= set(found)
    with h5py.File(next(stuck.glob("*AGIPD03*"))) as file:
        by_cell = file[RAW][:, 0].reshape(3, 4, 512, 128).astype("f8")
    assert found == [tuple(int(n) for n in at) for at in np.argwhere(by_cell.std(axis=0) == 0)]

    sim = simulated("usual")
    results = []
    for switches in ({}, {"mask_zero_std": str(made)}):
        recipe = make_recipe(calibrate=switches, keep=None)
        out = tmp_path / str(len(results))
        results.append(shotsieve.reduce(stuck, recipe, out, constants=sim.constants, backend="cpu"))
    before, after = (read_module(result, 3) for result in results)
    marked = np.zeros((4, 512, 128), bool)
    marked[tuple(np.array(found).T)] = True
    marked = np.tile(marked, (3, 1, 1))
    assert (after["image.mask"] == before["image.mask"] | np.where(marked, np.uint32(bit), 0)).all()
    assert np.isnan(after["image.data"][marked]).all()
    np.testing.assert_array_equal(after["image.data"][~marked], before["image.data"][~marked])
    with h5py.File(results[1].files[0]) as file:
        assert "mask_zero_std" in str(file.attrs["notes"])


def test_a_few_trains_say_nothing(stuck):
    source = shotsieve.sources.run.open_run(stuck)
    with pytest.raises(BadInput, match="no memory cell was recorded 10 times, at most 3"):
        find_zero_std(source)


def test_a_mask_is_not_written_over(stuck, tmp_path, capsys):
    (tmp_path / "zero.h5").write_text("precious")
    assert main(["mask", str(stuck), "-o", str(tmp_path / "zero.h5")]) != 0
    assert (tmp_path / "zero.h5").read_text() == "precious"
    assert "exists already" in capsys.readouterr().err
    assert main(["mask", str(stuck), "-o", str(tmp_path / "none" / "zero.h5")]) != 0
    assert "is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("bad", ["zero", "nonzero"])
def test_a_mask_of_the_user(simulated, make_recipe, read_module, tmp_path, bad):
    sim, good = simulated("usual"), np.ones((16, 512, 128), bool)
    good[3, 10:20, 30:40] = False
    np.save(tmp_path / "mask.npy", good if bad == "zero" else ~good)
    switches = {"mask": str(tmp_path / "mask.npy"), "mask_bad": bad}
    recipe = make_recipe(calibrate=switches, keep=None)
    result = shotsieve.reduce(sim.raw, recipe, tmp_path / "r", constants=sim.constants, backend="cpu")
    mask = read_module(result, 3)["image.mask"]
    assert ((mask & int(BadPixels.USER1) != 0) == ~good[3]).all()
    assert not (read_module(result, 4)["image.mask"] & int(BadPixels.USER1)).any()
    with h5py.File(result.files[0]) as file:
        assert "[calibrate] mask: 0.0" in str(file.attrs["notes"])


def test_the_polarity_has_to_be_said(simulated, make_recipe, tmp_path):
    with pytest.raises(BadInput, match="mask and mask_bad go together"):
        shotsieve.Recipe.from_dict(make_recipe(calibrate={"mask": "mask.npy"}))


def test_a_mask_that_does_not_fit(simulated, make_recipe, tmp_path):
    sim = simulated("usual")
    np.save(tmp_path / "mask.npy", np.ones((3, 3), bool))
    recipe = make_recipe(calibrate={"mask": str(tmp_path / "mask.npy"), "mask_bad": "zero"})
    with pytest.raises(BadInput, match=r"\[calibrate\] mask: .* shape \(3, 3\)"):
        shotsieve.reduce(sim.raw, recipe, tmp_path / "r", constants=sim.constants, backend="cpu")
