"""Switches that were asked for of a detector that does not have them: refused, by their names."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest
from shotsieve import Calibrator, detectors
from shotsieve.constants import Constants, Steps
from shotsieve.constants.asked import check_asked, options_of
from shotsieve.constants.importers import parameters
from shotsieve.errors import BadInput
from shotsieve.recipe_keys import STEP_KEYS

OTHER = {
    "force_hg_reference": "mg",
    "double_pixels": "mark",
    "cm_dark_range": "-20 20 ADU",
    "cm_medians": "rows",
    "cm_passes": 1,
    "noisy_adc_block": "32x16",
    "bad_bits": 1,
    "cell_common_mode": True,
}
BESIDE = {"cell_common_mode": {"common_mode": True}, "offset": dict.fromkeys(
    ("relative_gain", "adjust_mg_baseline", "xray_gain"), False
)}  # fmt: skip


def asked(name):
    """Return steps in which one switch is not what it usually is, with those that it cannot do without."""
    usual = getattr(Steps(), name)
    other = OTHER.get(name)
    if other is None:
        other = not usual if isinstance(usual, bool) else 12.0 if usual is None else usual / 2
    if name == "cm_n_itr":
        other = 2
    return Steps(**{name: other, **BESIDE.get(name, {})})


@pytest.mark.parametrize("family", detectors.names())
def test_every_switch_is_taken_or_refused(family):
    detector = detectors.load(family)
    for switch in dataclasses.fields(Steps):
        steps = asked(switch.name)
        assert getattr(steps, switch.name) != switch.default
        beside = set(BESIDE.get(switch.name, ())) - {"relative_gain", "adjust_mg_baseline", "xray_gain"}
        if {switch.name, *beside} <= {*options_of(detector)}:
            check_asked(steps, detector)
            continue
        with pytest.raises(
            BadInput, match=rf"\[calibrate\].*{switch.name} = .*{family} does not have.*offset"
        ):
            check_asked(steps, detector)


@pytest.mark.parametrize(
    ("family", "has", "lacks"),
    [
        ("AGIPD1M", "cm_n_itr blc_noise mask_noisy_adc double_pixels", "adu_per_photon wrap256 ff_map"),
        ("AGIPD500K", "cm_dark_range low_medium_gap", "linearise cm_passes parallel_sigma_high"),
        ("JUNGFRAU", "double_pixels rounding_threshold", "common_mode cm_medians adu_per_photon"),
        ("LPD1M", "parallel_sigma_mid ff_map adu_per_photon", "double_pixels force_hg_reference set_min"),
        ("LPDMINI", "gain_amp_map", "noisy_adc_block common_mode"),
        ("DSSC1M", "wrap256 adu_per_photon", "relative_gain blc_noise_threshold"),
        ("EPIX100", "common_mode cm_medians cm_limit", "cm_n_itr cell_common_mode"),
        ("GOTTHARD2", "linearise bad_bits packed_constants", "adu_per_photon cm_limit parallel_sigma_high"),
    ],
)  # fmt: skip
def test_what_detectors_have(family, has, lacks):
    options = options_of(detectors.load(family))
    assert {*has.split()} <= {*options}
    assert not {*lacks.split()} & {*options}


def test_all_that_is_asked_for_is_named():
    steps = Steps(common_mode=True, cm_medians="rows", adu_per_photon=8.25, wrap256=False)
    told = (
        r'adu_per_photon = 8.25, wrap256 = false, common_mode = true, cm_medians = "rows": JUNGFRAU does not'
    )
    with pytest.raises(BadInput, match=told):
        check_asked(steps, detectors.load("JUNGFRAU"))


@pytest.mark.parametrize("family", detectors.names())
def test_what_has_to_be_off_beside_the_offset_may_be_named(family):
    check_asked(asked("offset"), detectors.load(family))


def test_the_facilitys_parameters_set_only_what_the_detector_has():
    rules = tomllib.loads(Path(parameters.__file__).with_suffix(".toml").read_text("utf-8"))
    by_family = {}
    for name in detectors.names():
        by_family.setdefault(detectors.load(name).family, []).append({*options_of(detectors.load(name))})
    checked = 0
    for family in rules.keys() - {"common", "always"}:
        keys = {*rules["always"].get(family, {})}
        for rule in {**rules["common"], **rules[family]}.values():
            keys |= {rule["key"], *rule.get("also", {})} if "key" in rule else set()
        for options in by_family[family]:
            assert (keys & STEP_KEYS.keys()) <= options
            checked += 1
    assert checked >= 5


def jungfrau(**steps):
    arrays = {"offset": np.zeros((3, 1, 512, 1024)), "adu_per_kev": np.ones((3, 1, 512, 1024))}
    constants = Constants.from_arrays("JUNGFRAU", arrays, modules=[1])
    return Calibrator(constants, backend="cpu", steps=Steps(**steps))


@pytest.mark.parametrize(
    "steps",
    [{"common_mode": True}, {"blc_noise": True}, {"mask_noisy_adc": True}, {"force_hg_if_below": 1000.0}],
    ids=lambda steps: next(iter(steps)),
)
def test_a_calibrator_refuses_them(steps):
    name = next(iter(steps))
    with pytest.raises(BadInput, match=rf"calibrate_frames: steps {name} = .*: JUNGFRAU does not have this"):
        jungfrau(**steps)
    assert jungfrau(double_pixels="mask").unit == "keV"
