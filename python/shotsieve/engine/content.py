"""What a recipe's [write] comes to for a run: the form of kept frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInput
from ..filters import BITSHUFFLE, bitshuffle_options
from ..measure.lit import photons_per_unit
from ..measure.threshold import threshold_in_unit
from ..write.content import DEFAULT_COMPRESSION, FrameForm
from ..write.photons import PhotonCounts
from ..write.rounding import Rounding

if TYPE_CHECKING:
    from ..detectors import Detector
    from ..recipe import Recipe
    from ..sources.base import Source


def check_cxi(recipe: Recipe, detector: Detector) -> None:
    """Refuse a CXI file of strips: what reads it wants images.

    Raises
    ------
    BadInput
        If the recipe asks for one, and the detector has one dimension.
    """
    if recipe.write is not None and recipe.write.cxi and detector.dimensions == 1:
        raise BadInput(
            f"[write] cxi = true is for images, and {detector.name} has strips in one dimension: "
            "leave it out; the peaks stand in shotsieve/peaks.h5"
        )


def form_of(
    recipe: Recipe, unit: str, photon_energy_kev: float | None, written: np.ndarray | None = None
) -> FrameForm | None:
    """Return the form that the recipe gives kept frames; None where none are written.

    Parameters
    ----------
    recipe : Recipe
    unit : {"ADU", "keV", "photon"}
        Of the calibrated values.
    photon_energy_kev : float or None
        Of the run, or what the recipe overrides it with.
    written : ndarray of bool, shape (M * ss, fs), optional
        Pixels that are written; by default all.

    Raises
    ------
    BadInput
        If photons cannot be told from the values, or a step not be converted to their unit.
    """
    write = recipe.write
    if write is None:
        return None
    usual = DEFAULT_COMPRESSION[write.content] if written is None else "gzip"
    compression = write.compression or usual
    if compression in BITSHUFFLE:
        bitshuffle_options(compression)  # what is not installed is told now, not after an hour of reading
    raw = write.content == "raw"
    form = FrameForm(write.content, "ADU" if raw else unit, compression, written=written)
    if write.content in ("photons", "photon_list"):
        per_unit = photons_per_unit(unit, photon_energy_kev)
        if not per_unit:
            raise BadInput(
                f'[write] content = "{write.content}" '
                + (
                    "cannot be made of values in ADU: set [calibrate] xray_gain = true"
                    if unit == "ADU"
                    else "needs the photon energy, which the run does not tell: set [calibrate] "
                    'photon_energy = "9.3 keV"'
                )
            )
        threshold = recipe.calibrate.steps.rounding_threshold
        form.photons, form.unit = PhotonCounts(per_unit, threshold, write.dtype or "uint16"), "photon"
        form.whole, form.seed = write.whole or 0.0, 0 if recipe.keep is None else recipe.keep.seed
    elif write.content == "rounded":
        absolute = write.rounding_absolute
        if absolute is not None:
            absolute = threshold_in_unit(
                absolute, unit, photon_energy_kev, option="[write] rounding_absolute"
            )
        form.rounding = Rounding.within(absolute, write.rounding_relative)
    return form


def modules_with_pixels(source: Source, recipe: Recipe, form: FrameForm | None) -> list[int]:
    """Return the modules that have frames, and pixels that are written where the recipe names no modules.

    Raises
    ------
    BadInput
        If none of those that have frames has such a pixel.
    """
    seen = source.shots.present.any(axis=0)
    named = form is None or recipe.write.modules is not None
    here = seen if named else seen & form.touched(len(seen))
    if seen.any() and not here.any():
        raise BadInput("[write] regions: no module that the run has frames of has a pixel in them")
    return [module for module, one in zip(source.modules, here.tolist(), strict=True) if one]
