"""Full pixel splitting: the share of a pixel's area that lies in each bin."""

from __future__ import annotations

import numpy as np

from ..errors import BadInput
from .bins import Entries

PIXELS_AT_ONCE = 200_000
SMALLEST_SHARE = 1e-9
"""Shares below are the rounding of an edge that only touches a bin."""


def split_pixels(
    radial: np.ndarray,
    chi: np.ndarray,
    good: np.ndarray,
    edges: np.ndarray,
    chi_edges: np.ndarray | None,
) -> Entries:
    """Share pixels among bins by area, in the plane of radial value and azimuth.

    Parameters
    ----------
    radial, chi : ndarray of float64, shape (rows, columns, 4)
        Corners in order around the pixel; azimuths in degrees, without a jump inside a pixel.
    good : ndarray of bool, shape (rows, columns)
        Pixels to be shared.
    edges : ndarray of float64, shape (n + 1,)
        Of the radial bins.
    chi_edges : ndarray of float64, shape (m + 1,), or None
        Of the azimuthal bins, in degrees; None takes all azimuths together.

    Returns
    -------
    Entries
        Bin j * n + k is radial bin k of azimuth j. Shares of a pixel sum to the part of it that is in range.

    Notes
    -----
    A pixel is the quadrilateral of its corners. Its area left of a radial value is that of the polygon cut
    there; differences of neighbouring cuts are the bins. Promise: reproducible; shares within 1e-9 of exact
    arithmetic.

    Examples
    --------
    >>> corners = np.array([[[0.5, 0.5, 1.5, 1.5]]]), np.array([[[0.0, 1.0, 1.0, 0.0]]])
    >>> split_pixels(*corners, np.ones((1, 1), bool), np.array([0.0, 1.0, 2.0]), None).coef.tolist()
    [0.5, 0.5]
    """
    chosen = np.flatnonzero(good)
    corners = np.stack([radial.reshape(-1, 4)[chosen], chi.reshape(-1, 4)[chosen]], axis=-1)
    usable = np.isfinite(corners).all(axis=(1, 2))
    chosen, corners = chosen[usable], corners[usable]
    # The pixel in the beam surrounds all azimuths: no quadrilateral of its corners is the pixel.
    jumps = np.ptp(corners[..., 1], axis=1) > 180
    whole_turn = chosen[jumps]
    chosen, corners = chosen[~jumps], corners[~jumps]
    parts = []
    for start in range(0, len(chosen), PIXELS_AT_ONCE):
        piece = slice(start, start + PIXELS_AT_ONCE)
        parts.append(_split(chosen[piece], corners[piece], edges, chi_edges))
    if len(whole_turn):
        parts.append(_by_centre(whole_turn, radial.reshape(-1, 4), edges, chi_edges))
    pixel, bins, share = (np.concatenate([part[i] for part in parts]) for i in range(3))
    # A pixel across the cut of the azimuth may reach a wide bin from both sides.
    n_bins = int(bins.max(initial=0)) + 1
    key, place = np.unique(pixel * n_bins + bins, return_inverse=True)
    pixel, bins = np.divmod(key, n_bins)
    return Entries(pixel, bins, np.bincount(place, share, len(key)))


