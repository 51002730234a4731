"""Pixels in the laboratory, and what angles and corrections follow from where they are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import BadInput
from ..units import check_photon_energy
from . import extra_tiles, poni, pyfai, quadrants
from .geometry import Geometry
from .pixel_angles import AngleMaps
from .tile import LoosePixels, Tile

FARTHEST_M = 100.0


@dataclass(frozen=True, eq=False)
class PixelMap(AngleMaps):
    """Where every pixel of a detector is in the laboratory, whatever described it.

    Axes are CrystFEL's: the sample is the origin, z runs along the beam, y up, x to the left when looking
    along the beam. From PONI files and pyFAI, y is its axis 1 and x its axis 2, so that chi is pyFAI's;
    whether x is then to the left or to the right is up to who calibrated. All maps are float64; pixels that
    belong to no tile are NaN.

    Make one with `from_geometry`, `from_extra_geom`, `lpd`, `dssc`, `from_poni` or `from_pyfai`.

    Attributes
    ----------
    tiles : tuple of Tile or LoosePixels
    shape : (int, int)
        Rows and columns of the slab: modules below one another.
    distance_m : float
        From the sample to z = 0 of the detector's own frame.
    photon_energy_kev : float or None
        What the source said; used where a method is given none.
    name : str
        Where it comes from.
    notes : list of str
        What was passed over or assumed.

    Notes
    -----
    Promise: bounded; positions within 1e-12 m of exact arithmetic for tiles. What pyFAI hands over as corners
    has its rounding to float32: positions to 1e-7 of the detector's size, solid angles in sr to 1e-3.

    Examples
    --------
    >>> from shotsieve.geometry import Geometry, PixelMap
    >>> pixels = PixelMap.from_geometry(Geometry.open("agipd.geom"), 0.2)    # doctest: +SKIP
    >>> q = pixels.q(9.3)    # doctest: +SKIP
    """

    tiles: tuple[Tile | LoosePixels, ...]
    shape: tuple[int, int]
    distance_m: float
    photon_energy_kev: float | None = None
    name: str = "pixel map"
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tiles", tuple(self.tiles))
        if not self.tiles:
            raise BadInput(f"{self.name}: no tile; expected at least one")
        if len({tile.n_corners for tile in self.tiles}) > 1:
            raise BadInput(f"{self.name}: tiles with square and with hexagonal pixels; expected one kind")
        seen = np.zeros(self.shape, bool)
        for number, tile in enumerate(self.tiles):
            ss_start, ss_stop, fs_start, fs_stop = tile.rect
            inside = 0 <= ss_start < ss_stop <= self.shape[0] and 0 <= fs_start < fs_stop <= self.shape[1]
            part = seen[ss_start:ss_stop, fs_start:fs_stop]
            if not inside or part.any():
                raise BadInput(
                    f"{self.name}: tile {number} at {list(tile.rect)} [ss_start, ss_stop, fs_start, fs_stop] "
                    f"leaves the slab of {self.shape[0]} x {self.shape[1]} pixels or lies on another"
                )
            part[...] = True
            if not all(np.isfinite(value).all() for value in tile.values()):
                raise BadInput(
                    f"{self.name}: tile {number} at {list(tile.rect)} has positions that are not finite"
                )

    @classmethod
    def from_geometry(
        cls, geometry: Geometry | str | os.PathLike, distance_m: float | None = None
    ) -> PixelMap:
        """Take the pixels of a CrystFEL geometry.

        Parameters
        ----------
        geometry : Geometry or path of a .geom file
        distance_m : float or None
            From the sample to z = 0 of the geometry, in m; None is its `clen_m`.

        Returns
        -------
        PixelMap

        Raises
        ------
        BadInput
            If the distance is not known or not above 0, or a panel then lies at or before the sample.

        Examples
        --------
        >>> PixelMap.from_geometry(geometry, 0.2).shape    # doctest: +SKIP
        (8192, 128)
        """
        if not isinstance(geometry, Geometry):
            if not isinstance(geometry, str | os.PathLike):
                raise BadInput(
                    f"geometry: got {type(geometry).__name__}; expected a shotsieve.geometry.Geometry or the "
                    "path of a .geom file (PixelMap.from_extra_geom takes EXtra-geom's objects, "
                    "from_pyfai pyFAI's)"
                )
            geometry = Geometry.open(geometry)
        tiles = [Tile(p.rect, p.corner, p.ss_vec, p.fs_vec) for p in geometry.panels]
        why = "leaves it to the data files" if geometry.clen_source else "does not have it"
        distance = _distance(distance_m, geometry.clen_m, f"{geometry.name} {why}")
        notes = list(geometry.notes)
        if any(geometry.detector_shift):
            notes.append(f"{geometry.name}: the detector_shift that stands in the data files is not applied")
        return cls._at(tiles, geometry.shape, distance, geometry.photon_energy_kev, geometry.name, notes)

    @classmethod
    def from_extra_geom(cls, geometry: Any, distance_m: float | None = None) -> PixelMap:
        """Take the pixels of a geometry object of EXtra-geom, hexagonal ones too.

        Parameters
        ----------
        geometry : object of a class of extra_geom
        distance_m : float or None
            From the sample to z = 0 of the object, in m; None is the camera length of the .geom file it was
            read from.

        Returns
        -------
        PixelMap

        Raises
        ------
        BadInput
            If it is no such object, the step between its pixels is not that of its detector, positions are
            not finite, tiles lie in another order than in the data, or as in `from_geometry`.

        Examples
        --------
        >>> PixelMap.from_extra_geom(extra_geom.DSSC_1MGeometry.example(), 1.0).n_corners    # doctest: +SKIP
        6
        """
        tiles, shape, name, notes = extra_tiles.read_tiles(geometry)
        meta = (getattr(geometry, "metadata", None) or {}).get("crystfel", {})
        # EXtra-geom has -1 and 0 where it could not read them.
        clen, energy = (
            float(v) if isinstance(v, int | float) and v > 0 else None
            for v in (meta.get("clen"), meta.get("photon_energy"))
        )
        distance = _distance(distance_m, clen, f"{name} does not have it")
        energy = (
            None if energy is None else check_photon_energy(energy / 1000, option=f"{name}: photon_energy")
        )
        return cls._at(tiles, shape, distance, energy, name, notes)

    @classmethod
    def lpd(cls, file: Any, quadrants_mm: Sequence | None, distance_m: float) -> PixelMap:
        """Read an LPD-1M geometry file.

        Parameters
        ----------
        file : path or h5py.File
            Modules and tiles, x and y in mm.
        quadrants_mm : array (4, 2) or None
            x and y in mm of the corner of each quadrant next to its fourth module (highest x and y); None
            takes those of the file.
        distance_m : float
            From the sample to the detector, in m.

        Returns
        -------
        PixelMap
            Modules that were not measured (all tiles in one place) have no tiles: NaN. Coordinates of early
            files, which grow downwards and to the right, are inverted. `notes` says both.

        Raises
        ------
        BadInput
            If the file is not one of LPD-1M, quadrant positions are missing, misshapen or lay tiles on each
            other, or the distance is not above 0.

        Examples
        --------
        >>> corners = [(11.4, 299), (-11.5, 8), (254.5, -16), (278.5, 275)]
        >>> PixelMap.lpd("lpd.h5", corners, 0.3).shape    # doctest: +SKIP
        (4096, 256)
        """
        return cls._quadrants(file, quadrants.LPD_1M, quadrants_mm, distance_m)

    @classmethod
    def dssc(cls, file: Any, quadrants_mm: Sequence | None, distance_m: float) -> PixelMap:
        """Read a DSSC-1M geometry file; its pixels are hexagons.

        Parameters
        ----------
        file : path or h5py.File
            Modules and tiles, x and y in mm.
        quadrants_mm : array (4, 2) or None
            x and y in mm of the corner of each quadrant with the lowest x and y; None takes those of the
            file.
        distance_m : float
            From the sample to the detector, in m.

        Returns
        -------
        PixelMap

        Raises
        ------
        BadInput
            As `lpd`.

        Examples
        --------
        >>> corners = [(-124.1, 3.1), (-133.1, -110.6), (1.0, -125.2), (4.5, -4.9)]
        >>> PixelMap.dssc("dssc.h5", corners, 1.0).shape    # doctest: +SKIP
        (2048, 512)
        """
        return cls._quadrants(file, quadrants.DSSC_1M, quadrants_mm, distance_m)

    @classmethod
    def _quadrants(cls, file: Any, layout: quadrants.Layout, positions: Any, distance_m: float) -> PixelMap:
        distance = _distance(distance_m, None, f"{layout.name} geometry files do not have it")
        tiles, shape, name, notes = quadrants.read_tiles(file, layout, positions, distance)
        return cls(tuple(tiles), shape, distance, None, name, notes)

    @classmethod
    def from_poni(
        cls, source: str | os.PathLike, *, shape: tuple[int, int] | None = None, geometry: Any = None
    ) -> PixelMap:
        """Read a PONI file of pyFAI, version 1, 2, 2.1 or 3.

        Parameters
        ----------
        source : path or str
            A file, or its text (more than one line).
        shape : (int, int) or None
            Rows and columns, where the file does not say them.
        geometry : Geometry, EXtra-geom object or None
            The detector that was calibrated, instead of the one that the file names. It stands in the file's
            frame as EXtra-geom's ``to_pyfai_detector`` puts it there: its own origin is that of poni1 and
            poni2.

        Returns
        -------
        PixelMap

        Raises
        ------
        BadInput
            If the file is not right, shape or pixel size are missing, parallax correction is asked for, or
            the file names a detector that only pyFAI knows, which is not installed.

        Examples
        --------
        >>> PixelMap.from_poni("agbh.poni", shape=(195, 487)).photon_energy_kev    # doctest: +SKIP
        9.958
        """
        place = poni.read_poni(source)
        if geometry is not None:
            tiles, own_shape, notes = _own_frame(geometry)
            shape = poni.checked_shape(shape, own_shape, place.name)
            place.notes.extend(notes)
        else:
            piece = poni.plain_detector(place, shape)
            if piece is None:
                piece = pyfai.detector_piece(pyfai.named_detector(place), shape)
            tiles, shape = [piece], (piece.rect[1], piece.rect[3])
        return cls._placed(tiles, shape, place)

    @classmethod
    def from_pyfai(
        cls, source: Any, distance_m: float | None = None, *, shape: tuple[int, int] | None = None
    ) -> PixelMap:
        """Take the pixels of a detector or an integrator of pyFAI.

        Parameters
        ----------
        source : pyFAI detector, AzimuthalIntegrator or other geometry
            Its mask is not taken.
        distance_m : float or None
            For a detector, which has none of its own: from the sample to the detector, which then stands
            upright with its origin in the beam. Not for an integrator.
        shape : (int, int) or None
            Rows and columns, where the detector does not say them.

        Returns
        -------
        PixelMap

        Raises
        ------
        BadInput
            If it is neither, its pixels or its distance are not known, or parallax correction is on.

        Examples
        --------
        >>> PixelMap.from_pyfai(pyFAI.load("agbh.poni")).chi()    # doctest: +SKIP
        """
        if hasattr(source, "detector") and hasattr(source, "poni1"):
            if distance_m is not None:
                raise BadInput(
                    f"distance_m = {distance_m}: {type(source).__name__} has its own; leave it out"
                )
            place, detector = pyfai.integrator_poni(source), source.detector
        else:
            name = f"pyFAI {type(source).__name__}"
            distance = _distance(distance_m, None, f"{name} does not have it")
            place, detector = poni.Poni(distance, 0, 0, 0, 0, 0, name=name), source
        piece = pyfai.detector_piece(detector, shape)
        if piece.n_corners != 4:
            place.notes.append(
                f"{place.name}: centres are those of the hexagons; pyFAI takes the mean of four of the "
                "six corners"
            )
        return cls._placed([piece], (piece.rect[1], piece.rect[3]), place)

    @classmethod
    def _placed(cls, tiles: Iterable, shape: tuple[int, int], place: poni.Poni) -> PixelMap:
        matrix, shift = place.frame()
        moved = tuple(tile.moved(matrix, shift) for tile in tiles)
        return cls(moved, shape, place.distance_m, place.photon_energy_kev, place.name, list(place.notes))

    @classmethod
    def _at(
        cls, tiles: list, shape: tuple, distance: float, energy: float | None, name: str, notes: Iterable = ()
    ) -> PixelMap:
        moved = tuple(tile.moved(np.eye(3), np.array([0, 0, distance])) for tile in tiles)
        nearest_z = min(float(tile.outline()[:, 2].min()) for tile in moved)
        if nearest_z <= 0:
            raise BadInput(
                f"{name}: at distance_m = {distance:g} m a panel lies at z = {nearest_z:g} m, at or "
                "before the sample; distance_m counts to z = 0 of the geometry, the panels' coffset "
                "comes on top"
            )
        return cls(moved, shape, distance, energy, name, list(notes))


def _own_frame(geometry: Any) -> tuple[list[Tile], tuple[int, int], list[str]]:
    """Return the tiles of a geometry without a distance, the shape of the slab and notes."""
    if isinstance(geometry, Geometry):
        tiles = [Tile(p.rect, p.corner, p.ss_vec, p.fs_vec) for p in geometry.panels]
        return tiles, geometry.shape, list(geometry.notes)
    tiles, shape, _, notes = extra_tiles.read_tiles(geometry)
    return tiles, shape, notes


def _distance(given: Any, known: float | None, otherwise: str) -> float:
    if given is None:
        if known is None:
            raise BadInput(f"distance_m is not given, and {otherwise}; give it, in m from the sample")
        given = known
    try:
        value = float(given)
    except (TypeError, ValueError):
        raise BadInput(f"distance_m = {given!r}; expected a number, in m from the sample") from None
    if not 0 < value <= FARTHEST_M:
        hint = " Was it meant in mm?" if value > FARTHEST_M else ""
        raise BadInput(
            f"distance_m = {value:g}: expected a distance above 0 and up to {FARTHEST_M:g} m.{hint}"
        )
    return value
