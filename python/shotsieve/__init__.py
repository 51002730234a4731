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
    from .calibrated_frames import CalibratedFrames
    from .calibrator import Calibrator, calibrate_frames
    from .compare import RunComparison, compare_runs
    from .constants.container import Constants
    from .engine import Result, reduce
    from .engine.embed import Block, BlockResult, Engine, UserStage
    from .measure.azint import AzintResult
    from .measure.correlation_bins import CorrelationBins, correlation_bins
    from .measure.correlation_lags import Correlation
    from .measure.integrator import AzimuthalIntegrator
    from .measure.multitau import LagScheme, g2, multitau
    from .measure.peak_finder import Peaks
    from .measure.peakfinder8 import peakfinder8
    from .measure.peaks import PeakParams, PeakPlan
    from .measure.roi import RegionSums, RoiResult
    from .measure.scores import SpiResult, SpiScores, likelihood_map
    from .measure.two_time import TwoTime, two_time
    from .measure.xcca import AngularCorrelator, XccaResult, xcca
    from .peak_list import PeakList
    from .photon_list import PhotonList
    from .photon_list_io import PhotonLists
    from .recipe import Recipe
    from .report.reduced import Reduced
    from .sources.corrected import pack_corrected
    from .sources.run import open_run
    from .surveys import Survey, survey
    from .table import Table
    from .xcca_file import open_xcca
    from .xpcs_file import open_xpcs
    from .xpcs_fit import fit_g2

__all__ = [
    "AngularCorrelator",
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
    "Correlation",
    "CorrelationBins",
    "Engine",
    "LagScheme",
    "OutputError",
    "PeakList",
    "PeakParams",
    "PeakPlan",
    "Peaks",
    "PhotonList",
    "PhotonLists",
    "Recipe",
    "Reduced",
    "RegionSums",
    "Result",
    "RoiResult",
    "RunComparison",
    "ShotsieveError",
    "SpiResult",
    "SpiScores",
    "Survey",
    "Table",
    "TwoTime",
    "UnreadableData",
    "UserStage",
    "XccaResult",
    "__version__",
    "backends",
    "calibrate_frames",
    "compare_runs",
    "correlation_bins",
    "fit_g2",
    "g2",
    "likelihood_map",
    "multitau",
    "open_run",
    "open_xcca",
    "open_xpcs",
    "pack_corrected",
    "peakfinder8",
    "plot",
    "reduce",
    "survey",
    "two_time",
    "write_report",
    "xcca",
]

# Loaded on first use, so that importing the package stays quick.
_LAZY = {
    "CalibratedFrames": "calibrated_frames",
    "Calibrator": "calibrator",
    "calibrate_frames": "calibrator",
    "Block": "engine.embed",
    "BlockResult": "engine.embed",
    "Engine": "engine.embed",
    "UserStage": "engine.embed",
    "RegionSums": "measure.roi",
    "RoiResult": "measure.roi",
    "SpiResult": "measure.scores",
    "SpiScores": "measure.scores",
    "likelihood_map": "measure.scores",
    "AzimuthalIntegrator": "measure.integrator",
    "AzintResult": "measure.azint",
    "AngularCorrelator": "measure.xcca",
    "XccaResult": "measure.xcca",
    "xcca": "measure.xcca",
    "open_xcca": "xcca_file",
    "open_xpcs": "xpcs_file",
    "fit_g2": "xpcs_fit",
    "Constants": "constants.container",
    "Correlation": "measure.correlation_lags",
    "CorrelationBins": "measure.correlation_bins",
    "correlation_bins": "measure.correlation_bins",
    "LagScheme": "measure.multitau",
    "g2": "measure.multitau",
    "multitau": "measure.multitau",
    "TwoTime": "measure.two_time",
    "two_time": "measure.two_time",
    "RunComparison": "compare",
    "compare_runs": "compare",
    "Recipe": "recipe",
    "Reduced": "report.reduced",
    "Result": "engine",
    "Table": "table",
    "PeakList": "peak_list",
    "PeakParams": "measure.peaks",
    "PeakPlan": "measure.peaks",
    "Peaks": "measure.peak_finder",
    "PhotonList": "photon_list",
    "PhotonLists": "photon_list_io",
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
