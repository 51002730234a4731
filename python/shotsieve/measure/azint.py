"""Azimuthal integration: the plan of a geometry, and profiles from sums over bins.

Formulas: J. Kieffer et al., J. Appl. Cryst. 58 (2025), and pyFAI's engines, whose names are kept. With signal
s, norm w, variance v and share c of the pixels of a bin: I = S / W, std = sqrt(V / W2), sem = sqrt(V) / W,
where S = sum c s, W = sum c w, W2 = sum c^2 w^2, V = sum c^2 v.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import shown
from ..errors import BadInput
from .arrays import is_frame, on_host
from .azint_params import AzintParams
from .azint_split import split_pixels
from .bin_summer import Sums
from .bins import BinPlan, Entries

if TYPE_CHECKING:
    from ..geometry import PixelMap

AXES = {"q": "q", "2": "two_theta", "r": "r"}


@dataclass(frozen=True)
class AzintResult:
    """Profiles, or cakes, of some frames, under pyFAI's names.

    Arrays have the shape (F, npt), or (F, npt_chi, npt) with azimuthal bins, float64; without F where a
    single frame was given. In bins without a pixel values are NaN, and sums and counts 0.

    Attributes
    ----------
    radial, edges : ndarray of float64, shape (npt,) and (npt + 1,)
        Centres and edges of the bins. A bin holds its lower edge; the last one holds its upper edge too.
    chi, chi_edges : ndarray of float64, shape (npt_chi,) and (npt_chi + 1,), or None
        In degrees.
    unit : str
        Of the radial axis.
    intensity : ndarray
        sum_signal / sum_normalization: the weighted mean.
    sigma, std, sem : ndarray or None
        `sem` is the standard error of the mean, `std` the spread of one pixel; `sigma` is `sem`. None without
        an error model.
    sum_signal, sum_normalization, sum_normalization2, count : ndarray
        Sums over valid pixels: values less dark, norms, their squares, and pixels (their shares where split).
    sum_variance : ndarray or None
    """

    radial: np.ndarray
    edges: np.ndarray
    unit: str
    intensity: np.ndarray
    sum_signal: np.ndarray
    sum_normalization: np.ndarray
    sum_normalization2: np.ndarray
    count: np.ndarray
    sum_variance: np.ndarray | None = None
    sigma: np.ndarray | None = None
    std: np.ndarray | None = None
    sem: np.ndarray | None = None
    chi: np.ndarray | None = None
    chi_edges: np.ndarray | None = None

    PER_FRAME: ClassVar[tuple[str, ...]] = (
        *("intensity", "sum_signal", "sum_normalization", "sum_normalization2", "count"),
        *("sum_variance", "sigma", "std", "sem"),
    )

    def _repr_html_(self) -> str:
        return shown.curves(self)


@dataclass(frozen=True, eq=False)
class AzintPlan:
    """A geometry, a mask and parameters, ready to integrate frames on any backend. Make it with `make`.

    Attributes
    ----------
    params : AzintParams
    bins : BinPlan
        Sums over bins; bin k of azimuth j is number j * npt + k.
    edges : ndarray of float64, shape (npt + 1,)
    chi_edges : ndarray of float64, shape (npt_chi + 1,), or None
        In degrees.
    """

    params: AzintParams
    bins: BinPlan
    edges: np.ndarray
    chi_edges: np.ndarray | None

    @classmethod
    def make(
        cls,
        pixels: PixelMap,
        mask: np.ndarray | None,
        params: AzintParams,
        *,
        edges: np.ndarray | None = None,
        dark: np.ndarray | None = None,
        dark_variance: np.ndarray | None = None,
        flat: np.ndarray | None = None,
    ) -> AzintPlan:
        """Prepare the integration.

        Parameters
        ----------
        pixels : PixelMap
        mask : ndarray of bool, shape (rows, columns), or None
            True where a pixel may be used.
        params : AzintParams
        edges : ndarray of float64, shape (npt + 1,), or None
            Explicit edges of the radial bins, ascending; `npt` and `radial_range` are then not used.
        dark, dark_variance, flat : ndarray, shape (rows, columns), or None
            Subtracted; added to the variance; part of the norm.
            A pixel where one of them is not finite, or whose norm is not above 0, is not used.

        Returns
        -------
        AzintPlan

        Raises
        ------
        BadInput
            If shapes disagree, no pixel is left, edges do not ascend, or hexagonal pixels are to be split.
        """
        good = checked_mask(mask, pixels.shape)
        radial = pixels.radial(params.unit, params.photon_energy_kev)
        good &= np.isfinite(radial)
        maps = {"dark": dark, "dark_variance": dark_variance, "flat": flat}
        for name, given in maps.items():
            if given is not None:
                maps[name] = _checked_map(name, given, pixels.shape)
                good &= np.isfinite(maps[name])
        dark, flat = maps["dark"], maps["flat"]
        norm = _norm(pixels, params) * (1.0 if flat is None else flat)
        with np.errstate(invalid="ignore"):
            good &= norm > 0
        if not good.any():
            raise BadInput(
                "azint: no pixel is left to integrate: mask, geometry and norm exclude all of them"
            )
        corners = None
        if params.splitting == "full":
            corners = _corners(pixels, params)
        edges = _edges(edges, params, radial if corners is None else corners[0])
        chi_edges = None
        if params.npt_chi is not None:
            chi_edges = np.linspace(*params.chi_range, params.npt_chi + 1)
        elif params.chi_range[1] - params.chi_range[0] < 360:
            chi_edges = np.array(params.chi_range)
        entries = _entries(pixels, params, radial, corners, good, edges, chi_edges)
        if len(entries.pixel) == 0:
            raise BadInput(
                f"azint: no pixel lies within {edges[0]:g} to {edges[-1]:g} {params.unit} and the range of "
                f"azimuths; pixels run from {np.nanmin(radial):g} to {np.nanmax(radial):g}"
            )
        columns = _columns(entries, norm, maps["dark"], maps["dark_variance"])
        n_bins = (len(edges) - 1) * (1 if chi_edges is None else len(chi_edges) - 1)
        parts = np.array([tile.rect for tile in pixels.tiles])
        bins = BinPlan.make(
            pixels.shape,
            n_bins,
            entries,
            columns,
            parts=parts,
            norm=np.where(good, norm, 1.0),
            dark=np.zeros(pixels.shape) if dark is None else np.where(good, dark, 0.0),
        )
        return cls(params, bins, edges, chi_edges if params.npt_chi is not None else None)

    @property
    def centres(self) -> np.ndarray:
        """Centres of the radial bins, float64 (npt,)."""
        return (self.edges[1:] + self.edges[:-1]) / 2

    @property
    def axis(self) -> str:
        """What the radial axis is: q, two_theta or r."""
        return AXES[self.params.unit[0]]

    @property
    def mode(self) -> str:
        """What `shotsieve.measure.bin_summer.BinSummer` has to sum beside the values."""
        model, split = self.params.error_model, self.params.splitting == "full"
        return "variance" if model == "variance" or (split and model in ("poisson", "detector")) else "plain"

    def describe(self) -> dict[str, Any]:
        """Return what an output should say of the integration: the parameters that are set."""
        told = {field.name: getattr(self.params, field.name) for field in fields(self.params)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in told.items()
            if value is not None
        }

    def profiles(
        self, sums: Sums, monitor: np.ndarray | None = None, spread: np.ndarray | None = None
    ) -> AzintResult:
        """Turn sums into profiles.

        Parameters
        ----------
        sums : Sums
            Of F frames.
        monitor : ndarray of float64, shape (F,), or None
            What the norm of each frame is multiplied by.
        spread : ndarray of float64, shape (F, n_bins), or None
            For "azimuthal": the variance that was summed around the mean.

        Returns
        -------
        AzintResult
        """
        columns = sums.columns
        signal = sums.signal - columns["dark"] if "dark" in columns else sums.signal
        scale = 1.0 if monitor is None else np.asarray(monitor, "f8", like=signal)[:, None]
        norm, norm2 = columns["norm"] * scale, columns["norm2"] * scale**2
        variance = spread if self.params.error_model == "azimuthal" else self._variance(sums)
        std = sem = None
        empty = ~(columns["norm"] > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            intensity = np.where(empty, np.nan, signal / norm)
            if variance is not None:
                # Noise around 0 may leave a negative sum of values: an estimate of the variance that is 0.
                root = np.sqrt(np.maximum(variance, 0.0))
                std = np.where(empty, np.nan, root / np.sqrt(norm2))
                sem = np.where(empty, np.nan, root / norm)
        arrays = {
            "intensity": intensity,
            "sum_signal": signal,
            "sum_normalization": norm,
            "sum_normalization2": norm2,
            "count": columns["count"],
            "sum_variance": variance,
            "sigma": sem,
            "std": std,
            "sem": sem,
        }
        chi = None
        if self.chi_edges is not None:
            chi = (self.chi_edges[1:] + self.chi_edges[:-1]) / 2
            shape = (len(signal), len(chi), len(self.edges) - 1)
            arrays = {name: a if a is None else a.reshape(shape) for name, a in arrays.items()}
        return AzintResult(
            self.centres, self.edges, self.params.unit, chi=chi, chi_edges=self.chi_edges, **arrays
        )

    def _variance(self, sums: Sums) -> np.ndarray | None:
        """Return V for the models that follow from the values: they need no second pass."""
        model, columns = self.params.error_model, sums.columns
        if model is None:
            return None
        if model == "variance":
            variance = sums.second
        else:
            # Without splitting c is 1, so that the sum of the values is there already.
            variance = sums.signal if sums.second is None else sums.second
            if model == "detector":
                variance = self.params.gain * variance + self.params.read_noise**2 * columns.get(
                    "share2", columns["count"]
                )
        return variance + columns["dark_variance"] if "dark_variance" in columns else variance


def checked_mask(mask: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return a copy of a mask, bool (rows, columns), True where a pixel may be used; all of them for None."""
    if mask is None:
        return np.ones(shape, bool)
    mask = np.asarray(on_host(mask, "azint: the mask"))
    if mask.dtype != bool or not is_frame(mask.shape, shape):
        raise BadInput(
            f"azint: the mask is {mask.dtype} {mask.shape}: expected bool {shape}, True where a pixel may be "
            "used"
        )
    return mask.reshape(shape).copy()


