"""Rules that mark bad pixels of dark runs: outliers, hard limits, stages that cannot be told apart."""

from __future__ import annotations

import dataclasses
import functools
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..constants.bad_pixels import BadPixels
from ..errors import BadInput, nearest
from ..robust import MAD_TO_SIGMA

if TYPE_CHECKING:
    from ..detectors import Detector

_CHOICES = {"centre": ("median", "mean"), "scatter": ("mad", "std"), "scope": ("module", "asic")}


@dataclass(frozen=True)
class Rules:
    """Rules for bad pixels; ``presets.toml`` says what each field means.

    Attributes
    ----------
    name, about : str
    families : tuple of str
        Of detectors that the rules are for; empty for any.
    centre, scatter, scope : str
    offset_sigma, noise_sigma : tuple of float
        Below and above, both greater than 0; empty for no rule.
    offset_range, noise_range : tuple of tuple of float
        For each stage; empty for no rule.
    separation_sigma, wrong_share, stuck_share, outside_share : float
    min_count : int

    Raises
    ------
    BadInput
        If a value is none of those that are allowed.

    Examples
    --------
    >>> preset("default").offset_sigma
    (5.0, 5.0)
    >>> preset("default").changed(noise_sigma=(3.0, 1.5)).name
    'default*'
    """

    name: str
    about: str
    families: tuple[str, ...]
    centre: str
    scatter: str
    scope: str
    offset_sigma: tuple[float, ...]
    noise_sigma: tuple[float, ...]
    offset_range: tuple[tuple[float, float], ...]
    noise_range: tuple[tuple[float, float], ...]
    separation_sigma: float
    wrong_share: float
    stuck_share: float
    outside_share: float
    min_count: int

    def __post_init__(self) -> None:
        for key, allowed in _CHOICES.items():
            if getattr(self, key) not in allowed:
                raise BadInput(
                    f"rules {self.name}: {key} = {getattr(self, key)!r} is none of {', '.join(allowed)}"
                )
        for key in ("offset_sigma", "noise_sigma"):
            sigma = getattr(self, key)
            if len(sigma) not in (0, 2) or not all(math.isfinite(k) and k > 0 for k in sigma):
                raise BadInput(
                    f"rules {self.name}: {key} = {sigma!r}: expected two finite numbers above 0, for below "
                    "and above the centre, or () for no such rule"
                )

    def check_family(self, detector: Detector) -> None:
        """Refuse a detector that the rules are not for.

        Parameters
        ----------
        detector : Detector

        Raises
        ------
        BadInput
            The text says which rules are for any detector.
        """
        if self.families and detector.family not in self.families:
            anyone = ", ".join(rules.name for rules in presets() if not rules.families)
            raise BadInput(
                f"the rules {self.name} have limits in ADU for detectors of the family "
                f"{' or '.join(self.families)}, and the runs are of {detector.name} (family "
                f"{detector.family}): take --rules {anyone} instead, or give limits of your own from Python "
                "(preset(...).changed(families=(), ...))"
            )

    def changed(self, **changes: object) -> Rules:
        """Return these rules with some values changed, under the same name and a star."""
        return dataclasses.replace(self, **changes, name=f"{self.name}*") if changes else self

    def told(self) -> dict[str, object]:
        """Return the rules as plain values, for the provenance of the constants."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(self).items()}


@functools.cache
def _presets() -> dict[str, Rules]:
    with open(Path(__file__).with_name("presets.toml"), "rb") as file:
        read = tomllib.load(file)
    found = {}
    for name, values in read.items():
        pairs = {
            key: tuple(tuple(pair) for pair in values.pop(key)) for key in ("offset_range", "noise_range")
        }
        plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        found[name] = Rules(name=name, **plain, **pairs)
    return found


def presets() -> list[Rules]:
    """Return all named rules.

    Examples
    --------
    >>> [rules.name for rules in presets()]
    ['default', 'facility-agipd', 'psana', 'agipd-toolbox', 'jungfraujoch']
    """
    return list(_presets().values())


def preset(name: str) -> Rules:
    """Return the rules of a name.

    Raises
    ------
    BadInput
        If there are none of that name.
    """
    known = _presets()
    if name not in known:
        raise BadInput(f"there are no rules {name!r}; there are {', '.join(known)}.{nearest(name, known)}")
    return known[name]


@dataclass(frozen=True)
class StageData:
    """What the rules look at, of one module and stage; arrays of shape (cells, pixels).

    Attributes
    ----------
    offset, noise : ndarray of float32
    count, wrong : ndarray of uint32
    outside : ndarray of uint32 or None
    level, level_noise : ndarray of float32 or None
    """

    offset: np.ndarray
    noise: np.ndarray
    count: np.ndarray
    wrong: np.ndarray
    outside: np.ndarray | None = None
    level: np.ndarray | None = None
    level_noise: np.ndarray | None = None

    def samples(self) -> np.ndarray:
        """Return how many samples count, are wrong, and lie outside the gate, int64 (3,)."""
        kinds = (self.count, self.wrong, self.outside)
        return np.array([0 if kind is None else kind.sum(dtype=np.int64) for kind in kinds], np.int64)


def bits_of_stage(
    data: StageData, stage: int, rules: Rules, group: np.ndarray, has_codes: bool
) -> np.ndarray:
    """Return the bits of the bad pixels of one module and stage, uint32 (cells, pixels).

    Promise: exact; each cell by itself, in float64.

    Parameters
    ----------
    data : StageData
    stage : int
    rules : Rules
    group : ndarray of int, shape (pixels,)
        Pixels of a number are compared with each other: all 0 for the module, or the number of the ASIC.
    has_codes : bool
        Whether samples say their gain stage.
    """
    bits = np.zeros(data.offset.shape, np.uint32)
    none = data.count < max(rules.min_count, 1)
    bits[none] |= np.uint32(BadPixels.NO_DARK_DATA)
    unknown = ~none & (~np.isfinite(data.offset) | ~np.isfinite(data.noise))
    bits[unknown] |= np.uint32(BadPixels.OFFSET_NOISE_EVAL_ERROR)
    still = np.isfinite(data.noise) & (data.noise == 0) & ~none
    bits[still] |= np.uint32(BadPixels.DATA_STD_IS_ZERO)
    measured = ((data.offset, "offset", BadPixels.OFFSET_OUT_OF_THRESHOLD),
                (data.noise, "noise", BadPixels.NOISE_OUT_OF_THRESHOLD))  # fmt: skip
    for values, name, bit in measured:
        sigma, limits = getattr(rules, f"{name}_sigma"), getattr(rules, f"{name}_range")
        for cell in range(len(values)):
            usable = ~none[cell] & np.isfinite(values[cell])
            bad = np.zeros(values.shape[1], bool)
            if sigma:
                bad |= outliers(values[cell], usable, group, rules, sigma)
            if limits:
                low, high = limits[stage]
                bad |= usable & ((values[cell] < low) | (values[cell] > high))
            bits[cell, bad] |= np.uint32(bit)
    samples = data.count.astype(np.float64) + data.wrong
    if data.outside is not None:
        samples += data.outside
        bits[data.outside > rules.outside_share * samples] |= np.uint32(BadPixels.NOISE_OUT_OF_THRESHOLD)
    # Without codes a wrong sample is a word that is no measurement.
    wrong = BadPixels.WRONG_GAIN_VALUE if has_codes else BadPixels.VALUE_OUT_OF_RANGE
    bits[data.wrong > rules.wrong_share * samples] |= np.uint32(wrong)
    return bits


def outliers(
    values: np.ndarray, usable: np.ndarray, group: np.ndarray, rules: Rules, sigma: tuple[float, ...]
) -> np.ndarray:
    """Return which pixels lie too far from the others of their group, bool (pixels,).

    Parameters
    ----------
    values : ndarray of float32, shape (pixels,)
    usable : ndarray of bool, shape (pixels,)
        Others take no part, and are no outliers.
    group : ndarray of int, shape (pixels,)
    rules : Rules
    sigma : (float, float)
        Below and above.

    Examples
    --------
    >>> values = np.array([1.0, 2.0, 3.0, 2.0, 90.0], "f4")
    >>> outliers(values, np.ones(5, bool), np.zeros(5, int), preset("default"), (5, 5)).tolist()
    [False, False, False, False, True]
    """
    bad = np.zeros(len(values), bool)
    for number in range(int(group.max(initial=0)) + 1):
        at = np.flatnonzero(usable & (group == number))
        if not len(at):
            continue
        x = values[at].astype(np.float64)
        middle = np.median(x) if rules.centre == "median" else x.mean()
        if rules.scatter == "mad":
            scatter = MAD_TO_SIGMA * np.median(np.abs(x - np.median(x)))
        else:
            scatter = x.std()
        bad[at] = (x < middle - sigma[0] * scatter) | (x > middle + sigma[1] * scatter)
    return bad


def stuck_bits(stages: list[StageData | None], rules: Rules) -> np.ndarray:
    """Return the bit of pixels that do not go to a stage they are forced to, uint32 (cells, pixels).

    It is of all stages: in high gain such a pixel is right as long as it is dark, and wrong where it is
    bright.

    Parameters
    ----------
    stages : list of StageData or None
    rules : Rules
    """
    known = [one for one in stages if one is not None]
    bits = np.zeros(known[0].count.shape, np.uint32)
    for one in known:
        samples = one.count.astype(np.float64) + one.wrong + (0 if one.outside is None else one.outside)
        bits[one.wrong > rules.stuck_share * samples] |= np.uint32(BadPixels.WRONG_GAIN_VALUE)
    return bits


def separation_bits(stages: list[StageData | None], rules: Rules) -> np.ndarray:
    """Return the bit of stages whose digital levels cannot be told apart, uint32 (3, cells, pixels).

    ``L[g+1] - L[g] < k * sqrt(s[g]**2 + s[g+1]**2)`` marks both stages; a level that is not known, too.

    Parameters
    ----------
    stages : list of StageData or None
        High, medium, low.
    rules : Rules
    """
    shape = next(one.offset.shape for one in stages if one is not None)
    bits = np.zeros((len(stages), *shape), np.uint32)
    if rules.separation_sigma <= 0:
        return bits
    for g in range(len(stages) - 1):
        lower, upper = stages[g], stages[g + 1]
        if lower is None or upper is None or lower.level is None or upper.level is None:
            continue
        for cell in range(shape[0]):
            apart = upper.level[cell].astype(np.float64) - lower.level[cell]
            spread = np.hypot(lower.level_noise[cell].astype(np.float64), upper.level_noise[cell])
            together = ~(apart >= rules.separation_sigma * spread) | (apart <= 0)
            bits[g : g + 2, cell, together] |= np.uint32(BadPixels.GAIN_THRESHOLDING_ERROR)
    return bits
