"""Waiting for what a device still has to do, before the buffers that it does it with go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..device import Device


def settle(device: Device, slots: Iterable[Any], failed: bool = False) -> None:
    """Wait for all that is queued on the streams of some slots.

    Parameters
    ----------
    device : Device
    slots : iterable of Slot
    failed : bool
        An error is on its way: after a fault a device refuses everything, and that must not hide the fault.

    Examples
    --------
    >>> from shotsieve.device import HostDevice
    >>> settle(HostDevice(), [])
    """
    try:
        for slot in slots:
            device.wait(device.record(slot.stream))
    except Exception:
        if not failed:
            raise
