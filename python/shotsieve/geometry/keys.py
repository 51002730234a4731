"""Keys of CrystFEL geometry files and what may stand behind each.

Every reader takes the text after ``=`` and returns its value, or raises ``ValueError`` with a sentence that
says what was expected; the caller adds file, line and panel.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import nearest
from ..units import convert

NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
TERM = re.compile(r"([-+]?)((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)?([xyz])")


@dataclass(frozen=True)
class FileValue:
    """A number that stands in the data files, not in the geometry file.

    Attributes
    ----------
    path : str
        Where it stands in each data file.
    unit : str
        The unit it is declared to have; ``""`` is CrystFEL's default for the key (mm for ``clen``, eV for
        ``photon_energy``).

    Examples
    --------
    >>> str(FileValue("/LCLS/detector_1/EncoderValue", "m"))
    '/LCLS/detector_1/EncoderValue m'
    """

    path: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.path} {self.unit}".rstrip()


def number(text: str) -> float:
    """Return a finite number; ``ValueError`` if it is none."""
    if not NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError(f"expected a number, got {text!r}")
    return float(text)


def positive(text: str) -> float:
    """Return a number above 0."""
    if (value := number(text)) <= 0:
        raise ValueError(f"expected a number above 0, got {text!r}")
    return value


def whole(text: str) -> int:
    """Return a whole number of at least 0; ``63.0`` is one, because older tools write it so."""
    value = number(text)
    if value < 0 or value != int(value):
        raise ValueError(f"expected a whole number of at least 0, got {text!r}")
    return int(value)


def bits(text: str) -> int:
    """Return a bit field of at most 32 bits, decimal or with ``0x``."""
    try:
        value = int(text, 0) if not re.fullmatch(r"0\d+", text) else int(text)
    except ValueError:
        raise ValueError(f"expected a bit field such as 0xffff, got {text!r}") from None
    if not 0 <= value < 2**32:
        raise ValueError(f"expected a bit field of at most 32 bits, got {text!r}")
    return value


def flag(text: str) -> bool:
    """Return whether something is on: a number that is not 0, or true/yes and false/no."""
    word = text.lower()
    if word in ("true", "yes", "false", "no"):
        return word in ("true", "yes")
    try:
        return number(text) != 0
    except ValueError:
        raise ValueError(f"expected 1 or 0 (or true, false, yes, no), got {text!r}") from None


def text_value(text: str) -> str:
    """Return the text as it is."""
    return text


def vector(text: str) -> tuple[float, float, float]:
    """Return x, y and z of a direction such as ``-0.001x +0.99999y``; parts that are not there are 0."""
    packed = re.sub(r"\s+", "", text)
    found, place = {}, 0
    for hit in TERM.finditer(packed):
        if hit.start() != place or (place and not hit[1]) or hit[3] in found:
            break
        found[hit[3]] = float(f"{hit[1]}{hit[2] or 1}")
        place = hit.end()
    if place != len(packed) or not all(map(math.isfinite, found.values())):
        raise ValueError(f"expected a direction such as '+0.001x -0.99999y', each axis once; got {text!r}")
    return found.get("x", 0.0), found.get("y", 0.0), found.get("z", 0.0)


def dimension(text: str) -> str | int:
    """Return ``%``, ``ss``, ``fs`` or a whole number."""
    if text in ("%", "ss", "fs"):
        return text
    try:
        return whole(text)
    except ValueError:
        raise ValueError(f"expected %, ss, fs or a whole number, got {text!r}") from None


def choice(*words: str) -> Callable[[str], str]:
    """Return a reader that accepts only these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected one of {', '.join(words)}, got {text!r}.{nearest(text, words)}")
        return text

    return read


