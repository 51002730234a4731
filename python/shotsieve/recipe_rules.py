"""What the sections of a recipe need of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import BadInput
from .recipe_build import check_regions
from .recipe_correlation import check_xpcs
from .recipe_keys import PLACED_KINDS
from .recipe_scores import check_scores

if TYPE_CHECKING:
    from .recipe import Recipe
    from .recipe_sections import Azint, Write

# Keys of [write] that raw content has no use for, and why.
_NOT_OF_RAW = {
    "legacy_names": "makes links under the raw names, which raw content has anyway",
    "drop_cells": "needs a mask: raw words have none to tell a dropped cell from a recorded one",
}


def check_sections(recipe: Recipe, name: str) -> None:
    """Refuse a section without another one that it needs."""
    measure, write = recipe.measure, recipe.write
    if recipe.calibrate is None:
        if measure.lit is not None:
            raise BadInput(f"{name}: [measure.lit] counts calibrated pixels; add a [calibrate] section")
        if measure.peaks is not None:
            raise BadInput(f"{name}: [measure.peaks] searches calibrated pixels; add a [calibrate] section")
        if measure.azint is not None:
            raise BadInput(f"{name}: [measure.azint] integrates calibrated pixels; add a [calibrate] section")
        if measure.xcca is not None:
            raise BadInput(f"{name}: [measure.xcca] correlates calibrated pixels; add a [calibrate] section")
        if measure.xpcs is not None:
            raise BadInput(f"{name}: [measure.xpcs] correlates calibrated pixels; add a [calibrate] section")
        if measure.average is not None:
            raise BadInput(f"{name}: [measure.average] averages calibrated pixels; add [calibrate]")
        if measure.roi is not None:
            raise BadInput(f"{name}: [measure.roi] sums calibrated pixels; add a [calibrate] section")
        if write is not None and write.content != "raw":
            raise BadInput(
                f'{name}: [write] content = "{write.content}" needs [calibrate]; add it, or write "raw"'
            )
    average = measure.average
    if average is not None and average.bins is not None and average.by in (None, "verdict"):
        raise BadInput(f"{name}: [measure.average] bins are of a column: name it as by, or leave bins out")
    _check_pump_probe(recipe, name)
    check_scores(recipe, name)
    placed = [region for region in (measure.roi or {}).values() if region.kind in PLACED_KINDS]
    of_places = {"peaks": measure.peaks, "azint": measure.azint, "xcca": measure.xcca, "xpcs": measure.xpcs}
    of_places["roi"] = placed or None
    for section, needs in of_places.items():
        if needs is not None and recipe.detector.geometry is None:
            raise BadInput(
                f"{name}: [measure.{section}] needs to know where the pixels are: set [[detector]] "
                'geometry = "detector.geom", a CrystFEL geometry file'
            )
    check_regions(write, measure.roi, name)
    if recipe.redu is not None and measure.lit is None:
        raise BadInput(f"{name}: [redu] writes lit pixels; add a section [measure.lit]")
    for section, one in (("azint", measure.azint), ("xcca", measure.xcca), ("xpcs", measure.xpcs)):
        if one is not None:
            _check_range(section, one.radial_min, one.radial_max, name)
    if measure.azint is not None:
        _check_azint(measure.azint, name)
    if measure.xpcs is not None:
        check_xpcs(measure.xpcs, name)
    if write is not None:
        _check_write(recipe, write, name)


def _check_pump_probe(recipe: Recipe, name: str) -> None:
    measure = recipe.measure
    pump = measure.pump_probe
    if pump is not None and (
        recipe.calibrate is None or (measure.azint is None and measure.roi is None and not pump.frames)
    ):
        raise BadInput(
            f"{name}: [measure.pump_probe] compares what is measured on calibrated pixels; add "
            "[calibrate], and [measure.azint], [measure.roi.NAME] or frames = true"
        )
    if pump is not None and (pump.delay_bins is not None) > (pump.delay is not None):
        raise BadInput(
            f"{name}: [measure.pump_probe] delay_bins needs delay, the column that is cut into bins"
        )
    if pump is not None and (pump.reference is not None) != (pump.mode == "reference_as_off"):
        raise BadInput(
            f'{name}: [measure.pump_probe] mode = "reference_as_off" and reference belong together: set '
            "both or none"
        )


def _check_write(recipe: Recipe, write: Write, name: str) -> None:
    measure = recipe.measure
    if write.trains_per_file < 0:
        raise BadInput(
            f"{name}: [write] trains_per_file = {write.trains_per_file}: expected a number of trains, or "
            "0 for files that begin where those of the run do"
        )
    if write.cxi and write.content == "photon_list":
        raise BadInput(
            f"{name}: [write] cxi = true writes the frames of all kept shots, and photon lists are there to "
            'replace them: leave cxi out, or set content = "photons"'
        )
    if write.cxi and (measure.peaks is None or write.content == "raw"):
        raise BadInput(
            f"{name}: [write] cxi = true writes calibrated frames with their peaks: it needs a section "
            '[measure.peaks], and content that is not "raw"'
        )
    for key, why in _NOT_OF_RAW.items():
        if getattr(write, key) and write.content == "raw":
            raise BadInput(f'{name}: [write] {key} = true {why}: leave it out, or set content = "corrected"')
    if write.nexus and write.drop_cells:
        raise BadInput(
            f"{name}: [write] nexus = true shows whole trains, dropped cells among them: leave out "
            "drop_cells or nexus"
        )
    if write.nexus and write.content not in ("corrected", "rounded"):
        raise BadInput(
            f"{name}: [write] nexus = true shows values of pixels with NaN where there is none: set "
            'content = "corrected" or "rounded"'
        )
    if write.nexus and recipe.detector.geometry is None:
        raise BadInput(
            f"{name}: [write] nexus = true says where the pixels are: set [[detector]] geometry = "
            '"detector.geom", a CrystFEL geometry file'
        )


def _check_range(section: str, low: float | None, high: float | None, name: str) -> None:
    if (low is None) != (high is None) or (low is not None and not low < high):
        raise BadInput(
            f"{name}: [measure.{section}] radial_min = {low}, radial_max = {high}: expected both, the first "
            "below the second, or none"
        )


def _check_azint(section: Azint, name: str) -> None:
    if section.read_noise is not None and section.error_model != "detector":
        raise BadInput(
            f'{name}: [measure.azint] read_noise goes with error_model = "detector", not with '
            f'"{section.error_model}"'
        )
