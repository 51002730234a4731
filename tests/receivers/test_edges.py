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


def gotthard(**arrays):
    """Constants of one module whose words are their own linear values, of two cells."""
    linear = np.broadcast_to(np.arange(4096, dtype="u2")[:, None, None], (4096, 2, 1280))
    given = {"offset": np.full((3, 2, 1280), 500.0), "adu_per_kev": np.full((3, 2, 1280), 10.0)}
    given |= {"linearisation": linear, **arrays}
    return Constants.from_arrays(
        "GOTTHARD2", {name: {1: array} for name, array in given.items() if array is not None}
    )


def without_constant(whole, lacking):
    kept = [name for name in whole.names if name != lacking]
    arrays = {name: {m: whole.load(name, m) for m in whole.modules} for name in kept}
    return Constants.from_arrays(whole.detector, arrays, cell_ids=whole.cell_ids)


def calibrated(constants, adc, code, cells=(0,), outputs=("data", "gain", "mask"), **options):
    """Frames with the same words in every strip."""
    raw = np.empty((len(cells), 2, 1280), "u2")
    raw[:, 0], raw[:, 1] = adc, code
    return shotsieve.calibrate_frames(raw, cells, constants, [1], outputs, **options)


# ---------------------------------------------------------------------------- Gotthard-II


def test_strips_have_one_axis_from_words_to_values(backend_name):
    found = calibrated(gotthard(), 700, 0, (0, 1), unit="keV", backend=backend_name)
    assert found.data.shape == found.mask.shape == (2, 1, 1280)
    assert (np.asarray(found.data) == 20).all()


@pytest.mark.parametrize(
    ("adc", "code", "stage", "bit"),
    [(700, 0, 0, 0), (700, 1, 1, 0), (700, 3, 2, 0), (700, 2, 0, 1 << 21), (0, 3, 2, 0), (4095, 3, 2, 0),
     (0, 0, 0, 0), (4095, 0, 0, 0), (0, 1, 1, 0)],
)  # fmt: skip
def test_gain_codes_and_words_without_a_special_meaning(backend_name, adc, code, stage, bit):
    """JUNGFRAU's words for lost and saturated pixels mean nothing here."""
    found = calibrated(gotthard(), adc, code, backend=backend_name)
    assert (np.asarray(found.gain) == stage).all()
    assert (found.mask == bit).all()
    assert np.isnan(np.asarray(found.data)).all() == bool(bit)


def test_fixed_gain_that_is_not_that_of_the_words(backend_name):
    found = calibrated(gotthard(), 700, 1, gain_mode="fixed_high", backend=backend_name)
    assert (found.mask == BadPixels.WRONG_GAIN_VALUE).all()


def test_each_cell_and_strip_has_a_table_of_its_own(backend_name):
    linear = np.zeros((4096, 2, 1280), "u2")
    linear[:, 0] = np.arange(4096)[:, None] // 2 + np.arange(1280) % 7
    linear[:, 1] = 4095 - np.arange(4096)[:, None]
    found = calibrated(
        gotthard(linearisation=linear), 2000, 0, (0, 1), ("data",), unit="keV", backend=backend_name
    )
    data = np.asarray(found.data)[:, 0]
    np.testing.assert_array_equal(data[0], (1000 + np.arange(1280) % 7 - 500).astype("f4") * np.float32(0.1))
    np.testing.assert_array_equal(data[1], np.float32(2095 - 500) * np.float32(0.1))


def test_constants_with_nan_zero_and_negative_gains(backend_name):
    gain = np.full((3, 2, 1280), 10.0)
    gain[:, :, 0], gain[:, :, 1], gain[:, :, 2], gain[:, :, 3] = np.nan, 0, -10, np.inf
    offset = np.full((3, 2, 1280), 500.0)
    offset[:, :, 4] = np.nan
    found = calibrated(gotthard(adu_per_kev=gain, offset=offset), 700, 0, backend=backend_name, unit="keV")
    data = np.asarray(found.data)[0, 0]
    assert np.isnan(data[[0, 1, 3, 4]]).all()
    assert data[2] == -20  # signed gains are legal where a stage may count downwards
    assert (found.mask[0, 0, [0, 1, 3, 4]] == BadPixels.VALUE_IS_NAN).all()


