"""Recipes: every key checked, every error named, every default written out."""

import dataclasses
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shotsieve.cli import parse_setting
from shotsieve.constants.steps import Steps
from shotsieve.errors import BadInput
from shotsieve.recipe import Recipe
from shotsieve.recipe_keys import SECTIONS
from shotsieve.toml_text import dumps_toml
from shotsieve.units import Quantity

FULL = """
[[detector]]
name = "AGIPD1M"
source = "SPB_DET_AGIPD1M-1"
geometry = "agipd.geom"

[calibrate]
constants = "constants.h5"
gain_mode = "adaptive"
cells = 352
rate = "1.1 MHz"
integration_time = 20
photon_energy = "9300 eV"
distance = "250 mm"
unit = "photon"
round_photons = true
force_hg_if_below = "1000 ADU"
bad_bits = 0xff

[measure.lit]
threshold = "0.7 photon"

[keep]
rule = "lit_pixels > 300"
undecided = "drop"

[write]
content = "raw"
"""


def write(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def lit(threshold):
    return {"calibrate": {}, "measure": {"lit": {"threshold": threshold}}}


def refusal(content):
    with pytest.raises(BadInput) as caught:
        Recipe.from_dict(content, name="r.toml")
    return str(caught.value)


def test_a_full_recipe(tmp_path):
    recipe = Recipe.load(write(tmp_path, FULL))
    assert recipe.detector.source == "SPB_DET_AGIPD1M-1"
    assert recipe.calibrate.photon_energy_kev == 9.3
    assert recipe.calibrate.distance_m == 0.25
    assert recipe.calibrate.rate_mhz == 1.1
    assert recipe.calibrate.steps == Steps(round_photons=True, force_hg_if_below=1000.0, bad_bits=255)
    assert (recipe.measure.lit.threshold.value, recipe.measure.lit.threshold.unit) == (0.7, "photon")
    assert (recipe.keep.rule, recipe.keep.undecided) == ("lit_pixels > 300", "drop")
    assert recipe.write.content == "raw"
    assert recipe.constants_path() == tmp_path / "constants.h5"
    assert recipe.calibrate.mode_overrides() == {
        "gain_mode": "adaptive",
        "cells": 352,
        "rate_mhz": 1.1,
        "integration_time": 20.0,
        "photon_energy_kev": 9.3,
        "distance_m": 0.25,
    }


def test_quantities_may_be_given_as_such():
    recipe = Recipe.from_dict(lit(Quantity(5.0, "sigma")))
    assert recipe.measure.lit.threshold == Quantity(5.0, "sigma")
    assert recipe.filled()["measure"]["lit"]["threshold"] == "5.0 sigma"


def test_what_is_absent_is_not_computed():
    recipe = Recipe.from_dict({})
    assert recipe.calibrate is None
    assert recipe.measure.lit is None
    assert recipe.keep is None
    assert recipe.write is None
    assert recipe.detector.name is None
    assert recipe.constants_path() is None
    assert recipe.filled() == {}
    assert Recipe.from_dict({"calibrate": {}}).calibrate.mode_overrides() == {}


def test_every_switch_of_the_steps_is_a_key():
    assert {field.name for field in dataclasses.fields(Steps)} <= SECTIONS["calibrate"].keys()
    assert Recipe.from_dict({"calibrate": {}}).calibrate.steps == Steps()


def test_filled_round_trips(tmp_path):
    for content in (tomllib.loads(FULL), {"calibrate": {}, "measure": {"lit": {}}}, {"detector": []}, {}):
        recipe = Recipe.from_dict(content)
        again = Recipe.load(write(tmp_path, recipe.dumps_toml()))
        assert again == recipe
        assert again.filled() == recipe.filled() == tomllib.loads(recipe.dumps_toml())
    filled = Recipe.from_dict(tomllib.loads(FULL)).filled()
    assert filled["calibrate"]["photon_energy"] == "9300 eV"  # as it was written
    assert filled["calibrate"]["set_min"] is Steps().set_min  # a default, written out


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"calibrat": {}}, ["r.toml", "[calibrat]", "Did you mean 'calibrate'?"]),
        ({"measure": {"lits": {}}}, ["[measure.lits]", "'measure.lit'"]),
        ({"measure": 3}, ["measure"]),
        ({"keep": 3}, ["[keep] must be a section", "3"]),
        ({"calibrate": {"photon_enrgy": "9 keV"}}, ["[calibrate]", "'photon_enrgy'", "'photon_energy'"]),
        ({"calibrate": {"cells": "352"}}, ["[calibrate] cells", "a whole number", "a text ('352')"]),
        ({"calibrate": {"cells": True}}, ["[calibrate] cells", "a whole number", "true or false (True)"]),
        ({"calibrate": {"cells": 3.0}}, ["[calibrate] cells", "a number (3.0)"]),
        ({"calibrate": {"cells": 0}}, ["[calibrate] cells", "more than 0"]),
        ({"calibrate": {"cells": [1]}}, ["[calibrate] cells", "a list"]),
        ({"calibrate": {"integration_time": float("nan")}}, ["integration_time", "nan"]),
        ({"calibrate": {"offset": 1}}, ["[calibrate] offset", "true or false", "a whole number (1)"]),
        ({"calibrate": {"constants": " "}}, ["[calibrate] constants is empty"]),
        ({"calibrate": {"gain_mode": "fixed_hig"}}, ["gain_mode", "adaptive", "'fixed_high'"]),
        ({"calibrate": {"photon_energy": 9.3}}, ["[calibrate] photon_energy", "no unit"]),
        ({"calibrate": {"photon_energy": "9300 keV"}}, ["[calibrate] photon_energy", "eV"]),
        ({"calibrate": {"distance": "-1 m"}}, ["[calibrate] distance", "more than 0"]),
        ({"calibrate": {"force_hg_if_below": "3 keV"}}, ["force_hg_if_below", "ADU"]),
        ({"calibrate": {"rounding_threshold": 3}}, ["r.toml: [calibrate] rounding_threshold"]),
        ({"calibrate": {"unit": "ADU"}}, ["r.toml: [calibrate] unit", "xray_gain"]),
        (lit("0.7"), ["[measure.lit] threshold", "0.7 photon"]),
        (lit(0.7), ["[measure.lit] threshold", "unit"]),
        (lit("0.7 foton"), ["threshold", "'photon'"]),
        ({"measure": {"lit": {}}}, ["[measure.lit]", "[calibrate]"]),
        ({"write": {}}, ["[write]", "[calibrate]"]),
        ({"keep": {}}, ["[keep] rule is missing"]),
        ({"keep": {"rule": "a>1", "undecided": "kep"}}, ["undecided", "'keep'"]),
        ({"detector": {"name": "AGIPD1M"}}, ["[[detector]] with two brackets"]),
        ({"detector": [{}, {}]}, ["label is missing"]),
        ({"detector": [3]}, ["[detector] must be a section"]),
    ],
)
def test_refusals_name_the_place(content, says):
    message = refusal(content)
    assert all(part in message for part in ["r.toml", *says]), message


