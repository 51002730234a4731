"""A small detector of four tilted tiles, and frames on it."""

from __future__ import annotations

import numpy as np
import pytest
from shotsieve import backend as backends
from shotsieve.errors import BackendUnavailable
from shotsieve.geometry import PixelMap
from shotsieve.geometry.tile import Tile

PIXEL = 2e-4


def detector(distance=0.05, energy=9.3):
    """Four tiles around the beam, each a bit turned and tilted; the slab is 80 x 40 pixels."""
    tiles = []
    for number, (x, y) in enumerate(
        [(-0.0085, 0.0005), (0.0006, 0.0004), (-0.0086, -0.0044), (0.0005, -0.0043)]
    ):
        turn = 0.01 * (number - 1)
        fs = PIXEL * np.array([np.cos(turn), np.sin(turn), 0.02 * number])
        ss = PIXEL * np.array([-np.sin(turn), np.cos(turn), 0.01])
        corner = np.array([x, y, distance + 0.0003 * number])
        tiles.append(Tile((20 * number, 20 * number + 20, 0, 40), corner, ss, fs))
    return PixelMap(tuple(tiles), (80, 40), distance, energy, "four tiles")


@pytest.fixture
def make_on_device():
    """Backends with a memory of their own, each with a function that copies an array there."""
    found = []
    for name in ("emu", "cuda"):
        try:
            backend = backends.get(name)
        except BackendUnavailable:
            continue

        def upload(array, backend=backend):
            device, stream = backend.device, backend.device.stream()
            target = device.empty(array.shape, array.dtype)
            device.to_device(target, np.ascontiguousarray(array), stream)
            device.wait(device.record(stream))
            return target

        found.append((backend, upload))
    if not found:
        pytest.skip("no backend with a memory of its own")
    return found


@pytest.fixture
def pixels():
    return detector()


@pytest.fixture
def mask(rng):
    """True where good; bad ones stand alone and in a block."""
    good = rng.random((80, 40)) > 0.05
    good[22:30, 5:15] = False
    return good


@pytest.fixture
def frames(rng):
    """Nineteen frames with NaN and infinities, one without, one with nothing else."""
    values = rng.poisson(4, (19, 80, 40)).astype("f4")
    values[rng.random(values.shape) < 0.01] = np.nan
    values[rng.random(values.shape) < 0.003] = np.inf
    values[0] = 3
    values[1] = np.nan
    return values
