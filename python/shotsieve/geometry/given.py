"""One way in for everything that describes where pixels are."""

from __future__ import annotations

import os
from typing import Any

from ..errors import BadInput
from .geometry import Geometry
from .pixel_map import PixelMap


def pixel_map_of(geometry: Any, distance_m: float | None = None) -> PixelMap:
    """Return the pixels of whatever describes them.

    Parameters
    ----------
    geometry : PixelMap, Geometry, EXtra-geom object, pyFAI integrator or detector, or path
        Of a .geom or a PONI file.
    distance_m : float or None
        Where the geometry does not have it.

    Raises
    ------
    BadInput
        If it is none of these, or the distance is not known.
    """
    if isinstance(geometry, PixelMap):
        if distance_m is not None:
            raise BadInput("a PixelMap has its distance: leave distance_m out")
        return geometry
    if isinstance(geometry, (str, os.PathLike)):
        if os.fspath(geometry).lower().endswith(".poni"):
            return PixelMap.from_poni(geometry)
        return PixelMap.from_geometry(geometry, distance_m)
    if isinstance(geometry, Geometry):
        return PixelMap.from_geometry(geometry, distance_m)
    origins = {base.__module__.partition(".")[0] for base in type(geometry).__mro__}
    if "pyFAI" in origins:  # first: EXtra-geom's detectors for pyFAI are of both
        return PixelMap.from_pyfai(geometry, distance_m)
    if "extra_geom" in origins:
        return PixelMap.from_extra_geom(geometry, distance_m)
    raise BadInput(
        f"geometry is a {type(geometry).__name__}: expected a PixelMap, a Geometry, an EXtra-geom object, a "
        "pyFAI integrator, or the path of a .geom or PONI file"
    )
