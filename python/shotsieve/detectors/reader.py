"""How a detector's TOML file is read."""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING
from pathlib import Path

from ..errors import BadInput, nearest
from ..toml_text import read_toml
from .check import check
from .control import CONTROL_FIELDS, ControlKey
from .descriptor import Detector


def read(path: Path) -> Detector:
    """Read and check one TOML file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Detector

    Raises
    ------
    BadInput
        If the file cannot be read, or says something the package does not know.

    Examples
    --------
    >>> read(Path(__file__).with_name("agipd1m.toml")).name
    'AGIPD1M'
    """
    values = read_toml(path, "detector file")
    facility = values.pop("facility", {})
    values["facility_type"] = facility.get("type", "")
    values["facility_constants"] = facility.get("constants", {})
    values["facility_repeat_last"] = facility.get("repeat_last", [])
    values["control"] = _control(values.get("control", {}), path)

    fields = {item.name: item for item in dataclasses.fields(Detector)}
    if unknown := [key for key in values if key not in fields]:
        raise BadInput(f"{path}: unknown key {unknown[0]!r}.{nearest(unknown[0], fields)}")
    needed = [key for key, item in fields.items() if item.default is item.default_factory is MISSING]
    if missing := [key for key in needed if key not in values]:
        raise BadInput(
            f"{path}: the key {missing[0]!r} is missing; a detector needs all of {', '.join(needed)}."
        )
    for key, value in values.items():
        if isinstance(value, list):
            values[key] = tuple(tuple(one) if isinstance(one, list) else one for one in value)
    detector = Detector(**values)
    check(detector, path)
    return detector


def _control(table: dict, path: Path) -> dict[str, tuple[ControlKey, ...]]:
    known = {item.name for item in dataclasses.fields(ControlKey)}
    result = {}
    for name, candidates in table.items():
        if name not in CONTROL_FIELDS:
            raise BadInput(f"{path}: [[control.{name}]] is not a known field.{nearest(name, CONTROL_FIELDS)}")
        for item in candidates:
            if unknown := [key for key in item if key not in known]:
                hint = nearest(unknown[0], known)
                raise BadInput(f"{path}: unknown key {unknown[0]!r} in [[control.{name}]].{hint}")
        result[name] = tuple(ControlKey(**item) for item in candidates)
    return result
