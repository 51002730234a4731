"""A recipe: the one TOML file that says what a reduction does, checked key by key."""

from __future__ import annotations

import copy
import math
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .constants.steps import Steps
from .errors import BadInput, nearest
from .recipe_sections import (
    MODE_UNITS,
    PLACED_KINDS,
    REGION_KEYS,
    REGION_NEEDS,
    SECTIONS,
    STEP_KEYS,
    Azint,
    Calibrate,
    Detector,
    Keep,
    Key,
    Lit,
    Measure,
    Peaks,
    Region,
    Write,
)
from .toml_text import dumps_toml
from .units import Quantity, check_photon_energy, parse_quantity

__all__ = ["Azint", "Calibrate", "Detector", "Keep", "Lit", "Measure", "Peaks", "Recipe", "Region", "Write"]

_KINDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Quantity: "a text with a number and its unit",
}


@dataclass(frozen=True)
class Recipe:
    """A whole reduction, checked; sections that are absent are None and not computed.

    Made by `load`, `from_dict` or `override`, which know what was written.

    Attributes
    ----------
    detector : Detector
    calibrate : Calibrate or None
    measure : Measure
    keep : Keep or None
        None keeps every shot.
    write : Write or None
        None writes the table only.
    folder : Path
        What relative paths in the recipe are relative to: the folder of its file.

    Examples
    --------
    >>> recipe = Recipe.from_dict({"calibrate": {"photon_energy": "9300 eV"}, "measure": {"lit": {}}})
    >>> recipe.calibrate.photon_energy_kev, recipe.measure.lit.threshold.unit, recipe.keep is None
    (9.3, 'photon', True)
    """

    detector: Detector = field(default_factory=Detector)
    calibrate: Calibrate | None = None
    measure: Measure = field(default_factory=Measure)
    keep: Keep | None = None
    write: Write | None = None
    folder: Path = field(default=Path(), compare=False)
    _given: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read and check a TOML file.

        Parameters
        ----------
        path : path-like
            The recipe; relative paths in it are relative to its folder.

        Returns
        -------
        Recipe

        Raises
        ------
        BadInput
            If the file cannot be read, is not TOML, or holds a section, key or value that is not allowed;
            the text names file, section and key.
        """
        path = Path(path)
        try:
            given = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as err:
            raise BadInput(f"the recipe {path} cannot be read: {err.strerror or err}") from err
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
            raise BadInput(f"{path} is not a TOML file: {err}") from err
        return cls.from_dict(given, name=str(path), folder=path.parent)

    @classmethod
    def from_dict(
        cls, given: Mapping[str, Any], *, name: str = "recipe", folder: str | os.PathLike[str] = "."
    ) -> Recipe:
        """Check a recipe that is already a dictionary, as `tomllib` gives it.

        Parameters
        ----------
        given : mapping
            Sections by name; ``detector`` is a list of tables, ``measure`` holds one table per measure.
        name : str
            What error texts call the recipe.
        folder : path-like
            What relative paths in the recipe are relative to.

        Returns
        -------
        Recipe

        Raises
        ------
        BadInput
            As `load`.
        """
        values = {}
        for section, table in _sections(given, name):
            values[section] = _checked(section, table, name)
        recipe = cls(
            detector=Detector(**values.get("detector", {})),
            calibrate=_calibrate(values.get("calibrate"), name),
            measure=Measure(
                lit=Lit(**values["measure.lit"]) if "measure.lit" in values else None,
                peaks=Peaks(**values["measure.peaks"]) if "measure.peaks" in values else None,
                azint=Azint(**values["measure.azint"]) if "measure.azint" in values else None,
                roi=_regions(values["measure.roi"], name) if values.get("measure.roi") else None,
            ),
            keep=Keep(**values["keep"]) if "keep" in values else None,
            write=Write(**values["write"]) if "write" in values else None,
            folder=Path(folder),
            _given=copy.deepcopy(dict(given)),
        )
        recipe._check_sections(name)
        return recipe

    def _check_sections(self, name: str) -> None:
        """Refuse a section without another one that it needs."""
        measure, write = self.measure, self.write
        if self.calibrate is None:
            if measure.lit is not None:
                raise BadInput(f"{name}: [measure.lit] counts calibrated pixels; add a [calibrate] section")
            if measure.peaks is not None:
                raise BadInput(
                    f"{name}: [measure.peaks] searches calibrated pixels; add a [calibrate] section"
                )
            if measure.azint is not None:
                raise BadInput(
                    f"{name}: [measure.azint] integrates calibrated pixels; add a [calibrate] section"
                )
            if measure.roi is not None:
                raise BadInput(f"{name}: [measure.roi] sums calibrated pixels; add a [calibrate] section")
            if write is not None and write.content == "corrected":
                raise BadInput(
                    f'{name}: [write] content = "corrected" needs [calibrate]; add it, or write "raw"'
                )
        placed = [region for region in (measure.roi or {}).values() if region.kind in PLACED_KINDS]
        for section, needs in (("peaks", measure.peaks), ("azint", measure.azint), ("roi", placed or None)):
            if needs is not None and self.detector.geometry is None:
                raise BadInput(
                    f"{name}: [measure.{section}] needs to know where the pixels are: set [[detector]] "
                    'geometry = "detector.geom", a CrystFEL geometry file'
                )
        if measure.azint is not None:
            self._check_azint(name)
        if write is not None and write.cxi and (measure.peaks is None or write.content != "corrected"):
            raise BadInput(
                f"{name}: [write] cxi = true writes corrected frames with their peaks: it needs a section "
                '[measure.peaks] and content = "corrected"'
            )

    def _check_azint(self, name: str) -> None:
        section = self.measure.azint
        low, high = section.radial_min, section.radial_max
        if (low is None) != (high is None) or (low is not None and not low < high):
            raise BadInput(
                f"{name}: [measure.azint] radial_min = {low}, radial_max = {high}: expected both, the first "
                "below the second, or none"
            )
        if section.read_noise is not None and section.error_model != "detector":
            raise BadInput(
                f'{name}: [measure.azint] read_noise goes with error_model = "detector", not with '
                f'"{section.error_model}"'
            )

    def path_of(self, written: str) -> Path:
        """Return a path of the recipe, seen from the recipe's own folder."""
        return self.folder / Path(written).expanduser()

    def constants_path(self) -> Path | None:
        """Return the constants as a path; None where none are named."""
        if self.calibrate is None or self.calibrate.constants is None:
            return None
        return self.path_of(self.calibrate.constants)

    def filled(self) -> dict[str, Any]:
        """Return the recipe as a dictionary with every default written out.

        Keys that are not set and have no default (None) are left out; quantities stay as they were written.
        ``Recipe.from_dict(recipe.filled())`` equals the recipe.
        """
        out: dict[str, Any] = {}
        for section, table in _sections(self._given, "recipe"):
            if section == "measure.roi":
                filled = {name: _filled(region, REGION_KEYS) for name, region in table.items()}
            else:
                filled = _filled(table, SECTIONS[section])
            if section == "detector":
                out["detector"] = [filled]
            else:
                _nest(out, section.split("."))[section.split(".")[-1]] = filled
        return out

    def dumps_toml(self) -> str:
        """Return `filled` as TOML text; `tomllib` reads back the same dictionary."""
        return dumps_toml(self.filled())

    def override(self, changes: Mapping[str, Any] | None = None, /, **options: Any) -> Recipe:
        """Return a recipe with some keys changed, checked like a file.

        Parameters
        ----------
        changes : mapping
            Values by dotted key, e.g. ``{"calibrate.cells": 64, "measure.lit.threshold": "1 photon"}``;
            None removes a key. A section that did not exist is made.
        **options
            The same with two underscores for the dot: ``calibrate__cells=64``.

        Returns
        -------
        Recipe
            A new one; this one stays as it is.

        Raises
        ------
        BadInput
            If a key does not exist or a value is not allowed.

        Examples
        --------
        >>> recipe = Recipe.from_dict({"keep": {"rule": "n_modules > 3"}})
        >>> recipe.override(keep__undecided="drop").keep.undecided
        'drop'
        """
        given = copy.deepcopy(dict(self._given))
        for dotted, value in {
            **(changes or {}),
            **{k.replace("__", "."): v for k, v in options.items()},
        }.items():
            *path, key = dotted.split(".")
            section = ".".join(path)
            if section not in SECTIONS and not section.startswith("measure.roi."):
                raise BadInput(
                    f"option {dotted!r}: expected section.key with one of the sections {', '.join(SECTIONS)}."
                    + nearest(section, SECTIONS)
                )
            if section == "detector":
                given["detector"] = given.get("detector") or [{}]
                table = given["detector"][0]
            else:
                table = _nest(given, path).setdefault(path[-1], {})
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        return Recipe.from_dict(given, name="recipe with options", folder=self.folder)


