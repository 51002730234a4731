"""The runs and recipes that are reduced with faults: one pass, two, everything at once, and two detectors."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
from shotsieve.constants import Constants
from shotsieve.simulate import SpiParameters, simulate_spi
from shotsieve.simulate.spi import SimulatedRun
from shotsieve.sources.base import RunMeta
from shotsieve.write.exdf_file import ExdfFile

# Two parts of a train each; one module, since more of them only do the same again.
SIMULATED = SpiParameters(
    n_trains=2, n_cells=2, modules=(3,), hit_rate=0.5, photons_per_hit=(1e6, 1e7), radius_nm=15.0,
    background=0.002, pump="even_trains", seed=12,
)  # fmt: skip

RECIPE = """
[[detector]]
name = "AGIPD1M"
geometry = "{geometry}"
[calibrate]
[measure.lit]
threshold = "0.7 photon"
[measure.azint]
npt = 50
average = "cell"
[keep]
rule = "lit_pixels[3] > 1000"
misses = 0.2
[write]
content = "corrected"
trains_per_file = 1
"""
LATE = (
    RECIPE.replace("lit_pixels[3] > 1000", "lit_pixels[3] > limit")
    + """
[derive.limit]
kind = "adaptive"
of = "lit_pixels[3]"
k = 3
"""
)
# All that can be written of one detector.
EVERYTHING = """
[[detector]]
name = "AGIPD1M"
geometry = "{geometry}"
[calibrate]
[measure.lit]
threshold = "0.7 photon"
[measure.peaks]
threshold = "4.3 photon"
max_num_peaks = 16
[measure.azint]
npt = 10
average = "cell"
[measure.roi.spot]
kind = "rectangle"
module = 3
ss_start = 5
ss_stop = 90
fs_start = 0
fs_stop = 64
[measure.roi.line]
kind = "projection"
module = 3
ss_start = 0
ss_stop = 20
fs_start = 3
fs_stop = 60
axis = "ss"
[measure.average]
[measure.pump_probe]
[keep]
rule = "lit_pixels[3] > 1000"
misses = 0.2
[redu]
[ledger]
checksum_inputs = true
[write]
content = "corrected"
compression = "gzip"
cxi = true
nexus = true
overview = true
others = true
legacy_names = true
trains_per_file = 1
"""
SEVERAL = """
[[detector]]
name = "AGIPD1M"
[calibrate]
[measure.lit]
threshold = "0.7 photon"
[keep]
rule = "lit_pixels > 1000 or jf_lit_pixels > 1000"
[redu]
[write]
content = "corrected"
overview = true
others = true
trains_per_file = 1

[[detector]]
label = "jf"
name = "JUNGFRAU"
[detector.calibrate]
constants = "{jungfrau}"
gain_mode = "adaptive"
[detector.measure.lit]
threshold = "40 keV"
[detector.write]
content = "raw"
overview = true
trains_per_file = 1
"""
RECIPES = {"one pass": RECIPE, "two passes": LATE, "everything": EVERYTHING, "two detectors": SEVERAL}


@dataclasses.dataclass(frozen=True)
class Case:
    """A run, and what its recipes name."""

    sim: SimulatedRun
    geometry: Path
    jungfrau: Path

    def recipe(self, text: str) -> str:
        """Fill the names of files into a recipe."""
        return text.format(geometry=self.geometry, jungfrau=self.jungfrau)


def simulate(folder: Path) -> Case:
    """Write a run of an AGIPD with optical laser, and beside it a JUNGFRAU module; and constants of both."""
    sim = simulate_spi(folder, SIMULATED)
    trains = np.unique(sim.truth.train_id)
    _jungfrau(sim.raw / "RAW-R0001-JNGFR01-S00000.h5", trains)
    return Case(sim, _coarse(sim.geometry), _jungfrau_constants(folder / "jungfrau.h5"))


def _coarse(geometry: Path) -> Path:
    """Make a panel of each module: the NeXus master has many objects for each, which are written alike."""
    lines = []
    for line in geometry.read_text().splitlines():
        if re.match(r"p\d+a[1-7]/|group_|rigid_group", line):
            continue
        if panel := re.match(r"p(\d+)a0/max_ss", line):
            line = f"{panel.group()} = {512 * int(panel.group(1)) + 511}"
        lines.append(line)
    path = geometry.with_name("coarse.geom")
    path.write_text("\n".join(lines) + "\n")
    return path


def _jungfrau(path: Path, trains: np.ndarray) -> None:
    """Write one cell in each train, lit in the first."""
    frames = np.full((len(trains), 1, 512, 1024), 100, "u2")
    frames[0, 0, :10] += 5000
    with ExdfFile(path, train_ids=trains, timestamps=trains, meta=RunMeta(run=1)) as file:
        name = "SPB_IRDA_JF4M/DET/JNGFR01:daqOutput"
        data = file.instrument(name, "data", np.ones(len(trains), int))
        data.create_dataset("adc", data=frames, chunks=(1, 1, 512, 1024))
        data.create_dataset("gain", data=np.zeros(frames.shape, "u1"), chunks=(1, 1, 512, 1024))
        data["memoryCell"], data["trainId"] = np.full((len(trains), 1), 15, "u1"), trains


def _jungfrau_constants(path: Path) -> Path:
    offset = np.full((3, 16, 512, 1024), 100, "f4")
    arrays = {"offset": {1: offset}, "adu_per_kev": {1: np.ones_like(offset)}}
    Constants.from_arrays("JUNGFRAU", arrays).save(path, compression=None)
    return path
