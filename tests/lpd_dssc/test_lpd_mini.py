"""LPD-Mini: rows of no sensor are left out by a file of one's own or by a mask, whatever they hold."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.cli import main
from shotsieve.constants import BadPixels, Constants
from shotsieve.darks import DarkOptions, make_dark_constants
from shotsieve.detectors import FOLDER
from shotsieve.errors import BadInput
from shotsieve.simulate.darks import DarkParameters, simulate_darks

from .small import bits

SOURCE = "FXE_DET_LPD_MINI"
SENSORS = np.zeros((256, 256), bool)
SENSORS[0:32] = SENSORS[64:96] = True  # two modules


def fill_with_junk(folder):
    """Write words of any value into the rows between and below the sensors."""
    rng = np.random.default_rng(4)
    [path] = folder.glob("*LPDMINI00*.h5")
    with h5py.File(path, "r+") as file:
        [group] = [one for name, one in file["INSTRUMENT"].items() if name.startswith(SOURCE)]
        words = group["DET/0CH0:xtdf/image/data"]
        frames = words[()]
        frames[..., ~SENSORS] = rng.integers(0, 2**14, frames[..., ~SENSORS].shape)
        words[...] = frames


@pytest.fixture
def with_junk(simulated, tmp_path):
    """The simulated run with junk in it."""
    shutil.copytree(simulated("lpdmini").raw, tmp_path / "raw")
    fill_with_junk(tmp_path / "raw")
    return tmp_path / "raw"


def planes_of(result):
    [path] = result.out.glob("CORR-*.h5")
    with h5py.File(path) as file:
        [group] = file["INSTRUMENT"].values()
        image = group["CORR/0CH0:output/image"]
        return {key: image[key][()] for key in ("data", "gain", "mask")}


def test_a_mask_leaves_out_what_is_no_sensor(with_junk, simulated, recipe_of, tmp_path):
    np.save(tmp_path / "sensors.npy", SENSORS)
    masked = {"mask": str(tmp_path / "sensors.npy"), "mask_bad": "zero"}

    def reduced(run, name, **calibrate):
        recipe = recipe_of("lpdmini", keep=False, **calibrate)
        return shotsieve.reduce(run, recipe, tmp_path / name, backend="cpu")

    clean = reduced(simulated("lpdmini").raw, "clean")
    junk, result = reduced(with_junk, "junk"), reduced(with_junk, "masked", **masked)
    whole, found = planes_of(clean), planes_of(result)
    for key, values in found.items():
        np.testing.assert_array_equal(bits(values[:, SENSORS]), bits(whole[key][:, SENSORS]), err_msg=key)
    assert np.isnan(found["data"][:, ~SENSORS]).all()
    assert (found["mask"][:, ~SENSORS] & np.uint32(BadPixels.USER1) != 0).all()
    # Counts are those of the sensors alone; without the mask the junk counts as light.
    good = np.isfinite(whole["data"]) & SENSORS
    unmasked, lit = (result.table.measures[name][:, 0] for name in ("unmasked_pixels", "lit_pixels"))
    assert unmasked.tolist() == good.sum(axis=(1, 2)).tolist()
    assert lit.tolist() == (good & (whole["data"] > 0.7)).sum(axis=(1, 2)).tolist()
    assert (junk.table.measures["lit_pixels"][:, 0] > lit + 20000).all()


@pytest.fixture
def own_file(tmp_path):
    """The detector's file with the rows that are sensors here."""
    shipped = (FOLDER / "lpdmini.toml").read_text()
    rows = 'name = "LPDMINI"\nsensor_rows = [[0, 32], [64, 96]]'
    path = tmp_path / "mini.toml"
    path.write_text(shipped.replace('name = "LPDMINI"', rows))
    return path