def _filled(table: Mapping[str, Any], keys: Mapping[str, Key]) -> dict[str, Any]:
    """Return a section with its defaults written out; what is not set and has no default is left out."""
    values = {key: table.get(key, spec.default) for key, spec in keys.items()}
    return {
        key: f"{value.value!r} {value.unit}" if isinstance(value, Quantity) else value
        for key, value in values.items()
        if value is not None
    }


def _nest(tree: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """Return the dictionary that holds the last name of a path, making those on the way."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    return tree


def _sections(given: Mapping[str, Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (section, table) in the order of `SECTIONS`, after refusing what is not a section."""
    flat: dict[str, Any] = {}
    for section, table in given.items():
        if section == "measure" and isinstance(table, Mapping):
            flat |= {f"measure.{measure}": inner for measure, inner in table.items()}
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
            if len(table) > 1:
                raise BadInput(
                    f"{name}: {len(table)} sections [[detector]]; one detector per run is supported"
                )
            flat[section] = table[0] if table else {}
        if not isinstance(flat[section], Mapping):
            raise BadInput(f"{name}: [{section}] must be a section, got {_shown(table)}")
    yield from ((section, flat[section]) for section in SECTIONS if section in flat)


def _checked(section: str, table: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return every key of a section with its checked value or its default; of regions, each of them."""
    if section == "measure.roi":
        for region, inner in table.items():
            if not isinstance(inner, Mapping) or not region.isidentifier():
                raise BadInput(
                    f"{name}: [measure.roi] {region}: expected a region as a section of its own, "
                    "[measure.roi.NAME], whose name is a word"
                )
        return {region: _checked(f"measure.roi.{region}", inner, name) for region, inner in table.items()}
    keys = SECTIONS.get(section, REGION_KEYS)
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
    if spec.kind is Quantity:
        return parse_quantity(value, option=where, units=spec.units)
    good = isinstance(value, spec.kind) or (spec.kind is float and isinstance(value, int))
    good &= spec.kind is bool or not isinstance(value, bool)
    good &= spec.kind is not float or (good and math.isfinite(value))
    if not good:
        raise BadInput(f"{where}: expected {_KINDS[spec.kind]}, got {_shown(value)}")
    if spec.choices and value not in spec.choices:
        hint = nearest(value, spec.choices)
        raise BadInput(f"{where}: expected one of {', '.join(spec.choices)}, got {value!r}.{hint}")
    if spec.kind is str and not value.strip():
        raise BadInput(f"{where} is empty; give it a value or leave the key out")
    return spec.kind(value)


def _regions(values: Mapping[str, dict[str, Any]], name: str) -> dict[str, Region]:
    """Build the regions of interest, after refusing keys that a kind lacks or does not have."""
    for region, keys in values.items():
        needs, may_have = REGION_NEEDS[keys["kind"]]
        missing = [key for key in needs if keys[key] is None]
        given = {key for key, spec in REGION_KEYS.items() if keys[key] not in (None, spec.default)}
        beside = sorted(given - {"kind", *needs, *may_have})
        if missing or beside:
            wrong = f"lacks {', '.join(missing)}" if missing else f"does not take {', '.join(beside)}"
            raise BadInput(
                f'{name}: [measure.roi.{region}] of kind "{keys["kind"]}" {wrong}; it takes '
                f"{', '.join([*needs, *may_have])}"
            )
    return {region: Region(**keys) for region, keys in values.items()}


def _calibrate(values: dict[str, Any] | None, name: str) -> Calibrate | None:
    """Build the section, under the names of `OperatingMode` and `Steps`, which carry the units."""
    if values is None:
        return None
    switches = {key: values.pop(key) for key in STEP_KEYS}
    values |= {f"{key}_{unit}": values.pop(key) for key, unit in MODE_UNITS.items()}
    plain = {key: v.value if isinstance(v, Quantity) else v for key, v in {**values, **switches}.items()}
    for key in ("cells", "rate_mhz", "integration_time", "photon_energy_kev", "distance_m"):
        if plain[key] is not None and not plain[key] > 0:
            raise BadInput(f"{name}: [calibrate] {key}: expected more than 0, got {plain[key]:g}")
    try:
        if plain["photon_energy_kev"] is not None:
            check_photon_energy(plain["photon_energy_kev"], option="[calibrate] photon_energy")
        steps = Steps(**{key: plain.pop(key) for key in STEP_KEYS})
        steps.unit(plain["unit"])  # refuses a unit that these steps cannot give
    except BadInput as err:
        where = "" if str(err).startswith("[") else "[calibrate] "
        raise BadInput(f"{name}: {where}{err}") from None
    return Calibrate(**plain, steps=steps)


def _shown(value: Any) -> str:
    """Say what came, with its kind, since 5 and "5" look alike in a sentence."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return f"{_KINDS[kind]} ({value!r})"
    return f"a {type(value).__name__}"
