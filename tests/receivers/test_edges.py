"""What runs of receivers' detectors may hold beside the usual, and what constants may lack."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import detectors
from shotsieve.constants import Constants
from shotsieve.constants.bad_pixels import BadPixels
from shotsieve.constants.facility import write_facility
from shotsieve.constants.fold import fold
from shotsieve.constants.steps import Steps
from shotsieve.errors import BadInput
from shotsieve.simulate.receiver import ReceiverParameters, receiver_constants, simulate_receiver
from shotsieve.sources.memory import MemorySource
from shotsieve.sources.run import open_run
from shotsieve.zero_std import find_zero_std

from .receiver_runs import RECIPE, recipe_of

KEEP_ALL = {"keep": {"rule": "lit_pixels >= 0"}}


# ---------------------------------------------------------------------------- ePix100


def test_constants_of_the_facility_with_one_stage(tmp_path):
    p = ReceiverParameters("EPIX100")
    constants = receiver_constants(p)
    names = {
        "OffsetEPix100": "offset",
        "RelativeGainEPix100": "relative_gain",
        "BadPixelsDarkEPix100": "bad_pixels",
    }
    arrays = {key: constants.load(name, 1).T for key, name in names.items()}
    assert arrays["OffsetEPix100"].shape == (768, 704, 1, 1)
    write_facility(tmp_path, detectors.load("EPIX100"), {"EPIX_M1": arrays}, {"EPIX_M1": 1}, {}, dims=False)
    found = Constants.open(tmp_path)
    for name in names.values():
        np.testing.assert_array_equal(found.load(name, 1), constants.load(name, 1))


def test_calibration_rows_are_left_out_and_it_is_said(simulated, tmp_path):
    plain, with_rows = (
        simulated("EPIX100", n_trains=2),
        simulated("EPIX100", n_trains=2, calibration_rows=True),
    )
    made = {}
    for name, run in (("plain", plain), ("rows", with_rows)):
        for content in ("corrected", "raw"):
            recipe = recipe_of(run, write={"content": content}, **KEEP_ALL)
            result = shotsieve.reduce(run.raw, recipe, tmp_path / f"{name}_{content}", backend="cpu")
            said = [note for note in result.accounts.notes if "rows of calibration" in note]
            assert len(said) == (name == "rows")
            with h5py.File(next(result.out.glob("*EPIX01*.h5"))) as file:
                place = "CORR" if content == "corrected" else "DET"
                made[name, content] = file[
                    f"INSTRUMENT/MID_EXP_EPIX-1/{place}/RECEIVER:daqOutput/data/image/pixels"
                ][:]
    for content in ("corrected", "raw"):
        assert made["rows", content].shape == (2, 704, 768)
        assert made["rows", content].tobytes() == made["plain", content].tobytes()


@pytest.mark.parametrize("storage", ["chunks", "gzip", "contiguous", "signed"])
def test_frames_with_calibration_rows_however_they_are_stored(simulated, tmp_path, storage):
    run = simulated("EPIX100", n_trains=2, calibration_rows=True)
    words = np.empty((2, 1, 1, 704, 768), "u2")
    open_run(run.raw).read(0, 2, words)
    for path in run.raw.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    name = "INSTRUMENT/MID_EXP_EPIX-1/DET/RECEIVER:daqOutput/data/image/pixels"
    with h5py.File(next(tmp_path.glob("*EPIX01*.h5")), "r+") as file:
        frames = file[name][:]
        del file[name]
        kinds = {
            "chunks": {"chunks": (1, 708, 768)},
            "gzip": {"chunks": (1, 708, 768), "compression": "gzip"},
            "contiguous": {},
            "signed": {"chunks": (1, 708, 768)},
        }
        file.create_dataset(name, data=frames.astype("i2" if storage == "signed" else "u2"), **kinds[storage])
    found = np.empty_like(words)
    open_run(tmp_path).read(0, 2, found)
    np.testing.assert_array_equal(found, words)


def test_one_stage_needs_no_gain_mode_and_one_number_may_stand_for_the_gain(simulated, tmp_path):
    run = simulated("EPIX100", n_trains=2)
    whole = Constants.open(run.constants)
    arrays = {name: {1: whole.load(name, 1)} for name in ("offset", "noise", "relative_gain", "bad_pixels")}
    less = Constants.from_arrays(whole.detector, arrays, cell_ids=whole.cell_ids)
    calibrate = {"common_mode": True, "adu_per_photon": "135 ADU", "unit": "photon"}
    recipe = {**RECIPE, "calibrate": calibrate, **KEEP_ALL}
    asked = shotsieve.reduce(run.raw, recipe, tmp_path / "a", constants=less, backend="cpu")
    recipe["calibrate"] = {"common_mode": True, "unit": "photon"}
    own = shotsieve.reduce(run.raw, recipe, tmp_path / "b", constants=whole, backend="cpu")
    # 15 ADU per keV of the simulated detector, and photons of 9 keV.
    np.testing.assert_array_equal(asked.table.measures["photons"], own.table.measures["photons"])
    assert asked.table.measures["photons"].sum() > 0


# ---------------------------------------------------------------------------- JUNGFRAU


def test_burst_mode_starts_at_cell_15_and_constants_go_by_cell(tmp_path):
    run = simulate_receiver(tmp_path, ReceiverParameters("JUNGFRAU", n_trains=1, n_frames=3, hit_rate=0.0))
    source = open_run(run.raw)
    assert source.shots.cell_id.tolist() == [15, 0, 1]
    assert source.shots.pulse_id.tolist() == [0, 1, 2]
    constants = Constants.open(run.constants)
    assert constants.row_of_cell([15, 0, 1]).tolist() == [2, 0, 1]
    single = ReceiverParameters("JUNGFRAU")
    assert single.cells == (15,)
    assert receiver_constants(single).cell_ids.tolist() == [15]


@pytest.mark.parametrize("name", ["JUNGFRAU", "EPIX100"])
def test_double_pixels_are_flagged_and_masked_where_asked(name):
    family = detectors.load(name)
    wide = family.wide_pixels().reshape(family.shape)
    assert wide.mean() == pytest.approx({"JUNGFRAU": 0.00974, "EPIX100": 0.00544}[name], rel=0.01)
    stages = family.stages
    arrays = {
        "offset": np.zeros((stages, 1, *family.shape)),
        "adu_per_kev": np.ones((stages, 1, *family.shape)),
    }
    constants = Constants.from_arrays(family, {key: {1: a} for key, a in arrays.items()}, modules=[1])
    cell = constants.cell_ids
    for choice, bad in (("keep", False), ("mask", True)):
        folded = fold(constants, family, 1, cell, Steps(double_pixels=choice, relative_gain=False))
        flagged = folded.mask[0] & BadPixels.NON_STANDARD_SIZE != 0
        np.testing.assert_array_equal(flagged, np.broadcast_to(wide.ravel(), flagged.shape))
        gains = folded.table[0, -stages:] if stages == 3 else folded.table[0, 1:]
        np.testing.assert_array_equal(np.isnan(gains), flagged & bad)
    with pytest.raises(BadInput, match=r"double_pixels = 'maks' must be .*Did you mean 'mask'"):
        Steps(double_pixels="maks")


# ---------------------------------------------------------------------------- all of them


@pytest.mark.parametrize(("name", "changes"), [("GOTTHARD2", {}), ("EPIX100", {"n_trains": 1})])
def test_the_same_bits_on_every_backend(any_backend, monkeypatch, simulated, tmp_path, name, changes):
    run = simulated(name, **changes)
    found = []
    for which in ("this one", "the usual one"):
        out = tmp_path / which
        result = shotsieve.reduce(run.raw, recipe_of(run, **KEEP_ALL), out, backend="cpu")
        files = sorted(path.name for path in result.out.glob("CORR*.h5"))
        found.append([(out / file).read_bytes() for file in files])
        monkeypatch.undo()  # what `any_backend` put into the place of every backend
    assert found[0] == found[1]
    assert len(found[0]) == len(open_run(run.raw).modules)


def test_frames_in_memory_have_the_shape_that_files_have(simulated):
    run = simulated("GOTTHARD2")
    source = open_run(run.raw)
    words = np.empty((6, 2, 2, 1280), "u2")
    source.read(0, 6, words)
    shots = source.shots
    memory = MemorySource(
        source.detector, words, shots.train_id[:6], shots.pulse_id[:6], shots.cell_id[:6], modules=(1, 2),
        mode=source.mode,
    )  # fmt: skip
    again = np.empty_like(words)
    memory.read(0, 6, again)
    np.testing.assert_array_equal(words, again)
    constants = Constants.open(run.constants)
    frames = shotsieve.calibrate_frames(words, shots.cell_id[:6], constants, outputs=["lit_pixels"],
                                        photon_energy_kev=9.0)  # fmt: skip
    assert frames.lit_pixels.shape == (6, 2)


def test_a_cxi_file_of_strips_is_refused_before_anything_is_read(simulated, tmp_path):
    run = simulated("GOTTHARD2")
    recipe = recipe_of(run, detector=[{"geometry": "strips.geom"}], write={"cxi": True})
    recipe["measure"] = {**recipe["measure"], "peaks": {"threshold": "2 photon"}}
    with pytest.raises(BadInput, match="GOTTHARD2 has strips in one dimension"):
        shotsieve.reduce(run.raw, recipe, tmp_path / "out", backend="cpu")


def test_strips_that_never_change_are_found(simulated):
    source = open_run(simulated("GOTTHARD2").raw)
    mask, _ = find_zero_std(source, 4)
    assert (mask.bits.shape, mask.cell_ids) == ((2, 2, 1280), (0, 1))
