"""EXtra-data as oracle: it opens what was written, and sees what was simulated."""

import numpy as np
import pytest
import shotsieve
from shotsieve import detectors
from shotsieve.constants import Constants, Steps, fold
from shotsieve.reference.calibrate import calibrate_count_folded
from shotsieve.simulate.memory import build
from shotsieve.table import FATES

extra_data = pytest.importorskip("extra_data")
components = pytest.importorskip("extra_data.components")
validation = pytest.importorskip("extra_data.validation")

NAMES = [
    "usual",
    "selected_cells",
    "wrapped_cells",
    "dark_cells",
    "missing_module",
    "missed_train",
    "empty_train",
    "second_sequence",
    "suspect_train",
    "suspect_module",
    "duplicate_train",
    "inconsistent_counts",
    "fixed_medium",
    "cells_beyond_constants",
]
HALF_ABSENT = ("missed_train", "suspect_module")  # module 4 has no data in the second train
DIGITAL_NOISE = 25.0  # of the simulated gain signal, ADU


def kept_shots(result):
    return np.flatnonzero(result.table.fate == FATES.index("kept"))


def rows_in_truth(sim, result):
    """Return where the kept shots stand in the truth."""
    keys = list(zip(sim.truth.train_id.tolist(), sim.truth.pulse_id.tolist(), strict=True))
    table, kept = result.table, kept_shots(result)
    wanted = zip(table.train_id[kept].tolist(), table.pulse_id[kept].tolist(), strict=True)
    return np.array([keys.index(key) for key in wanted])


def opened(result):
    run = extra_data.RunDirectory(result.out)
    assert len(run.files) == len(result.files) == len(list(result.out.glob("*.h5")))
    return run, components.AGIPD1M(run, raw=False)


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_and_every_row_is_ours(name, simulated, reduced, read_module):
    sim, result = simulated(name), reduced(name)
    run, agipd = opened(result)
    table, kept = result.table, kept_shots(result)
    modules = sorted(agipd.modno_to_source)
    assert modules == list(sim.parameters.written_modules)
    trains = sim.parameters.first_train + np.arange(3)
    assert run.train_ids == trains.tolist()
    assert agipd.train_ids == np.unique(table.train_id[kept]).tolist()

    data = agipd["image.data"].xarray(subtrain_index="pulseId")
    labels = np.array([(t, p) for t, p in data.indexes["train_pulse"]])
    np.testing.assert_array_equal(labels, np.stack([table.train_id, table.pulse_id], 1)[kept])
    assert data.coords["module"].values.tolist() == modules
    gain, mask = agipd["image.gain"].ndarray(), agipd["image.mask"].ndarray()
    masked = agipd.masked_data().ndarray()
    cells = agipd["image.cellId"].ndarray()
    assert data.dtype == masked.dtype == np.float32
    for row, module in enumerate(modules):
        there = np.ones(len(kept), bool)
        if name in HALF_ABSENT and module == 4:
            there = table.train_id[kept] != trains[1]
        written = read_module(result, module)
        assert (cells[row, there] == table.cell_id[kept][there]).all()
        np.testing.assert_array_equal(written["image.pulseId"], table.pulse_id[kept][there])
        np.testing.assert_array_equal(data.values[row, there], written["image.data"])
        np.testing.assert_array_equal(gain[row, there], written["image.gain"])
        np.testing.assert_array_equal(mask[row, there], written["image.mask"])
        bad = written["image.mask"] != 0
        assert np.isnan(written["image.data"][bad]).all()
        assert np.isfinite(written["image.data"][~bad]).all()
        np.testing.assert_array_equal(masked[row, there], written["image.data"])
        assert np.isnan(data.values[row, ~there]).all()


@pytest.mark.parametrize("name", NAMES)
def test_validation_finds_no_problem(name, reduced, capsys):
    assert validation.main([str(reduced(name).out)]) in (None, 0)
    assert "No problems found" in capsys.readouterr().out


def test_the_whole_detector(simulated, reduced):
    sim, result = simulated("whole"), reduced("whole")
    _, agipd = opened(result)
    assert len(result.files) == 16
    data, kept = agipd["image.data"].ndarray(), kept_shots(result)
    assert data.shape == (16, len(kept), 512, 128)
    lit = np.stack([(data[:, k] > 0.7 * 9.3).sum(axis=(1, 2)) for k in range(len(kept))])
    np.testing.assert_array_equal(lit, result.table.measures["lit_pixels"][kept])
    assert [tid for tid, _ in agipd.trains()] == agipd.train_ids
    np.testing.assert_array_equal(result.table.fate == 0, sim.truth.hit)


COMPARED = ["usual", "selected_cells", "wrapped_cells", "missed_train", "duplicate_train", "fixed_medium"]


