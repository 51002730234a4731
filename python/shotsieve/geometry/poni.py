"""PONI files: where a detector stands, as pyFAI writes it down, versions 1 to 3."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput, nearest
from ..units import check_photon_energy, nm_to_kev
from .tile import Tile

PLACE = ("poni1", "poni2", "rot1", "rot2", "rot3")
KEYS = {
    "poni_version", "distance", "dist", *PLACE, "wavelength", "detector", "detector_config", "pixelsize1",
    "pixelsize2", "splinefile", "parallax",
}  # fmt: skip
CONFIG_KEYS = {"pixel1", "pixel2", "max_shape", "orientation", "splinefile", "sensor"}
# Whether the rows and the columns run against the axes.
ORIENTATIONS = {0: (False, False), 1: (True, True), 2: (True, False), 3: (False, False), 4: (False, True)}
# pyFAI's axes 1, 2, 3 are y, x, z here.
TO_XYZ = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Poni:
    """Where a detector stands.

    Attributes
    ----------
    distance_m : float
        From the sample to the point of normal incidence.
    poni1_m, poni2_m : float
        That point on the detector, along its axes 1 (slow) and 2 (fast).
    rot1, rot2, rot3 : float
        Rotations in rad, applied in this order; the first two are left-handed.
    photon_energy_kev : float or None
    config : dict
        All keys of the file, in small letters.
    name : str
    notes : list of str
    """

    distance_m: float
    poni1_m: float
    poni2_m: float
    rot1: float
    rot2: float
    rot3: float
    photon_energy_kev: float | None = None
    config: dict[str, str] = field(default_factory=dict)
    name: str = "PONI"
    notes: list[str] = field(default_factory=list)

    def frame(self) -> tuple[np.ndarray, np.ndarray]:
        """Return matrix and shift that take x, y, z of the detector to the laboratory (see `rotation`)."""
        matrix = TO_XYZ @ rotation(self.rot1, self.rot2, self.rot3) @ TO_XYZ
        return matrix, matrix @ np.array([-self.poni2_m, -self.poni1_m, self.distance_m])


def rotation(rot1: float, rot2: float, rot3: float) -> np.ndarray:
    """Return pyFAI's rotation matrix on its axes 1, 2, 3: about 1, then 2 (left-handed), then 3.

    Parameters
    ----------
    rot1, rot2, rot3 : float
        In rad.

    Returns
    -------
    ndarray of float64, shape (3, 3)

    Notes
    -----
    pyFAI, "Detector geometry" in its documentation, and ``Geometry.rotation_matrix``.
    """
    (c1, c2, c3), (s1, s2, s3) = np.cos([rot1, rot2, rot3]), np.sin([rot1, rot2, rot3])
    first = np.array([[1, 0, 0], [0, c1, s1], [0, -s1, c1]])
    second = np.array([[c2, 0, -s2], [0, 1, 0], [s2, 0, c2]])
    third = np.array([[c3, -s3, 0], [s3, c3, 0], [0, 0, 1]])
    return third @ second @ first


def read_poni(source: Any) -> Poni:
    """Read a PONI file.

    Parameters
    ----------
    source : path or str
        A file, or its text (which has more than one line).

    Returns
    -------
    Poni

    Raises
    ------
    BadInput
        If it cannot be read, a key is missing or no number, the distance is not above 0, or parallax
        correction is asked for.
    """
    text, name = _text(source)
    config: dict[str, str] = {}
    notes = []
    for line in text.splitlines():
        if line.lstrip().startswith("#") or ":" not in line:
            continue
        key, value = (part.strip() for part in line.split(":", 1))
        # Older versions append to the file: the last entry counts.
        config[key.lower()] = value
        if key.lower() not in KEYS:
            notes.append(f"{name}: key {key!r} is not known and was passed over.{nearest(key.lower(), KEYS)}")
    version = _number(config, "poni_version", name) if "poni_version" in config else 1.0
    if version > 3:
        raise BadInput(f"{name}: PONI version {version:g}; versions 1 to 3 are known")
    if config.get("parallax", "").lower() == "true":
        raise BadInput(
            f"{name}: Parallax is True; parallax correction is not supported. Calibrate without it, or "
            "set it to False"
        )
    if "distance" not in config and "dist" in config:
        config["distance"] = config["dist"]
    missing = [key for key in ("distance", *PLACE) if key not in config]
    if missing:
        raise BadInput(
            f"{name}: no {', '.join(missing)}; a PONI file has Distance, Poni1, Poni2 and Rot1 to Rot3"
        )
    distance = _number(config, "distance", name)
    if not distance > 0:
        raise BadInput(f"{name}: Distance = {distance:g} m; expected a distance above 0 m")
    energy = None
    if config.get("wavelength", "None") not in ("None", "null", ""):
        wavelength = _number(config, "wavelength", name)
        if not wavelength > 0:
            raise BadInput(f"{name}: Wavelength = {wavelength:g}; expected a wavelength above 0, in m")
        energy = check_photon_energy(
            nm_to_kev(wavelength * 1e9), option=f"{name}: Wavelength = {wavelength:g} m"
        )
    return Poni(distance, *(_number(config, key, name) for key in PLACE), energy, config, name, notes)


def _text(source: Any) -> tuple[str, str]:
    if isinstance(source, str) and "\n" in source:
        return source, "PONI text"
    if not isinstance(source, str | os.PathLike):
        raise BadInput(f"PONI: got {type(source).__name__}; expected the path of a .poni file or its text")
    try:
        return Path(source).read_text(), str(source)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{source}: cannot be read as a PONI file ({error})") from error


def _number(config: dict[str, Any], key: str, name: str) -> float:
    try:
        value = float(config[key])
    except (TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value):
        raise BadInput(f"{name}: {key} = {config[key]!r}; expected a number (m, or rad for rotations)")
    return value


def plain_detector(poni: Poni, shape: tuple[int, int] | None) -> Tile | None:
    """Return the tile of a detector of which the PONI file gives pixel sizes, or None if it only names it.

    Parameters
    ----------
    poni : Poni
    shape : (int, int) or None
        Rows and columns; None is that of the file.

    Returns
    -------
    Tile or None
        In the detector's own frame.

    Raises
    ------
    BadInput
        If pixel size or shape are missing or wrong, or a spline is named.
    """
    config, name = poni.config, poni.name
    detector = config.get("detector", "Detector")
    if detector.lower() not in ("detector", "none", ""):
        return None
    own = detector_config(poni)
    unknown = set(own) - CONFIG_KEYS
    if unknown:
        word = sorted(unknown)[0]
        raise BadInput(
            f"{name}: Detector_config has {word!r}, which is not known.{nearest(word, CONFIG_KEYS)}"
        )
    for place in (own, config):
        spline = place.get("splinefile")
        if spline and str(spline).lower() != "none":
            raise BadInput(
                f"{name}: the detector has a spline file ({spline}); load it with pyFAI and use "
                "PixelMap.from_pyfai"
            )
    sizes = {
        "pixel1": own.get("pixel1", config.get("pixelsize1")),
        "pixel2": own.get("pixel2", config.get("pixelsize2")),
    }
    if None in sizes.values():
        raise BadInput(
            f"{name}: no pixel size (PixelSize1 and PixelSize2, or pixel1 and pixel2 in Detector_config, "
            "in m) and no detector's name"
        )
    pixel1, pixel2 = (_number(sizes, key, name) for key in sizes)
    if not (0 < pixel1 < 0.1 and 0 < pixel2 < 0.1):
        raise BadInput(f"{name}: pixels of {pixel1:g} x {pixel2:g} m; expected sizes above 0, in m")
    return grid(
        checked_shape(shape, own.get("max_shape"), name), pixel1, pixel2, own.get("orientation"), name
    )


def detector_config(poni: Poni) -> dict[str, Any]:
    """Return the file's Detector_config, keys in small letters; empty where there is none."""
    text = poni.config.get("detector_config", "{}")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(f"{poni.name}: Detector_config is no JSON ({error}): {text}") from error
    if not isinstance(value, dict | None):
        raise BadInput(f"{poni.name}: Detector_config = {text}; expected a JSON object")
    return {key.lower(): entry for key, entry in (value or {}).items()}


