"""calibrate_count: every backend gives the bits of the NumPy reference."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import Case, calibrate, poisoned, random_case, random_table
from shotsieve.calibrate import MAX_GROUP, list_frames
from shotsieve.reference.calibrate import calibrate_count_folded

SWITCHES = {
    "adaptive": {"encoding": 0},
    "forced": {"encoding": 0, "planes": 10},
    "photons": {"encoding": 0, "lit_threshold": 0.7, "to_photon": 0.11},
    "rounded": {"encoding": 0, "round_photons": True, "lit_threshold": 0.7, "to_photon": 1.0},
    "set_min": {"encoding": 0, "set_min": True, "lit_threshold": -1.0},
    "all": {
        "encoding": 0, "planes": 10, "set_min": True, "round_photons": True, "rounding_threshold": 0.7,
        "value_limit": 3000.0, "lit_threshold": 0.7, "to_photon": 1.0,
    },
    "fixed_high": {"encoding": 0, "fixed_stage": 0, "lit_threshold": 0.0},
    "fixed_medium": {"encoding": 0, "fixed_stage": 1, "set_min": True, "lit_threshold": 0.0},
    "fixed_low": {"encoding": 0, "fixed_stage": 2, "lit_threshold": 0.0},
    "code": {"encoding": 1, "lit_threshold": 0.7, "to_photon": 0.08},
    "code_fixed_medium": {"encoding": 1, "fixed_stage": 1, "lit_threshold": 0.7},
    "code_fixed_high": {"encoding": 1, "fixed_stage": 0, "lit_threshold": 0.7},
    "code_no_special": {"encoding": 1, "lost_adc": -1, "saturated_adc": -1, "lit_threshold": 0.7},
    "code_other": {"encoding": 1, "medium_code": 2, "low_code": 4, "lost_adc": 1, "saturated_adc": 0x3FFF},
    "word": {"encoding": 2, "low_code": 2, "lost_adc": -1, "saturated_adc": -1, "lit_threshold": 0.7},
    "word_14": {"encoding": 2, "adc_bits": 14, "lit_threshold": 0.7, "to_photon": 0.08, "set_min": True},
    "word_fixed_low": {"encoding": 2, "low_code": 2, "fixed_stage": 2, "lit_threshold": 0.7},
    "plain": {"encoding": 3, "lit_threshold": 0.7, "to_photon": 0.11},
    "plain_wrapped": {"encoding": 3, "zero_adc": 256, "round_photons": True, "lit_threshold": 0.7},
    "parallel": {"encoding": 4, "lit_threshold": 0.7, "to_photon": 0.08},
    "parallel_all": {
        "encoding": 4, "adc_bits": 11, "set_min": True, "round_photons": True, "to_photon": 1.0,
        "lit_threshold": 0.7, "value_limit": 3000.0,
    },
}  # fmt: skip


def expected(case: Case) -> dict[str, np.ndarray]:
    """The reference for every present frame, poison elsewhere."""
    listed = np.flatnonzero(case.present)
    result = calibrate_count_folded(
        case.flat_raw()[listed], case.rows.reshape(-1)[listed], case.table, **case.params
    )
    out = poisoned(case)
    for name, values in out.items():
        values[listed] = getattr(result, name)
    return out


def assert_same_bits(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    for name, array in found.items():
        assert array.dtype == wanted[name].dtype
        bits = np.uint32 if array.dtype.kind == "f" else array.dtype
        np.testing.assert_array_equal(array.view(bits), wanted[name].view(bits), err_msg=name)


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES.keys())
def test_bits_equal_reference(native_backend, switches, rng):
    case = random_case(rng, **switches)
    assert_same_bits(calibrate(native_backend, case), expected(case))


@pytest.mark.parametrize("name", ["forced", "code", "word", "plain", "parallel"])
def test_results_go_where_they_are_asked_for(native_backend, name, rng):
    case = random_case(rng, **SWITCHES[name])
    number = case.present.size
    places = rng.permutation(number + 3)[:number]
    found = calibrate(native_backend, case, places=places, room=number + 3)
    wanted, listed = poisoned(case, room=number + 3), np.flatnonzero(case.present)
    for key, values in expected(case).items():
        wanted[key][places[listed]] = values[listed]
    assert_same_bits(found, wanted)


def test_counts_do_not_depend_on_whether_pixels_are_written(native_backend, rng):
    case = random_case(rng, encoding=0, lit_threshold=0.7, to_photon=0.1)
    found = calibrate(native_backend, case, pixels=False)
    np.testing.assert_array_equal(found["counts"], expected(case)["counts"])


# Below a vector, below a group of 64, around the CPU tile of 4096 and the device tile of 2048.
@pytest.mark.parametrize("n_pixels", [8, 16, 56, 64, 72, 2040, 2048, 2056, 4096, 4104, 8200])
def test_any_number_of_pixels(native_backend, n_pixels, rng):
    case = random_case(rng, shots=3, modules=2, n_pixels=n_pixels, encoding=0, lit_threshold=1.0)
    assert_same_bits(calibrate(native_backend, case), expected(case))


def test_one_switched_pixel_anywhere(native_backend, rng):
    """The shortcut for quiet groups must see a single switched pixel, wherever it is."""
    n = 8192
    table = random_table(rng, 1, 8, n)
    table[:, 0], table[:, 1] = 7000, 9000
    table[:, 2:5] = rng.normal(5000, 500, (1, 3, n))
    table[:, 5:8] = rng.uniform(0.01, 10, (1, 3, n))
    where = rng.choice(n, 40, replace=False)
    raw = rng.integers(4000, 8000, (40, 1, 2, n), "u2")
    raw[:, :, 1] = 6999
    raw[np.arange(40), 0, 1, where] = rng.choice([7000, 7001, 9000, 9001], 40)
    case = Case(
        raw, np.zeros((40, 1), "i4"), np.ones((40, 1), bool), table, {"encoding": 0, "lit_threshold": 0.5}
    )
    found = calibrate(native_backend, case)
    assert_same_bits(found, expected(case))
    stages = found["stage"][np.arange(40), where] & 3
    digital = raw[np.arange(40), 0, 1, where]
    np.testing.assert_array_equal(stages, (digital > 7000).astype(int) + (digital > 9000))


def quiet(rng, frames: int, planes: int, n: int, **params) -> Case:
    """Return frames in high gain throughout, and constants of which some thresholds are NaN."""
    table = random_table(rng, 1, planes, n)
    table[:, 0], table[:, 1] = (4000, 3000) if params["encoding"] == 4 else (7000, 9000)
    table[:, 2:5] = rng.normal(2000, 500, (1, 3, n))
    table[:, 5:8] = rng.uniform(0.01, 10, (1, 3, n))
    table[:, 0, 5::11], table[:, 1, 7::13] = np.nan, np.nan
    if planes == 10:
        table[:, 8], table[:, 9] = 2500, 1500
    raw = rng.integers(1000, 3500, (frames, 1, {2: 1, 4: 3}.get(params["encoding"], 2), n), "u2")
    if params["encoding"] in (0, 1):
        raw[:, :, 1] = 6999 if params["encoding"] == 0 else 0
    rows, present = np.zeros((frames, 1), "i4"), np.ones((frames, 1), bool)
    return Case(raw, rows, present, table, {"lit_threshold": 0.5, "to_photon": 0.1, **params})


# Pixels about the ends of vectors (4, 8, 16), of groups of 64, of spans of 256 and of what is left of them.
EDGES = [0, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 319, 320, 335, 336, 343]


@pytest.mark.parametrize("pixels", [True, False])
@pytest.mark.parametrize(("encoding", "planes"), [(0, 8), (0, 10), (1, 8), (2, 8), (4, 8)])
def test_switched_pixels_at_every_edge(native_backend, encoding, planes, pixels, rng):
    """One of them alone, then all of them, then all pixels, in medium and low gain by turns."""
    n = 344
    params = {"low_code": 2} if encoding == 2 else {}
    case = quiet(rng, len(EDGES) + 2, planes, n, encoding=encoding, **params)
    switched = np.zeros((len(EDGES) + 2, n), bool)
    switched[range(len(EDGES)), EDGES] = switched[-2, EDGES] = switched[-1] = True
    low = switched & (np.arange(n) % 3 == 0)
    words = case.raw[:, 0]
    if encoding == 0:
        words[:, 1][switched], words[:, 1][low] = 7001, 9001
    elif encoding == 1:
        words[:, 1][switched], words[:, 1][low] = 1, 3
    elif encoding == 2:
        words[:, 0][switched] |= 1 << 12
        words[:, 0][low] += 1 << 12
    else:
        words[:, 0][switched], words[:, 1][low] = 4001, 3001
    wanted = expected(case)
    if not pixels:
        wanted = {"counts": wanted["counts"]}
    assert_same_bits(calibrate(native_backend, case, pixels), wanted)
    if pixels and planes == 8:
        stages = wanted["stage"] & 3
        assert set(stages[~switched]) == {0}
        assert set(stages[-1]) >= {1, 2}


@pytest.mark.parametrize("code", range(5))
@pytest.mark.parametrize("adc", [0, 1, 0x3FFF, 0x2000])
def test_special_words_of_gain_codes(native_backend, code, adc):
    """(1, 0) and (3, 0) are saturated, (3, 0x3FFF) is a lost word, codes 2 and 4 do not exist."""
    table = np.ones((1, 8, 8), "f4")
    raw = np.empty((1, 1, 2, 8), "u2")
    raw[0, 0, 0], raw[0, 0, 1] = adc, code
    case = Case(raw, np.zeros((1, 1), "i4"), np.ones((1, 1), bool), table, {"encoding": 1})
    found = calibrate(native_backend, case)
    flags = 0x40 if code in (2, 4) or (code, adc) == (3, 0x3FFF) else 0
    flags |= 0x20 if (code, adc) in ((1, 0), (3, 0)) else 0
    stage = {1: 1, 3: 2}.get(code, 0)
    assert set(found["stage"].ravel()) == {flags | stage}
    assert np.isnan(found["pixels"]).all() == bool(flags)
    assert found["counts"][0, 1] == (0 if flags else 8)


def one_word(words: list[int], **params) -> Case:
    """Return a case of a frame of these words, each eight times, with constants that leave signals alone."""
    table = np.zeros((1, 2 if params["encoding"] == 3 else 8, 8 * len(words)), "f4")
    table[:, 1 if params["encoding"] == 3 else slice(5, 8)] = 1
    raw = np.repeat(np.uint16(words), 8).reshape(1, 1, 1, -1)
    return Case(raw, np.zeros((1, 1), "i4"), np.ones((1, 1), bool), table, params)


def test_words_of_signal_and_code(native_backend):
    """The test vector of LPD: the same signal in three stages, and a code that no stage has."""
    case = one_word(
        [0x0123, 0x1123, 0x2123, 0x3123, 0x8123], encoding=2, low_code=2, lost_adc=-1, saturated_adc=-1
    )
    found = calibrate(native_backend, case)
    assert found["stage"][0, ::8].tolist() == [0, 1, 2, 0x40, 0]
    np.testing.assert_array_equal(found["pixels"][0, ::8], np.float32([291, 291, 291, np.nan, 291]))
    assert found["counts"][0, 1] == 4 * 8


def test_a_stored_zero_may_be_256(native_backend):
    """The test vector of DSSC, with an offset of 40."""
    case = one_word([0, 40, 255, 41], encoding=3, zero_adc=256)
    case.table[:, 0] = 40
    assert calibrate(native_backend, case)["pixels"][0, ::8].tolist() == [216, 0, 215, 1]
    case.params["zero_adc"] = 0
    assert calibrate(native_backend, case)["pixels"][0, ::8].tolist() == [-40, 0, 215, 1]


def test_parallel_gain_takes_the_first_stage_within_its_range(native_backend):
    """A signal at the threshold is within it; codes in the words do not matter; NaN is never above."""
    words = np.uint16(
        [[4000, 1, 2], [4001, 3000, 2], [4001, 3001, 2], [0x3FA1, 0x3000, 2], [4095, 4095, 0x2FFF]]
    )
    table = np.zeros((1, 8, 40), "f4")
    table[0, :2] = [[4000], [3000]]
    table[0, 5:8] = [[1], [10], [100]]
    case = Case(
        np.repeat(words.T, 8, axis=1)[None, None], np.zeros((1, 1), "i4"), np.ones((1, 1), bool), table,
        {"encoding": 4},
    )  # fmt: skip
    found = calibrate(native_backend, case)
    assert found["stage"][0, ::8].tolist() == [0, 1, 2, 1, 2]
    assert found["pixels"][0, ::8].tolist() == [4000, 30000, 200, 0, 409500]
    table[0, 0] = np.nan
    assert calibrate(native_backend, case)["stage"].max() == 0


def test_lit_is_strictly_above_the_threshold(native_backend):
    table = np.zeros((1, 8, 8), "f4")
    table[:, :2], table[:, 5] = 65535, 0.7
    raw = np.zeros((1, 1, 2, 8), "u2")
    raw[0, 0, 0] = [0, 1, 2, 1, 1, 1, 1, 1]
    case = Case(
        raw, np.zeros((1, 1), "i4"), np.ones((1, 1), bool), table,
        {"encoding": 0, "lit_threshold": float(np.float32(0.7))},
    )  # fmt: skip
    assert calibrate(native_backend, case)["counts"][0, 0] == 1


def test_fully_masked_frame(native_backend, rng):
    case = random_case(rng, encoding=0, lit_threshold=0.0, to_photon=1.0)
    case.table[:, 5:8] = np.nan
    case.rows[:] = 0
    case.present[:] = True
    found = calibrate(native_backend, case)
    assert not found["counts"].any()
    assert (found["pixels"].view("u4") == 0x7FC00000).all()


def test_largest_sums_do_not_overflow(native_backend):
    """Every pixel at the value limit, both signs: the sums are those of Python's integers."""
    n = 65536
    table = np.zeros((2, 8, n), "f4")
    table[:, :2] = 65535
    table[0, 5], table[1, 5] = 1e7 / 65535, -1e7 / 65535
    raw = np.full((2, 1, 2, n), 65535, "u2")
    raw[:, :, 1] = 0
    case = Case(
        raw, np.array([[0], [1]], "i4"), np.ones((2, 1), bool), table,
        {"encoding": 0, "value_limit": 16777214.0, "to_photon": 127.0, "lit_threshold": 0.0},
    )  # fmt: skip
    value = np.float32(65535) * table[0, 5, 0]
    wanted = n * int(np.rint(value * np.float32(128)))
    counts = calibrate(native_backend, case)["counts"]
    assert counts[:, 2].tolist() == [wanted, -wanted]
    assert counts[0, 3] == n * int(np.float32(value * np.float32(127)))
    assert counts[1, 3] == 0


