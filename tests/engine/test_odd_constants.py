"""Constants that are broken are said to be: counted in the notes, and their pixels flagged."""

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.constants import BadPixels, Constants, Steps
from shotsieve.errors import BadInput
from shotsieve.odd_constants import FLAGGED

NAN_BIT = int(BadPixels.VALUE_IS_NAN)


@pytest.fixture(scope="module")
def given(simulated):
    sim = simulated("usual")
    constants = Constants.open(sim.constants)
    arrays = {n: {m: constants.load(n, m) for m in (3, 4)} for n in constants.names}
    return sim, constants, arrays


def reduce(given, places, change, **calibrate):
    """Reduce with constants of module 3 changed in memory cell 1, of pixels that are good in every stage."""
    sim, (odd, good) = given[0], changed(given, change)
    recipe = {"calibrate": calibrate, "measure": {"lit": {"threshold": "0.7 photon"}}}
    recipe["write"] = {"content": "corrected"}
    result = shotsieve.reduce(sim.raw, recipe, places / "r0001", constants=odd, backend="cpu")
    return result, [note for note in result.accounts.notes if note.startswith("constants: ")], good


def broken(arrays, good):
    """Break the gains of four good pixels, each in three stages, and an offset."""
    for number, value in enumerate((0.0, -5.0, np.nan, np.inf)):
        arrays["adu_per_kev"][0][tuple(good[number])] = value
    arrays["offset"][0][tuple(good[4])] = np.nan


def changed(given, change):
    """Return constants of which those of module 3 are changed in memory cell 1, and its good pixels."""
    _, constants, arrays = given
    mine = {name: {m: array.copy() for m, array in of.items()} for name, of in arrays.items()}
    good = np.argwhere((mine["bad_pixels"][3][:, 1] == 0).all(axis=0))
    change({name: of[3][:, 1] for name, of in mine.items()}, good)
    return Constants.from_arrays(constants.detector, mine, conditions=constants.conditions), good


def test_broken_gains_are_counted_and_flagged(given, places):
    result, [note], good = reduce(given, places, broken)
    # Each spoils three stages; the offset one.
    assert note.startswith("constants: 13 of ")
    assert "flagged VALUE_IS_NAN" in note
    file = next(result.out.glob("*AGIPD03*.h5"))
    with h5py.File(file) as f:
        group = f["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/3CH0:output/image"]
        cell = group["cellId"][()].reshape(-1) == 1
        mask, data = group["mask"][cell], group["data"][cell]
    for ss, fs in good[:4]:
        assert (mask[:, ss, fs] & NAN_BIT).all()
        assert np.isnan(data[:, ss, fs]).all()


def test_broken_gains_of_frames_in_memory(given, places, backend_name):
    """The same words as of a reduction; of one gain mode only what its stage has."""
    _, [note], _ = reduce(given, places, broken)
    odd, good = changed(given, broken)
    calibrate = shotsieve.Calibrator(odd, backend=backend_name)
    assert calibrate.notes == [note]
    found = calibrate(np.full((1, 2, 2, 512, 128), 5000, "u2"), [1], ("data", "mask"))
    at = (0, 0, *good[:4].T)
    assert (found.mask[at] == NAN_BIT).all()
    assert np.isnan(found.data[at]).all()
    one = shotsieve.Calibrator(odd, [3], gain_mode="fixed_low", force=True, backend=backend_name)
    assert one.notes[-1].startswith("constants: 4 of 262,144 gains or offsets are zero")
    assert shotsieve.Calibrator(odd, [4], backend=backend_name).notes == []
    everywhere, _ = changed(given, lambda arrays, good: arrays["adu_per_kev"].fill(0))
    [note] = shotsieve.Calibrator(everywhere, [3], [1], backend=backend_name).notes
    assert "gains or offsets are zero" in note


