"""A small simulated run, its reductions in photons, and what the facility's tools make of them."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import shotsieve
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.frames import FrameMaker
from shotsieve.simulate.memory import build
from shotsieve.simulate.run import write_run

USUAL = {
    "n_trains": 8,
    "n_cells": 8,
    "modules": (3, 4),
    "hit_rate": 0.2,
    "photons_per_hit": (3e5, 1e6),
    "radius_nm": 15.0,
    "background": 0.002,
    "seed": 5,
    "litfrm": True,
    "dark_cells": (6,),
}
ODD = {
    **USUAL,
    "modules": (3, 4, 8),
    "missing_modules": (8,),
    "missed_trains": ((4, 1),),
    "empty_trains": (0,),
    "suspect_trains": (5,),
    "split_at": (4,),
    "sequence_overlap": 1,
}
# EXtra-data opens no run in which a train stands in two files.
GAPS = {**ODD, "sequence_overlap": 0}
RECIPE = {
    "calibrate": {"unit": "photon", "round_photons": True},
    "measure": {"lit": {"threshold": "0.7 photon"}},
    "derive": {"limit": {"kind": "adaptive", "of": "lit_fraction[3]", "k": 4.0, "window": 4}},
    "keep": {"rule": "lit_fraction[3] > limit", "misses": 0.2, "seed": 1},
    "redu": {"modules": "3"},
    "write": {"content": "corrected"},
}


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """``simulated("usual")``, ``"odd"`` or ``"gaps"``: folder and constants."""
    made = {}

    def get(name="usual"):
        if name not in made:
            p = SpiParameters(**{"usual": USUAL, "odd": ODD, "gaps": GAPS}[name])
            raw = tmp_path_factory.mktemp(name) / "raw" / "r0001"
            raw.mkdir(parents=True)
            schedule, model, _ = build(p)
            write_run(raw, p, schedule, FrameMaker(p, schedule, model), lambda *_: None)
            made[name] = SimpleNamespace(
                raw=raw, constants=constants_in_memory(p, model), parameters=p, schedule=schedule
            )
        return made[name]

    return get


@pytest.fixture(scope="session")
def make_recipe():
    """The usual recipe with some sections replaced; None removes one."""

    def make(**sections):
        changed = {**copy.deepcopy(RECIPE), **sections}
        return {key: value for key, value in changed.items() if value is not None}

    return make


@pytest.fixture
def reduce(simulated, make_recipe, tmp_path):
    """Reduce one of the runs."""

    def run(name="usual", out="red", raw=None, table=None, **sections):
        sim = simulated(name)
        options = {"constants": sim.constants, "backend": "cpu", "table": table}
        return shotsieve.reduce(raw or sim.raw, make_recipe(**sections), tmp_path / out, **options)

    return run


@pytest.fixture(scope="session")
def reduced(simulated, make_recipe, tmp_path_factory):
    """Reductions with the usual recipe, each made once."""
    made = {}

    def get(name="usual"):
        if name not in made:
            sim = simulated(name)
            out = tmp_path_factory.mktemp(f"red-{name}") / "r0001"
            made[name] = shotsieve.reduce(sim.raw, make_recipe(), out, constants=sim.constants, backend="cpu")
        return made[name]

    return get


@pytest.fixture(scope="session")
def whole(simulated, make_recipe, tmp_path_factory):
    """The usual run with every shot kept, and EXtra-redu's own counts and hits of those frames, as files."""
    extra_data = pytest.importorskip("extra_data")
    fileutils, spi = pytest.importorskip("extra_redu.fileutils"), pytest.importorskip("extra_redu.spi")
    sim, folder = simulated(), tmp_path_factory.mktemp("whole")
    recipe = make_recipe(derive=None, keep={"rule": "lit_fraction[3] > 0.05", "misses": 1.0})
    result = shotsieve.reduce(sim.raw, recipe, folder / "red", constants=sim.constants, backend="cpu")
    data = extra_data.RunDirectory(result.out)
    pattern = r"SPB_DET_AGIPD1M-1/CORR/(?P<key>\d+)CH0:output"
    source = fileutils.StackedPulseSource.from_datacollection(data, pattern, "image")
    counter = spi.LitPixelCounter(source, threshold=0.7)
    counter(source)
    finder = spi.SpiHitfinder([0], mode="adaptive", snr=4.0, min_scores=20, miss_fraction_abs=0.1)
    finder.find_hits(counter)
    (folder / "theirs").mkdir()
    made = {
        f"SPB_DET_AGIPD1M-1/REDU/{n}": d for n, d in (("LITPX_COUNTER", counter), ("SPI_HITFINDER", finder))
    }
    # Without the trains at both ends: nothing is known of their shots.
    trains = finder.train_ids[1:-1]
    fileutils.exdf_save(str(folder / "theirs"), "REDU00", 1, made, trains)
    return SimpleNamespace(
        result=result, counter=counter, finder=finder, theirs=folder / "theirs", trains=trains
    )
