"""Frames in memory of which some are not there: told by `present`, not looked at, the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from shotsieve import backend as backends
from shotsieve.bench.cases import KINDS, make_case
from shotsieve.constants import BadPixels, Constants, Steps
from shotsieve.errors import BadInput

MODULES, SHOTS = (3, 4), 6
ALL = ("data", "gain", "mask", "sparse_mask", "lit_pixels", "unmasked_pixels", "intensity")
COUNTS = ("lit_pixels", "unmasked_pixels", "intensity")


@pytest.fixture(scope="module")
def dssc() -> Constants:
    """Offsets that differ from pixel to pixel, of cells 0 and 1."""
    rng = np.random.default_rng(4)
    offset = rng.uniform(30, 50, (1, 2, 128, 512)).astype("f4")
    return Constants.from_arrays("DSSC1M", {"offset": dict.fromkeys(MODULES, offset)})


@pytest.fixture
def shots(rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Words, memory cells, and which frames are there; where none is, words of any kind."""
    raw = rng.integers(0, 257, (SHOTS, len(MODULES), 1, 128, 512)).astype("u2")
    present = rng.integers(0, 2, raw.shape[:2]).astype(bool)
    present[:2] = [[False, True], [True, False]]
    filler = rng.choice([0, 300, 65535])  # of which two are refused where they are looked at
    raw[~present] = filler
    return raw, rng.integers(0, 2, SHOTS), present


def calibrator(constants, backend, **more):
    told = {"steps": Steps(xray_gain=False), "lit_threshold": 60.0} | more
    return shotsieve.Calibrator(constants, backend=backend, **told)


def test_frames_that_are_absent_have_no_value(dssc, shots, any_backend):
    raw, cells, present = shots
    found = calibrator(dssc, any_backend)(raw, cells, ALL, present=present)
    np.testing.assert_array_equal(found.known, present)
    data, mask, gain = (np.asarray(one) for one in (found.data, found.mask, found.gain))
    assert np.isnan(data[~present]).all()
    assert (mask[~present] == BadPixels.NO_DARK_DATA).all()
    assert (gain[~present] == 0).all()
    np.testing.assert_array_equal(found.sparse_mask.restore().reshape(mask.shape), mask)
    assert (found.lit_pixels[~present] == -1).all()
    assert (found.unmasked_pixels[~present] == -1).all()
    assert np.isnan(found.intensity[~present]).all()
    # All others are as if the absent ones were any words.
    other = raw.copy()
    other[~present] = 77
    whole = calibrator(dssc, any_backend)(other, cells, ALL)
    for name in ("data", "mask", "gain", *COUNTS):
        one, every = (np.asarray(getattr(each, name)) for each in (found, whole))
        np.testing.assert_array_equal(one[present], every[present])


@pytest.mark.parametrize("kind", KINDS)
def test_absent_frames_are_those_without_constants(kind, tmp_path, any_backend, rng):
    """Of each kind of word, to the last bit."""
    case = make_case(kind, tmp_path, modules=1, cells=2, trains=1)
    calibrate = shotsieve.Calibrator(case.constants, photon_energy_kev=9.3, backend=any_backend)
    outputs = (*ALL, "photons")
    raw = np.array(case.raw[0])
    absent = calibrate(raw, [0, 1], outputs, present=np.array([True, False]))
    unknown = calibrate(raw, [0, 10_000], outputs)
    raw[1] = rng.integers(0, 65536, raw[1].shape)
    filled = calibrate(raw, [0, 1], outputs, present=np.array([[True], [False]]))
    for name in ("data", "mask", "gain", *COUNTS, "photons", "known"):
        expected = np.asarray(getattr(unknown, name)).tobytes()
        assert np.asarray(getattr(absent, name)).tobytes() == expected, name
        assert np.asarray(getattr(filled, name)).tobytes() == expected, name