def test_a_file_of_ones_own_says_which_rows_are_sensors(with_junk, own_file, recipe_of, tmp_path):
    np.save(tmp_path / "sensors.npy", SENSORS)
    masked = recipe_of("lpdmini", keep=False, mask=str(tmp_path / "sensors.npy"), mask_bad="zero")
    told = recipe_of("lpdmini", keep=False) | {"detector": [{"name": str(own_file)}]}
    by_mask = shotsieve.reduce(with_junk, masked, tmp_path / "masked", backend="cpu")
    by_file = shotsieve.reduce(with_junk, told, tmp_path / "told", backend="cpu")
    wanted, found = planes_of(by_mask), planes_of(by_file)
    np.testing.assert_array_equal(bits(found["data"]), bits(wanted["data"]))
    np.testing.assert_array_equal(found["mask"][:, SENSORS], wanted["mask"][:, SENSORS])
    assert (found["mask"][:, ~SENSORS] & np.uint32(BadPixels.NON_SENSITIVE) != 0).all()
    for name in ("unmasked_pixels", "lit_pixels", "intensity"):
        one, other = (result.table.measures[name] for result in (by_file, by_mask))
        np.testing.assert_array_equal(one, other, err_msg=name)


def test_dark_runs_are_of_the_rows_that_are_sensors(own_file, tmp_path):
    parameters = DarkParameters("LPDMINI", n_trains=60, dead=0.0, hot=0.0, noisy=0.01, stuck=0.0)
    darks = simulate_darks(tmp_path, parameters)
    clean = make_dark_constants(darks.runs, tmp_path / "c.h5", DarkOptions(min_frames=60), backend="cpu")
    for run in darks.runs:
        fill_with_junk(run)
    made = make_dark_constants(
        darks.runs, tmp_path / "d.h5", DarkOptions(min_frames=60), detector=str(own_file), backend="cpu"
    )
    command = ["dark", *map(str, darks.runs), "-o", str(tmp_path / "e.h5"), "--no-report", "--backend", "cpu"]
    assert main([*command, "--min-frames", "60", "--detector", str(own_file)]) == 0
    assert (tmp_path / "e.h5").read_bytes() == made.path.read_bytes()
    whole, found = Constants.open(clean.path), Constants.open(made.path)
    for name in ("offset", "noise"):
        mine, all_rows = (constants.load(name, 0) for constants in (found, whole))
        np.testing.assert_array_equal(mine[..., SENSORS], all_rows[..., SENSORS])
        assert np.isnan(mine[..., ~SENSORS]).all()
    bad, told = found.load("bad_pixels", 0), made.provenance["dark"]
    assert (bad[..., ~SENSORS] == BadPixels.NON_SENSITIVE).all()
    # A pixel with three times the noise is found among those of sensors alone, and shares are of these.
    with h5py.File(darks.truth_file) as truth:
        noisy = truth["kind"][0].reshape(256, 256) == 3
    assert (bad[..., noisy & SENSORS] != 0).mean() > 0.99
    assert (bad[..., SENSORS & ~noisy] != 0).mean() < 1e-3
    assert told["bad_share"]["high"] == pytest.approx(noisy[SENSORS].mean(), abs=2e-3)
    assert [run["samples"]["wrong"] for run in told["runs"]] == [0, 0, 0]


def test_a_geometry_of_stripes_is_refused(with_junk, recipe_of, tmp_path):
    """EXtra-geom's modules have 32 x 256 pixels, and those of the files 256 x 256."""
    geometry = pytest.importorskip("extra_geom").LPD_MiniGeometry.from_module_positions([(0, 0), (0, 20)])
    geometry.write_crystfel_geom(str(tmp_path / "mini.geom"))
    recipe = recipe_of("lpdmini", keep=False)
    recipe["detector"] = [{"geometry": str(tmp_path / "mini.geom")}]
    recipe["measure"]["azint"] = {"npt": 10}
    with pytest.raises(BadInput, match=r"describes .* of the 65536 pixels of its modules"):
        shotsieve.reduce(with_junk, recipe, tmp_path / "out", backend="cpu")


def test_dark_runs_of_mostly_junk_are_refused(tmp_path):
    """As docs/calibration.md says: most pixels do not have the gain code of their stage."""
    darks = simulate_darks(tmp_path, DarkParameters("LPDMINI", n_trains=3))
    for run in darks.runs:
        fill_with_junk(run)
    with pytest.raises(BadInput, match="should have the gain code 0 nearly everywhere"):
        make_dark_constants(darks.runs, tmp_path / "c.h5", DarkOptions(min_frames=3), backend="cpu")
