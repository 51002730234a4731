"""Recipes for simulated runs, and what is true of them."""

from __future__ import annotations

import h5py
import numpy as np

# A spot, or a line, lights more pixels than the background does.
RULES = {"GOTTHARD2": "lit_pixels > 120", "EPIX100": "lit_pixels > 15000", "JUNGFRAU": "lit_pixels > 20000"}
RECIPE = {
    "calibrate": {},
    "measure": {"lit": {"threshold": "0.7 photon"}},
    "keep": {"rule": "lit_pixels > 200"},
    "write": {"content": "corrected"},
}


def recipe_of(run, **sections):
    """A recipe with the constants of a run; of the ePix100 with its common mode."""
    recipe = {**RECIPE, "keep": {"rule": RULES[run.parameters.detector]}, **sections}
    calibrate = {"constants": str(run.constants), **recipe["calibrate"]}
    if run.parameters.common_mode:
        calibrate.setdefault("common_mode", True)
    return {**recipe, "calibrate": calibrate}


def photons_of(run):
    """Energy of every pixel in photons, and frames as the output has them."""
    with h5py.File(run.truth) as file:
        return {name: np.asarray(file[name]) for name in ("photons", "stage", "hit")}


def frames_of(out, plane="data"):
    """One plane of an output, (T, frames, M, ...), modules in the order of their numbers."""
    parts = []
    for path in sorted(out.glob("*.h5")):
        with h5py.File(path) as file:
            for source in file["METADATA/dataSources/dataSourceId"].asstr()[:]:
                if source.endswith("/data") and "daqOutput" in source:
                    names = ("adc", "image/pixels") if plane == "data" else (plane,)
                    name = next(name for name in names if name in file[source])
                    array = file[source][name][:]
                    parts.append(array if "adc" in file[source] else array[:, None])
    return np.stack(parts, axis=2)
