"""Regions of interest as masks of a slab: rectangles, rings, sectors, polygons, and label images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from .arrays import is_frame, on_host
from .bins import Entries

if TYPE_CHECKING:
    from ..geometry import PixelMap


def rectangle(
    shape: tuple[int, int],
    ss: tuple[int, int],
    fs: tuple[int, int],
    *,
    module: int | None = None,
    module_ss: int | None = None,
) -> np.ndarray:
    """Return the mask of a rectangle.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the slab.
    ss, fs : (int, int)
        First pixel and the one after the last, of the slab or of a module.
    module : int or None
        Place of the module in the slab, from 0; None counts in the slab.
    module_ss : int or None
        Rows of a module, where one is named.

    Returns
    -------
    ndarray of bool, shape (rows, columns)

    Raises
    ------
    BadInput
        If it is empty or leaves the module or the slab.

    Examples
    --------
    >>> rectangle((4, 3), (0, 1), (1, 3), module=1, module_ss=2).sum(axis=1).tolist()
    [0, 0, 2, 0]
    """
    rows, first = shape[0], 0
    if module is not None:
        if not module_ss or shape[0] % module_ss or not 0 <= module < shape[0] // module_ss:
            raise BadInput(
                f"rectangle: module {module} of {module_ss} rows: expected one in the slab of {shape[0]} rows"
            )
        rows, first = module_ss, module * module_ss
    if not (0 <= ss[0] < ss[1] <= rows and 0 <= fs[0] < fs[1] <= shape[1]):
        where = "the slab" if module is None else f"module {module}"
        raise BadInput(
            f"rectangle: ss {ss[0]}:{ss[1]}, fs {fs[0]}:{fs[1]} is empty or leaves {where} of {rows} x "
            f"{shape[1]} pixels"
        )
    mask = np.zeros(shape, bool)
    mask[first + ss[0] : first + ss[1], fs[0] : fs[1]] = True
    return mask


def ring(
    pixels: PixelMap, unit: str, low: float, high: float, *, photon_energy_kev: float | None = None
) -> np.ndarray:
    """Return the mask of a ring: low <= radial value < high.

    Parameters
    ----------
    pixels : PixelMap
    unit : str
        As in `shotsieve.geometry.PixelMap.radial`.
    low, high : float
    photon_energy_kev : float or None
        For q.

    Raises
    ------
    BadInput
        If no pixel is in it, or the limits are not ascending.
    """
    if not low < high:
        raise BadInput(f"ring: from {low:g} to {high:g} {unit}: expected the lower limit first")
    radial = pixels.radial(unit, photon_energy_kev)
    mask = (radial >= low) & (radial < high)
    if not mask.any():
        raise BadInput(
            f"ring: no pixel lies from {low:g} to {high:g} {unit}: pixels run from {np.nanmin(radial):g} to "
            f"{np.nanmax(radial):g}"
        )
    return mask


def sector(
    pixels: PixelMap,
    unit: str,
    low: float,
    high: float,
    chi_low: float,
    chi_high: float,
    *,
    photon_energy_kev: float | None = None,
) -> np.ndarray:
    """Return the mask of a part of a ring, from one azimuth on to another.

    Parameters
    ----------
    pixels, unit, low, high, photon_energy_kev
        See `ring`.
    chi_low, chi_high : float
        In degrees, the first below the second, at most one turn apart; the sector may lie across 180.

    Raises
    ------
    BadInput
        If no pixel is in it, or limits are not ascending.
    """
    if not 0 < chi_high - chi_low <= 360:
        raise BadInput(
            f"sector: from {chi_low:g} to {chi_high:g} degrees: expected the first below the second, at most "
            "one turn apart"
        )
    mask = ring(pixels, unit, low, high, photon_energy_kev=photon_energy_kev)
    mask &= np.mod(pixels.chi("deg") - chi_low, 360.0) < chi_high - chi_low
    if not mask.any():
        raise BadInput(f"sector: no pixel of the ring lies from {chi_low:g} to {chi_high:g} degrees")
    return mask


def polygon(x: np.ndarray, y: np.ndarray, vertices: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return which points lie inside a polygon, by the even-odd rule.

    Parameters
    ----------
    x, y : ndarray of float64, shape (rows, columns)
        Where the pixels are, in whatever plane the vertices are in: columns and rows of a slab, or
        `shotsieve.geometry.PixelMap.centres` in the laboratory. NaN is outside.
    vertices : sequence of (float, float)
        x and y of at least three corners, in order.

    Returns
    -------
    ndarray of bool, shape (rows, columns)

    Raises
    ------
    BadInput
        If there are fewer than three vertices, or no point is inside.

    Examples
    --------
    >>> x, y = np.meshgrid(np.arange(4.0), np.arange(2.0))
    >>> polygon(x, y, [(0.5, -1), (2.5, -1), (2.5, 3), (0.5, 3)]).tolist()
    [[False, True, True, False], [False, True, True, False]]
    """
    corners = np.asarray(vertices, "f8")
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
        raise BadInput(f"polygon: vertices of shape {corners.shape}: expected at least three finite (x, y)")
    inside = np.zeros(np.shape(x), bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        inside ^= crosses & (x < x0 + (y - y0) / (y1 - y0) * (x1 - x0))
    if not inside.any():
        raise BadInput("polygon: no pixel lies inside: expected vertices in the plane of the pixels")
    return inside


def projection(mask: np.ndarray, axis: str) -> np.ndarray:
    """Return the label image that gives every row, or every column, of a region a label of its own.

    Parameters
    ----------
    mask : ndarray of bool, shape (rows, columns)
        Such as that of a `rectangle`.
    axis : {"ss", "fs"}
        ``fs`` keeps the fast axis: one label per column, as a spectrometer wants it that disperses along it.

    Returns
    -------
    ndarray of int32, shape (rows, columns)
        From 0, in the order of the axis; -1 outside.

    Raises
    ------
    BadInput
        If the axis is another.

    Examples
    --------
    >>> projection(np.array([[False, True, True]]), "fs").tolist()
    [[-1, 0, 1]]
    """
    if axis not in ("ss", "fs"):
        raise BadInput(f'projection: axis = {axis!r}: expected "ss" or "fs"')
    place = np.indices(mask.shape)[0 if axis == "ss" else 1]
    labels = np.full(mask.shape, -1, "i4")
    labels[mask] = np.unique(place[mask], return_inverse=True)[1].reshape(-1)
    return labels


def label_entries(regions: Any, shape: tuple[int, int]) -> tuple[Entries, tuple[str, ...]]:
    """Return which pixels belong to which region, and the regions' names.

    Parameters
    ----------
    regions : mapping of str to ndarray of bool, or ndarray of int
        Masks by name, which may overlap; or a label image, below 0 outside, whose labels are named "0", "1"
        and so on.
    shape : (int, int)
        Rows and columns of the slab.

    Raises
    ------
    BadInput
        If a region is empty, or shape or dtype is wrong.
    """
    if isinstance(regions, Mapping):
        if not regions:
            raise BadInput("regions: there is none: expected at least one mask")
        masks = []
        for name, given in regions.items():
            mask = np.asarray(on_host(given, f"region {name!r}"))
            if mask.dtype != bool or not is_frame(mask.shape, shape):
                raise BadInput(
                    f"region {name!r} is {mask.dtype} {mask.shape}: expected bool {shape}, True inside"
                )
            if not mask.any():
                raise BadInput(f"region {name!r} has no pixel")
            masks.append(mask.ravel())
        if (np.sum(masks, axis=0) <= 1).all():
            labels = np.where(np.any(masks, axis=0), np.argmax(masks, axis=0), -1)
            return Entries.whole(labels), tuple(regions)
        pixel, label = np.nonzero(np.stack(masks, axis=1))
        return Entries(pixel, label.astype("i8"), np.ones(len(pixel))), tuple(regions)
    labels = np.asarray(on_host(regions, "the label image"))
    if labels.dtype.kind not in "iu" or not is_frame(labels.shape, shape):
        raise BadInput(
            f"regions are {labels.dtype} {labels.shape}: expected whole numbers {shape}, below 0 outside, or "
            "masks by name"
        )
    labels = labels.astype("i8").ravel()
    if labels.max(initial=-1) < 0:
        raise BadInput("regions: every label is below 0: no pixel is in a region")
    return Entries.whole(labels), tuple(str(n) for n in range(int(labels.max()) + 1))
