"""Single words and constants at the edges of every encoding: stage, value, flags and counts, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from kernels import Case, calibrate
from shotsieve.reference.calibrate import calibrate_count_folded

NAN, INF = np.nan, np.inf
NOT_FINITE, RANGE, WRONG, UNKNOWN = 0x10, 0x20, 0x40, 0x80

# Two thresholds, three offsets, three gains, and the levels below which medium and high gain are forced.
AGIPD = (7000, 9000, 5000, 7000, 7100, 1, 32, 128, 0, 0)


def agipd(**changes):
    names = ("t0", "t1", "o0", "o1", "o2", "g0", "g1", "g2", "medium", "high")
    return tuple(changes.get(name, value) for name, value in zip(names, AGIPD, strict=True))


def quarters(photons):
    """Rows of photons that are four ADU each."""
    return [((5000 + adu, 0), agipd(g0=0.25), 0, number) for adu, number in photons.items()]


THREE = (4000, 3000, 0, 0, 0, 1, 10, 100)
FORCED = agipd(medium=8000, high=6000)
# name -> (parameters, rows of (words, constants, stage byte, value))
CASES = {
    "levels": (
        {"encoding": 0},
        [
            ((5001, 0), AGIPD, 0, 1),
            ((5001, 7000), AGIPD, 0, 1),  # equal to a threshold is not above it
            ((7001, 7001), AGIPD, 1, 32),
            ((7001, 9000), AGIPD, 1, 32),
            ((7101, 9001), AGIPD, 2, 128),
            ((0, 65535), AGIPD, 2, -7100 * 128),
            ((0x3FFF, 0), AGIPD, 0, 0x3FFF - 5000),
            ((0xFFFF, 0), AGIPD, 0, 0xFFFF - 5000),
            ((0, 0), AGIPD, 0, -5000),
            ((7001, 65535), agipd(t1=65535), 1, 32),  # never low gain
            ((7101, 9001), agipd(t0=9000, t1=7000), 2, 128),  # thresholds out of order
            ((5001, 8000), agipd(t0=9000, t1=7000), 0, 1),
            ((5001, 65535), agipd(t0=NAN), 0, 1),  # nothing is above what is no number
            ((7001, 65535), agipd(t1=NAN), 1, 32),
            ((7101, 0), agipd(t0=-INF, t1=-INF), 2, 128),
        ],
    ),
    "constants": (
        {"encoding": 0, "value_limit": 1000.0},
        [
            ((5001, 0), agipd(o0=NAN), NOT_FINITE, NAN),
            ((5001, 0), agipd(o0=-INF), NOT_FINITE, NAN),
            ((5001, 0), agipd(g0=NAN), NOT_FINITE, NAN),
            ((5001, 0), agipd(g0=INF), NOT_FINITE, NAN),
            ((5000, 0), agipd(g0=INF), NOT_FINITE, NAN),  # 0 times infinity
            ((5001, 0), agipd(g1=NAN, o2=NAN), 0, 1),  # stages that are not used do not matter
            ((5003, 0), agipd(g0=-1), 0, -3),
            ((5003, 0), agipd(g0=0), 0, 0),
            ((6000, 0), AGIPD, 0, 1000),  # at the limit
            ((6001, 0), AGIPD, RANGE, NAN),
            ((4000, 0), AGIPD, 0, -1000),
            ((3999, 0), AGIPD, RANGE, NAN),
        ],
    ),
    "forced": (
        {"encoding": 0},
        [
            ((7999, 9500), FORCED, 1, 999 * 32),
            ((8000, 9500), FORCED, 2, 900 * 128),  # at the level, not below it
            ((5999, 7500), FORCED, 0, 999),
            ((6000, 7500), FORCED, 1, -1000 * 32),
            ((5999, 9500), FORCED, 0, 999),  # low, medium, high at once
            ((5999, 9500), agipd(medium=0, high=6000), 0, 999),  # from low gain straight
            ((5999, 9500), agipd(medium=NAN, high=NAN), 2, -1101 * 128),
            ((5999, 100), FORCED, 0, 999),
        ],
    ),
    "set-min": (
        {"encoding": 0, "set_min": True},
        [
            ((6999, 8000), AGIPD, 1, 0),
            ((7000, 8000), AGIPD, 1, 0),
            ((4999, 0), AGIPD, 0, -1),
            ((7099, 9500), AGIPD, 2, -128),
        ],
    ),
    "photons": (
        {"encoding": 0, "round_photons": True},
        quarters({1: 0, 2: 1, 3: 1, 6: 2, 10: 3, -1: 0, -2: 0, -3: -1}),
    ),
    "photons from 0.75": (
        {"encoding": 0, "round_photons": True, "rounding_threshold": 0.75},
        quarters({2: 0, 3: 1, 6: 1, 7: 2, -1: 0, -2: -1}),
    ),
    "codes": (
        {"encoding": 1},
        [
            ((5003, 0), AGIPD, 0, 3),
            ((7003, 1), agipd(g1=-32), 1, -96),  # of JUNGFRAU medium and low gain count downwards
            ((7103, 3), agipd(g2=-128), 2, -384),
            ((5003, 2), AGIPD, WRONG, NAN),
            ((5003, 65535), AGIPD, WRONG, NAN),
            ((0, 1), AGIPD, RANGE | 1, NAN),
            ((0, 3), AGIPD, RANGE | 2, NAN),
            ((0x3FFF, 3), AGIPD, WRONG | 2, NAN),
            ((0x3FFF, 1), AGIPD, 1, (0x3FFF - 7000) * 32),
            ((0, 0), AGIPD, 0, -5000),
        ],
    ),
    "codes in fixed gain": (
        {"encoding": 1, "fixed_stage": 1},
        [
            ((7003, 1), AGIPD, 1, 96),
            ((7003, 0), AGIPD, WRONG, NAN),
            ((7003, 3), AGIPD, WRONG | 2, NAN),
            ((7003, 2), AGIPD, WRONG, NAN),
        ],
    ),
    "codes without words of a meaning": (  # Gotthard-II
        {"encoding": 1, "lost_adc": -1, "saturated_adc": -1},
        [
            ((5003, 0), AGIPD, 0, 3),
            ((0, 1), AGIPD, 1, -7000 * 32),
            ((0, 3), agipd(g2=-128), 2, 7100 * 128),
            ((0x3FFF, 3), AGIPD, 2, (0x3FFF - 7100) * 128),
            ((0xFFFF, 1), AGIPD, 1, (0xFFFF - 7000) * 32),
            ((5003, 2), AGIPD, WRONG, NAN),
            ((5003, 4), AGIPD, WRONG, NAN),
            ((7003, 1), agipd(g1=NAN), NOT_FINITE | 1, NAN),
        ],
    ),
    "words": (
        {"encoding": 2, "low_code": 2, "lost_adc": -1, "saturated_adc": -1},
        [
            ((0x0123,), agipd(o0=0), 0, 0x123),
            ((0x1123,), agipd(o1=0, g1=1), 1, 0x123),
            ((0x2123,), agipd(o2=0, g2=1), 2, 0x123),
            ((0x3123,), agipd(o0=0), WRONG, NAN),
            ((0x3000,), agipd(o0=0), WRONG, NAN),
            ((0x0FFF,), agipd(o0=0), 0, 4095),
            ((0xC123,), agipd(o0=0), 0, 0x123),  # bits that mean nothing
        ],
    ),
    "three at once": (
        {"encoding": 4},
        [
            ((4000, 1, 2), THREE, 0, 4000),
            ((4001, 3000, 2), THREE, 1, 30000),
            ((4001, 3001, 2), THREE, 2, 200),
            ((4000, 3001, 2), THREE, 0, 4000),
            ((4095, 4095, 2), (NAN, NAN, 0, 0, 0, 1, 10, 100), 0, 4095),
        ],
    ),
    "eight bits": (
        {"encoding": 3, "zero_adc": 256},
        [
            ((word,), (40, 1), 0, value)
            for word, value in ((0, 216), (40, 0), (255, 215), (41, 1), (256, 216))
        ],
    ),
    "nine bits": (
        {"encoding": 3, "zero_adc": 0},
        [
            ((0,), (40, 1), 0, -40),
            ((256,), (40, 1), 0, 216),
            ((511,), (40, 1), 0, 471),
            ((1,), (40, NAN), NOT_FINITE, NAN),
            ((1,), (NAN, 1), NOT_FINITE, NAN),
        ],
    ),
    "one stage, 14 bits": (
        {"encoding": 3},
        [
            ((0,), (3000, 0.5), 0, -1500),
            ((0x3FFF,), (3000, 0.5), 0, 6691.5),
            ((0xFFFF,), (3000, 0.5), 0, 31267.5),
            ((3001,), (3000, -2), 0, -2),
        ],
    ),
}
SAME_WORDS = 8  # groups of eight, so that each stands alone in a vector, and once more among all others


def frames_of(rows: list[tuple], planes: int, spread: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return words, constants and the row of every pixel."""
    order = np.repeat(np.arange(len(rows)), SAME_WORDS)
    if spread:
        order = np.random.default_rng(5).permutation(order)
    words = np.array([row[0] for row in rows], "u2")[order].T
    table = np.array([row[1][:planes] for row in rows], "f4")[order].T
    return np.ascontiguousarray(words)[None], np.ascontiguousarray(table)[None], order


