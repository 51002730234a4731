"""Gotthard-II at its edges, on every CPU level, emulator and reference: words, tables, what is lacking."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve import detectors
from shotsieve.constants import Constants
from shotsieve.constants.bad_pixels import BadPixels
from shotsieve.constants.facility import write_facility
from shotsieve.constants.steps import Steps
from shotsieve.errors import BadInput
from shotsieve.simulate.receiver import ReceiverParameters, receiver_constants
from shotsieve.sources.run import open_run

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


def calibrated(constants, adc, code, cells=(0,), outputs=("data", "gain", "mask"), **options):
    """Frames with the same words in every strip."""
    raw = np.empty((len(cells), 2, 1280), "u2")
    raw[:, 0], raw[:, 1] = adc, code
    return shotsieve.calibrate_frames(raw, cells, constants, [1], outputs, **options)


def test_strips_have_one_axis_from_words_to_values(any_backend):
    found = calibrated(gotthard(), 700, 0, (0, 1), unit="keV", backend=any_backend)
    assert found.data.shape == found.mask.shape == (2, 1, 1280)
    assert (np.asarray(found.data) == 20).all()


@pytest.mark.parametrize(
    ("adc", "code", "stage", "bit"),
    [(700, 0, 0, 0), (700, 1, 1, 0), (700, 3, 2, 0), (700, 2, 0, 1 << 21), (0, 3, 2, 0), (4095, 3, 2, 0),
     (0, 0, 0, 0), (4095, 0, 0, 0), (0, 1, 1, 0)],
)  # fmt: skip
def test_gain_codes_and_words_without_a_special_meaning(any_backend, adc, code, stage, bit):
    """JUNGFRAU's words for lost and saturated pixels mean nothing here."""
    found = calibrated(gotthard(), adc, code, backend=any_backend)
    assert (np.asarray(found.gain) == stage).all()
    assert (found.mask == bit).all()
    assert np.isnan(np.asarray(found.data)).all() == bool(bit)


def test_fixed_gain_that_is_not_that_of_the_words(any_backend):
    found = calibrated(gotthard(), 700, 1, gain_mode="fixed_high", backend=any_backend)
    assert (found.mask == BadPixels.WRONG_GAIN_VALUE).all()


def test_each_cell_and_strip_has_a_table_of_its_own(any_backend):
    linear = np.zeros((4096, 2, 1280), "u2")
    linear[:, 0] = np.arange(4096)[:, None] // 2 + np.arange(1280) % 7
    linear[:, 1] = 4095 - np.arange(4096)[:, None]
    found = calibrated(
        gotthard(linearisation=linear), 2000, 0, (0, 1), ("data",), unit="keV", backend=any_backend
    )
    data = np.asarray(found.data)[:, 0]
    np.testing.assert_array_equal(data[0], (1000 + np.arange(1280) % 7 - 500).astype("f4") * np.float32(0.1))
    np.testing.assert_array_equal(data[1], np.float32(2095 - 500) * np.float32(0.1))


def test_constants_with_nan_zero_and_negative_gains(any_backend):
    gain = np.full((3, 2, 1280), 10.0)
    gain[:, :, 0], gain[:, :, 1], gain[:, :, 2], gain[:, :, 3] = np.nan, 0, -10, np.inf
    offset = np.full((3, 2, 1280), 500.0)
    offset[:, :, 4] = np.nan
    found = calibrated(gotthard(adu_per_kev=gain, offset=offset), 700, 0, backend=any_backend, unit="keV")
    data = np.asarray(found.data)[0, 0]
    assert np.isnan(data[[0, 1, 3, 4]]).all()
    assert data[2] == -20  # signed gains are legal where a stage may count downwards
    assert (found.mask[0, 0, [0, 1, 3, 4]] == BadPixels.VALUE_IS_NAN).all()


@pytest.mark.parametrize(("gain_mode", "code"), [("fixed_high", 0), ("fixed_medium", 1), ("fixed_low", 3)])
def test_fixed_gain_takes_its_own_code_alone(any_backend, gain_mode, code):
    for word in (0, 1, 2, 3, 4, 65535):
        found = calibrated(gotthard(), 700, word, gain_mode=gain_mode, backend=any_backend, unit="keV")
        right = word == code
        assert (found.mask == (0 if right else BadPixels.WRONG_GAIN_VALUE)).all(), word
        np.testing.assert_array_equal(np.asarray(found.data), np.float32(20 if right else np.nan))


@pytest.mark.parametrize(("word", "entry"), [(0, 0), (4095, 4095), (4096, 0), (0x3FFF, 4095), (0xFFFF, 4095)])
def test_bits_above_those_of_the_signal_are_not_looked_up(any_backend, word, entry):
    linear = np.broadcast_to((np.arange(4096) * 16 % 65536).astype("u2")[:, None, None], (4096, 2, 1280))
    found = calibrated(gotthard(linearisation=linear), word, 0, backend=any_backend, unit="keV")
    assert (np.asarray(found.data) == (np.float32(entry * 16 % 65536) - 500) * np.float32(0.1)).all()


