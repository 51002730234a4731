"""calibrate_count: candidates of Bragg peaks, their number and their bits, on every backend."""

from __future__ import annotations

import ctypes
import dataclasses
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernels import POISON, Case, calibrate, random_case
from shotsieve.calibrate import CANDIDATES
from test_calibrate import SWITCHES, assert_same_bits, expected

ROOT = Path(__file__).resolve().parents[2]
LIMIT = np.float32(1e7)
# Around a threshold of 0.7, around 0, around the limit of range, and what is no number.
EDGES = np.array(
    [
        *(np.nextafter(np.float32(0.7), np.float32(to)) for to in (-1, 0.7, 1)),
        *(np.nextafter(LIMIT, np.float32(to)) for to in (0, LIMIT, np.inf)),
        *(0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 3e38, -3e38, np.inf, -np.inf, np.nan),
    ],
    "f4",
)


def words_of(marked: np.ndarray) -> np.ndarray:
    """Return bool (F, n) as bits, (F, n // 32)."""
    return np.packbits(marked, axis=1, bitorder="little").view("<u4")


def case_of_values(values: np.ndarray, **params) -> Case:
    """Return a case of one frame whose pixels have the given values."""
    table = np.zeros((1, 8, len(values)), "f4")
    table[:, :2], table[:, 5] = 65535, values
    raw = np.zeros((1, 1, 2, len(values)), "u2")
    raw[0, 0, 0] = 1
    return Case(raw, np.zeros((1, 1), "i4"), np.ones((1, 1), bool), table, {"encoding": 0, **params})


@pytest.mark.parametrize("n_pixels", [32, 1056, 2080])
@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES.keys())
def test_bits_equal_reference(native_backend, switches, n_pixels, rng):
    case = random_case(rng, **switches, n_pixels=n_pixels, candidate_threshold=1.0)
    found = calibrate(native_backend, case)
    assert_same_bits(found, expected(case))
    listed = case.present.reshape(-1)
    marked = found["pixels"][listed] >= np.float32(1.0)
    assert n_pixels == 32 or 0 < marked.mean() < 1
    np.testing.assert_array_equal(found["candidates"][listed], words_of(marked))
    np.testing.assert_array_equal(found["counts"][listed, CANDIDATES], marked.sum(axis=1))


@pytest.mark.parametrize("n_pixels", [8, 40, 1000, 2080])
@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES.keys())
def test_number_does_not_depend_on_whether_pixels_are_written(native_backend, switches, n_pixels, rng):
    case = random_case(rng, shots=3, **switches, n_pixels=n_pixels, candidate_threshold=1.0)
    wanted = expected(case)["counts"]
    for pixels in (False, True):
        np.testing.assert_array_equal(calibrate(native_backend, case, pixels)["counts"], wanted)


@pytest.mark.parametrize("threshold", [0.7, 0.0, -0.0, -1.0, float(LIMIT), np.inf, -np.inf, np.nan])
def test_from_the_threshold_on_and_only_what_counts(native_backend, threshold):
    values = np.resize(EDGES, 320)
    found = calibrate(native_backend, case_of_values(values, candidate_threshold=threshold))
    with np.errstate(invalid="ignore"):
        marked = (values >= np.float32(threshold)) & (np.abs(values) <= LIMIT)
    np.testing.assert_array_equal(found["candidates"], words_of(marked[None]))
    assert found["counts"][0, CANDIDATES] == marked.sum()
    assert marked.any() == (not np.isnan(threshold) and threshold < np.inf)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.floats(width=32) | st.sampled_from(EDGES.tolist()), min_size=32, max_size=32),
    threshold=st.floats(width=32) | st.sampled_from(EDGES.tolist()),
    round_photons=st.booleans(),
)
def test_any_value_and_any_threshold(native_backend, values, threshold, round_photons):
    case = case_of_values(np.array(values, "f4"), candidate_threshold=threshold, round_photons=round_photons)
    found = calibrate(native_backend, case)
    assert_same_bits(found, expected(case))
    with np.errstate(invalid="ignore"):
        marked = found["pixels"] >= np.float32(threshold)
    np.testing.assert_array_equal(found["candidates"], words_of(marked))


def test_rounded_photons_are_compared_as_written(native_backend):
    values = np.resize(np.float32([0.49, 0.5, 1.49, 1.5, 2.0]), 32)
    params = {"round_photons": True, "candidate_threshold": 1.0}
    found = calibrate(native_backend, case_of_values(values, **params))
    np.testing.assert_array_equal(found["candidates"], words_of(values[None] >= 0.5))


