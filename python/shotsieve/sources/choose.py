"""Which detector of a run is meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .. import detectors
from ..errors import BadInput, UnreadableData, nearest
from .corrected import KINDS
from .corrected_files import holds_corrected
from .inputs import Inputs


def choose(inputs: Inputs, detector, source: str | None, data: str | None = None) -> detectors.Found:
    """The one detector of a run that is meant; its `Detector` is that of corrected files where they are."""
    if data not in (None, *KINDS):
        raise BadInput(f"data = {data!r} is not one of {', '.join(KINDS)}.{nearest(str(data), KINDS)}")
    source = source or inputs.name or None
    names = sorted({s for f in inputs.files for s in f.instrument})
    if inputs.sources is not None:
        names = [s for s in names if s in inputs.sources]
    elif inputs.detector_files is not None:
        names = sorted({s for f in inputs.files if f.path in inputs.detector_files for s in f.instrument})
    wanted = detectors.load(detector) if isinstance(detector, str | Path) else detector
    found = detectors.match(names, only=wanted)
    if wanted is not None and not found:
        raise BadInput(f"{inputs.label} holds no data of a {wanted.name}. {_what_is_there(names, inputs)}")
    if source is not None:
        there = sorted({f.name for f in found})
        found = [f for f in found if f.name == source]
        if not found:
            hint = nearest(source, there)
            raise BadInput(
                f"{inputs.label} holds no detector {source!r}.{hint} {_what_is_there(names, inputs)}"
            )
    if not found:
        raise BadInput(
            f"{inputs.label} holds no data of a detector that shotsieve knows. "
            f"{_what_is_there(names, inputs)}"
        )
    meant = _of_kind(inputs, [_as_it_is(inputs, f) for f in found], data)
    if len(meant) > 1:
        listed = ", ".join(f"{f.name} ({f.detector.name})" for f in meant)
        raise BadInput(
            f"{inputs.label} holds several detectors: {listed}. Say which is meant: [[detector]] source = "
            f'"{meant[0].name}" in the recipe, or open_run(..., source="{meant[0].name}")'
        )
    return meant[0]


def _as_it_is(inputs: Inputs, found: detectors.Found) -> detectors.Found:
    """Find out what the files hold: corrected frames may stand under the names of raw words."""
    d = found.detector
    if found.raw:
        names, errors = set(found.modules.values()), []
        for file in inputs.files:
            if not names & set(file.instrument):
                continue
            try:
                if not holds_corrected(d, file, sorted(names & set(file.instrument))[0]):
                    return found
                break
            except UnreadableData as e:  # the next file may tell
                errors.append(e)
        else:
            if errors:
                raise errors[0]
            return found
    return replace(found, detector=d.corrected())


def _of_kind(inputs: Inputs, found: list[detectors.Found], data: str | None) -> list[detectors.Found]:
    """Leave out what is of the other kind than is asked for, and corrected frames beside raw words."""
    if data is not None:
        meant = [f for f in found if f.detector.is_corrected == (data == "corrected")]
        if not meant:
            other = KINDS[1 - KINDS.index(data)]
            raise BadInput(
                f"{inputs.label} holds {other} data of {found[0].name} only (e.g. "
                f"{next(iter(found[0].modules.values()))}), and {data} data is asked for ([[detector]] data)"
            )
        return meant
    raw = {f.name for f in found if not f.detector.is_corrected}
    beside = [f for f in found if f.detector.is_corrected and f.name in raw]
    for f in beside:
        inputs.notes.append(
            f"the run holds raw and corrected data of {f.name}: raw is taken; for the other set [[detector]] "
            'data = "corrected"'
        )
    return [f for f in found if f not in beside]


def _what_is_there(names: list[str], inputs: Inputs) -> str:
    """Say what the run holds, and which of its files were left out because they cannot be read."""
    lost = " ".join(note for note in inputs.notes if "left out" in note)
    if not names:
        return f"It has no instrument sources at all: are the detector's files there? {lost}".rstrip()
    shown = f"{', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
    return f"Its {len(names)} instrument sources: {shown}{f'. {lost}' if lost else ''}"


def modules_text(numbers: list[int]) -> str:
    """Ascending module numbers in words: ``modules 0-2, 5``."""
    starts = [n for n in numbers if n - 1 not in numbers]
    stops = [n for n in numbers if n + 1 not in numbers]
    ranges = (str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, stops, strict=True))
    return f"module{'s' * (len(numbers) > 1)} {', '.join(ranges)}"
