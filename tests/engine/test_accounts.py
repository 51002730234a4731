"""Every shot is accounted for: the accounts of odd runs, by hand against what was simulated."""

import json

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.table import FATES, ModuleStatus, Table

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
    "no_xgm",
    "fixed_medium",
    "whole",
]
# Shots of a run of 3 trains of 4 cells (whole: 3 cells) that are neither kept nor dropped, and all there are.
COUNTS = {
    "empty_train": {"missing": 4},
    "suspect_train": {"suspect": 4},
    "duplicate_train": {"duplicate": 4, "expected": 16},
    "inconsistent_counts": {"inconsistent": 2},
    "whole": {"expected": 9},
}
NOTES = {
    "missing_module": "no file has data of module",
    "missed_train": "module 4 has no data in 1 trains: 1500000002",
    "empty_train": "1 of 3 trains are empty in all modules: 1500000002; counted as 4 missing shots",
    "suspect_train": "1 suspect trains (flag 0): 1500000002; rejected",
    "suspect_module": "suspect (flag 0) in the files of some modules only: 1500000002",
    "duplicate_train": "4 shots have a train or pulse that was recorded before",
    "inconsistent_counts": "2 shots are missing in modules that have other shots of the train",
    "no_xgm": "the run has no XGM",
}


def true_fates(sim) -> np.ndarray:
    """Return the fate that each shot of the truth must have."""
    fate = np.where(sim.truth.hit, "kept", "dropped").astype("<U12")
    in_second = sim.train == 1
    if sim.name == "suspect_train":
        fate[in_second] = "suspect"
    if sim.name == "inconsistent_counts":
        fate[np.flatnonzero(in_second)[2:]] = "inconsistent"
    return fate


@pytest.mark.parametrize("name", NAMES)
def test_every_shot_is_accounted_for(name, simulated, reduced):
    sim, result = simulated(name), reduced(name)
    accounts, table = result.accounts, result.table
    accounts.check()
    fates = true_fates(sim)
    by_hand = {"expected": 12, "missing": 0, "duplicate": 0}
    by_hand |= {fate: int((fates == fate).sum()) for fate in FATES if fate != "duplicate"}
    by_hand |= COUNTS.get(name, {})
    assert {key: getattr(accounts, key) for key in by_hand} == by_hand
    assert by_hand["kept"] > 0
    assert by_hand["dropped"] > 0
    assert accounts.expected == sum(getattr(accounts, fate) for fate in FATES) + accounts.missing
    assert accounts.undecided.total == 0

    # Row for row: which shots, and what became of each.
    first = table.fate != FATES.index("duplicate")
    np.testing.assert_array_equal(table.train_id[first], sim.truth.train_id)
    np.testing.assert_array_equal(table.pulse_id[first], sim.truth.pulse_id)
    np.testing.assert_array_equal(table.cell_id[first], sim.truth.cell_id)
    assert [FATES[fate] for fate in table.fate[first]] == fates.tolist()
    verdict = np.select([fates == "kept", fates == "dropped"], [1, 0], -1)
    np.testing.assert_array_equal(table.verdict[first], verdict)

    # Which module of which shot could be measured.
    measured = np.isin(fates, ["kept", "dropped"])
    present = np.zeros((len(fates), 16), bool)
    present[:, list(sim.parameters.modules)] = sim.truth.present
    if name == "suspect_module":
        present[sim.train == 1, 4] = False
    status = np.where(present, ModuleStatus.OK, ModuleStatus.MISSING)
    np.testing.assert_array_equal(table.module_status[first][measured], status[measured])
    assert (table.module_status[first][~measured] == ModuleStatus.NOT_READ).all()
    partial = (~present[measured]).any(axis=1).sum()
    assert accounts.partial.total == partial
    for module in range(16):
        told = accounts.modules.get(str(module), {"missing": 0})
        assert told["missing"] == (~present[measured, module]).sum()


@pytest.mark.parametrize("name", NAMES)
def test_the_output_tells_the_accounts(name, simulated, reduced):
    result = reduced(name)
    told = json.loads((result.out / "shotsieve" / "accounts.json").read_text())
    assert told == json.loads(result.accounts.to_json())
    asked = result.accounts.kept + result.accounts.dropped
    planes = 1 if name == "fixed_medium" else 2  # the gain plane says nothing then
    raw_bytes = int(simulated(name).truth.present.sum()) * planes * 2 * 65536
    assert 0 < told["bytes_in"] <= raw_bytes
    if asked == result.accounts.expected and name != "suspect_module":
        assert told["bytes_in"] == raw_bytes
    assert told["bytes_out"] == sum(file.stat().st_size for file in result.files)
    assert any(NOTES.get(name, "") in note for note in told["notes"])
    summary = result.accounts.summary()
    for word in ("expected", "kept", "dropped", "undecided", "bytes", "ratio", "shots/s", "cpu"):
        assert word in summary
    assert Table.open(result.out) == result.table
    # Every number of the run's own operating mode came from its control sources.
    assert "gain_mode" not in (result.out / "shotsieve" / "recipe.toml").read_text()


def test_counts_agree_with_the_truth(simulated, reduced):
    """Lit pixels and photons of a frame are those that were simulated, as far as its good pixels go."""
    sim, table = simulated("usual"), reduced("usual").table
    good = table.measures["unmasked_pixels"][:, [3, 4]] / 65536
    assert ((good > 0.985) & (good < 1)).all()
    lit, photons = table.measures["lit_pixels"][:, [3, 4]], table.measures["photons"][:, [3, 4]]
    assert (lit[sim.truth.n_pulses == 0] <= 3).all()  # 0.7 photon is 6.5 sigma of the noise
    spread = 5 * np.sqrt(sim.truth.lit_expected) + 3
    assert (np.abs(lit - sim.truth.lit_expected) < spread).all()
    # Some photons fall on bad pixels, and those in medium and low gain are measured with noise.
    drawn = sim.truth.photons
    assert (np.abs(photons - drawn) < 0.03 * drawn + 30).all()
    assert (table.measures["intensity"][:, [3, 4]] / 9.3 - drawn < 0.03 * drawn + 300).all()


def test_the_table_alone(simulated, places, make_recipe):
    """Without [write] nothing but the table is written; without [keep] every shot is kept."""
    sim = simulated("usual")
    result = shotsieve.reduce(
        sim.raw, make_recipe(write=None, keep=None), places / "r", constants=sim.constants, backend="cpu"
    )
    assert result.files == []
    assert [path.name for path in result.out.iterdir()] == ["shotsieve"]
    assert result.accounts.kept == 12
    assert result.accounts.bytes_out == 0
    table = Table.open(result.out)
    assert table == result.table


def test_a_run_of_suspect_trains_alone(simulated, places, make_recipe, link_run, tmp_path):
    """Nothing can be kept and nothing is lost: the output says what there was."""
    sim = simulated("usual")
    run = link_run(sim.raw, tmp_path / "r0001", leave_out="-AGIPD0")
    for file in sim.raw.glob("*-AGIPD0*"):
        copy = run / file.name
        copy.write_bytes(file.read_bytes())
        with h5py.File(copy, "r+") as opened:
            opened["INDEX/flag"][:] = 0
    result = shotsieve.reduce(run, make_recipe(), places / "r", constants=sim.constants, backend="cpu")
    assert result.accounts.suspect == result.accounts.expected == 12
    assert result.accounts.bytes_in == 0
    assert (result.table.fate == FATES.index("suspect")).all()
