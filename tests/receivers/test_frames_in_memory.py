"""Frames whose gain codes are in a dataset of their own, put together as the documentation says."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.sources.run import open_run

from .receiver_runs import frames_of, recipe_of

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "calibration.md"
MODULES = (1, 2)


def examples() -> list[str]:
    """Return the code of the section: planes, cells of JUNGFRAU, cells of Gotthard-II."""
    section = DOCUMENT.read_text().split("### Words and gain codes apart\n")[1].split("\n### ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def datasets(folder: Path) -> dict[str, list[np.ndarray]]:
    """Return the datasets of the modules by HDF5 alone, in the order of their numbers."""
    found: dict[str, list[np.ndarray]] = {}
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            for source in file["METADATA/dataSources/dataSourceId"].asstr()[:]:
                if source.endswith("daqOutput/data"):
                    for name, data in file[source].items():
                        found.setdefault(name, []).append(data[()])
    return found


@pytest.mark.parametrize("name", ["JUNGFRAU", "GOTTHARD2"])
def test_the_example_gives_what_a_reduction_writes(simulated, tmp_path, backend_name, name):
    run = simulated(name, n_trains=2, modules=MODULES)
    read = datasets(run.raw)
    told = {"adc": read["adc"], "gain": read["gain"]}
    planes, memory_cell, by_turns = examples()
    exec(planes, told)
    if "memoryCell" in read:
        told["memory_cell"] = read["memoryCell"][1]
        assert told["memory_cell"][0, 0] == 15
    exec(memory_cell if "memoryCell" in read else by_turns, told)
    raw, cells = told["raw"], told["cell_ids"]
    # To the letter what the reader makes of the files.
    source = open_run(run.raw)
    expected = np.empty((len(source.shots), len(MODULES), 2, *source.detector.frame_shape), "u2")
    source.read(0, len(expected), expected)
    assert raw.dtype == np.uint16
    np.testing.assert_array_equal(raw, expected)
    np.testing.assert_array_equal(cells, source.shots.cell_id)

    found = shotsieve.calibrate_frames(
        raw, cells, run.constants, MODULES, ("data", "mask", "gain"), detector=name, backend=backend_name
    )
    recipe = recipe_of(run, keep={"rule": "lit_pixels >= 0"})
    result = shotsieve.reduce(run.raw, recipe, tmp_path / "out", backend="cpu")
    assert found.known.all()
    for plane in ("data", "mask", "gain"):
        written = frames_of(result.out, plane)
        np.testing.assert_array_equal(getattr(found, plane), written.reshape(getattr(found, plane).shape))


def test_one_module_needs_no_axis_of_modules(simulated):
    run = simulated("GOTTHARD2", n_trains=2, modules=MODULES)
    read = datasets(run.raw)
    planes, _, by_turns = examples()
    one = {"adc": read["adc"][1:], "gain": read["gain"][1:]}
    exec(planes + by_turns, one)
    assert one["raw"].shape == (len(one["cell_ids"]), 1, 2, 1280)
    calibrate = shotsieve.Calibrator(run.constants, MODULES[1:], detector="GOTTHARD2", backend="cpu")
    found = [calibrate(raw, one["cell_ids"]).data for raw in (one["raw"], one["raw"][:, 0])]
    np.testing.assert_array_equal(*found)
