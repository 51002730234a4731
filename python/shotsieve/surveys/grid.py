"""What a survey varies: keys of the recipe, their values, and what each setting comes to for a run."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..decide import Rule
from ..errors import BadInput, nearest
from ..measure.peaks import PeakParams
from ..measure.threshold import threshold_in_unit
from ..recipe import Recipe
from ..recipe_keys import SECTIONS
from ..units import Quantity, parse_quantity
from .rule_number import constant_of, is_most, names_in, with_number

if TYPE_CHECKING:
    from ..engine.job import Job

LIT, LIT_HIGH, RULE = "measure.lit.threshold", "measure.lit.high_threshold", "keep.rule"
_PEAKS = "measure.peaks."
PEAK_KEYS = tuple(
    _PEAKS + name
    for name in (
        "threshold",
        "min_snr",
        "min_pix_count",
        "max_pix_count",
        "local_bg_radius",
        "noise_floor",
    )
)
WRITE_KEYS = ("write.compression", "write.rounding_absolute", "write.rounding_relative")
KEYS = (LIT, LIT_HIGH, *PEAK_KEYS, RULE, *WRITE_KEYS)
"""All that can be varied, beside `DERIVED`."""

DERIVED = re.compile(r"derive\.(\w+)\.k")
"""How many widths above the median a threshold lies that follows the run."""

FACTORS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)
"""Of thresholds, where the user names none."""

MORE_WIDTHS = (-2, -1, -0.5, 0, 0.5, 1, 2)
"""Of thresholds that follow the run, beside the recipe's."""

FROM_ZERO = (-50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50)
"""Limits of a score, where the recipe's is 0."""

RULE_FACTORS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0)
RECIPE, PERMISSIVE = "recipe", "most permissive"
"""Names of the settings that vary nothing, and everything at once."""

# Neither end of these lets more through.
_NEUTRAL = (_PEAKS + "local_bg_radius", _PEAKS + "noise_floor")


@dataclass(frozen=True)
class Setting:
    """One way to measure and to decide.

    Attributes
    ----------
    key : str
        What is varied: one of `KEYS`, of `DERIVED`, `RECIPE` or `PERMISSIVE`.
    value : str
        What it is set to, as a recipe has it.
    recipe : Recipe
        With that value.
    lit : float or None
        Threshold of lit pixels in the unit of the frames; None where none are counted, or by their noise.
    lit_high : float or None
        The second one; None where there is none.
    peaks : PeakParams or None
    rule : Rule
    """

    key: str
    value: str
    recipe: Recipe
    lit: float | None
    lit_high: float | None
    peaks: PeakParams | None
    rule: Rule

    @property
    def measured(self) -> tuple[Any, ...]:
        """What has to be measured for it; settings that agree here share it."""
        return self.lit, self.lit_high, self.peaks