def test_order_and_batches_do_not_matter(native_backend, rng):
    """Exact: one call with all frames gives what one call per frame gives."""
    case = random_case(rng, encoding=0, lit_threshold=0.7, to_photon=0.1)
    whole = calibrate(native_backend, case)
    for shot in range(0, len(case.raw), 3):
        part = dataclasses.replace(
            case,
            raw=case.raw[shot : shot + 3],
            rows=case.rows[shot : shot + 3],
            present=case.present[shot : shot + 3],
        )
        m = case.raw.shape[1]
        wanted = {name: array[shot * m : (shot + 3) * m] for name, array in whole.items()}
        assert_same_bits(calibrate(native_backend, part), wanted)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(-1, 3), min_size=2, max_size=2), max_size=60), st.randoms())
def test_list_frames_lists_every_present_frame_once(rows, random):
    rows = np.array(rows, "i4").reshape(-1, 2)
    present = np.array([[random.random() < 0.8 for _ in row] for row in rows], bool).reshape(-1, 2)
    frames, groups = list_frames(present, rows)
    assert sorted(frames) == np.flatnonzero(present).tolist()
    listed = [(int(f), int(row)) for start, stop, row in groups for f in frames[start:stop]]
    assert listed == [(int(f), int(rows.reshape(-1)[f])) for f in frames]
    assert all(0 < stop - start <= MAX_GROUP for start, stop, _ in groups)


