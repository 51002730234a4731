"""A geometry of another detector is refused before anything is read."""

from __future__ import annotations

import pytest
import shotsieve
from shotsieve.constants import Constants
from shotsieve.errors import BadInput
from shotsieve.simulate import SpiParameters, simulate_spi
from shotsieve.simulate.geometry import write_geometry

PANEL = """clen = 0.2
photon_energy = 9300
adu_per_eV = 1
res = 5000
dim0 = %
dim1 = {module}
dim2 = ss
dim3 = fs
data = /data
p{module}/dim1 = {module}
p{module}/min_ss = 0
p{module}/max_ss = {ss}
p{module}/min_fs = 0
p{module}/max_fs = {fs}
p{module}/corner_x = 10
p{module}/corner_y = 20
p{module}/fs = +1.0x
p{module}/ss = +1.0y
"""


def indexed(path, modules, ss, fs):
    """A file whose panels are addressed by their module."""
    panels = [PANEL.format(module=m, ss=ss - 1, fs=fs - 1) for m in range(modules)]
    head = "\n".join(
        line for line in panels[0].splitlines() if "/" not in line.split("=")[0] and "dim1" not in line
    )
    rest = "\n".join(line for panel in panels for line in panel.splitlines() if "/" in line.split("=")[0])
    path.write_text(f"{head}\n{rest}\n")
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two modules of AGIPD-500K, which has eight."""
    folder = tmp_path_factory.mktemp("small")
    return simulate_spi(folder, SpiParameters(detector="AGIPD500K", n_trains=1, n_cells=2, modules=(3, 7)))


def reduce(run, geometry, out):
    recipe = {
        "detector": [{"name": "AGIPD500K", "geometry": str(geometry)}],
        "calibrate": {},
        "measure": {"azint": {"npt": 20}},
    }
    return shotsieve.reduce(run.raw, recipe, out, constants=Constants.open(run.constants), backend="cpu")


def test_more_modules_than_the_detector_has(small, tmp_path):
    geometry = write_geometry(tmp_path / "agipd1m.geom", 0.2, 9.3)
    with pytest.raises(
        BadInput, match="describes 16 modules, and AGIPD500K has 8: give the geometry of this"
    ):
        reduce(small, geometry, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fewer_modules_than_the_run_has(small, tmp_path):
    geometry = indexed(tmp_path / "four.geom", 4, 512, 128)
    with pytest.raises(BadInput, match="describes 4 modules, and the run has module 7 of AGIPD500K"):
        reduce(small, geometry, tmp_path / "out")


def test_modules_of_fewer_pixels(small, tmp_path):
    geometry = indexed(tmp_path / "lpd.geom", 8, 256, 64)
    with pytest.raises(BadInput, match=r"describes 25 % of the 65536 pixels .* \(512, 128\) in AGIPD500K"):
        reduce(small, geometry, tmp_path / "out")


def test_that_of_the_same_detector(small, tmp_path):
    assert len(reduce(small, indexed(tmp_path / "own.geom", 8, 512, 128), tmp_path / "out").table) == 2
