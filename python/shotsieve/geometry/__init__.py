"""Where the pixels of a detector are: CrystFEL geometry files, read and written, and EXtra-geom's objects.

Promise: bounded; positions are within 1e-12 m of exact arithmetic, and what is written reads back equal.
"""

from __future__ import annotations

from .geometry import Geometry
from .keys import FileValue
from .panel import BadRegion, Mask, Panel, PanelOptions

__all__ = ["BadRegion", "FileValue", "Geometry", "Mask", "Panel", "PanelOptions"]
