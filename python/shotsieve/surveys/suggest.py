"""What a survey suggests, each with its reason: a limit for the rule, and a form of the frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..robust import middle_and_width
from .grid import RULE, Grid, with_number
from .intervals import percent

if TYPE_CHECKING:
    from .forms import Coded
    from .judge import Sizes

FEWEST = 5
"""Kept shots of the sample below which nothing is suggested: they would say too little."""

CHANCE = 1e-3
"""Probability of a miss having as many peaks as the limit, by chance."""

WIDTHS = 5
"""Robust widths above the median from which a score, or a count of lit pixels, stands out."""

MEASURES = ("lit_", "photons", "intensity", "score_")
"""How the names begin of columns for which a limit is suggested that way."""


@dataclass(frozen=True)
class Suggestion:
    """One line of a recipe, and why.

    Attributes
    ----------
    key : str
    value : str
    reason : str
    changes : bool
        Whether it is other than what the recipe says.
    number : float or None
        Of a limit.
    """

    key: str
    value: str
    reason: str
    changes: bool
    number: float | None = None


def peaks_by_chance(counts: np.ndarray) -> tuple[float, int]:
    """Return how many peaks a miss has on average, and the least number that it hardly ever has.

    Most shots are taken for misses, whose peaks are independent accidents: Poisson, with the median of all
    shots as mean, or where that is 0 with the mean that gives as many shots without a peak.

    Parameters
    ----------
    counts : ndarray of int, shape (n,)
        Peaks of every shot.

    Returns
    -------
    mean : float
    limit : int
        That a miss reaches with a probability below `CHANCE`.

    Examples
    --------
    >>> peaks_by_chance(np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 40]))[1]
    4
    """
    mean = float(np.median(counts))
    if mean == 0:
        mean = -math.log(float((counts == 0).mean()))
    limit, term, beyond = 0, math.exp(-mean), 1.0
    while beyond >= CHANCE:
        beyond -= term
        limit += 1
        term *= mean / limit
    return mean, max(limit, 1)


def higher(limit: int) -> int:
    """Return a limit that is half as high again.

    Examples
    --------
    >>> [higher(limit) for limit in (1, 4, 5)]
    [2, 6, 8]
    """
    return -(-3 * limit // 2)


def plateau(counts: np.ndarray, limit: int) -> int | None:
    """Return the least limit, from one on, that half as high again loses fewer than half of the shots.

    Where misses have more peaks than chance gives them, the number of shots with at least n falls steeply
    with n; that of hits falls slowly.

    Parameters
    ----------
    counts : ndarray of int, shape (n,)
    limit : int

    Returns
    -------
    int or None
        None where fewer than `FEWEST` shots would be left.

    Examples
    --------
    >>> plateau(np.array([0] * 60 + [1] * 30 + [2] * 8 + [30, 40, 55, 80, 90, 100]), 2)
    3
    """
    while (kept := int((counts >= limit).sum())) >= FEWEST:
        if 2 * int((counts >= higher(limit)).sum()) > kept:
            return limit
        limit += 1
    return None


def suggest_rule(grid: Grid, counts: np.ndarray) -> tuple[Suggestion | None, str]:
    """Suggest the number in the rule, where the rule compares peaks or a score with nothing but a number.

    Parameters
    ----------
    grid : Grid
    counts : ndarray of float64, shape (n,)
        What the rule compares first, of every shot of which it is known, with the recipe's own setting.

    Returns
    -------
    suggestion : Suggestion or None
    why_not : str
        Empty where there is one.
    """
    rule, number, name = grid.recipe.keep.rule, grid.number, grid.compared
    peaks = grid.columns == {"n_peaks"}
    if number is None or not (peaks or any(column.startswith(MEASURES) for column in grid.columns)):
        return None, (
            "no limit is suggested: that is done for rules that begin with peaks, lit pixels, photons or a "
            "score that is at least a number, such as n_peaks >= 10"
        )
    n = len(counts)
    if not n:
        return None, f"no limit is suggested: {name} is known of no shot"
    if peaks:
        mean, least = peaks_by_chance(counts)
        limit = plateau(counts, least)
        kept = 0 if limit is None else int((counts >= limit).sum())
        if limit is None or 2 * kept > n:
            return None, (
                f"no limit is suggested: hits do not stand out of the misses at these settings, which have "
                f"{mean:.3g} peaks each, or the sample has fewer than {FEWEST} hits (--shots), or more than "
                "half of its shots are hits"
            )
        above = int((counts >= higher(limit)).sum())
        reason = (
            f"most shots have few peaks, {mean:.3g} on average, and reach {least} by chance less than once "
            f"in {1 / CHANCE:g} times; {kept} of {n} shots have {limit} or more, and {above} of these "
            f"{higher(limit)} or more. The limit is as low as that allows, so that weak hits are kept"
        )
    else:
        middle, width = middle_and_width(counts)
        limit = _rounded_up(middle + WIDTHS * width, bool((counts == np.rint(counts)).all()))
        kept = int((counts >= limit).sum())
        if width == 0 or kept < FEWEST or 2 * kept > n:
            return None, (
                f"no limit is suggested: {kept} of {n} shots lie {WIDTHS} robust widths above the median of "
                f"{name}, {middle:.4g}, and a suggestion needs {FEWEST}, and fewer than half"
            )
        reason = (
            f"{name} is {middle:.4g} +- {width:.3g} in most shots (median and robust width); the limit is "
            f"{WIDTHS} widths above, and {kept} of {n} shots ({percent(kept / n)} %) reach it"
        )
    if grid.strict and isinstance(limit, int):
        limit -= 1
    text = with_number(rule, limit)
    return Suggestion(RULE, text, reason, limit != number, limit), ""


def _rounded_up(limit: float, whole: bool) -> float:
    """Return a limit as a user would write it: a whole number of counts, else three digits."""
    if whole or limit == 0:
        return math.ceil(limit)
    digits = 10.0 ** (math.floor(math.log10(abs(limit))) - 2)
    return float(f"{math.ceil(limit / digits) * digits:.3g}")


def suggest_form(forms: list[Coded], is_hit: np.ndarray, sizes: list[Sizes]) -> Suggestion | None:
    """Suggest the smallest form of those that change no pixel; None where nothing was encoded."""
    lossless = [
        (size.hit, coded)
        for coded, size in zip(forms, sizes, strict=True)
        if coded.lossless and coded.form.content == "corrected" and np.isfinite(size.hit)
    ]
    if not lossless:
        return None
    own = next((one for one in lossless if one[1].is_recipe), None)
    least, coded = min(lossless, key=lambda one: one[0])
    reason = (
        f"the smallest of the corrected forms that change no pixel: {least / 1e6:.3g} MB a kept shot, mean "
        f"of {int(is_hit.sum()) or len(is_hit)} that were encoded"
    )
    if own is not None and own[1] is not coded:
        reason += f"; the recipe's takes {own[0] / 1e6:.3g} MB"
    value: Any = coded.form.compression
    return Suggestion("write.compression", value, reason, own is not None and own[1] is not coded)