@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_every_edge_on_every_backend(native_backend, name, spread):
    params, rows = CASES[name]
    words, table, order = frames_of(rows, 10 if name == "forced" else 8, spread)
    params = {"lit_threshold": 1.0, "to_photon": 1.0, **params}
    # The second frame is of a cell without constants.
    shots = np.stack([words, words])
    case = Case(shots, np.array([[0], [-1]], "i4"), np.ones((2, 1), bool), table, params)
    found = calibrate(native_backend, case)
    stage = np.array([row[2] for row in rows], "u1")[order]
    value = np.array([row[3] for row in rows], "f4")[order]
    assert found["stage"][0].tolist() == stage.tolist()
    np.testing.assert_array_equal(found["pixels"][0], value)
    assert (found["stage"][1] & UNKNOWN != 0).all()
    assert (found["pixels"][1].view("u4") == 0x7FC00000).all()
    assert found["counts"][0, :2].tolist() == [(value > 1).sum(), np.isfinite(value).sum()]
    up = params.get("rounding_threshold", 0.5)
    positive = np.clip(np.nan_to_num(value), 0, None)
    assert found["counts"][0, 3] == (np.floor(positive) + (positive % 1 >= up)).sum()
    reference = calibrate_count_folded(case.flat_raw(), case.rows.reshape(-1), table, **params)
    for key in ("counts", "stage", "pixels"):
        assert found[key].tobytes() == getattr(reference, key).tobytes(), key
