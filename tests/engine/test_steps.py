"""The switches of a recipe, from the recipe's text to the pixels and their label."""

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import detectors
from shotsieve.constants import Constants, Steps, fold
from shotsieve.errors import BadInput
from shotsieve.reference.calibrate import calibrate_count_folded

SOURCE = "SPB_DET_AGIPD1M-1/{}/3CH0:{}/image"


@pytest.fixture
def calibrate(simulated, places, make_recipe, read_module):
    """Reduce a run with some switches; return what was written of module 3, its raw words, and the result."""

    def calibrate(name="usual", threshold="0.7 photon", backend="cpu", **switches):
        sim = simulated(name)
        recipe = make_recipe(calibrate=switches, keep=None, measure={"lit": {"threshold": threshold}})
        out = places / f"r{len(list(places.iterdir()))}"
        result = shotsieve.reduce(sim.raw, recipe, out, constants=sim.constants, backend=backend)
        with h5py.File(next(sim.raw.glob("*AGIPD03*"))) as file:
            words = file[f"INSTRUMENT/{SOURCE.format('DET', 'xtdf')}/data"][()].reshape(-1, 2, 65536)
        return read_module(result, 3), words, result

    return calibrate


def expected(sim, words, steps, unit=None, energy=None):
    """Return what the reference makes of the words."""
    constants, agipd = Constants.open(sim.constants), detectors.load("AGIPD1M")
    gain_mode = sim.parameters.gain_mode
    cells = np.unique(sim.truth.cell_id)
    folded = fold(constants, agipd, 3, cells, steps, unit, energy, gain_mode=gain_mode)
    return calibrate_count_folded(
        words,
        np.searchsorted(cells, sim.truth.cell_id),
        folded.table,
        encoding=0,
        fixed_stage=agipd.fixed_stage(gain_mode),
        set_min=steps.set_min,
        round_photons=steps.round_photons,
        rounding_threshold=steps.rounding_threshold,
    )


def unit_of(result):
    with h5py.File(result.files[0]) as file:
        data = file[f"INSTRUMENT/{SOURCE.format('CORR', 'output')}/data"]
        assert file.attrs["unit"] == data.attrs["unitSymbol"]
        return data.attrs["units"]


def check_pixels(written, answer):
    pixels = written["image.data"].reshape(-1, 65536)
    np.testing.assert_array_equal(pixels.view("u4"), answer.pixels.view("u4"))
    np.testing.assert_array_equal(written["image.gain"].reshape(-1, 65536), answer.stage & 3)


def test_without_gains_the_output_is_in_adu_and_says_so(calibrate, simulated):
    switches = {"relative_gain": False, "adjust_mg_baseline": False, "xray_gain": False, "set_min": False}
    written, words, result = calibrate(threshold="40 ADU", **switches)
    assert unit_of(result) == "ADU"
    check_pixels(written, expected(simulated("usual"), words, Steps(**switches)))
    offset = Constants.open(simulated("usual").constants).load("offset", 3)[0].reshape(4, -1)
    high = (written["image.gain"].reshape(-1, 65536) == 0) & (written["image.mask"].reshape(-1, 65536) == 0)
    difference = words[:, 0].astype("f4") - offset[simulated("usual").truth.cell_id]
    np.testing.assert_array_equal(written["image.data"].reshape(-1, 65536)[high], difference[high])
    assert "photons" not in result.table.measures


def test_whole_photons(calibrate, simulated):
    switches = {"unit": "photon", "round_photons": True, "rounding_threshold": 0.6}
    written, words, result = calibrate(**switches)
    assert unit_of(result) == "photon"
    steps = Steps(round_photons=True, rounding_threshold=0.6)
    check_pixels(written, expected(simulated("usual"), words, steps, "photon", 9.3))
    good = np.isfinite(written["image.data"])
    values = written["image.data"][good]
    np.testing.assert_array_equal(values, np.rint(values))
    total = np.where(good, written["image.data"], 0).sum(axis=(1, 2), dtype="f8")
    np.testing.assert_array_equal(result.table.measures["intensity"][:, 3], total)


@pytest.mark.parametrize("name", ["usual", "fixed_medium"])
def test_forced_stages(name, calibrate, simulated, backend_name):
    """In a fixed gain mode there is nothing to force."""
    switches = {"force_mg_if_below": "2000 ADU", "force_hg_if_below": "4000 ADU"}
    written, words, _ = calibrate(name, backend=backend_name, **switches)
    steps = Steps(force_mg_if_below=2000.0, force_hg_if_below=4000.0)
    answer = expected(simulated(name), words, steps)
    check_pixels(written, answer)
    plain = expected(simulated(name), words, Steps())
    assert ((plain.stage & 3) != (answer.stage & 3)).any() == (name == "usual")


@pytest.mark.parametrize(("name", "noise"), [("usual", 7.2 / 7.2), ("fixed_medium", 5 * 30 / 7.2)])
def test_a_threshold_in_sigma(name, noise, calibrate):
    written, _, result = calibrate(name, threshold="8 sigma")
    with h5py.File(result.files[0]) as file:
        threshold = file.attrs["lit_threshold"]
    assert 0.9 < threshold / (8 * noise) < 1.1  # keV
    lit = (written["image.data"] > threshold).sum(axis=(1, 2))
    np.testing.assert_array_equal(result.table.measures["lit_pixels"][:, 3], lit)


@pytest.mark.parametrize("switches", [{"adu_per_photon": "8 ADU"}, {"wrap256": False}, {"ff_map": False}])
def test_a_reduction_refuses_them(simulated, make_recipe, places, switches):
    sim, name = simulated("usual"), next(iter(switches))
    with pytest.raises(BadInput, match=rf"\[calibrate\] {name} = .*: AGIPD1M does not have this"):
        shotsieve.reduce(
            sim.raw, make_recipe(calibrate=switches), places / "r", constants=sim.constants, backend="cpu"
        )
    assert not list(places.iterdir())