@pytest.mark.parametrize("name", COMPARED)
def test_pixels_are_those_of_the_reference(name, simulated, reduced, read_module):
    """Raw words as EXtra-data reads them, calibrated in plain NumPy, are the output bit for bit."""
    sim, result = simulated(name), reduced(name)
    raw_run = extra_data.RunDirectory(sim.raw) if name != "duplicate_train" else None
    constants, agipd = Constants.open(sim.constants), detectors.load("AGIPD1M")
    cells = np.unique(sim.truth.cell_id)
    for module in (3, 4):
        source = f"SPB_DET_AGIPD1M-1/DET/{module}CH0:xtdf"
        if raw_run is None:  # EXtra-data refuses a run with a train in two sequences: take the first
            raw_run = extra_data.H5File(next(sim.raw.glob("*AGIPD03-S00000.h5")))
        if source not in raw_run.all_sources:
            continue
        written = read_module(result, module)
        words = raw_run[source, "image.data"].ndarray()
        keys = [raw_run[source, f"image.{key}"].ndarray()[:, 0] for key in ("trainId", "pulseId", "cellId")]
        place = {(t, p): k for k, (t, p) in enumerate(zip(keys[0].tolist(), keys[1].tolist(), strict=True))}
        ours = zip(written["image.trainId"].tolist(), written["image.pulseId"].tolist(), strict=True)
        at = [(k, place[key]) for k, key in enumerate(ours) if key in place]
        here, there = np.array(at).T
        gain_mode = sim.parameters.gain_mode
        folded = fold(constants, agipd, module, cells, Steps(), "keV", 9.3, gain_mode=gain_mode)
        answer = calibrate_count_folded(
            words[there].reshape(len(there), 2, -1),
            np.searchsorted(cells, keys[2][there]),
            folded.table,
            encoding=0,
            fixed_stage=agipd.fixed_stage(gain_mode),
            set_min=name != "fixed_medium",
        )
        pixels = written["image.data"][here].reshape(len(here), -1)
        np.testing.assert_array_equal(pixels.view("u4"), answer.pixels.view("u4"))
        stage = answer.stage & 3
        np.testing.assert_array_equal(written["image.gain"][here].reshape(len(here), -1), stage)
        # The mask is what the constants say of the stage that each pixel was in.
        bits = constants.load("bad_pixels", module, keys[2][there]).reshape(3, len(there), -1)
        mask = np.take_along_axis(bits, stage[None].astype(int), 0)[0]
        np.testing.assert_array_equal(written["image.mask"][here].reshape(len(here), -1), mask)


@pytest.mark.parametrize("name", ["usual", "selected_cells", "dark_cells", "fixed_medium"])
def test_gain_is_the_true_stage(name, simulated, reduced):
    """Except where the gain signal lies so close to a threshold that noise can carry it across."""
    sim, result = simulated(name), reduced(name)
    _, agipd = opened(result)
    kept, truth = kept_shots(result), rows_in_truth(sim, result)
    gain = agipd["image.gain"].ndarray().reshape(2, len(kept), -1)
    _, model, _ = build(sim.parameters)
    compared = 0
    for row, module in enumerate((3, 4)):
        one = model.module(module)
        for k, shot in enumerate(truth):
            stage = sim.stage[shot, row].reshape(-1)
            cell = int(sim.truth.cell_id[shot])
            level = np.choose(stage, [one.level(g, cell) for g in range(3)])
            near = np.zeros(65536, bool)
            if sim.parameters.gain_mode == "adaptive":
                for threshold in one.thresholds(cell)[:2]:
                    near |= np.abs(level - threshold) < 5 * DIGITAL_NOISE
            assert near.mean() < 0.005
            np.testing.assert_array_equal(gain[row, k][~near], stage[~near])
            compared += int((stage[~near] > 0).sum())
    assert compared > 1000


@pytest.mark.parametrize("name", ["usual", "fixed_medium"])
def test_photons_are_unbiased_in_every_stage(name, simulated, reduced):
    sim, result = simulated(name), reduced(name)
    _, agipd = opened(result)
    kept, truth = kept_shots(result), rows_in_truth(sim, result)
    energy = sim.parameters.photon_energy_kev
    photons = agipd.masked_data().ndarray().reshape(2, len(kept), -1) / energy
    gain = agipd["image.gain"].ndarray().reshape(2, len(kept), -1)
    true = sim.photons[truth].swapaxes(0, 1)
    stage = sim.stage[truth].swapaxes(0, 1).reshape(2, len(kept), -1)
    one = Constants.open(sim.constants)
    for g in range(3) if name == "usual" else [1]:
        ratio = [1.0, 30.0, 30.0 * 4.48][g]
        # Pixels at the end of the analogue range hold less than they received.
        range_end = (16383 - [5000, 8000, 8600][g]) * ratio / (7.2 * energy)
        good = np.isfinite(photons) & (gain == g) & (stage == g) & (true < 0.8 * range_end)
        difference = (photons - true)[good]
        noise = np.nanmedian(one.load("noise", 3)[g]) * ratio / (7.2 * energy)
        rounding = ratio / (7.2 * energy) / np.sqrt(12)
        error = np.hypot(noise, rounding) / np.sqrt(difference.size)
        assert difference.size > (1000 if g < 2 else 50)
        assert abs(difference.mean()) < 5 * error, f"stage {g}: {difference.mean()} +- {error}"
        assert 0.8 < difference.std() / np.hypot(noise, rounding) < 1.25


def test_a_collection_or_a_component_gives_the_same_as_the_path(
    simulated, reduced, places, make_recipe, digest
):
    sim = simulated("usual")
    run = extra_data.RunDirectory(sim.raw)
    expected = digest(reduced("usual").out)
    for number, given in enumerate((run, components.AGIPD1M(run, raw=True))):
        out = places / f"r{number}"
        shotsieve.reduce(given, make_recipe(), out, constants=sim.constants, backend="cpu")
        assert digest(out) == expected


def test_a_selection_of_trains_is_respected(simulated, reduced, places, make_recipe, read_module):
    sim = simulated("usual")
    run = extra_data.RunDirectory(sim.raw).select_trains(np.s_[1:])
    result = shotsieve.reduce(run, make_recipe(), places / "r", constants=sim.constants, backend="cpu")
    assert result.accounts.expected == 8
    hits = sim.truth.hit & (sim.train > 0)
    np.testing.assert_array_equal(result.table.fate == 0, hits[sim.train > 0])
    everything, part = read_module(reduced("usual"), 3), read_module(result, 3)
    later = everything["image.trainId"] > sim.parameters.first_train
    np.testing.assert_array_equal(part["image.data"], everything["image.data"][later])
