"""The grammar of recipes: which sections and keys there are, and what each value may be."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from .errors import BadInput, nearest
from .recipe_keys import NAMED, SECTIONS, Key
from .units import Quantity, parse_quantity

_KINDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Quantity: "a text with a number and its unit",
}


def with_defaults(table: Mapping[str, Any], keys: Mapping[str, Key]) -> dict[str, Any]:
    """Return a section with its defaults written out; what is not set and has no default is left out.

    What may be written in several ways is there in one.
    """
    values = {key: table.get(key, spec.default) for key, spec in keys.items()}
    values |= {key: spec.read(values[key], key) for key, spec in keys.items() if spec.read is not None}
    return {
        key: f"{value.value!r} {value.unit}" if isinstance(value, Quantity) else value
        for key, value in values.items()
        if value is not None
    }


def nest(tree: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """Return the dictionary that holds the last name of a path, making those on the way."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    return tree


def sections(given: Mapping[str, Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (section, table) in the order of `SECTIONS`, after refusing what is not a section."""
    flat: dict[str, Any] = {}
    for section, table in given.items():
        if section == "measure" and isinstance(table, Mapping):
            flat |= {f"measure.{measure}": inner for measure, inner in table.items()}
        elif section == "annotate" and isinstance(table, Mapping) and "columns" in table:
            flat["annotate"] = {key: value for key, value in table.items() if key != "columns"}
            flat["annotate.columns"] = table["columns"]
        else:
            flat[section] = table
    for section, table in flat.items():
        if section not in SECTIONS:
            known = ", ".join(f"[{s}]" for s in SECTIONS)
            raise BadInput(
                f"{name}: there is no section [{section}].{nearest(section, SECTIONS)} Sections are {known}"
            )
        if section == "detector":
            if not isinstance(table, list):
                raise BadInput(f"{name}: write [[detector]] with two brackets: it is a list of detectors")
            flat[section] = table[0] if table else {}
        if not isinstance(flat[section], Mapping):
            raise BadInput(f"{name}: [{section}] must be a section, got {shown(table)}")
    yield from ((section, flat[section]) for section in SECTIONS if section in flat)


def checked(section: str, table: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return every key of a section with its checked value or its default; of named sections, each."""
    if section == "annotate.columns":
        for key, value in table.items():
            if not key.isidentifier():
                raise BadInput(f"{name}: [annotate.columns] {key}: the name of a column has to be a word")
            _value(value, Key(str), f"[{section}] {key}")
        return dict(table)
    if section in NAMED:
        for word, inner in table.items():
            if not isinstance(inner, Mapping) or not word.isidentifier():
                raise BadInput(
                    f"{name}: [{section}] {word}: expected a {NAMED[section][0]} as a section of its own, "
                    f"[{section}.NAME], whose name is a word"
                )
        return {word: checked(f"{section}.{word}", inner, name) for word, inner in table.items()}
    keys = SECTIONS[section] if section in SECTIONS else NAMED[section.rpartition(".")[0]][1]
    for key in table:
        if key not in keys:
            known = ", ".join(keys)
            raise BadInput(
                f"{name}: [{section}] has no key {key!r}.{nearest(key, keys)} Its keys are {known}"
            )
    out = {}
    for key, spec in keys.items():
        if key not in table and spec.required:
            raise BadInput(f"{name}: [{section}] {key} is missing: a section [{section}] needs it")
        value = table.get(key, spec.default)
        try:
            out[key] = None if value is None else _value(value, spec, f"[{section}] {key}")
        except BadInput as err:
            raise BadInput(f"{name}: {err}") from None
    return out


def _value(value: Any, spec: Key, where: str) -> Any:
    """Check one value against its key; whole numbers pass as numbers, true and false never do."""
    if spec.read is not None:
        return spec.read(value, where)
    if spec.kind is Quantity:
        return parse_quantity(value, option=where, units=spec.units)
    good = isinstance(value, spec.kind) or (spec.kind is float and isinstance(value, int))
    good &= spec.kind is bool or not isinstance(value, bool)
    good &= spec.kind is not float or (good and math.isfinite(value))
    if not good:
        raise BadInput(f"{where}: expected {_KINDS[spec.kind]}, got {shown(value)}")
    if spec.choices and value not in spec.choices:
        hint = nearest(value, spec.choices)
        raise BadInput(f"{where}: expected one of {', '.join(spec.choices)}, got {value!r}.{hint}")
    if spec.kind is str and not value.strip():
        raise BadInput(f"{where} is empty; give it a value or leave the key out")
    return spec.kind(value)


def shown(value: Any) -> str:
    """Say what came, with its kind, since 5 and "5" look alike in a sentence."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return f"{_KINDS[kind]} ({value!r})"
    return f"a {type(value).__name__}"
