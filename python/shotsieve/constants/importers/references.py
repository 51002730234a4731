"""Constants that something else names: file, dataset and module of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import detectors
from ...detectors import CONTROL_FIELDS, Detector
from ...errors import BadInput, nearest
from ..axes import axes_of
from ..conditions import settled
from ..container import Constants
from ..facility import check_directions, made_of
from ..stored import StoredConstant, datasets_of

__all__ = [
    "Reference",
    "check_conditions",
    "check_dims",
    "detector_named",
    "known",
    "module_of",
    "open_references",
]


@dataclass(frozen=True)
class Reference:
    """One constant of one module.

    Attributes
    ----------
    module : int
    pdu : str
        Name of the physical module.
    calibration : str
        As the facility calls it, e.g. ``"Offset"``.
    path : Path
        Of its file.
    dataset : str
        Group in the file that holds ``data``, e.g. ``"/AGIPD_SIV1_AGIPDV12_M435/Offset/0"``.
    version : mapping
        What else is told of it, such as ``ccv_id`` and ``creation-time``.
    """

    module: int
    pdu: str
    calibration: str
    path: Path
    dataset: str
    version: Mapping[str, Any] = field(default_factory=dict)


def open_references(
    detector: Detector,
    references: Sequence[Reference],
    *,
    modules: Iterable[int] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    ff_gain: float = 1.0,
    directions: Mapping[str, str] | None = None,
    conditions: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    where: str = "these constants",
) -> Constants:
    """Make constants of what is named, one dataset per module and calibration.

    Parameters
    ----------
    detector : Detector
    references : sequence of Reference
    modules : iterable of int or None
        Modules that the constants are for; None: those named. One may lack constants.
    dims : mapping or None
        Calibration -> names of the axes, for files that do not name them.
    ff_gain : float
        SlopesFF is divided by it.
    directions : mapping or None
        Of LPD: calibration -> ``"multiply"`` or ``"divide"``.
    conditions, provenance : mapping or None
        As the attributes of `Constants`; what was read is added to the provenance.
    where : str
        What errors call their place.

    Returns
    -------
    Constants
        Reads from the files when asked for arrays.

    Raises
    ------
    BadInput
        If a dataset is not where it is said to be, is named twice, or its axes are ambiguous.
    UnreadableData
        If a file is damaged.

    Examples
    --------
    >>> open_references(detector, [Reference(0, "M435", "Offset", path, "/M435/Offset/0")])  # doctest: +SKIP
    """
    dims, directions = check_dims(dims or {}, detector), dict(directions or {})
    check_directions(where, detector, directions)
    found: dict[int, dict[str, StoredConstant]] = {}
    files: dict[str, Any] = {}
    ignored: list[str] = []
    listed: dict[Path, list] = {}
    for one in references:
        if one.calibration not in detector.facility_constants:
            ignored.append(f"{one.module}/{one.calibration}")
            continue
        if one.path not in listed:
            listed[one.path] = datasets_of(one.path)
        stored = _stored(one, listed[one.path], detector, dims)
        constants = found.setdefault(one.module, {})
        if one.calibration in constants:
            raise BadInput(
                f"{where}: {one.calibration} of module {one.module} is there twice, in "
                f"{constants[one.calibration].path} and {one.path}: keep one version of each constant."
            )
        constants[one.calibration] = stored
        told = {"file": one.path.name, "dataset": one.dataset, "pdu": one.pdu, **one.version}
        files[f"{one.module}/{one.calibration}"] = told
    told = {
        "ff_gain": ff_gain,
        "directions": directions,
        "files": files,
        "not_used": ignored,
        **(provenance or {}),
    }
    numbers = sorted(set(found) if modules is None else {*modules})
    known = check_conditions(conditions or {})
    settings = {"ff_gain": ff_gain, "directions": directions, "conditions": known}
    return made_of(detector, numbers, found, settings, told, where)


def _stored(one: Reference, listed: list, detector: Detector, dims: Mapping) -> StoredConstant:
    """Return the dataset that a reference names."""
    wanted = f"/{one.dataset.strip('/')}/data"
    for pdu, calibration, name, shape, named in listed:
        if name == wanted:
            if calibration != one.calibration or (one.pdu and pdu != one.pdu):
                raise BadInput(
                    f"{one.path}: {name} was named as {one.calibration} of {one.pdu}, which it is not."
                )
            target = detector.facility_constants[calibration]
            axes = axes_of(shape, named or dims.get(calibration), detector, target, f"{one.path}: {name}")
            return StoredConstant(one.path, name, calibration, axes, shape)
    held = ", ".join(name for _, _, name, _, _ in listed) or "no constants"
    raise BadInput(f"{one.path} has no {wanted}: it holds {held}. Is this the file that was named?")


def check_dims(dims: Mapping[str, Sequence[str]], detector: Detector) -> dict[str, list[str]]:
    """Refuse axes of a calibration that the detector does not have.

    Parameters
    ----------
    dims : mapping
        Calibration -> names of axes.
    detector : Detector

    Returns
    -------
    dict

    Raises
    ------
    BadInput

    Examples
    --------
    >>> agipd = detectors.load("AGIPD1M")
    >>> check_dims({"Offset": ("fast_scan", "slow_scan", "cell", "gain")}, agipd)["Offset"][0]
    'fast_scan'
    """
    known = detector.facility_constants
    if unknown := [name for name in dims if name not in known]:
        raise BadInput(
            f"dims: {detector.name} has no calibration {unknown[0]!r}.{nearest(unknown[0], known)} There are "
            f"{', '.join(known)}."
        )
    return {name: list(axes) for name, axes in dims.items()}


def check_conditions(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Return conditions without those that are not known; one that no run is compared with is refused.

    Parameters
    ----------
    conditions : mapping

    Returns
    -------
    dict

    Raises
    ------
    BadInput
        If a name is not one of the operating mode, or an order of memory cells is none.

    Examples
    --------
    >>> check_conditions({"cells": 352, "rate_mhz": None})
    {'cells': 352}
    """
    if unknown := [name for name in conditions if name not in CONTROL_FIELDS]:
        raise BadInput(
            f"conditions: unknown name {unknown[0]!r}.{nearest(unknown[0], CONTROL_FIELDS)} There are "
            f"{', '.join(CONTROL_FIELDS)}."
        )
    return settled(conditions)


