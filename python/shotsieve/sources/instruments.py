"""The instruments: which beamline serves each, which laser, which trigger. Data in ``instruments.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import BadInput, nearest


@dataclass(frozen=True)
class Instrument:
    """What has to be known of an instrument to find its pulses.

    Attributes
    ----------
    name : str
        ``"SPB"``: the first part of its source names.
    sase : int
        1, 2 or 3.
    laser : str or None
        Name of its pump-probe laser, see `laser_bit`; None where it is not known.
    trigger : str or None
        ``source:key`` of the delay of the detector's trigger; None where it is not known.
    """

    name: str
    sase: int
    laser: str | None = None
    trigger: str | None = None


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("instruments.toml").read_text(encoding="utf-8"))


def instruments() -> tuple[str, ...]:
    """Return the names of all instruments.

    Examples
    --------
    >>> instruments()
    ('SPB', 'FXE', 'MID', 'HED', 'SQS', 'SCS', 'SXP')
    """
    return tuple(name for name in _data() if name != "lasers")


def instrument_of(source: str) -> Instrument | None:
    """Return the instrument that a source belongs to, by the first part of its name; None for any other.

    Examples
    --------
    >>> instrument_of("MID_DET_AGIPD1M-1").sase
    2
    """
    name = source.partition("_")[0]
    return Instrument(name, **_data()[name]) if name in instruments() else None


def laser_bit(name: str) -> int:
    """Return the bit of the bunch pattern that tells the pulses of an optical laser.

    Raises
    ------
    BadInput
        If there is no such laser.

    Examples
    --------
    >>> laser_bit("SPB")
    10
    """
    lasers = _data()["lasers"]
    key = name.upper().removeprefix("LP_")
    if key not in lasers:
        raise BadInput(f"laser = {name!r}: expected one of {', '.join(lasers)}.{nearest(key, lasers)}")
    return lasers[key]
