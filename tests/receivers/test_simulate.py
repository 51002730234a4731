"""Simulated runs of receivers' detectors: the command, the same bytes again, wrong wishes."""

from __future__ import annotations

import hashlib

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from shotsieve.cli import cli
from shotsieve.constants import Constants
from shotsieve.darks.runs import conditions_of, open_dark_runs
from shotsieve.errors import BadInput
from shotsieve.simulate.darks import DarkParameters, simulate_darks
from shotsieve.simulate.receiver import ReceiverParameters, simulate_receiver
from shotsieve.simulate.receiver_model import NUMBERS, ReceiverModule
from shotsieve.sources.run import open_run


def digests(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_the_command_and_the_same_bytes_again(tmp_path):
    options = ["--detector", "gotthard2", "--n-trains", "2", "--n-frames", "3", "--modules", "1-2"]
    done = CliRunner().invoke(cli, ["simulate", "receiver", str(tmp_path / "a"), *options])
    assert done.exit_code == 0, done.output
    assert "2 trains, 3 files" in done.output
    p = ReceiverParameters("GOTTHARD2", n_trains=2, n_frames=3, modules=(1, 2))
    simulate_receiver(tmp_path / "b", p)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    with pytest.raises(BadInput, match="exists already"):
        simulate_receiver(tmp_path / "b", p)


def test_what_a_run_says_of_itself(tmp_path):
    p = ReceiverParameters("GOTTHARD2", n_trains=2, n_frames=3, gain_mode="fixed_medium")
    run = simulate_receiver(tmp_path, p)
    mode = open_run(run.raw).mode
    assert (mode.gain_mode, mode.photon_energy_kev, mode.bias_voltage) == ("fixed_medium", 9.0, 180.0)
    assert mode.integration_time == pytest.approx(10)
    assert Constants.open(run.constants).check_conditions(mode) == []
    with h5py.File(run.truth) as file:
        assert (file["stage"][:] == 1).all()


@pytest.mark.parametrize("name", NUMBERS)
def test_darks_are_taken_as_runs_are(tmp_path, name):
    run = simulate_receiver(tmp_path / "run", ReceiverParameters(name, n_trains=1))
    darks = simulate_darks(tmp_path / "darks", DarkParameters(name, n_trains=1))
    conditions = conditions_of(open_dark_runs(darks.runs), fixed=False)
    assert {"bias_voltage", "integration_time"} <= set(conditions)
    constants = Constants.open(run.constants)
    assert constants.conditions.items() <= {"gain_mode": "adaptive", **conditions}.items()
    constants.conditions = conditions
    assert constants.check_conditions(open_run(run.raw).mode) == []


def test_tables_straighten_what_bends_words():
    p = ReceiverParameters("GOTTHARD2")
    model = ReceiverModule(p.family, 1, 1, 2)
    table = model.linear().astype(np.int64)
    value = np.linspace(0, 4095, 9)[:, None] + np.zeros(1280)
    raw = np.rint(model._bent(value)).astype(int)
    assert np.abs(raw - value).max() > 30
    assert (np.diff(table, axis=0) >= 0).all()
    assert np.abs(table[raw, np.arange(1280)] - value).max() < 1.5


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"detector": "EPIX"}, "detector.*Did you mean 'EPIX100'"),
        ({"detector": "EPIX100", "n_frames": 2}, "n_frames.*from 1 to 1"),
        ({"n_frames": 17}, "n_frames.*from 1 to 16"),
        ({"detector": "EPIX100", "gain_mode": "fixed_low"}, "gain_mode"),
        ({"common_mode": 3.0}, "common_mode.*JUNGFRAU has none"),
        ({"detector_name": "MID_DET_AGIPD1M-1"}, "detector_name.*must look like"),
        ({"modules": (2, 1)}, "modules.*ascending"),
        ({"missing_modules": (1,)}, "at least one module"),
        ({"missed_trains": ((1, 99),)}, "missed_trains"),
        ({"split_at": (0,)}, "split_at"),
        ({"peak_photons": (0.0, 1.0)}, "peak_photons"),
    ],
)
def test_what_cannot_be_simulated(options, text):
    with pytest.raises(BadInput, match=text):
        ReceiverParameters(**options)