BAD_CALLS = {
    "dtype": (lambda a: a.update(raw=a["raw"].astype("i4")), "expected dtype <u2"),
    "shape": (lambda a: a.update(table=a["table"][:, :, :8]), "table: expected dtype <f4 and shape"),
    "planes": (lambda a: a.update(table=np.zeros((1, 9, 16), "f4")), "8 or 10 planes"),
    "pixels alone": (lambda a: a.update(pixels=np.zeros((1, 16), "f4")), "both arrays or both None"),
    "order": (lambda a: a.update(raw=np.asfortranarray(np.zeros((2, 2, 16), "u2"))), "C-contiguous"),
    "not an array": (lambda a: a.update(raw=[1, 2, 3]), "expected a NumPy array"),
    "frame": (lambda a: a.update(frames=np.array([5], "i4")), "indices into raw"),
    "place": (lambda a: a.update(places=np.array([1], "i4")), "indices into counts"),
    "places": (lambda a: a.update(places=np.zeros(2, "i4")), "places: expected dtype <i4 and shape"),
    "one place twice": (
        lambda a: a.update(
            frames=np.zeros(2, "i4"), groups=np.array([[0, 2, 0]], "i4"), places=np.zeros(2, "i4")
        ),
        "none of them twice, at position 1",
    ),
    "pixels of fewer places": (
        lambda a: a.update(
            places=np.array([1], "i4"),
            counts=np.zeros((2, 5), "i8"),
            pixels=np.zeros((1, 16), "f4"),
            stage=np.zeros((1, 16), "u1"),
        ),
        "pixels: expected dtype <f4 and shape",
    ),
    "group": (lambda a: a.update(groups=np.array([[0, 4, 0]], "i4")), "start and stop within frames"),
    "row": (lambda a: a.update(groups=np.array([[0, 1, 7]], "i4")), "a row of table or -1"),
    "limit": (lambda a: a.update(value_limit=1e9), "value_limit"),
    "to_photon": (lambda a: a.update(to_photon=1e6), "to_photon"),
    "counts": (lambda a: a.update(counts=np.zeros((1, 4), "i8")), "counts: expected dtype <i8 and shape"),
    "encoding": (lambda a: a.update(encoding=7), "encoding"),
    "one stage": (lambda a: a.update(encoding=3), "raw: expected 1 plane"),
    "one plane": (lambda a: a.update(encoding=2), "raw: expected 1 plane"),
    "three planes": (lambda a: a.update(encoding=4), "raw: expected 3 planes"),
    "codes": (lambda a: a.update(encoding=1, medium_code=3), "medium_code, low_code"),
    "bits": (lambda a: a.update(adc_bits=15), "adc_bits"),
    "zero": (lambda a: a.update(zero_adc=65536), "zero_adc"),
    "planes of one stage": (
        lambda a: a.update(encoding=3, raw=np.zeros((1, 1, 16), "u2")),
        "table: expected 2 planes",
    ),
}


