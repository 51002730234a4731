"""Azimuthal integration in NumPy, one frame at a time: what the integrator is held against.

Promise: bounded; float64 throughout.
"""

from __future__ import annotations

import numpy as np


def integrate(
    frame: np.ndarray,
    bins: np.ndarray,
    n_bins: int,
    norm: np.ndarray,
    *,
    dark: np.ndarray | None = None,
    error_model: str | None = None,
    variance: np.ndarray | None = None,
    gain: float = 1.0,
    read_noise: float = 0.0,
    bad: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Integrate one frame without splitting.

    Parameters
    ----------
    frame : ndarray, shape (rows, columns)
    bins : ndarray of int, shape (rows, columns)
        Below 0: in none.
    n_bins : int
    norm : ndarray of float64, shape (rows, columns)
    dark, variance : ndarray or None
    error_model : {None, "variance", "poisson", "detector", "azimuthal"}
    gain, read_noise : float
    bad : ndarray or None
        Not 0: left out.

    Returns
    -------
    dict of str to ndarray of float64, shape (n_bins,)
        signal, norm, norm2, count, intensity, and variance, std, sem with an error model.
    """
    good = (bins >= 0) & np.isfinite(frame)
    if bad is not None:
        good &= bad == 0
    if variance is not None:
        good &= np.isfinite(variance)
    b, raw, w = bins[good], frame[good].astype("f8"), norm[good]
    signal = raw if dark is None else raw - dark[good]

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(b, values, n_bins)

    out = {"signal": total(signal), "norm": total(w), "norm2": total(w * w), "count": total(np.ones_like(w))}
    with np.errstate(divide="ignore", invalid="ignore"):
        out["intensity"] = out["signal"] / out["norm"]
        if error_model is None:
            return out
        if error_model == "variance":
            v = variance[good].astype("f8")
        elif error_model == "poisson":
            v = raw
        elif error_model == "detector":
            v = gain * raw + read_noise**2
        else:
            v = (signal - out["intensity"][b] * w) ** 2
        out["variance"] = total(v)
        root = np.sqrt(np.maximum(out["variance"], 0))
        return out | {"std": root / np.sqrt(out["norm2"]), "sem": root / out["norm"]}


def sigma_clip(
    frame: np.ndarray,
    bins: np.ndarray,
    n_bins: int,
    norm: np.ndarray,
    *,
    thresh: float,
    max_iter: int,
    error_model: str = "azimuthal",
    **options: float,
) -> dict[str, np.ndarray]:
    """Integrate one frame without its outliers; as `integrate`, and ``kept``, bool (rows, columns).

    `options` are those of the error model: gain, read_noise.
    """
    bad = np.zeros(frame.shape, "u1")
    for _ in range(max_iter):
        now = integrate(frame, bins, n_bins, norm, error_model=error_model, bad=bad, **options)
        reach = np.maximum(thresh, np.sqrt(2 * np.log(np.maximum(now["count"], 3) / np.sqrt(2 * np.pi))))
        with np.errstate(invalid="ignore"):
            far = np.abs(frame / norm - now["intensity"][bins]) > reach[bins] * now["std"][bins]
        bad |= far & (bins >= 0)
    kept = (bad == 0) & (bins >= 0) & np.isfinite(frame)
    return integrate(frame, bins, n_bins, norm, error_model=error_model, bad=bad, **options) | {"kept": kept}
