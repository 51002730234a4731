"""Where the reflections of a crystal meet the detector, and how many photons each of them brings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..geometry.tile import Tile
from ..units import kev_to_nm
from .crystal import UnitCell, wilson_intensities

SPOT_DTYPE = np.dtype(
    [
        ("h", "<i2"),
        ("k", "<i2"),
        ("l", "<i2"),
        ("tile", "<i4"),
        ("ss", "<f8"),
        ("fs", "<f8"),
        ("width_ss", "<f8"),
        ("width_fs", "<f8"),
        ("weight", "<f8"),
    ]
)
"""A spot: its reflection, where it is (pixels of the slab; the centre of a pixel is whole), its standard
deviation in pixels, and its share of light."""

REACH = 4.0  # of a Gaussian, in standard deviations: less than 1e-4 lies beyond
WINDOW = 8  # pixels beside a narrow spot that may get light of it
NARROW = 2.0  # standard deviation, in pixels, up to which that is nearly all
_erf = np.frompyfunc(math.erf, 1, 1)


class BraggDiffraction:
    """Spots of one kind of crystal on one detector, for any orientation.

    A reflection g is excited as far as the Ewald sphere of some photon of the pulse passes it: a Gaussian in
    the distance from the sphere, as wide as the crystal is small (1 / size), wider by mosaicity (g times its
    angle) and by the bandwidth of the pulse. Source: Kirian et al. (2010), Optics Express 18, 5713, sections
    2 and 3, with Gaussians in place of the transform of a block of cells.

    Parameters
    ----------
    tiles : sequence of Tile
        The detector in the laboratory, the sample at the origin, the beam along z.
    cell : UnitCell
    photon_energy_kev : float
    d_min_nm : float
        Resolution to which the crystal diffracts.
    b_factor_nm2 : float
        See `wilson_intensities`.
    mosaicity_mrad : float
        Standard deviation of the orientation of the crystal's parts.
    bandwidth : float
        Standard deviation of the photon energy, relative.
    molecule : int
        Seed of the intensities.

    Notes
    -----
    Promise: bounded; positions within 1e-9 of a pixel of exact arithmetic. Light is linearly polarised along
    x, absorption and the width of the pulse's divergence are left out.

    Examples
    --------
    >>> tile = Tile((0, 64, 0, 64), np.array([0.0, 0.0, 0.1]), np.array([2e-4, 0, 0]), np.array([0, 2e-4, 0]))
    >>> from shotsieve.simulate.crystal import HEWL
    >>> BraggDiffraction([tile], HEWL, 9.3, d_min_nm=0.8).spots(np.eye(3)).dtype.names[:3]
    ('h', 'k', 'l')
    """

    def __init__(
        self,
        tiles: Sequence[Tile],
        cell: UnitCell,
        photon_energy_kev: float,
        *,
        d_min_nm: float = 0.2,
        b_factor_nm2: float = 0.2,
        mosaicity_mrad: float = 0.0,
        bandwidth: float = 0.001,
        molecule: int = 1,
    ) -> None:
        self._corner = np.array([tile.corner for tile in tiles])
        self._axes = np.array([[tile.ss_vec, tile.fs_vec] for tile in tiles])
        self._normal = np.cross(self._axes[:, 0], self._axes[:, 1])
        # From a position within the tile's plane to pixels along its two axes, which need not be square.
        self._to_pixels = np.linalg.pinv(self._axes)
        self._first = np.array([[tile.rect[0], tile.rect[2]] for tile in tiles])
        self._length = np.array(
            [[tile.rect[1] - tile.rect[0], tile.rect[3] - tile.rect[2]] for tile in tiles]
        )
        self._wave = 1 / kev_to_nm(photon_energy_kev)
        self._mosaicity, self._bandwidth = mosaicity_mrad * 1e-3, bandwidth
        self._axes_of_cell = cell.reciprocal()
        self._indices = cell.reflections(d_min_nm)
        self._intensity = wilson_intensities(cell, self._indices, b_factor_nm2, molecule)

    def spots(
        self, orientation: np.ndarray, size_nm: float = 500.0, strain: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the spots of a crystal.

        Parameters
        ----------
        orientation : ndarray of float64, shape (3, 3)
            Rotation from the cell's own frame (`UnitCell.reciprocal`) to the laboratory.
        size_nm : float
            Edge of the crystal.
        strain : ndarray of float64, shape (3, 3), optional
            Reciprocal axes in place of the cell's own ones.

        Returns
        -------
        ndarray of SPOT_DTYPE, shape (n,)
            In the order of h, k, l. Weights are relative to each other and to those of other orientations.

        Examples
        --------
        >>> diffraction.spots(random_orientation(rng))["weight"].max()    # doctest: +SKIP
        0.8
        """
        narrow = 1 / (math.sqrt(2 * math.pi) * size_nm)
        axes = self._axes_of_cell if strain is None else strain
        scattered = self._indices @ (axes @ orientation.T)
        length2 = np.einsum("ij,ij->i", scattered, scattered)
        scattered[:, 2] += self._wave
        outgoing = np.linalg.norm(scattered, axis=1)
        excitation = outgoing - self._wave
        # How far one relative step of the photon energy moves the sphere at this reflection.
        lever = self._wave * np.abs(scattered[:, 2] / outgoing - 1)
        width = np.sqrt(narrow**2 + self._mosaicity**2 * length2 + np.square(lever * self._bandwidth))
        found = np.flatnonzero(np.abs(excitation) < REACH * width)
        direction = scattered[found] / outgoing[found, None]
        share = narrow / width[found] * np.exp(-0.5 * np.square(excitation[found] / width[found]))
        weight = self._intensity[found] * share * (1 - np.square(direction[:, 0]))
        return self._on_tiles(self._indices[found], direction, weight, narrow)

    def _on_tiles(
        self, indices: np.ndarray, direction: np.ndarray, weight: np.ndarray, narrow: float
    ) -> np.ndarray:
        along = direction @ self._normal.T  # (spots, tiles)
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.einsum("ij,ij->i", self._corner, self._normal) / along
        within = distance[..., None] * direction[:, None] - self._corner
        pixel = np.einsum("nti,tij->ntj", within, self._to_pixels)
        inside = (distance > 0) & (pixel >= 0).all(axis=2) & (pixel < self._length).all(axis=2)
        spot, tile = np.nonzero(inside)
        spots = np.zeros(len(spot), SPOT_DTYPE)
        spots["h"], spots["k"], spots["l"] = indices[spot].T
        spots["tile"], spots["weight"] = tile, weight[spot]
        spots["ss"], spots["fs"] = (pixel[spot, tile] + self._first[tile] - 0.5).T
        spots["width_ss"], spots["width_fs"] = self._widths(
            direction[spot], distance[spot, tile], tile, narrow
        ).T
        return spots

    def _widths(
        self, direction: np.ndarray, distance: np.ndarray, tile: np.ndarray, narrow: float
    ) -> np.ndarray:
        """Return standard deviations in pixels: of size and mosaicity, and radially of the bandwidth."""
        even = distance * np.hypot(narrow / self._wave, self._mosaicity)
        radial = distance[:, None] * direction * self._bandwidth / direction[:, 2:]
        radial[:, 2] = 0
        step = np.linalg.norm(self._axes[tile], axis=2)
        along = np.einsum("ni,nki->nk", radial, self._axes[tile]) / step
        return np.hypot(even[:, None], along) / step


