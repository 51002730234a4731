"""A run with packed constants: near the one with exact ones, the same on every backend, and told as such."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from shotsieve import Calibrator
from shotsieve.check import check
from shotsieve.constants import Constants, Steps
from shotsieve.constants.packed import HIGH_GAIN_PHOTON, is_packed
from shotsieve.folded_tables import make_tables

PACKED = {"packed_constants": True}
FORCED = {**PACKED, "force_hg_if_below": "1000 ADU", "common_mode": True, "blc_noise": True}


@pytest.fixture(scope="module")
def packed(simulated, make_recipe, tmp_path_factory):
    """The usual run with packed constants, on the CPU."""
    sim = simulated("usual")
    return shotsieve.reduce(
        sim.raw,
        make_recipe(calibrate=PACKED),
        tmp_path_factory.mktemp("packed") / "r",
        constants=sim.constants,
        backend="cpu",
    )


def test_values_are_near_those_of_exact_constants(packed, reduced, read_module):
    exact = reduced("usual")
    np.testing.assert_array_equal(packed.table.fate, exact.table.fate)
    off = 0.0
    for module in (3, 4):
        one, other = read_module(packed, module), read_module(exact, module)
        for key in ("gain", "mask"):
            np.testing.assert_array_equal(one[f"image.{key}"], other[f"image.{key}"])
        values, wanted = one["image.data"], other["image.data"]
        high = np.isfinite(wanted) & (one["image.gain"] == 0)
        off = max(off, np.abs(values - wanted)[high].max() / 9.3)  # keV
        lower = np.isfinite(wanted) & ~high
        assert (np.abs(values - wanted)[lower] <= 1e-3 * np.abs(wanted[lower]) + 10).all()
    assert 0 < off <= HIGH_GAIN_PHOTON


def test_it_is_told(packed):
    notes = " ".join(packed.accounts.notes)
    assert "constants are packed to 16 bits (0.00839 GB): values in high gain are within 0.0" in notes
    assert check(packed.out).ok
    report = packed.out / "shotsieve"
    told = b"".join(path.read_bytes() for path in sorted(report.rglob("*")) if path.is_file())
    assert b"packed_constants = true" in told


@pytest.mark.parametrize("calibrate", [PACKED, FORCED], ids=["packed", "forced, common mode"])
def test_every_backend_gives_the_same_bytes(
    simulated, make_recipe, digest, places, backend_name, calibrate, packed
):
    sim = simulated("usual")
    outputs = [packed.out] if calibrate is PACKED else []
    for backend in [backend_name] if outputs else ["cpu", backend_name]:
        out = places / f"{backend}{len(outputs)}"
        recipe = make_recipe(calibrate=calibrate)
        shotsieve.reduce(sim.raw, recipe, out, constants=sim.constants, backend=backend, block_bytes=2**20)
        outputs.append(out)
    assert digest(outputs[0]) == digest(outputs[1])


def test_reducing_and_calibrating_commute(packed, simulated, make_recipe, places, read_module):
    sim = simulated("usual")
    recipe = make_recipe(calibrate=PACKED, write={"content": "raw"})
    raw = shotsieve.reduce(sim.raw, recipe, places / "raw", constants=sim.constants, backend="cpu")
    said = {"gain_mode": "adaptive", "photon_energy": "9.3 keV", **PACKED}
    again = shotsieve.reduce(
        raw.out,
        make_recipe(keep=None, calibrate=said),
        places / "again",
        constants=sim.constants,
        backend="cpu",
    )
    steps = Steps(**PACKED)
    for module in (3, 4):
        one, other = read_module(packed, module), read_module(again, module)
        np.testing.assert_array_equal(one["image.data"].view("u4"), other["image.data"].view("u4"))
        calibrate = Calibrator(sim.constants, [module], steps=steps, photon_energy_kev=9.3, backend="cpu")
        assert is_packed(calibrate.tables.table)
        words = read_module(raw, module)
        found = calibrate(words["image.data"], words["image.cellId"].reshape(-1)).data
        np.testing.assert_array_equal(found.reshape(-1).view("u4"), one["image.data"].reshape(-1).view("u4"))


def test_half_the_bytes(simulated):
    sim = simulated("usual")
    constants = sim.constants if isinstance(sim.constants, Constants) else Constants.open(sim.constants)
    given = (constants, constants.detector, [3, 4], np.arange(4))
    exact = make_tables(*given, Steps(), "photon", 9.3, "adaptive")
    packed = make_tables(*given, Steps(packed_constants=True), "photon", 9.3, "adaptive")
    assert packed.table.nbytes / exact.table.nbytes == pytest.approx(0.5, abs=1e-3)
    assert 0 < packed.packed_error <= HIGH_GAIN_PHOTON
    for row in range(len(exact.table)):
        bad = np.isnan(exact.table[row, 5:8])
        np.testing.assert_array_equal(np.isnan(packed.planes(row, slice(5, 8))), bad)
