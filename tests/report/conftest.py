"""A reduced run with peaks, profiles, a module that lacks a train and misses kept by chance."""

from __future__ import annotations

import pytest
import shotsieve
from shotsieve.simulate import SpiParameters, simulate_spi

MODULES = (3, 4)
RULE = "lit_pixels[3] > 1.0 * pulse_energy"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sim")
    return simulate_spi(
        folder, SpiParameters(n_trains=3, n_cells=4, modules=MODULES, missed_trains=((4, 1),))
    )


@pytest.fixture(scope="module")
def reduced(simulated, tmp_path_factory):
    return reduction(simulated, tmp_path_factory.mktemp("red") / "r0001")


@pytest.fixture(scope="module")
def page(reduced):
    return shotsieve.write_report(reduced)


def reduction(run, out, **keep):
    recipe = {
        "detector": [{"name": "AGIPD1M", "geometry": str(run.geometry)}],
        "calibrate": {},
        "measure": {
            "lit": {"threshold": "0.7 photon"},
            "azint": {"npt": 50, "unit": "q_nm^-1"},
            "peaks": {"threshold": "15 keV", "min_snr": 3.0, "min_pix_count": 1},
        },
        "keep": {"rule": RULE, "misses": 0.3, **keep},
        "write": {"content": "corrected"},
    }
    shotsieve.reduce(run.raw, recipe, out, constants=run.constants, backend="cpu")
    return out