def deposit(spots: np.ndarray, photons: np.ndarray, image: np.ndarray) -> None:
    """Add the light of spots to an image.

    Parameters
    ----------
    spots : ndarray of SPOT_DTYPE, shape (n,)
    photons : ndarray of float64, shape (n,)
        Of each spot.
    image : ndarray of float, shape (ss, fs)
        The whole slab, or the tiles that the spots lie on with `ss` and `fs` counted from its corner. Light
        beyond its edges is lost.

    Notes
    -----
    Promise: bounded; a pixel gets what a Gaussian of the spot's widths has over it, to 1e-4 of the spot.

    Examples
    --------
    >>> image = np.zeros((9, 9))
    >>> spot = np.zeros(1, SPOT_DTYPE)
    >>> spot["ss"], spot["fs"], spot["width_ss"], spot["width_fs"] = 4, 4, 0.3, 0.3
    >>> deposit(spot, np.array([100.0]), image)
    >>> round(float(image.sum()), 6), round(float(image[4, 4]), 1)
    (100.0, 81.8)
    """
    wide = np.maximum(spots["width_ss"], spots["width_fs"]) > NARROW
    for spot, light in zip(spots[wide], photons[wide], strict=True):
        _deposit_wide(spot, light, image)
    spots, photons = spots[~wide], photons[~wide]
    if not len(spots):
        return
    steps = np.arange(-WINDOW, WINDOW + 1)
    shares, places = [], []
    for axis in ("ss", "fs"):
        first = np.rint(spots[axis]).astype(np.int64)
        edges = (first - spots[axis])[:, None] + np.arange(-WINDOW, WINDOW + 2) - 0.5
        scaled = edges / (np.maximum(spots[f"width_{axis}"], 1e-6) * math.sqrt(2))[:, None]
        shares.append(0.5 * np.diff(_erf(np.clip(scaled, -6, 6)).astype(np.float64), axis=1))
        places.append(first[:, None] + steps)
    light = photons[:, None, None] * shares[0][:, :, None] * shares[1][:, None, :]
    rows, columns = np.broadcast_arrays(places[0][:, :, None], places[1][:, None, :])
    inside = (light > 0) & (rows >= 0) & (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])
    np.add.at(image, (rows[inside], columns[inside]), light[inside].astype(image.dtype))


def _deposit_wide(spot: np.void, light: float, image: np.ndarray) -> None:
    shares, places = [], []
    for axis, length in zip(("ss", "fs"), image.shape, strict=True):
        centre, width = float(spot[axis]), max(float(spot[f"width_{axis}"]), 1e-6)
        reach = width * (WINDOW + 0.5) / NARROW
        first, stop = max(0, round(centre - reach)), min(length, round(centre + reach) + 1)
        if first >= stop:
            return
        scaled = (np.arange(first, stop + 1) - 0.5 - centre) / (width * math.sqrt(2))
        shares.append(0.5 * np.diff(_erf(scaled).astype(np.float64)))
        places.append(slice(first, stop))
    image[tuple(places)] += (light * np.outer(*shares)).astype(image.dtype)
