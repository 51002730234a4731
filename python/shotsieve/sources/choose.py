"""Which detector of a run is meant."""

from __future__ import annotations

from dataclasses import replace

from .. import detectors
from ..errors import BadInput, nearest
from .inputs import Inputs


def choose(inputs: Inputs, detector, source: str | None) -> detectors.Found:
    """The one detector of a run that is meant."""
    source = source or inputs.name or None
    names = sorted({s for f in inputs.files for s in f.instrument})
    if inputs.sources is not None:
        names = [s for s in names if s in inputs.sources]
    elif inputs.detector_files is not None:
        names = sorted({s for f in inputs.files if f.path in inputs.detector_files for s in f.instrument})
    found = detectors.match(names)
    if detector is not None:
        wanted = detectors.load(detector) if isinstance(detector, str) else detector
        found = [replace(f, detector=wanted) for f in found if f.detector.name == wanted.name]
        if not found:
            raise BadInput(f"{inputs.label} holds no data of a {wanted.name}. {_what_is_there(names)}")
    if source is not None:
        there = sorted({f.name for f in found})
        found = [f for f in found if f.name == source]
        if not found:
            hint = nearest(source, there)
            raise BadInput(f"{inputs.label} holds no detector {source!r}.{hint} {_what_is_there(names)}")
    raw = [f for f in found if f.raw]
    if found and not raw:
        raise BadInput(
            f"{inputs.label} holds corrected data of {found[0].name} only (e.g. "
            f"{next(iter(found[0].modules.values()))}): shotsieve calibrates by itself: give "
            "the raw run (raw/r....)"
        )
    if not raw:
        raise BadInput(
            f"{inputs.label} holds no data of a detector that shotsieve knows. {_what_is_there(names)}"
        )
    if len(raw) > 1:
        listed = ", ".join(f"{f.name} ({f.detector.name})" for f in raw)
        raise BadInput(
            f"{inputs.label} holds several detectors: {listed}. Say which is meant: [[detector]] source = "
            f'"{raw[0].name}" in the recipe, or open_run(..., source="{raw[0].name}")'
        )
    return raw[0]


def _what_is_there(names: list[str]) -> str:
    if not names:
        return "It has no instrument sources at all: are the detector's files there?"
    return f"Its {len(names)} instrument sources: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"


def modules_text(numbers: list[int]) -> str:
    """Ascending module numbers in words: ``modules 0-2, 5``."""
    starts = [n for n in numbers if n - 1 not in numbers]
    stops = [n for n in numbers if n + 1 not in numbers]
    ranges = (str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, stops, strict=True))
    return f"module{'s' * (len(numbers) > 1)} {', '.join(ranges)}"
