"""What the tests of the embedded engine share: a recipe with everything, and blocks of a run."""

from __future__ import annotations

import numpy as np
from shotsieve import Block, Engine

SECTIONS = {
    "calibrate": {},
    "measure": {
        "lit": {"threshold": "0.7 photon"},
        "peaks": {"threshold": "4.3 photon", "min_snr": 5.0, "max_pix_count": 30},
        "azint": {"npt": 40},
        "roi": {
            "spot": {
                "kind": "rectangle",
                "module": 3,
                "ss_start": 5,
                "ss_stop": 90,
                "fs_start": 0,
                "fs_stop": 64,
            },
            "line": {
                "kind": "projection",
                "module": 4,
                "ss_start": 0,
                "ss_stop": 40,
                "fs_start": 3,
                "fs_stop": 60,
                "axis": "ss",
            },
        },
        "average": {},
    },
    "keep": {"rule": "n_peaks >= 20", "misses": 0.3, "seed": 4},
    "write": {"content": "corrected"},
}


def make(spots, source, backend="cpu", recipe=None, **options):
    options = {
        "constants": spots.constants,
        "mode": source.mode,
        "block_shots": 5,
        "columns": tuple(source.columns()),
    } | options
    return Engine(recipe or spots.recipe(**SECTIONS), backend=backend, **options)


def blocks(source, most, shots=None):
    """Return the run, or its first so many shots, as blocks of arrays."""
    made, shots = [], len(source.shots) if shots is None else shots
    for start in range(0, shots, most):
        rows = np.arange(start, min(start + most, shots))
        raw = np.zeros((len(rows), len(source.modules), 2, 512, 128), "u2")
        source.read(int(rows[0]), int(rows[-1]) + 1, raw)
        every, columns = source.shots, {name: values[rows] for name, values in source.columns().items()}
        keys = (every.train_id[rows], every.pulse_id[rows], every.cell_id[rows], every.present[rows])
        made.append(Block(raw, *keys, columns))
    return made
