"""Bins of pixels for correlation over time: dynamic bins, and static bins inside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import BadInput
from ..geometry.given import pixel_map_of
from .azint import find_bins

WHO = "correlation"
MOST_PLACES = 131072  # kMostPlaces of cpp/core/correlation.hpp

STATIC_WEIGHTS = ("pixels", "equal")
"""How static bins count in the average over a dynamic bin: by their pixels, or all alike, as at the APS."""


@dataclass(frozen=True, eq=False)
class CorrelationBins:
    """Which static bin each pixel lies in, and which dynamic bin each static bin.

    Intensities are normalised in each static bin; a dynamic bin is the average over its static bins. So a
    gradient of intensity inside a wide dynamic bin is not taken for contrast.

    Attributes
    ----------
    labels : ndarray of int32, shape of a frame
        Static bin of each pixel; -1 for none.
    dynamic : ndarray of int64, shape (S,)
        Dynamic bin of each static bin.
    n_bins : int
        Number of dynamic bins.
    q_edges : ndarray of float64 or None
        In 1/nm, where the bins were made from a geometry; bin number = q bin * azimuths + azimuth.
    phi_edges : ndarray of float64 or None
        In degrees.
    static_weights : {"pixels", "equal"}
        pixels: a static bin counts with its pixels, so that one of few pixels and much noise counts little.
        equal: all static bins that have pixels count the same, as in `xpcs-eigen` and `boost_corr` (APS).

    Notes
    -----
    equal is the mean over static bins in ``Corr::normalizeG2s`` of
    https://github.com/AdvancedPhotonSource/xpcs-eigen and ``compute_g2`` of
    https://github.com/AdvancedPhotonSource/boost_corr.

    Examples
    --------
    >>> CorrelationBins.of(np.array([0, 0, 1, -1])).n_bins
    2
    """

    labels: np.ndarray
    dynamic: np.ndarray
    n_bins: int
    q_edges: np.ndarray | None = None
    phi_edges: np.ndarray | None = None
    static_weights: str = "pixels"

    def __post_init__(self) -> None:
        if self.static_weights not in STATIC_WEIGHTS:
            raise BadInput(
                f"{WHO}: static_weights = {self.static_weights!r}: expected {' or '.join(STATIC_WEIGHTS)}"
            )

    @classmethod
    def of(cls, bins: Any, dynamic: Any = None, static_weights: str = "pixels") -> CorrelationBins:
        """Take labels of pixels.

        Parameters
        ----------
        bins : array of int, shape of a frame, or CorrelationBins
            Bin of each pixel, from 0 on; -1 for none.
        dynamic : array of int, shape (S,), or None
            Dynamic bin of each of the `bins`; None: each is one by itself.
        static_weights : {"pixels", "equal"}
            Of static bins in their dynamic bin.

        Raises
        ------
        BadInput
            If they are no whole numbers from -1 on, no pixel has a bin, or `dynamic` does not fit.
        """
        if isinstance(bins, CorrelationBins):
            return bins
        labels = np.asarray(bins)
        if labels.dtype.kind not in "iu" or labels.size == 0 or labels.min() < -1 or labels.max() < 0:
            raise BadInput(
                f"{WHO}: bins of dtype {labels.dtype} and shape {labels.shape}: expected whole numbers, the "
                "bin of each pixel from 0 on and -1 for none, with at least one pixel in a bin"
            )
        count = int(labels.max()) + 1
        own = np.arange(count) if dynamic is None else np.asarray(dynamic)
        if own.dtype.kind not in "iu" or own.ndim != 1 or len(own) < count or own.min() < 0:
            raise BadInput(
                f"{WHO}: dynamic has shape {own.shape} and dtype {own.dtype}: expected the dynamic bin of "
                f"each of {count} static bins, from 0 on"
            )
        return cls(labels.astype("i4"), own.astype("i8"), int(own.max()) + 1, static_weights=static_weights)

    @property
    def n_static(self) -> int:
        """Number of static bins."""
        return len(self.dynamic)

    @property
    def pixels(self) -> np.ndarray:
        """Pixels of each static bin, int64 (S,)."""
        return np.bincount(self.labels[self.labels >= 0], minlength=self.n_static)

    def without(self, bad: np.ndarray) -> CorrelationBins:
        """Return the bins without some pixels."""
        labels = np.where(bad.reshape(self.labels.shape), np.int32(-1), self.labels)
        return replace(self, labels=labels)

    def total(self, values: np.ndarray) -> np.ndarray:
        """Add values of static bins, (K, S), to those of dynamic bins, float64 (K, n_bins).

        Examples
        --------
        >>> CorrelationBins.of([0, 1, 2], dynamic=[0, 1, 0]).total(np.array([[1, 2, 4]])).tolist()
        [[5.0, 2.0]]
        """
        out = np.zeros((len(values), self.n_bins))
        np.add.at(out, (slice(None), self.dynamic), values)
        return out

    def over_static(self, values: np.ndarray) -> np.ndarray:
        """Average values of static bins to those of dynamic bins.

        Parameters
        ----------
        values : ndarray of float64, shape (K, S, ...)
            Those that are NaN are left out.

        Returns
        -------
        ndarray of float64, shape (K, n_bins, ...)
            NaN where there is no value.
        """
        if self.n_static == self.n_bins and (self.dynamic == np.arange(self.n_bins)).all():
            return values
        weights = self.pixels.astype("f8")
        if self.static_weights == "equal":
            weights = np.minimum(weights, 1.0)
        out = np.empty((values.shape[0], self.n_bins, *values.shape[2:]))
        each = weights.reshape(-1, *[1] * (values.ndim - 2))
        for b in range(self.n_bins):
            own = self.dynamic == b
            there = np.isfinite(values[:, own]) * each[own]
            total = np.where(there > 0, values[:, own], 0.0) * there
            with np.errstate(invalid="ignore"):
                out[:, b] = total.sum(axis=1) / there.sum(axis=1)
        return out


@dataclass(frozen=True, eq=False)
class PartPlan:
    """Pixels sorted by bin, cut into parts, for the kernels; one plan serves every backend.

    Attributes
    ----------
    part_bin : ndarray of int64, shape (parts,)
        Static bin of each part.
    n_bins : int
    arrays : dict of str to ndarray of int32
        What the native functions take.
    """

    part_bin: np.ndarray
    n_bins: int
    arrays: dict[str, np.ndarray]

    @classmethod
    def make(cls, labels: np.ndarray, n_bins: int) -> PartPlan:
        """Sort the pixels of a frame.

        Parameters
        ----------
        labels : ndarray of int, any shape
        n_bins : int

        Examples
        --------
        >>> PartPlan.make(np.array([1, 0, 0, -1]), 2).arrays["runs"].tolist()
        [[0, 1, 2], [2, 0, 1]]
        """
        flat = labels.reshape(-1)
        used = np.flatnonzero(flat >= 0)
        order = used[np.argsort(flat[used], kind="stable")].astype("i4")
        sizes = np.bincount(flat[used], minlength=n_bins)
        pieces = np.maximum(1, -(-sizes // MOST_PLACES))
        part_bin = np.repeat(np.arange(n_bins), pieces)
        piece = np.arange(len(part_bin)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        begin = (np.cumsum(sizes) - sizes)[part_bin] + piece * MOST_PLACES
        part_start = np.append(begin, len(order)).astype("i4")
        breaks = np.ones(len(order), bool)
        breaks[1:] = np.diff(order) != 1
        breaks[part_start[part_start < len(order)]] = True
        place = np.flatnonzero(breaks).astype("i4")
        length = np.diff(np.append(place, len(order))).astype("i4")
        arrays = {
            "order": order,
            "part_start": part_start,
            "runs": np.stack([place, order[place], length], axis=1),
            "part_run": np.searchsorted(place, part_start).astype("i4"),
        }
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        for array in arrays.values():
            array.flags.writeable = False  # the kernels trust the indices in them
        return cls(part_bin, n_bins, arrays)

    def by_bin(self, values: np.ndarray) -> np.ndarray:
        """Add what the parts of each bin have: (K, parts, ...) to (K, n_bins, ...), in int64 or float64."""
        wide = "i8" if values.dtype.kind == "i" else "f8"
        if len(self.part_bin) == self.n_bins:
            return values.astype(wide)
        out = np.zeros((values.shape[0], self.n_bins, *values.shape[2:]), wide)
        for part, b in enumerate(self.part_bin):
            out[:, b] += values[:, part]
        return out


def correlation_bins(
    geometry: Any,
    q_edges: Sequence[float],
    phi_edges: Sequence[float] | None = None,
    *,
    static: tuple[int, int] = (1, 1),
    mask: Any = None,
    photon_energy_kev: float | None = None,
    distance_m: float | None = None,
    static_weights: str = "pixels",
) -> CorrelationBins:
    """Make bins of momentum transfer and azimuth from a geometry.

    Parameters
    ----------
    geometry : PixelMap, Geometry, EXtra-geom object, pyFAI integrator, or path of a .geom or PONI file
    q_edges : sequence of float
        Ascending, in 1/nm. A bin holds its lower edge, the last one also its upper.
    phi_edges : sequence of float or None
        Ascending, in degrees, over 360 at most; counted from the first on, so 170 to 190 is a sector too.
    static : (int, int)
        Static bins along q and along azimuth inside each dynamic bin.
    mask : array of bool, shape (rows, columns), or None
        True where a pixel may be used.
    photon_energy_kev, distance_m : float or None
        For geometries that do not have them.
    static_weights : {"pixels", "equal"}
        Of static bins in their dynamic bin; see `CorrelationBins`.

    Returns
    -------
    CorrelationBins
        Its labels have the shape of the slab.

    Raises
    ------
    BadInput
        If edges do not ascend, the mask has another shape, or no pixel lies in a bin.

    Examples
    --------
    >>> bins = correlation_bins("agipd.geom", [0.1, 0.2, 0.4], static=(10, 1))    # doctest: +SKIP
    >>> shotsieve.two_time(photons, bins)    # doctest: +SKIP
    """
    edges = _edges(q_edges, "q_edges")
    pieces = tuple(static)
    if len(pieces) != 2 or not all(isinstance(n, int) and n >= 1 for n in pieces):
        raise BadInput(
            f"{WHO}: static = {static!r}: expected two whole numbers of at least 1, along q and phi"
        )
    pixels = pixel_map_of(geometry, distance_m)
    good = np.ones(pixels.shape, bool) if mask is None else np.asarray(mask, bool)
    if good.shape != tuple(pixels.shape):
        raise BadInput(f"{WHO}: the mask has shape {good.shape}: expected {pixels.shape}")
    radial = find_bins(pixels.q(photon_energy_kev), _finer(edges, pieces[0]))
    angles, azimuth = None, np.zeros(pixels.shape, "i8")
    if phi_edges is not None:
        angles = _edges(phi_edges, "phi_edges")
        if angles[-1] - angles[0] > 360.0:
            raise BadInput(
                f"{WHO}: phi_edges from {angles[0]:g} to {angles[-1]:g}: expected 360 degrees at most"
            )
        turned = angles[0] + np.mod(pixels.chi("deg") - angles[0], 360.0)
        azimuth = find_bins(turned, _finer(angles, pieces[1]))
    elif pieces[1] > 1:
        raise BadInput(f"{WHO}: static bins along phi need phi_edges")
    n_phi = 1 if angles is None else len(angles) - 1
    fine_q, fine_phi = (len(edges) - 1) * pieces[0], n_phi * pieces[1]
    labels = np.where(good & (radial >= 0) & (azimuth >= 0), radial * fine_phi + azimuth, -1)
    if labels.max() < 0:
        raise BadInput(
            f"{WHO}: no pixel lies between q = {edges[0]:g} and {edges[-1]:g} 1/nm; check the edges"
        )
    q_of, phi_of = np.divmod(np.arange(fine_q * fine_phi), fine_phi)
    dynamic = q_of // pieces[0] * n_phi + phi_of // pieces[1]
    n_bins = (len(edges) - 1) * n_phi
    return CorrelationBins(labels.astype("i4"), dynamic, n_bins, edges, angles, static_weights)


def _edges(given: Sequence[float], name: str) -> np.ndarray:
    edges = np.asarray(given, "f8")
    if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        raise BadInput(f"{WHO}: {name} = {edges.tolist()}: expected two or more numbers, ascending")
    return edges


def _finer(edges: np.ndarray, pieces: int) -> np.ndarray:
    share = np.arange(pieces) / pieces
    inner = edges[:-1, None] + np.diff(edges)[:, None] * share
    return np.append(inner.reshape(-1), edges[-1])
