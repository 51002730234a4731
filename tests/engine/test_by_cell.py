"""Passes over the pixels of a block take its shots by memory cell: the same results, in the same order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import shotsieve
from shotsieve.engine import pixels
from shotsieve.engine.stages import in_order
from shotsieve.simulate.geometry import write_geometry

ROI = {
    "box": {"kind": "rectangle", "module": 3, "ss_start": 10, "ss_stop": 200, "fs_start": 5, "fs_stop": 100},
    "line": {
        "kind": "projection",
        "module": 4,
        "axis": "fs",
        "ss_start": 9,
        "ss_stop": 99,
        "fs_start": 0,
        "fs_stop": 128,
    },
}
MODULES = 16  # of the geometry; two of them have data
MEASURES = {
    "lit": {"threshold": "0.7 photon"},
    "peaks": {"threshold": "3 photon", "min_snr": 4.0},
    "azint": {"npt": 40, "error_model": "poisson", "average": "cell"},
    "roi": ROI,
}


@pytest.fixture(scope="module")
def reduce(simulated, tmp_path_factory):
    sim, folder = simulated("usual"), tmp_path_factory.mktemp("by_cell")
    p = sim.parameters
    geometry = write_geometry(folder / "agipd.geom", p.distance_m, p.photon_energy_kev)
    detector = [{"name": "AGIPD1M", "geometry": str(geometry)}]

    def run(name, backend, shots, monkeypatch, write="corrected", **measures):
        monkeypatch.setattr(pixels, "PASS_BYTES", shots * MODULES * 2 * 2 * 65536)
        given = {"detector": detector, "calibrate": {}, "measure": {**MEASURES, **measures}}
        if write is not None:
            given["write"] = {"content": write}
        options = {"constants": sim.constants, "backend": backend, "overwrite": True}
        return shotsieve.reduce(sim.raw, given, folder / name, **options)

    return run


@pytest.fixture
def groups(monkeypatch):
    """How many times a pass goes through constants: a list that grows."""
    listed, found = pixels.list_frames, []

    def listen(*args):
        frames, groups = listed(*args)
        found.append(int((groups[:, 2] >= 0).sum()))
        return frames, groups

    monkeypatch.setattr(pixels, "list_frames", listen)
    return found


def contents(result):
    """Return all that was written but what tells of the machine."""
    return {path.name: path.read_bytes() for path in result.out.rglob("*.h5")}


def test_files_are_the_same(reduce, groups, backend_name, monkeypatch):
    whole = contents(reduce("whole", backend_name, 1000, monkeypatch))
    assert {"table.h5", "profiles.h5", "projections.h5", "peaks.h5"} <= set(whole)
    groups.clear()
    pieces = contents(reduce("pieces", backend_name, 5, monkeypatch))
    assert len(groups) > 3
    assert pieces == whole


def test_constants_are_read_once_for_the_trains_of_a_block(reduce, groups, monkeypatch):
    reduce("by_cell", "cpu", 3, monkeypatch, write=None)
    by_cell = sum(groups)
    groups.clear()
    # What adds in the order of trains gets them so.
    reduce("in_order", "cpu", 3, monkeypatch, write=None, average={"by": "cell"})
    assert by_cell * 3 == sum(groups)


@dataclass
class Found:
    """What a stage found: values of shots, and what is the same of all."""

    values: np.ndarray
    axis: np.ndarray
    errors: np.ndarray | None = None


def test_what_was_found_is_put_in_order():
    axis = np.arange(2)
    found = [
        (np.array([4, 9]), Found(np.array([40, 90]), axis)),
        (np.array([5]), Found(np.array([50]), axis)),
    ]
    shots, joined = in_order(found, ["values", "errors"])
    assert shots.tolist() == [4, 5, 9]
    assert joined.values.tolist() == [40, 50, 90]
    assert joined.axis is axis
    assert joined.errors is None
