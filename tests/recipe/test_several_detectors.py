"""Recipes with several detectors: what each of them inherits, and what is refused."""

from __future__ import annotations

import tomllib

import pytest
from shotsieve.errors import BadInput
from shotsieve.recipe import Recipe

TEXT = """
[calibrate]
photon_energy = "9.3 keV"

[measure.lit]
threshold = "0.7 photon"

[measure.roi.a]
kind = "rectangle"
ss_start = 0
ss_stop = 8
fs_start = 0
fs_stop = 8

[keep]
rule = "jf_lit_pixels > 3"

[write]
trains_per_file = 100

[[detector]]
name = "AGIPD1M"

[[detector]]
label = "jf"
name = "JUNGFRAU"

[detector.calibrate]
gain_mode = "adaptive"

[detector.measure.lit]
threshold = "5 keV"

[[detector]]
label = "far"
source = "SPB_DET_AGIPD1M-2"
keep = "all"

[[detector]]
label = "own"

[detector.keep]
rule = "lit_pixels > 1"

[detector.measure]

[detector.write]
content = "raw"
"""


def several(text=TEXT):
    return Recipe.from_dict(tomllib.loads(text), name="r.toml")


def test_a_detector_has_its_own_sections_or_those_of_the_recipe():
    recipe = several()
    assert list(recipe.others) == ["jf", "far", "own"]
    assert [other.keep for other in recipe.others.values()] == ["matched", "all", "own"]
    jf, far, own = (other.recipe for other in recipe.others.values())
    assert (recipe.detector.name, jf.detector.name, far.detector.source) == (
        "AGIPD1M",
        "JUNGFRAU",
        "SPB_DET_AGIPD1M-2",
    )
    assert (jf.calibrate.gain_mode, jf.calibrate.photon_energy_kev) == ("adaptive", None)
    assert (jf.measure.lit.threshold.unit, jf.measure.roi) == ("keV", None)
    assert far.calibrate == recipe.calibrate
    assert far.measure == recipe.measure
    assert far.write == jf.write == recipe.write
    assert (own.measure.lit, own.write.content, own.keep.rule) == (None, "raw", "lit_pixels > 1")
    assert far.keep is jf.keep is None


def test_the_stored_recipe_is_the_same_again(tmp_path):
    recipe = several()
    again = several(recipe.dumps_toml())
    assert again == recipe
    assert again.dumps_toml() == recipe.dumps_toml()


def test_single_keys_of_a_detector():
    recipe = several().override(
        {
            "detector.jf.calibrate.gain_mode": "fixed_high",
            "detector.far.measure.lit.threshold": "1 photon",
            "detector.jf.source": "SPB_IRDA_JF4M",
            "detector.source": "SPB_DET_AGIPD1M-1",
        }
    )
    jf, far = recipe.others["jf"].recipe, recipe.others["far"].recipe
    assert (jf.calibrate.gain_mode, jf.detector.source) == ("fixed_high", "SPB_IRDA_JF4M")
    assert far.measure.lit.threshold.value == 1
    assert recipe.detector.source == "SPB_DET_AGIPD1M-1"
    with pytest.raises(BadInput, match=r"no .* with the label 'jg' .* there are jf, far, own"):
        recipe.override({"detector.jg.source": "x"})


def detectors(*listed, **sections):
    return {"detector": [{}, *listed], **sections}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (detectors({}), "number 2: label is missing"),
        (detectors({"label": "a-b"}), "expected a word of letters"),
        (detectors({"label": 3}), r"expected a word .* got a whole number \(3\)"),
        (detectors({"label": "a"}, {"label": "a"}), "label = 'a' is that of another"),
        ({"detector": [{"label": "a"}, {"label": "a"}]}, "label = 'a' is that of another"),
        (
            {"detector": [{"calibrate": {}}]},
            r"\[detector.calibrate\] stands in the first .* write \[calibrate\]",
        ),
        ({"detector": [{"keep": "all"}]}, r"\[detector\] has no key 'keep'"),
        (detectors({"label": "a", "derive": {}}), "a has no section 'derive'"),
        (detectors({"label": "a", "sorce": "b"}), "a has no key 'sorce'. Did you mean 'source'"),
        (detectors({"label": "a", "keep": "some"}), "keep: expected 'matched' or 'all', or a section"),
        (detectors({"label": "a", "write": 3}), "write has to be a section"),
        (detectors({"label": "a", "calibrate": {"gain": 1}}), r"detector a: \[calibrate\] has no key 'gain'"),
        (detectors({"label": "a", "measure": {"lit": {}}}), r"detector a: \[measure.lit\] counts calibrated"),
    ],
)
def test_refusals(given, says):
    with pytest.raises(BadInput, match=says):
        Recipe.from_dict(given, name="r.toml")
