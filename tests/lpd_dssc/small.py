"""Small simulated runs of LPD-1M, LPD-Mini, DSSC-1M and AGIPD-500K, and how EXtra-data sees them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

SMALL = {"n_trains": 2, "n_cells": 3, "hit_rate": 0.5, "photons_per_hit": (1e6, 1e7), "seed": 3}
RUNS = {
    "lpd": {"detector": "LPD1M", "modules": (0, 5), "photon_energy_kev": 12.0, "radius_nm": 3.0},
    # Module 5 recorded nothing in one train, and the ids behind the first third are junk, as they are.
    "parallel": {
        "detector": "LPD1M", "modules": (0, 5), "photon_energy_kev": 12.0, "radius_nm": 3.0,
        "parallel_gain": True, "missed_trains": ((5, 1),), "cell_ids": (0, 2, 5),
    },
    # All rows of the frame are simulated, as if it were one module.
    "lpdmini": {"detector": "LPDMINI", "modules": (0,), "photon_energy_kev": 12.0, "radius_nm": 3.0},
    # A quadrant is absent.
    "dssc": {"detector": "DSSC1M", "modules": (3, 5), "missing_modules": (5,), "photon_energy_kev": 1.0},
    "agipd500k": {"detector": "AGIPD500K", "modules": (1, 7)},
}  # fmt: skip
ADU = {"lpd": "14.4 ADU", "parallel": "14.4 ADU", "lpdmini": "14.4 ADU", "dssc": "4 ADU"}
FIRST = {"lpd": 0, "parallel": 0, "lpdmini": 0, "dssc": 3, "agipd500k": 1}
CLASSES = {"lpd": "LPD1M", "parallel": "LPD1M", "dssc": "DSSC1M", "agipd500k": "AGIPD500K"}


def component(name: str, folder: Path, raw: bool = False):
    """Open a run with EXtra-data's class for the detector."""
    extra_data = pytest.importorskip("extra_data")
    components = pytest.importorskip("extra_data.components")
    if name not in CLASSES:
        pytest.skip("no class of EXtra-data")
    options = {"parallel_gain": True} if raw and name == "parallel" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(components, CLASSES[name])(extra_data.RunDirectory(folder), raw=raw, **options)


def bits(array: np.ndarray) -> np.ndarray:
    return array.view("u4") if array.dtype == np.float32 else array
