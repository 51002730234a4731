"""Constants from objects of ``extra.calibration``: `CalibrationData`, or some `MultiModuleConstant`.

They are taken for what they offer; the package EXtra itself is never imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...detectors import Detector
from ...errors import BadInput
from ..container import Constants
from .references import Reference, detector_named, module_of, open_references

__all__ = ["from_extra", "is_extra"]

# Fields of its conditions objects, and what they are here.
_CONDITIONS = {
    "memory_cells": "cells",
    "acquisition_rate": "rate_mhz",
    "integration_time": "integration_time",
    "gain_setting": "gain_setting",
    "sensor_bias_voltage": "bias_voltage",
    "parallel_gain": "parallel_gain",
    "memory_cell_order": "memory_cell_order",
}


def is_extra(found: Any) -> bool:
    """Whether something is a `CalibrationData`, a `MultiModuleConstant`, or a list of these.

    Parameters
    ----------
    found : object

    Returns
    -------
    bool

    Examples
    --------
    >>> is_extra("constants.h5")
    False
    """
    if isinstance(found, list | tuple):
        return bool(found) and all(is_extra(one) for one in found)
    return hasattr(found, "module_details") and hasattr(found, "detector_name") and isinstance(found, Mapping)


def from_extra(
    found: Any,
    detector: Detector | str | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    condition: Any = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    directions: Mapping[str, str] | None = None,
    ff_gain: float = 1.0,
) -> Constants:
    """Make constants of what EXtra has looked up.

    Parameters
    ----------
    found : CalibrationData, MultiModuleConstant, or sequence of these
        Of one detector.
    detector : Detector, str or None
        The family; None finds it by the detector's name.
    root : path-like or None
        Of the facility's store; None takes the one that EXtra knows.
    condition : object or None
        What they were looked up for, e.g. `AGIPDConditions`: becomes the conditions of the constants, which
        runs are compared with.
    dims : mapping or None
        Axes, by calibration, of files that do not name them.
    directions : mapping or None
        Of LPD: calibration -> ``"multiply"`` or ``"divide"``.
    ff_gain : float
        SlopesFF is divided by it.

    Returns
    -------
    Constants
        Reads from the store when asked for arrays; `save` makes a file of them.

    Raises
    ------
    BadInput
        If it is none of these, of several detectors, or the axes of a file are ambiguous.
    UnreadableData
        If a file is damaged.

    Examples
    --------
    >>> data = CalibrationData.from_data(run, "SPB_DET_AGIPD1M-1")  # doctest: +SKIP
    >>> from_extra(data).save("constants.h5")  # doctest: +SKIP
    """
    if not is_extra(found):
        raise BadInput(
            "expected a CalibrationData or MultiModuleConstant of extra.calibration, got "
            f"{type(found).__name__}."
        )
    several = list(found) if isinstance(found, list | tuple) else [found]
    names = sorted({str(one.detector_name) for one in several})
    if len(names) > 1:
        raise BadInput(f"constants of several detectors were given: {', '.join(names)}; give those of one.")
    detector = detector_named(names[0], detector)
    references, modules = [], set()
    for one in several:
        modules |= {_module(told, detector) for told in one.module_details}
        for multi in _multi(one):
            numbers = {told["karabo_da"]: told for told in multi.module_details}
            for aggregator, single in multi.constants.items():
                module = _module(numbers.get(aggregator, {"karabo_da": aggregator}), detector)
                pdu = str(single.pdu_name or numbers.get(aggregator, {}).get("physical_name", ""))
                version = {} if single.ccv_id is None else {"ccv_id": str(single.ccv_id)}
                path = Path(single.file_path(root))
                references.append(
                    Reference(module, pdu, multi.calibration_name, path, single.dataset, version)
                )
    provenance = {"layout": "extra.calibration", "source": names[0]}
    return open_references(
        detector,
        references,
        modules=modules,
        dims=dims,
        directions=directions,
        ff_gain=ff_gain,
        conditions=_conditions(condition),
        provenance={**provenance, "pdus": {str(one.module): one.pdu for one in references}},
        where=names[0],
    )


def _multi(one: Any) -> list[Any]:
    """Return the constants of several modules that something holds."""
    return [one] if hasattr(one, "calibration_name") else [one[name] for name in one]


def _module(told: Mapping[str, Any], detector: Detector) -> int:
    number = told.get("module_number")
    return module_of(told["karabo_da"], detector) if number is None else int(number)


def _conditions(condition: Any) -> dict[str, Any]:
    told = {ours: getattr(condition, theirs, None) for theirs, ours in _CONDITIONS.items()}
    return {
        name: int(value) if isinstance(value, bool) else value
        for name, value in told.items()
        if value is not None
    }
