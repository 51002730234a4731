"""Pixels of panels: where they are, how far from the beam, which of them are of use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from ..errors import BadInput
from ..units import HC_KEV_NM
from .panel import BadRegion, Panel

CONVENTIONS = ("float", "crystfel")


def positions(panels: Iterable[Panel], shape: tuple[int, int]) -> np.ndarray:
    """Return x, y, z of the pixel centres in m, float64 (rows, columns, 3); NaN outside the panels."""
    out = np.full((*shape, 3), np.nan)
    for panel in panels:
        rows, columns = (np.arange(n) + 0.5 for n in panel.shape)
        part = out[panel.slices]
        for axis, (corner, ss, fs) in enumerate(zip(panel.corner, panel.ss_vec, panel.fs_vec, strict=True)):
            part[..., axis] = (corner + rows * ss)[:, None] + columns * fs
    return out


def pixel_xy(panel: Panel, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of a panel's pixels in pixels, at `offset` from the corner of each (0.5: its centre).

    The corner comes last in the sum, as in CrystFEL: what is cut to whole pixels afterwards depends on it.
    """
    rows, columns = (np.arange(n) + offset for n in panel.shape)
    return tuple(
        (columns * panel.fs_px[axis])[None, :] + (rows * panel.ss_px[axis])[:, None] + panel.corner_px[axis]
        for axis in (0, 1)
    )


def radius(
    panels: Iterable[Panel], shape: tuple[int, int], convention: Literal["float", "crystfel"]
) -> np.ndarray:
    """Return the distance of pixels from the beam in pixels, float32 (rows, columns); NaN in no panel."""
    if convention not in CONVENTIONS:
        raise BadInput(f"radius: convention = {convention!r}; expected one of {', '.join(CONVENTIONS)}")
    out = np.full(shape, np.nan, "f4")
    for panel in panels:
        if convention == "float":
            x, y = pixel_xy(panel, 0.5)
        else:
            x, y = (np.trunc(v) for v in pixel_xy(panel, 0.0))
        out[panel.slices] = np.sqrt(x * x + y * y)
    return out


def good_pixels(panels: Iterable[Panel], shape: tuple[int, int], regions: Iterable[BadRegion]) -> np.ndarray:
    """Return which pixels are of use, bool (rows, columns)."""
    out = np.zeros(shape, bool)
    in_lab = [region.xy for region in regions if region.xy]
    for panel in panels:
        if panel.options.no_index:
            continue
        edge, part = panel.options.mask_edge_pixels, out[panel.slices]
        rows, columns = panel.shape
        part[edge : max(rows - edge, 0), edge : max(columns - edge, 0)] = True
        if in_lab:
            x, y = pixel_xy(panel, 0.5)
            for low_x, high_x, low_y, high_y in in_lab:
                part[(x >= low_x) & (x <= high_x) & (y >= low_y) & (y <= high_y)] = False
    for region in regions:
        if region.rect:
            out[region.rect[0] : region.rect[1], region.rect[2] : region.rect[3]] = False
    return out


def momentum_transfer(position: np.ndarray, distance_m: float, photon_energy_kev: float) -> np.ndarray:
    """Return q = 4 pi sin(theta) / wavelength in 1/nm of positions (..., 3) in m."""
    across = np.hypot(position[..., 0], position[..., 1])
    theta = 0.5 * np.arctan2(across, distance_m + position[..., 2])
    return 4 * np.pi * np.sin(theta) * (photon_energy_kev / HC_KEV_NM)


def vectors_of(panels: Iterable[Panel]) -> tuple[np.ndarray, ...]:
    """Return corners, steps along fast and slow scan, and rectangles, one row for each panel."""
    names = ("corner", "fs_vec", "ss_vec", "rect")
    return tuple(np.array([getattr(panel, name) for panel in panels]) for name in names)


def positions_at(
    vectors: tuple[np.ndarray, ...], fs: np.ndarray, ss: np.ndarray, index: np.ndarray
) -> np.ndarray:
    """Return x, y, z in m of slab positions (n,) of known panels; NaN where the index is negative."""
    corner, fs_vec, ss_vec, start = vectors
    # The centre of a pixel has a whole number, its corner lies half a pixel before.
    along_ss = (ss - start[index, 0] + 0.5)[:, None] * ss_vec[index]
    out = corner[index] + along_ss + (fs - start[index, 2] + 0.5)[:, None] * fs_vec[index]
    out[index < 0] = np.nan
    return out
