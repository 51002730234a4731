"""Folding: numbers by hand, what is refused, and what a missing constant means."""

import sys

import numpy as np
import pytest
from shotsieve.constants import BadPixels, Constants, Steps, fold, required
from shotsieve.errors import BadInput

NAN_BITS = 0x7FC00000


def filled(detector, **values):
    """Return constants of module 0, two cells, with the given value in every gain, cell and pixel."""
    arrays = {}
    for name, value in values.items():
        value = np.asarray(value)
        arrays[name] = np.broadcast_to(value.reshape(-1, 1, 1, 1), (value.size, 2, *detector.shape)).astype(
            "u4" if name == "bad_pixels" else "f4"
        )
    return Constants.from_arrays(detector, {name: array[None] for name, array in arrays.items()}, modules=[0])


def bits_of(folded):
    return folded.table.view("u4").tolist(), folded.mask.tolist(), folded.known.tolist()


FULL = {
    "offset": [5000.25, 7000.5, 7100],
    "thresholds": [6000.5, 9000],
    "relative_gain": [1, 32, 128],
    "mg_baseline": [64],
    "adu_per_kev": [8],
    "bad_pixels": [0, 0, 0],
}


def test_any_room_and_any_number_of_threads(agipd, monkeypatch):
    """Cells without constants between others; what stood in the room before is of no matter."""
    rng = np.random.default_rng(5)
    arrays = {
        name: {0: rng.normal(values[0], 5, (len(values), 9, *agipd.shape)).astype("f4")}
        for name, values in FULL.items()
        if name != "bad_pixels"
    }
    arrays["offset"][0][:, 4] = np.nan
    constants = Constants.from_arrays(agipd, arrays, cell_ids=[0, 1, 2, 4, 5, 6, 8, 9, 10])
    for mode in ("adaptive", "fixed_high"):
        one = {cell: fold(constants, agipd, 0, [cell], Steps(), gain_mode=mode) for cell in range(11)}
        room = np.full((11, 8, 32), 7, "f4"), np.full((11, 3, 32), 7, "u4")
        for threads in (1, 3):
            monkeypatch.setattr(sys.modules[fold.__module__], "usable_cpus", lambda n=threads: n)
            for into in (None, room):
                folded = fold(constants, agipd, 0, np.arange(11), Steps(), gain_mode=mode, into=into)
                for cell, alone in one.items():
                    assert bits_of(alone) == bits_of(type(folded)(*(part[[cell]] for part in folded)))
        assert folded.known.tolist() == [cell not in (3, 5, 7) for cell in range(11)]
        assert folded.table is room[0]


def test_by_hand(agipd):
    folded = fold(filled(agipd, **FULL), agipd, 0, [0, 1], Steps())
    assert (folded.table.shape, folded.table.dtype) == ((2, 8, 32), np.float32)
    assert (folded.mask.shape, folded.mask.dtype) == ((2, 3, 32), np.uint32)
    assert folded.known.all()
    expected = [6000, 9000, 5000.25, 7000.5 - 64 / 32, 7100, 1 / 8, 32 / 8, 128 / 8]
    np.testing.assert_array_equal(folded.table[1, :, 7], np.float32(expected))


def test_photons_and_forced_levels(agipd):
    steps = Steps(force_mg_if_below=1000, force_hg_if_below=1000.5)
    folded = fold(filled(agipd, **FULL), agipd, 0, [1], steps, "photon", 10.0)
    # Levels are raw ADC above the pedestal itself, rounded up: adc < 8000.5 is adc < 8001.
    np.testing.assert_array_equal(folded.table[0, 8:, 0], [8001, 6001])
    np.testing.assert_array_equal(folded.table[0, 5:8, 0], np.float32([1 / 80, 32 / 80, 128 / 80]))
    folded = fold(filled(agipd, **FULL), agipd, 0, [1], Steps(force_hg_if_below=0, force_hg_reference="mg"))
    assert np.isnan(folded.table[0, 8]).all()
    assert (folded.table[0, 9] == 7001).all()


def test_switches(agipd):
    constants = filled(agipd, **FULL)

    def planes(**steps):
        return fold(constants, agipd, 0, [0], Steps(**steps)).table[0, :, 0]

    np.testing.assert_array_equal(planes(adjust_mg_baseline=False)[2:5], np.float32(FULL["offset"]))
    np.testing.assert_array_equal(planes(relative_gain=False)[[3, 6]], [7000.5 - 64, 1 / 8])
    np.testing.assert_array_equal(planes(xray_gain=False)[5:], [1, 32, 128])
    raw = planes(offset=False, relative_gain=False, adjust_mg_baseline=False, xray_gain=False)
    np.testing.assert_array_equal(raw[2:], [0, 0, 0, 1, 1, 1])