def parse_scan(given: Iterable[str] | Mapping[str, Sequence[Any]] | None) -> dict[str, list[Any]]:
    """Return the values that a user names, by key.

    Parameters
    ----------
    given : iterable of str, mapping or None
        ``"measure.peaks.min_snr=4,5,6"``, or values by key.

    Raises
    ------
    BadInput
        If a key is none of `KEYS` nor of `DERIVED`, or has no value.

    Examples
    --------
    >>> parse_scan(["measure.peaks.min_snr=4,5.5", "measure.lit.threshold=0.5 photon, 0.7 photon"])
    {'measure.peaks.min_snr': [4, 5.5], 'measure.lit.threshold': ['0.5 photon', '0.7 photon']}
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        pairs = [str(text).partition("=") for text in given]
        given = {key.strip(): [v.strip() for v in values.split(",") if v.strip()] for key, _, values in pairs}
    found = {}
    for key, values in given.items():
        if key not in KEYS and not DERIVED.fullmatch(key):
            raise BadInput(
                f"--scan {key}: a survey does not vary this.{nearest(key, KEYS)} It varies {', '.join(KEYS)}"
                " and derive.NAME.k"
            )
        if isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
            raise BadInput(f"--scan {key}: expected values, such as --scan '{key}=4,5,6'")
        found[key] = [_number(key, value) for value in values]
    return found


def _number(key: str, value: Any) -> Any:
    """Return a text as the number that the recipe has there; what is no number is told by the recipe."""
    section, _, name = key.rpartition(".")
    kind = float if key == RULE or DERIVED.fullmatch(key) else SECTIONS[section][name].kind
    if not isinstance(value, str) or kind not in (int, float):
        return value
    try:
        return int(value) if value.lstrip("+-").isdecimal() else float(value)
    except ValueError:
        raise BadInput(f"--scan {key}: {value!r} is not a number") from None


class Grid:
    """The settings of a survey, for a job whose calibration is decided.

    Parameters
    ----------
    job : Job
        Its recipe has a rule.
    recipe : Recipe
        As the user wrote it.
    given : mapping of str to list
        From `parse_scan`; other keys have values around the recipe's.

    Attributes
    ----------
    settings : list of Setting
        First that of the recipe, then the most permissive one.
    notes : list of str

    Raises
    ------
    BadInput
        If a key does not fit the recipe, or a value is not allowed.
    """

    def __init__(self, job: Job, recipe: Recipe, given: Mapping[str, list[Any]]) -> None:
        self._job, self.recipe, self.notes = job, recipe, []
        for key in given:
            if (why := self._unfit(key)) is not None:
                raise BadInput(f"--scan {key}: {why}")
        adaptive = [f"derive.{name}.k" for name, one in recipe.derive.items() if one.kind == "adaptive"]
        keys = (LIT, LIT_HIGH, *PEAK_KEYS, *adaptive, RULE)
        usual = {key: self._usual(key) for key in keys if self._unfit(key) is None}
        self.axes = {key: given.get(key, usual[key]) for key in usual if given.get(key, usual[key])}
        if self.number is None:
            self.notes.append("the rule compares no number, so none is varied")
        mine = self._setting(RECIPE, "", {})
        single = [
            self._setting(key, _text(value), {key: value})
            for key, values in self.axes.items()
            for value in values
        ]
        loose = {key: self._loosest(key) for key in self.axes if key not in _NEUTRAL}
        self.settings = [mine, self._setting(PERMISSIVE, "", loose), *single]

    @property
    def number(self) -> float | None:
        """The number in the rule that is varied; None where there is none."""
        found = constant_of(self.recipe.keep.rule)
        return None if found is None else found[1].value

    @property
    def compared(self) -> str:
        """What has to be at least that number, as the rule has it; empty where nothing else stands there."""
        compared = self._first()
        sides = [] if compared is None else [compared.left, *compared.comparators]
        words = [ast.unparse(side) for side in sides if not isinstance(side, ast.Constant)]
        return words[0] if len(sides) == 2 and len(words) == 1 and not self.is_most else ""

    @property
    def columns(self) -> set[str]:
        """Names of the columns in `compared`, without modules."""
        return names_in(ast.parse(self.compared, mode="eval")) if self.compared else set()

    @property
    def strict(self) -> bool:
        """Whether what equals the number is on the wrong side of it."""
        compared = self._first()
        return compared is not None and isinstance(compared.ops[0], ast.Lt | ast.Gt)

    @property
    def is_most(self) -> bool:
        """Whether the number is the most that something may be: a larger one lets more through."""
        compared = self._first()
        return compared is not None and isinstance(compared.ops[0], ast.Lt | ast.LtE) != self._on_the_left()

    def _first(self) -> ast.Compare | None:
        found = constant_of(self.recipe.keep.rule)
        return None if found is None else found[2]

    def _on_the_left(self) -> bool:
        _, number, compared = constant_of(self.recipe.keep.rule)
        return any(node is number for node in ast.walk(compared.left))

    def _loosest(self, key: str) -> Any:
        """Return the value of an axis that lets most through: peaks, pixels, or shots."""
        values = self.axes[key]
        if key in (LIT, LIT_HIGH, PEAK_KEYS[0]):
            sizes = [self._in_unit(parse_quantity(value, option=key), key) for value in values]
            return values[int(np.argmin(sizes))]
        if (derived := DERIVED.fullmatch(key)) is not None:
            return max(values) if is_most(self.recipe.keep.rule, derived[1]) else min(values)
        most = key == _PEAKS + "max_pix_count" or (key == RULE and self.is_most)
        return max(values) if most else min(values)

    def _unfit(self, key: str) -> str | None:
        """Say why a key cannot be varied; None where it can."""
        measure = self.recipe.measure
        if key.startswith(_PEAKS) and measure.peaks is None:
            return "the recipe has no [measure.peaks]"
        if key == LIT and measure.lit is None:
            return "the recipe has no [measure.lit]"
        if key == LIT_HIGH and (measure.lit is None or measure.lit.high_threshold is None):
            return "the recipe has no [measure.lit] high_threshold"
        if (derived := DERIVED.fullmatch(key)) is not None:
            section = self.recipe.derive.get(derived[1])
            if section is None or section.kind != "adaptive":
                return f'the recipe has no [derive.{derived[1]}] of kind = "adaptive"'
        if key == LIT and self._job.lit_by_noise is not None:
            return 'with noise = "pixel" each pixel has its own threshold'
        if key == RULE and self.number is None:
            return f"the rule {self.recipe.keep.rule!r} compares no number"
        return None

    def _usual(self, key: str) -> list[Any]:
        """Return values around the recipe's."""
        lit, peaks = self.recipe.measure.lit, self.recipe.measure.peaks
        used = self._used()
        if key == LIT:
            counted = used & {"lit_pixels", "lit_fraction"}
            return self._below(LIT_HIGH, lit.threshold) if counted else []
        if key == LIT_HIGH:
            return self._above(lit.high_threshold) if "lit_pixels_high" in used else []
        if (derived := DERIVED.fullmatch(key)) is not None:
            k = self.recipe.derive[derived[1]].k
            return [k + more for more in MORE_WIDTHS if k + more > 0] if derived[1] in used else []
        if key == RULE and self.number <= 0:
            return [self.number + more for more in FROM_ZERO]
        if key == RULE:
            values = [self.number * factor for factor in RULE_FACTORS]
            if float(self.number).is_integer():
                values = sorted({max(1, round(value)) for value in values} | {int(self.number)})
            return values
        if "n_peaks" not in used:
            return []
        if key == _PEAKS + "threshold":
            return [_times(peaks.threshold, factor) for factor in FACTORS]
        if key == _PEAKS + "min_snr":
            return [snr for more in (-2, -1, 0, 1, 2, 3) if (snr := peaks.min_snr + more) >= 1]
        if key == _PEAKS + "min_pix_count":
            most = min(peaks.min_pix_count + 2, peaks.max_pix_count)
            return list(range(max(1, peaks.min_pix_count - 1), most + 1))
        if key == _PEAKS + "max_pix_count":
            wider = (max(peaks.min_pix_count, round(peaks.max_pix_count * f)) for f in (0.1, 0.25, 0.5, 1, 2))
            return sorted(set(wider))
        return []

    def _used(self) -> set[str]:
        """Return the columns that the rule asks for, and those that these are made of."""
        asked = {name.partition("[")[0] for name in self._job_rule().names}
        while True:
            made_of = [(one.of, one.by) for name, one in self.recipe.derive.items() if name in asked]
            texts = [text for pair in made_of for text in pair if text]
            more = set().union(*(names_in(ast.parse(text, mode="eval")) for text in texts)) - asked
            if not more:
                return asked
            asked |= more

    def _below(self, other: str, mine: Quantity) -> list[Quantity]:
        """Return thresholds around one that stay below the other, where there is one."""
        values = [_times(mine, factor) for factor in FACTORS]
        if self._unfit(other) is not None:
            return values
        most = self._job.high_threshold
        return [one for one in values if self._in_unit(one, LIT) < most]

    def _above(self, mine: Quantity) -> list[Quantity]:
        """Return second thresholds around one that stay above the first."""
        values = [_times(mine, factor) for factor in FACTORS]
        if self._job.lit_by_noise is not None:
            return values
        least = self._job.params.lit_threshold
        return [one for one in values if self._in_unit(one, LIT_HIGH) > least]

    def _job_rule(self) -> Rule:
        return Rule.parse(self.recipe.keep.rule, self._job.table.names(), self._job.table.explain())

    def _setting(self, key: str, value: str, changes: Mapping[str, Any]) -> Setting:
        plain = {name: _written(v) for name, v in changes.items() if name != RULE}
        recipe = self.recipe
        try:
            if RULE in changes:
                plain[RULE] = with_number(recipe.keep.rule, changes[RULE])
            recipe = recipe.override(plain) if plain else recipe
            rule = Rule.parse(recipe.keep.rule, self._job.table.names(), self._job.table.explain())
            lit, high = self._lit(recipe), self._lit_high(recipe)
            return Setting(key, value, recipe, lit, high, self._peaks(recipe), rule)
        except BadInput as err:
            raise BadInput(f"--scan {key}={value}: {err}" if value else str(err)) from None

    def _lit(self, recipe: Recipe) -> float | None:
        if recipe.measure.lit is None or self._job.lit_by_noise is not None:
            return None
        return self._in_unit(recipe.measure.lit.threshold, LIT)

    def _lit_high(self, recipe: Recipe) -> float | None:
        if self._unfit(LIT_HIGH) is not None:
            return None
        asked = recipe.measure.lit.high_threshold
        if asked == self.recipe.measure.lit.high_threshold:
            return self._job.high_threshold
        high, low = self._in_unit(asked, LIT_HIGH), self._lit(recipe)
        if low is not None and high <= low:
            raise BadInput(f"high_threshold = '{asked}' is not above threshold")
        return high

    def _peaks(self, recipe: Recipe) -> PeakParams | None:
        if recipe.measure.peaks is None:
            return None
        mine, now, was = self._job.peaks.plan.params, recipe.measure.peaks, self.recipe.measure.peaks
        names = ("min_snr", "min_pix_count", "max_pix_count", "local_bg_radius")
        changes = {name: getattr(now, name) for name in names}
        if now.threshold != was.threshold:
            changes["threshold"] = self._in_unit(now.threshold, PEAK_KEYS[0])
        if now.noise_floor != was.noise_floor:
            changes["noise_floor"] = self._in_unit(now.noise_floor, PEAK_KEYS[-1])
        return dataclasses.replace(mine, **changes)

    def _in_unit(self, asked: Quantity, key: str) -> float:
        """Return a threshold in the unit of the frames; one sigma is what the recipe's own thresholds say."""
        job, sigma = self._job, float("nan")
        measure = self.recipe.measure
        if asked.unit == "sigma":
            if measure.lit is not None and measure.lit.threshold.unit == "sigma":
                sigma = job.params.lit_threshold / measure.lit.threshold.value
            elif self._unfit(LIT_HIGH) is None and measure.lit.high_threshold.unit == "sigma":
                sigma = job.high_threshold / measure.lit.high_threshold.value
            if measure.peaks is not None and measure.peaks.threshold.unit == "sigma":
                sigma = job.peaks.plan.params.threshold / measure.peaks.threshold.value
            if not np.isfinite(sigma):
                raise BadInput(f"{asked}: the recipe has no threshold in sigma: give photon, keV or ADU")
        return threshold_in_unit(asked, job.unit, job.mode.photon_energy_kev, sigma, option=key)


def _times(quantity: Quantity, factor: float) -> Quantity:
    return Quantity(float(f"{quantity.value * factor:.3g}") if factor != 1 else quantity.value, quantity.unit)


def _written(value: Any) -> Any:
    """Return a value as a recipe has it, to the last digit."""
    return f"{value.value!r} {value.unit}" if isinstance(value, Quantity) else value


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
