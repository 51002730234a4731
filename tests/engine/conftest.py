"""Small simulated runs, each made once, and their reductions, kept for every test that looks at them."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.constants import Constants
from shotsieve.simulate import SpiParameters, simulate_spi
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build
from shotsieve.simulate.run import write_run
from shotsieve.simulate.truth import SpiTruth, TruthFile
from shotsieve.sources.run import open_run

from .spots import Run

# Modules 3 and 4 touch the beam; hits are so strong that all three gain stages and every hit can be told.
SMALL = {
    "n_trains": 3,
    "n_cells": 4,
    "modules": (3, 4),
    "hit_rate": 0.5,
    "photons_per_hit": (1e6, 1e7),
    "radius_nm": 15.0,
    "background": 0.002,
    "seed": 11,
}
RECIPE = {
    "calibrate": {},
    "measure": {"lit": {"threshold": "0.7 photon"}},
    "keep": {"rule": "lit_pixels[3] > 1000"},
    "write": {"content": "corrected"},
}
RECIPES = {
    "whole": {"keep": {"rule": "lit_fraction > 0.01"}},
    # The noise of medium gain is 2.2 photons; without its negative half the mean of an unlit pixel is not 0.
    "fixed_medium": {"measure": {"lit": {"threshold": "15 photon"}}, "calibrate": {"set_min": False}},
}
# What happens in real life, one thing at a time.
ODD = {
    "usual": {},
    "selected_cells": {"cell_ids": (0, 2, 3, 7)},
    "wrapped_cells": {"cell_ids": (2, 3, 0, 1)},
    "dark_cells": {"dark_cells": (2, 3), "hit_rate": 1.0},
    "missing_module": {"modules": (3, 4, 8), "missing_modules": (8,)},
    "missed_train": {"missed_trains": ((4, 1),)},
    "empty_train": {"empty_trains": (1,)},
    "second_sequence": {"split_at": (2,)},
    "suspect_train": {"suspect_trains": (1,)},
    "suspect_module": {"suspect": ((4, 1),)},
    "duplicate_train": {"split_at": (2,), "sequence_overlap": 1},
    "inconsistent_counts": {"short_trains": ((4, 1, 2),)},
    "no_xgm": {"xgm": False},
    "fixed_medium": {"gain_mode": "fixed_medium"},
}
OTHER = {
    "whole": {"modules": tuple(range(16)), "n_cells": 3},  # the whole detector
    "cell_without_constants": {"constants_without_cells": (2,)},  # in the middle of the axis
    "cells_beyond_constants": {"constants_cells": 2},
}


@dataclass(frozen=True)
class Simulated:
    """A simulated run, constants for it, and what is true of it."""

    name: str
    parameters: SpiParameters
    raw: Path
    constants: Path | Constants
    truth: SpiTruth
    truth_file: Path

    @cached_property
    def train(self) -> np.ndarray:
        """Number of the train of each shot of the truth, from 0."""
        return (self.truth.train_id - np.uint64(self.parameters.first_train)).astype(int)

    @cached_property
    def stage(self) -> np.ndarray:
        """True gain stage of every pixel, (S, M, 512, 128)."""
        with h5py.File(self.truth_file) as file:
            return file["stage"][()]

    @cached_property
    def photons(self) -> np.ndarray:
        """Photons of every pixel, (S, M, 65536): the simulation made once more, looking over its shoulder."""
        schedule, model, maker = build(self.parameters)
        out = np.zeros((*schedule.present.shape, 65536))
        drawn = {}
        words = model.words

        def listen(rng, module, cell, pixels, energy_kev, *rest):
            drawn["pixels"], drawn["photons"] = pixels, energy_kev / self.parameters.photon_energy_kev
            return words(rng, module, cell, pixels, energy_kev, *rest)

        model.words = listen
        scratch = np.empty((2, 65536), "u2")
        for shot, row in zip(*np.nonzero(schedule.present), strict=True):
            maker.make(int(shot), int(row), scratch)
            out[shot, row, drawn["pixels"]] = drawn["photons"]
        return out


def write_without_constants(folder: Path, p: SpiParameters) -> tuple[Path, SpiTruth]:
    """Simulate a run for which there are constants already: writing them takes longer than all the rest."""
    raw = folder / "raw" / "r0001"
    raw.mkdir(parents=True)
    schedule, _, maker = build(p)
    truth = SpiTruth.of(p, schedule, maker)
    with TruthFile(folder / "truth.h5", p, truth) as file:
        write_run(raw, p, schedule, maker, file.collect)
    return raw, truth


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """``simulated(name)``: a run of `ODD` or `OTHER`, made when first asked for."""
    made: dict[str, Simulated] = {}
    constants: dict[tuple, Path | Constants] = {}

    def get(name: str) -> Simulated:
        if name in made:
            return made[name]
        p = SpiParameters(**{**SMALL, **(ODD | OTHER)[name]})
        folder = tmp_path_factory.mktemp(name)
        key = (p.modules, p.memory_cells, p.gain_mode, p.constants_cells, p.constants_without_cells)
        if name == "whole":
            constants[key] = constants_in_memory(p, build(p)[1])
        if key in constants:
            raw, truth = write_without_constants(folder, p)
        else:
            run = simulate_spi(folder, p)
            raw, truth = run.raw, run.truth
            # As `shotsieve constants convert` does; the uncompressed form is read faster.
            constants[key] = Constants.open(run.constants).save(folder / "constants.h5", compression=None)
        made[name] = Simulated(name, p, raw, constants[key], truth, folder / "truth.h5")
        return made[name]

    return get


@pytest.fixture(scope="session")
def reduced(simulated, tmp_path_factory):
    """``reduced(name, backend)``: a run reduced with the usual recipe, or its own of `RECIPES`."""
    made = {}

    def get(name: str, backend: str = "cpu") -> shotsieve.Result:
        if (name, backend) not in made:
            sim = simulated(name)
            given = recipe(**RECIPES.get(name, {}))
            out = tmp_path_factory.mktemp(f"red-{name}-{backend}") / "r0001"
            options = {"constants": sim.constants, "backend": backend}
            made[name, backend] = shotsieve.reduce(sim.raw, given, out, **options)
        return made[name, backend]

    return get


@pytest.fixture(scope="session")
def embedded(tmp_path_factory):
    """A run with Bragg spots for the embedded engine."""
    return Run(tmp_path_factory.mktemp("embedded"), n_trains=4)


@pytest.fixture(scope="session")
def embedded_source(embedded):
    return open_run(embedded.raw)


def recipe(**sections):
    """Return the usual recipe with some sections replaced; None removes one."""
    return {key: value for key, value in {**copy.deepcopy(RECIPE), **sections}.items() if value is not None}


def digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of everything in an output that does not depend on the machine."""
    side = [folder / "shotsieve" / name for name in ("table.h5", "recipe.toml", "accounts.json")]
    files = [*sorted(folder.glob("*.h5")), *side]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="session")
