"""Frames that are calibrated already: masked and counted, the same bits on every backend."""

from __future__ import annotations

import numpy as np
import pytest
import shotsieve
from shotsieve import backend as backends
from shotsieve.calibrate import CalibrateParams, list_frames
from shotsieve.constants.bad_pixels import DEFAULT_BAD_BITS, INFORMATIONAL, BadPixels
from shotsieve.errors import BadInput
from shotsieve.folded_tables import Tables
from shotsieve.frame_masks import flag_masks
from shotsieve.reference.calibrate import calibrate_count
from shotsieve.sources.corrected import planes_in, without_data

from .kernels import Case, calibrate, poisoned

ODD = [
    np.nan,
    np.inf,
    -np.inf,
    -0.0,
    0.0,
    1e-45,
    -3e38,
    1e7,
    1.0000001e7,
    16777213.0,
    4.65,
    0.7,
    0.5,
    2.5,
    -1.5,
]
SETTINGS = {
    "usual": {"lit_threshold": 6.5, "to_photon": 1 / 9.3},
    "candidates": {"lit_threshold": 0.7, "candidate_threshold": 4.3, "to_photon": 1.0},
    "rounded": {"lit_threshold": 0.7, "to_photon": 1.0, "round_photons": True, "rounding_threshold": 0.7},
    "no photons": {"candidate_threshold": -np.inf},
    "large": {"value_limit": 16777214.0, "lit_threshold": -1.0, "to_photon": 1.0},
    "two bits": {"mask_bad": 0x80000001, "lit_threshold": 0.0},
    "no bits": {"mask_bad": 0, "lit_threshold": 0.0},
}