def test_bits_of_bad_strips_and_which_of_them_count(any_backend):
    bits = np.zeros((3, 2, 1280), "u4")
    bits[0, 0, :32] = np.uint32(1) << np.arange(32, dtype="u4")
    bits[1, 0, 40] = BadPixels.OFFSET_OUT_OF_THRESHOLD  # of a stage that no strip is in
    constants = gotthard(bad_pixels=bits)
    outputs = ("data", "mask", "unmasked_pixels")
    for counted in (0xFFFFFFFF, 1 << 5, 0):
        found = calibrated(
            constants, 700, 0, outputs=outputs, backend=any_backend, steps=Steps(bad_bits=counted)
        )
        np.testing.assert_array_equal(found.mask[0, 0], bits[0, 0])
        bad = bits[0, 0] & np.uint32(counted) != 0
        np.testing.assert_array_equal(np.isnan(np.asarray(found.data)[0, 0]), bad)
        assert found.unmasked_pixels.tolist() == [[1280 - np.count_nonzero(bad)]]


def test_counts_at_a_threshold_at_half_a_photon_and_of_nothing(any_backend):
    """Lit is strictly above; half a photon is one, and less than none is none."""
    linear = np.broadcast_to(np.arange(4096, dtype="u2")[:, None, None], (4096, 2, 1280)).copy()
    linear[700] = (500 + np.arange(-640, 640) // 16).clip(0)  # -40 to 39 ADU, sixteen strips each
    arrays = {"adu_per_kev": np.full((3, 2, 1280), 8.0), "linearisation": linear}
    outputs = ("data", "lit_pixels", "unmasked_pixels", "photons", "intensity")
    options = {"unit": "keV", "photon_energy_kev": 1.0, "lit_threshold": "2 keV", "backend": any_backend}
    found = calibrated(gotthard(**arrays), 700, 0, outputs=outputs, **options)
    value = np.asarray(found.data)[0, 0].astype("f8")
    assert (value == 2).sum() == 16
    assert found.lit_pixels[0, 0] == (value > 2).sum()
    assert found.photons[0, 0] == np.floor(np.clip(value, 0, None) + 0.5).sum()
    assert found.intensity[0, 0] == value.sum()
    arrays["bad_pixels"] = np.ones((3, 2, 1280), "u4")
    nothing = calibrated(gotthard(**arrays), 700, 0, outputs=outputs, **options)
    counts = [getattr(nothing, name).tolist() for name in outputs[1:]]
    assert counts == [[[0]]] * 4


def test_values_beyond_the_limit_have_no_value_and_say_so(any_backend):
    gain = np.full((3, 2, 1280), 10.0)
    gain[0, 0, :3] = 1e-6, -1e-6, 1e-40
    found = calibrated(gotthard(adu_per_kev=gain), 700, 0, backend=any_backend, unit="keV")
    assert np.isnan(np.asarray(found.data)[0, 0, :3]).all()
    assert (found.mask[0, 0, :2] == BadPixels.VALUE_OUT_OF_RANGE).all()
    assert (found.mask[0, 0, 2] & (BadPixels.VALUE_OUT_OF_RANGE | BadPixels.VALUE_IS_NAN)) != 0
    assert (found.mask[0, 0, 3:] == 0).all()


def test_cells_without_constants_are_unknown_and_never_left_uncorrected(any_backend):
    found = calibrated(
        gotthard(), 700, 0, (0, 7), ("data", "mask", "intensity", "unmasked_pixels"), backend=any_backend
    )
    assert found.known.tolist() == [[True], [False]]
    assert np.isnan(np.asarray(found.data)[1]).all()
    assert (found.mask[1] == BadPixels.NO_DARK_DATA).all()
    assert np.isnan(found.intensity[1, 0])


def test_without_gain_constants_values_stay_in_adu_and_it_is_said_once(any_backend, simulated, tmp_path):
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


def test_missing_dark_constants_or_tables_are_errors(any_backend, simulated, tmp_path):
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
def test_a_module_without_constants_leaves_its_shots_undecided(any_backend, simulated, tmp_path, lacking):
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


def test_missing_modules_and_trains(any_backend, simulated, tmp_path):
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


@pytest.mark.parametrize("content", ["raw", "corrected"])
def test_trains_longer_than_a_piece_are_handed_over_whole(simulated, tmp_path, monkeypatch, content):
    run = simulated("GOTTHARD2")
    sections = {**KEEP_ALL, "write": {"content": content}}
    whole = shotsieve.reduce(run.raw, recipe_of(run, **sections), tmp_path / "whole", backend="cpu")
    # Room for a frame, where a train has six and a cell of the table two.
    monkeypatch.setattr("shotsieve.engine.pixels.PASS_BYTES", 1)
    result = shotsieve.reduce(run.raw, recipe_of(run, **sections), tmp_path / "o", backend="cpu")
    assert result.accounts.kept == whole.accounts.kept == 24
    for one, other in zip(result.files, whole.files, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_an_engine_takes_trains_longer_than_a_piece(simulated, tmp_path, monkeypatch):
    run = simulated("GOTTHARD2")
    source, recipe = open_run(run.raw), recipe_of(run, **KEEP_ALL)
    del recipe["calibrate"]["constants"]
    monkeypatch.setattr("shotsieve.engine.pixels.PASS_BYTES", 1)  # room for one frame at a time
    options = {
        "backend": "cpu",
        "detector": "GOTTHARD2",
        "modules": source.modules,
        "mode": source.mode,
        "block_shots": 6,
    }
    with shotsieve.Engine(recipe, str(run.constants), **options) as engine:
        found = list(engine.run(source))
    assert [len(one.kept) for one in found] == [6] * 4
    calibrate = shotsieve.Calibrator(run.constants, modules=source.modules, backend="cpu")
    raw = np.empty((24, 2, 2, 1280), "u2")
    source.read(0, 24, raw)
    expected = np.asarray(calibrate(raw, source.shots.cell_id).data)
    np.testing.assert_array_equal(np.concatenate([one.frames["data"] for one in found]), expected)
