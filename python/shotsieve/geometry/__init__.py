"""Where the pixels of a detector are: geometry files, objects of EXtra-geom and pyFAI, and what follows.

Promise: bounded; positions are within 1e-12 m of exact arithmetic, and what is written reads back equal.
"""

from __future__ import annotations

from .geometry import Geometry
from .keys import FileValue
from .panel import BadRegion, Mask, Panel, PanelOptions
from .pixel_map import PixelMap

__all__ = ["BadRegion", "FileValue", "Geometry", "Mask", "Panel", "PanelOptions", "PixelMap"]
