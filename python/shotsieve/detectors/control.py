"""Where a run says how its detector was driven, and in which unit."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..units import convert

CONTROL_FIELDS = {
    "gain_mode": "",
    "cells": "",
    "rate_mhz": "MHz",
    "integration_time": "",
    "gain_setting": "",
    "parallel_gain": "",
    "memory_cell_order": "",
    "bias_voltage": "V",
    "photon_energy_kev": "keV",
    "distance_m": "m",
}
"""Fields of the operating mode and the unit each is kept in."""


@dataclass(frozen=True)
class ControlKey:
    """Where one value of the operating mode may be found in a run.

    Attributes
    ----------
    source : str
        Regular expression for the whole source name, with the placeholders ``{detector}`` and
        ``{instrument}``.
    key : str
        Key of the source, with dots.
    unit : str
        Unit of the value there; ``""`` for a pure number or a name.
    factor, add : float
        ``value * factor + add`` is the value in `unit`.
    """

    source: str
    key: str
    unit: str = ""
    factor: float = 1.0
    add: float = 0.0

    def pattern(self, name: str) -> re.Pattern:
        """Return the compiled pattern of the source for the detector called `name`.

        Parameters
        ----------
        name : str
            The detector's name in the run, e.g. ``"SPB_DET_AGIPD1M-1"``.

        Returns
        -------
        re.Pattern
            To be used with ``fullmatch`` on a source name.

        Examples
        --------
        >>> ControlKey("{detector}/DET/CONTROL", "gainMode").pattern("FXE_XAD_JF1M").pattern
        'FXE_XAD_JF1M/DET/CONTROL'
        """
        text = self.source.replace("{detector}", re.escape(name))
        return re.compile(text.replace("{instrument}", re.escape(name.split("_")[0])))

    def convert(self, value: float, field_name: str) -> float:
        """Return a number read from the run in the unit of `field_name`.

        Parameters
        ----------
        value : float
            As it stands in the run.
        field_name : str
            A key of `CONTROL_FIELDS`.

        Returns
        -------
        float
            In the field's own unit (keV, m, MHz, V or a pure number).

        Examples
        --------
        >>> ControlKey("", "storageCells", add=1).convert(15, "cells")
        16.0
        """
        number = float(value) * self.factor + self.add
        own = CONTROL_FIELDS[field_name]
        return convert(number, self.unit, own, option=self.key) if self.unit and own else number


def as_key(value: object) -> str:
    """Return a value of the run as the keys of ``[gain_modes]`` and its like are written.

    Parameters
    ----------
    value : int, float, str or bytes
        As the run's control source gives it.

    Returns
    -------
    str

    Examples
    --------
    >>> as_key(b"fixg1"), as_key(1.0)
    ('fixg1', '1')
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value)
