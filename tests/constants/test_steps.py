"""The switches: what goes together, and what the output's unit is."""

import dataclasses

import numpy as np
import pytest
from shotsieve import detectors
from shotsieve.constants import BadPixels, Steps
from shotsieve.constants.bad_pixels import ALL_BITS, DEFAULT_BAD_BITS, read_bits
from shotsieve.errors import BadInput


def test_bits():
    assert BadPixels.VALUE_IS_NAN == 1 << 11
    assert BadPixels.WRONG_GAIN_VALUE == 1 << 21
    assert BadPixels.USER2 == 1 << 31
    assert ALL_BITS & ~DEFAULT_BAD_BITS == (1 << 16) | (1 << 22)
    assert [bit.bit_length() - 1 for bit in BadPixels] == [*range(24), 30, 31]


@pytest.mark.parametrize(
    ("given", "bits"),
    [
        (0x1234, 0x1234),
        (np.uint32(7), 7),
        (BadPixels.USER1 | BadPixels.USER2, 0xC0000000),
        ("default", DEFAULT_BAD_BITS),
        ("all -USER1", ALL_BITS & ~(1 << 30)),
        ("none", 0),
        ("none +NOISY_ADC", 1 << 17),
        ("default -NON_STANDARD_SIZE +USER1", DEFAULT_BAD_BITS),
        ("Default  +NON_STANDARD_SIZE\t-user1", DEFAULT_BAD_BITS & ~(1 << 30) | 1 << 22),
        ("VALUE_IS_NAN user2", 1 << 11 | 1 << 31),
        (["VALUE_IS_NAN", "USER2"], 1 << 11 | 1 << 31),
        (("NO_DARK_DATA",), 1 << 3),
    ],
)
def test_bad_bits_by_names(given, bits):
    steps = Steps(bad_bits=given)
    assert steps.bad_bits == bits
    assert type(steps.bad_bits) is int
    assert dataclasses.replace(steps, round_photons=True).bad_bits == bits


def test_any_names_in_any_order(rng):
    names = list(BadPixels.__members__)
    some = rng.choice(names, rng.integers(1, len(names)), replace=False).tolist()
    bits = sum(int(BadPixels[name]) for name in some)
    assert read_bits(some) == read_bits(" ".join(some)) == bits
    assert read_bits("all " + " ".join(f"-{name}" for name in some)) == ALL_BITS & ~bits
    assert read_bits("none " + " ".join(f"+{name}" for name in some)) == bits


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("default -NOISY_ACD", r"no bit 'NOISY_ACD'\. Did you mean 'NOISY_ADC'\? There are OFFSET_OUT"),
        (["USER3"], "no bit 'USER3'. Did you mean 'USER[12]'"),
        (["default"], "no bit 'default'"),
        ("0xff", "no bit '0xff'. A number is written without quotes"),
        ("default USER1", r"say \+USER1 or -USER1 behind it"),
        ("-USER1", 'say what -USER1 changes, as "default -USER1"'),
        ("USER2 +USER1", 'as "default \\+USER1"'),
        (["+USER1"], 'as "default \\+USER1"'),
        ("default -", "no bit ''"),
        (" ", 'bad_bits is empty: .*"none" is no bit'),
        ([], r"bad_bits = \[\]: expected a number"),
        ([1, 2], r"bad_bits = \[1, 2\]: expected a number"),
        (True, "bad_bits = True: expected a number"),
        (1.5, "bad_bits = 1.5: expected a number"),
        (None, "bad_bits = None: expected a number"),
        (2**32, "bad_bits = 4294967296: expected a number from 0 to 0xffffffff"),
    ],
)
def test_bad_bits_that_are_none(given, text):
    with pytest.raises(BadInput, match=text):
        Steps(bad_bits=given)


@pytest.mark.parametrize(
    ("steps", "asked", "unit"),
    [
        (Steps(), None, "keV"),
        (Steps(), "keV", "keV"),
        (Steps(), "photon", "photon"),
        (Steps(round_photons=True), "photon", "photon"),
        (Steps(xray_gain=False), None, "ADU"),
        (Steps(xray_gain=False, relative_gain=False), "ADU", "ADU"),
    ],
)
def test_unit(steps, asked, unit):
    assert steps.unit(asked) == unit


@pytest.mark.parametrize(
    ("steps", "asked", "text"),
    [
        (Steps(), "ADU", "set xray_gain = false"),
        (Steps(xray_gain=False), "photon", "set xray_gain = true"),
        (Steps(), "phton", "Did you mean 'photon'"),
        (Steps(round_photons=True), None, "set unit = 'photon'"),
    ],
)
def test_units_that_the_steps_do_not_give(steps, asked, text):
    with pytest.raises(BadInput, match=text):
        steps.unit(asked)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"force_hg_reference": "gh"}, "'hg' or 'mg'"),
        ({"force_hg_if_below": float("nan")}, "force_hg_if_below"),
        ({"force_mg_if_below": float("inf")}, "force_mg_if_below"),
        ({"rounding_threshold": 0}, "rounding_threshold"),
        ({"rounding_threshold": 1.5}, "rounding_threshold"),
        ({"value_limit": 0}, "value_limit"),
        ({"value_limit": 1e9}, "value_limit"),
        ({"bad_bits": 2**32}, "bad_bits"),
        ({"cm_passes": 3}, "cm_passes = 3: expected 1 or 2"),
        ({"bad_bits": -1}, "bad_bits"),
        ({"offset": False}, "offset = false leaves the pedestal"),
    ],
)
def test_steps_that_do_not_go_together(values, text):
    with pytest.raises(BadInput, match=text):
        Steps(**values)


def test_steps_of_a_detector():
    steps = Steps(force_hg_if_below=1000.0, round_photons=True)
    assert steps.for_detector(detectors.load("AGIPD1M")) == dataclasses.replace(
        steps, wrap256=False, linearise=False, ff_map=False, gain_amp_map=False
    )
    jungfrau = steps.for_detector(detectors.load("JUNGFRAU"))
    assert (jungfrau.offset, jungfrau.xray_gain, jungfrau.round_photons) == (True, True, True)
    assert not any(
        [jungfrau.set_min, jungfrau.relative_gain, jungfrau.adjust_mg_baseline, jungfrau.forcing()]
    )
