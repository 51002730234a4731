"""Pictures for notebooks: profiles, cakes and detector images. They need matplotlib (``shotsieve[plot]``).

Every function draws into the axes it is given, or new ones, and returns them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import BadInput
from .pages import MASKED, colours
from .plot_shots import health, histogram, hit_rate, new_axes, scores
from .plot_xpcs import decay_rates, g2, two_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .geometry import PixelMap
    from .measure.azint import AzintResult

LABELS = {
    "q_A^-1": "q (1/Å)",
    "q_nm^-1": "q (1/nm)",
    "2th_deg": "2θ (degrees)",
    "2th_rad": "2θ (rad)",
    "r_mm": "r (mm)",
    "r_m": "r (m)",
}


__all__ = [
    "cake",
    "curve",
    "decay_rates",
    "g2",
    "health",
    "histogram",
    "hit_rate",
    "image",
    "profile",
    "profiles",
    "scores",
    "two_time",
]


def curve(
    x: Any, y: Any, sigma: Any = None, ax: Axes | None = None, *, axis: str = "", label: str | None = None
) -> Axes:
    """Draw a curve with a band of one sigma on either side.

    Parameters
    ----------
    x, y : array, shape (n,)
    sigma : array, shape (n,), or None
    ax : matplotlib Axes or None
    axis : str
        What `x` is: a unit of `LABELS`, or words.
    label : str or None

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    BadInput
        If matplotlib is not installed.

    Examples
    --------
    >>> shotsieve.plot.curve(q, mean, errors, axis="q_A^-1")    # doctest: +SKIP
    """
    ax = new_axes(ax)
    [line] = ax.plot(x, y, lw=1.2, label=label)
    if sigma is not None:
        ax.fill_between(x, y - sigma, y + sigma, color=line.get_color(), alpha=0.3, lw=0)
    ax.set(xlabel=LABELS.get(axis, axis), ylabel="intensity")
    if label is not None:
        ax.legend()
    return ax


def profile(
    result: AzintResult,
    ax: Axes | None = None,
    *,
    shot: int | None = None,
    log: bool = False,
    label: str | None = None,
) -> Axes:
    """Draw a curve with a band of one sigma on either side.

    Parameters
    ----------
    result : AzintResult
        Without azimuthal bins.
    ax : matplotlib Axes or None
    shot : int or None
        Which frame; None draws the only one, or the mean over all frames.
    log : bool
        Logarithmic intensity.
    label : str or None

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    BadInput
        If the result has azimuthal bins, or matplotlib is not installed.

    Examples
    --------
    >>> shotsieve.plot.profile(ai(frame))    # doctest: +SKIP
    """
    intensity, sigma = _curves(result), None if result.sigma is None else np.asarray(result.sigma)
    if intensity.ndim == 2:
        if shot is not None:
            intensity, sigma = intensity[shot], None if sigma is None else sigma[shot]
        else:
            there = np.isfinite(intensity)
            n = np.maximum(there.sum(axis=0), 1)
            intensity = np.where(there.any(axis=0), np.where(there, intensity, 0).sum(axis=0) / n, np.nan)
            if sigma is not None:
                sigma = np.sqrt(np.where(there, sigma**2, 0).sum(axis=0)) / n
    ax = curve(result.radial, intensity, sigma, ax, axis=result.unit, label=label)
    ax.set_xlim(result.edges[[0, -1]])
    if log:
        ax.set_yscale("log", nonpositive="clip")  # the band may reach below 0
    return ax


def profiles(
    result: AzintResult,
    ax: Axes | None = None,
    *,
    against: Any = None,
    name: str = "shot",
    log: bool = False,
) -> Axes:
    """Draw many curves as an image: one row per frame, in order.

    Parameters
    ----------
    result : AzintResult
        Of several frames, without azimuthal bins.
    ax : matplotlib Axes or None
    against : array, shape (F,), or None
        What the rows stand at, ascending, such as train ids or delays; None counts them.
    name : str
        Of that axis.
    log : bool
        Logarithmic colours.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    BadInput
        If there is one frame only, or `against` has another length or does not ascend.

    Examples
    --------
    >>> shotsieve.plot.profiles(curves, against=delays, name="delay (ps)")    # doctest: +SKIP
    """
    rows = _curves(result)
    if rows.ndim != 2:
        raise BadInput(
            "plot.profiles: one curve only: expected those of several frames (or take plot.profile)"
        )
    places = np.arange(len(rows), dtype="f8") if against is None else np.asarray(against, "f8")
    if places.shape != (len(rows),) or not (np.diff(places) > 0).all():
        raise BadInput(
            f"plot.profiles: against of shape {places.shape}: expected {len(rows)} ascending numbers, one "
            "per curve"
        )
    ax = new_axes(ax)
    _mesh(ax, result.edges, _edges_between(places), rows, log)
    ax.set(xlabel=LABELS.get(result.unit, result.unit), ylabel=name)
    return ax


def cake(result: AzintResult, ax: Axes | None = None, *, shot: int = 0, log: bool = False) -> Axes:
    """Draw a cake: intensity over radial value and azimuth.

    Parameters
    ----------
    result : AzintResult
        With azimuthal bins.
    ax : matplotlib Axes or None
    shot : int
        Which frame, where there are several.
    log : bool
        Logarithmic colours.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    BadInput
        If the result has no azimuthal bins.

    Examples
    --------
    >>> shotsieve.plot.cake(shotsieve.AzimuthalIntegrator("a.geom", npt_chi=90)(frame))    # doctest: +SKIP
    """
    if result.chi_edges is None:
        raise BadInput("plot.cake: the result has no azimuthal bins: integrate with npt_chi")
    values = result.intensity if result.intensity.ndim == 2 else result.intensity[shot]
    ax = new_axes(ax)
    _mesh(ax, result.edges, result.chi_edges, values, log)
    ax.set(xlabel=LABELS.get(result.unit, result.unit), ylabel="χ (degrees)")
    return ax


def image(
    frame: Any,
    pixels: PixelMap,
    ax: Axes | None = None,
    *,
    rings: Sequence[float] = (),
    unit: str = "q_A^-1",
    photon_energy_kev: float | None = None,
    peaks: Any = None,
    log: bool = False,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw a frame as the detector stands, seen along the beam, with rings and peaks.

    Parameters
    ----------
    frame : array, shape (rows, columns) or (modules, ss, fs)
    pixels : PixelMap
    ax : matplotlib Axes or None
    rings : sequence of float
        Radial values at which a ring is drawn, in `unit`.
    unit : str
        As in `shotsieve.geometry.PixelMap.radial`.
    photon_energy_kev : float or None
        For q; None takes that of the pixel map.
    peaks : structured array or None
        With fields fs and ss in the slab, such as ``peakfinder8(...)[k]``.
    log : bool
        Logarithmic colours.
    vmin, vmax : float or None
        Ends of the colours; None takes the 1st and the 99.8th percentile.

    Returns
    -------
    matplotlib Axes
        In mm; x grows to the left, as seen when looking along the beam.

    Raises
    ------
    BadInput
        If the frame is not of the detector, or there is no pixel map.

    Examples
    --------
    >>> shotsieve.plot.image(frame, pixels, rings=[1.0, 2.0], log=True)    # doctest: +SKIP
    """
    from .geometry.assemble import assemble

    if pixels is None:
        raise BadInput(
            "image: pixels is None, so it is not known where the pixels are: give a PixelMap, or open the "
            'reduced run with shotsieve.Reduced.open(out, geometry="agipd.geom")'
        )
    picture, extent = assemble(frame, pixels)
    ax = new_axes(ax)
    shown = np.ma.masked_invalid(picture)
    if shown.count() and (vmin is None or vmax is None):
        least, most = np.percentile(shown.compressed(), [1, 99.8])
        vmin, vmax = least if vmin is None else vmin, most if vmax is None else vmax
    drawn = ax.imshow(
        shown, extent=np.multiply(extent, 1e3), origin="lower", cmap=colours(), interpolation="none",
        norm=_norm(shown, log, vmin, vmax),
    )  # fmt: skip
    ax.figure.colorbar(drawn, ax=ax, label="intensity")
    for value in rings:
        _ring(ax, pixels, value, unit, photon_energy_kev)
    if peaks is not None and len(peaks):
        ss, fs = (np.asarray(peaks[name]) for name in ("ss", "fs"))
        rows = np.clip(ss.astype(int), 0, pixels.shape[0] - 1)
        columns = np.clip(fs.astype(int), 0, pixels.shape[1] - 1)
        x, y = (pixels.centres[rows, columns, axis] * 1e3 for axis in range(2))
        ax.plot(x, y, "o", mfc="none", mec="tab:red", ms=8, label=f"{len(peaks)} peaks")
        ax.legend(loc="upper right")
    ax.set(xlabel="x (mm)", ylabel="y (mm)", xlim=(extent[1] * 1e3, extent[0] * 1e3), aspect="equal")
    return ax


