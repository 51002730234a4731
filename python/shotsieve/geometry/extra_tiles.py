"""Tiles of EXtra-geom's objects, hexagonal ones too, by what they offer in public; nothing is imported."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import BadInput
from .tile import HEXAGON, HEXAGON_ROW, SQUARE, Tile, sense

SHAPES = ((SQUARE, (1.0, 1.0)), (HEXAGON, (HEXAGON_ROW, 1.0)))
PITCH_TOLERANCE = 0.02
POSITION_TOLERANCE_M = 1e-9


def read_tiles(geometry: Any) -> tuple[list[Tile], tuple[int, int], str, list[str]]:
    """Return the tiles of a geometry object of EXtra-geom, z without the distance.

    Parameters
    ----------
    geometry : object of a class of extra_geom

    Returns
    -------
    tiles : list of Tile
    shape : (int, int)
        Of the slab: modules below one another.
    name : str
    notes : list of str
        Modules whose place is not known, which have no tiles.

    Raises
    ------
    BadInput
        If it is none, if positions are not finite, if the step between pixels is not the detector's, if tiles
        lie in another order than in the data, or if pixels are neither squares nor hexagons on a grid.
    """
    if not (hasattr(geometry, "modules") and hasattr(geometry, "get_pixel_positions")):
        raise BadInput(
            f"geometry: got {type(geometry).__name__}; expected an object of a geometry class of EXtra-geom"
        )
    name = f"EXtra-geom {type(geometry).__name__}"
    ss_size, fs_size = (int(n) for n in geometry.expected_data_shape[-2:])
    shape = len(geometry.modules) * ss_size, fs_size
    number = np.arange(ss_size * fs_size).reshape(ss_size, fs_size)
    starts = [divmod(int(part.flat[0]), fs_size) for part in geometry.split_tiles(number)]
    centres = np.asarray(geometry.get_pixel_positions(), "f8").reshape(*shape, 3)
    if not np.isfinite(centres).all():
        bad = np.count_nonzero(~np.isfinite(centres).all(axis=-1))
        raise BadInput(
            f"{name}: {bad} pixels have no finite position. EXtra-geom reads keys of .geom files without "
            "spaces around '=' as NaN; open the file with shotsieve.geometry.Geometry.open instead"
        )
    grids = [
        (m * ss_size + starts[t][0], starts[t][1], tile)
        for m, tiles in enumerate(geometry.modules)
        for t, tile in enumerate(tiles)
    ]
    for pixel, pitch in SHAPES:
        tiles = [
            Tile(
                (ss, ss + int(tile.ss_pixels), fs, fs + int(tile.fs_pixels)),
                *(np.asarray(v, "f8") for v in (tile.corner_pos, tile.ss_vec, tile.fs_vec)),
                pixel,
            )
            for ss, fs, tile in grids
        ]
        if all(_fits(tile, centres) for tile in tiles):
            _check_pitch(tiles, float(geometry.pixel_size), pitch, name)
            kept, notes = _measured(tiles, ss_size, name)
            return kept, shape, name, notes
    raise BadInput(
        f"{name}: its pixels are neither squares nor hexagons on regular grids; hand its corners to "
        "PixelMap.from_pyfai as a pyFAI detector instead"
    )


def _fits(tile: Tile, centres: np.ndarray) -> bool:
    ss_start, ss_stop, fs_start, fs_stop = tile.rect
    theirs = centres[ss_start:ss_stop, fs_start:fs_stop]
    return bool(np.abs(tile.centres() - theirs).max() <= POSITION_TOLERANCE_M)


def _check_pitch(tiles: list[Tile], pixel_size: float, pitch: tuple[float, float], name: str) -> None:
    for tile in tiles:
        for vector, step, axis in zip((tile.ss_vec, tile.fs_vec), pitch, ("slow", "fast"), strict=True):
            found, wanted = np.linalg.norm(vector), step * pixel_size
            if abs(found - wanted) > PITCH_TOLERANCE * wanted:
                raise BadInput(
                    f"{name}: pixels are {found * 1e6:.1f} um apart along the {axis} scan; those of the "
                    f"detector are {wanted * 1e6:.1f} um. AGIPD_1MGeometry.from_quad_positions(unit=...) "
                    "does that: give it quadrant positions in pixels and no unit"
                )


def _measured(tiles: list[Tile], module_rows: int, name: str) -> tuple[list[Tile], list[str]]:
    """Return the tiles of modules whose place is known, and notes of the others."""
    modules: dict[int, list[Tile]] = {}
    for tile in tiles:
        modules.setdefault(tile.rect[0] // module_rows, []).append(tile)
    kept, notes = [], []
    for number, own in modules.items():
        corners = np.array([tile.corner for tile in own])
        if len(own) > 1 and np.ptp(corners, axis=0).max() < 0.5 * np.linalg.norm(own[0].fs_vec):
            notes.append(
                f"{name}: all tiles of module {number} are in one place, so it was not measured; its pixels "
                "have no position (NaN)"
            )
            continue
        first = own[0]
        expected = np.array([t.rect[0] * first.ss_vec + t.rect[2] * first.fs_vec for t in own])
        if sense(expected, corners) != 1:
            raise BadInput(
                f"{name}: the tiles of module {number} lie in another order than their rows and columns. "
                "EXtra-geom does not see that the coordinates of early LPD files (lpd_mar_18.h5) grow "
                "downwards; read the file with PixelMap.lpd, or convert it with invert_xfel_lpd_geom "
                "first"
            )
        kept += own
    if not kept:
        raise BadInput(f"{name}: no module has its tiles in different places")
    return kept, notes
