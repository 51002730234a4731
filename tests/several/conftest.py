"""Runs with several detectors, and the usual recipe for them."""

from __future__ import annotations

import copy
import dataclasses
import hashlib

import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.constants import Constants
from shotsieve.engine.against import check_against
from shotsieve.simulate import SpiParameters
from shotsieve.simulate.constants import constants_in_memory
from shotsieve.simulate.memory import build
from shotsieve.sources.base import RunMeta
from shotsieve.table import FATES
from shotsieve.write.exdf_file import ExdfFile

from ..engine.conftest import SMALL, link_run, places, simulated, write_without_constants

__all__ = ["link_run", "places", "simulated"]

JF = "SPB_IRDA_JF4M"
LIT = 10 * 1024  # pixels of a module of the bright shot
RECIPE = {
    "detector": [
        {"name": "AGIPD1M"},
        {
            "label": "jf",
            "name": "JUNGFRAU",
            "calibrate": {"gain_mode": "adaptive"},
            "measure": {"lit": {"threshold": "40 keV"}},
        },
    ],
    "calibrate": {},
    "measure": {"lit": {"threshold": "0.7 photon"}},
    "keep": {"rule": "jf_lit_pixels > 1000"},
    "write": {"content": "corrected"},
}


def jungfrau(folder, module, trains, bright, name=JF):
    """Write the file of a module: two cells a train, the second of the bright train lit."""
    path = folder / f"RAW-R0001-JNGFR{module:02d}-S00000.h5"
    trains = np.array(trains, "u8")
    with ExdfFile(path, train_ids=trains, timestamps=trains, meta=RunMeta(run=1)) as file:
        data = file.instrument(f"{name}/DET/JNGFR{module:02d}:daqOutput", "data", np.ones(len(trains), int))
        adc = np.full((len(trains), 2, 512, 1024), 100, "u2")
        adc[trains == bright, 1, :10] += 5000
        data.create_dataset("adc", data=adc, chunks=(1, 1, 512, 1024))
        data.create_dataset("gain", data=np.zeros(adc.shape, "u1"), chunks=(1, 1, 512, 1024))
        data["memoryCell"], data["trainId"] = np.tile(np.array([15, 0], "u1"), (len(trains), 1)), trains


@pytest.fixture(scope="session")
def jf_constants():
    offset = np.full((3, 16, 512, 1024), 100, "f4")
    arrays = {"offset": offset, "adu_per_kev": np.ones_like(offset)}
    return Constants.from_arrays("JUNGFRAU", {name: dict.fromkeys((1, 2), a) for name, a in arrays.items()})


@dataclasses.dataclass
class Run:
    """AGIPD in three trains of four shots; JUNGFRAU in the first two and in one more, the first one lit."""

    raw: object
    constants: dict
    trains: list

    def reduce(self, out, recipe=None, **options):
        options = {"constants": self.constants, "backend": "cpu", **options}
        return shotsieve.reduce(self.raw, recipe or RECIPE, out, **options)

    def check(self, result):
        report = check(result.out, result.digest)
        assert report.ok, report.summary()
        check_against(report, self.raw, constants=self.constants, backend="cpu")
        return report


@pytest.fixture(scope="session")
def run(simulated, link_run, tmp_path_factory, jf_constants):
    sim = simulated("usual")
    raw = link_run(sim.raw, tmp_path_factory.mktemp("several") / "r0001")
    trains = np.unique(sim.truth.train_id).tolist()
    for module in (1, 2):
        jungfrau(raw, module, [*trains[:2], trains[2] + 1], trains[0])
    return Run(raw, {"": sim.constants, "jf": jf_constants}, trains)


def changed(jf=None, **sections):
    """Return the recipe with other sections, and other keys of the JUNGFRAU."""
    recipe = copy.deepcopy({**RECIPE, **sections})
    recipe["detector"][1] |= jf or {}
    return recipe


def kept_trains(table):
    return np.unique(table.train_id[table.fate == FATES.index("kept")]).tolist()


def bytes_of(out):
    """Checksums of all that does not depend on the machine."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != "machine.json"
    }


@pytest.fixture(scope="session")
def two_agipds(simulated, link_run, tmp_path_factory):
    """A second AGIPD with other modules, which missed the last train, beside the first one."""
    sim = simulated("usual")
    folder = tmp_path_factory.mktemp("two")
    raw = link_run(sim.raw, folder / "r0001")
    p = SpiParameters(**{**SMALL, "modules": (5, 6), "detector_name": "SPB_DET_AGIPD1M-2", "n_trains": 2})
    second, _ = write_without_constants(folder / "second", p)
    for path in second.glob("*AGIPD*"):
        (raw / path.name.replace("CTRL00", "CTRL01")).symlink_to(path)
    return raw, {"": sim.constants, "far": constants_in_memory(p, build(p)[1])}
