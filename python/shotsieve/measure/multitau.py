"""Correlation at lags that grow with themselves (multi-tau), and g2 at every lag."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from .arrays import check_threads, chosen_backend
from .correlation_bins import WHO, CorrelationBins
from .correlation_input import refuse_too_many
from .correlation_lags import Correlation, flags_of
from .event_lags import can_by_lags, empty_pairs, lags_by_events
from .event_summer import by_events, read_given, summer_of
from .listed_trains import ListedTrains
from .two_time import two_time_of

if TYPE_CHECKING:
    from ..backend import Backend

MOST_LEVEL = 24
SPECTRUM_BYTES = 64_000_000


@dataclass(frozen=True)
class LagScheme:
    """Which lags on which level; frames of level l are sums of 2^l frames.

    Attributes
    ----------
    entries : tuple of (int, int)
        Level, ascending, and lag in frames of that level.

    Examples
    --------
    >>> LagScheme.lumma(levels=2, per_level=4).lags.tolist()
    [0, 1, 2, 3, 4, 6]
    """

    entries: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        levels = [level for level, _ in self.entries]
        fine = all(0 <= level <= MOST_LEVEL and 0 <= lag < 2**31 for level, lag in self.entries)
        if not self.entries or not fine or levels != sorted(levels):
            raise BadInput(
                f"{WHO}: a scheme of {len(self.entries)} lags: expected at least one, levels from 0 to "
                f"{MOST_LEVEL} and ascending, and lags of 0 or more"
            )

    @classmethod
    def lumma(cls, levels: int, per_level: int = 8) -> LagScheme:
        """Take lags 0 to n - 1, then n/2 to n - 1 on each further level: Rev. Sci. Instrum. 71, 3274.

        Parameters
        ----------
        levels : int
        per_level : int
            Even: n.
        """
        _check(levels=levels, per_level=per_level)
        if per_level % 2:
            raise BadInput(f"{WHO}: per_level = {per_level}: expected an even number")
        entries = [(0, lag) for lag in range(per_level)]
        entries += [(k, lag) for k in range(1, levels) for lag in range(per_level // 2, per_level)]
        return cls(tuple(entries))

    @classmethod
    def doubling(cls, levels: int, per_level: int = 4) -> LagScheme:
        """Take lags 1 to 2 n, then n + 1 to 2 n on each further level: 1-8, 10-16, 20-32 ..., as at the APS.

        Examples
        --------
        >>> LagScheme.doubling(levels=2).lags.tolist()
        [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16]
        """
        _check(levels=levels, per_level=per_level)
        entries = [(0, lag) for lag in range(1, 2 * per_level + 1)]
        entries += [(k, lag) for k in range(1, levels) for lag in range(per_level + 1, 2 * per_level + 1)]
        return cls(tuple(entries))

    @classmethod
    def named(cls, name: str, frames: int) -> LagScheme:
        """Return the scheme ``lumma`` or ``doubling`` with the levels that so many frames have.

        Examples
        --------
        >>> LagScheme.named("doubling", 20).lags.tolist()
        [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16]
        """
        makers = {"lumma": cls.lumma, "doubling": cls.doubling}
        if name not in makers:
            raise BadInput(f"{WHO}: scheme = {name!r}: expected one of {', '.join(makers)}, or a LagScheme")
        return makers[name](max(1, frames.bit_length())).within(frames)

    def within(self, frames: int) -> LagScheme:
        """Return those lags that a train of so many frames has a pair for."""
        return LagScheme(tuple((level, lag) for level, lag in self.entries if lag < frames >> level))

    @property
    def lags(self) -> np.ndarray:
        """Lags in frames, int64 (L,)."""
        return np.array([lag << level for level, lag in self.entries], "i8")


def _check(**given: int) -> None:
    for name, value in given.items():
        if not isinstance(value, int) or not 1 <= value <= 4096:
            raise BadInput(f"{WHO}: {name} = {value!r}: expected a whole number from 1 to 4096")


def multitau(
    frames: Any,
    bins: Any,
    *,
    scheme: str | LagScheme = "lumma",
    valid: Any = None,
    counts: bool | None = None,
    diagonal: str = "corrected",
    backend: str | Backend = "auto",
    threads: int | None = None,
    stream: Any = None,
) -> Correlation:
    """Correlate at lags that grow with themselves, with symmetric normalisation.

    g2(lag) = <x(t) x(t + lag)> / (<x(t)> <x(t + lag)>): means over pixels of a static bin and over t, the
    means below over the early and the late frames that the lag uses. A last frame of a level without a
    partner is left out.

    Promise: exact; the same bits on every backend and thread count. Sums are float64: exact for counts.

    Parameters
    ----------
    frames, bins, counts, backend, threads, stream
        As for `shotsieve.two_time`.
    scheme : "lumma", "doubling" or LagScheme
    valid : array of bool, shape (N,), or None
        Pixels that differ between frames are refused: `shotsieve.g2` has valid counts for each pair.
    diagonal : {"corrected", "raw"}
        At lag 0 of counts: without the noise of counting, or with it.

    Returns
    -------
    Correlation

    Raises
    ------
    BadInput
        As `shotsieve.two_time`; also if pixels differ between frames, or no lag is left.

    Examples
    --------
    >>> photons = np.random.default_rng(1).poisson(0.5, (3, 40, 1000))
    >>> found = multitau(photons, np.zeros(1000, int), backend="cpu")
    >>> found.lags.tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32]
    """
    check_threads(threads, WHO)
    if diagonal not in ("corrected", "raw"):
        raise BadInput(f"{WHO}: diagonal = {diagonal!r}: expected 'corrected' or 'raw'")
    chosen = chosen_backend(backend)
    given = read_given(frames, bins, valid, counts, chosen)
    if given.valid is not None:
        raise BadInput(
            f"{WHO}: pixels that differ between frames: expected the same for all in multitau; mask them in "
            "all frames, or take shotsieve.g2"
        )
    own = LagScheme.named(scheme, given.length) if isinstance(scheme, str) else scheme.within(given.length)
    if given.counts:
        refuse_too_many(given.frames, given.bins)
    summer = summer_of(given, chosen, threads, stream)
    products, of_frames = summer.lags(given.frames, np.array(own.entries, "i4"))
    early, late, pairs = _norms(of_frames, own)
    if given.counts and diagonal == "corrected":
        zero = [k for k, entry in enumerate(own.entries) if entry == (0, 0)]
        products[..., zero] -= of_frames.sum(axis=2)[..., None]
    pixels = given.bins.pixels.astype("f8")
    with np.errstate(divide="ignore", invalid="ignore"):
        each = products * pairs * pixels[:, None] / (early * late)
    values = given.bins.over_static(each)
    method = "event_lags" if isinstance(given.frames, ListedTrains) else "lags"
    return _correlation(own.lags, pairs, values, of_frames, of_frames == 0, given.bins, method)


def _norms(of_frames: np.ndarray, scheme: LagScheme) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums of the early and of the late frames of each lag, and how many pairs there are."""
    early, late, pairs = [], [], []
    level, series = 0, of_frames
    for wanted, lag in scheme.entries:
        for _ in range(level, wanted):
            even = series[..., : series.shape[-1] // 2 * 2]
            series = even[..., ::2] + even[..., 1::2]
        level = wanted
        count = series.shape[-1] - lag
        early.append(series[..., :count].sum(axis=-1))
        late.append(series[..., lag:].sum(axis=-1))
        pairs.append(count)
    return np.stack(early, axis=-1), np.stack(late, axis=-1), np.array(pairs, "i8")


def _correlation(
    lags: np.ndarray,
    pairs: np.ndarray,
    values: np.ndarray,
    of_frames: np.ndarray,
    empty: np.ndarray,
    bins: CorrelationBins,
    method: str,
) -> Correlation:
    """Put with the values (K, B, L) what the sums of frames in static bins, (K, S, T), say of them."""
    intensity, flags = bins.total(of_frames.sum(axis=2)), flags_of(empty, bins)
    return Correlation(lags, pairs, values, intensity, flags, method)


def g2(
    frames: Any,
    bins: Any,
    *,
    how: str = "ratio",
    method: str = "auto",
    valid: Any = None,
    counts: bool | None = None,
    stride: int = 0,
    diagonal: str | None = None,
    backend: str | Backend = "auto",
    threads: int | None = None,
    stream: Any = None,
) -> Correlation:
    """Correlate at every lag: g2 from the two-time sums, or by Fourier transform.

    Promise: exact as `shotsieve.two_time`; by ``method="fft"`` bounded, to 1e-9 for counts.

    Parameters
    ----------
    frames, bins, valid, counts, stride, backend, threads, stream
        As for `shotsieve.two_time`.
    how : {"ratio", "mean"}
        See `shotsieve.measure.two_time.TwoTime.g2`.
    method : {"auto", "events", "matrix", "fft"}
        fft sums the power spectra of the pixels, in NumPy: for long trains of values on the host, whose
        two-time sums would not fit into memory. It gives the ratio, without `valid` for each frame and
        without `stride`.
    diagonal : {"corrected", "raw"} or None
        For lag 0.

    Returns
    -------
    Correlation

    Raises
    ------
    BadInput
        As `shotsieve.two_time`; also if ``fft`` is asked for what it does not do.

    Examples
    --------
    >>> photons = np.random.default_rng(1).poisson(0.5, (3, 40, 1000))
    >>> found = g2(photons, np.zeros(1000, int), backend="cpu")
    >>> bool(np.abs(found.average()[0] - 1).max() < 0.1)
    True
    """
    check_threads(threads, WHO)
    chosen = chosen_backend(backend)
    read = read_given(frames, bins, valid, counts, chosen)
    if method != "fft":
        events = by_events(method, read, chosen)
        summer = summer_of(read, chosen, threads, stream)
        if events and how == "ratio" and stride == 0 and can_by_lags(read):
            return lags_by_events(read, diagonal, summer)
        return two_time_of(read, stride, events, summer).g2(how, diagonal)
    if (
        how != "ratio"
        or stride
        or read.valid is not None
        or read.there
        or isinstance(read.frames, ListedTrains)
    ):
        raise BadInput(
            f"{WHO}: method = 'fft' gives how='ratio' of frames on the host, without stride and with the "
            "same pixels in all frames: take another method"
        )
    if read.counts:
        refuse_too_many(read.frames, read.bins)
    products, of_frames = _by_fft(read.frames, read.bins)
    if read.counts and diagonal != "raw":
        products[..., 0] -= of_frames.sum(axis=2)
    pixels = read.bins.pixels.astype("f8")
    reverse = of_frames[..., ::-1]
    size = 2 * read.length
    norm = np.fft.irfft(np.fft.rfft(of_frames, size) * np.fft.rfft(reverse, size), size)
    norm = norm[..., read.length - 1 :: -1].copy()
    if read.counts and diagonal != "raw":
        norm[..., 0] -= of_frames.sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(norm > 0.5 * read.counts, products * pixels[:, None] / norm, np.nan)
    lags = np.arange(read.length)
    values = read.bins.over_static(each)
    empty = empty_pairs(of_frames) if read.counts else of_frames == 0
    return _correlation(lags, read.length - lags, values, of_frames, empty, read.bins, "fft")


def _by_fft(frames: np.ndarray, bins: CorrelationBins) -> tuple[np.ndarray, np.ndarray]:
    """Sum x(t) x(t + lag) over pixels and t for every lag, and frames over pixels."""
    trains, length = frames.shape[:2]
    flat = bins.labels.reshape(-1)
    products = np.zeros((trains, bins.n_static, length))
    of_frames = np.zeros((trains, bins.n_static, length))
    step = max(1, SPECTRUM_BYTES // (32 * length))
    for s in range(bins.n_static):
        own = np.flatnonzero(flat == s)
        for k in range(trains):
            power = np.zeros(length + 1)
            for start in range(0, len(own), step):
                series = frames[k][:, own[start : start + step]].astype("f8")
                of_frames[k, s] += series.sum(axis=1)
                power += (np.abs(np.fft.rfft(series, 2 * length, axis=0)) ** 2).sum(axis=1)
            products[k, s] = np.fft.irfft(power, 2 * length)[:length]
    return (np.rint(products) if frames.dtype == np.uint8 else products), of_frames
