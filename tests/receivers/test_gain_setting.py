"""The gain setting of a JUNGFRAU run: constants of the other one are refused, and it outlives a reduction."""

from __future__ import annotations

import shutil

import h5py
import pytest
import shotsieve
from shotsieve.constants import Constants
from shotsieve.errors import BadInput
from shotsieve.sources import open_run

from .receiver_runs import recipe_of


@pytest.fixture
def high(simulated, tmp_path):
    """The simulated run as if of the high gain setting, and a recipe with constants of the low."""
    run = simulated("JUNGFRAU")
    folder = shutil.copytree(run.raw, tmp_path / "r0002")
    [control] = folder.glob("*DA01*.h5")
    with h5py.File(control, "r+") as f:
        f[f"RUN/{run.parameters.detector_name}/DET/CONTROL/settings/value"][0] = "highgain0"
    return folder, recipe_of(run)


def test_the_simulated_run_and_its_constants_agree(simulated):
    run = simulated("JUNGFRAU")
    mode = open_run(run.raw).mode
    assert mode.gain_setting == 0
    assert Constants.open(run.constants).check_conditions(mode) == []


def test_constants_of_the_other_setting_are_refused(high, tmp_path):
    folder, recipe = high
    text = "gain_setting: the run has 1, the constants were taken with 0"
    with pytest.raises(BadInput, match=text):
        shotsieve.reduce(folder, recipe, tmp_path / "o", backend="cpu")
    forced = shotsieve.reduce(folder, recipe, tmp_path / "f", backend="cpu", force=True)
    assert any(f"forced: the constants were taken under other conditions than the run: {text}" in n
               for n in forced.accounts.notes)  # fmt: skip


def test_a_run_reduced_to_raw_words_keeps_it(high, tmp_path):
    folder, _ = high
    out = shotsieve.reduce(folder, {"write": {"content": "raw"}}, tmp_path / "raw", backend="cpu").out
    mode = open_run(out).mode
    assert mode.gain_setting == 1
    assert mode.origin["gain_setting"].startswith("stored by shotsieve in ")