def test_it_may_lie_on_the_device(dssc, shots, device_name):
    raw, cells, present = shots
    device = backends.get(device_name).device
    stream, there = device.stream(), []
    for array in (raw, present):
        there.append(device.empty(array.shape, array.dtype))
        device.to_device(there[-1], array, stream)
    device.wait(device.record(stream))
    found = calibrator(dssc, device_name)(there[0], cells, COUNTS, stream, there[1])
    expected = calibrator(dssc, "cpu")(raw, cells, COUNTS, present=present)
    for name in (*COUNTS, "known"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_an_engine_means_the_same_by_it(dssc, shots, host_name):
    raw, cells, present = shots
    found = shotsieve.calibrate_frames(
        raw, cells, dssc, MODULES, ("data", "mask", "lit_pixels"), present, backend=host_name,
        steps=Steps(xray_gain=False), lit_threshold=60.0,
    )  # fmt: skip
    recipe = {
        "calibrate": {"xray_gain": False, "gain_mode": "adaptive"},
        "measure": {"lit": {"threshold": "60 ADU"}},
        "keep": {"rule": "lit_pixels >= 0", "undecided": "keep"},
        "write": {"content": "corrected"},
    }
    told = {"detector": "DSSC1M", "modules": MODULES, "block_shots": SHOTS, "backend": host_name}
    with shotsieve.Engine(recipe, dssc, **told) as engine:
        block = shotsieve.Block(raw, np.arange(SHOTS), np.arange(SHOTS), cells, present=present)
        result = engine.submit(block).result()
    np.testing.assert_array_equal(result.frames["data"], found.data)
    np.testing.assert_array_equal(result.frames["mask"], found.mask)
    measured = result.table.measures["lit_pixels"]
    np.testing.assert_array_equal(measured[present], found.lit_pixels[present])


@pytest.mark.parametrize(
    ("present", "words"),
    [
        (np.ones((SHOTS, 2), "u1"), r"dtype uint8; expected \(6, 2\) and bool"),
        (np.ones((SHOTS, 1), bool), r"present has shape \(6, 1\)"),
        (np.ones(SHOTS, bool), r"present has shape \(6,\)"),
        (True, r"present has shape \(\)"),
    ],
)
def test_what_does_not_say_it_of_every_frame(dssc, shots, present, words):
    raw, cells, _ = shots
    with pytest.raises(BadInput, match=words):
        calibrator(dssc, "cpu")(raw, cells, present=present)


@pytest.mark.parametrize("switch", ["common_mode", "blc_noise"])
def test_shifts_are_found_in_what_is_there(tmp_path, any_backend, rng, switch):
    """Frames beside an absent one have the shifts that they have without it."""
    case = make_case("AGIPD1M", tmp_path, modules=1, cells=2, trains=1)
    names = ("offset", "thresholds", "relative_gain", "mg_baseline", "adu_per_kev")
    constants = case.constants if isinstance(case.constants, Constants) else Constants.open(case.constants)
    arrays = {name: {m: constants.load(name, m) for m in constants.modules} for name in names}
    arrays["noise"] = {m: np.full_like(array, 8.0) for m, array in arrays["offset"].items()}
    noisy = Constants.from_arrays(constants.detector, arrays)
    told = {"steps": Steps(**{switch: True}), "photon_energy_kev": 9.3, "backend": any_backend}
    calibrate = shotsieve.Calibrator(noisy, **told)
    raw = np.array(case.raw[0])
    alone = calibrate(raw[:1], [0], ALL)
    raw[1] = rng.integers(0, 65536, raw[1].shape)
    found = calibrate(raw, [0, 1], ALL, present=np.array([True, False]))
    for name in ("data", "mask", "gain", *COUNTS):
        one, other = (np.asarray(getattr(each, name)) for each in (found, alone))
        np.testing.assert_array_equal(one[:1], other)
    assert np.isnan(np.asarray(found.data)[1]).all()
