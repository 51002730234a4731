"""How shots are annotated with what the machine knows: the choices, with defaults that fit most runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import BadInput

PATTERNS = ("auto", "litfrm", "machine", "images", "none")
OWN_COLUMNS = (
    "xray", "n_pulses", "pulse_energy", "pulse_energy_sigma", "data_frame", "laser", "pump_state", "delay"
)  # fmt: skip
ALIGNMENTS = ("first_pulse", "reference_delay")


@dataclass(frozen=True)
class AnnotateParams:
    """What a recipe's ``[annotate]`` says.

    Attributes
    ----------
    pattern : {"auto", "litfrm", "machine", "images", "none"}
        Where it is known from which frames saw a pulse: the facility's lit-frame finder, the time server or
        pulse pattern decoder, the frames themselves; ``auto`` takes the first of the former two that the run
        has.
    align : {"first_pulse", "reference_delay"}
        How pulses belong to frames, see `shotsieve.sources.exposure`.
    reference_frame : int
        The frame, from 0, that the first pulse falls (or fell) into.
    reference_delay, reference_rate_mhz, reference_distance_m : float or None
        Delay of the trigger in ticks of 9.23 ns, rate and distance when the delay was found.
    trigger : str or None
        ``source:key`` of the delay of the trigger; None takes that of the instrument.
    stride, exposure : int or None
        Slots of 221.5 ns from frame to frame, and in which a frame is sensitive; None takes what rate and
        integration time say.
    guess_missing : bool
        Take the pattern of trains without any from the trains around them.
    time_server, litfrm, xgm : str or None
        The one source to be used.
    laser : str or None
        Name of the optical laser; None takes that of the instrument.
    laser_position, laser_offset : int or None
    laser_pulse_offset : float or None
        Where the first pulse of the laser really is, since the bunch pattern does not tell: at this slot, so
        many slots behind the first X-ray pulse, or so many times the distance of the first two X-ray pulses
        behind the first. Without any: at the first X-ray pulse.
    delay : str or None
        ``source:key`` of the delay between X-rays and laser, for the column of this name.
    columns : mapping of str to str
        Name of a column -> ``source:key``, one value per train or, of a source with pulse ids, per shot.
    beside : str or None
        Folder (or file) with sources of the same run that the run's own folder does not hold.
    folder : Path
        What `beside` is relative to.

    Raises
    ------
    BadInput
        If a value is not allowed, or two of them exclude each other.
    """

    pattern: str = "auto"
    align: str = "first_pulse"
    reference_frame: int = 1
    reference_delay: float | None = None
    reference_rate_mhz: float | None = None
    reference_distance_m: float | None = None
    trigger: str | None = None
    stride: int | None = None
    exposure: int | None = None
    guess_missing: bool = False
    time_server: str | None = None
    litfrm: str | None = None
    xgm: str | None = None
    laser: str | None = None
    laser_position: int | None = None
    laser_offset: int | None = None
    laser_pulse_offset: float | None = None
    delay: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    beside: str | None = None
    folder: Path = field(default=Path(), compare=False)

    def __post_init__(self) -> None:
        for name, allowed in (("pattern", PATTERNS), ("align", ALIGNMENTS)):
            if getattr(self, name) not in allowed:
                raise BadInput(f"{name} = {getattr(self, name)!r}: expected one of {', '.join(allowed)}")
        for name, least in (("reference_frame", 0), ("stride", 1), ("exposure", 1), ("laser_position", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise BadInput(f"{name} = {value}: expected a whole number from {least}")
        if self.stride and self.exposure and self.exposure > self.stride:
            raise BadInput(f"exposure = {self.exposure}: expected at most the stride, which is {self.stride}")
        if (self.align == "reference_delay") != (self.reference_delay is not None):
            raise BadInput('align = "reference_delay" and reference_delay belong together: set both or none')
        given = [
            n
            for n in ("laser_position", "laser_offset", "laser_pulse_offset")
            if getattr(self, n) is not None
        ]
        if len(given) > 1:
            raise BadInput(f"{' and '.join(given)} say the same thing in two ways: set one of them")
        self._refuse_ignored()
        if self.beside is not None and not self.own_columns():
            raise BadInput(f'beside = "{self.beside}" is for columns and delay: name one, or leave it out')
        if taken := sorted(set(self.columns) & set(OWN_COLUMNS)):
            raise BadInput(f"columns: {', '.join(taken)} are made by shotsieve itself: take other names")
        for name, text in {**self.columns, "delay": self.delay, "trigger": self.trigger}.items():
            if text is not None:
                source_and_key(text, name)

    def _refuse_ignored(self) -> None:
        """Refuse what would be ignored beside what else is set."""
        machine = (
            "time_server",
            "litfrm",
            "xgm",
            "laser",
            "laser_position",
            "laser_offset",
            "laser_pulse_offset",
        )
        ignored = {
            "pattern": {"machine": ("litfrm",), "images": machine, "none": machine}.get(self.pattern, ()),
            "align": {"first_pulse": ("reference_rate_mhz", "reference_distance_m", "trigger")}.get(
                self.align, ()
            ),
        }
        for choice, names in ignored.items():
            if given := [name for name in names if getattr(self, name) is not None]:
                raise BadInput(
                    f'{choice} = "{getattr(self, choice)}" does not use {", ".join(given)}: leave it out, or '
                    f"choose another {choice}"
                )

    def own_columns(self) -> dict[str, str]:
        """Return all columns that are named by their source and key, by name."""
        return {**self.columns, **({"delay": self.delay} if self.delay else {})}


def source_and_key(text: str, where: str) -> tuple[str, str, str]:
    """Split ``source:key`` into source, group (empty for a control source) and key.

    Raises
    ------
    BadInput
        If the text is not of that form.

    Examples
    --------
    >>> source_and_key("SPB_LAS/MOTOR/DELAY:actualPosition", "delay")
    ('SPB_LAS/MOTOR/DELAY', '', 'actualPosition')
    >>> source_and_key("SA1_XTD2_XGM/XGM/DOOCS:output:data.xTD", "x")
    ('SA1_XTD2_XGM/XGM/DOOCS:output', 'data', 'data.xTD')
    """
    source, _, key = text.rpartition(":")
    if not source or not key:
        raise BadInput(
            f'{where} = "{text}": expected "source:key", as in "SPB_LAS_DELAY/MOTOR/STAGE:actualPosition" or '
            '"SA1_XTD2_XGM/XGM/DOOCS:output:data.xTD"'
        )
    return source, key.partition(".")[0] if ":" in source else "", key
