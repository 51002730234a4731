"""Pictures of correlations over time: two-time maps, g2 with fits, decay rates against q."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import BadInput
from .plot_shots import new_axes
from .xpcs_file import open_xpcs
from .xpcs_fit import PARAMETERS, fit_g2, stretched

if TYPE_CHECKING:
    import xarray
    from matplotlib.axes import Axes

Q_UNITS = {"q_A^-1": "1/Å", "q_nm^-1": "1/nm"}


def two_time(found: Any, bin: int = 0, ax: Axes | None = None) -> Axes:
    """Draw the mean two-time correlation of a bin.

    Parameters
    ----------
    found : xarray.Dataset of `shotsieve.open_xpcs`, or path
    bin : int
    ax : matplotlib Axes or None

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    BadInput
        If there is no such bin, or two-time correlations were not made.

    Examples
    --------
    >>> shotsieve.plot.two_time("OUT", bin=2)    # doctest: +SKIP
    """
    found = _opened(found)
    [bin] = _bins(found, [bin])
    if "two_time" not in found:
        raise BadInput("plot.two_time: the run has g2 alone: reduce it with [measure.xpcs] two_time = true")
    values, (x, unit) = found["two_time"].values[bin], _times(found["time_1"].values)
    beside = values[~np.eye(len(values), dtype=bool)]
    ax = new_axes(ax)
    # Colours of what is beside the diagonal, which may lie far above.
    low, high = (np.nanpercentile(beside, p) for p in (1, 99)) if np.isfinite(beside).any() else (0, 1)
    step = x[1] - x[0] if len(x) > 1 else 1.0
    ends = (x[0] - step / 2, x[-1] + step / 2)
    image = ax.imshow(values, origin="lower", extent=(*ends, *ends), vmin=low, vmax=high)
    ax.figure.colorbar(image, ax=ax, label="C(t1, t2)")
    ax.set(xlabel=f"t2 ({unit})", ylabel=f"t1 ({unit})", title=_name(found, bin))
    return ax


def g2(found: Any, bins: Iterable[int] | None = None, ax: Axes | None = None, *, fit: bool = True) -> Axes:
    """Draw g2 against lag with errors, and stretched exponentials through them.

    Parameters
    ----------
    found : xarray.Dataset of `shotsieve.open_xpcs`, or path
    bins : iterable of int or None
        None draws all.
    ax : matplotlib Axes or None
    fit : bool
        Needs scipy; see `shotsieve.fit_g2`.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    BadInput
        If there is no such bin.

    Examples
    --------
    >>> shotsieve.plot.g2("OUT", bins=[0, 3])    # doctest: +SKIP
    """
    found = _opened(found)
    chosen = _bins(found, range(found.sizes["bin"]) if bins is None else bins)
    fits = fit_g2(found) if fit else None
    lag, unit = _times(found["seconds"].values)
    scale = 1.0
    if unit == "frames":
        lag = found["lag"].values.astype("f8")
    else:
        scale = 1e-6  # fits are in seconds
    ax = new_axes(ax)
    there = lag > 0
    for b in chosen:
        values, errors = (found[name].values[b] for name in ("g2", "g2_errors"))
        drawn = ax.errorbar(
            lag[there], values[there], errors[there], fmt="o", ms=3, lw=1, label=_name(found, b)
        )
        if fits is not None and bool(fits["fitted"].values[b]):
            x = np.geomspace(lag[there].min(), lag.max(), 200)
            one = [float(fits[name].values[b]) for name in PARAMETERS]
            ax.plot(x, stretched(x * scale, *one), lw=1, color=drawn.lines[0].get_color())
    ax.set(xlabel=f"lag ({unit})", ylabel="g2", xscale="log")
    ax.legend()
    return ax


def decay_rates(found: Any, ax: Axes | None = None, **held: float | None) -> Axes:
    """Draw the decay rate of every bin against q, both logarithmic.

    Parameters
    ----------
    found : xarray.Dataset of `shotsieve.open_xpcs` or of `shotsieve.fit_g2`, or path
    ax : matplotlib Axes or None
    **held
        `baseline`, `stretch` of `shotsieve.fit_g2`.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> shotsieve.plot.decay_rates("OUT", stretch=1.0)    # doctest: +SKIP
    """
    found = _opened(found)
    fits = found if "rate" in found else fit_g2(found, **held)
    known = np.isfinite(float(fits.attrs["xpcs.seconds_per_frame"]))
    ax = new_axes(ax)
    ax.errorbar(
        fits["q"].values, fits["rate"].values, np.nan_to_num(fits["rate_error"].values), fmt="o", ms=4, lw=1
    )
    ax.set(
        xlabel=f"q ({Q_UNITS[fits.attrs['xpcs.unit']]})",
        ylabel="decay rate (1/s)" if known else "decay rate (1/frame)",
    )
    ax.set(xscale="log", yscale="log")
    return ax


def _opened(found: Any) -> xarray.Dataset:
    return open_xpcs(found) if isinstance(found, str | os.PathLike) else found


def _bins(found: xarray.Dataset, bins: Iterable[int]) -> list[int]:
    chosen, number = list(bins), found.sizes["bin"]
    if wrong := [b for b in chosen if not 0 <= b < number]:
        raise BadInput(f"bin {wrong[0]}: expected 0 to {number - 1}, the bins of the run")
    return chosen


def _times(seconds: np.ndarray) -> tuple[np.ndarray, str]:
    """Return times in microseconds, or frames where they are not known."""
    if np.isfinite(seconds).all():
        return seconds * 1e6, "us"
    return np.arange(len(seconds), dtype="f8"), "frames"


def _name(found: xarray.Dataset, b: int) -> str:
    low, high = found["q_low"].values[b], found["q_high"].values[b]
    text = f"q {low:.3g} to {high:.3g} {Q_UNITS[found.attrs['xpcs.unit']]}"
    if "phi_low" not in found.coords:
        return text
    return f"{text}, {found['phi_low'].values[b]:.0f} to {found['phi_high'].values[b]:.0f}°"
