"""Intervals of shares that were counted on some shots: exact, and without another package."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
"""Of every interval of a survey."""

_HALVINGS = 60


@dataclass(frozen=True)
class Share:
    """So many of so many, and what share of all shots that may be.

    Attributes
    ----------
    count, of : float
        Whole numbers, but where shots have weights.
    low, high : float
        Ends of the interval; 0 and 1 where nothing was counted.

    Examples
    --------
    >>> print(share_of(3, 60))
    5.0 % (1.0 to 13.9 %)
    """

    count: float
    of: float
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself; NaN of nothing."""
        return self.count / self.of if self.of else float("nan")

    def holds(self, share: float) -> bool:
        """Whether a share lies in the interval."""
        return self.low <= share <= self.high

    def __str__(self) -> str:
        if not self.of:
            return "not known (0 shots)"
        return f"{percent(self.value)} % ({percent(self.low)} to {percent(self.high)} %)"


def percent(share: float) -> str:
    """Return a share in percent, with as many digits as say something.

    Examples
    --------
    >>> percent(0.05), percent(0.0004), percent(1.0)
    ('5.0', '0.04', '100.0')
    """
    value = 100 * share
    return f"{value:.1f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def share_of(count: int, of: int, level: float = LEVEL) -> Share:
    """Return a share with its interval of Clopper and Pearson (1934, Biometrika 26, 404).

    The interval holds the true share with a probability of at least `level`, for shots that are independent
    of each other; also where they are drawn from a run without being put back.

    Parameters
    ----------
    count, of : int
        `count` of `of` shots.
    level : float

    Returns
    -------
    Share

    Notes
    -----
    Promise: bounded; ends are right within 1e-12. The tails of the binomial distribution are summed and
    halved to: no beta function is needed.

    Examples
    --------
    >>> share = share_of(0, 100)
    >>> share.low, round(share.high, 4)
    (0.0, 0.0362)
    """
    count, of = int(count), int(of)
    if of == 0:
        return Share(0, 0, 0.0, 1.0)
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else _solve(lambda p: 1 - _cumulated(count - 1, of, p) < tail)
    high = 1.0 if count == of else _solve(lambda p: _cumulated(count, of, p) > tail)
    return Share(count, of, low, high)


def weighted_share(yes: np.ndarray, weights: np.ndarray, level: float = LEVEL) -> Share:
    """Return a share of shots that stand for several each, with an interval.

    Each shot has the inverse of the probability with which it was kept as its weight (Horvitz and Thompson
    1952, J. Am. Stat. Assoc. 47, 663). The interval is that of `share_of` for the number of equal weights
    that know as much, (sum w)^2 / sum w^2 (Kish 1965): that of the counts themselves where weights are equal.

    Parameters
    ----------
    yes : ndarray of bool, shape (n,)
    weights : ndarray of float, shape (n,)
    level : float

    Returns
    -------
    Share
        With weighted counts.

    Examples
    --------
    >>> weighted_share(np.array([True, False]), np.array([100.0, 100.0])).count
    100.0
    """
    yes, weights = np.asarray(yes, bool), np.asarray(weights, float)
    if not len(yes):
        return Share(0, 0, 0.0, 1.0)
    total = float(weights.sum())
    value = float(weights[yes].sum()) / total
    worth = math.floor(total**2 / float((weights**2).sum()) + 1e-9)
    # Rounded outwards: whole numbers at both sides of the share.
    low = share_of(math.floor(value * worth + 1e-9), worth, level).low
    high = share_of(math.ceil(value * worth - 1e-9), worth, level).high
    return Share(value * total, total, low, high)


def _cumulated(count: int, of: int, p: float) -> float:
    """Return the probability of at most `count` of `of`."""
    if p <= 0 or p >= 1:
        return float(p <= 0 or count >= of)
    k = np.arange(count + 1)
    terms = _log_choose(of)[: count + 1] + k * math.log(p) + (of - k) * math.log1p(-p)
    return float(np.exp(terms).sum())


_CHOOSE: dict[int, np.ndarray] = {}


def _log_choose(of: int) -> np.ndarray:
    """Return the logarithms of the binomial coefficients; of the last number they are kept."""
    if of not in _CHOOSE:
        logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, of + 1)))])
        _CHOOSE.clear()
        _CHOOSE[of] = logs[of] - logs - logs[::-1]
    return _CHOOSE[of]


def _solve(below: Callable[[float], bool]) -> float:
    """Return where what holds from 0 on ends."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return low