def _checked_map(name: str, given: Any, shape: tuple[int, int]) -> np.ndarray:
    values = np.asarray(on_host(given, f"azint: {name}"), "f8")
    if not is_frame(values.shape, shape):
        raise BadInput(f"azint: {name} has shape {values.shape}: expected {shape}, one value per pixel")
    return values.reshape(shape)


def _norm(pixels: PixelMap, params: AzintParams) -> np.ndarray:
    norm = np.ones(pixels.shape)
    if params.solid_angle:
        norm = norm * pixels.solid_angle()
    if params.polarisation is not None:
        norm = norm * pixels.polarisation(params.polarisation, params.polarisation_offset)
    if params.absorption is not None:
        norm = norm * pixels.absorption(params.absorption)
    return norm


def _edges(given: Any, params: AzintParams, radial: np.ndarray) -> np.ndarray:
    if given is None:
        least, most = params.radial_range or (float(np.nanmin(radial)), float(np.nanmax(radial)))
        return np.linspace(least, most, params.npt + 1)
    edges = np.array(given, "f8")
    if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
        raise BadInput(
            f"azint: edges of shape {edges.shape}: expected at least two ascending, finite numbers"
        )
    return edges


def _corners(pixels: PixelMap, params: AzintParams) -> tuple[np.ndarray, np.ndarray]:
    """Return radial value and azimuth (degrees) of the corners, float64 (rows, columns, 4)."""
    if pixels.n_corners != 4:
        raise BadInput(
            'azint: splitting = "full" of hexagonal pixels is not supported: take splitting = "no"'
        )
    radial, chi = pixels.corner_values(params.unit, params.photon_energy_kev)
    return radial, np.rad2deg(chi)


