"""Where the pixels are, as NeXus says it: a group for every panel, and translations that lead to it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import h5py

    from ..geometry import Geometry


def write_panels(detector: h5py.Group, geometry: Geometry, modules: Sequence[int], distance_m: float) -> None:
    """Write an NXdetector_module for every panel of a geometry. Promise: bounded; within 1e-12 m.

    Axes are those of NeXus (McStas), which are CrystFEL's: z along the beam, y up, x to the left when looking
    along the beam. The chain of a panel is three translations: detector distance, centre of the module, outer
    corner of the panel's first pixel. Pixel (ss, fs) of a panel has its centre at
    ``chain + (ss + 0.5) * slow + (fs + 0.5) * fast``.

    Parameters
    ----------
    detector : h5py.Group
        The NXdetector.
    geometry : Geometry
    modules : sequence of int
        Number of the module at each place of the geometry.
    distance_m : float
        From the sample to z = 0 of the geometry.

    Examples
    --------
    >>> write_panels(group, geometry, range(16), 0.2)    # doctest: +SKIP
    """
    chain = detector.create_group("transformations")
    chain.attrs["NX_class"] = "NXtransformations"
    distance = _translation(chain, "distance", np.array([0.0, 0.0, distance_m]), ".")
    detector["depends_on"] = distance
    centres, paths = {}, {}
    for place in sorted({panel.module for panel in geometry.panels}):
        corners = np.concatenate([_corners(panel) for panel in geometry.panels if panel.module == place])
        centres[place] = corners.mean(axis=0)
        paths[place] = _translation(chain, f"module_{modules[place]:02d}", centres[place], distance)
    for panel, name in zip(geometry.panels, _names(geometry), strict=True):
        offset = panel.corner - centres[panel.module]
        end = _translation(chain, name, offset, paths[panel.module])
        group = detector.create_group(name)
        group.attrs["NX_class"] = "NXdetector_module"
        ss_start, ss_stop, fs_start, fs_stop = panel.rect
        group["data_origin"] = np.array([ss_start, fs_start], "i4")
        group["data_size"] = np.array([ss_stop - ss_start, fs_stop - fs_start], "i4")
        for direction, step in (("fast", panel.fs_vec), ("slow", panel.ss_vec)):
            _translation(group, f"{direction}_pixel_direction", step, end)


def _translation(group: h5py.Group, name: str, by: np.ndarray, depends_on: str) -> str:
    """Write a translation and return its path."""
    length = float(np.sqrt((by * by).sum()))
    made = group.create_dataset(name, data=np.array([length]))
    made.attrs["units"] = "m"
    made.attrs["transformation_type"] = "translation"
    made.attrs["vector"] = by / length if length > 0 else np.array([0.0, 0.0, 1.0])
    # Readers ask for it, although it is zero: everything stands in value and vector.
    made.attrs["offset"] = np.zeros(3)
    made.attrs["offset_units"] = "m"
    made.attrs["depends_on"] = depends_on
    return made.name


def _corners(panel) -> np.ndarray:
    rows, columns = panel.shape
    ends = np.array([(0, 0), (rows, 0), (0, columns), (rows, columns)], float)
    return panel.corner + ends @ np.stack([panel.ss_vec, panel.fs_vec])


def _names(geometry: Geometry) -> list[str]:
    """Return a name for each panel: its own, where NeXus allows all of them."""
    own = [panel.name for panel in geometry.panels]
    if all(re.fullmatch(r"\w+", name, re.ASCII) for name in own):
        return [f"panel_{name}" for name in own]
    return [f"panel_{number:04d}" for number in range(len(own))]
