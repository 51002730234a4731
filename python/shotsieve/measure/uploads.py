"""Arrays of plans on devices: copied once, and there as long as the plan is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..device import upload

_UPLOADED: WeakKeyDictionary[Any, dict[int, tuple[Any, dict[str, Any]]]] = WeakKeyDictionary()


def uploaded(plan: Any, arrays: Mapping[str, np.ndarray], device: Any) -> dict[str, Any]:
    """Return the arrays of a plan on a device.

    Parameters
    ----------
    plan : object that can be weakly referenced
        Who the arrays belong to; they stay on the device as long as it lives.
    arrays : mapping of str to ndarray
    device : Device

    Returns
    -------
    dict of str to device array
    """
    known = _UPLOADED.setdefault(plan, {})
    if id(device) not in known:
        known[id(device)] = (device, {name: upload(device, array) for name, array in arrays.items()})
    return known[id(device)][1]