def test_files_that_are_no_recipe(tmp_path):
    with pytest.raises(BadInput, match=r"missing\.toml cannot be read"):
        Recipe.load(tmp_path / "missing.toml")
    with pytest.raises(BadInput, match=r"recipe\.toml is not a TOML file.*line 1"):
        Recipe.load(write(tmp_path, "[keep\n"))
    path = tmp_path / "bytes.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="not a TOML file"):
        Recipe.load(path)


def test_override():
    recipe = Recipe.from_dict(tomllib.loads(FULL), folder="somewhere")
    options = {"calibrate.cells": 64, "measure.lit.threshold": "1 keV", "detector.name": None}
    changed = recipe.override(options)
    assert changed.calibrate.cells == 64
    assert changed.measure.lit.threshold.unit == "keV"
    assert changed.detector.name is None
    assert changed.folder == recipe.folder
    assert recipe.calibrate.cells == 352  # the first is untouched
    assert recipe.override(keep__rule="photons > 3").keep.rule == "photons > 3"
    made = Recipe.from_dict({}).override(
        {"calibrate.offset": True, "detector.source": "X", "measure.lit.threshold": "1 keV"}
    )
    assert made.calibrate.steps.offset
    assert made.detector.source == "X"
    with pytest.raises(BadInput, match=r"'keep'"):
        recipe.override({"kep.rule": "photons > 3"})
    with pytest.raises(BadInput, match=r"section\.key"):
        recipe.override({"rule": "photons > 3"})
    with pytest.raises(BadInput, match="'threshold'"):
        recipe.override({"measure.lit.treshold": "1 keV"})


SCALARS = (
    st.text(st.characters(exclude_categories=["Cs"]))
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.floats(allow_nan=False)
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
TREE = st.recursive(
    st.dictionaries(KEYS, SCALARS | st.lists(SCALARS, max_size=3), max_size=3),
    lambda inner: st.dictionaries(
        KEYS, SCALARS | inner | st.lists(inner, min_size=1, max_size=2), max_size=3
    ),
    max_leaves=5,
)


@given(TREE)
def test_tomllib_reads_back_what_is_written(tree):
    assert tomllib.loads(dumps_toml(tree)) == tree


def test_toml_has_no_form_for_everything():
    with pytest.raises(TypeError, match="NoneType"):
        dumps_toml({"a": None})


@pytest.mark.parametrize(
    ("written", "bits"),
    [
        ("default -NON_STANDARD_SIZE +USER1", 0xFFBEFFFF),
        (["USER1", "VALUE_IS_NAN"], 0x40000800),
        (0x40000800, 0x40000800),
    ],
)
def test_bits_by_names_are_a_number_in_what_is_kept(written, bits):
    both = [{"name": "AGIPD1M"}, {"label": "jf", "calibrate": {"bad_bits": written}}]
    recipe = Recipe.from_dict({"detector": both, "calibrate": {"bad_bits": written}})
    for one in (recipe, recipe.others["jf"].recipe):
        assert one.calibrate.steps.bad_bits == bits
        assert one.filled()["calibrate"]["bad_bits"] == bits
    kept = tomllib.loads(recipe.dumps_toml())
    assert kept["calibrate"]["bad_bits"] == kept["detector"][1]["calibrate"]["bad_bits"] == bits
    assert Recipe.from_dict(kept) == recipe


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("calibrate.bad_bits=default -USER1", 0xBFBEFFFF),
        ('calibrate.bad_bits=["USER1", "USER2"]', 0xC0000000),
        ("calibrate.bad_bits=none", 0),
        ("calibrate.bad_bits=0xff", 255),
    ],
)
def test_bits_by_names_in_an_option(text, bits):
    recipe = Recipe.from_dict({"calibrate": {}}).override(dict([parse_setting(text)]))
    assert recipe.calibrate.steps.bad_bits == bits


def test_bits_with_a_wrong_name():
    told = r"\[calibrate\] bad_bits = \"default -USER3\": there is no bit 'USER3'. Did you mean 'USER[12]'"
    with pytest.raises(BadInput, match=told):
        Recipe.from_dict({"calibrate": {"bad_bits": "default -USER3"}})
