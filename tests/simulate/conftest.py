"""One small simulated run for all tests that only look at it."""

import pytest
from shotsieve.simulate import SpiParameters, simulate_spi

SMALL = {
    "n_trains": 3,
    "n_cells": 4,
    "modules": (3, 4),
    "photons_per_hit": (2e4, 2e6),
    "hit_rate": 0.5,
    "seed": 7,
}


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A simulated run of 3 trains, 4 cells, modules 3 and 4."""
    return simulate_spi(tmp_path_factory.mktemp("small"), SpiParameters(**SMALL))
