"""Conditions of constants, against a run and against what a program that calibrates frames in memory says."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..cell_order import ANY, read_order, same_order, shown_order
from ..errors import BadInput

if TYPE_CHECKING:
    from .container import Constants

__all__ = ["CELL_ORDER", "check_told", "disagreements", "settled"]

CELL_ORDER = "memory_cell_order"

# How much two values of one condition may differ: rates are given as 2.2 and as 2.25 for the same setting.
_TOLERANCE = {"rate_mhz": 0.06, "integration_time": 1e-3, "bias_voltage": 1.0, "photon_energy_kev": 0.05}


def settled(conditions: Mapping[str, Any], where: object = "conditions") -> dict[str, Any]:
    """Return conditions as they are kept: without those that are not known, orders of cells in one form.

    Parameters
    ----------
    conditions : mapping
    where : object
        What the error begins with.

    Returns
    -------
    dict

    Raises
    ------
    BadInput
        If an order of memory cells is none.

    Examples
    --------
    >>> settled({"memory_cell_order": "0,1,2,", "rate_mhz": None})
    {'memory_cell_order': '0-2'}
    """
    known = {name: value for name, value in conditions.items() if value is not None}
    if CELL_ORDER in known:
        known[CELL_ORDER] = read_order(known[CELL_ORDER], f"{where}: {CELL_ORDER}")
    return known


def disagreements(conditions: Mapping[str, Any], mode: object, who: str) -> list[str]:
    """Say where an operating mode is not that of the conditions; see `Constants.check_conditions`.

    Parameters
    ----------
    conditions : mapping
    mode : OperatingMode
    who : str

    Returns
    -------
    list of str

    Examples
    --------
    >>> disagreements({"cells": 1}, SimpleNamespace(cells=16), "the run has")
    ['cells: the run has 16, the constants were taken with 1']
    """
    found = []
    for name, own in conditions.items():
        value = getattr(mode, name, None)
        if value is not None and own is not None and not _agree(name, value, own):
            told, taken = _shown(name, value), _shown(name, own)
            found.append(f"{name}: {who} {told}, the constants were taken with {taken}{_HINTS.get(name, '')}")
    return found


_HINTS = {
    CELL_ORDER: f" (offsets differ between orders; if these constants are meant, set [calibrate] "
    f'{CELL_ORDER} = "{ANY}")'
}
"""What helps beside other constants, where that is no mistake."""


def _agree(name: str, value: Any, own: Any) -> bool:
    if isinstance(own, list):  # of several fixed gain modes
        return value in own
    if name == CELL_ORDER:
        return same_order(str(value), str(own))
    if isinstance(own, str) or isinstance(value, str):
        return str(own) == str(value)
    return abs(float(value) - float(own)) <= _TOLERANCE.get(name, 0)


def _shown(name: str, value: object) -> str:
    if isinstance(value, list):
        return " or ".join(_shown(name, one) for one in value)
    if name == CELL_ORDER:
        return shown_order(str(value))
    return repr(value) if isinstance(value, str) else f"{float(value):g}"


def check_told(constants: Constants, told: Mapping[str, Any], force: bool = False) -> list[str]:
    """Refuse constants that were taken under other conditions than the caller tells.

    Parameters
    ----------
    constants : Constants
    told : mapping
        Condition -> value; None is not compared, and neither is what the constants do not know.
    force : bool
        Return the disagreements instead of refusing them.

    Returns
    -------
    list of str
        At most one sentence; empty where nothing disagrees.

    Raises
    ------
    BadInput
        If a condition disagrees, and `force` is not set.

    Examples
    --------
    >>> import numpy as np
    >>> from shotsieve.constants import Constants
    >>> arrays = {"offset": np.zeros((3, 1, 512, 1024))}
    >>> known = {"gain_mode": "adaptive"}
    >>> constants = Constants.from_arrays("JUNGFRAU", arrays, modules=[1], conditions=known)
    >>> check_told(constants, {"gain_mode": "adaptive", "photon_energy_kev": None})
    []
    """
    found = constants.check_conditions(SimpleNamespace(**told), "given is")
    if not found:
        return []
    text = "the constants were taken under other conditions than those given: " + "; ".join(found)
    if not force:
        raise BadInput(
            f"{text}. Give the right constants, correct what is given, or go on with force=True, which is "
            "then told in the notes."
        )
    return [f"forced: {text}"]