def test_modules_and_cells_without_constants_of_frames_in_memory(given, backend_name):
    _, constants, arrays = given
    note, told = f"no constants for {{}}: {FLAGGED}", {"backend": backend_name}
    lacking = "offset, thresholds, relative_gain, mg_baseline, adu_per_kev"
    some = shotsieve.Calibrator(constants, [3, 5], **told)
    assert some.notes == [note.format(f"module 5 ({lacking})")]
    for cells, which in (([1, 9, 351], "memory cell 9, 351"), ([351], "memory cell 351 of module 3")):
        assert shotsieve.Calibrator(constants, [3], cells, **told).notes == [note.format(which)]
    frames = np.zeros((1, 1, 2, 512, 128), "u2")
    refused = r"none of modules 5 has all the constants that are needed \(offset, .*are of modules 3, 4"
    with pytest.raises(BadInput, match=refused):
        shotsieve.Calibrator(constants, [5], **told)
    with pytest.raises(BadInput, match=refused):
        shotsieve.calibrate_frames(frames, [0], constants, [5], **told)
    # One that lacks a single constant cannot be calibrated either.
    less = arrays | {"adu_per_kev": {4: arrays["adu_per_kev"][4]}}
    partly = Constants.from_arrays(constants.detector, less, conditions=constants.conditions)
    assert shotsieve.Calibrator(partly, **told).notes == [note.format("module 3 (adu_per_kev)")]
    with pytest.raises(BadInput, match=r"needed \(adu_per_kev\): no frame would have a value"):
        shotsieve.Calibrator(partly, [3], **told)
    # A cell without constants is unknown, in a call by itself as in one with others.
    assert not shotsieve.calibrate_frames(frames, [351], constants, [3], **told).known.any()


def crossed(arrays, good):
    """Cross the thresholds of seven good pixels, and of one that is marked already."""
    low, high = arrays["thresholds"]
    at = tuple(good[:8].T)
    high[at] = low[at] - 100
    arrays["bad_pixels"][(slice(1, 3), *good[7])] = BadPixels.NOISE_OUT_OF_THRESHOLD


def masks_and_stages(result, cell):
    file = next(result.out.glob("*AGIPD03*.h5"))
    with h5py.File(file) as f:
        group = f["INSTRUMENT/SPB_DET_AGIPD1M-1/CORR/3CH0:output/image"]
        of_cell = group["cellId"][()].reshape(-1) == cell
        return group["mask"][of_cell], group["gain"][of_cell]


@pytest.mark.parametrize("gap", [True, False])
def test_thresholds_out_of_order_are_told(given, places, gap):
    result, [note], good = reduce(given, places, crossed, low_medium_gap=gap)
    assert note.startswith("constants: of 7 pixels the threshold to low gain is below the one to medium gain")
    assert ("never go to low gain" in note) == gap
    assert ("flagged GAIN_THRESHOLDING_ERROR in medium and low gain" in note) != gap
    mask, gain = masks_and_stages(result, cell=1)
    pixels = (slice(None), *good[:7].T)
    bit = int(BadPixels.GAIN_THRESHOLDING_ERROR)
    # The rule of the gap keeps them in use; without it they are flagged in every stage but high gain.
    flagged = mask[pixels] & bit != 0
    np.testing.assert_array_equal(flagged, np.zeros_like(flagged) if gap else gain[pixels] > 0)


@pytest.mark.parametrize("gap", [True, False])
def test_thresholds_out_of_order_of_frames_in_memory(given, gap):
    odd, good = changed(given, crossed)
    calibrate = shotsieve.Calibrator(odd, [3], steps=Steps(low_medium_gap=gap), backend="cpu")
    [note] = calibrate.notes
    assert note.startswith("constants: of 7 pixels the threshold to low gain")
    # All in medium gain and beyond: whatever has no rule is flagged, and never given a value.
    words = np.full((1, 1, 2, 512, 128), 65535, "u2")
    words[:, :, 0] = 9000
    found = calibrate(words, [1], ["data", "mask", "gain"])
    at = (0, 0, *good[:7].T)
    bit = int(BadPixels.GAIN_THRESHOLDING_ERROR)
    assert (found.gain[at] == (1 if gap else 2)).all()
    assert (found.mask[at] & bit != 0).all() != gap
    assert np.isfinite(found.data[at]).all() == gap
    fixed = shotsieve.Calibrator(odd, [3], gain_mode="fixed_high", force=True, backend="cpu")
    assert [note for note in fixed.notes if note.startswith("constants")] == []


