"""Measures of a user's own: a function of calibrated frames, whose answers become columns of the table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..keep import PROBABILITY
from ..stage_settings import stage_settings
from .stages import InTable

if TYPE_CHECKING:
    from ..backend import Backend
    from ..table import Table
    from .job import Job


@dataclass(frozen=True)
class UserStage:
    """A measure of your own, for `shotsieve.reduce` and `shotsieve.Engine`.

    Attributes
    ----------
    name : str
        A word, for messages and for what an output says of its making.
    function : callable
        ``function(frames)`` gets calibrated frames, float32 (k, M, ss, fs), NaN where a pixel is masked or a
        frame is absent, and returns a mapping of column to k numbers; NaN is unknown. With the backend
        ``cuda`` the frames are a CuPy array on the GPU, and CuPy's current stream is the one they were
        calibrated on, so that a kernel of your own that is launched there needs no wait; else a NumPy array.
        The frames are ours and used again: copy what you want to keep. It is called with some shots of a
        block at a time, in order; how many is not promised, so what it says of a shot should follow from the
        frames of that shot alone. Shots without a frame that could be calibrated are unknown, unasked.
    columns : mapping of str to str
        Names of the columns and what they mean; rules may use them.

    Notes
    -----
    An output tells name and columns. Nobody can tell whether the function is the same: whoever changes it can
    say so in the name, ``"asymmetry-2"``, which is then another stage to whatever is resumed.

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
class UserJob(InTable):
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

    def measure(self, pixels: Any, shots: np.ndarray, stream: Any) -> None:
        """Ask the function about some shots, and wait; what fails says of which stage and shots it is."""
        try:
            told = self._told(pixels, len(shots), stream)
        except Exception as error:
            error.add_note(
                f"in the stage {self.asked.name!r} of shotsieve, asked about {self._named(shots)}: frames of "
                f"shape {(len(shots), *self.shape)}"
            )
            raise
        for name, values in told.items():
            self.table.columns[name][shots] = values

    def _told(self, pixels: Any, number: int, stream: Any) -> dict[str, np.ndarray]:
        """Return what the function says of so many shots, column by column."""
        frames = (number, *self.shape)
        if self.backend.name == "cuda":
            import cupy

            with stream:
                answer = self._ask(pixels.reshape(frames))
                told = {name: cupy.asnumpy(cupy.asarray(values)) for name, values in answer.items()}
        else:
            told = self._ask(self._on_host(pixels, stream).reshape(frames))
        told = {name: np.asarray(values, "f8") for name, values in told.items()}
        for name, values in told.items():
            if values.shape != (number,):
                raise BadInput(
                    f"stage {self.asked.name}: {name} has shape {values.shape} for {number} shots: "
                    "expected one number per shot"
                )
        return told

    def _named(self, shots: np.ndarray) -> str:
        """Name shots by the first and the last."""
        ends = [f"train {self.table.train_id[s]} pulse {self.table.pulse_id[s]}" for s in shots[[0, -1]]]
        return ends[0] if len(shots) == 1 else f"{len(shots)} shots from {ends[0]} to {ends[1]}"

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
        answer = self.asked.function(frames)
        if not isinstance(answer, Mapping) or set(answer) != set(self.asked.columns):
            got = sorted(answer) if isinstance(answer, Mapping) else type(answer).__name__
            raise BadInput(
                f"stage {self.asked.name}: it returned {got}; expected a mapping with the columns "
                f"{sorted(self.asked.columns)}"
            )
        return answer

    def settings(self, unit: str) -> dict[str, Any]:
        """Return nothing: what the output says of stages it says of all together, by `settings_of_stages`."""
        return {}

    def summary(self) -> str:
        """Return one sentence for the accounts."""
        return f"stage {self.asked.name}: columns {', '.join(self.asked.columns) or 'none'}"


def stages_given(stages: Iterable[UserStage]) -> tuple[UserStage, ...]:
    """Check stages by themselves, before anything is opened.

    Raises
    ------
    BadInput
        If one is something else, or two have one name or column.
    """
    if isinstance(stages, UserStage) or not isinstance(stages, Iterable):
        raise BadInput(f"stages = {stages!r}: expected a sequence of shotsieve.UserStage")
    stages, columns = tuple(stages), {}
    for stage in stages:
        if not isinstance(stage, UserStage):
            raise BadInput(f"stages: expected shotsieve.UserStage, not {stage!r}")
        if not isinstance(stage.name, str) or not re.fullmatch(r"[\w-]+", stage.name):
            raise BadInput(f"a stage cannot be called {stage.name!r}: expected letters, digits, _ and -")
        if not callable(stage.function):
            raise BadInput(f"stage {stage.name}: {stage.function!r} is no function")
        if not isinstance(stage.columns, Mapping):
            raise BadInput(
                f"stage {stage.name}: columns = {stage.columns!r}: expected a mapping of names to meanings"
            )
        for column in stage.columns:
            if (other := columns.setdefault(column, stage)) is not stage:
                raise BadInput(f"stages {other.name} and {stage.name} have both a column {column!r}")
    names = [stage.name for stage in stages]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadInput(f"two stages are called {sorted(twice)[0]!r}: give each its own name")
    return stages


def make_user_jobs(job: Job, stages: tuple[UserStage, ...]) -> list[UserJob]:
    """Prepare users' stages, and their columns.

    Raises
    ------
    BadInput
        If a column is taken.
    """
    shape = (len(job.source.modules), *job.source.detector.frame_shape)
    jobs = [UserJob(stage, job.table, shape) for stage in stages]
    for one in jobs:
        taken = one.asked.columns.keys() & {*job.table.columns, *job.table.joined, PROBABILITY}
        if taken:
            raise BadInput(f"stage {one.asked.name}: the table has a column {sorted(taken)[0]!r} already")
        try:
            one.declare()
        except BadInput as error:
            raise BadInput(f"stage {one.asked.name}: {error}") from None
    return jobs


def settings_of_stages(job: Job) -> dict[str, str]:
    """Return what the output says of the stages of a job."""
    stages = [part.asked for part in job.pixel_jobs if isinstance(part, UserJob)]
    return stage_settings({stage.name: list(stage.columns) for stage in stages})
