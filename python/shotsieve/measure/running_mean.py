"""A weighted mean that grows one set of values at a time, with its standard error."""

from __future__ import annotations

import numpy as np

from .state import State

_ABOUT = 1.0  # values lie about 1: squares of what is beyond it lose no digits


class RunningMean:
    """Weighted mean over trains, as `shotsieve.measure.correlation_lags.averaged` has it of all at once.

    Parameters
    ----------
    shape : tuple of int
        Of the values; the first axis is that of the bins.

    Examples
    --------
    >>> mean = RunningMean((1, 1))
    >>> for value in (1.5, 1.7):
    ...     mean.add(np.array([[value]]), np.ones(1))
    >>> [float(part.round(6)[0, 0]) for part in mean.result()]
    [1.6, 0.1]
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        # Of each value: number, sums of w, w x, w^2, w^2 x, w^2 x^2.
        self.sums = np.zeros((6, *shape))

    def add(self, values: np.ndarray, weights: np.ndarray) -> None:
        """Add the values of a train.

        Parameters
        ----------
        values : ndarray of float64
            Those that are NaN are left out.
        weights : ndarray of float64, shape (B,)
            0 leaves a bin out.
        """
        w = weights.reshape(-1, *[1] * (values.ndim - 1)) * np.isfinite(values)
        x = np.where(w > 0, values - _ABOUT, 0.0)
        for total, part in zip(self.sums, (w > 0, w, w * x, w * w, w * w * x, (w * x) ** 2), strict=True):
            total += part

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard error, NaN without a value, and the error with fewer than two."""
        n, w, wx, ww, wwx, wwxx = self.sums
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = wx / w
            spread = np.maximum(wwxx - 2 * mean * wwx + mean**2 * ww, 0.0)
            error = np.sqrt(spread * (n / (n - 1.0))) / w
        return mean + _ABOUT, np.where(n > 1, error, np.nan)

    @property
    def number(self) -> np.ndarray:
        """How many values each mean has, int64."""
        return self.sums[0].astype("i8")

    def snapshot(self) -> State:
        """Return all sums."""
        return {"sums": self.sums}

    def restore(self, state: State) -> None:
        """Take what `snapshot` returned."""
        self.sums[...] = state["sums"]
