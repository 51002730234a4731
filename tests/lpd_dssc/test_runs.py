"""LPD-1M, DSSC-1M and AGIPD-500K from raw run to reduced run: EXtra-data reads both, and steps commute."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.check import check
from shotsieve.errors import BadInput
from shotsieve.simulate import SpiParameters, simulate_spi

from .small import ADU, FIRST, RUNS, bits, component

NAMES = list(RUNS)
KEYS = ("image.data", "image.gain", "image.mask", "image.cellId", "image.pulseId")


def frames(result, module: int) -> dict[str, np.ndarray]:
    """Return the kept frames of a module, by key."""
    found = {}
    for path in sorted(result.out.glob(f"CORR-R0001-*{module:02d}-S*.h5")):
        with h5py.File(path) as file:
            for name, group in file["INSTRUMENT"].items():
                source = next(iter(group["CORR"]))
                for key in KEYS:
                    part, last = key.split(".")
                    found[key] = group[f"CORR/{source}/{part}/{last}"][()]
                assert name in path.name or name
    return found


@pytest.mark.parametrize("name", NAMES)
def test_extra_data_opens_the_raw_run_and_the_output(name, simulated, reduced):
    sim, result = simulated(name), reduced(name)
    raw = component(name, sim.raw, raw=True)
    assert sorted(raw.modno_to_source) == list(sim.parameters.written_modules)
    kept = np.flatnonzero(result.table.fate == 0)
    assert 0 < len(kept) < len(result.table)
    np.testing.assert_array_equal(kept, np.flatnonzero(sim.truth.hit))
    found = component(name, result.out)
    data = found["image.data"].ndarray()
    shape = {"dssc": (128, 512), "agipd500k": (512, 128)}.get(name, (256, 256))
    assert data.shape == (len(sim.parameters.written_modules), len(kept), *shape)
    assert np.nanmax(data) > (15 if name == "dssc" else 100)


@pytest.mark.parametrize("name", NAMES)
def test_photons_are_those_that_were_drawn(name, simulated, reduced):
    sim, result = simulated(name), reduced(name)
    module = FIRST[name]
    row = sim.parameters.modules.index(module)
    kept = np.flatnonzero(result.table.fate == 0)
    found = frames(result, module)["image.data"].astype(float)
    share = np.isfinite(found).mean(axis=(1, 2))
    assert (share > 0.95).all()
    # Bad pixels hold their share, and noise is small against it. Of DSSC bright pixels leave the range.
    if name != "dssc":
        drawn = sim.truth.photons[kept, row]
        np.testing.assert_allclose(np.nansum(found, axis=(1, 2)) / share, drawn, rtol=0.03)


@pytest.mark.parametrize("name", NAMES)
def test_the_output_is_in_order(name, reduced):
    for content in ("corrected", "raw"):
        assert not check(reduced(name, content).out).faults


@pytest.mark.parametrize("name", NAMES)
def test_calibrating_what_was_reduced_is_reducing_what_is_calibrated(name, reduced, recipe_of, tmp_path):
    """calibrate(reduce(raw)) == reduce(calibrate(raw)), bit for bit, with the mode that the output tells."""
    for content in ("corrected", "photons", "rounded"):
        again = shotsieve.reduce(
            reduced(name, "raw").out, recipe_of(name, content, keep=False), tmp_path / content, backend="cpu"
        )
        once = reduced(name, content)
        for module in once.table.modules:
            mine, theirs = frames(once, module), frames(again, module)
            assert mine.keys() == theirs.keys()
            for key, values in mine.items():
                np.testing.assert_array_equal(bits(values), bits(theirs[key]), err_msg=f"{module} {key}")


@pytest.mark.parametrize("name", NAMES)
def test_photon_lists_of_what_was_reduced_are_the_same(name, reduced, recipe_of, tmp_path):
    again = shotsieve.reduce(
        reduced(name, "raw").out, recipe_of(name, "photon_list", keep=False), tmp_path / "a", backend="cpu"
    )
    found = []
    for out in (reduced(name, "photon_list").out, again.out):
        with shotsieve.PhotonLists(out) as lists:
            found.append([*lists.frames(), lists.train_id, lists.pulse_id, lists.present])
    assert found[0][0].any()
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", ["lpd", "parallel", "dssc"])
def test_the_emulated_device_writes_the_same_bytes(name, reduced, device_name):
    mine, theirs = reduced(name), reduced(name, backend=device_name)
    assert mine.digest == theirs.digest


@pytest.mark.parametrize("name", ["lpd", "dssc"])
def test_without_a_gain_the_error_says_what_helps(name, simulated, recipe_of, tmp_path):
    recipe = recipe_of(name)
    del recipe["calibrate"]["adu_per_photon"]
    with pytest.raises(BadInput, match=r"adu_per_kev.*adu_per_photon"):
        shotsieve.reduce(simulated(name).raw, recipe, tmp_path / "out", backend="cpu")
    recipe["calibrate"] |= {"xray_gain": False, "unit": "ADU"}
    recipe["measure"] = {"lit": {"threshold": "10 ADU"}}
    result = shotsieve.reduce(simulated(name).raw, recipe, tmp_path / "out", backend="cpu")
    assert result.accounts.kept


def test_keV_from_the_adu_of_a_photon(reduced, recipe_of, simulated, tmp_path):
    recipe = recipe_of("lpd", unit="keV")
    recipe["measure"]["lit"]["threshold"] = "8.4 keV"
    kev = frames(shotsieve.reduce(simulated("lpd").raw, recipe, tmp_path / "out", backend="cpu"), 0)
    np.testing.assert_allclose(
        kev["image.data"], 12 * frames(reduced("lpd"), 0)["image.data"], rtol=2e-6, equal_nan=True
    )


def test_modules_with_other_numbers_of_frames(tmp_path):
    """As LPD has delivered them: such shots are rejected and counted, never matched by position."""
    p = SpiParameters(
        detector="LPD1M", modules=(0, 5), n_trains=2, n_cells=3, photon_energy_kev=12.0,
        short_trains=((5, 1, 2),), truth_stage=False,
    )  # fmt: skip
    sim = simulate_spi(tmp_path / "sim", p)
    recipe = {
        "calibrate": {"constants": str(sim.constants), "unit": "photon", "adu_per_photon": ADU["lpd"]},
        "measure": {"lit": {}},
        "write": {"content": "raw"},
    }
    accounts = shotsieve.reduce(sim.raw, recipe, tmp_path / "out", backend="cpu").accounts
    assert (accounts.expected, accounts.kept, accounts.inconsistent) == (6, 5, 1)


@pytest.mark.parametrize("name", ["LPD1M", "DSSC1M"])
def test_cells_and_modules_without_constants_are_flagged(name, tmp_path):
    p = SpiParameters(
        detector=name, modules=(0, 5), n_trains=1, n_cells=3, constants_cells=2, truth_stage=False,
    )  # fmt: skip
    sim = simulate_spi(tmp_path / "sim", p)
    for path in (sim.constants / "xfel/cal").rglob("*_sim_m005/*.h5"):
        path.unlink()
    recipe = {
        "calibrate": {"constants": str(sim.constants), "xray_gain": False},
        "measure": {"lit": {"threshold": "1 ADU"}},
        "write": {"content": "corrected"},
    }
    result = shotsieve.reduce(sim.raw, recipe, tmp_path / "out", backend="cpu", force=True)
    known, unknown = frames(result, 0), frames(result, 5)
    assert np.isfinite(known["image.data"][:2]).mean() > 0.9
    for nothing, mask in (
        (known["image.data"][2], known["image.mask"][2]),
        (unknown["image.data"], unknown["image.mask"]),
    ):
        assert np.isnan(nothing).all()
        assert (mask & 1 << 3 != 0).all()
    lost = {m: result.accounts.modules[m]["no_constants"] for m in ("0", "5")}
    assert lost == {"0": 1, "5": 3}
