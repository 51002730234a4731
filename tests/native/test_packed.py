"""Packed constants: every backend gives the bits of the reference, and those of the constants unpacked."""

from __future__ import annotations

import dataclasses

import baseline_case
import mode_case
import numpy as np
import pytest
from baseline_case import baselines, flat_case, noisy
from kernels import Case, calibrate, random_case
from mode_case import KINDS, rows_of_cells
from shotsieve import detectors
from shotsieve.common_mode import list_units
from shotsieve.constants.packed import HEAD, PackingLimits, pack, unpack
from test_calibrate import SWITCHES, assert_same_bits, expected


def packed_table(rng: np.random.Generator, rows: int, planes: int, n_pixels: int) -> np.ndarray:
    """Codes of all kinds, with bases and steps as real constants have them; some planes of one value."""
    table = np.zeros((rows, planes, HEAD + n_pixels), np.uint16)
    table[..., HEAD:] = rng.integers(0, 65536, (rows, planes, n_pixels))
    table[..., HEAD:][rng.random((rows, planes, n_pixels)) < 0.01] = 65535
    scale = np.ascontiguousarray(table[..., :6]).view(np.float32)
    level = planes == 8 or planes == 10
    for plane in range(planes):
        whole, gain = level and plane in (0, 1, 8, 9), plane in (5, 6, 7) or (planes == 2 and plane == 1)
        base = -1.0 if whole else rng.normal(0, 0.3) if gain else rng.integers(0, 4000)
        step = 1.0 if whole else 10.0 ** rng.uniform(-8, -4) if gain else 2.0 ** -rng.integers(3, 6)
        last = np.nan if gain else np.float32(base) + np.float32(step) * np.float32(65535)
        scale[:, plane] = base, step, last
    scale[0, -1] = 0.25, 0.0, 0.25
    scale[1, 0] = 0, 1, 65535  # levels that need no unpacking
    table[..., :6] = scale.view(np.uint16)
    return table


def packed(case: Case, rng: np.random.Generator) -> Case:
    rows, planes, n_pixels = case.table.shape
    return dataclasses.replace(case, table=packed_table(rng, rows, planes, n_pixels))


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES.keys())
def test_bits_equal_reference(native_backend, switches, rng):
    case = packed(random_case(rng, **switches), rng)
    found = calibrate(native_backend, case)
    assert_same_bits(found, expected(case))
    assert_same_bits(found, calibrate(native_backend, dataclasses.replace(case, table=unpack(case.table))))


# One pixel group, and more than one tile of the CPU, whose constants are unpacked anew.
@pytest.mark.parametrize("n_pixels", [8, 264, 16384 + 320])
def test_any_number_of_pixels(native_backend, n_pixels, rng):
    case = packed(random_case(rng, shots=3, modules=2, n_pixels=n_pixels, encoding=0, lit_threshold=1.0), rng)
    assert_same_bits(calibrate(native_backend, case), expected(case))
    counts = calibrate(native_backend, case, pixels=False)["counts"]
    np.testing.assert_array_equal(counts, expected(case)["counts"])


def test_no_row_at_all(native_backend, rng):
    case = packed(random_case(rng, encoding=0), rng)
    case = dataclasses.replace(case, rows=np.full_like(case.rows, -1))
    assert_same_bits(calibrate(native_backend, case), expected(case))


@pytest.mark.parametrize("kind", [KINDS["adaptive"], KINDS["forced"], KINDS["code_fixed_high"]])
def test_common_mode(native_backend, kind, rng):
    case, _ = rows_of_cells(rng, kind)
    case.table[:, 5:8][rng.random((16, 3, 8192)) < 0.01] = np.nan
    limits = PackingLimits([0, 1, 2], 16383, 0.0)
    case.table = pack(case.table, detectors.load("AGIPD1M"), 0, np.arange(16), limits).table
    plain = dataclasses.replace(case, table=unpack(case.table))
    how = mode_case.params(row_cells=8, **case.params)
    found = mode_case.asics(native_backend, case, how)
    np.testing.assert_array_equal(found, mode_case.asics(native_backend, plain, how))
    np.testing.assert_array_equal(found, mode_case.asics(mode_case.REFERENCE, case, how))
    assert found.any()
    units = list_units(case.present, case.rows, np.full(16, 7), np.arange(16), 8)
    found = mode_case.cells(native_backend, case, units, how)
    np.testing.assert_array_equal(found, mode_case.cells(native_backend, plain, units, how))
    np.testing.assert_array_equal(found, mode_case.cells(mode_case.REFERENCE, case, units, how))
    assert found.any()


@pytest.mark.parametrize("kind", baseline_case.KINDS.values(), ids=baseline_case.KINDS.keys())
def test_baseline_of_frames(native_backend, kind, rng):
    """More than one part of the CPU."""
    peaks = np.array([-1500, -300, 0, 0])
    case = flat_case(np.stack([noisy(rng, peak, n=8192 + 64) for peak in peaks]), rows=2, **kind)
    case.raw[:, 0, 1][rng.random((4, 8256)) < 0.1] = 3 if kind["encoding"] == 1 else 8000
    case.table[:, 2] += rng.uniform(-1, 1, (2, 8256)).astype("f4")
    case.table[:, 5:8][rng.random((2, 3, 8256)) < 0.01] = np.nan
    limits = PackingLimits([0, 1, 2], 16383, 0.0)
    case.table = pack(case.table, detectors.load("AGIPD1M"), 0, [0, 1], limits).table
    case.rows[:, 0], case.present[3] = [0, 1, 1, 0], False
    found = baselines(native_backend, case)
    plain = dataclasses.replace(case, table=unpack(case.table))
    np.testing.assert_array_equal(found, baselines(native_backend, plain))
    np.testing.assert_array_equal(found, baselines(baseline_case.REFERENCE, case))
    assert (np.abs(found[:3, 0] / mode_case.ADU - peaks[:3]) < 5).all()


def test_the_shape_that_is_wanted(native_backend, rng):
    case = packed(random_case(rng, encoding=0), rng)
    short = dataclasses.replace(case, table=np.ascontiguousarray(case.table[..., HEAD:]))
    with pytest.raises(ValueError, match="table: expected dtype <u2 and shape"):
        calibrate(native_backend, short)
