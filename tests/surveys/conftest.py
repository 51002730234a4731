"""One module of a simulated crystal run with known truth, and a recipe for it."""

from __future__ import annotations

import copy

import pytest
import shotsieve
from shotsieve.simulate import SfxParameters, simulate_sfx
from shotsieve.sources.run import open_run
from shotsieve.surveys import page

MODULE = 3
BACKEND = "cpu"


@pytest.fixture(scope="package")
def simulated(tmp_path_factory):
    """64 shots of one module, about a third of them hits."""
    parameters = SfxParameters(
        n_trains=8, n_cells=8, modules=(MODULE,), hit_rate=0.3, photons_per_hit=(2e3, 5e4), truth_stage=False
    )
    return simulate_sfx(tmp_path_factory.mktemp("sim"), parameters)


@pytest.fixture(scope="package")
def run(simulated):
    """The run with that module alone, so that none is missing."""
    return open_run(simulated.raw).of_modules((MODULE,))


@pytest.fixture
def recipe(simulated):
    return copy.deepcopy(recipe_of(simulated))


def recipe_of(simulated, **sections):
    return {
        "detector": [{"name": "AGIPD1M", "geometry": str(simulated.geometry)}],
        "calibrate": {},
        "measure": {
            "lit": {"threshold": "0.7 photon"},
            "peaks": {"threshold": "4 photon", "min_snr": 5.0, "min_pix_count": 1},
        },
        "keep": {"rule": "n_peaks >= 8"},
        "write": {"content": "corrected"},
        **sections,
    }


def look(*given, backend=BACKEND, **options):
    """Survey without drawing the page, which takes longer than all else on runs of this size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "write_page", lambda *told: None)
        return shotsieve.survey(*given, backend=backend, **options)


@pytest.fixture(scope="package")
def surveyed(simulated, run, tmp_path_factory):
    """The survey of all shots, with the truth."""
    out = tmp_path_factory.mktemp("survey") / "all.html"
    constants, truth = simulated.constants, simulated.truth_file
    return look(run, recipe_of(simulated), out, constants, shots=None, truth=truth)