def test_narrow_gap_never_goes_to_low_gain(agipd):
    def low_threshold(t1, **steps):
        constants = filled(agipd, **{**FULL, "thresholds": [1000, t1]})
        return fold(constants, agipd, 0, [0], Steps(**steps)).table[0, 1, 0]

    assert low_threshold(1050) == 65535
    assert low_threshold(900) == 65535
    assert low_threshold(1050.1) == 1050
    assert low_threshold(1050, low_medium_gap=False) == 1050


def test_bad_pixels_become_nan_gains_of_their_stage(agipd):
    bits = [int(BadPixels.NOISY_ADC), int(BadPixels.INTERPOLATED | BadPixels.NON_STANDARD_SIZE), 1 << 25]
    constants = filled(agipd, **{**FULL, "bad_pixels": bits})
    folded = fold(constants, agipd, 0, [0], Steps())
    assert np.isnan(folded.table[0, 5:8, 0]).tolist() == [True, False, True]
    assert (folded.table[0, 5].view(np.uint32) == NAN_BITS).all()
    assert folded.mask[0, :, 0].tolist() == bits
    everything = fold(constants, agipd, 0, [0], Steps(bad_bits=0xFFFFFFFF))
    assert np.isnan(everything.table[0, 5:8]).all()
    nothing = fold(constants, agipd, 0, [0], Steps(bad_bits=0))
    assert np.isfinite(nothing.table).all()


@pytest.mark.parametrize(
    ("name", "value", "stages"),
    [
        ("offset", [np.nan, 0, np.inf], [0, 2]),
        ("relative_gain", [1, 0, -1], [1, 2]),
        ("relative_gain", [np.inf, 1, np.nan], [0, 2]),
        ("mg_baseline", [np.nan], [1]),
        ("adu_per_kev", [0], [0, 1, 2]),
        ("adu_per_kev", [-8], [0, 1, 2]),
        ("adu_per_kev", [np.inf], [0, 1, 2]),
        ("adu_per_kev", [1e-38], [1, 2]),  # 32e38 is beyond float32
    ],
)
def test_broken_constants_become_nan_gains(agipd, name, value, stages):
    folded = fold(filled(agipd, **{**FULL, name: value}), agipd, 0, [0], Steps())
    gains = folded.table[0, 5:8, 0]
    assert np.flatnonzero(np.isnan(gains)).tolist() == stages
    values = folded.table[0]
    assert not np.isinf(values).any()
    assert (values[np.isnan(values)].view(np.uint32) == NAN_BITS).all()


def test_nan_thresholds_stay_nan(agipd):
    folded = fold(filled(agipd, **{**FULL, "thresholds": [-np.nan, np.nan]}), agipd, 0, [0], Steps())
    assert (folded.table[0, :2].view(np.uint32) == NAN_BITS).all()


def test_signed_gains(jungfrau):
    constants = Constants.from_arrays(
        jungfrau,
        {
            "offset": np.broadcast_to(np.float32([3000, 15000, 14500]).reshape(3, 1, 1, 1), (3, 1, 4, 8)),
            "adu_per_kev": np.broadcast_to(np.float32([41, -1.439, 0]).reshape(3, 1, 1, 1), (3, 1, 4, 8)),
        },
        modules=[1],
    )
    folded = fold(constants, jungfrau, 1, [15, 0], Steps())
    assert folded.known.tolist() == [True, False]
    assert np.isnan(folded.table[0, :2]).all()
    assert folded.table[0, 6, 0] == np.float32(1 / np.float64(np.float32(-1.439)))
    assert np.isnan(folded.table[0, 7]).all()
    assert np.isnan(folded.table[1, 5:]).all()
    assert (folded.mask[1] == BadPixels.NO_DARK_DATA).all()
    assert (folded.mask[0] == 0).all()


def test_cells_without_constants_are_unknown(agipd):
    folded = fold(filled(agipd, **FULL), agipd, 0, np.array([5, 1, 352, 0], np.uint16), Steps())
    assert folded.known.tolist() == [False, True, False, True]
    assert np.isnan(folded.table[[0, 2]]).all()
    assert np.isfinite(folded.table[[1, 3]]).all()
    assert fold(filled(agipd, **FULL), agipd, 0, [], Steps()).table.shape == (0, 8, 32)


