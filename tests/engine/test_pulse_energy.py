"""Pulse energies come by the running number of the pulse in the beamline, and by nothing else."""

import numpy as np
import pytest
import shotsieve
from shotsieve.simulate.schedule import make_schedule
from shotsieve.table import Table


@pytest.mark.parametrize("name", ["usual", "selected_cells", "wrapped_cells", "dark_cells", "missed_train"])
def test_pulse_energy_is_the_true_one(name, simulated, reduced):
    sim = simulated(name)
    table = Table.open(reduced(name).out)
    lit = sim.truth.n_pulses > 0
    np.testing.assert_array_equal(table.columns["n_pulses"], sim.truth.n_pulses)
    np.testing.assert_array_equal(table.columns["pulse_energy"], sim.truth.pulse_energy)
    assert (table.columns["pulse_energy"][lit] > 100).all()
    assert (table.columns["pulse_energy"][~lit] == 0).all()
    assert table.meanings["pulse_energy"].unit == "uJ"

    # Nobody could come by these values with a wrong index into the same XGM rows.
    xgm = make_schedule(sim.parameters).beam.xgm
    position = np.concatenate([np.arange(n) for n in np.unique(sim.train, return_counts=True)[1]])
    wrong_ones = {"pulseId": sim.truth.pulse_id, "cellId": sim.truth.cell_id, "position": position}
    for index, wrong in wrong_ones.items():
        read = xgm[sim.train, wrong.astype(int)]
        assert (read[lit] != sim.truth.pulse_energy[lit]).mean() > 0.5, index


def test_a_rule_keeps_the_right_shots(simulated, places, make_recipe):
    sim = simulated("usual")
    lit = np.sort(sim.truth.pulse_energy[sim.truth.n_pulses > 0])
    cut = float(lit[len(lit) // 2])
    result = shotsieve.reduce(
        sim.raw,
        make_recipe(keep={"rule": f"pulse_energy >= {cut!r} and n_pulses == 1"}, measure=None),
        places / "r",
        constants=sim.constants,
        backend="cpu",
    )
    np.testing.assert_array_equal(result.table.fate == 0, sim.truth.pulse_energy >= cut)


def test_without_time_server_the_energy_is_unknown(simulated, places, make_recipe, link_run, tmp_path):
    """The XGM alone does not say which pulse is which; it is not guessed."""
    sim = simulated("usual")
    run = link_run(sim.raw, tmp_path / "r0001", leave_out="DA01")
    recipe = make_recipe(keep={"rule": "pulse_energy > 0"}, calibrate={"photon_energy": "9.3 keV"})
    result = shotsieve.reduce(run, recipe, places / "r", constants=sim.constants, backend="cpu")
    assert result.accounts.undecided.kept == 12
    assert any("no time server" in note for note in result.accounts.notes)
