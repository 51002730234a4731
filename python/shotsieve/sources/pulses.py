"""Which pulse every shot has seen: X-rays, their energy, the optical laser.

The XGM lists one value per pulse *of the beamline*, in the order of the pulses. Neither the detector's
pulseId nor the memory cell is that index: both only number what the detector was told to record. The way from
a shot to its energy is: bunch pattern -> pulses of the instrument -> frame each pulse falls into ->
running number of that pulse among all of the beamline -> XGM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..detectors import Detector
from ..errors import BadInput
from .annotate import AnnotateParams, source_and_key
from .base import OperatingMode, ShotList, ShotStatus
from .bunches import PulsePattern, read_pattern
from .exdf import RunFile, train_text
from .exposure import STRIDES, Alignment, exposure_of, shift_by_delay, stride_of
from .instruments import Instrument, instrument_of
from .laser import laser_per_frame
from .litframes import LitFrames, compute_lit_frames, guess_missing, merged, read_lit_frames
from .own_columns import OwnColumns
from .xgm import read_energies, rows_of

ALWAYS = ("xray", "n_pulses", "pulse_energy", "data_frame")


@dataclass(frozen=True)
class Unknown:
    """Why the pulses of a run are not known."""

    why: str


@dataclass
class PulseReader:
    """Annotates the shots of one detector in one run.

    Attributes
    ----------
    files : sequence of RunFile
        All files of the run.
    detector : Detector
    name : str
        The detector's name; its first part is the instrument.
    mode : OperatingMode
        Rate, integration time and distance are used.
    shots : ShotList
    params : AnnotateParams
    notes : list of str
        What was odd, in words.
    """

    files: Sequence[RunFile]
    detector: Detector
    name: str
    mode: OperatingMode
    shots: ShotList
    params: AnnotateParams
    notes: list[str]

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns of every shot, float64 (S,); NaN where the run does not allow to know.

        ``xray`` (1 or 0), ``n_pulses``, ``pulse_energy`` (uJ) and ``data_frame`` are always among them, be
        they unknown for all shots: a rule may ask for them all the same.

        Raises
        ------
        BadInput
            If the recipe names something that the run does not have.
        UnreadableData
            If a source that should say it is damaged.

        Notes
        -----
        Promise: exact.
        """
        nothing = np.full(len(self.shots), np.nan)
        columns = {key: nothing.copy() for key in ALWAYS}
        if self.params.pattern in ("auto", "litfrm", "machine"):
            columns |= self._pulse_columns()
        own = OwnColumns(self.files, self.params, self.shots, self.notes)
        columns |= {name: own.read(name, text) for name, text in self.params.own_columns().items()}
        return columns

    def lit_frames(self, cells: int | None = None) -> LitFrames | Unknown:
        """Return what every frame of every train has seen, as read or as computed.

        Parameters
        ----------
        cells : int, optional
            Frames of a train; by default as many as the detector's memory cells in this run.
        """
        found = self._found(self._read_pattern(), self._frame_count(cells))
        return found if isinstance(found, Unknown) else found[0]

    # ------------------------------------------------------------------ parts

    def _pulse_columns(self) -> dict[str, np.ndarray]:
        frame = self._frames()
        pattern = self._read_pattern()
        count = 0 if isinstance(frame, Unknown) else int(frame.max(initial=-1)) + 1
        found = frame if isinstance(frame, Unknown) else self._found(pattern, count)
        if isinstance(found, Unknown):
            self.notes.append(f"pulses are unknown for all shots: {found.why}")
            return {}
        lit, align = found
        values = {"n_pulses": lit.n_pulses, "pulse_energy": lit.energy, "pulse_energy_sigma": lit.sigma}
        columns = {name: self._of_shots(lit.train_id, v, frame) for name, v in values.items()}
        pulses = columns["n_pulses"]
        columns["xray"] = np.where(np.isnan(pulses), np.nan, pulses > 0)
        worth = np.where(np.isnan(lit.n_pulses), np.nan, lit.data_frame)
        columns["data_frame"] = self._of_shots(lit.train_id, worth, frame)
        if not (columns["pulse_energy_sigma"] > 0).any():
            del columns["pulse_energy_sigma"]
        self._say_what_is_unknown(columns)
        return columns | self._laser_columns(pattern, align, frame, columns["xray"])

    def _laser_columns(self, pattern, align: Alignment | None, frame, xray) -> dict[str, np.ndarray]:
        laser = self.params.laser or self._instrument().laser
        if laser is None or align is None or not isinstance(pattern, PulsePattern):
            return {}
        counts = laser_per_frame(pattern, self._instrument().sase, laser, align, self.params, self.notes)
        if counts is None:
            return {}
        pulses = self._of_shots(pattern.train_id, counts, frame)
        state = xray + 2 * np.where(np.isnan(pulses), np.nan, pulses > 0)
        return {"laser": pulses, "pump_state": state}

    def _instrument(self) -> Instrument | None:
        return instrument_of(self.name)

    def _read_pattern(self) -> PulsePattern | Unknown:
        instrument = self._instrument()
        if instrument is None:
            return Unknown(f"the beamline of {self.name} is not known")
        found = read_pattern(self.files, self.name, instrument.sase, self.notes, self.params.time_server)
        if found is None:
            if self.params.time_server is not None:
                raise BadInput(
                    f'[annotate] time_server = "{self.params.time_server}": there is no bunch pattern in it'
                )
            return Unknown("the run has no time server with a bunch pattern, and no pulse pattern decoder")
        return found.chosen(self._trains[0])

    def _found(
        self, pattern: PulsePattern | Unknown, frames: int
    ) -> tuple[LitFrames, Alignment | None] | Unknown:
        """Return what the frames have seen, and how pulses belong to frames where that is known."""
        lit, wanted = None, self.params.pattern
        if wanted in ("auto", "litfrm"):
            lit = read_lit_frames(self.files, self.name, self.params.litfrm)
            if lit is not None:
                self.notes.append(f"pulses and pulse_energy come from {lit.origin}")
            elif wanted == "litfrm" or self.params.litfrm is not None:
                raise BadInput(
                    "[annotate] pattern: the run has no data of a lit-frame finder (.../REDU/LITFRM)"
                )
        align = self._alignment(frames)
        if lit is None:
            if isinstance(pattern, Unknown):
                return pattern
            if isinstance(align, Unknown):
                return align
            lit = self._compute(pattern, *align)
        elif wanted == "auto" and isinstance(pattern, PulsePattern) and not isinstance(align, Unknown):
            lit = self._filled(lit, pattern, align)
        if self.params.guess_missing:
            lit, guessed = guess_missing(lit, self._trains[0])
            if len(guessed):
                self.notes.append(
                    f"pulses are guessed from the trains around in trains {train_text(guessed)}"
                )
        return lit, None if isinstance(align, Unknown) else align[0]

    def _filled(self, lit: LitFrames, pattern: PulsePattern, align) -> LitFrames:
        """Return what the lit-frame finder said, with trains it is silent about computed."""
        silent = np.setdiff1d(self._trains[0], lit.train_id)
        pattern = pattern.chosen(silent)
        if not len(pattern.train_id):
            return lit
        self.notes.append(f"pulses are computed, not read, in trains {train_text(pattern.train_id)}")
        return merged(lit, self._compute(pattern, *align))

    def _compute(self, pattern: PulsePattern, align: Alignment, widest: Alignment | None) -> LitFrames:
        sase = self._instrument().sase
        energies = read_energies(self.files, self.name, sase, self.notes, self.params.xgm)
        if energies is None and self.params.xgm is not None:
            raise BadInput(f'[annotate] xgm = "{self.params.xgm}": the run has no pulse energies under it')
        lit = compute_lit_frames(
            pattern,
            energies,
            sase,
            align,
            unsure=widest,
            first_pulse_id=self._first_pulse_id(align.stride),
            xray_run=self._is_xray_run(),
        )
        lost = _between_frames(pattern, sase, align)
        if lost:
            self.notes.append(
                f"up to {lost} X-ray pulses of a train fall between the exposures of two frames: rate and "
                f"integration time ({align.stride} and {align.exposure} slots) do not fit the pulses"
            )
        _note_changes(lit, self.notes)
        return lit

    def _alignment(self, frames: int) -> tuple[Alignment, Alignment | None] | Unknown:
        """Return how pulses belong to frames; and with an unknown exposure the widest one it may have."""
        p = self.params
        stride = self._stride
        if isinstance(stride, Unknown):
            return stride
        shift = p.reference_frame * stride
        if p.align == "reference_delay":
            shift = self._shift_by_delay()
        time, clocks = self.mode.integration_time, self.detector.clocks_per_slot
        if p.exposure is not None:
            return Alignment(stride, p.exposure, shift, frames), None
        if time is not None and clocks > 0:
            return Alignment(stride, exposure_of(time, clocks, stride), shift, frames), None
        if stride > 1:
            self.notes.append("the integration time is not known: energies that depend on it are unknown")
        # Without it a frame was sensitive for between one slot and its whole stride.
        widest = Alignment(stride, stride, shift, frames) if stride > 1 else None
        return Alignment(stride, 1, shift, frames), widest

    def _shift_by_delay(self) -> int:
        p = self.params
        text = p.trigger or self._instrument().trigger
        if text is None:
            raise BadInput(
                f'[annotate] align = "reference_delay": the trigger of {self.name} is not known; set trigger'
            )
        source, group, key = source_and_key(text, "[annotate] trigger")
        values = [f.run_value(source, key) for f in self.files if source in f.control and not group]
        delay = next((value for value in values if value is not None), None)
        if delay is None:
            raise BadInput(
                f'[annotate] align = "reference_delay": the run does not hold the trigger\'s {text}'
            )
        nearer = 0.0
        if p.reference_distance_m is not None:
            if self.mode.distance_m is None:
                raise BadInput("[annotate] reference_distance: the run does not tell the detector's distance")
            nearer = p.reference_distance_m - self.mode.distance_m
        stride = stride_of(p.reference_rate_mhz or 4.5)
        if stride is None:
            raise BadInput(f"[annotate] reference_rate = {p.reference_rate_mhz:g} MHz fits no pulse pattern")
        self.notes.append(f"pulses are aligned by the delay of {text}, which is {float(delay):g}")
        return shift_by_delay(p.reference_delay, p.reference_frame, stride, float(delay), nearer)

    @cached_property
    def _stride(self) -> int | Unknown:
        if self.params.stride is not None:
            return self.params.stride
        rate = self.mode.rate_mhz
        if rate:
            found = stride_of(rate)
            return Unknown(f"a frame rate of {rate:g} MHz fits no pulse pattern") if found is None else found
        if not self.detector.pulse_key:
            return Unknown(
                f"shots of {self.detector.name} carry no pulseId, and their rate is not known: [annotate] "
                "stride says how many slots lie between two frames"
            )
        shots = self.shots
        ok = shots.status == ShotStatus.OK
        same = np.diff(shots.train_id[ok]) == 0
        cells = np.diff(shots.cell_id[ok].astype(np.int64))[same]
        pulses = np.diff(shots.pulse_id[ok].astype(np.int64))[same]
        for stride in STRIDES.values():
            if len(cells) and (cells > 0).any() and (pulses == stride * cells).all():
                self.notes.append(
                    f"the frame rate is not in the run; pulseIds advance by {stride} per cell, which gives it"
                )
                return stride
        return Unknown("the detector's frame rate is not known")

    def _frames(self) -> np.ndarray | Unknown:
        """Return the place of each shot in the detector's sequence of frames: what pulses are assigned to.

        That is the cell, as long as the memory is filled in order. Where frames were vetoed or the memory has
        wrapped, cells do not follow the pulseIds, and only these keep the time. Without pulseIds it is the
        index in the train.
        """
        stride, shots = self._stride, self.shots
        if isinstance(stride, Unknown):
            return stride
        cell, pulse = shots.cell_id.astype(np.int64), shots.pulse_id.astype(np.int64)
        if not self.detector.pulse_key:
            return pulse
        ok = shots.status == ShotStatus.OK
        begin = (pulse - stride * cell)[ok]
        if (begin == begin[:1]).all():
            return cell
        # What is between two frames of the sequence is not a frame of it.
        frame = np.where((pulse >= 0) & (pulse % stride == 0), pulse // stride, -1)
        odd = int((frame < 0).sum())
        self.notes.append(
            "cellIds do not follow the pulseIds (vetoed frames, or wrapped memory): pulses are assigned by "
            f"pulseId, in steps of {stride}" + (f"; unknown for {odd} shots between two steps" if odd else "")
        )
        return frame

    def _of_shots(self, trains: np.ndarray, values: np.ndarray, frame: np.ndarray) -> np.ndarray:
        mine, counts = self._trains
        at, have = (np.repeat(found, counts) for found in rows_of(trains, mine))
        have &= (frame >= 0) & (frame < values.shape[1])
        column = np.full(len(frame), np.nan)
        if values.shape[1]:
            flat = at * values.shape[1] + np.where(have, frame, 0)
            column[have] = values.reshape(-1)[flat[have]]
        return column

    @cached_property
    def _trains(self) -> tuple[np.ndarray, np.ndarray]:
        """The trains of the shots, which are sorted by them, and how many shots each has."""
        train = self.shots.train_id
        starts = np.flatnonzero(np.concatenate([[True], train[1:] != train[:-1]]))[: len(train)]
        return train[starts], np.diff(np.append(starts, len(train)))

    def _say_what_is_unknown(self, columns: dict[str, np.ndarray]) -> None:
        unknown = np.isnan(columns["pulse_energy"])
        if unknown.any():
            lost = train_text(self.shots.train_id[unknown])
            self.notes.append(f"pulse_energy is unknown for {int(unknown.sum())} shots, in trains {lost}")

    def _frame_count(self, cells: int | None) -> int:
        wanted = cells or self.mode.cells or int(self.shots.cell_id.max(initial=-1)) + 1
        return min(wanted, self.detector.max_cells) if self.detector.max_cells else wanted

    def _first_pulse_id(self, stride: int) -> int:
        if not self.detector.pulse_key or len(self.shots) == 0:
            return 0
        return max(int(self.shots.pulse_id[0]) - stride * int(self.shots.cell_id[0]), 0)

    def _is_xray_run(self) -> bool:
        """Whether the detector was not told that there are no X-rays; where nothing is said there are."""
        # The device that tells the gain mode was told the kind of run too.
        for candidate in self.detector.control.get("gain_mode", ()):
            pattern = candidate.pattern(self.name)
            for file in self.files:
                for source in sorted(s for s in file.control if pattern.fullmatch(s)):
                    for key in ("patternType", "expType"):
                        if (value := file.run_value(source, key)) is not None:
                            return str(value) == "XRay"
        return True


def _between_frames(pattern: PulsePattern, sase: int, align: Alignment) -> int:
    """Return how many pulses of a train at most lie within the recorded time, but in no exposure."""
    whole = Alignment(align.stride, align.stride, align.shift, align.n_frames)
    most = 0
    for row in pattern.own(sase):
        slots = np.flatnonzero(row)
        if len(slots):
            inside, seen = (a.frame_of(slots - slots[0]) >= 0 for a in (whole, align))
            most = max(most, int((inside & ~seen).sum()))
    return most


def _note_changes(lit: LitFrames, notes: list[str]) -> None:
    """Say where in the run the pattern of lit frames changes."""
    pulses = np.nan_to_num(lit.n_pulses, nan=-1.0)
    changes = np.flatnonzero((pulses[1:] != pulses[:-1]).any(axis=1)) + 1
    if len(changes):
        kinds = len({pulses[row].tobytes() for row in (0, *changes)})
        notes.append(
            f"the pattern of X-ray pulses changes {len(changes)} times ({kinds} patterns), from trains "
            f"{train_text(lit.train_id[changes])} on: each train is taken by its own"
        )
