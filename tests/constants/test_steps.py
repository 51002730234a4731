"""The switches: what goes together, and what the output's unit is."""

import dataclasses

import pytest
from shotsieve import detectors
from shotsieve.constants import BadPixels, Steps
from shotsieve.constants.bad_pixels import ALL_BITS, DEFAULT_BAD_BITS
from shotsieve.errors import BadInput


def test_bits():
    assert BadPixels.VALUE_IS_NAN == 1 << 11
    assert BadPixels.WRONG_GAIN_VALUE == 1 << 21
    assert BadPixels.USER2 == 1 << 31
    assert ALL_BITS & ~DEFAULT_BAD_BITS == (1 << 16) | (1 << 22)
    assert [bit.bit_length() - 1 for bit in BadPixels] == [*range(24), 30, 31]


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
