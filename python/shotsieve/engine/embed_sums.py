"""What an engine has summed over all shots so far, for those who embed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from .angular import AngularJob
from .averages import AverageJob
from .profiles import ProfileJob

if TYPE_CHECKING:
    from ..measure.average import Average
    from ..measure.frame_stats import FrameStats
    from ..measure.xcca import XccaResult
    from .stream import StreamRunner


class EngineSums:
    """The part of an `Engine` that answers for sums over shots."""

    _runner: StreamRunner | None

    def profile(self) -> Average:
        """Return the mean profile of all shots so far; the recipe has [measure.azint].

        Returns
        -------
        Average
            ``intensity``, ``errors``, ``spread`` and ``shots``, each (bins,).
        """
        return self._part(ProfileJob, "measure.azint").average.result()

    def frame_statistics(self) -> FrameStats:
        """Return the statistics of every pixel so far; the recipe has [measure.average]."""
        return self._part(AverageJob, "measure.average").frames.result()

    def angular_correlation(self) -> XccaResult:
        """Return the angular correlation of all shots so far; the recipe has [measure.xcca]."""
        return self._part(AngularJob, "measure.xcca").result()

    def _part(self, kind: type, section: str) -> Any:
        if self._runner is not None:
            for part in self._runner.job.pixel_jobs:
                if isinstance(part, kind):
                    return part
        raise BadInput(f"the recipe of this engine has no [{section}], or the engine is closed")