def test_cells_without_constants_are_unknown_and_never_left_uncorrected(backend_name):
    found = calibrated(
        gotthard(), 700, 0, (0, 7), ("data", "mask", "intensity", "unmasked_pixels"), backend=backend_name
    )
    assert found.known.tolist() == [[True], [False]]
    assert np.isnan(np.asarray(found.data)[1]).all()
    assert (found.mask[1] == BadPixels.NO_DARK_DATA).all()
    assert np.isnan(found.intensity[1, 0])


def test_without_gain_constants_values_stay_in_adu_and_it_is_said_once(simulated, tmp_path):
    run = simulated("GOTTHARD2")
    whole = Constants.open(run.constants)
    arrays = {
        name: {m: whole.load(name, m) for m in whole.modules} for name in whole.names if name != "adu_per_kev"
    }
    without = Constants.from_arrays(whole.detector, arrays, cell_ids=whole.cell_ids)
    recipe = {**RECIPE, "measure": {"lit": {"threshold": "50 ADU"}}, **KEEP_ALL}
    result = shotsieve.reduce(run.raw, recipe, tmp_path / "o", constants=without, backend="cpu")
    said = [note for note in result.accounts.notes if "adu_per_kev" in note]
    assert len(said) == 1
    assert "xray_gain is switched off" in said[0]
    file = next((tmp_path / "o").glob("CORR*GH201*.h5"))
    with h5py.File(file) as f:
        assert f["INSTRUMENT/SQS_EXP_GH2-2/CORR/RECEIVER1:daqOutput/data/adc"].attrs["units"] == "ADU"
    asked = {**recipe, "calibrate": {"unit": "keV"}}
    with pytest.raises(BadInput, match=r"no 'adu_per_kev'.*unit = 'keV'"):
        shotsieve.reduce(run.raw, asked, tmp_path / "k", constants=without, backend="cpu")


def test_missing_dark_constants_or_tables_are_errors(simulated, tmp_path):
    run = simulated("GOTTHARD2")
    whole = Constants.open(run.constants)
    for lacking, text in (
        ("offset", "none of the run's memory cells"),
        ("linearisation", "linearise = false"),
    ):
        arrays = {
            name: {m: whole.load(name, m) for m in whole.modules} for name in whole.names if name != lacking
        }
        less = Constants.from_arrays(whole.detector, arrays, cell_ids=whole.cell_ids)
        with pytest.raises(BadInput, match=text):
            shotsieve.reduce(run.raw, RECIPE, tmp_path / lacking, constants=less, backend="cpu")


@pytest.mark.parametrize("lacking", ["linearisation", "all"])
def test_a_module_without_constants_leaves_its_shots_undecided(simulated, tmp_path, lacking):
    run = simulated("GOTTHARD2")
    whole = Constants.open(run.constants)
    arrays = {
        name: {m: whole.load(name, m) for m in (1, 2) if m == 1 or lacking not in (name, "all")}
        for name in whole.names
    }
    one = Constants.from_arrays(whole.detector, arrays, cell_ids=whole.cell_ids)
    recipe = {**RECIPE, "keep": {"rule": "lit_pixels > 100000"}}
    result = shotsieve.reduce(run.raw, recipe, tmp_path / "o", constants=one, backend="cpu")
    assert any("no constants for module 2" in note for note in result.accounts.notes)
    assert result.accounts.no_dark_data.kept == result.accounts.expected


def test_tables_must_hold_words():
    for wrong in (0.5, -1.0, 70000.0):
        table = np.zeros((4096, 2, 1280))
        table[5, 0, 3] = wrong
        with pytest.raises(BadInput, match="whole numbers from 0 to 65535"):
            gotthard(linearisation=table)
    nothing = gotthard(linearisation=np.full((4096, 2, 1280), np.nan))
    assert not nothing.load("linearisation", 1, [0]).any()
    with pytest.raises(BadInput, match="linearisation"):
        gotthard(linearisation=np.zeros((1024, 2, 1280), "u2"))