@pytest.mark.parametrize("pixel", [0, 7, 8, 31, 32, 255, 256, 2047, 2048, 16383, 16384, 32767])
def test_each_pixel_has_its_own_bit(native_backend, pixel):
    values = np.zeros(32768, "f4")
    values[pixel] = 5.0
    found = calibrate(native_backend, case_of_values(values, candidate_threshold=5.0))
    assert np.flatnonzero(found["candidates"]).tolist() == [pixel // 32]
    assert int(found["candidates"][0, pixel // 32]) == 1 << pixel % 32
    assert found["counts"][0, CANDIDATES] == 1


def test_every_pixel_is_a_candidate(native_backend):
    """The largest number that a block of threads, a span or a word has to hold."""
    values = np.full(32768, 2.0, "f4")
    case = case_of_values(values, candidate_threshold=2.0, lit_threshold=1.0)
    for pixels in (False, True):
        found = calibrate(native_backend, case, pixels)
        assert found["counts"].tolist() == [[32768, 32768, 32768 * 256, 0, 32768]]
    assert (found["candidates"] == 0xFFFFFFFF).all()


def test_sums_that_must_be_split_count_no_candidate_twice(native_backend):
    """Values so large that 32 bits do not hold the intensity of a span."""
    values = np.resize(np.float32([9e6, -9e6, 9e6, 1.0]), 1056)
    case = case_of_values(values, candidate_threshold=8e6)
    for pixels in (False, True):
        assert calibrate(native_backend, case, pixels)["counts"][0, CANDIDATES] == 528


def test_frames_without_constants_have_none_and_others_are_left_alone(native_backend, rng):
    case = random_case(rng, n_pixels=96, encoding=0, candidate_threshold=0.0)
    case.rows[0, :] = [-1, 0, 0]
    case.present[0, :] = [True, True, False]
    found = calibrate(native_backend, case)
    assert not found["candidates"][0].any()
    assert found["counts"][0].tolist() == [0, 0, 0, 0, 0]
    assert found["candidates"][1].any()
    assert (found["candidates"][2] == POISON["candidates"]).all()
    assert (found["counts"][2] == POISON["counts"]).all()


def test_without_a_threshold_bits_are_zero(native_backend, rng):
    case = random_case(rng, n_pixels=96, encoding=0)
    found = calibrate(native_backend, case)
    listed = case.present.reshape(-1)
    assert not found["candidates"][listed].any()
    assert not found["counts"][listed, CANDIDATES].any()


def test_batches_and_threads_do_not_matter(native_backend, rng):
    case = random_case(rng, shots=6, n_pixels=1056, encoding=0, candidate_threshold=0.5)
    whole = calibrate(native_backend, case)
    for shot in range(6):
        one = slice(shot, shot + 1)
        part = dataclasses.replace(case, raw=case.raw[one], rows=case.rows[one], present=case.present[one])
        wanted = {name: array[3 * shot : 3 * shot + 3] for name, array in whole.items()}
        assert_same_bits(calibrate(native_backend, part), wanted)
    three = dataclasses.replace(native_backend, threads=3)
    assert_same_bits(calibrate(three, case), whole)


WRONG = {
    "no pixels": (64, {}, "candidates: expected pixels and stage"),
    "half a word": (40, {"bits": (1, 1)}, "candidates: expected a multiple of 32 pixels.*got 40"),
    "shape": (64, {"bits": (1, 1)}, "candidates: expected dtype <u4 and shape"),
    "dtype": (64, {"bits": (1, 2), "dtype": "i4"}, "candidates: expected dtype <u4"),
    "read only": (64, {"bits": (1, 2), "writeable": False}, "candidates.*read-only"),
}


@pytest.mark.parametrize(("n_pixels", "change", "text"), WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments_are_refused(native_backend, n_pixels, change, text):
    if native_backend.name != "cpu":
        pytest.skip("the checks are the same, and these arrays lie on the host")
    bits = np.zeros(change.get("bits", (1, 2)), change.get("dtype", "u4"))
    bits.flags.writeable = change.get("writeable", True)
    pixels, stage = np.zeros((1, n_pixels), "f4"), np.zeros((1, n_pixels), "u1")
    with pytest.raises((ValueError, TypeError), match=text):
        native_backend.native.calibrate_count(
            np.zeros((1, 2, n_pixels), "u2"),
            np.zeros(1, "i4"),
            np.array([[0, 1, 0]], "i4"),
            np.zeros((1, 8, n_pixels), "f4"),
            np.zeros((1, 5), "i8"),
            pixels if change else None,
            stage if change else None,
            bits,
            encoding=0,
        )


# What each set of intrinsics is chosen by; the last has none, as on a machine that is not x86-64.
BIT_WORDS = {
    "sse2": ["-march=x86-64-v2"],
    "avx": ["-march=x86-64-v3"],
    "avx512": ["-march=x86-64-v4"],
    "portable": ["-march=x86-64-v2", "-U__SSE2__"],
}


@pytest.mark.parametrize("name", BIT_WORDS)
def test_words_of_bits_are_the_same_with_any_instructions(name, tmp_path):
    if shutil.which("g++") is None or platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("needs g++ for x86-64")
    level = pytest.importorskip("shotsieve._cpu_v2").cpu_level()
    if level < {"avx": 3, "avx512": 4}.get(name, 2):
        pytest.skip(f"this processor is x86-64-v{level}")
    source, library = tmp_path / "bits.cpp", tmp_path / "bits.so"
    source.write_text(
        f'#include "{ROOT}/cpp/cpu/bits.hpp"\n'
        'extern "C" std::uint32_t word(const float* v, float threshold)\n'
        "{ return shotsieve::cpu::candidate_word(v, threshold); }\n"
    )
    command = ["g++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*command, *BIT_WORDS[name], str(source), "-o", str(library)], check=True)
    word = ctypes.CDLL(str(library)).word
    word.restype, word.argtypes = ctypes.c_uint32, [ctypes.c_void_p, ctypes.c_float]
    values = np.resize(EDGES, 32 * 17 + 1)[1:]  # not aligned to anything
    for threshold in EDGES:
        for row in values.reshape(17, 32):
            with np.errstate(invalid="ignore"):
                wanted = words_of((row >= threshold)[None] & np.isfinite(row))[0, 0]
            assert word(row.ctypes.data, float(threshold)) == wanted
