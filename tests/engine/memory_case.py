"""A program that reduces a run of one module and says what memory it took: beside idle, at most."""

from __future__ import annotations

import json
import sys
import tempfile

import numpy as np
import shotsieve
import shotsieve.engine.pixels
from shotsieve import backend, detectors
from shotsieve.constants import Constants
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build, spi_source
from shotsieve.sources.memory import MemorySource

MODULE, SPOTS = 3, 20


def frames_of(constants: Constants) -> np.ndarray:
    """Return words of high gain for each cell: no signal but some spots that are peaks, (C, 2, 512, 128)."""
    offset = constants.load("offset", MODULE)[0]
    words = np.empty((len(offset), 2, *offset.shape[1:]), "u2")
    words[:, 0], words[:, 1] = np.nan_to_num(offset), 5000
    for spot in range(SPOTS):
        ss, fs = 64 * (spot % 8) + 30, 20 + 40 * (spot // 8)
        words[:, 0, ss : ss + 2, fs : fs + 2] += 1500
    return words


def status(key: str) -> int:
    """Return what the system says of this process, in bytes."""
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(key))


def main(name: str, trains: int, cells: int, measure: dict, geometry: str | None, options: dict) -> None:
    """Reduce a run whose trains are all the same, and print bytes: idle, and the most that was used."""
    # As it is beside the blocks of 256 MB that are the default.
    shotsieve.engine.pixels.PASS_BYTES = options["block_bytes"] // 4
    p = SpiParameters(n_trains=1, n_cells=cells, modules=(MODULE,), seed=1)
    constants = constants_in_memory(p, build(p)[1])
    simulated, _ = spi_source(p, lazy=True)  # for its operating mode
    words = frames_of(constants)

    def fill(index: np.ndarray, out: np.ndarray) -> None:
        for at, shot in enumerate(index):
            out[at] = words[shot % cells]

    train = np.repeat(np.arange(10, 10 + trains), cells)
    pulse = np.tile(np.arange(cells), trains)
    detector = detectors.load("AGIPD1M")
    source = MemorySource(detector, fill, train, pulse, pulse, modules=(MODULE,), mode=simulated.mode)
    recipe = {
        "calibrate": {},
        "measure": {"lit": {"threshold": "0.7 photon"}, **measure},
        "keep": {"rule": "cell_id < 1"},
        "write": {"content": "corrected"},
    }
    if geometry is not None:
        recipe["detector"] = [{"name": "AGIPD1M", "geometry": geometry}]
    backend.get(name)
    with tempfile.TemporaryDirectory() as out:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # forget the highest so far
        idle = status("VmRSS")
        result = shotsieve.reduce(source, recipe, out + "/r", constants=constants, backend=name, **options)
        peak = status("VmHWM")
        assert result.accounts.kept == trains
        if "peaks" in measure:
            low, _ = result.table.bounds(f"n_peaks[{MODULE}]")
            assert (low > SPOTS // 2).all()  # some are on bad pixels
        print(json.dumps([idle, peak]))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
