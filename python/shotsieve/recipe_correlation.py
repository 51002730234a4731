"""What a recipe may say of correlations."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import BadInput


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


@dataclass(frozen=True)
class Xpcs:
    """``[measure.xpcs]``: correlation over time; see `shotsieve.two_time`.

    Attributes
    ----------
    q_edges : str or None
        Of the bins, in `unit`; else `npt` bins from `radial_min` to `radial_max`.
    sectors : int
        Of each ring, in phi.
    static_q, static_phi : int
        Static bins in each bin, along q and phi.
    static_weights : {"pixels", "equal"}
        Of static bins in the average over their bin.
    mask : str or None
        NumPy file of bool, True where a pixel may be used; as written, see `Recipe.path_of`.
    counts : bool
        Of photons, else of values.
    pixels : {"all_frames", "each_pair"}
        Those valid in all frames of a train, or for each pair of frames those valid in both.
    lags : {"all", "lumma", "doubling"}
    two_time : bool
        Average two-time correlations too.
    strides : str
        Distances of trains for baselines.
    weights : {"intensity", "equal"}
        Of trains in averages.
    column, least : str, float or None
        Trains whose mean of that column is not above `least` are in no average.
    """

    q_edges: str | None = None
    npt: int = 10
    radial_min: float | None = None
    radial_max: float | None = None
    unit: str = "q_A^-1"
    sectors: int = 1
    static_q: int = 1
    static_phi: int = 1
    static_weights: str = "pixels"
    mask: str | None = None
    counts: bool = True
    pixels: str = "all_frames"
    lags: str = "all"
    two_time: bool = True
    strides: str = "1"
    weights: str = "intensity"
    column: str | None = None
    least: float | None = None


def check_xpcs(xpcs: Xpcs, name: str) -> None:
    """Refuse keys that do not go together.

    Raises
    ------
    BadInput
    """
    if (xpcs.q_edges is None) == (xpcs.radial_min is None):
        raise BadInput(
            f"{name}: [measure.xpcs] needs its bins: set q_edges, or radial_min and radial_max with npt, not "
            "both"
        )
    for key in ("npt", "sectors", "static_q", "static_phi"):
        if getattr(xpcs, key) < 1:
            raise BadInput(f"{name}: [measure.xpcs] {key} = {getattr(xpcs, key)}: expected 1 or more")
    if (xpcs.column is None) != (xpcs.least is None):
        raise BadInput(f"{name}: [measure.xpcs] column and least belong together: set both or none")
    if xpcs.lags != "all" and xpcs.pixels == "each_pair":
        raise BadInput(
            f'{name}: [measure.xpcs] pixels = "each_pair" needs lags = "all": multi-tau averages frames, '
            "which then have to have the same pixels"
        )
