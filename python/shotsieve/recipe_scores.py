"""The sections of a recipe that count, score and derive: lit pixels, rings, weighted sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import BadInput
from .units import Quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .recipe import Recipe

MOST_SCORES, MOST_RINGS = 4, 64


@dataclass(frozen=True)
class Lit:
    """``[measure.lit]``: a pixel strictly above `threshold` is lit; sigma is that of `noise`.

    Attributes
    ----------
    high_threshold : Quantity or None
        Pixels strictly above this one too are counted as well.
    """

    threshold: Quantity
    high_threshold: Quantity | None = None
    noise: str = "median"


@dataclass(frozen=True)
class Rings:
    """``[measure.rings]``: photons of each module in rings around the beam.

    Attributes
    ----------
    number : int
        Rings of one width.
    unit : str
        Of `low` and `high`; as of ``[measure.azint]``.
    low, high : float or None
        Where the first begins and the last ends; None takes the detector's own limits.
    """

    number: int = 8
    unit: str = "q_A^-1"
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Score:
    """``[measure.score.NAME]``: a weighted sum over the pixels; see `shotsieve.measure.scores`.

    Attributes
    ----------
    map : str
        NumPy file, or ``FILE:/DATASET`` of HDF5, of weights (M, ss, fs) or weights and constants (2, M, ss,
        fs); as written, see `Recipe.path_of`.
    of : {"photons", "values"}
        What the weights are multiplied with.
    """

    map: str
    of: str = "photons"


@dataclass(frozen=True)
class Derived:
    """``[derive.NAME]``: a column that follows from others, or from a file.

    Attributes
    ----------
    kind : {"adaptive", "rank", "scaled", "value", "list"}
        A threshold that follows the run; the share of shots with a higher value; a column scaled by another;
        a calculation; 1 for listed shots.
    of : str or None
        The column it is made of, or the calculation.
    k : float or None
        Widths above the median.
    width : {"mad", "quartiles", "lower_quartile"}
        How the width is found.
    window : int or None
        Trains that are compared with each other; None takes the run.
    around : int or None
        In place of a window: each train, and as much on both sides as makes so many shots.
    by : str or None
        The column that another is scaled by.
    least : float or None
        Its least value, above which it counts.
    per_cell : bool
        Memory cells on their own.
    file : str or None
        The list.
    """

    kind: str
    of: str | None = None
    k: float | None = None
    width: str = "mad"
    window: int | None = None
    around: int | None = None
    by: str | None = None
    least: float | None = None
    per_cell: bool = False
    file: str | None = None


def build_scores(values: Mapping[str, dict[str, Any]] | None, name: str) -> dict[str, Score] | None:
    """Build the scores, which are four at most."""
    if not values:
        return None
    if len(values) > MOST_SCORES:
        raise BadInput(
            f"{name}: [measure.score] has {len(values)} scores ({', '.join(values)}): at most {MOST_SCORES} "
            "are summed in one reduction"
        )
    return {score: Score(**keys) for score, keys in values.items()}


def build_rings(values: dict[str, Any] | None, name: str) -> Rings | None:
    """Build the rings."""
    if values is None:
        return None
    rings = Rings(**values)
    if not 1 <= rings.number <= MOST_RINGS:
        raise BadInput(f"{name}: [measure.rings] number = {rings.number}: expected 1 to {MOST_RINGS}")
    return rings


def check_scores(recipe: Recipe, name: str) -> None:
    """Refuse counts and scores without what they need."""
    measure, lit = recipe.measure, recipe.measure.lit
    for section, there in (("rings", measure.rings), ("score", measure.scores)):
        if there is not None and recipe.calibrate is None:
            raise BadInput(f"{name}: [measure.{section}] sums calibrated pixels; add a [calibrate] section")
    if measure.rings is not None and recipe.detector.geometry is None:
        raise BadInput(
            f"{name}: [measure.rings] needs to know where the pixels are: set [[detector]] geometry = "
            '"detector.geom", a CrystFEL geometry file'
        )
    if lit is None or lit.high_threshold is None:
        return
    low, high = lit.threshold, lit.high_threshold
    if lit.noise == "pixel" and high.unit == "sigma":
        raise BadInput(
            f'{name}: [measure.lit] noise = "pixel" counts by the noise of pixels with one threshold: give '
            "high_threshold in photon, keV or ADU"
        )
    if low.unit == high.unit and not low.value < high.value:
        raise BadInput(
            f"{name}: [measure.lit] high_threshold = '{high}' is not above threshold = '{low}': exchange "
            "the two, or leave high_threshold out"
        )
