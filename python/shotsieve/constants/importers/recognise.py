"""Constants in any form: which one it is, is seen from the content; what could be two is refused."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py

from ... import detectors
from ...detectors import Detector
from ...errors import BadInput, UnreadableData
from .. import facility, own_file
from ..container import Constants
from ..stored import datasets_of
from .cheetah import is_cheetah, open_cheetah
from .extra import from_extra, is_extra
from .metadata import SUFFIXES, find_metadata, open_metadata, read_metadata
from .psi import is_psi, open_psi
from .references import Reference, open_references

__all__ = ["FORMS", "Options", "form_of", "read_any"]

FORMS = {
    "own": "our own HDF5 file",
    "folder": "a folder in the facility's layout with a modules.toml",
    "store": "files in the facility's layout",
    "metadata": "the metadata of a correction (calibration_metadata_*.yml)",
    "cheetah": "calibration files of Cheetah",
    "psi": "gain maps of PSI",
    "extra": "an object of extra.calibration",
}


@dataclass(frozen=True)
class Options:
    """What some forms need to be told beside the files; what a form has no use for is refused.

    Attributes
    ----------
    store : path-like or None
        Metadata, EXtra: where copies of the facility's files are.
    modules : mapping of str to int
        Store: PDU -> module number. Cheetah, PSI: name of a file -> module number.
    dims : mapping
        Store, metadata, EXtra: calibration -> names of the axes.
    directions : mapping
        The same, of LPD: calibration -> ``"multiply"`` or ``"divide"``.
    conditions : mapping
        Operating mode that they were taken in.
    pedestals : path-like or None
    high_gain : bool
        PSI: see `open_psi`.
    ff_gain : float or None
        Store, EXtra: SlopesFF is divided by it.
    """

    store: str | os.PathLike[str] | None = None
    modules: Mapping[str, int] = field(default_factory=dict)
    dims: Mapping[str, Sequence[str]] = field(default_factory=dict)
    directions: Mapping[str, str] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    pedestals: str | os.PathLike[str] | None = None
    high_gain: bool = False
    ff_gain: float | None = None

    def refuse_others(self, form: str, *used: str) -> None:
        """Refuse what the form has no use for."""
        for name, default in vars(Options()).items():
            if getattr(self, name) != default and name not in used:
                raise BadInput(f"{name} was given, and {FORMS[form]} has no use for it: leave it out.")


def form_of(path: Path, detector: Detector | None = None) -> str:
    """Return which form the constants at a path have.

    Parameters
    ----------
    path : Path
        A file or a folder.
    detector : Detector or None
        Whose size of gain maps is looked for; None: JUNGFRAU's.

    Returns
    -------
    str
        A key of `FORMS`.

    Raises
    ------
    BadInput
        If it is none of them, or could be two.
    UnreadableData
        If an HDF5 file is damaged.

    Examples
    --------
    >>> form_of(Path("calibration_metadata_SPB_DET_AGIPD1M-1.yml"))  # doctest: +SKIP
    'metadata'
    """
    if not path.exists():
        raise BadInput(f"There are no constants at {path}.")
    fitting = _folder_forms(path) if path.is_dir() else _file_forms(path, detector)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise BadInput(
            f"{path} can be read as {' and as '.join(FORMS[one] for one in fitting)}: name the file that "
            "is meant."
        )
    raise BadInput(f"{path} is in no form that is known: {'; '.join(FORMS.values())}.")


def _file_forms(path: Path, detector: Detector | None = None) -> list[str]:
    if path.suffix in SUFFIXES:
        return ["metadata"]
    if not h5py.is_hdf5(path):
        return ["psi"] if is_psi(path, detector) else []
    try:
        with h5py.File(path, "r") as file:
            forms = ["own"] if file.attrs.get("format") == own_file.FORMAT else []
            forms += ["cheetah"] if is_cheetah(file) else []
            forms += ["psi"] if isinstance(file.get("gains"), h5py.Dataset) else []
    except OSError as error:
        raise UnreadableData(f"{path} is not a whole HDF5 file ({error}).") from error
    return forms or (["store"] if datasets_of(path) else [])


def _folder_forms(path: Path) -> list[str]:
    if (path / facility.MODULES_FILE).exists():
        return ["folder"]
    forms = ["metadata"] if find_metadata(path) else []
    # One file of each kind is enough to know: a copy of the store has thousands.
    first = next(iter(sorted(path.glob("*.h5"))), None) or next(iter(sorted(path.rglob("*.h5"))), None)
    if not forms and first is not None:
        forms += [form for form in _file_forms(first) if form in ("cheetah", "store")]
    return forms


def read_any(
    found: Any,
    detector: Detector | str | None = None,
    options: Options | None = None,
) -> Constants:
    """Open constants in any of the forms that are known.

    Parameters
    ----------
    found : path-like, list of path-like, Constants, or object of extra.calibration
        A list has the files of several modules: of Cheetah, or gain maps of PSI.
    detector : Detector, str or None
        The detector they are meant for; None takes the one that they tell.
    options : Options or None
        What the form needs to be told beside.

    Returns
    -------
    Constants
        Reads from the files when asked for arrays, where they are large.

    Raises
    ------
    BadInput
        If the form is not known or ambiguous, something is missing, or the constants are of another detector.
    UnreadableData
        If a file is damaged.

    Examples
    --------
    >>> read_any("proc/r0022", options=Options(store="caldb_store")).save("constants.h5")  # doctest: +SKIP
    """
    options = options or Options()
    family = detectors.load(detector) if isinstance(detector, str) else detector
    if isinstance(found, Constants):
        options.refuse_others("own")
        if family is not None:
            found.check_detector(family)
        return found
    if is_extra(found):
        options.refuse_others("extra", "store", "dims", "directions", "ff_gain")
        return from_extra(
            found,
            family,
            root=options.store,
            dims=options.dims,
            directions=options.directions,
            ff_gain=options.ff_gain or 1.0,
        )
    paths = [Path(one) for one in found] if isinstance(found, list | tuple) else [Path(found)]
    if not paths:
        raise BadInput("no constants were given.")
    forms = {path: form_of(path, family) for path in paths}
    form = forms[paths[0]]
    if odd := [path for path, one in forms.items() if one != form]:
        raise BadInput(
            f"{paths[0]} is {FORMS[form]}, and {odd[0]} is {FORMS[forms[odd[0]]]}: give one form alone."
        )
    if len(paths) > 1 and form not in ("cheetah", "psi", "store"):
        raise BadInput(f"{len(paths)} paths were given; {FORMS[form]} is one.")
    return _OPENERS[form](paths, family, options)


def _own(paths: list[Path], family: Detector | None, options: Options) -> Constants:
    options.refuse_others("own")
    return own_file.open_constants(paths[0], family)


def _folder(paths: list[Path], family: Detector | None, options: Options) -> Constants:
    options.refuse_others("folder")
    return facility.open_constants(paths[0], family)


def _metadata(paths: list[Path], family: Detector | None, options: Options) -> Constants:
    options.refuse_others("metadata", "store", "dims", "directions", "conditions")
    told = read_metadata(paths[0], family)
    return open_metadata(
        told,
        options.store,
        dims=options.dims,
        directions=options.directions,
        conditions=options.conditions,
    )


def _store(paths: list[Path], family: Detector | None, options: Options) -> Constants:
    options.refuse_others("store", "modules", "dims", "directions", "conditions", "ff_gain")
    files = [file for path in paths for file in (sorted(path.rglob("*.h5")) if path.is_dir() else [path])]
    held = [(file, *one) for file in files for one in datasets_of(file)]
    pdus = sorted({pdu for _, pdu, *_ in held})
    if family is None or not options.modules:
        raise BadInput(
            f"{paths[0]} is in the facility's layout, which tells neither the detector nor which module a "
            "PDU is: "
            f"give --detector NAME and --module PDU=NUMBER (here: {', '.join(pdus[:4])}"
            f"{', ...' if len(pdus) > 4 else ''}), or write a {facility.MODULES_FILE} into the folder."
        )
    if unknown := [pdu for pdu in options.modules if pdu not in pdus]:
        raise BadInput(f"{paths[0]} has no PDU {unknown[0]!r}; there are {', '.join(pdus)}.")
    references = [
        Reference(options.modules[pdu], pdu, calibration, file, name.removesuffix("/data"))
        for file, pdu, calibration, name, _, _ in held
        if pdu in options.modules
    ]
    return open_references(
        family,
        references,
        dims=options.dims,
        directions=options.directions,
        ff_gain=options.ff_gain or 1.0,
        conditions=options.conditions,
        provenance={"layout": "facility", "pdus": {str(m): pdu for pdu, m in options.modules.items()}},
        where=str(paths[0]),
    )


def _cheetah(paths: list[Path], family: Detector | None, options: Options) -> Constants:
    options.refuse_others("cheetah", "modules", "conditions")
    files = [file for path in paths for file in (sorted(path.glob("*.h5")) if path.is_dir() else [path])]
    told = open_cheetah(_numbers(files, options.modules) if options.modules else files, family)
    told.conditions.update(options.conditions)
    return told


def _psi(paths: list[Path], family: Detector | None, options: Options) -> Constants:
    options.refuse_others("psi", "modules", "conditions", "pedestals", "high_gain")
    pedestals = None if options.pedestals is None else Path(options.pedestals)
    numbers = list(_numbers(paths, options.modules)) if options.modules else None
    told = open_psi(paths, pedestals, high_gain=options.high_gain, modules=numbers, detector=family)
    told.conditions.update(options.conditions)
    return told


def _numbers(files: list[Path], modules: Mapping[str, int]) -> dict[int, Path]:
    """Return files by their module numbers, in their own order."""
    if lacking := [file.name for file in files if file.name not in modules]:
        raise BadInput(f"--module tells no number for {lacking[0]}: expected --module {lacking[0]}=NUMBER.")
    if len({modules[file.name] for file in files}) != len(files):
        raise BadInput(f"--module gives two files the same number: {dict(modules)}.")
    return {modules[file.name]: file for file in files}


_OPENERS = {
    "own": _own,
    "folder": _folder,
    "store": _store,
    "metadata": _metadata,
    "cheetah": _cheetah,
    "psi": _psi,
}