def quantity(to: str, units: tuple[str, ...], default: str = "") -> Callable[[str], float | FileValue]:
    """Return a reader of a number with a unit, or of a place in the data files.

    Parameters
    ----------
    to : str
        The unit of the result.
    units : tuple of str
        Units that may be written.
    default : str
        The unit of a bare number. Without one a bare number other than 0 is refused: its unit would be a
        guess.
    """

    def read(text: str) -> float | FileValue:
        hit = NUMBER.match(text)
        if hit is None:
            path, _, unit = text.rpartition(" ")
            known = unit in units
            return FileValue(path.strip(), unit) if path and known else FileValue(text)
        value, unit = number(hit[0]), text[hit.end() :].strip()
        if not unit and not default and value:
            raise ValueError(f"{text!r} has no unit; write it with one of {', '.join(units)}")
        unit = unit or default or units[0]
        if unit not in units:
            raise ValueError(f"expected a number with one of the units {', '.join(units)}, got {text!r}")
        return _convert(value, unit, to)

    return read


def _convert(value: float, unit: str, to: str) -> float:
    if unit == "A":  # ångström stands in no recipe, so units.py does not know it
        return convert(value / 10, "nm", to)
    if unit == "kV":
        return value * 1000
    return convert(value, unit, to)


# Keys of one panel; without a panel's name they are the default of the panels that come later.
PANEL_KEYS: dict[str, Callable[[str], Any]] = {
    "min_fs": whole,
    "max_fs": whole,
    "min_ss": whole,
    "max_ss": whole,
    "corner_x": number,
    "corner_y": number,
    "coffset": number,
    "fs": vector,
    "ss": vector,
    "res": positive,
    "data": text_value,
    "adu_per_eV": positive,
    "adu_per_photon": positive,
    "max_adu": number,
    "saturation_map": text_value,
    "saturation_map_file": text_value,
    "no_index": flag,
    "mask_edge_pixels": whole,
    "flag_lessthan": number,
    "flag_morethan": number,
    "flag_equal": number,
    "badrow_direction": choice("x", "y", "f", "s", "-"),
    "rail_direction": vector,
    "clen_for_centering": number,
    **{f"mask{n}_{end}": text_value for n in range(8) for end in ("data", "file")},
    **{f"mask{n}_{end}": bits for n in range(8) for end in ("goodbits", "badbits")},
}

# What older files call the first mask.
ALIASES = {
    "mask": "mask0_data",
    "mask_file": "mask0_file",
    "mask_good": "mask0_goodbits",
    "mask_bad": "mask0_badbits",
}

# Keys of the whole file. A quantity is a float in the unit named here, or a FileValue.
GLOBAL_KEYS: dict[str, Callable[[str], Any]] = {
    "photon_energy": quantity("keV", ("eV", "keV", "MeV"), "eV"),
    "wavelength": quantity("nm", ("m", "A")),
    "electron_voltage": quantity("V", ("V", "kV"), "V"),
    "bandwidth": number,
    "photon_energy_scale": positive,
    "clen": quantity("m", ("m", "mm"), "m"),
    "detector_shift_x": quantity("m", ("m", "mm")),
    "detector_shift_y": quantity("m", ("m", "mm")),
    "peak_list": text_value,
    "peak_list_type": choice("auto", "cxi", "list3"),
    "peak_info_location": text_value,
}

REGION_XY = ("min_x", "max_x", "min_y", "max_y")
REGION_FS_SS = ("min_fs", "max_fs", "min_ss", "max_ss")
REGION_KEYS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(REGION_XY, number),
    **dict.fromkeys(REGION_FS_SS, whole),
    "panel": text_value,
}

DIMENSION = re.compile(r"dim(\d+)")


def panel_key(key: str) -> tuple[str, Callable[[str], Any]] | None:
    """Return the present name of a panel's key and its reader, or None where there is no such key."""
    key = ALIASES.get(key, key)
    if DIMENSION.fullmatch(key):
        return f"dim{int(key[3:])}", dimension
    return (key, PANEL_KEYS[key]) if key in PANEL_KEYS else None


def hint(key: str) -> str:
    """Return which key may have been meant."""
    return nearest(key, [*PANEL_KEYS, *ALIASES, *GLOBAL_KEYS, "dim0", "dim1", "dim2"])
