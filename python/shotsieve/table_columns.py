"""Which columns the table of shots may have, with units and meanings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import BadInput


@dataclass(frozen=True)
class Column:
    """What a column holds: unit and meaning for the reader of the file; dtype and least value for `bounds`.

    Attributes
    ----------
    unit, meaning : str
    dtype : str
        How the values are stored.
    least : float
        The least an unknown module may add to a sum: 0 makes the known part a lower bound.
    """

    unit: str
    meaning: str
    dtype: str = "f8"
    least: float = -np.inf


MEASURES = {
    "lit_pixels": Column("", "unmasked pixels strictly above the threshold", "i8", 0),
    "lit_pixels_high": Column("", "unmasked pixels strictly above the high threshold", "i8", 0),
    "unmasked_pixels": Column("", "pixels that are not masked", "i8", 0),
    "intensity": Column("unit of the calibration", "sum over unmasked pixels, in steps of 1/128"),
    "photons": Column("photon", "sum over unmasked pixels of whole photons", "i8", 0),
    "n_peaks": Column("", "Bragg peaks, also those beyond max_num_peaks", "i8", 0),
}
# Measures of which a recipe makes any number: what their names begin with.
NAMED_MEASURES = {
    "score_": Column("", "weighted sum over unmasked pixels, with the map of that name"),
    "photons_ring_": Column("photon", "sum of whole photons over unmasked pixels of the ring", "i8", 0),
}
ALL = [*MEASURES, *(f"{start}..." for start in NAMED_MEASURES)]
"""Names of measures for error texts."""


def measure_column(name: str) -> Column | None:
    """Return what a measure holds, None for a name that no measure has.

    Examples
    --------
    >>> measure_column("photons_ring_3").unit, measure_column("photons_ring_x"), measure_column("score_")
    ('photon', None, None)
    """
    if name in MEASURES:
        return MEASURES[name]
    for start, column in NAMED_MEASURES.items():
        rest = name.removeprefix(start)
        if rest and rest != name and (rest.isdecimal() if start == "photons_ring_" else name.isidentifier()):
            return column
    return None


# Known by name even where the run does not hold them: a rule may use them, and every value is unknown.
KNOWN_COLUMNS = {
    "xray": Column("", "1 where an X-ray pulse fell into the exposure of the shot, 0 where none did"),
    "n_pulses": Column("", "X-ray pulses in the exposure of the shot"),
    "pulse_energy": Column("uJ", "pulse energy of the X-ray gas monitor, summed over the pulses of the shot"),
    "pulse_energy_sigma": Column("uJ", "uncertainty of the pulse energy"),
    "data_frame": Column(
        "", "1 where the frame is worth reading: it is lit, or the run is one without X-rays"
    ),
    "laser": Column("", "pulses of the optical laser in the exposure of the shot"),
    "pump_state": Column("", "0 no pulse, 1 X-rays alone, 2 laser alone, 3 both"),
    "delay": Column("", "delay between X-rays and optical laser, as the run says it"),
}
KEYS = {
    "train_id": Column("", "train of the shot", "u8"),
    "pulse_id": Column("", "pulse of the shot; index in the train where the detector has no pulse ids", "u8"),
    "cell_id": Column("", "memory cell that holds the shot", "i4"),
}
_LIT = "add a section [measure.lit] to the recipe, which computes it"
EXPLAIN = {
    "lit_pixels": _LIT,
    "lit_pixels_high": "set high_threshold in a section [measure.lit] of the recipe",
    "unmasked_pixels": _LIT,
    "lit_fraction": _LIT,
    "intensity": _LIT,
    "photons": _LIT + "; it also needs the photon energy",
    "n_peaks": "add a section [measure.peaks] to the recipe, which finds them",
}
NOT_MEASURED = ("fate", "verdict", "module_status", "lit_fraction", "n_modules")
"""What else the table answers to: no column may have such a name."""


def known_exactly(low: Any, high: Any) -> np.ndarray:
    """Return values where the least and the greatest they may be are the same, NaN elsewhere, float64.

    Examples
    --------
    >>> known_exactly(np.array([7.0, 9.0]), np.array([7.0, np.inf])).tolist()
    [7.0, nan]
    """
    return np.where(np.equal(low, high), low, np.nan).astype("f8", copy=False)


def check_column_name(name: str, measures: Iterable[str] = ()) -> None:
    """Refuse a name that an added column cannot have.

    Parameters
    ----------
    name : str
    measures : iterable of str
        What the table measures, beside `MEASURES`.

    Raises
    ------
    BadInput
        If the name is taken or not a word.

    Examples
    --------
    >>> check_column_name("score_sphere")
    """
    taken = [*KEYS, *dict.fromkeys([*MEASURES, *measures]), *NOT_MEASURED]
    if name in taken or not name.isidentifier():
        raise BadInput(
            f"a column cannot be called {name!r}: it has to be a word other than {', '.join(taken)}"
        )
