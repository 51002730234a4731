"""Where shots come from: EuXFEL run folders, arrays in memory, simulation."""

from .base import OperatingMode, RunMeta, ShotList, ShotStatus, Source, TrainList, cut_ranges
from .memory import MemorySource
from .run import open_run

__all__ = [
    "MemorySource",
    "OperatingMode",
    "RunMeta",
    "ShotList",
    "ShotStatus",
    "Source",
    "TrainList",
    "cut_ranges",
    "open_run",
]