VALUES = np.array([np.nan, -np.nan, np.inf, -np.inf], "f4")


def spoil(rng):
    """Return what spoils thresholds of nine good pixels, the first five those to medium gain."""

    def change(arrays, good):
        low, high = arrays["thresholds"]
        at = tuple(good[:9].T)
        low[tuple(good[:5].T)] = rng.choice(VALUES, 5)
        high[tuple(good[3:9].T)] = rng.choice(VALUES, 6)
        arrays["bad_pixels"][(slice(None), *good[8])] = BadPixels.NOISE_OUT_OF_THRESHOLD
        assert not np.isfinite(arrays["thresholds"][(slice(None), *at)]).all(axis=0).any()

    return change


NOT_FINITE = (
    "constants: of 8 pixels a threshold is not finite, and no bit of the mask says so: they are flagged"
)


@pytest.mark.parametrize("gap", [True, False])
def test_thresholds_that_are_not_finite_are_told(given, places, rng, gap):
    result, [note], good = reduce(given, places, spoil(rng), low_medium_gap=gap)
    assert note.startswith(NOT_FINITE)
    mask, gain = masks_and_stages(result, cell=1)
    bit = int(BadPixels.GAIN_THRESHOLDING_ERROR)
    assert (mask[(slice(None), *good[:5].T)] & bit != 0).all()
    rest = (slice(None), *good[5:9].T)
    np.testing.assert_array_equal(mask[rest] & bit != 0, gain[rest] > 0)


@pytest.mark.parametrize("gap", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_thresholds_that_are_not_finite_of_frames_in_memory(given, backend_name, rng, gap, packed):
    _, constants, arrays = given
    mine = {name: {m: array.copy() for m, array in of.items()} for name, of in arrays.items()}
    good = np.argwhere((mine["bad_pixels"][3][:, 1] == 0).all(axis=0))
    spoil(rng)({name: of[3][:, 1] for name, of in mine.items()}, good)
    odd = Constants.from_arrays(constants.detector, mine, conditions=constants.conditions)
    steps = Steps(low_medium_gap=gap, packed_constants=packed)
    calibrate = shotsieve.Calibrator(odd, [3], steps=steps, backend=backend_name)
    [note] = calibrate.notes
    assert note.startswith(NOT_FINITE)
    words = np.zeros((2, 1, 2, 512, 128), "u2")
    words[:, :, 0], words[1, :, 1] = 9000, 65535
    found = calibrate(words, [1, 1], ["data", "mask", "gain"])
    at = (slice(None), 0, *good[:9].T)
    bit = int(BadPixels.GAIN_THRESHOLDING_ERROR)
    flagged = found.mask[at] & bit != 0
    np.testing.assert_array_equal(flagged, (np.arange(9) < 5) | (found.gain[at] > 0))
    assert np.isnan(found.data[at][flagged]).all()
    # In high gain the threshold to low gain says nothing, of the pixels without a bit of their own.
    there = found.gain[at][0, 5:8] == 0
    np.testing.assert_array_equal(np.isfinite(found.data[at][0, 5:8]), there)
    fixed = shotsieve.Calibrator(odd, [3], gain_mode="fixed_high", force=True, backend=backend_name)
    assert [note for note in fixed.notes if note.startswith("constants")] == []


def test_good_constants_say_nothing(given, places):
    assert reduce(given, places, lambda arrays, good: None)[1] == []
