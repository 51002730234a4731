"""Pieces of a detector in the laboratory: regular grids of pixels, or pixels given one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PixelShape:
    """One pixel in steps of the tile's vectors, counted from its own corner.

    Attributes
    ----------
    corners : tuple of (float, float)
        Slow scan and fast scan of each corner, in order around the pixel.
    centre : (float, float)
    shift : float
        By how much odd rows are shifted along the fast scan.
    """

    corners: tuple[tuple[float, float], ...]
    centre: tuple[float, float] = (0.5, 0.5)
    shift: float = 0.0


SQUARE = PixelShape(((0, 0), (1, 0), (1, 1), (0, 1)))
# Rows of hexagons reach into each other: a pixel is as high as 4/3 of the step between rows.
HEXAGON = PixelShape(((0, 0.5), (1 / 3, 1), (1, 1), (4 / 3, 0.5), (1, 0), (1 / 3, 0)), (2 / 3, 0.5), 0.5)
HEXAGON_ROW = 1.5 / np.sqrt(3)
"""Step between rows of regular hexagons, in their width."""


@dataclass(frozen=True, eq=False)
class Tile:
    """A regular grid of pixels.

    Attributes
    ----------
    rect : (int, int, int, int)
        ss_start, ss_stop, fs_start, fs_stop in the slab, stop exclusive.
    corner : ndarray of float64, shape (3,)
        x, y, z in m of the outer corner of its first pixel, the sample at the origin.
    ss_vec, fs_vec : ndarray of float64, shape (3,)
        Step of one pixel in m.
    pixel : PixelShape
    """

    rect: tuple[int, int, int, int]
    corner: np.ndarray
    ss_vec: np.ndarray
    fs_vec: np.ndarray
    pixel: PixelShape = SQUARE

    @property
    def n_corners(self) -> int:
        """Corners of a pixel."""
        return len(self.pixel.corners)

    def _grid(self, ss: float, fs: float) -> np.ndarray:
        rows = np.arange(self.rect[1] - self.rect[0], dtype="f8")
        columns = np.arange(self.rect[3] - self.rect[2], dtype="f8")
        along_fs = columns + (fs + self.pixel.shift * (rows % 2))[:, None]
        first = self.corner + (rows + ss)[:, None] * self.ss_vec
        return first[:, None, :] + along_fs[:, :, None] * self.fs_vec

    def centres(self) -> np.ndarray:
        """Return x, y, z of the pixel centres in m, float64 (ss, fs, 3)."""
        return self._grid(*self.pixel.centre)

    def corners(self) -> np.ndarray:
        """Return x, y, z of the pixel corners in m, float64 (ss, fs, corners, 3)."""
        return np.stack([self._grid(ss, fs) for ss, fs in self.pixel.corners], axis=2)

    def areas(self) -> np.ndarray:
        """Return the area of a pixel as a vector along its normal in m^2, float64 (3,); its sign is free."""
        # Squares and hexagons alike fill the plane, so a pixel is as large as the cell of the grid.
        return np.cross(self.ss_vec, self.fs_vec)

    def moved(self, matrix: np.ndarray, shift: np.ndarray) -> Tile:
        """Return the tile at matrix @ position + shift."""
        return Tile(
            self.rect,
            matrix @ self.corner + shift,
            matrix @ self.ss_vec,
            matrix @ self.fs_vec,
            self.pixel,
        )

    def outline(self) -> np.ndarray:
        """Return x, y, z of its four outer corners in m, float64 (4, 3)."""
        ss = (self.rect[1] - self.rect[0]) * self.ss_vec
        fs = (self.rect[3] - self.rect[2]) * self.fs_vec
        return self.corner + np.array([0 * ss, ss, ss + fs, fs])

    def values(self) -> Iterator[np.ndarray]:
        """Iterate over the numbers that must be finite."""
        yield from (self.corner, self.ss_vec, self.fs_vec)


@dataclass(frozen=True, eq=False)
class LoosePixels:
    """Pixels whose corners are given one by one, such as those of distorted detectors.

    Attributes
    ----------
    rect : (int, int, int, int)
        As in `Tile`.
    points : ndarray of float64, shape (ss, fs, corners, 3)
        x, y, z of the corners in m, in order around each pixel, the sample at the origin.
    """

    rect: tuple[int, int, int, int]
    points: np.ndarray

    @property
    def n_corners(self) -> int:
        """Corners of a pixel."""
        return self.points.shape[2]

    def centres(self) -> np.ndarray:
        """Return the means of the corners in m, float64 (ss, fs, 3)."""
        return self.points.mean(axis=2)

    def corners(self) -> np.ndarray:
        """Return x, y, z of the pixel corners in m, float64 (ss, fs, corners, 3)."""
        return self.points

    def areas(self) -> np.ndarray:
        """Return the areas of the pixels as vectors along their normals in m^2, float64 (ss, fs, 3)."""
        # From the first corner, not from the sample: there the products would cancel.
        spokes = self.points[:, :, 1:] - self.points[:, :, :1]
        return 0.5 * np.cross(spokes[:, :, :-1], spokes[:, :, 1:]).sum(axis=2)

    def moved(self, matrix: np.ndarray, shift: np.ndarray) -> LoosePixels:
        """Return the pixels at matrix @ position + shift."""
        return LoosePixels(self.rect, self.points @ matrix.T + shift)

    def outline(self) -> np.ndarray:
        """Return x, y, z of the corners of the pixels at its four ends in m, float64 (n, 3)."""
        return self.points[[0, 0, -1, -1], [0, -1, 0, -1]].reshape(-1, 3)

    def values(self) -> Iterator[np.ndarray]:
        """Iterate over the numbers that must be finite."""
        yield self.points


def sense(expected: np.ndarray, found: np.ndarray) -> int:
    """Return whether tiles of a module lie where their place in the data says.

    Parameters
    ----------
    expected, found : ndarray of float, shape (tiles, n)
        Positions; only the directions between them count.

    Returns
    -------
    int
        1 if they do, -1 if all run the other way, 0 if it is neither.
    """
    along = ((expected - expected[0]) * (found - found[0])).sum(axis=1)[1:]
    return int((along > 0).all()) - int((along < 0).all()) if along.size else 1
