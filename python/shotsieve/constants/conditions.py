"""Constants against what a program that calibrates frames in memory says of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..errors import BadInput

if TYPE_CHECKING:
    from .container import Constants

__all__ = ["check_told"]


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
    disagreements = constants.check_conditions(SimpleNamespace(**told), "given is")
    if not disagreements:
        return []
    text = "the constants were taken under other conditions than those given: " + "; ".join(disagreements)
    if not force:
        raise BadInput(
            f"{text}. Give the right constants, correct what is given, or go on with force=True, which is "
            "then told in the notes."
        )
    return [f"forced: {text}"]
