"""The command that says what the machine data of a run tell."""

from __future__ import annotations

import json

import pytest
from shotsieve.cli import main
from shotsieve.simulate import SpiParameters, simulate_spi


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    cells = {"dark_cells": (2, 4, 6), "later_from": 3, "later_dark_cells": (5,)}
    p = SpiParameters(n_trains=4, n_cells=8, modules=(3,), pump="even_pulses", truth_stage=False, **cells)
    return simulate_spi(tmp_path_factory.mktemp("pulses"), p)


def test_what_it_says(run, capsys):
    assert main(["pulses", str(run.raw)]) == 0
    said = capsys.readouterr().out
    lit = int((run.truth.n_pulses > 0).sum())
    assert "SPB_DET_AGIPD1M-1: 32 shots" in said
    assert f"lit                   {lit}" in said
    assert "1:8:2, in 1500000001-1500000003 (3 trains)" in said
    assert "1:5, 6:8, in 1500000004" in said
    assert "note  pulses of the laser SPB begin at the first X-ray pulse: assumed" in said


def test_json_and_recipe(run, tmp_path, capsys):
    recipe = tmp_path / "r.toml"
    recipe.write_text("[annotate]\nreference_frame = 0\n")
    assert main(["pulses", str(run.raw), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(["pulses", str(run.raw), "--json", "--recipe", str(recipe)]) == 0
    second = json.loads(capsys.readouterr().out)
    assert [p["cells"] for p in first["patterns"]] == ["1:8:2", "1:5, 6:8"]
    assert first["patterns"][0]["trains"] == 3
    assert second["patterns"][0]["cells"].startswith("0")
    assert first["pumped"] == int(((run.truth.laser > 0) & (run.truth.n_pulses > 0)).sum())
    assert abs(first["pulse_energy"][0] - run.truth.pulse_energy[run.truth.n_pulses > 0].mean()) < 1e-6
    assert main(["pulses", str(tmp_path / "nothing")]) == 2
