"""shotsieve: GPU-first reduction of European XFEL detector runs.

>>> import shotsieve
>>> shotsieve.backends()[0].name
'cpu'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__
from .backend import BackendStatus
from .backend import describe as backends
from .errors import BackendUnavailable, BadInput, OutputError, ShotsieveError, UnreadableData

if TYPE_CHECKING:
    from .calibrator import CalibratedFrames, Calibrator, calibrate_frames
    from .compare import RunComparison, compare_runs
    from .constants.container import Constants
    from .engine import Result, reduce
    from .engine.embed import Block, BlockResult, Engine, UserStage
    from .measure.azint import AzintResult
    from .measure.integrator import AzimuthalIntegrator
    from .measure.peak_finder import Peaks
    from .measure.peakfinder8 import peakfinder8
    from .measure.peaks import PeakParams, PeakPlan
    from .measure.roi import RegionSums, RoiResult
    from .peak_list import PeakList
    from .recipe import Recipe
    from .sources.corrected import pack_corrected
    from .sources.run import open_run
    from .surveys import Survey, survey
    from .table import Table

__all__ = [
    "AzimuthalIntegrator",
    "AzintResult",
    "BackendStatus",
    "BackendUnavailable",
    "BadInput",
    "Block",
    "BlockResult",
    "CalibratedFrames",
    "Calibrator",
    "Constants",
    "Engine",
    "OutputError",
    "PeakList",
    "PeakParams",
    "PeakPlan",
    "Peaks",
    "Recipe",
    "RegionSums",
    "Result",
    "RoiResult",
    "RunComparison",
    "ShotsieveError",
    "Survey",
    "Table",
    "UnreadableData",
    "UserStage",
    "__version__",
    "backends",
    "calibrate_frames",
    "compare_runs",
    "open_run",
    "pack_corrected",
    "peakfinder8",
    "plot",
    "reduce",
    "survey",
    "write_report",
]

# Loaded on first use, so that importing the package stays quick.
_LAZY = {
    "CalibratedFrames": "calibrator",
    "Calibrator": "calibrator",
    "calibrate_frames": "calibrator",
    "Block": "engine.embed",
    "BlockResult": "engine.embed",
    "Engine": "engine.embed",
    "UserStage": "engine.embed",
    "RegionSums": "measure.roi",
    "RoiResult": "measure.roi",
    "AzimuthalIntegrator": "measure.integrator",
    "AzintResult": "measure.azint",
    "Constants": "constants.container",
    "RunComparison": "compare",
    "compare_runs": "compare",
    "Recipe": "recipe",
    "Result": "engine",
    "Table": "table",
    "PeakList": "peak_list",
    "PeakParams": "measure.peaks",
    "PeakPlan": "measure.peaks",
    "Peaks": "measure.peak_finder",
    "open_run": "sources.run",
    "pack_corrected": "sources.corrected",
    "peakfinder8": "measure.peakfinder8",
    "reduce": "engine",
    "Survey": "surveys",
    "survey": "surveys",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY and name != "plot":
        raise AttributeError(f"module 'shotsieve' has no attribute '{name}'")
    from importlib import import_module

    if name == "plot":
        return import_module(".plot", __name__)
    value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
