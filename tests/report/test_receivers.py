"""Report and viewer of detectors whose values have another name in the files, and of dropped cells."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.report.reduced import Reduced
from shotsieve.simulate.receiver import ReceiverParameters, simulate_receiver
from shotsieve.table import FATES
from shotsieve.view.shots import KeptShots

PARAMETERS = {
    "EPIX100": {"n_trains": 2, "hit_rate": 1.0},
    "GOTTHARD2": {"n_trains": 2, "n_frames": 6, "modules": (1, 2), "hit_rate": 0.5},
}


@pytest.mark.parametrize(("name", "drops"), [("EPIX100", False), ("GOTTHARD2", True)])
def test_frames_are_shown_whatever_the_values_are_called(tmp_path, name, drops):
    run = simulate_receiver(tmp_path / "sim", ReceiverParameters(name, **PARAMETERS[name]))
    recipe = {
        "calibrate": {"constants": str(run.constants)},
        "measure": {"lit": {"threshold": "0.7 photon"}},
        "keep": {"rule": "lit_pixels > 120"},
        "write": {"content": "corrected", "drop_cells": drops},
    }
    result = shotsieve.reduce(run.raw, recipe, tmp_path / "out", backend="cpu")
    kept = np.flatnonzero(result.table.fate == FATES.index("kept"))
    assert not drops or 0 < len(kept) < len(result.table)
    shown, opened = KeptShots(result.out), Reduced.open(result.out)
    assert len(shown) == len(kept)
    found = opened.frames.found
    with h5py.File(result.files[0]) as file:
        values = file[f"{found.spans[0].group}/{found.detector.planes[0]}"][()]
    values = values.reshape(-1, found.detector.pixels)
    rows = opened.frames.shots_of(result.table)
    for shot, row in enumerate(kept):
        picture = np.frombuffer(shown.picture(shot), "<f4").reshape(found.modules, -1)[0]
        np.testing.assert_array_equal(picture, values[rows == row][0])
    if name == "EPIX100":
        assert shotsieve.write_report(result.out).is_file()
