"""Correlation over time of the trains of a run, whose frames come one after another."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .correlation_bins import CorrelationBins
from .correlation_input import MOST_COUNT
from .correlation_lags import ALL_EMPTY, NO_PIXELS, ONE_PIXEL
from .multitau import LagScheme, multitau
from .multitau import g2 as every_lag
from .running_mean import RunningMean
from .state import State, joined, under
from .two_time import two_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..backend import Backend

INCOMPLETE, OTHER_PULSES, LEFT_OUT = 16, 32, 64
"""Further flags of a train: frames are missing; its pulses are others than those of most; by its column."""

NOT_VALID = 255
"""Stands for a pixel without a value where there are counts."""

METHODS = ("", "events", "matrix", "lags", "event_lags")
"""How sums are made, by the number that `TrainCorrelator` keeps; "" where there are none."""


@dataclass(frozen=True)
class TrainOptions:
    """How trains are correlated.

    Attributes
    ----------
    length : int
        Frames of a train.
    counts : bool
        Frames hold photon counts, else values.
    each_pair : bool
        Each pair of frames has the pixels that are valid in both; else a train has those valid in all frames.
    lags : {"all", "lumma", "doubling"}
        All is every lag, 0 to T - 1, one by one.
    two_time : bool
        Average two-time correlations.
    strides : tuple of int
        Distances in trains of the baselines.
    weights : {"intensity", "equal"}
        Of trains in averages.
    """

    length: int
    counts: bool = True
    each_pair: bool = False
    lags: str = "all"
    two_time: bool = True
    strides: tuple[int, ...] = (1,)
    weights: str = "intensity"

    @property
    def lag_frames(self) -> np.ndarray:
        """Lags of g2, in frames, int64 (L,)."""
        if self.lags == "all":
            return np.arange(self.length)
        return LagScheme.named(self.lags, self.length).lags


class TrainCorrelator:
    """Collects the frames of a train until it is complete, and correlates it.

    Promise: the same numbers for any way in which frames come in parts; for counts, sums are exact.

    Parameters
    ----------
    bins : CorrelationBins
        Labels of shape (N,), of pixels that all lie in a bin.
    options : TrainOptions
    use : ndarray of bool, shape (K,)
        Trains that averages and baselines take.
    flags : ndarray of uint8, shape (K,)
        What is known of trains beforehand; it stays where nothing is correlated.

    Attributes
    ----------
    g2 : ndarray of float64, shape (K, B, L)
    intensity : ndarray of float64, shape (K, B)
    pixels : ndarray of int64, shape (K, B)
    flags : ndarray of uint8, shape (K, B)
    baselines : ndarray of float64, shape (len(strides), K, B)
        Of each train with the one so many used trains before it, over all pairs of their frames.
    methods : ndarray of uint8, shape (2 + len(strides), K)
        How the sums of each train were made, as places in `METHODS`: of g2, of the two-time correlation, of
        the baselines. See `shotsieve.Correlation`.
    decides : callable or None
        Asked for each train, once all its frames are there, whether averages take it.
    average, two_time : RunningMean
        Of g2, shape (B, L), and of two-time correlations, shape (B, T, T).
    by_lag, baseline : list of RunningMean
        Of baselines, for each stride: against lag, (B, T), and over all pairs of frames, (B, 1).

    Examples
    --------
    >>> bins = CorrelationBins.of(np.zeros(500, int))
    >>> all_ = TrainCorrelator(bins, TrainOptions(4), np.ones(2, bool), np.full(2, 16, "u1"), "cpu")
    >>> for place, frame in enumerate(np.random.default_rng(1).poisson(1, (4, 500)).astype("u1")):
    ...     all_.add(0, place, frame)
    >>> np.abs(all_.g2[0, 0] - 1).max() < 0.2, all_.flags.tolist()
    (np.True_, [[0], [16]])
    """

    def __init__(
        self,
        bins: CorrelationBins,
        options: TrainOptions,
        use: np.ndarray,
        flags: np.ndarray,
        backend: str | Backend,
    ) -> None:
        self.bins, self.options, self.use, self.backend = bins, options, use, backend
        trains, b, t = len(use), bins.n_bins, options.length
        self.g2 = np.full((trains, b, len(options.lag_frames)), np.nan)
        self.intensity, self.pixels = np.zeros((trains, b)), np.zeros((trains, b), "i8")
        self.flags = np.repeat(flags[:, None], b, axis=1)
        self.baselines = np.full((len(options.strides), trains, b), np.nan)
        self.methods = np.zeros((2 + len(options.strides), trains), "u1")
        self.average = RunningMean(self.g2.shape[1:])
        self.two_time = RunningMean((b, t, t) if options.two_time else (b, 0, 0))
        self.by_lag = [RunningMean((b, t)) for _ in options.strides]
        self.baseline = [RunningMean((b, 1)) for _ in options.strides]
        self.correlated = 0
        self.decides: Callable[[int], bool] | None = None
        self._earlier: deque[np.ndarray] = deque(maxlen=max(options.strides, default=0))
        self._begin(-1)

    @staticmethod
    def n_bytes(bins: CorrelationBins, options: TrainOptions, trains: int) -> int:
        """Return the memory that frames, sums and results of so many trains take."""
        t, b, size = options.length, bins.n_bins, 1 if options.counts else 4
        frames = (max(options.strides, default=0) + 5) * t * bins.labels.size * size
        products = 40 * bins.n_static * t * t
        means = 48 * b * t * (t * options.two_time + 2 + len(options.strides))
        return frames + products + means + 8 * trains * b * (len(options.lag_frames) + 4)

    def add(self, train: int, place: int, values: np.ndarray) -> None:
        """Take one frame; trains do not come back.

        Parameters
        ----------
        train : int
            0 to K - 1.
        place : int
            Of the frame in the train, 0 to T - 1.
        values : ndarray of uint8 or float32, shape (N,)
            `NOT_VALID` or NaN where a pixel has no value.
        """
        if train != self._train:
            self._begin(train)
        self._frames[place], self._there[place] = values, True
        if self._there.all():
            self._correlate(train, self._frames)
            self._begin(-1)

    def snapshot(self) -> State:
        """Return all results so far, and the frames that are still needed."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        means = {name: mean.snapshot() for name, mean in self._means().items()}
        pending = self._frames if self._train >= 0 else self._frames[:0]
        numbers = np.array([self._train, self.correlated])
        more = {"numbers": numbers, "frames": pending, "there": self._there}
        return {**arrays, **more, "earlier": np.array(list(self._earlier)), **joined(**means)}

    def restore(self, state: State) -> None:
        """Take what `snapshot` returned."""
        for name in _ARRAYS:
            getattr(self, name)[...] = state[name]
        self.use[...] = (self.flags[:, 0] & LEFT_OUT) == 0
        for name, mean in self._means().items():
            mean.restore(under(state, name))
        train, self.correlated = state["numbers"].tolist()
        self._begin(train)
        self._there[...] = state["there"]
        self._frames[: len(state["frames"])] = state["frames"]
        self._earlier.clear()
        self._earlier.extend(state["earlier"])

    def _means(self) -> dict[str, RunningMean]:
        named = {"average": self.average, "two_time": self.two_time}
        for s in range(len(self.options.strides)):
            named |= {f"by_lag{s}": self.by_lag[s], f"baseline{s}": self.baseline[s]}
        return named

    def _begin(self, train: int) -> None:
        """Make room for a train; what there was of an incomplete one goes."""
        shape = (self.options.length, self.bins.labels.size)
        dtype, none = ("u1", NOT_VALID) if self.options.counts else ("f4", np.nan)
        self._train, self._there = train, np.zeros(shape[0], bool)
        self._frames = np.full(shape if train >= 0 else (0, shape[1]), none, dtype)

    def _given(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, CorrelationBins]:
        """Return frames with 0 where not valid, where they are valid, and bins of the pixels that are."""
        valid = frames != NOT_VALID if self.options.counts else np.isfinite(frames)
        if valid.all():
            return frames, None, self.bins
        of_frames = tuple(range(valid.ndim - 1))
        if not self.options.each_pair:
            valid = valid.all(axis=of_frames)
        # Static bins are weighted with the pixels that there are.
        bins = self.bins.without(~(valid.any(axis=of_frames) if self.options.each_pair else valid))
        return np.where(valid, frames, frames.dtype.type(0)), valid, bins

    def leave_out(self, train: int | np.ndarray) -> None:
        """Let averages not take some trains."""
        self.use[train] = False
        self.flags[train] |= LEFT_OUT

    def _correlate(self, train: int, frames: np.ndarray) -> None:
        if self.decides is not None and not self.decides(train):
            self.leave_out(train)
        given, valid, bins = self._given(frames)
        if valid is not None and not valid.any():
            self.flags[train] = (self.flags[train] & LEFT_OUT) | NO_PIXELS
            return
        how = {"valid": valid, "counts": self.options.counts, "backend": self.backend}
        found = two_time(given, bins, **how) if self.options.two_time else None
        if self.options.lags != "all":
            g2 = multitau(given, self.bins, scheme=self.options.lags, **how)
        else:  # the same bits; without two-time correlations long trains need no sums of every pair of frames
            g2 = every_lag(given, bins, **how) if found is None else found.g2()
        self.g2[train], self.intensity[train] = g2.per_train[0], g2.intensity[0]
        self.methods[0, train] = METHODS.index(g2.method)
        left_out = self.flags[train] & LEFT_OUT
        self.flags[train] = g2.flags[0] | left_out
        of_pixel = bins.dynamic[bins.labels[bins.labels >= 0]]
        self.pixels[train] = np.bincount(of_pixel, minlength=self.bins.n_bins)
        self.correlated += 1
        if not self.use[train]:
            return
        usable = (g2.flags[0] & (NO_PIXELS | ONE_PIXEL | ALL_EMPTY)) == 0
        weight = np.where(usable, g2.intensity[0] if self.options.weights == "intensity" else 1.0, 0.0)
        self.average.add(g2.per_train[0], weight)
        if self.options.two_time:
            self.two_time.add(found.correlation()[0], weight)
            self.methods[1, train] = METHODS.index(found.method)
        self._baselines(train, frames, weight)
        if self.options.strides:
            self._earlier.append(frames)

    def _baselines(self, train: int, frames: np.ndarray, weight: np.ndarray) -> None:
        """Correlate a train with those before it."""
        for s, stride in enumerate(self.options.strides):
            if len(self._earlier) < stride:
                continue
            both, valid, bins = self._given(np.stack([self._earlier[-stride], frames]))
            if valid is not None and not valid.any():
                continue
            found = two_time(
                both, bins, valid=valid, counts=self.options.counts, stride=1, backend=self.backend
            )
            norm = np.broadcast_to(found.left.astype("f8") * found.right, found.sums.shape)
            with np.errstate(divide="ignore", invalid="ignore"):
                each = (found.pixels * found.sums).sum(axis=(2, 3)) / norm.sum(axis=(2, 3))
            self.baselines[s, train] = found.bins.over_static(each)[0]
            self.methods[2 + s, train] = METHODS.index(found.method)
            self.by_lag[s].add(found.g2().per_train[0], weight)
            self.baseline[s].add(self.baselines[s, train, :, None], weight)


