"""Constants that are broken are said to be: counted in the notes, and their pixels flagged."""

import h5py
import numpy as np
import pytest
import shotsieve
from shotsieve.constants import BadPixels, Constants, Steps

NAN_BIT = int(BadPixels.VALUE_IS_NAN)


@pytest.fixture(scope="module")
def given(simulated):
    sim = simulated("usual")
    constants = Constants.open(sim.constants)
    arrays = {n: {m: constants.load(n, m) for m in (3, 4)} for n in constants.names}
    return sim, constants, arrays


def reduce(given, places, change, **calibrate):
    """Reduce with constants of module 3 changed in memory cell 1, of pixels that are good in every stage."""
    sim, constants, arrays = given
    mine = {name: {m: array.copy() for m, array in of.items()} for name, of in arrays.items()}
    good = np.argwhere((mine["bad_pixels"][3][:, 1] == 0).all(axis=0))
    change({name: of[3][:, 1] for name, of in mine.items()}, good)
    odd = Constants.from_arrays(constants.detector, mine, conditions=constants.conditions)
    recipe = {"calibrate": calibrate, "measure": {"lit": {"threshold": "0.7 photon"}}}
    recipe["write"] = {"content": "corrected"}
    result = shotsieve.reduce(sim.raw, recipe, places / "r0001", constants=odd, backend="cpu")
    return result, [note for note in result.accounts.notes if note.startswith("constants: ")], good


def test_broken_gains_are_counted_and_flagged(given, places):
    def change(arrays, good):
        for number, value in enumerate((0.0, -5.0, np.nan, np.inf)):
            arrays["adu_per_kev"][0][tuple(good[number])] = value
        arrays["offset"][0][tuple(good[4])] = np.nan

    result, [note], good = reduce(given, places, change)
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
    _, constants, arrays = given
    mine = {name: {m: array.copy() for m, array in of.items()} for name, of in arrays.items()}
    good = np.argwhere((mine["bad_pixels"][3][:, 1] == 0).all(axis=0))
    crossed({name: of[3][:, 1] for name, of in mine.items()}, good)
    odd = Constants.from_arrays(constants.detector, mine, conditions=constants.conditions)
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


def test_good_constants_say_nothing(given, places):
    assert reduce(given, places, lambda arrays, good: None)[1] == []