@pytest.mark.parametrize(("change", "text"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_wrong_arguments_are_refused(native_backend, change, text):
    if native_backend.name != "cpu":
        pytest.skip("lists in device memory are not looked at")
    args = {
        "raw": np.zeros((1, 2, 16), "u2"),
        "frames": np.zeros(1, "i4"),
        "groups": np.array([[0, 1, 0]], "i4"),
        "table": np.zeros((1, 8, 16), "f4"),
        "counts": np.zeros((1, 5), "i8"),
        "encoding": 0,
    }
    change(args)
    if args["raw"] is not None and getattr(args["raw"], "shape", (0,))[0] == 2:
        args["counts"] = np.zeros((2, 5), "i8")
    with pytest.raises((ValueError, TypeError), match=text):
        native_backend.native.calibrate_count(**args)


def test_read_only_output_is_refused(native_backend):
    if native_backend.name != "cpu":
        pytest.skip("device arrays are never read-only")
    counts = np.zeros((1, 5), "i8")
    counts.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        native_backend.native.calibrate_count(
            np.zeros((1, 2, 16), "u2"),
            np.zeros(1, "i4"),
            np.array([[0, 1, 0]], "i4"),
            np.zeros((1, 8, 16), "f4"),
            counts,
            encoding=0,
        )