def _curves(result: AzintResult) -> np.ndarray:
    if result.chi_edges is not None:
        raise BadInput("plot: the result has azimuthal bins: take plot.cake")
    return np.asarray(result.intensity)


def _edges_between(places: np.ndarray) -> np.ndarray:
    """Return edges half-way between places, and as far beyond the ends."""
    if len(places) == 1:
        return places[0] + np.array([-0.5, 0.5])
    middle = (places[1:] + places[:-1]) / 2
    return np.concatenate([[2 * places[0] - middle[0]], middle, [2 * places[-1] - middle[-1]]])


def _norm(values: np.ma.MaskedArray, log: bool, vmin: float | None, vmax: float | None) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    if not log:
        return Normalize(vmin, vmax)
    above = values.compressed()
    above = above[above > 0]
    if len(above) == 0:
        raise BadInput("plot: no value is above 0, so there is no logarithmic scale: leave log out")
    least = float(above.min()) if vmin is None or vmin <= 0 else vmin
    return LogNorm(least, max(vmax or 0.0, least * (1 + 1e-9)), clip=False)


def _mesh(ax: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, log: bool) -> None:
    shown = np.ma.masked_invalid(values)
    most = float(shown.max()) if shown.count() else 1.0
    norm = _norm(shown, log, None, most if log else None)
    drawn = ax.pcolormesh(x, y, shown, cmap=colours(), norm=norm, rasterized=True)
    ax.set_facecolor(MASKED)
    ax.figure.colorbar(drawn, ax=ax, label="intensity")


def _ring(ax: Axes, pixels: PixelMap, value: float, unit: str, energy: float | None) -> None:
    """Draw where a radial value lies, at the distance of the detector."""
    from .geometry import angles

    what, factor = angles.radial_unit(unit)
    radius = np.linspace(0, 1.5 * np.nanmax(pixels.r("m")), 4000)
    points = np.stack([radius, 0 * radius, np.full_like(radius, pixels.distance_m)], axis=-1)
    known = pixels.photon_energy_kev if energy is None else energy
    if what == "q" and known is None:
        raise BadInput("plot.image: rings in q need photon_energy_kev")
    along = angles.radial(points, what, known if what == "q" else None) * factor
    if not along[0] <= value <= along[-1]:
        return
    at = float(np.interp(value, along, radius)) * 1e3
    turn = np.linspace(0, 2 * np.pi, 361)
    ax.plot(at * np.cos(turn), at * np.sin(turn), color="tab:orange", lw=0.9, ls="--")
    spot = at * np.sqrt(0.5)
    ax.annotate(f"{value:g}", (spot, spot), color="tab:orange", fontsize=9, ha="center")
