"""Two-time correlation of trains, and g2 from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from .arrays import check_threads, chosen_backend
from .correlation_bins import WHO, CorrelationBins
from .correlation_input import TrainFrames
from .correlation_lags import Correlation, averaged, flags_of, read_weights
from .event_summer import by_events, read_given, summer_of
from .pair_summer import PairSummer

if TYPE_CHECKING:
    from ..backend import Backend

DIAGONALS = ("corrected", "raw", "neighbours")


@dataclass(frozen=True, eq=False)
class TwoTime:
    """Two-time correlation of trains: sums, from which everything else follows.

    Attributes
    ----------
    sums : ndarray of int64 (counts) or float64, shape (K, S, T, T)
        sum_i n_i(t1) n_i(t2) over the pixels of each static bin that are valid in both frames.
    left, right : ndarray, broadcast to that shape
        Sums of frame t1 and of frame t2 over those pixels.
    pixels : ndarray of int64, broadcast to that shape
        Number of those pixels.
    intensity : ndarray, shape (K, S, T)
        Sums of the frames.
    bins : CorrelationBins
    counts : bool
        Whether frames held photon counts.
    stride : int
        t2 is of this many trains later; 0: of the same train.
    method : {"events", "matrix"}
        How the sums were made; they are the same by both.

    Examples
    --------
    >>> found = two_time(np.array([[1, 2], [3, 0]]), np.array([0, 0]), backend="cpu")
    >>> found.correlation()[0, 0].round(4).tolist()
    [[0.6667, 0.6667], [0.6667, 2.0]]
    """

    sums: np.ndarray
    left: np.ndarray
    right: np.ndarray
    pixels: np.ndarray
    intensity: np.ndarray
    bins: CorrelationBins
    counts: bool
    stride: int
    method: str

    @property
    def flags(self) -> np.ndarray:
        """What is wrong with each dynamic bin of each train, uint8 (K, B): see `Correlation`."""
        empty = (np.broadcast_to(self.left, self.sums.shape) == 0) | (self.right == 0)
        if self.counts and self.stride == 0:  # one photon makes no pair
            t = np.arange(empty.shape[-1])
            empty[..., t, t] |= self.intensity <= 1
        return flags_of(empty, self.bins)

    def correlation(self, diagonal: str | None = None) -> np.ndarray:
        """Return the normalised correlation of every train: n G / (S1 S2) in each static bin, then averaged.

        Parameters
        ----------
        diagonal : {"corrected", "raw", "neighbours"} or None
            corrected: sum n (n - 1) over S (S - 1), free of the noise of counting. neighbours: the mean of
            what stands beside the diagonal. None: corrected for counts of the same train, else raw.

        Returns
        -------
        ndarray of float64, shape (K, B, T, T)
            NaN only where a frame has no counts in the bin, or one alone on a corrected diagonal, or a bin
            has no pixels: see `flags`.

        Raises
        ------
        BadInput
            If there is no such diagonal, or it is to be corrected for values or between trains.
        """
        diagonal = self._diagonal(diagonal)
        with np.errstate(divide="ignore", invalid="ignore"):
            each = self.pixels * self._products(diagonal) / self._norm(diagonal)
        out = self.bins.over_static(each)
        if diagonal == "neighbours" and out.shape[-1] > 1:
            t = np.arange(out.shape[-1])
            before, after = np.maximum(t - 1, 0), np.minimum(t + 1, t[-1])
            # The first and the last frame have one neighbour.
            low = out[..., np.where(t > 0, t, 1), np.where(t > 0, before, 0)]
            high = out[..., np.where(t < t[-1], t, t - 1), np.where(t < t[-1], after, t)]
            out[..., t, t] = (low + high) / 2
        return out

    def average(
        self, weights: Any = "intensity", diagonal: str | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Average the correlation over trains.

        Parameters
        ----------
        weights : "intensity", "equal" or array of float, shape (K,)
        diagonal : str or None
            See `correlation`.

        Returns
        -------
        mean, error : ndarray of float64, shape (B, T, T)
            The error is that of the mean, from the spread over trains; NaN with fewer than two.
        """
        return averaged(self.correlation(diagonal), read_weights(weights, self._of_trains()))

    def g2(self, how: str = "ratio", diagonal: str | None = None) -> Correlation:
        """Return g2 against lag.

        Parameters
        ----------
        how : {"ratio", "mean"}
            ratio: the sum of n G over the sum of S1 S2 along each diagonal, less biased at low counts. mean:
            the mean of their ratios, without the frames that have no counts.
        diagonal : {"corrected", "raw"} or None
            For lag 0; see `correlation`.

        Returns
        -------
        Correlation
        """
        if how not in ("ratio", "mean"):
            raise BadInput(f"{WHO}: how = {how!r}: expected 'ratio' or 'mean'")
        count = self.sums.shape[-1]
        lags = np.arange(count)
        if how == "mean":
            values = along(self.correlation(diagonal))
        else:
            diagonal = self._diagonal(diagonal)
            products = self.pixels * self._products("raw" if diagonal == "neighbours" else diagonal)
            with np.errstate(divide="ignore", invalid="ignore"):
                each = along(products, total=True) / along(self._norm(diagonal), total=True)
            values = self.bins.over_static(each)
        return Correlation(lags, count - lags, values, self._of_trains(), self.flags, self.method)

    def _of_trains(self) -> np.ndarray:
        """Sum of all frames of each train in each dynamic bin."""
        return self.bins.total(self.intensity.sum(axis=2))

    def _diagonal(self, given: str | None) -> str:
        can = self.counts and self.stride == 0
        if given is None:
            return "corrected" if can else "raw"
        if given not in DIAGONALS or (given == "corrected" and not can):
            raise BadInput(
                f"{WHO}: diagonal = {given!r}: expected one of {', '.join(DIAGONALS)}; 'corrected' is for "
                "photon counts of the same train"
            )
        return given

    def _products(self, diagonal: str) -> np.ndarray:
        products = self.sums.astype("f8")
        if diagonal == "corrected":
            t = np.arange(products.shape[-1])
            products[..., t, t] -= self.intensity
        return products

    def _norm(self, diagonal: str) -> np.ndarray:
        norm = np.array(np.broadcast_to(self.left.astype("f8") * self.right, self.sums.shape))
        if diagonal == "corrected":
            # S photons make S (S - 1) pairs, not S^2: the difference is a bias where S is small.
            t = np.arange(norm.shape[-1])
            norm[..., t, t] -= self.intensity
        return norm


