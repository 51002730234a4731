"""Parallel gain of LPD: three frames of every pulse, of which the first counts that is within its range."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.errors import BadInput
from shotsieve.simulate import SpiParameters, simulate_spi
from shotsieve.sources.run import open_run

from .small import bits, component


def words_of(folder, module=0):
    with h5py.File(next(folder.glob(f"RAW-R0001-LPD{module:02d}-S00000.h5"))) as file:
        image = file[f"INSTRUMENT/FXE_DET_LPD1M-1/DET/{module}CH0:xtdf/image"]
        return {key: image[key][()] for key in ("data", "trainId", "pulseId", "cellId", "length")}


def test_shots_are_the_first_thirds_and_planes_the_three_stages(simulated):
    source = open_run(simulated("parallel").raw)
    assert source.detector.encoding == "parallel"
    assert source.shots.cell_id.tolist() == [0, 2, 5] * 2
    assert source.shots.present[:, 5].tolist() == [True] * 3 + [False] * 3
    out = np.zeros((6, 16, 3, 256, 256), "u2")
    source.read(0, 6, out)
    recorded = words_of(simulated("parallel").raw)
    assert set(recorded["cellId"][3:9].ravel()) == {40000}  # junk
    np.testing.assert_array_equal(
        out[:, 0].reshape(2, 3, 3, -1).swapaxes(1, 2).reshape(18, -1), recorded["data"].reshape(18, -1)
    )


def test_without_parallel_gain_the_junk_is_seen(simulated):
    source = open_run(simulated("parallel").raw, parallel_gain=False)
    assert source.detector.encoding == "word"
    assert (source.shots.cell_id == 40000).any()


def test_all_three_stages_of_the_truth_are_found(simulated, reduced):
    sim, result = simulated("parallel"), reduced("parallel")
    kept = np.flatnonzero(result.table.fate == 0)
    with h5py.File(sim.truth_file) as file:
        truth = file["stage"][:, 0][kept]
    found = component("parallel", result.out)
    gain, mask = (found[f"image.{key}"].ndarray()[0] for key in ("gain", "mask"))
    good = mask == 0
    assert np.unique(truth[good]).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(gain[good], truth[good])


def test_reduced_words_are_thirds_again(simulated, reduced):
    """Kept frames stay in the form in which they were recorded, with labels that are no junk any more."""
    sim, result = simulated("parallel"), reduced("parallel", "raw")
    kept = np.flatnonzero(result.table.fate == 0)
    before, after = words_of(sim.raw), words_of(result.out)
    train = np.searchsorted(np.unique(before["trainId"]), result.table.train_id[kept])
    rows = np.concatenate(
        [9 * t + 3 * stage + kept[train == t] % 3 for t in np.unique(train) for stage in range(3)]
    )
    np.testing.assert_array_equal(after["data"], before["data"][rows])
    np.testing.assert_array_equal(after["length"], before["length"][rows])
    cells = np.concatenate([np.tile(result.table.cell_id[kept[train == t]], 3) for t in np.unique(train)])
    np.testing.assert_array_equal(after["cellId"].ravel(), cells)


def test_a_train_that_three_does_not_divide_is_lost_and_counted(simulated, tmp_path):
    folder = simulated("parallel").raw
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with h5py.File(tmp_path / "RAW-R0001-LPD00-S00000.h5", "r+") as file:
        file["INDEX/FXE_DET_LPD1M-1/DET/0CH0:xtdf/image/count"][1] = 8
    source = open_run(tmp_path)
    assert any("three frames of every pulse" in note for note in source.notes)
    assert source.missing_shots == 3
    assert len(source.shots) == 3
    with h5py.File(tmp_path / "RAW-R0001-LPD00-S00000.h5", "r+") as file:
        file["INDEX/FXE_DET_LPD1M-1/DET/0CH0:xtdf/image/count"][0] = 8
    with pytest.raises(BadInput, match=r"three divides the frames of no train \(\[8\]"):
        open_run(tmp_path)


def test_a_detector_without_parallel_gain_is_not_asked_for_it(tmp_path):
    p = SpiParameters(detector="DSSC1M", modules=(0,), n_trains=1, n_cells=1, truth_stage=False)
    sim = simulate_spi(tmp_path, p)
    with pytest.raises(BadInput, match="DSSC1M has no parallel gain"):
        open_run(sim.raw, parallel_gain=True)


def test_constants_of_the_other_mode_are_refused(simulated, recipe_of, tmp_path):
    recipe = recipe_of("parallel")
    recipe["calibrate"]["constants"] = str(simulated("lpd").constants)
    with pytest.raises(BadInput, match="conditions"):
        shotsieve.reduce(simulated("parallel").raw, recipe, tmp_path / "out", backend="cpu")


def test_the_number_of_sigma_moves_the_stages(simulated, recipe_of, reduced, tmp_path):
    recipe = recipe_of("parallel", parallel_sigma_high=600.0)
    more = shotsieve.reduce(simulated("parallel").raw, recipe, tmp_path / "out", backend="cpu")
    both = [component("parallel", one.out) for one in (reduced("parallel"), more)]
    usual, early = (one["image.gain"].ndarray()[0] for one in both)
    assert (early >= usual).all()
    assert (early > usual).any()
    data = [one["image.data"].ndarray()[0] for one in both]
    same = (early == usual) & np.isfinite(data[0])
    np.testing.assert_array_equal(bits(data[0])[same], bits(data[1])[same])
