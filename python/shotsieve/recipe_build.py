"""How sections of a recipe are built of checked values: units in names, and keys that go together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .cell_order import ANY, read_order
from .constants.steps import Steps
from .errors import BadInput, nearest
from .recipe_keys import (
    ANNOTATE_UNITS,
    DERIVED_KEYS,
    DERIVED_NEEDS,
    MODE_UNITS,
    REGION_KEYS,
    REGION_NEEDS,
    STEP_KEYS,
)
from .recipe_scores import Derived
from .recipe_sections import Calibrate, Region, Write
from .sources.annotate import AnnotateParams
from .units import Quantity, check_photon_energy
from .write.rounding import Rounding


def build_annotate(
    values: dict[str, Any], columns: dict[str, str], name: str, folder: Path
) -> AnnotateParams:
    """Build the choices, under the names of `AnnotateParams`, which carry the units."""
    values |= {f"{key}_{unit}": values.pop(key) for key, unit in ANNOTATE_UNITS.items() if key in values}
    plain = {key: v.value if isinstance(v, Quantity) else v for key, v in values.items()}
    try:
        return AnnotateParams(**plain, columns=columns, folder=folder)
    except BadInput as err:
        raise BadInput(f"{name}: [annotate] {err}") from None


def _needs(where: str, kind: str, keys: Mapping[str, Any], needs: Any, may_have: Any, specs: Any) -> None:
    """Refuse keys that a kind lacks or does not have."""
    missing = [key for key in needs if keys[key] is None]
    given = {key for key, spec in specs.items() if keys[key] not in (None, spec.default)}
    beside = sorted(given - {"kind", *needs, *may_have})
    if missing or beside:
        wrong = f"lacks {', '.join(missing)}" if missing else f"does not take {', '.join(beside)}"
        takes = ", ".join([*needs, *may_have])
        raise BadInput(f'{where} of kind "{kind}" {wrong}; it takes {takes}')


def build_derived(values: Mapping[str, dict[str, Any]], name: str) -> dict[str, Derived]:
    """Build the derived columns."""
    for column, keys in values.items():
        where = f"{name}: [derive.{column}]"
        _needs(where, keys["kind"], keys, *DERIVED_NEEDS[keys["kind"]], DERIVED_KEYS)
        if keys["window"] is not None and keys["window"] < 1:
            raise BadInput(f"{where} window = {keys['window']}: expected a number of trains from 1")
        if keys["around"] is not None and (keys["around"] < 1 or keys["window"] is not None):
            raise BadInput(
                f"{where} around = {keys['around']}: expected shots from 1, and no window beside it"
            )
        if keys["around"] is not None and keys["per_cell"]:
            raise BadInput(f"{where} around and per_cell: a train has few shots of a cell; leave one out")
    return {column: Derived(**keys) for column, keys in values.items()}


def build_regions(values: Mapping[str, dict[str, Any]], name: str) -> dict[str, Region]:
    """Build the regions of interest, after refusing keys that a kind lacks or does not have."""
    for region, keys in values.items():
        where = f"{name}: [measure.roi.{region}]"
        _needs(where, keys["kind"], keys, *REGION_NEEDS[keys["kind"]], REGION_KEYS)
    return {region: Region(**keys) for region, keys in values.items()}


def build_calibrate(values: dict[str, Any] | None, name: str) -> Calibrate | None:
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
        if plain["memory_cell_order"] not in (None, ANY):
            plain["memory_cell_order"] = read_order(plain["memory_cell_order"])
        steps = Steps(**{key: plain.pop(key) for key in STEP_KEYS})
        if (plain["mask"] is None) != (plain["mask_bad"] is None):
            raise BadInput(
                'mask and mask_bad go together: say whether "zero" (False) or "nonzero" (True) marks a bad '
                'pixel in the file, or whether it holds "bits" of bad pixels'
            )
        steps.unit(plain["unit"])  # refuses a unit that these steps cannot give
    except BadInput as err:
        where = "" if str(err).startswith("[") else "[calibrate] "
        raise BadInput(f"{name}: {where}{err}") from None
    return Calibrate(**plain, steps=steps)


_OF_CONTENT = {
    "dtype": ("photons", "photon_list"),
    "whole": ("photon_list",),
    "rounding_absolute": ("rounded",),
    "rounding_relative": ("rounded",),
}


def build_write(values: dict[str, Any] | None, name: str) -> Write | None:
    """Build the section, after refusing keys that do not belong to its content."""
    if values is None:
        return None
    write = Write(**values)
    for key, contents in _OF_CONTENT.items():
        if values[key] is not None and write.content not in contents:
            wanted = " or ".join(f'"{content}"' for content in contents)
            raise BadInput(
                f'{name}: [write] {key} belongs to content = {wanted}; the content is "{write.content}"'
            )
    if write.whole is not None and not 0 <= write.whole <= 1:
        raise BadInput(f"{name}: [write] whole = {write.whole:g}: expected a share of the shots from 0 to 1")
    if write.content == "rounded":
        absolute = write.rounding_absolute
        if absolute is None and write.rounding_relative is None:
            raise BadInput(
                f'{name}: [write] content = "rounded" needs to know how much: set rounding_absolute = '
                '"0.1 keV", rounding_relative = 0.01 or both'
            )
        try:
            Rounding.within(absolute and absolute.value, write.rounding_relative)
        except BadInput as err:
            raise BadInput(f"{name}: [write] {err}") from None
    return write


def check_regions(write: Write | None, regions: Mapping[str, Region] | None, name: str) -> None:
    """Refuse regions to be written that there are not, and regions of raw words."""
    if write is None or write.regions is None:
        return
    if write.content == "raw":
        raise BadInput(
            f"{name}: [write] regions masks pixels, and raw words stay as they were recorded: leave it "
            'out, or set content = "corrected"'
        )
    known = regions or {}
    for region in write.region_names:
        if region not in known:
            raise BadInput(
                f"{name}: [write] regions: there is no section [measure.roi.{region}]."
                f"{nearest(region, known)} Regions are {', '.join(known) or 'none'}"
            )
