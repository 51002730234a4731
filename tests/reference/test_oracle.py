"""The folded float32 path against the float64 oracle, which starts from the constants as they are."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from shotsieve import detectors
from shotsieve.calibrate import CalibrateParams, list_frames
from shotsieve.constants import Constants, Steps, fold
from shotsieve.constants.fold import gain_planes
from shotsieve.linearise import linear_rows
from shotsieve.reference.calibrate import calibrate_count_folded, calibrate_unfolded
from shotsieve.reference.linearise import linearise

MODES = ("adaptive", "fixed_high", "fixed_medium", "fixed_low")
COUNTING = ("lit_threshold", "to_photon", "candidate_threshold", "mask_bad")
CELLS, FRAMES = 3, 6
QUIET = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


RAW_VALUES = Steps(
    offset=False,
    relative_gain=False,
    adjust_mg_baseline=False,
    xray_gain=False,
    ff_map=False,
    gain_amp_map=False,
    value_limit=1000.0,
    bad_bits=0xFFFF,
)


@st.composite
def calibrations(draw):
    """Every combination of switches that goes together, a gain mode, and photons or not."""
    offset = draw(st.booleans())
    steps = Steps(
        low_medium_gap=draw(st.booleans()),
        force_mg_if_below=draw(st.sampled_from([None, 0.0, 1000.0, -33.25])),
        force_hg_if_below=draw(st.sampled_from([None, 0.0, 999.5, 20000.0])),
        force_hg_reference=draw(st.sampled_from(["hg", "mg"])),
        offset=offset,
        relative_gain=offset and draw(st.booleans()),
        adjust_mg_baseline=offset and draw(st.booleans()),
        set_min=draw(st.booleans()),
        xray_gain=offset and draw(st.booleans()),
        ff_map=offset and draw(st.booleans()),
        gain_amp_map=offset and draw(st.booleans()),
        linearise=draw(st.booleans()),
        parallel_sigma_high=draw(st.sampled_from([5.0, 0.0, 20.0])),
        value_limit=draw(st.sampled_from([1e7, 1000.0])),
        bad_bits=draw(st.sampled_from([0xFFFFFFFF, 0, 0x0000FFFF])),
    )
    energy = draw(st.sampled_from([None, 9.3])) if steps.xray_gain else None
    return steps, draw(st.sampled_from(MODES)), energy, draw(st.integers(0, 2**32 - 1))


def both(detector, constants, words, cells, steps, mode, energy):
    """Return the folded result, the oracle's, and the bound on their difference."""
    steps = steps.for_detector(detector)
    unit = "photon" if energy else None
    folded = fold(constants, detector, 0, np.arange(CELLS), steps, unit, energy, gain_mode=mode)
    common = CalibrateParams.from_steps(steps, detector, mode).kernel_args()
    common = {key: value for key, value in common.items() if key not in COUNTING}
    given = words
    if steps.linearise:
        frames, groups = list_frames(np.ones((len(cells), 1), bool), cells[:, None])
        linear, given = linear_rows(constants, detector, 0, np.arange(CELLS)), np.zeros_like(words)
        linearise(words, frames, groups, linear, given)
    result = calibrate_count_folded(given, cells, folded.table, **common)

    def constant(name, used=True):
        there = used and constants.has(name)
        return constants.load(name, 0).reshape(-1, CELLS, detector.pixels) if there else None

    forcing = {
        "force_mg_if_below": steps.force_mg_if_below,
        "force_hg_if_below": steps.force_hg_if_below,
        "force_hg_reference": steps.force_hg_reference,
    }
    oracle = calibrate_unfolded(
        words,
        cells,
        offset=constant("offset"),
        subtract_offset=steps.offset,
        thresholds=constant("thresholds"),
        relative_gain=constant("relative_gain", steps.relative_gain),
        mg_baseline=constant("mg_baseline", steps.adjust_mg_baseline),
        ff_map=constant("ff_map", steps.ff_map),
        gain_amp_map=constant("gain_amp_map", steps.gain_amp_map),
        noise=constant("noise"),
        parallel_sigma=(steps.parallel_sigma_high, steps.parallel_sigma_mid),
        adu_per_kev=constant("adu_per_kev", steps.xray_gain and steps.adu_per_photon is None),
        adu_per_photon=steps.adu_per_photon,
        bad_pixels=constant("bad_pixels"),
        linearisation=constant("linearisation", steps.linearise),
        signed_gain=detector.signed_gain,
        low_medium_gap=steps.low_medium_gap,
        photon_energy_kev=energy,
        bad_bits=steps.bad_bits,
        **forcing,
        **common,
    )
    stage = oracle.stage.astype(np.int64)[:, None]
    rows = folded.table[np.maximum(cells, 0)]
    gains = gain_planes(rows.shape[1])
    offset = np.take_along_axis(rows[:, gains.start - detector.stages : gains.start], stage, 1)[:, 0]
    gain = np.take_along_axis(rows[:, gains], stage, 1)[:, 0].astype(np.float64)
    signal = np.maximum(given.max(axis=1), common["zero_adc"])  # a stored 0 is as large as what it stands for
    bound = 2.0**-20 * np.maximum(signal, np.abs(offset.astype(np.float64))) * np.abs(gain)
    return result, oracle, bound


