"""Detectors as data: one TOML file per detector family, one loader, no class per detector.

A difference between two detectors is a field of its file, so that adding one is adding a file. The folder of
this package is searched; ``extra_paths`` adds files or folders of your own.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadInput, nearest
from .check import ENCODINGS, GAIN_MODES
from .control import CONTROL_FIELDS, ControlKey, as_key
from .descriptor import Detector
from .reader import read

__all__ = [
    "CONTROL_FIELDS",
    "ENCODINGS",
    "GAIN_MODES",
    "ControlKey",
    "Detector",
    "Found",
    "as_key",
    "load",
    "match",
    "names",
]

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Found:
    """A detector found among the sources of a run.

    Attributes
    ----------
    detector : Detector
    name : str
        Its name in the run, e.g. ``"SPB_DET_AGIPD1M-1"``.
    modules : dict
        Module number -> source name, in the order of the numbers.
    raw : bool
        Whether the sources are named as raw ones. Corrected files of before 2020 are named so too.
    """

    detector: Detector
    name: str
    modules: dict[int, str]
    raw: bool


def load(name: str | Path, *, extra_paths: Iterable[str | Path] = ()) -> Detector:
    """Load a detector by its name, or from a TOML file.

    Parameters
    ----------
    name : str or Path
        ``"AGIPD1M"`` (any case), or the path of a TOML file of your own.
    extra_paths : iterable of str or Path
        TOML files, or folders of them, searched before those of the package.

    Returns
    -------
    Detector

    Raises
    ------
    BadInput
        If there is no such detector, or its file is not right.

    Examples
    --------
    >>> load("agipd1m").shape
    (512, 128)
    """
    if isinstance(name, Path) or str(name).endswith(".toml"):
        return read(Path(name))
    known = _all(extra_paths)
    found = {key.lower(): detector for key, detector in known.items()}.get(name.lower())
    if found is None:
        hint = nearest(name.upper(), known)
        raise BadInput(f"There is no detector {name!r}; there are {', '.join(known)}.{hint}")
    return found


def names(*, extra_paths: Iterable[str | Path] = ()) -> list[str]:
    """Return the names of all detectors, in alphabetical order.

    Parameters
    ----------
    extra_paths : iterable of str or Path
        As for `load`.

    Returns
    -------
    list of str

    Examples
    --------
    >>> names()[:3]
    ['AGIPD1M', 'AGIPD500K', 'DSSC1M']
    """
    return list(_all(extra_paths))


def match(
    sources: Iterable[str], *, extra_paths: Iterable[str | Path] = (), only: Detector | None = None
) -> list[Found]:
    """Find the detectors among the sources of a run.

    Parameters
    ----------
    sources : iterable of str
        Names of instrument sources, e.g. ``"SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"``.
    extra_paths : iterable of str or Path
        As for `load`.
    only : Detector or None
        Look for this one, by its own patterns, and for no other.

    Returns
    -------
    list of Found
        Sorted by name, raw before corrected. A detector with both is there twice.

    Examples
    --------
    >>> match(["SPB_DET_AGIPD1M-1/DET/3CH0:xtdf"])[0].modules
    {3: 'SPB_DET_AGIPD1M-1/DET/3CH0:xtdf'}
    """
    sources = sorted(set(sources))
    found: dict[tuple[str, bool, str], dict[int, str]] = {}
    known = _all(extra_paths) if only is None else {only.name: only}
    for detector in known.values():
        for raw, text in ((True, detector.raw_source_pattern), (False, detector.corrected_source_pattern)):
            pattern = re.compile(text)
            for source in sources:
                if hit := pattern.fullmatch(source):
                    key = (hit["detector"], not raw, detector.name)
                    found.setdefault(key, {})[detector.module_of(hit)] = source
    return [
        Found(known[detector], name, dict(sorted(modules.items())), not corrected)
        for (name, corrected, detector), modules in sorted(found.items())
    ]


def _all(extra_paths: Iterable[str | Path]) -> dict[str, Detector]:
    """Return every detector by name; a file of the user replaces ours of the same name."""
    found: dict[str, Detector] = {}
    for path in (FOLDER, *map(Path, extra_paths)):
        for file in sorted(path.glob("*.toml")) if path.is_dir() else [path]:
            detector = _read_shipped(file) if path is FOLDER else read(file)
            found[detector.name] = detector
    return dict(sorted(found.items()))


@functools.cache
def _read_shipped(path: Path) -> Detector:
    # Cached: the shipped files never change while a process runs, and a recipe asks for them often.
    return read(path)
