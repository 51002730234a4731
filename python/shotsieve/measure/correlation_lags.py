"""Correlation functions against lag: of every train, and averaged over trains with errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from .correlation_bins import WHO

if TYPE_CHECKING:
    import xarray

    from .correlation_bins import CorrelationBins

NO_PIXELS, ONE_PIXEL, EMPTY_FRAMES, ALL_EMPTY = 1, 2, 4, 8
"""Flags of a bin of a train: no pixel; one pixel; some frames without counts in it; all of them."""


@dataclass(frozen=True, eq=False)
class Correlation:
    """g2 against lag.

    Attributes
    ----------
    lags : ndarray of int64, shape (L,)
        In frames.
    pairs : ndarray of int64, shape (L,)
        Pairs of frames of a train that each lag has.
    per_train : ndarray of float64, shape (K, B, L)
        NaN only where `flags` of the train and bin are not 0.
    intensity : ndarray of float64, shape (K, B)
        Sum of all frames of a train: the usual weight.
    flags : ndarray of uint8, shape (K, B)
        1: no pixel; 2: one pixel; 4: some frames without counts, or with one photon alone where the diagonal
        is corrected; 8: all without counts.
    method : {"events", "matrix", "event_lags", "lags", "fft"} or None
        How the sums were made: of every pair of frames, from lists of events or as a product of matrices;
        lag by lag, from lists of events or from frames; from power spectra. None where nobody told.

    Examples
    --------
    >>> one = Correlation(np.array([0]), np.array([1]), np.array([[[1.5]], [[1.7]]]), np.ones((2, 1)),
    ...     np.zeros((2, 1), "u1"))
    >>> [float(part.round(3)[0, 0]) for part in one.average()]
    [1.6, 0.1]
    """

    lags: np.ndarray
    pairs: np.ndarray
    per_train: np.ndarray
    intensity: np.ndarray
    flags: np.ndarray
    method: str | None = None

    def average(self, weights: Any = "intensity") -> tuple[np.ndarray, np.ndarray]:
        """Average over trains.

        Parameters
        ----------
        weights : "intensity", "equal" or array of float, shape (K,)
            An array takes the place of both; 0 leaves a train out.

        Returns
        -------
        mean : ndarray of float64, shape (B, L)
        error : ndarray of float64, shape (B, L)
            Standard error from the spread over trains; NaN with fewer than two.

        Raises
        ------
        BadInput
            If weights are negative, not finite, or not one for each train.
        """
        return averaged(self.per_train, self._weights(weights))

    def to_xarray(self, weights: Any = "intensity") -> xarray.Dataset:
        """Return mean, error, pairs and flags with names, and `method` as an attribute; needs xarray.

        Examples
        --------
        >>> correlation.to_xarray()["g2"].plot()    # doctest: +SKIP
        """
        import xarray

        mean, error = self.average(weights)
        return xarray.Dataset(
            {
                "g2": (("bin", "lag"), mean),
                "error": (("bin", "lag"), error),
                "g2_of_train": (("train", "bin", "lag"), self.per_train),
                "flags": (("train", "bin"), self.flags),
                "pairs": ("lag", self.pairs),
            },
            coords={"lag": self.lags},
            attrs={} if self.method is None else {"method": self.method},
        )

    def _weights(self, given: Any) -> np.ndarray:
        return read_weights(given, self.intensity)


def flags_of(empty: np.ndarray, bins: CorrelationBins) -> np.ndarray:
    """Return what is wrong with each dynamic bin of each train.

    Parameters
    ----------
    empty : ndarray of bool, shape (K, S, ...)
        Frames, or pairs of frames, without counts in each static bin.
    bins : CorrelationBins

    Returns
    -------
    ndarray of uint8, shape (K, B)
        As `Correlation` has them.
    """
    pixels = bins.pixels
    flags = np.zeros((len(empty), bins.n_bins), "u1")
    for b in range(bins.n_bins):
        own = (bins.dynamic == b) & (pixels > 0)
        size = int(pixels[own].sum())
        flags[:, b] |= NO_PIXELS if size == 0 else ONE_PIXEL if size == 1 else 0
        if size:
            here = empty[:, own].reshape(len(empty), -1)
            flags[here.any(axis=1), b] |= EMPTY_FRAMES
            flags[here.all(axis=1), b] |= ALL_EMPTY
    return flags


def read_weights(given: Any, intensity: np.ndarray) -> np.ndarray:
    """Return a weight for each train and bin, float64 (K, B).

    Examples
    --------
    >>> read_weights([1, 0], np.ones((2, 1))).tolist()
    [[1.0], [0.0]]
    """
    if isinstance(given, str):
        if given not in ("intensity", "equal"):
            raise BadInput(
                f"{WHO}: weights = {given!r}: expected 'intensity', 'equal' or a number for each train"
            )
        return intensity if given == "intensity" else np.ones_like(intensity)
    weights = np.asarray(given, "f8")
    if weights.shape != intensity.shape[:1] or not (np.isfinite(weights) & (weights >= 0)).all():
        raise BadInput(
            f"{WHO}: weights of shape {weights.shape}: expected {len(intensity)} finite numbers, 0 or more, "
            "one for each train"
        )
    return np.broadcast_to(weights[:, None], intensity.shape)


def averaged(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average over the first axis, with the standard error of the weighted mean.

    Parameters
    ----------
    values : ndarray of float64, shape (K, B, ...)
        Those that are NaN are left out.
    weights : ndarray of float64, shape (K, B)

    Returns
    -------
    mean, error : ndarray of float64, shape (B, ...)
        error^2 = n / (n - 1) sum w^2 (x - mean)^2 / (sum w)^2 over the n trains that count; NaN for n < 2.
    """
    w = weights.reshape(*weights.shape, *[1] * (values.ndim - 2)) * np.isfinite(values)
    known = np.where(w > 0, values, 0.0)
    total, n = w.sum(axis=0), (w > 0).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (w * known).sum(axis=0) / total
        spread = np.where(w > 0, (w * (known - mean)) ** 2, 0.0).sum(axis=0)
        error = np.sqrt(spread * (n / (n - 1.0))) / total
    return mean, np.where(n > 1, error, np.nan)