_ARRAYS = ("g2", "intensity", "pixels", "flags", "baselines", "methods")


def shot_measures(frames: np.ndarray, bins: CorrelationBins) -> tuple[np.ndarray, np.ndarray]:
    """Return what single frames of counts tell: fill factor and contrast.

    Parameters
    ----------
    frames : ndarray of uint8, shape (k, N)
        `NOT_VALID` where a pixel has no value.
    bins : CorrelationBins
        Labels of shape (N,), ascending, all of them 0 or more.

    Returns
    -------
    fill : ndarray of float64, shape (k,)
        Share of the valid pixels that hold a photon.
    contrast : ndarray of float64, shape (k,)
        n sum x (x - 1) / (S (S - 1)) - 1 with S = sum x, of each static bin that holds two photons or more,
        averaged with weights n. Free of the noise of counting, at any number of photons: S photons make
        S (S - 1) pairs, of which those in one pixel are counted.

    Examples
    --------
    >>> shot_measures(np.array([[0, 2, 1, 255]], "u1"), CorrelationBins.of(np.zeros(4, int)))[0].round(4)
    array([0.6667])
    """
    starts = np.flatnonzero(np.diff(bins.labels, prepend=-1))
    valid = frames <= MOST_COUNT
    counts = np.where(valid, frames, 0).astype("i8")
    n, photons, pairs = (
        np.add.reduceat(x, starts, axis=1) for x in (valid.astype("i8"), counts, counts * (counts - 1))
    )
    pixels, lit = n.sum(axis=1), np.count_nonzero(counts, axis=1)
    weight = np.where(photons > 1, n, 0)
    all_pairs = photons.astype("f8") * (photons - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(photons > 1, n * pairs / all_pairs, 0.0)
        return lit / pixels, (weight * each).sum(axis=1) / weight.sum(axis=1) - 1.0
