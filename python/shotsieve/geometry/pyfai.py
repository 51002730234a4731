"""Detectors and integrators of pyFAI; pyFAI is needed only by who has such an object or names a detector."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import BadInput
from ..units import check_photon_energy, nm_to_kev
from .poni import Poni, checked_shape, grid
from .tile import LoosePixels, Tile

PLACE = ("dist", "poni1", "poni2", "rot1", "rot2", "rot3")


def named_detector(poni: Poni) -> Any:
    """Return pyFAI's detector that a PONI file names.

    Parameters
    ----------
    poni : Poni

    Returns
    -------
    pyFAI.detectors.Detector

    Raises
    ------
    BadInput
        If pyFAI is not installed or does not know it.
    """
    label = f"{poni.name}: Detector = {poni.config['detector']!r}"
    try:
        from pyFAI.io.ponifile import PoniFile
    except ImportError as error:
        raise BadInput(
            f"{label} is known by name to pyFAI only, which is not installed ({error}). Install it, or write "
            '"Detector: Detector" with pixel sizes and shape, or give geometry='
        ) from error
    try:
        detector = PoniFile(dict(poni.config)).detector
    except Exception as error:  # pyFAI raises whatever its detector classes do
        raise BadInput(
            f"{label}: pyFAI cannot make this detector ({error}); give geometry= instead"
        ) from error
    if detector is None:
        raise BadInput(f"{label}: pyFAI makes no detector of it; give geometry= instead")
    return detector


def detector_piece(detector: Any, shape: tuple[int, int] | None = None) -> Tile | LoosePixels:
    """Return the pixels of a detector of pyFAI in its own frame.

    Parameters
    ----------
    detector : pyFAI.detectors.Detector
    shape : (int, int) or None
        Needed only where the detector has none.

    Returns
    -------
    Tile or LoosePixels
        A tile where the pixels are a plain grid.

    Raises
    ------
    BadInput
        If it is no detector, or its pixels are not known.
    """
    name = f"pyFAI {type(detector).__name__}"
    if not (hasattr(detector, "get_pixel_corners") and hasattr(detector, "calc_cartesian_positions")):
        raise BadInput(f"got {type(detector).__name__}; expected a detector or an integrator of pyFAI")
    from pyFAI.detectors import Detector

    shape = checked_shape(shape, detector.shape, name)
    own_positions = type(detector).calc_cartesian_positions is Detector.calc_cartesian_positions
    own_corners = type(detector).get_pixel_corners is Detector.get_pixel_corners
    if detector.IS_CONTIGUOUS and own_positions and own_corners and detector.uniform_pixel:
        _check_pixels(detector, name)
        return grid(shape, float(detector.pixel1), float(detector.pixel2), detector.orientation, name)
    if (
        not detector.IS_CONTIGUOUS
        and own_positions
        and own_corners
        and getattr(detector, "_pixel_corners", None) is None
    ):
        raise BadInput(
            f"{name}: the detector has gaps, but the positions of its pixels are not set "
            "(set_pixel_corners); pyFAI would take a plain grid. Make it with EXtra-geom's "
            "to_pyfai_detector(), or give geometry="
        )
    rect = (0, shape[0], 0, shape[1])
    if detector.IS_CONTIGUOUS:
        return LoosePixels(rect, _grid_corners(detector, shape))
    # z, y, x in float32, which is all that pyFAI has.
    corners = np.asarray(detector.get_pixel_corners(correct_binning=True), "f8")
    if corners.ndim != 4 or corners.shape[:2] != shape or corners.shape[2] not in (4, 6):
        raise BadInput(
            f"{name}: corners of shape {corners.shape}; expected ({shape[0]}, {shape[1]}, 4 or 6, 3)"
        )
    return LoosePixels(rect, corners[..., ::-1])


def _check_pixels(detector: Any, name: str) -> None:
    for key in ("pixel1", "pixel2"):
        if not getattr(detector, key):
            raise BadInput(f"{name}: {key} is not set; give the detector its pixel sizes in m")


def _grid_corners(detector: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return the corners of pixels that share them, without pyFAI's rounding, leaving its caches alone."""
    d1, d2 = (index.astype("f8") for index in np.indices((shape[0] + 1, shape[1] + 1)))
    y, x, z = detector.calc_cartesian_positions(d1, d2, center=False, use_cython=False)
    points = np.stack([x, y, np.zeros_like(x) if z is None else z], axis=-1)
    return np.stack([points[:-1, :-1], points[1:, :-1], points[1:, 1:], points[:-1, 1:]], axis=2)


def integrator_poni(source: Any) -> Poni:
    """Return where an integrator of pyFAI, or another of its geometries, has its detector.

    Parameters
    ----------
    source : pyFAI.geometry.Geometry or a class made of it

    Returns
    -------
    Poni

    Raises
    ------
    BadInput
        If the distance is not above 0, or parallax correction is on.
    """
    name = f"pyFAI {type(source).__name__}"
    if getattr(source, "parallax", None):
        raise BadInput(
            f"{name}: parallax correction is on, which is not supported; call enable_parallax(False)"
        )
    place = {key: getattr(source, key) for key in PLACE}
    for key, value in place.items():
        if value is None or not np.isfinite(value):
            raise BadInput(f"{name}: {key} = {value!r}; expected a number")
    if not place["dist"] > 0:
        raise BadInput(f"{name}: dist = {place['dist']:g} m; expected a distance above 0 m")
    energy = None
    if source.wavelength:
        energy = check_photon_energy(nm_to_kev(source.wavelength * 1e9), option=f"{name}: wavelength")
    notes = []
    if source.detector.splinefile:
        notes.append(
            f"{name}: solid angles follow the corners that the spline gives, not pyFAI's correction for it"
        )
    return Poni(*(float(place[key]) for key in PLACE), energy, {}, name, notes)