def detector_named(name: str, given: Detector | str | None = None) -> Detector:
    """Return the detector family that a name in the run belongs to.

    Parameters
    ----------
    name : str
        E.g. ``"SPB_DET_AGIPD1M-1"``.
    given : Detector, str or None
        The family, where it is known.

    Returns
    -------
    Detector

    Raises
    ------
    BadInput
        If no family, or more than one, fits.

    Examples
    --------
    >>> detector_named("FXE_XAD_JF1M").name
    'JUNGFRAU'
    """
    if given is not None:
        return detectors.load(given) if isinstance(given, str) else given
    fitting = _fitting(name)
    if len(fitting) == 1:
        return fitting[0]
    which = f"it could be {' or '.join(one.name for one in fitting)}" if fitting else "no family is called so"
    raise BadInput(
        f"{name}: {which}: name the detector (--detector, detector=): one of {', '.join(detectors.names())}."
    )


def known(name: str) -> bool:
    """Return whether a name in the run is that of a detector of ours.

    Parameters
    ----------
    name : str

    Returns
    -------
    bool

    Examples
    --------
    >>> known("FXE_XAD_JF1M"), known("FXE_XAD_CAMERA")
    (True, False)
    """
    return bool(_fitting(name))


def _fitting(name: str) -> list[Detector]:
    """Return the families that a name in the run may belong to."""
    families = (detectors.load(family) for family in detectors.names())
    return [one for one in families if re.fullmatch(one.name_pattern, name)]


def module_of(aggregator: str, detector: Detector | None) -> int:
    """Return the number of a module by the name of its data aggregator.

    Parameters
    ----------
    aggregator : str
        E.g. ``"AGIPD00"``.
    detector : Detector or None
        None: any number will do.

    Returns
    -------
    int

    Raises
    ------
    BadInput
        If the detector has no such module.

    Examples
    --------
    >>> module_of("JNGFR02", detectors.load("JUNGFRAU"))
    2
    """
    numbers = re.findall(r"\d+", aggregator)
    number = int(numbers[-1]) if numbers else -1
    modules = () if detector is None else detector.modules
    if not numbers or (modules and number not in modules):
        expected = f"{modules[0]} to {modules[-1]}" if modules else "a number"
        whose = "any detector" if detector is None else detector.name
        raise BadInput(f"{aggregator!r} is no module of {whose}: expected {expected} at its end.")
    return number