def check(result, oracle, bound, steps):
    np.testing.assert_array_equal(result.stage & 3, oracle.stage)
    # Only at the very limit may one say out of range and the other not.
    with np.errstate(invalid="ignore"):
        at_limit = np.abs(np.fmax(np.abs(oracle.pixels), np.abs(result.pixels)) - steps.value_limit) <= bound
    good = np.isfinite(oracle.pixels)
    assert (np.isfinite(result.pixels) == good)[~at_limit].all()
    both_good = good & np.isfinite(result.pixels)
    assert (np.abs(result.pixels - oracle.pixels) <= bound)[both_good].all()

    # The stage byte says of every pixel without a value why it has none, as the bits that were found do; a
    # pixel whose constants are marked bad is not finite in the folded way.
    flags = result.stage & 0xF0
    np.testing.assert_array_equal(flags == 0, np.isfinite(result.pixels))
    marked = (oracle.static & np.uint32(steps.bad_bits)) != 0
    sure = ~at_limit & ~marked
    for flag, bit in ((0x10, 11), (0x20, 12), (0x40, 21), (0x80, 3)):
        np.testing.assert_array_equal((flags & flag != 0)[sure], (oracle.found >> bit & 1 != 0)[sure])
    assert (flags & 0x90 != 0)[marked].all()


DETECTORS = ["agipd", "jungfrau", "word", "plain", "lpd", "parallel", "dssc", "epix100", "gotthard2"]


@pytest.mark.parametrize("name", DETECTORS)
@QUIET
@given(calibration=calibrations())
@example(
    calibration=(RAW_VALUES, "adaptive", None, 3989)
)  # a constant is marked by a bit that the value raises too
def test_folded_agrees_with_unfolded(request, make_constants, make_words, name, calibration):
    detector = request.getfixturevalue(name)
    steps, mode, energy, seed = calibration
    if name in ("plain", "dssc", "epix100"):
        mode = "fixed_high"
    elif name == "parallel":
        mode = "adaptive"
    if energy and seed % 2 and name in ("lpd", "dssc", "epix100"):
        steps = dataclasses.replace(steps, adu_per_photon=14.25)
    rng = np.random.default_rng(seed)
    constants = make_constants(detector, rng, CELLS)
    words = make_words(detector, rng, FRAMES)
    cells = np.array([0, 2, -1, 1, 1, 0])
    result, oracle, bound = both(detector, constants, words, cells, steps, mode, energy)
    check(result, oracle, bound, steps)


@QUIET
@given(seed=st.integers(0, 2**32 - 1), threshold=st.sampled_from([0.5, 0.7, 1.0]))
def test_rounded_photons_agree_away_from_the_step(agipd, make_constants, make_words, seed, threshold):
    rng = np.random.default_rng(seed)
    constants = make_constants(agipd, rng, CELLS)
    words = make_words(agipd, rng, FRAMES)
    cells = rng.integers(0, CELLS, FRAMES)
    steps = Steps(round_photons=True, rounding_threshold=threshold)
    result, oracle, _ = both(agipd, constants, words, cells, steps, "adaptive", 9.3)
    plain = dataclasses.replace(steps, round_photons=False)
    _, exact, bound = both(agipd, constants, words, cells, plain, "adaptive", 9.3)
    fraction = exact.pixels - np.floor(exact.pixels)
    away = np.abs(fraction - threshold) > bound + 1e-12
    away &= np.minimum(fraction, 1 - fraction) > bound  # 3.9999999 and 4.0000001
    away &= np.isfinite(oracle.pixels) & np.isfinite(result.pixels)
    assert away.any()
    np.testing.assert_array_equal(result.pixels[away], oracle.pixels[away])