def checked_shape(shape: Any, known: Any, name: str) -> tuple[int, int]:
    """Return rows and columns, from the caller or the detector, which must agree."""
    if shape is None and known is None:
        raise BadInput(f"{name}: the detector's shape is not given there; give shape=(rows, columns)")
    both = [_two(value, name) for value in (shape, known) if value is not None]
    if len(set(both)) > 1:
        raise BadInput(f"{name}: shape = {both[0]}; the detector has {both[1]}")
    return both[0]


def _two(value: Any, name: str) -> tuple[int, int]:
    try:
        numbers = tuple(int(n) for n in value)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 2 or min(numbers) < 1 or tuple(value) != numbers:
        raise BadInput(f"{name}: shape = {value!r}; expected (rows, columns), whole numbers above 0")
    return numbers


def grid(shape: tuple[int, int], pixel1: float, pixel2: float, orientation: Any, name: str) -> Tile:
    """Return one flat grid in the detector's own frame, in one of pyFAI's four orientations."""
    number = 3 if orientation is None else int(orientation)
    if number not in ORIENTATIONS:
        raise BadInput(f"{name}: orientation = {number}; pyFAI has 1 to 4, 3 being its own")
    down, back = ORIENTATIONS[number]
    rows, columns = shape
    corner = np.array([columns * pixel2 if back else 0.0, rows * pixel1 if down else 0.0, 0.0])
    ss_vec = np.array([0.0, -pixel1 if down else pixel1, 0.0])
    fs_vec = np.array([-pixel2 if back else pixel2, 0.0, 0.0])
    return Tile((0, rows, 0, columns), corner, ss_vec, fs_vec)