def case_of(rng, n_pixels=2048 + 72, shots=3, modules=2, **params):
    shape = (shots, modules, n_pixels // 8, 8)
    data = rng.normal(3, 6, shape).astype("f4")
    data.reshape(-1)[rng.choice(data.size, 600, replace=False)] = rng.choice(ODD, 600)
    # Another NaN than ours, as other programs leave them.
    data.reshape(-1).view("u4")[rng.choice(data.size, 9)] = 0xFFC01234
    data[0, 0] = 16777000.0  # sums that leave 32 bits
    mask = rng.choice(np.array([0, 0, 0, 1, 1 << 31, int(INFORMATIONAL), 6], "u4"), shape)
    raw = shotsieve.pack_corrected(data, mask, rng.integers(0, 4, shape, "u1"))
    raw = raw.reshape(shots, modules, 5, n_pixels)
    rows = np.zeros((shots, modules), "i4")
    rows[1, 1] = -1
    present = np.ones_like(rows, bool)
    present[2, 0] = False
    table = Tables.of_corrected(modules, n_pixels, [0], DEFAULT_BAD_BITS).table
    return Case(raw, rows, present, table, {"encoding": 5, "mask_bad": DEFAULT_BAD_BITS, **params})


def expected(case, pixels=True):
    out = poisoned(case, pixels)
    calibrate_count(case.flat_raw(), *case.lists(), case.table, **out, **case.params)
    return out


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("pixels", [True, False], ids=["pixels", "counts"])
def test_the_reference_on_every_backend(native_backend, rng, setting, pixels):
    n_pixels = 2048 + 64 if "candidate" in str(SETTINGS[setting]) else 2048 + 72
    case = case_of(rng, n_pixels, **SETTINGS[setting])
    found, wanted = calibrate(native_backend, case, pixels), expected(case, pixels)
    for name in wanted:
        assert found[name].tobytes() == wanted[name].tobytes(), name


def test_results_go_where_they_are_asked_for(native_backend, rng):
    case = case_of(rng, 2048 + 64, **SETTINGS["candidates"])
    places = rng.permutation(9)[: case.present.size]
    found, here = calibrate(native_backend, case, places=places, room=9), expected(case)
    wanted, listed = poisoned(case, room=9), np.flatnonzero(case.present)
    for name in wanted:
        wanted[name][places[listed]] = here[name][listed]
        assert found[name].tobytes() == wanted[name].tobytes(), name


def test_what_the_reference_counts():
    data = np.array([[1.0, 2.0, 30.0, np.nan, -4.0, 5.0, 6.0, 2e7]], "f4")
    mask = np.array([[0, 1, 0, 0, 1 << 16, 1 << 22, 2, 0]], "u4")
    gain = np.array([[0, 1, 2, 0, 0, 0, 0, 1]], "u1")
    raw = shotsieve.pack_corrected(data, mask, gain).reshape(1, 5, 8)
    case = Case(raw[None], np.zeros((1, 1), "i4"), np.ones((1, 1), bool), np.zeros((1, 1, 8), "f4"))
    case.params = {"encoding": 5, "mask_bad": DEFAULT_BAD_BITS, "lit_threshold": 4.0, "to_photon": 0.5}
    out = expected(case)
    # 1, 30, -4 and 5 count: 30 and 5 are lit, and hold 0.5, 15 and 2.5 photons, of which halves go up.
    assert out["counts"].tolist() == [[2, 4, 128 * 32, 1 + 15 + 3, 0]]
    assert np.isnan(out["pixels"][0]).tolist() == [False, True, False, True, False, False, True, True]
    assert out["stage"].tolist() == [[0, 0x11, 2, 0x10, 0, 0, 0x10, 0x21]]


def test_any_threads_and_groups_give_the_same(rng):
    case = case_of(rng, **SETTINGS["usual"])
    wanted = expected(case)
    frames, groups = list_frames(case.present, case.rows, most=1)
    assert (groups[:, 1] - groups[:, 0] == 1).all()
    for threads in (1, 5):
        out = poisoned(case)
        native = backends.get("cpu").native
        native.calibrate_count(
            case.flat_raw(), frames, groups, case.table, **out, threads=threads, **case.params
        )
        assert all(out[name].tobytes() == wanted[name].tobytes() for name in wanted)


@pytest.mark.parametrize(
    ("changes", "planes", "text"),
    [({}, 2, "5 planes"), ({"fixed_stage": 1}, 5, "fixed_stage"), ({"encoding": 6}, 5, "encoding")],
)
def test_what_does_not_fit_is_refused(native_backend, changes, planes, text):
    case = Case(
        np.zeros((1, 1, planes, 64), "u2"),
        np.zeros((1, 1), "i4"),
        np.ones((1, 1), bool),
        np.zeros((1, 1, 64), "f4"),
        {"encoding": 5, **changes},
    )
    with pytest.raises(ValueError, match=text):
        calibrate(native_backend, case)


def test_a_detector_of_corrected_frames_has_the_parameters():
    from shotsieve import detectors
    from shotsieve.constants.steps import Steps

    detector = detectors.load("AGIPD1M").corrected()
    params = CalibrateParams.from_steps(Steps(bad_bits=3), detector, "adaptive", 0.5, 1.0)
    assert (params.encoding, params.mask_bad, params.set_min) == (5, 3, False)
    assert CalibrateParams.from_steps(Steps(), detectors.load("AGIPD1M"), "adaptive").mask_bad == 0xFFFFFFFF


# ---------------------------------------------------------------------- the words of a block


def test_packed_frames_are_what_was_given(rng):
    data = rng.normal(size=(2, 3, 4, 8)).astype("f4")
    data[0, 0, 0, 0] = np.uint32(0x7FA00001).view("f4")  # a NaN of another program
    mask, gain = rng.integers(0, 2**32, data.shape, "u4"), rng.integers(0, 3, data.shape, "u1")
    planes = planes_in(shotsieve.pack_corrected(data, mask, gain))
    for name, values in {"data": data, "mask": mask, "gain": gain}.items():
        assert planes[name].tobytes() == values.tobytes()
    bare = planes_in(shotsieve.pack_corrected(data.astype("f2")))
    assert not bare["mask"].any()
    assert not bare["gain"].any()


@pytest.mark.parametrize(
    "given",
    [
        {"data": np.zeros((4, 8))},
        {"data": np.full((4, 8), 2**24 + 1)},
        {"data": np.zeros((4, 8), "f4"), "mask": np.zeros((4, 4), "u4")},
        {"data": np.zeros((4, 8), "f4"), "mask": np.zeros((4, 8), "i4")},
        {"data": np.zeros((4, 8), "f4"), "gain": np.zeros((4, 8), "u2")},
    ],
)
def test_what_cannot_be_packed(given):
    with pytest.raises(BadInput, match="corrected frames"):
        shotsieve.pack_corrected(**given)


def test_frames_that_had_no_constants(rng):
    mask = np.zeros((2, 2, 4, 8), "u4")
    mask[0, 0] = BadPixels.NO_DARK_DATA | BadPixels.VALUE_IS_NAN
    mask[0, 1] = BadPixels.NO_DARK_DATA
    mask[0, 1, 3, 7] = 0
    mask[1, 1] = BadPixels.NO_DARK_DATA
    raw = shotsieve.pack_corrected(np.zeros(mask.shape, "f4"), mask)
    present = np.array([[True, True], [True, False]])
    assert without_data(raw, present).tolist() == [[True, False], [False, False]]


def test_masks_get_what_was_found():
    stage = np.array([[[0, 0x10, 0x10, 0x20, 1]]], "u1")
    mask = np.array([[[1 << 16, 0, 2, 0, 4]]], "u4")
    flag_masks(stage, mask, DEFAULT_BAD_BITS)
    assert mask.tolist() == [[[1 << 16, 1 << 11, 2, 1 << 12, 4]]]
