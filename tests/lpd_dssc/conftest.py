"""Small simulated runs, each made once, and their reductions, kept for every test that looks at them."""

from __future__ import annotations

import copy

import pytest
import shotsieve
from shotsieve.simulate import SpiParameters, simulate_spi

from .small import ADU, FIRST, RUNS, SMALL


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    made = {}

    def make(name):
        if name not in made:
            made[name] = simulate_spi(tmp_path_factory.mktemp(name), SpiParameters(**{**SMALL, **RUNS[name]}))
        return made[name]

    return make


@pytest.fixture(scope="session")
def recipe_of(simulated):
    def make(name, content="corrected", keep=True, **calibrate):
        adu = {"adu_per_photon": ADU[name]} if name in ADU else {}
        recipe = {
            "calibrate": {"constants": str(simulated(name).constants), "unit": "photon", **adu, **calibrate},
            "measure": {"lit": {"threshold": "0.7 photon"}},
            "write": {"content": content} | ({"rounding_relative": 0.01} if content == "rounded" else {}),
        }
        if keep:
            recipe["keep"] = {"rule": f"lit_pixels[{FIRST[name]}] > 10000"}
        return copy.deepcopy(recipe)

    return make


@pytest.fixture(scope="session")
def reduced(simulated, recipe_of, tmp_path_factory):
    made = {}

    def make(name, content="corrected", backend="cpu"):
        key = name, content, backend
        if key not in made:
            out = tmp_path_factory.mktemp("-".join(key)) / "out"
            made[key] = shotsieve.reduce(simulated(name).raw, recipe_of(name, content), out, backend=backend)
        return made[key]

    return make
