"""What the arrays of the constants are called, which shapes they have, and what a store of them must do."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..detectors import Detector
from ..errors import BadInput, nearest

__all__ = ["DTYPES", "GAIN_AXIS", "Store", "as_words", "check_name", "check_shape", "gain_axis"]

GAIN_AXIS = {
    "offset": (3,),
    "noise": (3,),
    "thresholds": (2,),
    "levels": (3,),
    "level_noise": (3,),
    "relative_gain": (3,),
    "mg_baseline": (1,),
    "ff_map": (1, 3),
    "gain_amp_map": (1, 3),
    "adu_per_kev": (1, 3),
    "bad_pixels": (3,),
    "linearisation": (4096,),
}
"""Names of the constants, and how long their gain axis may be where a detector has three gain stages."""

DTYPES = {name: np.dtype("<f4") for name in GAIN_AXIS} | {
    "bad_pixels": np.dtype("<u4"),
    "linearisation": np.dtype("<u2"),
}


def as_words(array: np.ndarray, where: str) -> np.ndarray:
    """Return a table of words as uint16; NaN, which stands for no table, as 0.

    Parameters
    ----------
    array : ndarray
    where : str
        What the error calls the array.

    Returns
    -------
    ndarray of uint16

    Raises
    ------
    BadInput
        If a value is not a whole number of 16 bits: rounding would be a silent change.

    Examples
    --------
    >>> as_words(np.array([0.0, 1023.0, np.nan]), "table").tolist()
    [0, 1023, 0]
    """
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), 0, array)
    words = np.clip(array, 0, 65535).astype("<u2")
    if (words != array).any():
        worst = array[words != array].ravel()[0]
        raise BadInput(
            f"{where}: {worst!s} is in a table of linearisation, whose entries are words: expected whole "
            "numbers from 0 to 65535."
        )
    return words


def gain_axis(detector: Detector, name: str) -> tuple[int, ...]:
    """Return how long the gain axis of a constant may be for a detector.

    Parameters
    ----------
    detector : Detector
    name : str

    Returns
    -------
    tuple of int

    Examples
    --------
    >>> from shotsieve import detectors
    >>> gain_axis(detectors.load("JUNGFRAU"), "adu_per_kev")
    (1, 3)
    """
    return GAIN_AXIS[name] if detector.stages == 3 else (1,)


class Store(Protocol):
    """Where the arrays of a container lie: memory, our own file, a folder in the facility's layout.

    One whose arrays are in files that it does not change may have a method ``origin``, which returns these
    files, and how they are used (of what JSON knows): see `shotsieve.constants.origin`. One that loads a few
    cells of a module without reading the others says so by a method ``cells_apart(module)``; without it, all
    cells of a module are loaded at once.
    """

    def modules(self, name: str) -> tuple[int, ...]:
        """Return the modules that have the constant; empty for one that is not there at all."""

    def load(self, name: str, module: int, rows: np.ndarray) -> np.ndarray:
        """Return (gain, len(rows), ss, fs) in the container's dtype; rows index the cell axis."""


def check_name(name: str) -> None:
    """Raise `BadInput` for a name that no constant has.

    Parameters
    ----------
    name : str

    Examples
    --------
    >>> check_name("offset")
    """
    if name not in GAIN_AXIS:
        hint = nearest(name, GAIN_AXIS)
        raise BadInput(f"There are no constants {name!r}; there are {', '.join(GAIN_AXIS)}.{hint}")


def check_shape(detector: Detector, name: str, shape: tuple[int, ...], cells: int, where: str) -> None:
    """Raise `BadInput` if one module's array of a constant does not have the container's shape.

    Parameters
    ----------
    detector : Detector
    name : str
    shape : tuple of int
        Expected to be (gain, cell, ss, fs).
    cells : int
        Length of the cell axis of the whole container.
    where : str
        What the error calls the array.

    Examples
    --------
    >>> from shotsieve import detectors
    >>> check_shape(detectors.load("AGIPD1M"), "offset", (3, 8, 512, 128), 8, "offset")
    """
    allowed = gain_axis(detector, name)
    gains = " or ".join(map(str, allowed))
    if len(shape) != 4 or shape[0] not in allowed or shape[2:] != detector.shape or not shape[1]:
        raise BadInput(
            f"{where}: the shape is {shape}, but {name!r} of {detector.name} needs "
            f"({gains} gains, cells, {detector.shape[0]}, {detector.shape[1]})."
        )
    if shape[1] != cells:
        raise BadInput(f"{where}: {shape[1]} cells, while the other constants have {cells}.")