def _entries(
    pixels: PixelMap,
    params: AzintParams,
    radial: np.ndarray,
    corners: tuple[np.ndarray, np.ndarray] | None,
    good: np.ndarray,
    edges: np.ndarray,
    chi_edges: np.ndarray | None,
) -> Entries:
    if corners is not None:
        return split_pixels(*corners, good, edges, chi_edges)
    bins = find_bins(radial, edges)
    if chi_edges is not None:
        # Counted from the first edge on, so that a range may lie across 180 degrees.
        first = chi_edges[0]
        azimuth = find_bins(first + np.mod(pixels.chi("deg") - first, 360.0), chi_edges)
        bins = np.where((bins >= 0) & (azimuth >= 0), azimuth * (len(edges) - 1) + bins, -1)
    return Entries.whole(np.where(good, bins, -1))


def find_bins(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the bin of each value, -1 outside: [e_k, e_k+1), the last one closed, as `numpy.histogram`.

    Examples
    --------
    >>> find_bins(np.array([0.0, 1.0, 2.0, 2.5, np.nan]), np.array([0.0, 1.0, 2.0])).tolist()
    [0, 1, 1, -1, -1]
    """
    bins = np.searchsorted(edges, values, side="right") - 1
    bins[values == edges[-1]] = len(edges) - 2
    bins[~((values >= edges[0]) & (values <= edges[-1]))] = -1
    return bins


def _columns(
    entries: Entries, norm: np.ndarray, dark: np.ndarray | None, dark_variance: np.ndarray | None
) -> dict[str, np.ndarray]:
    share = np.ones(len(entries.pixel)) if entries.coef is None else entries.coef
    own = norm.ravel()[entries.pixel]
    columns = {"count": share, "norm": share * own, "norm2": (share * own) ** 2}
    if entries.coef is not None:
        columns["share2"] = share**2
    if dark is not None:
        columns["dark"] = share * dark.ravel()[entries.pixel]
    if dark_variance is not None:
        columns["dark_variance"] = share**2 * dark_variance.ravel()[entries.pixel]
    return columns
