"""Geometry files of European XFEL detectors that are built of quadrants: tiles in HDF5, quadrants by hand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import BadInput
from .tile import HEXAGON, HEXAGON_ROW, SQUARE, PixelShape, Tile, sense

MM = 1e-3
QUADRANTS = MODULES = 4


@dataclass(frozen=True)
class Layout:
    """How a detector of quadrants is put together.

    Attributes
    ----------
    name : str
    module_shape, tile_shape : (int, int)
        Slow scan and fast scan pixels.
    starts : tuple of (int, int)
        Slow and fast scan index in the module where each tile begins, T01 first.
    pixel_m : (float, float)
        Step along slow and fast scan.
    directions : tuple of (int, int)
        For each quadrant: +1 or -1, whether slow scan grows with y, and fast scan with x.
    anchor : int
        The corner of a tile that positions in the file mean: 0 that of lowest x and y, 1 that of highest.
    pixel : PixelShape
    """

    name: str
    module_shape: tuple[int, int]
    tile_shape: tuple[int, int]
    starts: tuple[tuple[int, int], ...]
    pixel_m: tuple[float, float]
    directions: tuple[tuple[int, int], ...]
    anchor: int
    pixel: PixelShape = SQUARE


# T01 to T08 run down the first half of the columns, T09 to T16 up the second; data start at the lowest row.
LPD_1M = Layout(
    "LPD-1M",
    (256, 256),
    (32, 128),
    (*((row, 0) for row in range(224, -1, -32)), *((row, 128) for row in range(0, 256, 32))),
    (5e-4, 5e-4),
    ((1, 1),) * 4,
    1,
)
DSSC_1M = Layout(
    "DSSC-1M",
    (128, 512),
    (128, 256),
    ((0, 0), (0, 256)),
    (236e-6 * HEXAGON_ROW, 236e-6),
    ((1, -1), (1, -1), (-1, 1), (-1, 1)),
    0,
    HEXAGON,
)


def read_tiles(
    source: Any, layout: Layout, quadrants_mm: Sequence | None, distance_m: float
) -> tuple[list[Tile], tuple[int, int], str, list[str]]:
    """Return the tiles of a geometry file, the shape of the slab, a name and notes.

    Parameters
    ----------
    source : path, h5py.File or h5py.Group
        Holds ``Qn/Mn/Position`` and ``Qn/Mn/Tnn/Position``: x and y in mm.
    layout : Layout
    quadrants_mm : array (4, 2) or None
        x and y of the quadrants in mm; None takes ``Qn/Position`` of the file.
    distance_m : float
        From the sample to the detector.

    Returns
    -------
    tiles : list of Tile
    shape : (int, int)
    name : str
    notes : list of str
        Modules whose place was not measured, which have no tiles; coordinates that were inverted.

    Raises
    ------
    BadInput
        If the file cannot be read or is not of this detector, if quadrant positions are missing or have
        another shape, or if tiles would lie on each other.
    """
    if isinstance(source, h5py.Group):
        return _read(source, str(source.file.filename), layout, quadrants_mm, distance_m)
    if not isinstance(source, str | os.PathLike):
        raise BadInput(
            f"{layout.name} geometry: got {type(source).__name__}; expected the path of a geometry file "
            "(HDF5) or an open h5py.File"
        )
    if not Path(source).is_file():
        raise BadInput(f"{source}: there is no such file; expected a {layout.name} geometry file (HDF5)")
    try:
        file = h5py.File(source, "r")
    except OSError as error:
        raise BadInput(
            f"{source}: not an HDF5 file ({error}); {layout.name} geometry files are HDF5. A CrystFEL "
            ".geom file is read by shotsieve.geometry.Geometry.open"
        ) from error
    with file:
        return _read(file, str(source), layout, quadrants_mm, distance_m)


def _read(
    file: h5py.Group, name: str, layout: Layout, quadrants_mm: Sequence | None, distance_m: float
) -> tuple[list[Tile], tuple[int, int], str, list[str]]:
    _check_kind(file, name, layout)
    quadrants = _own(file, name, layout) if quadrants_mm is None else _given(quadrants_mm, layout)
    rows, columns = layout.tile_shape
    places, inverted, notes = _places(file, name, layout)
    if inverted and quadrants_mm is None:
        raise BadInput(
            f"{name}: coordinates of modules and tiles grow downwards and to the right, so what the "
            "file's own quadrant positions mean is not known; give quadrants_mm"
        )
    rows, columns = layout.tile_shape
    tiles = []
    for (q, m), offsets in places.items():
        ss_vec, fs_vec = _vectors(layout, q)
        # The signs say at which end of a tile the first pixel lies; the anchor, which end is known.
        at_other_end = np.array(layout.directions[q]) == (1 if layout.anchor else -1)
        to_first = at_other_end @ np.array([rows * ss_vec, columns * fs_vec])
        for (ss, fs), offset in zip(layout.starts, offsets, strict=True):
            x, y = (quadrants[q] + offset) * MM
            row = (q * MODULES + m) * layout.module_shape[0] + ss
            corner = np.array([x, y, distance_m]) - to_first
            tiles.append(Tile((row, row + rows, fs, fs + columns), corner, ss_vec, fs_vec, layout.pixel))
    _check_apart(tiles, name, layout)
    shape = QUADRANTS * MODULES * layout.module_shape[0], layout.module_shape[1]
    return tiles, shape, name, notes


def _vectors(layout: Layout, q: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps along slow and fast scan in quadrant `q` in m."""
    up, left = layout.directions[q]
    return np.array([0.0, up * layout.pixel_m[0], 0.0]), np.array([left * layout.pixel_m[1], 0.0, 0.0])


