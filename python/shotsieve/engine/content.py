"""What a recipe's [write] comes to for a run: the form of kept frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import BadInput
from ..measure.lit import photons_per_unit
from ..measure.threshold import threshold_in_unit
from ..write.content import DEFAULT_COMPRESSION, FrameForm
from ..write.photons import PhotonCounts
from ..write.rounding import Rounding

if TYPE_CHECKING:
    from ..recipe import Recipe


def form_of(recipe: Recipe, unit: str, photon_energy_kev: float | None) -> FrameForm | None:
    """Return the form that the recipe gives kept frames; None where none are written.

    Parameters
    ----------
    recipe : Recipe
    unit : {"ADU", "keV", "photon"}
        Of the calibrated values.
    photon_energy_kev : float or None
        Of the run, or what the recipe overrides it with.

    Raises
    ------
    BadInput
        If photons cannot be told from the values, or a step not be converted to their unit.
    """
    write = recipe.write
    if write is None:
        return None
    compression = write.compression or DEFAULT_COMPRESSION[write.content]
    form = FrameForm(write.content, "ADU" if write.content == "raw" else unit, compression)
    if write.content == "photons":
        per_unit = photons_per_unit(unit, photon_energy_kev)
        if not per_unit:
            raise BadInput(
                '[write] content = "photons" '
                + (
                    "cannot be made of values in ADU: set [calibrate] xray_gain = true"
                    if unit == "ADU"
                    else "needs the photon energy, which the run does not tell: set [calibrate] "
                    'photon_energy = "9.3 keV"'
                )
            )
        threshold = recipe.calibrate.steps.rounding_threshold
        form.photons, form.unit = PhotonCounts(per_unit, threshold, write.dtype or "uint16"), "photon"
    elif write.content == "rounded":
        absolute = write.rounding_absolute
        if absolute is not None:
            absolute = threshold_in_unit(
                absolute, unit, photon_energy_kev, option="[write] rounding_absolute"
            )
        form.rounding = Rounding.within(absolute, write.rounding_relative)
    return form