def make_recipe():
    return recipe


@pytest.fixture(scope="session")
def digest():
    return digests


@pytest.fixture
def places(tmp_path):
    """An empty folder for outputs; whatever fails, nothing but what the test names may stand in it."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


def linked(source: Path, target: Path, leave_out: str = "") -> Path:
    """Return a copy of a run made of links, without the files whose name holds `leave_out`."""
    target.mkdir(parents=True)
    for file in source.iterdir():
        if not leave_out or leave_out not in file.name:
            (target / file.name).symlink_to(file)
    return target


@pytest.fixture(scope="session")
def link_run():
    return linked


@pytest.fixture(scope="session")
def odd_things():
    return ODD


def read_output(result, module: int) -> dict[str, np.ndarray]:
    """Return the datasets of one module of a reduced run, by HDF5 alone."""
    [path] = [file for file in result.files if f"AGIPD{module:02d}" in file.name]
    with h5py.File(path) as file:
        [detector] = file["INSTRUMENT"]
        [kind] = file[f"INSTRUMENT/{detector}"]
        [source] = file[f"INSTRUMENT/{detector}/{kind}"]
        group = file[f"INSTRUMENT/{detector}/{kind}/{source}"]
        return {f"{part}.{key}": data[()] for part in group for key, data in group[part].items()}


@pytest.fixture(scope="session")
def read_module():
    return read_output
