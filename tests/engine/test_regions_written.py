"""[write] regions: pixels that lie in none of them are masked in what is written, and in nothing else."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.constants.bad_pixels import BadPixels
from shotsieve.engine.against import check_against
from shotsieve.errors import BadInput
from shotsieve.peak_list import PeakList

from .spots import MODULES, RULE, Run

USER2 = np.uint32(BadPixels.USER2)
BOX = {"kind": "rectangle", "module": 3, "ss_start": 10, "ss_stop": 60, "fs_start": 5, "fs_stop": 70}
LINE = {"kind": "projection", "axis": "fs", "module": 3, "ss_start": 50, "ss_stop": 90, "fs_start": 0} | {
    "fs_stop": 128
}
OTHER = BOX | {"module": 4}
INSIDE = np.zeros((512, 128), bool)
INSIDE[10:60, 5:70] = INSIDE[50:90] = True
CONTENTS = {
    "corrected": {},
    "rounded": {"content": "rounded", "rounding_absolute": "0.05 keV"},
    "photons": {"content": "photons"},
    "plain": {"compression": "none"},
}


@pytest.fixture
def reduce(simulated, make_recipe, tmp_path):
    """Reduce the usual run with a section [write] and the three regions."""

    def reduce(write, backend="cpu", **sections):
        sim, out = simulated("usual"), tmp_path / f"r{len(list(tmp_path.iterdir()))}"
        recipe = make_recipe(write=write, **sections)
        recipe["measure"] |= {"roi": {"box": BOX, "line": LINE, "other": OTHER}}
        return shotsieve.reduce(sim.raw, recipe, out, constants=sim.constants, backend=backend)

    return reduce


def data_bytes(result):
    return sum(path.stat().st_size for path in result.out.glob("CORR-*AGIPD03*.h5"))


@pytest.mark.parametrize("content", CONTENTS)
def test_only_pixels_of_the_regions_are_written(reduce, read_module, simulated, content):
    write = CONTENTS[content]
    whole, mine = reduce(write), reduce(write | {"regions": "box, line"})
    told, shown = read_module(whole, 3), read_module(mine, 3)
    data, every = shown["image.data"], told["image.data"]
    assert data.dtype == every.dtype
    assert data.shape == every.shape
    assert len(data)
    np.testing.assert_array_equal(data[:, INSIDE], every[:, INSIDE])
    np.testing.assert_array_equal(shown["image.gain"][:, INSIDE], told["image.gain"][:, INSIDE])
    outside = data[:, ~INSIDE]
    assert (outside == 0).all() if data.dtype.kind == "u" else np.isnan(outside).all()
    assert (shown["image.gain"][:, ~INSIDE] == 0).all()
    np.testing.assert_array_equal(shown["image.mask"], told["image.mask"] | np.where(INSIDE, 0, USER2))
    # Nothing that was measured is another, in the files and beside them.
    for key in told:
        if not key.startswith("image.") or key in ("image.trainId", "image.pulseId", "image.cellId"):
            np.testing.assert_array_equal(shown[key], told[key])
    table, before = mine.table, whole.table
    for kind in ("measures", "columns"):
        for name, values in getattr(before, kind).items():
            np.testing.assert_array_equal(getattr(table, kind)[name], values)
    np.testing.assert_array_equal(table.fate, before.fate)
    # Module 4 has pixels in no region that is written.
    assert {path.name[11:18] for path in mine.files} == {"AGIPD03"}
    assert "lie in the regions that are written" in " ".join(mine.accounts.notes)
    sim = simulated("usual")
    report = check_against(check(mine.out), sim.raw, constants=sim.constants, backend="cpu")
    assert report.ok, report.faults


def test_every_backend_writes_the_same_bytes(reduce, digest, backend_name):
    write = {"regions": "box", "content": "photons"}
    assert digest(reduce(write, backend=backend_name).out) == digest(reduce(write).out)


def test_they_take_a_fraction_of_the_room(reduce):
    whole, mine = reduce({}), reduce({"regions": "box"})
    with h5py.File(mine.files[0]) as file:
        data = file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/3CH0:output/image/data"]
        assert (data.compression, data.shuffle, data.chunks) == ("gzip", True, (1, 512, 128))
        shots = len(data)
    # A box of 5 % of the pixels; labels and the measures of all shots are in both.
    frames = shots * 4 * 65536
    assert data_bytes(whole) - data_bytes(mine) > 0.85 * frames


def test_check_finds_a_pixel_that_is_another(reduce, simulated):
    mine, sim = reduce({"regions": "box"}), simulated("usual")
    with h5py.File(mine.files[0], "r+") as file:
        data = file["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/3CH0:output/image/data"]
        data[0, 100, 100] = 1.0  # outside
    report = check_against(check(mine.out), sim.raw, constants=sim.constants, backend="cpu")
    assert any("data is not what its source gives" in fault for fault in report.faults)


def test_modules_that_are_named_are_written_whatever_lies_in_them(reduce, read_module):
    mine = reduce({"regions": "box", "modules": "3, 4"})
    assert {path.name[11:18] for path in mine.files} == {"AGIPD03", "AGIPD04"}
    empty = read_module(mine, 4)
    assert np.isnan(empty["image.data"]).all()
    assert (empty["image.mask"] & USER2 > 0).all()


@pytest.mark.parametrize(
    ("write", "text"),
    [
        ({"regions": "boks"}, r"\[measure.roi.boks\].*'box'.*Regions are box, line, other"),
        ({"regions": "box,"}, r"no section \[measure.roi.\]"),
        ({"regions": "box", "content": "raw"}, "raw words stay as they were recorded"),
    ],
)
def test_what_makes_no_sense_is_refused(reduce, write, text):
    with pytest.raises(BadInput, match=text):
        reduce(write)


def test_regions_without_a_frame_are_refused(simulated, make_recipe, tmp_path):
    sim, recipe = simulated("usual"), make_recipe(write={"regions": "far"})
    recipe["measure"] |= {"roi": {"far": BOX | {"module": 9}}}
    with pytest.raises(BadInput, match="no module that the run has frames of"):
        shotsieve.reduce(sim.raw, recipe, tmp_path / "r", constants=sim.constants, backend="cpu")


@pytest.mark.parametrize("content", ["corrected", "photons"])
def test_crystfel_gets_the_same_frames_and_all_peaks(tmp_path, content):
    spots = Run(tmp_path / "run")
    roi = {"box": BOX | {"module": MODULES[0]}}
    made = []
    for name, regions in (("whole", {}), ("mine", {"regions": "box"})):
        recipe = spots.recipe(keep={"rule": RULE}, write={"content": content, "cxi": True, **regions})
        recipe["measure"] |= {"roi": roi}
        made.append(
            shotsieve.reduce(spots.raw, recipe, tmp_path / name, constants=spots.constants, backend="cpu")
        )
    whole, mine = made
    peaks = [PeakList.open(result.out) for result in made]
    shots = range(len(whole.table))
    found, same = ([one.records(shot) for shot in shots] for one in peaks)
    assert sum(map(len, found)) > 0
    assert all(np.array_equal(*two) for two in zip(found, same, strict=True))
    cxi = [next(result.out.glob("*.cxi")) for result in made]
    with h5py.File(cxi[0]) as theirs, h5py.File(cxi[1]) as own, h5py.File(mine.files[0]) as file:
        for name in theirs["entry_1/result_1"]:
            assert np.array_equal(theirs["entry_1/result_1"][name], own["entry_1/result_1"][name])
        inside = np.zeros((16, 512, 128), bool)
        inside[MODULES[0], 10:60, 5:70] = True
        inside = inside.reshape(-1, 128)
        data, bits = own["entry_1/data_1/data"], own["entry_1/data_1/mask"]
        assert data.compression == "gzip"
        np.testing.assert_array_equal(data[:][:, inside], theirs["entry_1/data_1/data"][:][:, inside])
        assert (bits[:][:, ~inside] & USER2 > 0).all()
        image = file[f"INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/{MODULES[0]}CH0:output/image"]
        at = (0, MODULES[0] * 512, 0)
        assert data.id.read_direct_chunk(at) == image["data"].id.read_direct_chunk((0, 0, 0))
    geom = cxi[1].with_suffix(".geom").read_text()
    [bad] = [line.split("=")[1].strip() for line in geom.splitlines() if line.startswith("mask_bad")]
    assert int(bad, 16) & int(USER2)
