"""Parameters of the facility's offline correction in our own words: what a recipe says instead of each."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

__all__ = ["OUTCOMES", "Parameter", "Translation", "translate"]

OUTCOMES = ("recipe", "constants", "same", "no effect", "not mapped")
"""What became of a parameter: a key of the recipe, a property of the constants, nothing to do at this value,
no effect on values at all, or not mapped: the values that the facility got will differ."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a correction and what it is here.

    Attributes
    ----------
    name : str
    value : object
    outcome : str
        One of `OUTCOMES`.
    told : str
        The key and value that stand for it, or why there is none.
    """

    name: str
    value: Any
    outcome: str
    told: str


@dataclass
class Translation:
    """All parameters of a correction.

    Attributes
    ----------
    calibrate : dict
        Keys of the section ``[calibrate]``.
    conditions : dict
        Operating mode that the constants were chosen for.
    imports : dict
        How the constants are read: ``ff_gain``.
    parameters : list of Parameter
        Every one, in the order of the file.
    """

    calibrate: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    imports: dict[str, Any] = field(default_factory=dict)
    parameters: list[Parameter] = field(default_factory=list)

    @property
    def not_mapped(self) -> list[Parameter]:
        """Parameters by which values of the facility differ from ours."""
        return [one for one in self.parameters if one.outcome == "not mapped"]


@functools.cache
def _table() -> dict[str, dict[str, dict[str, Any]]]:
    return tomllib.loads(Path(__file__).with_name("parameters.toml").read_text("utf-8"))


def _family(configuration: Mapping[str, Any]) -> str:
    """Return the family whose parameters these are, where the detector itself is not known."""
    families = {name: len(configuration.keys() & rules.keys()) for name, rules in _table().items()}
    return max((name for name in families if name not in ("common", "always")), key=families.__getitem__)


def translate(configuration: Mapping[str, Any], family: str | None = None) -> Translation:
    """Say of every parameter what it is here.

    Parameters
    ----------
    configuration : mapping
        Parameter -> value, as ``calibration-configurations`` of the metadata file has them.
    family : str or None
        Of the detector, as `Detector.family`; None: the one whose parameters these are.

    Returns
    -------
    Translation
        Nothing is left out: what this version does not know is not mapped.

    Examples
    --------
    >>> found = translate({"hg-hard-threshold": 1000, "force-hg-if-below": True}, "agipd")
    >>> found.calibrate
    {'force_hg_if_below': '1000 ADU'}
    >>> [one.outcome for one in translate({"new-switch": True}, "agipd").parameters]
    ['not mapped']
    """
    from ...recipe_keys import SECTIONS

    family, known = family or _family(configuration), SECTIONS["calibrate"]
    result = Translation(dict(_table()["always"].get(family, {})))
    rules = {**_table()["common"], **_table().get(family, {})}
    for name, value in configuration.items():
        rule = rules.get(name) or next(
            (r for n, r in rules.items() if "*" in n and fnmatchcase(name, n)), None
        )
        if rule is None:
            outcome, told = "not mapped", "this version does not know it: whether it changes values is open"
        else:
            outcome, told = _apply(result, name, value, rule, configuration, known)
        result.parameters.append(Parameter(name, value, outcome, told))
    return _settled(result)


def _apply(
    result: Translation, name: str, value: Any, rule: Mapping[str, Any], every: Mapping[str, Any], known: Any
) -> tuple[str, str]:
    """Note what one parameter does; return outcome and text."""
    if "idle" in rule:
        return "no effect", rule["idle"]
    if "needs" in rule:
        needed = rule["needs"]
        if every.get(needed, False) in (False, "off", ""):
            return "no effect", f"{needed} is off"
        return "not mapped", f"part of {needed}"
    if "off" in rule:
        return ("same", "off or all, as here") if _among(value, rule["off"]) else ("not mapped", rule["why"])
    if "unset" in rule and value == rule["unset"]:
        return "same", "taken from the run, as here"
    if "import" in rule:
        result.imports[rule["import"]] = float(value)
        return "constants", f"{rule['import']} = {float(value):g}"
    if "condition" in rule:
        result.conditions[rule["condition"]] = value
        return "constants", f"condition {rule['condition']} = {value}"
    if "switch" in rule and not every.get(rule["switch"], False):
        return "no effect", f"{rule['switch']} is off"
    if rule["key"] not in known:
        if value is False:
            return "same", "off or all, as here"
        return "not mapped", f"this version has no key {rule['key']}"
    words = rule.get("words", {})
    word = str(value).lower() if isinstance(value, bool) else str(value)
    if words and word not in words:
        if value is False:
            return "same", "off or all, as here"
        return "not mapped", rule.get("why", f"expected one of {', '.join(words)}")
    ours = words[word] if words else value
    if "unit" in rule:
        numbers = value if isinstance(value, list) else [value]
        ours = " ".join([*(f"{float(number):g}" for number in numbers), rule["unit"]])
    keys = {rule["key"]: ours, **(rule.get("also", {}) if value is True else {})}
    result.calibrate |= _merged(result.calibrate, keys, name)
    return "recipe", ", ".join(f"{key} = {_toml(one)}" for key, one in keys.items())


def _merged(now: Mapping[str, Any], keys: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return keys with what an earlier parameter set: relative gain is on where one of two turns it on."""
    either = {key: now[key] or one for key, one in keys.items() if isinstance(now.get(key), bool)}
    return {**keys, **(either if name != "only-offset" else {})}


def _settled(result: Translation) -> Translation:
    """Let the offset alone stay the offset alone, whatever else was set behind it."""
    alone = next((one for one in result.parameters if one.name == "only-offset" and one.value is True), None)
    if alone is not None:
        names = ("relative_gain", "xray_gain", "adjust_mg_baseline", "set_min")
        result.calibrate |= dict.fromkeys(names, False)
        for at, one in enumerate(result.parameters):
            if one is not alone and one.outcome == "recipe" and one.told.split(" = ")[0] in names:
                result.parameters[at] = dataclasses.replace(
                    one, outcome="no effect", told="only-offset is on"
                )
    return result


def _among(value: Any, off: list) -> bool:
    """Whether a value is one of some, where 0 and False are not the same."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in off)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
