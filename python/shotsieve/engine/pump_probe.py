"""Pump-probe differences of a run: what is prepared from the recipe, and what the measures hand over."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from ..measure.pump_probe import DARK, NEITHER, OFF, ON, PumpProbe, PumpProbeParams
from ..measure.state import State, joined, under
from ..measure.value_bins import edges_of
from ..table import FATES
from ..write.checksums import sha256_of
from ..write.pump_probe import FILE_NAME, PumpProbeFile
from .averages import KnownGroups, frames_differences, pump_probe_frames
from .grouping import check_column

if TYPE_CHECKING:
    from ..backend import Backend
    from ..recipe import PumpProbe as Section
    from .job import Job


@dataclass
class PumpProbeJob:
    """The differences of a run, decided in all their parts.

    Attributes
    ----------
    section : Section
    unit : str
        Of the frames.
    state : ndarray of int8, shape (S,)
        What every shot is, see `PumpProbeParams.states`; NEITHER where it is not read.
    delays : ndarray of float64, shape (D,)
    bin : ndarray of int64, shape (S,)
    monitor : ndarray of float64, shape (S,)
        What shots are divided by.
    reference : ndarray of float32, shape (rows, columns), or None
        A frame that stands for what is not pumped.
    files : dict of str to str
        sha256 of files that are part of the result.
    frames : KnownGroups or None
        Statistics of the frames themselves, where they are asked for.
    """

    section: Section
    unit: str
    state: np.ndarray
    delays: np.ndarray
    bin: np.ndarray
    monitor: np.ndarray
    reference: np.ndarray | None = None
    files: dict[str, str] = field(default_factory=dict)
    frames: KnownGroups | None = None
    _parts: dict[str, _Part] = field(default_factory=dict, repr=False)

    def part(self, name: str, axis: str, values: np.ndarray, axis_unit: str, unit: str) -> None:
        """Announce something that is measured, with its axis; before the first shot."""
        section = self.section
        unit = f"{unit} / {section.normalise}" if section.normalise else unit
        sums = PumpProbe(len(values), len(self.delays), section.estimator, section.subtract_dark)
        self._parts[name] = _Part(sums, (axis, values, axis_unit, unit))

    def on_device(self, backend: Backend) -> tuple[Any, Any]:
        """Return the reference as one frame on the device, float32 (1, rows * columns), and its stream."""
        device, stream = backend.device, backend.device.stream()
        pinned = device.empty_pinned((1, self.reference.size), "f4")
        pinned[0] = self.reference.reshape(-1)
        frame = device.twin(pinned)
        device.to_device(frame, pinned, stream)
        device.wait(device.record(stream))
        return frame, stream

    def refer(self, name: str, value: np.ndarray) -> None:
        """Set what a part would be without the pump, shape (n,)."""
        self._parts[name].sums.reference = value

    def add(
        self,
        name: str,
        shots: np.ndarray,
        signal: np.ndarray,
        norm: np.ndarray,
        variance: np.ndarray | None = None,
    ) -> None:
        """Take what was measured on some shots, in the order of the run: arrays of shape (k, n)."""
        sums = self._parts[name].sums
        for k, shot in enumerate(shots.tolist()):
            own = None if variance is None else variance[k]
            sums.add(
                int(self.state[shot]), int(self.bin[shot]), signal[k], norm[k], float(self.monitor[shot]), own
            )

    def snapshot(self) -> State:
        """Return all sums; `restore` goes on from them."""
        frames = {} if self.frames is None else self.frames.snapshot()
        parts = joined(**{name: part.sums.snapshot() for name, part in self._parts.items()})
        return joined(frames=frames, parts=parts)

    def restore(self, state: State) -> None:
        """Take what `snapshot` returned; after the stages were made."""
        for name, part in self._parts.items():
            part.sums.restore(under(state, f"parts/{name}"))
        if self.frames is not None:
            self.frames.restore(under(state, "frames"))

    def write(self, folder: Path) -> None:
        """Write the file of differences."""
        with PumpProbeFile(folder / FILE_NAME, self.settings(self.unit)) as file:
            for name, part in self._parts.items():
                axis, values, axis_unit, unit = part.axis
                file.put_difference(name, axis, values, axis_unit, unit, self.delays, [part.sums.result()])
            if self.frames is not None and self.frames.sums is not None:
                found, shape = frames_differences(self, self.frames), self.frames.shape
                unit = f"{self.unit} / {self.section.normalise}" if self.section.normalise else self.unit
                file.put_difference("frames", "", np.zeros(0), "", unit, self.delays, found, shape)

    def settings(self, unit: str) -> dict[str, Any]:
        """Return what the output says of the differences."""
        said = {f"pump_probe.{key}": value for key, value in vars(self.section).items() if value is not None}
        return said | {f"pump_probe.{name}": value for name, value in self.files.items()}

    def summary(self) -> str:
        """Return one sentence for the accounts."""
        number = {
            word: int((self.state == code).sum()) for word, code in (("on", ON), ("off", OFF), ("dark", DARK))
        }
        outside = int(((self.bin < 0) & (self.state >= 0) & (self.state != DARK)).sum())
        return (
            f"pump-probe: {number['on']} shots on, {number['off']} off, {number['dark']} dark, in "
            f"{len(self.delays)} bins of delay" + (f"; {outside} in none of them" if outside else "")
        )


@dataclass
class _Part:
    sums: PumpProbe
    axis: tuple[str, np.ndarray, str, str]


def make_pump_probe_job(job: Job) -> PumpProbeJob:
    """Prepare the differences from the columns of the table.

    Parameters
    ----------
    job : Job

    Returns
    -------
    PumpProbeJob

    Raises
    ------
    BadInput
        If a column does not exist, or parameters do not fit together.
    """
    section, table = job.recipe.measure.pump_probe, job.table
    try:
        edges = None
        if section.delay_bins is not None:
            edges = edges_of(section.delay_bins, "delay_bins")
        params = PumpProbeParams(section.mode, section.on, section.off, edges)
        columns = {key: _column(table, key, getattr(section, key)) for key in ("delay", "normalise")}
        # A shot that was recorded twice has one place in its train.
        once = table.fate != FATES.index("duplicate")
        known = [
            table.columns[name][once] if name in table.columns else None for name in ("pump_state", "xray")
        ]
        state = np.full(len(table), NEITHER, np.int8)
        state[once] = params.states(table.train_id[once], *known)
    except BadInput as err:
        raise BadInput(f"[measure.pump_probe] {err}") from None
    left_out = np.ones(len(table), bool)
    left_out[job.source.readable] = False
    state[left_out] = NEITHER
    delays, where = params.bin_of(columns["delay"], len(table))
    monitor = columns["normalise"] if columns["normalise"] is not None else np.ones(len(table))
    found = PumpProbeJob(section, job.unit, state, delays, where, monitor)
    if section.reference is not None:
        path = job.recipe.path_of(section.reference)
        found.reference, found.files = _reference(path, job), {"reference_sha256": sha256_of(path)}
    if section.frames:
        found.frames = pump_probe_frames(found, job)
    return found


def _column(table, option: str, name: str | None) -> np.ndarray | None:
    if name is None:
        return None
    check_column(table, option, name)
    return table.columns[name]


def _reference(path: Path, job: Job) -> np.ndarray:
    """Read the frame that stands for what is not pumped, float32 (rows, columns)."""
    detector = job.source.detector
    shape = (len(job.source.modules) * detector.shape[0], detector.shape[1])
    try:
        frame = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as err:
        raise BadInput(f"[measure.pump_probe] reference: {path} is not a NumPy file ({err})") from err
    if frame.size != shape[0] * shape[1] or frame.dtype.kind not in "iuf":
        raise BadInput(
            f"[measure.pump_probe] reference: {path} has shape {frame.shape} and dtype {frame.dtype}; "
            f"expected a calibrated frame of shape {(len(job.source.modules), *detector.frame_shape)}"
        )
    return np.ascontiguousarray(frame, np.float32).reshape(shape)
