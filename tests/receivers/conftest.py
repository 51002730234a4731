"""Small simulated runs of the receivers' detectors, each made once."""

from __future__ import annotations

import pytest
from shotsieve.simulate.receiver import ReceiverParameters, simulate_receiver

RUNS = {
    "GOTTHARD2": {"n_trains": 4, "n_frames": 6, "modules": (1, 2), "hit_rate": 0.15},
    "EPIX100": {"n_trains": 3, "common_mode": 8.0, "hit_rate": 0.7, "peak_photons": (3.0, 60.0)},
    "JUNGFRAU": {
        "n_trains": 1,
        "n_frames": 3,
        "bad_fraction": 0.01,
        "hit_rate": 0.7,
        "peak_photons": (2e3, 3e4),
    },
}


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    made = {}

    def make(name, **changes):
        key = (name, repr(sorted(changes.items())))
        if key not in made:
            out = tmp_path_factory.mktemp(name)
            made[key] = simulate_receiver(out, ReceiverParameters(name, **{**RUNS[name], **changes}))
        return made[key]

    return make


@pytest.fixture(params=list(RUNS))
def run(request, simulated):
    return simulated(request.param)