def along(matrices: np.ndarray, total: bool = False) -> np.ndarray:
    """Average, or sum, square matrices along their diagonals, without what is NaN.

    Examples
    --------
    >>> along(np.array([[1.0, 2.0], [4.0, 5.0]])).tolist()
    [3.0, 2.0]
    """
    out = []
    for lag in range(matrices.shape[-1]):
        values = np.diagonal(matrices, lag, -2, -1)
        there = np.isfinite(values)
        found = np.where(there, values, 0.0).sum(axis=-1)
        if not total:
            n = there.sum(axis=-1)
            found = np.where(n > 0, found / np.maximum(n, 1), np.nan)
        out.append(found)
    return np.stack(out, axis=-1)


def two_time(
    frames: Any,
    bins: Any,
    *,
    valid: Any = None,
    counts: bool | None = None,
    stride: int = 0,
    method: str = "auto",
    backend: str | Backend = "auto",
    threads: int | None = None,
    stream: Any = None,
) -> TwoTime:
    """Correlate every frame of a train with every other, in bins of pixels.

    Promise: exact for counts: the same sums on every backend, by every method, batch size and thread count.
    Sums of values are float64 in one order, the same bits on every backend.

    Parameters
    ----------
    frames : array, shape (T, N) or (K, T, N), or list of trains
        Photon counts (whole numbers, 0 to 127), or values (floats; NaN is not valid). In place of N the shape
        of `bins`. NumPy, or for ``cuda`` also CuPy in uint8 or float32, which stays where it is. In their
        place a `PhotonList` of a train, or a list of those: the same sums by events, without any frame.
    bins : array of int, shape (N,) or (rows, columns), or CorrelationBins
        Bin of each pixel, -1 for none; see `shotsieve.correlation_bins`.
    valid : array of bool, shape (N,), (T, N) or (K, T, N), or None
        Which pixels may be used. Where they differ between frames, each pair of frames has the pixels that
        are valid in both: that takes three products in place of one.
    counts : bool or None
        None takes whole numbers for counts. True refuses frames that are not; False correlates as values.
    stride : int
        Take the second frame from so many trains later: the baseline without dynamics. K is then so many
        less.
    method : {"auto", "events", "matrix"}
        How sums of counts are made: lists of events for fewer than 0.1 photons per pixel and frame.
    backend : {"auto", "cpu", "cuda", "emu"} or Backend
    threads : int or None
    stream : CUDA stream or None
        None takes the one that frames on a device name, else CuPy's current one.

    Returns
    -------
    TwoTime

    Raises
    ------
    BadInput
        If shapes disagree, trains differ in length, counts are needed and not given, or are above 127.

    Notes
    -----
    C(t1, t2) = <I(t1) I(t2)> / (<I(t1)> <I(t2)>) over the pixels of a bin, as in J. Synchrotron Rad. 22,
    1147 (2015) and dynamix; each frame is normalised by itself, so that the energy of pulses drops out.

    Examples
    --------
    >>> photons = np.random.default_rng(1).poisson(0.5, (3, 10, 1000))
    >>> found = two_time(photons, np.zeros(1000, int), backend="cpu")
    >>> found.correlation().shape, found.method
    ((3, 1, 10, 10), 'matrix')
    """
    check_threads(threads, WHO)
    chosen = chosen_backend(backend)
    given = read_given(frames, bins, valid, counts, chosen)
    events = by_events(method, given, chosen)
    return two_time_of(given, stride, events, summer_of(given, chosen, threads, stream))


