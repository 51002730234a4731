"""Measures of a user's own: a function of calibrated frames, whose answers become columns of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput

if TYPE_CHECKING:
    from ..backend import Backend
    from ..table import Table
    from .job import Job


@dataclass(frozen=True)
class UserStage:
    """A measure of your own.

    Attributes
    ----------
    name : str
        For messages.
    function : callable
        ``function(frames)`` gets calibrated frames, float32 (k, M, ss, fs), NaN where a pixel is masked or a
        frame is absent, and returns a mapping of column to k numbers; NaN is unknown. With the backend
        ``cuda`` the frames are a CuPy array on the GPU, and CuPy's current stream is the one they were
        calibrated on, so that a kernel of your own that is launched there needs no wait; else a NumPy array.
        The frames are ours and used again: copy what you want to keep. It is called with some shots of a
        block at a time, in order.
    columns : mapping of str to str
        Names of the columns and what they mean; rules may use them.

    Examples
    --------
    >>> UserStage("sums", lambda frames: {"brightest": np.nanmax(frames, axis=(1, 2, 3))},
    ...           {"brightest": "largest pixel of the shot"}).name
    'sums'
    """

    name: str
    function: Callable[[Any], Mapping[str, Any]]
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass
class UserJob:
    """A user's stage in a job; see `shotsieve.engine.stages.PixelStage`."""

    asked: UserStage
    table: Table
    shape: tuple[int, int, int]
    backend: Backend | None = None

    def declare(self) -> None:
        """Make room in the table: every value is unknown until it is measured."""
        for name, meaning in self.asked.columns.items():
            self.table.add_column(name, np.full(len(self.table), np.nan), "", meaning)

    def stage(self, backend: Backend, shots: int) -> UserJob:
        """Return the measure itself."""
        self.backend = backend
        return self

    def begin(self, table: Table) -> None:
        """Take the table of the next block, which has the columns."""
        self.table = table

    def measure(self, pixels: Any, shots: np.ndarray, stream: Any) -> None:
        """Ask the function about some shots, and wait."""
        frames = (len(shots), *self.shape)
        if self.backend.name == "cuda":
            import cupy

            with stream:
                answer = self._ask(pixels.reshape(frames))
                told = {name: cupy.asnumpy(cupy.asarray(values)) for name, values in answer.items()}
        else:
            told = self._ask(self._on_host(pixels, stream).reshape(frames))
        for name, values in told.items():
            values = np.asarray(values, "f8")
            if values.shape != (len(shots),):
                raise BadInput(
                    f"stage {self.asked.name}: {name} has shape {values.shape} for {len(shots)} shots: "
                    "expected one number per shot"
                )
            self.table.columns[name][shots] = values

    def _on_host(self, pixels: Any, stream: Any) -> np.ndarray:
        """Return frames in host memory, not to be written to, once all that was queued for them is done."""
        device = self.backend.device
        host = pixels if isinstance(pixels, np.ndarray) else device.empty_pinned(pixels.shape, pixels.dtype)
        if host is not pixels:
            device.to_host(host, pixels, stream)
        device.wait(device.record(stream))
        view = host.view()
        view.flags.writeable = False
        return view

    def _ask(self, frames: Any) -> Mapping[str, Any]:
        try:
            answer = self.asked.function(frames)
        except Exception as error:
            error.add_note(f"in the stage {self.asked.name!r} of shotsieve, frames of shape {frames.shape}")
            raise
        if not isinstance(answer, Mapping) or set(answer) != set(self.asked.columns):
            got = sorted(answer) if isinstance(answer, Mapping) else type(answer).__name__
            raise BadInput(
                f"stage {self.asked.name}: it returned {got}; expected a mapping with the columns "
                f"{sorted(self.asked.columns)}"
            )
        return answer

    def settings(self, unit: str) -> dict[str, Any]:
        """Return what the output says of the stage."""
        return {f"stage.{self.asked.name}": ", ".join(self.asked.columns)}

    def summary(self) -> str:
        """Return one sentence for the accounts."""
        return f"stage {self.asked.name}: columns {', '.join(self.asked.columns)}"


def make_user_jobs(job: Job, stages: tuple[UserStage, ...]) -> list[UserJob]:
    """Prepare users' stages, and their columns.

    Raises
    ------
    BadInput
        If two have one name, or a column is taken.
    """
    names = [stage.name for stage in stages]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadInput(f"two stages are called {sorted(twice)[0]!r}: give each its own name")
    shape = (len(job.source.modules), *job.source.detector.frame_shape)
    jobs = [UserJob(stage, job.table, shape) for stage in stages]
    for one in jobs:
        taken = one.asked.columns.keys() & job.table.columns.keys()
        if taken:
            raise BadInput(f"stage {one.asked.name}: the table has a column {sorted(taken)[0]!r} already")
        one.declare()
    return jobs
