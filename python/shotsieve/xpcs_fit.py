"""Stretched exponentials through correlation functions of a run; needs scipy (``shotsieve[plot]``)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from .errors import BadInput
from .measure.correlation_lags import averaged
from .measure.train_correlator import LEFT_OUT

if TYPE_CHECKING:
    import xarray

PARAMETERS = ("baseline", "contrast", "rate", "stretch")
GROUPS = 20
"""Of trains, each of which is left out once."""

NEIGHBOURS = 2
"""On either side of a lag, with which the variance that gives its weight is averaged."""


def stretched(lag: np.ndarray, baseline: float, contrast: float, rate: float, stretch: float) -> np.ndarray:
    """Return baseline (1 + contrast exp(-2 (rate lag)^stretch)).

    Examples
    --------
    >>> stretched(np.array([0.0, 1e9]), 1.0, 0.5, 1.0, 1.0).tolist()
    [1.5, 1.0]
    """
    return baseline * (1 + contrast * np.exp(-2 * (np.abs(rate) * lag) ** stretch))


def fit_g2(
    found: xarray.Dataset, *, baseline: float | None = 1.0, stretch: float | None = None
) -> xarray.Dataset:
    """Fit g2 of every bin with baseline (1 + contrast exp(-2 (rate lag)^stretch)).

    Parameters
    ----------
    found : xarray.Dataset
        Of `shotsieve.open_xpcs`.
    baseline, stretch : float or None
        A number is held; None is fitted.

    Returns
    -------
    xarray.Dataset
        ``baseline``, ``contrast``, ``rate`` (1/s, or 1/frame where the run tells no times) and ``stretch`` of
        each bin, and an error of each, ``contrast_error`` ..., 0 where it was held. NaN where ``fitted`` is
        false: too few lags are known, or the fit comes to no end.

    Raises
    ------
    BadInput
        If scipy is not installed.

    Notes
    -----
    Neighbouring lags share frames, so that errors of a single fit would be too small: these are of the
    jackknife over groups of trains, 20 at most; NaN with fewer than two trains, or where a fit without one
    of them comes to no end. With n groups, deviations in these errors follow about Student's t with n - 1
    degrees of freedom: of 12, 1.2 % are beyond 3.

    Lags have weights from the spread over trains, which few trains tell badly: its square is averaged over
    five neighbouring lags (lag 0, whose noise is another, is by itself), and found anew for each group that
    is left out, so that errors hold what the weights add to them. Lag 0 of values, which holds the noise, is
    left out.

    Examples
    --------
    >>> shotsieve.fit_g2(shotsieve.open_xpcs("OUT"))["rate"]    # doctest: +SKIP
    """
    try:
        import scipy.optimize  # noqa: F401
    except ImportError:
        raise BadInput("fit_g2 needs scipy, which is not installed: pip install 'shotsieve[plot]'") from None
    import xarray

    lag = _lags(found)
    first = 1 if found.attrs["xpcs.of"] != "photons" else 0
    held = (baseline, None, None, stretch)
    bins = found.sizes["bin"]
    values, errors = np.full((4, bins), np.nan), np.full((4, bins), np.nan)
    for b in range(bins):
        one = found.isel(bin=b)
        mean, sigma = one["g2"].values, one["g2_errors"].values
        use = np.isfinite(mean) & (np.arange(len(lag)) >= first) & (lag > 0 if first else lag >= 0)
        if use.sum() < sum(part is None for part in held) + 1:
            continue
        whole = _weighting(sigma[use], lag[use], np.ones(use.sum()))
        values[:, b] = _fitted(lag[use], mean[use], whole, held)
        parts = [
            _fitted(lag[use], part[use], _weighting(its_sigma[use], lag[use], whole), held)
            for part, its_sigma in _without_groups(one)
        ]
        if len(parts) > 1:
            n, parts = len(parts), np.array(parts)
            errors[:, b] = np.sqrt((n - 1) / n * ((parts - parts.mean(axis=0)) ** 2).sum(axis=0))
    out = {name: ("bin", values[k]) for k, name in enumerate(PARAMETERS)}
    out |= {f"{name}_error": ("bin", errors[k]) for k, name in enumerate(PARAMETERS)}
    out["fitted"] = ("bin", np.isfinite(values).all(axis=0))
    coords = {name: ("bin", found[name].values) for name in ("q", "q_low", "q_high") if name in found.coords}
    return xarray.Dataset(out, coords, dict(found.attrs))


def _lags(found: xarray.Dataset) -> np.ndarray:
    """Return lags in seconds, or in frames where those are not known."""
    seconds = found["seconds"].values
    return seconds if np.isfinite(seconds).all() else found["lag"].values.astype("f8")


def _weighting(sigma: np.ndarray, lag: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Return the errors by which lags are weighted; `otherwise` where not all are known."""
    variance = np.square(sigma)
    smooth = variance.copy()
    first = int(lag[0] == 0)
    for k in range(first, len(lag)):
        smooth[k] = variance[max(first, k - NEIGHBOURS) : k + NEIGHBOURS + 1].mean()
    return np.sqrt(smooth) if (smooth > 0).all() else otherwise


def _without_groups(one: xarray.Dataset) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the average of a bin, and its error, without each of some groups of trains."""
    g2 = one["g2_of_train"].values
    there = np.isfinite(g2).any(axis=1) & ((one["flags"].values & LEFT_OUT) == 0)
    g2, weight = g2[there], one["intensity"].values[there]
    if one.attrs["xpcs.weights"] == "equal":
        weight = np.ones_like(weight)
    groups = min(GROUPS, len(g2))
    if groups < 2:
        return []
    group = np.arange(len(g2)) % groups
    return [averaged(g2[group != k], weight[group != k, None]) for k in range(groups)]


def _fitted(lag: np.ndarray, g2: np.ndarray, sigma: np.ndarray, held: tuple[float | None, ...]) -> np.ndarray:
    """Return the four parameters, NaN where the fit comes to no end."""
    from scipy.optimize import OptimizeWarning, curve_fit

    if not np.isfinite(g2).all():
        return np.full(4, np.nan)
    base = 1.0 if held[0] is None else held[0]
    height = max(g2[0] / base - 1, 1e-6)
    low = np.flatnonzero(g2 / base - 1 < height / np.e**2)
    guess = np.array([base, height, 1 / lag[low[0] if len(low) and lag[low[0]] > 0 else -1], held[3] or 1.0])
    free = [k for k, part in enumerate(held) if part is None]

    def model(x: np.ndarray, *given: float) -> np.ndarray:
        all_ = guess.copy()
        all_[free] = given
        all_[2] *= scale
        return stretched(x, *all_)

    scale, guess[2] = guess[2], 1.0  # all parameters are of one size
    lower = np.array([0, 0, 1e-6, 0.05])[free]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)  # of its own errors, which are not used
        try:
            found, _ = curve_fit(
                model, lag, g2, p0=np.maximum(guess[free], lower), sigma=sigma, bounds=(lower, np.inf)
            )
        except RuntimeError:
            return np.full(4, np.nan)
    guess[free] = found
    guess[2] *= scale
    return guess
