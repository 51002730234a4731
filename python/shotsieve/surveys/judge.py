"""What the counts of a survey come to: hits, what is kept and what is lost, each with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..derive import fill
from ..keep import together
from ..measure.peaks import FILTERS
from .grid import PERMISSIVE, RECIPE, Setting
from .intervals import Share, share_of

if TYPE_CHECKING:
    from ..keep import Keeper
    from ..table import Table
    from .forms import Coded
    from .scan import Scanner


@dataclass(frozen=True)
class Outcome:
    """What one setting does.

    Attributes
    ----------
    setting : Setting
    verdict : ndarray of int8, shape (n,)
        1 true, 0 false, -1 unknown, of the shots that were seen.
    kept : ndarray of bool, shape (n,)
        With undecided shots and companions, and without misses kept by chance.
    peaks : ndarray of int64, shape (n,), or None
        Of each shot, all modules.
    lit : ndarray of int64, shape (n,), or None
    rejected : ndarray of float64, shape (6,)
        Components of a shot that each filter rejected, mean.
    rate : Share
        Of hits among all shots.
    lost : Share
        Of the hits of the most permissive setting, those that are none here.
    lost_peaks : float
        Share of the peaks of the most permissive setting in hits of the recipe that are not found, NaN
        unknown; below 0 where there are more.
    missed : Share or None
        Of the hits of the truth, those that are not kept; None without a truth.
    false : Share or None
        Of the shots that are no hits of the truth, those that are kept.
    bytes_per_shot : float
        Of the recipe's form, of all shots of the run, kept or not.
    """

    setting: Setting
    verdict: np.ndarray
    kept: np.ndarray
    peaks: np.ndarray | None
    lit: np.ndarray | None
    rejected: np.ndarray
    rate: Share
    lost: Share
    lost_peaks: float
    missed: Share | None
    false: Share | None
    bytes_per_shot: float

    @property
    def hit(self) -> np.ndarray:
        """Bool (n,): the rule is true."""
        return self.verdict == 1

    @property
    def mean_peaks(self) -> float:
        """Peaks of a shot; NaN where none are searched."""
        return float(self.peaks.mean()) if self.peaks is not None and len(self.peaks) else float("nan")

    def mean_of(self, which: np.ndarray) -> float:
        """Return the mean number of peaks of some shots; NaN of none."""
        return float(self.peaks[which].mean()) if self.peaks is not None and which.any() else float("nan")


@dataclass(frozen=True)
class Sizes:
    """Bytes of a kept shot in one form: of those that the recipe keeps, and of the others.

    Attributes
    ----------
    hit, miss : float
        NaN where none was encoded.
    """

    hit: float
    miss: float

    @classmethod
    def of(cls, coded: Coded, is_hit: np.ndarray) -> Sizes:
        """Take the means; where there is none of a kind it is taken for like the other."""
        sizes = np.array(coded.bytes, float)
        if not len(sizes):
            return cls(float("nan"), float("nan"))
        hit, miss = (sizes[which].mean() if which.any() else sizes.mean() for which in (is_hit, ~is_hit))
        return cls(float(hit), float(miss))

    def total(self, kept: np.ndarray, hit: np.ndarray) -> float:
        """Return the bytes of some kept shots, of which some are hits."""
        found = 0.0
        for number, each in (((kept & hit).sum(), self.hit), ((kept & ~hit).sum(), self.miss)):
            found += number * each if number else 0.0
        return found


def judge(
    scanner: Scanner,
    settings: list[Setting],
    keeper: Keeper,
    sizes: Sizes,
    truth: np.ndarray | None,
) -> list[Outcome]:
    """Ask the rule of every setting of the shots that were seen.

    Parameters
    ----------
    scanner : Scanner
    settings : list of Setting
    keeper : Keeper
        Says what becomes of undecided shots, and what is kept as one.
    sizes : Sizes
        Of the recipe's form.
    truth : ndarray of bool, shape (n,), or None
        Which of the shots are hits.

    Returns
    -------
    list of Outcome
        One for each setting.
    """
    asked = [_ask(scanner, setting, keeper) for setting in settings]
    verdicts = {s.key: a[0] for s, a in zip(settings, asked, strict=True) if s.key in (RECIPE, PERMISSIVE)}
    reference = verdicts[PERMISSIVE] == 1
    mine = verdicts[RECIPE] == 1
    most = next(a[2] for s, a in zip(settings, asked, strict=True) if s.key == PERMISSIVE)
    found = []
    for setting, (verdict, kept, peaks, lit, rejected) in zip(settings, asked, strict=True):
        hit = verdict == 1
        lost_peaks = float("nan")
        if peaks is not None and mine.any() and most[mine].sum():
            lost_peaks = 1 - float(peaks[mine].sum() / most[mine].sum())
        missed = false = None
        if truth is not None:
            missed = share_of(int((truth & ~kept).sum()), int(truth.sum()))
            false = share_of(int((kept & ~truth).sum()), int((~truth).sum()))
        found.append(
            Outcome(
                setting,
                verdict,
                kept,
                peaks,
                lit,
                rejected,
                share_of(int(hit.sum()), len(hit)),
                share_of(int((reference & ~hit).sum()), int(reference.sum())),
                lost_peaks,
                missed,
                false,
                sizes.total(kept, mine) / max(len(hit), 1),
            )
        )
    return found


def ask(scanner: Scanner, setting: Setting, table: Table | None = None) -> np.ndarray:
    """Return the verdict about every shot that was seen, int8 (n,).

    Columns that follow from all shots of a run follow from those of the sample here.
    """
    table = scanner.table(setting.measured) if table is None else table
    fill(table, setting.recipe.derive)
    return setting.rule.evaluate({name: table.bounds(name) for name in setting.rule.names})


def compared(scanner: Scanner, setting: Setting, words: str) -> np.ndarray:
    """Return what a side of the rule is in every shot that was seen, float64; the least it may be.

    Shots of which nothing is known are left out, and all of them where `words` is no side of a comparison.
    """
    table = scanner.table(setting.measured)
    fill(table, setting.recipe.derive)
    for one in setting.rule.sides({name: table.bounds(name) for name in setting.rule.names}):
        for told, side in ((one.words[0], one.left), (one.words[2], one.right)):
            if told == words:
                low = np.broadcast_to(np.asarray(side[0], "f8"), len(table))
                return low[np.isfinite(low)]
    return np.zeros(0)


def _ask(scanner: Scanner, setting: Setting, keeper: Keeper) -> tuple:
    """Return verdicts, what is kept, peaks, lit pixels, and rejected components of a setting."""
    table, counts = scanner.table(setting.measured), scanner.counts[setting.measured]
    verdict = ask(scanner, setting, table)
    kept = (verdict == 1) | ((verdict == -1) & (keeper.undecided == "keep"))
    if keeper.whole != "shot":
        kept = together(kept, *keeper.units(table, np.arange(len(table))))
    sums = [None if one is None else one[scanner.seen].sum(axis=1) for one in (counts.peaks, counts.lit)]
    rejected = counts.rejected[scanner.seen]
    return verdict, kept, *sums, rejected.mean(axis=0) if len(rejected) else np.zeros(len(FILTERS))
