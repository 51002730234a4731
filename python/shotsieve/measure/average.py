"""Averages of profiles over shots: by ratio of sums, or as a mean of ratios, with errors over shots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from .state import State, joined, under

ESTIMATORS = ("ratio_of_sums", "mean_of_ratios")


@dataclass(frozen=True)
class Average:
    """The average of one group of shots.

    Attributes
    ----------
    intensity : ndarray of float64, shape (n,)
        NaN in bins that no shot filled.
    errors : ndarray of float64, shape (n,)
        Standard error that follows from the variances of the shots; NaN where they have none.
    spread : ndarray of float64, shape (n,)
        Standard error that follows from the differences between shots; NaN with fewer than two of them.
    shots : ndarray of int64, shape (n,)
        Shots that filled each bin.
    """

    intensity: np.ndarray
    errors: np.ndarray
    spread: np.ndarray
    shots: np.ndarray


class ProfileAverage:
    """Sums over shots from which the average of a group follows.

    Parameters
    ----------
    bins : int
    estimator : {"ratio_of_sums", "mean_of_ratios"}
        Sum of signals over sum of norms, which weighs shots by their intensity; or the mean of the profiles.

    Notes
    -----
    Promise: reproducible; shots are added one by one in the order of the run, so that neither blocks nor
    threads matter. With signal y, norm x and R the ratio of their sums, the spread's square is
    (sum y^2 - 2 R sum x y + R^2 sum x^2) / (sum x)^2, times n / (n - 1).

    Examples
    --------
    >>> average = ProfileAverage(1)
    >>> for signal in (2.0, 4.0):
    ...     average.add(np.array([signal]), np.array([1.0]), np.array([signal]))
    >>> average.result().intensity.tolist(), average.result().shots.tolist()
    ([3.0], [2])
    """

    def __init__(self, bins: int, estimator: str = "ratio_of_sums") -> None:
        if estimator not in ESTIMATORS:
            raise BadInput(f"estimator = {estimator!r}: expected one of {', '.join(ESTIMATORS)}")
        self.estimator = estimator
        self.n = np.zeros(bins, "i8")
        # Of y, x, y^2, x y, x^2 and the variance; or of the ratio y / x in place of y, with x = 1.
        self.sums = np.zeros((6, bins))
        self.known = np.ones(bins, bool)  # every shot had a variance

    def add(self, signal: np.ndarray, norm: np.ndarray, variance: np.ndarray | None = None) -> None:
        """Add a shot, or several, one by one.

        Parameters
        ----------
        signal, norm : ndarray of float64, shape (n,) or (k, n)
            Sums over the pixels of each bin; a bin with a norm that is not above 0 is left out.
        variance : ndarray of float64, shape (n,) or (k, n), or None
            Of the signal.
        """
        signal, norm = np.atleast_2d(signal), np.atleast_2d(norm)
        here = norm > 0
        y, x = np.where(here, signal, 0.0), np.where(here, norm, 0.0)
        v = np.full(y.shape, np.nan) if variance is None else np.atleast_2d(variance)
        if self.estimator == "mean_of_ratios":
            whole = np.where(here, x, 1.0)
            y, v, x = y / whole, v / whole**2, here.astype("f8")
        self.n += here.sum(axis=0)
        self.known &= (~here | ~np.isnan(v)).all(axis=0)
        terms = np.stack([y, x, y * y, x * y, x * x, np.where(here & ~np.isnan(v), v, 0.0)], axis=1)
        for of_shot in terms:
            self.sums += of_shot

    def snapshot(self) -> State:
        """Return the sums; `restore` goes on from them."""
        return {"n": self.n, "sums": self.sums, "known": self.known}

    def restore(self, state: State) -> None:
        """Take what `snapshot` returned."""
        self.n, self.sums, self.known = (state[name].copy() for name in ("n", "sums", "known"))

    def result(self) -> Average:
        """Return the average of the shots that were added."""
        y, x, yy, xy, xx, v = self.sums
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(self.n > 0, y / x, np.nan)
            n = self.n.astype("f8")
            spread = np.maximum(yy - 2 * mean * xy + mean**2 * xx, 0.0) * n / (n - 1)
            errors = np.where(self.known & (self.n > 0), np.sqrt(np.maximum(v, 0.0)) / x, np.nan)
            return Average(mean, errors, np.where(self.n > 1, np.sqrt(spread) / x, np.nan), self.n.copy())


class GroupedAverages:
    """One `ProfileAverage` for every value that a grouping takes.

    Parameters
    ----------
    bins : int
    estimator : str
        See `ProfileAverage`.

    Examples
    --------
    >>> groups = GroupedAverages(1)
    >>> groups.at(3.0).add(np.ones(1), np.ones(1))
    >>> groups.values().tolist()
    [3.0]
    """

    def __init__(self, bins: int, estimator: str = "ratio_of_sums") -> None:
        self.bins, self.estimator = bins, estimator
        self._groups: dict[float, ProfileAverage] = {}

    def at(self, value: float) -> ProfileAverage:
        """Return the average of a group; it begins when it is first asked for."""
        if value not in self._groups:
            self._groups[value] = ProfileAverage(self.bins, self.estimator)
        return self._groups[value]

    def values(self) -> np.ndarray:
        """Return the values of the groups, ascending, float64 (G,)."""
        return np.array(sorted(self._groups), "f8")

    def snapshot(self) -> State:
        """Return the sums of all groups; `restore` goes on from them."""
        found = joined(**{str(k): self._groups[value].snapshot() for k, value in enumerate(self.values())})
        return {"values": self.values(), **found}

    def restore(self, state: State) -> None:
        """Take what `snapshot` returned."""
        self._groups = {}
        for k, value in enumerate(state["values"].tolist()):
            self.at(value).restore(under(state, str(k)))

    def result(self) -> Average:
        """Return the averages of all groups, in the order of `values`: arrays of shape (G, n)."""
        results = [self._groups[value].result() for value in sorted(self._groups)]
        if not results:
            empty = np.zeros((0, self.bins))
            return Average(empty, empty, empty, empty.astype("i8"))
        return Average(
            *(
                np.stack([getattr(result, name) for result in results])
                for name in ("intensity", "errors", "spread", "shots")
            )
        )
