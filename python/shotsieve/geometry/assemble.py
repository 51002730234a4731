"""One picture of the whole detector: every point of a plane shows the pixel that lies there."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from ..errors import BadInput
from .pixel_map import PixelMap
from .tile import Tile

Extent = tuple[float, float, float, float]
# Which pixel each point shows, by step: the frames of a run are drawn one after the other.
_LAYOUTS: WeakKeyDictionary[PixelMap, dict[float, tuple[np.ndarray, Extent]]] = WeakKeyDictionary()


def assemble(frame: np.ndarray, pixels: PixelMap, step_m: float | None = None) -> tuple[np.ndarray, Extent]:
    """Lay a frame out as seen along the beam, without interpolation.

    Parameters
    ----------
    frame : array, shape (rows, columns), or one that flattens to it
    pixels : PixelMap
    step_m : float or None
        Size of a point of the picture in m; None takes the smallest step between pixels.

    Returns
    -------
    image : ndarray of float32, shape (ny, nx)
        NaN where there is no pixel; y grows with the first axis, x with the second.
    extent : (float, float, float, float)
        Least and largest x, least and largest y of the picture, in m.

    Raises
    ------
    BadInput
        If the frame is not of the detector, or the picture would have more than 100 million points.

    Notes
    -----
    Tiles are shown by their own vectors, also where they are turned; where tiles overlap the later one shows.
    Of hexagons the cells of the grid are shown. Promise: exact; values are copied.

    Examples
    --------
    >>> image, extent = assemble(frame, PixelMap.from_geometry("agipd.geom", 0.2))    # doctest: +SKIP
    """
    values = np.asarray(frame)
    if values.size != pixels.shape[0] * pixels.shape[1]:
        raise BadInput(f"assemble: the frame has shape {values.shape}: expected {pixels.shape}")
    if step_m is None:
        step_m = min(_step(tile) for tile in pixels.tiles)
    known = _LAYOUTS.setdefault(pixels, {})
    if step_m not in known:
        known[step_m] = _layout(pixels, step_m)
    pixel, extent = known[step_m]
    return np.append(values.astype("f4").ravel(), np.float32(np.nan))[pixel], extent


def _layout(pixels: PixelMap, step_m: float) -> tuple[np.ndarray, Extent]:
    """Return the pixel that each point shows, the number of pixels for none, and where the picture ends."""
    size = pixels.shape[0] * pixels.shape[1]
    values = np.arange(size, dtype=np.int64).reshape(pixels.shape)
    spans = [_span(tile) for tile in pixels.tiles]
    low = np.min([first for first, _ in spans], axis=0)
    high = np.max([last for _, last in spans], axis=0)
    nx, ny = (int(np.ceil((b - a) / step_m - 1e-6)) for a, b in zip(low, high, strict=True))
    if nx * ny > 100_000_000:
        raise BadInput(f"assemble: a picture of {nx} x {ny} points of {step_m:g} m: expected a larger step_m")
    image = np.full((ny, nx), size, np.int64)
    for tile, span in zip(pixels.tiles, spans, strict=True):
        _paint(image, tile, span, values, low, step_m)
    return image, (low[0], low[0] + nx * step_m, low[1], low[1] + ny * step_m)


def _span(tile: object) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest x, y of the corners of a tile's pixels."""
    # One coordinate at a time: along the short axis of (corners, 2) NumPy is 25 times slower.
    corners = tile.corners()
    x, y = corners[..., 0], corners[..., 1]
    return np.array([x.min(), y.min()]), np.array([x.max(), y.max()])


def _step(tile: object) -> float:
    if isinstance(tile, Tile):
        return float(min(np.linalg.norm(tile.ss_vec[:2]), np.linalg.norm(tile.fs_vec[:2])))
    corners = tile.corners()[..., :2]
    return float(np.median(np.linalg.norm(corners[:, :, 1] - corners[:, :, 0], axis=-1)))


def _paint(
    image: np.ndarray,
    tile: object,
    span: tuple[np.ndarray, np.ndarray],
    values: np.ndarray,
    low: np.ndarray,
    step: float,
) -> None:
    ss_start, ss_stop, fs_start, fs_stop = tile.rect
    own = values[ss_start:ss_stop, fs_start:fs_stop]
    if not isinstance(tile, Tile):
        centres = tile.centres()[..., :2].reshape(-1, 2)
        x, y = np.floor((centres - low) / step).astype(int).T
        image[np.clip(y, 0, len(image) - 1), np.clip(x, 0, image.shape[1] - 1)] = own.ravel()
        return
    first = np.floor((span[0] - low) / step).astype(int)
    last = np.ceil((span[1] - low) / step).astype(int)
    last = np.minimum(last, image.shape[::-1])
    x, y = np.meshgrid(*(low[k] + (np.arange(first[k], last[k]) + 0.5) * step for k in range(2)))
    # How many steps along both vectors lead from the corner to the point.
    basis = np.linalg.inv(np.stack([tile.ss_vec[:2], tile.fs_vec[:2]], axis=1))
    along = np.stack([x - tile.corner[0], y - tile.corner[1]], axis=-1) @ basis.T
    ss = np.floor(along[..., 0]).astype(int)
    fs = np.floor(along[..., 1] - tile.pixel.shift * (ss % 2)).astype(int)
    inside = (ss >= 0) & (ss < own.shape[0]) & (fs >= 0) & (fs < own.shape[1])
    part = image[first[1] : last[1], first[0] : last[0]]
    part[inside] = own[ss[inside], fs[inside]]