def test_a_module_that_lacks_a_constant_is_unknown(agipd):
    arrays = {name: {m: np.ones((len(value), 1, 4, 8)) for m in (0, 1)} for name, value in FULL.items()}
    del arrays["relative_gain"][1]
    constants = Constants.from_arrays(agipd, arrays)
    assert fold(constants, agipd, 0, [0], Steps()).known.all()
    assert not fold(constants, agipd, 1, [0], Steps()).known.any()
    assert not fold(constants, agipd, 7, [0], Steps()).known.any()
    assert fold(constants, agipd, 1, [0], Steps(relative_gain=False)).known.all()


def test_a_cell_whose_constants_are_worth_nothing_is_unknown(agipd):
    none, some = int(BadPixels.NO_DARK_DATA), int(BadPixels.NOISY_ADC)
    by_bits = fold(filled(agipd, **{**FULL, "bad_pixels": [none] * 3}), agipd, 0, [0], Steps())
    by_value = fold(filled(agipd, **{**FULL, "offset": [np.nan] * 3}), agipd, 0, [0], Steps())
    for folded in (by_bits, by_value):
        assert not folded.known.any()
        assert np.isnan(folded.table).all()
        assert (folded.mask & none == none).all()
    # Masked throughout for another reason is known: there is nothing to count, and that is the answer.
    assert fold(filled(agipd, **{**FULL, "bad_pixels": [some] * 3}), agipd, 0, [0], Steps()).known.all()
    mixed = filled(agipd, **{**FULL, "bad_pixels": [none, 0, 0]})
    assert fold(mixed, agipd, 0, [0], Steps()).known.all()
    assert not fold(mixed, agipd, 0, [0], Steps(), gain_mode="fixed_high").known.any()
    assert fold(mixed, agipd, 0, [0], Steps(), gain_mode="fixed_low").known.all()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("offset", "offset = false"),
        ("thresholds", "gain_mode = "),
        ("relative_gain", "relative_gain = false"),
        ("mg_baseline", "adjust_mg_baseline = false"),
        ("adu_per_kev", "xray_gain = false"),
    ],
)
def test_constants_that_a_step_needs(agipd, name, text):
    values = {key: value for key, value in FULL.items() if key != name}
    if name == "offset":
        values["noise"] = [1, 1, 1]
    with pytest.raises(BadInput, match=f"no '{name}'.*{text}"):
        fold(filled(agipd, **values), agipd, 0, [0], Steps())


def test_fixed_gain_needs_no_thresholds_and_forces_nothing(agipd):
    values = {key: value for key, value in FULL.items() if key != "thresholds"}
    steps = Steps(force_hg_if_below=1000, force_mg_if_below=1000)
    folded = fold(filled(agipd, **values), agipd, 0, [0], steps, gain_mode="fixed_medium")
    assert folded.table.shape[1] == 8
    assert np.isnan(folded.table[0, :2]).all()
    assert required(agipd, Steps(), "fixed_low") == ("offset", "relative_gain", "mg_baseline", "adu_per_kev")


def test_refused(agipd, jungfrau):
    constants = filled(agipd, **FULL)
    with pytest.raises(BadInput, match="are of AGIPD1M, but the detector is JUNGFRAU"):
        fold(constants, jungfrau, 0, [0], Steps())
    with pytest.raises(BadInput, match=r"photon_energy = \"9.3 keV\""):
        fold(constants, agipd, 0, [0], Steps(), "photon")
    with pytest.raises(BadInput, match="9300 eV"):
        fold(constants, agipd, 0, [0], Steps(), "photon", 9300)
    with pytest.raises(BadInput, match="not one of adaptive"):
        fold(constants, agipd, 0, [0], Steps(), gain_mode="auto")


def test_many_cells_are_folded_as_few_are(agipd):
    rng = np.random.default_rng(1)
    arrays = {
        name: rng.uniform(1, 100, (1, len(value), 21, 4, 8)).astype("f4")
        for name, value in FULL.items()
        if name != "bad_pixels"
    }
    constants = Constants.from_arrays(agipd, arrays, modules=[0])
    cells = rng.permutation(21)
    whole = fold(constants, agipd, 0, cells, Steps(force_hg_if_below=10.0), "photon", 9.3)
    for i, cell in enumerate(cells):
        one = fold(constants, agipd, 0, [cell], Steps(force_hg_if_below=10.0), "photon", 9.3)
        np.testing.assert_array_equal(whole.table[i].view("u4"), one.table[0].view("u4"))