def _places(
    file: h5py.Group, name: str, layout: Layout
) -> tuple[dict[tuple[int, int], np.ndarray], bool, list[str]]:
    """Return x and y in mm of tiles in their quadrant by (quadrant, module); if inverted; notes."""
    places, notes, senses = {}, [], {}
    for q in range(QUADRANTS):
        for m in range(MODULES):
            group = f"Q{q + 1}/M{m + 1}"
            module = _position(file, f"{group}/Position", name)
            names = (f"{group}/T{t + 1:02}/Position" for t in range(len(layout.starts)))
            offsets = np.array([_position(file, each, name) for each in names])
            if np.ptp(offsets, axis=0).max() < 0.5 * layout.pixel_m[1] / MM:
                notes.append(
                    f"{name}: all tiles of {group} are at {offsets[0].tolist()} mm, so its place was not "
                    "measured; its pixels have no position (NaN)"
                )
                continue
            places[q, m] = module + offsets
            vectors = np.array(_vectors(layout, q))[:, :2]
            senses[group] = sense(np.array(layout.starts) @ vectors, offsets)
    if not places:
        raise BadInput(f"{name}: no module has its tiles in different places; expected x and y in mm")
    usual = next(iter(senses.values()))
    odd = [group for group, found in senses.items() if found != usual or not found]
    if odd:
        raise BadInput(
            f"{name}: the tiles of {odd[0]} do not lie in the order of {layout.name}; is the file that of "
            "another detector?"
        )
    if usual < 0:
        notes.append(
            f"{name}: coordinates grow downwards and to the right, as in the first files of European XFEL; "
            "they were inverted"
        )
        places = {key: -value for key, value in places.items()}
    return places, usual < 0, notes


def _check_kind(file: h5py.Group, name: str, layout: Layout) -> None:
    tiles = len(layout.starts)
    for q in range(1, QUADRANTS + 1):
        for m in range(1, MODULES + 1):
            module = file.get(f"Q{q}/M{m}")
            if not isinstance(module, h5py.Group):
                raise BadInput(
                    f"{name}: no group Q{q}/M{m}; a {layout.name} geometry file has Q1 to Q{QUADRANTS} "
                    f"with M1 to M{MODULES} each. Is it a geometry file?"
                )
            found = sum(key.startswith("T") and key[1:].isdigit() for key in module)
            if found != tiles:
                raise BadInput(
                    f"{name}: Q{q}/M{m} has {found} tiles; {layout.name} has {tiles} in a module. Is the "
                    "file that of another detector?"
                )


def _position(file: h5py.Group, path: str, name: str) -> np.ndarray:
    data = file.get(path)
    if not isinstance(data, h5py.Dataset):
        raise BadInput(f"{name}: no dataset {path}; expected x and y in mm")
    if data.dtype.kind not in "fiu" or data.shape not in ((2,), (3,)):
        raise BadInput(
            f"{name}: {path} is {data.dtype} {data.shape}; expected x and y in mm, numbers of shape (2,)"
        )
    value = data[()].astype("f8")
    if not np.isfinite(value).all():
        raise BadInput(f"{name}: {path} = {value.tolist()}; expected finite numbers, x and y in mm")
    if value[2:].any():
        raise BadInput(
            f"{name}: {path} has z = {value[2]:g}; such files hold x and y only, so what z means is not "
            "known. Convert the file to .geom with coffset instead"
        )
    return value[:2]


def _own(file: h5py.Group, name: str, layout: Layout) -> np.ndarray:
    if not all(f"Q{q}/Position" in file for q in range(1, QUADRANTS + 1)):
        raise BadInput(
            f"{name}: the file has no quadrant positions (Q1/Position ...); give quadrants_mm, x and y "
            f"of the four quadrants of {layout.name} in mm"
        )
    return np.array([_position(file, f"Q{q}/Position", name) for q in range(1, QUADRANTS + 1)])


def _given(quadrants_mm: Sequence, layout: Layout) -> np.ndarray:
    what = f"quadrants_mm: {layout.name} needs x and y of {QUADRANTS} quadrants in mm, shape ({QUADRANTS}, 2)"
    try:
        value = np.asarray(quadrants_mm, "f8")
    except (TypeError, ValueError) as error:
        raise BadInput(f"{what}; got {quadrants_mm!r}") from error
    if value.shape != (QUADRANTS, 2):
        raise BadInput(f"{what}; got shape {value.shape}")
    if not np.isfinite(value).all():
        raise BadInput(f"{what}; got {value.tolist()}, which are not all finite")
    return value


def _check_apart(tiles: list[Tile], name: str, layout: Layout) -> None:
    """Refuse tiles that cover more than half of each other: positions in another unit do that."""
    corners = np.array([tile.outline()[:, :2] for tile in tiles])
    low, high = corners.min(axis=1), corners.max(axis=1)
    shared = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    covered = (shared > 0.5 * (high - low)).all(axis=-1) & ~np.eye(len(tiles), dtype=bool)
    if covered.any():
        one, other = np.argwhere(covered)[0]

        def label(n: int) -> str:
            module, row = divmod(tiles[n].rect[0], layout.module_shape[0])
            t = layout.starts.index((row, tiles[n].rect[2]))
            return f"Q{module // MODULES + 1}/M{module % MODULES + 1}/T{t + 1:02}"

        raise BadInput(
            f"{name}: tiles {label(one)} and {label(other)} would lie on each other; are the quadrant "
            f"positions in mm, in the order Q1 to Q{QUADRANTS}?"
        )