def one_pixel(**arrays):
    """Return an AGIPD-like detector and constants of one pixel, one cell."""
    detector = dataclasses.replace(detectors.load("AGIPD1M"), shape=(1, 1))
    full = {
        "offset": [5000.25, 7000.5, 7100],
        "thresholds": [6000.5, 9000],
        "relative_gain": [1, 32, 128],
        "mg_baseline": [0],
        "adu_per_kev": [8],
        **arrays,
    }
    parts = {name: np.float32(value).reshape(-1, 1, 1, 1) for name, value in full.items()}
    return detector, Constants.from_arrays(detector, parts, modules=[0])


def stages(words, steps, **arrays):
    """Return the stages of (adc, digital) pairs by both ways, after checking that they are equal."""
    detector, constants = one_pixel(**arrays)
    raw = np.array(words, np.uint16).reshape(-1, 2, 1)
    cells = np.zeros(len(raw), int)
    folded = fold(constants, detector, 0, [0], steps)
    result = calibrate_count_folded(raw, cells, folded.table, encoding=0, set_min=steps.set_min)
    oracle = calibrate_unfolded(
        raw,
        cells,
        **{
            name: constants.load(name, 0).reshape(-1, 1, 1)
            for name in ("offset", "thresholds", "relative_gain", "mg_baseline", "adu_per_kev")
        },
        low_medium_gap=steps.low_medium_gap,
        force_mg_if_below=steps.force_mg_if_below,
        force_hg_if_below=steps.force_hg_if_below,
        force_hg_reference=steps.force_hg_reference,
        set_min=steps.set_min,
    )
    np.testing.assert_array_equal(result.stage[:, 0] & 3, oracle.stage[:, 0])
    return oracle.stage[:, 0].tolist()


def test_a_level_equal_to_a_threshold_stays_below_it():
    words = [(0, d) for d in (5999, 6000, 6001, 8999, 9000, 9001, 65535)]
    assert stages(words, Steps()) == [0, 0, 1, 1, 1, 2, 2]
    # An integer threshold is met exactly.
    assert stages([(0, 6000), (0, 6001)], Steps(), thresholds=[6000, 9000]) == [0, 1]


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        ([6000, 5000], [0, 0, 1, 1]),  # t1 < t0: the gap rule shuts low gain
        ([6000, 65535], [0, 0, 1, 1]),
        ([np.nan, 5000], [0, 0, 0, 0]),
        ([6000, np.nan], [0, 0, 1, 1]),
        ([-np.inf, np.inf], [1, 1, 1, 1]),
        ([65535, 65535], [0, 0, 0, 0]),
    ],
)
def test_odd_thresholds(thresholds, expected):
    words = [(0, d) for d in (0, 5500, 6001, 65535)]
    assert stages(words, Steps(), thresholds=thresholds) == expected


def test_crossed_thresholds_without_the_gap_rule():
    steps = Steps(low_medium_gap=False)
    assert stages([(0, 5500), (0, 6001)], steps, thresholds=[6000, 5000]) == [0, 2]


def test_forced_levels_met_exactly():
    mg = Steps(force_mg_if_below=1000)  # level 7000.5 + 1000
    assert stages([(8000, 9500), (8001, 9500)], mg) == [1, 2]
    exact = Steps(force_mg_if_below=999.5)  # level 8000: below it, not at it
    assert stages([(7999, 9500), (8000, 9500)], exact) == [1, 2]
    hg = Steps(force_hg_if_below=1000)  # level 6000.25
    assert stages([(6000, 7000), (6001, 7000), (6000, 9500), (6001, 9500)], hg) == [0, 1, 0, 2]
    other = Steps(force_hg_if_below=1000, force_hg_reference="mg")  # level 8000.5
    assert stages([(8000, 7000), (8001, 7000)], other) == [0, 1]


def test_low_to_medium_to_high_in_one_go():
    steps = Steps(force_mg_if_below=1000, force_hg_if_below=1000)
    assert stages([(6000, 9500), (7000, 9500), (8001, 9500)], steps) == [0, 1, 2]


def test_a_level_without_an_offset_forces_nothing():
    steps = Steps(force_mg_if_below=1000, force_hg_if_below=1000)
    assert stages([(0, 9500)], steps, offset=[np.nan, np.nan, 7100]) == [2]