def _split(
    chosen: np.ndarray, corners: np.ndarray, edges: np.ndarray, chi_edges: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pixel, bin and share of every pair of a pixel and a bin that overlap."""
    if chi_edges is None:
        return _cut_radially(chosen, corners, _area(corners), edges, np.zeros(len(chosen), "i8"))
    found = []
    whole = _area(corners)
    turn = 360.0
    for shift in (-turn, 0.0, turn):  # a pixel may lie across the cut of the azimuth, or before it
        moved = corners + np.array([0.0, shift])
        low, high = moved[..., 1].min(axis=1), moved[..., 1].max(axis=1)
        first, last = _reached(low, high, chi_edges)
        for step in range(int((last - first).max(initial=-1)) + 1):
            here = np.flatnonzero(first + step <= last)
            azimuth = (first + step)[here]
            polygon = _clip(moved[here], 1, chi_edges[azimuth], above=True)
            polygon = _clip(polygon, 1, chi_edges[azimuth + 1], above=False)
            found.append(_cut_radially(chosen[here], polygon, whole[here], edges, azimuth * (len(edges) - 1)))
    return tuple(np.concatenate([part[i] for part in found]) for i in range(3))


def _reached(low: np.ndarray, high: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last bin that an interval reaches; first above last where it reaches none."""
    first = np.maximum(np.searchsorted(edges, low, side="right") - 1, 0)
    last = np.minimum(np.searchsorted(edges, high, side="left") - 1, len(edges) - 2)
    outside = (high <= edges[0]) | (low >= edges[-1])
    return np.where(outside, 1, first), np.where(outside, 0, last)


def _cut_radially(
    chosen: np.ndarray, polygon: np.ndarray, whole: np.ndarray, edges: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut polygons (n, corners, 2) at the radial edges they meet; shares are of the areas `whole`."""
    first, last = _reached(polygon[..., 0].min(axis=1), polygon[..., 0].max(axis=1), edges)
    most = int((last - first).max(initial=-1)) + 1
    pixel, bins, share = [], [], []
    left = np.zeros(len(chosen))
    here = np.flatnonzero(first <= last)
    left[here] = _area(_clip(polygon[here], 0, edges[first[here]], above=False))
    for step in range(most):
        here = np.flatnonzero(first + step <= last)
        number = first[here] + step
        right = _area(_clip(polygon[here], 0, edges[number + 1], above=False))
        with np.errstate(divide="ignore", invalid="ignore"):
            part = np.where(whole[here] > 0, (right - left[here]) / whole[here], 0.0)
        keep = part > SMALLEST_SHARE
        pixel.append(chosen[here[keep]])
        bins.append(np.broadcast_to(offset, chosen.shape)[here[keep]] + number[keep])
        share.append(np.minimum(part[keep], 1.0))
        left[here] = right
    if not pixel:
        return np.zeros(0, "i8"), np.zeros(0, "i8"), np.zeros(0)
    return np.concatenate(pixel), np.concatenate(bins), np.concatenate(share)


def _area(polygon: np.ndarray) -> np.ndarray:
    """Area of polygons (n, corners, 2), by the shoelace formula about their first corner."""
    x, y = (polygon[..., axis] - polygon[:, :1, axis] for axis in range(2))
    return np.abs((x * np.roll(y, -1, 1) - np.roll(x, -1, 1) * y).sum(axis=1)) / 2


def _clip(polygon: np.ndarray, axis: int, at: np.ndarray, above: bool) -> np.ndarray:
    """Cut polygons (n, corners, 2) off at a value of one coordinate, each at its own.

    A cut edge adds the crossing as a corner, so that twice as many corners come out (Sutherland and Hodgman,
    Comm. ACM 17 (1974) 32).
    """
    start, stop = polygon, np.roll(polygon, -1, axis=1)
    sign = 1.0 if above else -1.0
    from_line = sign * (start[..., axis] - at[:, None])
    to_line = sign * (stop[..., axis] - at[:, None])
    inside, next_inside = from_line >= 0, to_line >= 0
    crosses = inside != next_inside
    with np.errstate(divide="ignore", invalid="ignore"):
        along = np.where(crosses, from_line / (from_line - to_line), 0.0)
    crossing = start + along[..., None] * (stop - start)
    crossing[..., axis] = np.where(crosses, at[:, None], crossing[..., axis])
    n = 2 * polygon.shape[1]
    out = np.stack([start, crossing], axis=2).reshape(len(polygon), n, 2)
    known = np.stack([inside, crosses], axis=2).reshape(len(polygon), n)
    # A corner that is cut away becomes the one before it, around the polygon: no area lies between them.
    place = np.where(np.concatenate([known, known], axis=1), np.arange(2 * n), -1)
    place = np.maximum.accumulate(place, axis=1)[:, n:]
    filled = np.take_along_axis(out, np.maximum(place, 0)[..., None] % n, axis=1)
    filled[place[:, -1] < 0] = 0.0  # nothing is left
    return filled


def _by_centre(
    chosen: np.ndarray, radial: np.ndarray, edges: np.ndarray, chi_edges: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give pixels that the beam crosses to the bin of their mean radius, shared evenly among azimuths."""
    bins = np.searchsorted(edges, radial[chosen].mean(axis=1), side="right") - 1
    inside = (bins >= 0) & (bins < len(edges) - 1)
    chosen, bins = chosen[inside], bins[inside]
    widths = np.array([360.0]) if chi_edges is None else np.diff(chi_edges)
    if len(widths) * len(chosen) > 10_000_000:
        raise BadInput("azint: too many pixels lie across the beam to be shared among azimuths")
    number = np.arange(len(widths)) * (len(edges) - 1)
    share = np.broadcast_to(widths / 360.0, (len(chosen), len(widths)))
    return np.repeat(chosen, len(widths)), (bins[:, None] + number).ravel(), share.ravel()