def two_time_of(given: TrainFrames, stride: int, events: bool, summer: PairSummer) -> TwoTime:
    """Correlate frames that were checked: see `two_time`."""
    if not isinstance(stride, int) or not 0 <= stride < given.trains:
        raise BadInput(
            f"{WHO}: stride = {stride!r} with {given.trains} trains: expected a whole number from 0 to "
            f"{given.trains - 1}"
        )
    first = given.frames[: given.trains - stride] if stride else given.frames
    second = given.frames[stride:] if stride else None
    sums, intensity = summer.pairs(first, second, events)
    how = "events" if events else "matrix"
    if given.valid is None:
        pixels = given.bins.pixels[None, :, None, None]
        late = intensity
        if stride:
            late = summer.lags(second, np.zeros((1, 2), "i4"))[1].astype(intensity.dtype)
        left, right = intensity[..., None], late[..., None, :]
    else:
        left, right, pixels = _masked_norms(summer, given, first, second)
    return TwoTime(sums, left, right, pixels, intensity, given.bins, given.counts, stride, how)


def _masked_norms(
    summer: PairSummer, given: TrainFrames, first: np.ndarray, second: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of each frame over the pixels that are valid in another, and how many are valid in both."""
    trains = len(first)
    valid = given.valid.astype(first.dtype)
    early = valid[:trains] if len(valid) > 1 else valid
    late = valid[len(valid) - trains :] if len(valid) > 1 else valid
    # The numbers are whole in either dtype.
    pixels = summer.pairs(early, None if second is None else late, False)[0].astype("i8")
    left = summer.pairs(first, np.broadcast_to(late, (trains, *late.shape[1:])), False)[0]
    if second is None:
        return left, left.swapaxes(-1, -2), pixels
    right = summer.pairs(second, np.broadcast_to(early, (trains, *early.shape[1:])), False)[0]
    return left, right.swapaxes(-1, -2), pixels
