"""Speckles of two modules, reduced to photon frames and to photon lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shotsieve
from shotsieve.geometry import PixelMap
from shotsieve.geometry.tile import Tile
from shotsieve.simulate import XpcsParameters, simulate_xpcs

SPECKLES = {
    "n_trains": 3,
    "n_cells": 6,
    "modules": (3, 9),
    "photons_per_pixel": 0.05,
    "hit_rate": 0.8,
    "missed_trains": ((9, 1),),
    "constants_without_cells": (4,),
    "truth_stage": False,
    "photon_energy_kev": 9.3,
}


@pytest.fixture(scope="session")
def speckles(tmp_path_factory):
    """A raw run with its constants; module 9 lacks a train, and there are no constants for cell 4."""
    return simulate_xpcs(tmp_path_factory.mktemp("speckles"), XpcsParameters(**SPECKLES))


@pytest.fixture(scope="session")
def reduced(speckles, tmp_path_factory):
    """Reduce the run to some content, each way once."""
    done: dict[str, Any] = {}

    def reduce(content: str, **write: Any) -> Any:
        name = "-".join([content, *(f"{key}-{value}" for key, value in write.items())]).replace("/", "")
        if name not in done:
            recipe = {"calibrate": {}, "measure": {"lit": {}}, "write": {"content": content, **write}}
            out = Path(tmp_path_factory.mktemp("reduced"), "out")
            done[name] = shotsieve.reduce(
                speckles.raw, recipe, out, constants=speckles.constants, backend="cpu"
            )
        return done[name]

    return reduce


@pytest.fixture(scope="session")
def rings():
    """Makes an integrator for the first of three modules; two are those of the lists."""

    def integrator(modules=2):
        step = 2e-4
        corners = [(0.005, -0.05, 2.0), (-0.03, -0.05, 2.0), (0.1, 0.1, 2.0)][:modules]
        down, across = np.array([0, step, 0]), np.array([step, 0, 0])
        tiles = tuple(
            Tile((512 * k, 512 * k + 512, 0, 128), np.array(corner), down, across)
            for k, corner in enumerate(corners)
        )
        return shotsieve.AzimuthalIntegrator(
            PixelMap(tiles, (512 * modules, 128), 2.0, 9.3, "two modules"),
            npt=40,
            error_model="poisson",
            backend="cpu",
        )

    return integrator