@pytest.mark.parametrize("dims", [True, False])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_constants_of_the_facility_in_one_dimension(tmp_path, dims, dtype):
    p = ReceiverParameters("GOTTHARD2", n_frames=4)
    constants = receiver_constants(p)
    names = {
        "OffsetGotthard2": "offset", "NoiseGotthard2": "noise", "LUTGotthard2": "linearisation",
        "RelativeGainGotthard2": "adu_per_kev", "BadPixelsDarkGotthard2": "bad_pixels",
    }  # fmt: skip
    arrays = {key: constants.load(name, 1)[:, :, 0].T for key, name in names.items()}
    assert arrays["OffsetGotthard2"].shape == (1280, 2, 3)
    detector = detectors.load("GOTTHARD2")
    write_facility(tmp_path, detector, {"GH2_M1": arrays}, {"GH2_M1": 1}, {}, dims=dims, dtype=dtype)
    found = Constants.open(tmp_path)
    for name in names.values():
        np.testing.assert_array_equal(found.load(name, 1), constants.load(name, 1))
    found.save(tmp_path / "own.h5")
    np.testing.assert_array_equal(
        Constants.open(tmp_path / "own.h5").load("linearisation", 1), constants.load("linearisation", 1)
    )


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


def test_averages_and_regions_are_of_strips(simulated, tmp_path):
    run = simulated("GOTTHARD2")
    roi = {"line": {"kind": "strips", "module": 2, "fs_start": 100, "fs_stop": 200}}
    measure = {"lit": {"threshold": "0.7 photon"}, "average": {"by": "cell"}, "roi": roi}
    result = shotsieve.reduce(
        run.raw, recipe_of(run, measure=measure, **KEEP_ALL), tmp_path / "o", backend="cpu"
    )
    table = result.table
    with h5py.File(tmp_path / "o" / "shotsieve" / "averages.h5") as file:
        group = file["entry/frames"]
        assert group["mean"].shape == (2, 2, 1280)
        count = group["count"][:]
    with h5py.File(next((tmp_path / "o").glob("CORR*GH202*.h5"))) as file:
        data = file["INSTRUMENT/SQS_EXP_GH2-2/CORR/RECEIVER2:daqOutput/data/adc"][:]
    assert data.shape == (4, 6, 1280)
    expected = np.nansum(data[..., 100:200].astype("f8"), axis=-1).ravel()
    np.testing.assert_allclose(table.columns["roi_line_sum"], expected, rtol=1e-6)
    np.testing.assert_array_equal(count[0, 1] + count[1, 1], (~np.isnan(data)).sum(axis=(0, 1)))


def test_missing_modules_and_trains(simulated, tmp_path):
    run = simulated("GOTTHARD2", missed_trains=((2, 1),), split_at=(2,))
    result = shotsieve.reduce(run.raw, recipe_of(run, **KEEP_ALL), tmp_path / "o", backend="cpu")
    accounts = result.accounts
    assert (accounts.expected, accounts.kept) == (24, 24)
    assert accounts.partial.kept == 6
    gone = simulated("GOTTHARD2", missing_modules=(1,))
    source = open_run(gone.raw)
    assert source.modules == (2,)
    assert source.shots.cell_id[:6].tolist() == [0, 1, 0, 1, 0, 1]


def test_a_shot_is_a_frame_of_a_train_and_trains_are_kept_whole(simulated):
    run = simulated("GOTTHARD2")
    source = open_run(run.raw)
    assert source.shots.pulse_id[:7].tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert source.detector.keep_unit == "train"


# ---------------------------------------------------------------------------- ePix100


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


def test_the_same_bits_on_every_backend(simulated, tmp_path, backend_name):
    for name, changes in (("GOTTHARD2", {}), ("EPIX100", {"n_trains": 1})):
        run = simulated(name, **changes)
        found = {}
        for backend in dict.fromkeys(("cpu", backend_name)):
            out = tmp_path / f"{name}_{backend}"
            result = shotsieve.reduce(run.raw, recipe_of(run, **KEEP_ALL), out, backend=backend)
            files = sorted(path.name for path in result.out.glob("CORR*.h5"))
            found[backend] = [(out / file).read_bytes() for file in files]
        assert len({tuple(files) for files in found.values()}) == 1


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
