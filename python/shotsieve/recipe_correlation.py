"""What a recipe may say of correlations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Xcca:
    """``[measure.xcca]``: angular correlation; see `shotsieve.AngularCorrelator`.

    Attributes
    ----------
    npt, npt_chi : int
        Rings and azimuths of the polar map.
    radial_min, radial_max : float or None
        Both or none; in the unit of the rings.
    mask : str or None
        NumPy file of bool, True where a pixel may be used; as written, see `Recipe.path_of`.
    normalise : {"mean_of_ratios", "ratio_of_sums", "none"}
    diagonal : bool
        Of equal rings alone.
    average : str or None
        ``"train"``, ``"cell"`` or a column: correlations of each of its values, beside that of the run.
    """

    npt: int = 100
    npt_chi: int = 360
    unit: str = "q_A^-1"
    radial_min: float | None = None
    radial_max: float | None = None
    splitting: str = "no"
    polarisation: float | None = None
    mask: str | None = None
    normalise: str = "mean_of_ratios"
    diagonal: bool = False
    average: str | None = None
