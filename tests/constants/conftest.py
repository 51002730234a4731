"""Small detectors and random constants."""

import dataclasses

import numpy as np
import pytest
from shotsieve import detectors, folded_cache, telling
from shotsieve.constants import Constants, Steps


def shrunk(name, shape=(4, 8)):
    return dataclasses.replace(detectors.load(name), shape=shape)


@pytest.fixture
def agipd():
    """An AGIPD-1M with modules of 4 x 8 pixels."""
    return shrunk("AGIPD1M")


@pytest.fixture
def jungfrau():
    """A JUNGFRAU with modules of 4 x 8 pixels."""
    return shrunk("JUNGFRAU")


@pytest.fixture
def facility_arrays():
    """Return a maker of one module's arrays in the facility's order (fs, ss, cell, gain)."""

    def make(detector, cells, seed=0, slopes=11, ff_cells=None):
        rng = np.random.default_rng(seed)
        ss, fs = detector.shape
        pixel_cell = (fs, ss, cells)
        ff = (fs, ss, ff_cells or cells)
        arrays = {
            "Offset": rng.uniform(3000, 8000, (*pixel_cell, 3)),
            "Noise": rng.uniform(4, 20, (*pixel_cell, 3)),
            "ThresholdsDark": np.sort(rng.uniform(4000, 12000, (*pixel_cell, 5)), axis=-1),
            "SlopesPC": rng.uniform(1, 50, (*pixel_cell, slopes)),
            "SlopesFF": rng.uniform(5, 9, ff),
            "BadPixelsDark": rng.integers(0, 4, (*pixel_cell, 3), dtype=np.uint32),
            "BadPixelsPC": rng.integers(0, 2, pixel_cell, dtype=np.uint32) << 4,
            "BadPixelsFF": rng.integers(0, 2, ff, dtype=np.uint32) << 7,
        }
        jungfrau = {
            "Offset10Hz": arrays["Offset"],
            "Noise10Hz": arrays["Noise"],
            "RelativeGain10Hz": rng.uniform(-40, 40, (*ff, 3)),
            "BadPixelsDark10Hz": arrays["BadPixelsDark"],
            "BadPixelsFF10Hz": rng.integers(0, 2, (*ff, 3), dtype=np.uint32) << 7,
        }
        return arrays if "Offset" in detector.facility_constants else jungfrau

    return make


@pytest.fixture
def nothing_said(monkeypatch):
    monkeypatch.setattr(telling, "_said", set())
    monkeypatch.delenv(folded_cache.ENVIRONMENT, raising=False)


@pytest.fixture
def constants_file(tmp_path, agipd):
    """Constants of two modules in a file."""
    rng = np.random.default_rng(5)
    shape = (3, *agipd.shape)

    def of(planes, low, high):
        return {module: rng.uniform(low, high, (planes, *shape)).astype("f4") for module in (3, 4)}

    arrays = {
        "offset": of(3, 4000, 8000),
        "noise": of(3, 4, 9),
        "thresholds": of(2, 5000, 9000),
        "relative_gain": of(3, 1, 1.2),
        "mg_baseline": of(1, -9, 9),
        "adu_per_kev": of(1, 6, 8),
        "bad_pixels": {m: rng.integers(0, 2, (3, *shape), dtype="u4") << 3 for m in (3, 4)},
    }
    return Constants.from_arrays(agipd, arrays).save(tmp_path / "constants.h5")


@pytest.fixture
def asked(constants_file, agipd):
    """Arguments of `make_tables`, by name."""
    return {
        "constants": Constants.open(constants_file, agipd),
        "detector": agipd,
        "modules": (3, 4),
        "cell_id": np.array([0, 1, 2, 1]),
        "steps": Steps(),
        "unit": "keV",
        "photon_energy_kev": 9.3,
        "gain_mode": "adaptive",
        "masks": None,
    }


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"
