"""A plain AGIPD-1M of our own: where its pixels are, and the CrystFEL geometry file that says so.

Four quadrants of four modules stand around a square hole for the direct beam. Modules 0-3 are top left,
4-7 bottom left, 8-11 bottom right, 12-15 top right, so that modules 3, 4, 8 and 15 touch the hole, as at the
real detector. Every module has eight ASIC panels of 64 x 128 pixels along the slow scan axis.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..detectors import Detector
from ..geometry import Geometry, Panel
from ..units import HC_KEV_NM

MODULES = 16
SHAPE = (512, 128)
ASICS = 8
ASIC_ROWS = 64
PIXEL_SIZE_M = 200e-6
ASIC_PITCH = 66  # the ASICs of a module stand two pixels apart
MODULE_PITCH = 158
HOLE = 5  # half the side of the hole, in pixels


def panel_corner(module: int, asic: int) -> tuple[float, float, int, int]:
    """Return where one ASIC panel begins and which way its axes run.

    Parameters
    ----------
    module : int
        0 to 15.
    asic : int
        0 to 7.

    Returns
    -------
    corner_x, corner_y : float
        Corner of the first pixel in pixels, beam at the origin.
    ss, fs : int
        Sign of the slow scan axis along x and of the fast scan axis along y.

    Examples
    --------
    >>> panel_corner(3, 7)
    (-69.0, 133.0, 1, -1)
    """
    quadrant, row = divmod(module, 4)
    length = (ASICS - 1) * ASIC_PITCH + ASIC_ROWS
    width = SHAPE[1]
    # The quadrants at the top count their modules inwards, those at the bottom outwards.
    if quadrant == 0:
        return -HOLE - length + asic * ASIC_PITCH + 0.0, HOLE + (3 - row) * MODULE_PITCH + width + 0.0, 1, -1
    if quadrant == 1:
        return -HOLE - length + asic * ASIC_PITCH + 0.0, -HOLE - row * MODULE_PITCH + 0.0, 1, -1
    if quadrant == 2:
        return HOLE + length - asic * ASIC_PITCH + 0.0, -HOLE - row * MODULE_PITCH - width + 0.0, -1, 1
    return HOLE + length - asic * ASIC_PITCH + 0.0, HOLE + (3 - row) * MODULE_PITCH + 0.0, -1, 1


def pixel_positions(module: int) -> np.ndarray:
    """Return the centres of one module's pixels.

    Parameters
    ----------
    module : int
        0 to 15.

    Returns
    -------
    numpy.ndarray
        (512, 128, 2) float64: x and y in metres, beam at the origin.

    Examples
    --------
    >>> pixel_positions(0).shape
    (512, 128, 2)
    """
    out = np.empty((*SHAPE, 2))
    rows, columns = np.arange(ASIC_ROWS) + 0.5, np.arange(SHAPE[1]) + 0.5
    for asic in range(ASICS):
        x, y, ss, fs = panel_corner(module, asic)
        part = out[asic * ASIC_ROWS : (asic + 1) * ASIC_ROWS]
        part[..., 0] = (x + ss * rows)[:, None]
        part[..., 1] = (y + fs * columns)[None, :]
    return out * PIXEL_SIZE_M


def grid_positions(module: int, shape: tuple[int, int], size_m: float, hexagonal: bool) -> np.ndarray:
    """Return the centres of one module's pixels, of a detector whose modules stand on a grid around the beam.

    Modules 0-3 are top left, 4-7 bottom left, 8-11 bottom right, 12-15 top right, each quadrant as square
    as its modules allow. Of hexagons every other row is shifted by half a pixel.

    Parameters
    ----------
    module : int
        0 to 15.
    shape : tuple of int
        Rows and columns of a module.
    size_m : float
        Width of a pixel, m.
    hexagonal : bool

    Returns
    -------
    numpy.ndarray
        (ss, fs, 2) float64: x and y in metres, beam at the origin.

    Examples
    --------
    >>> grid_positions(0, (256, 256), 500e-6, False).shape
    (256, 256, 2)
    """
    quadrant, number = divmod(module, 4)
    across = 2 if shape[0] == shape[1] else 1
    row, column = divmod(number, across)
    left, top = quadrant in (0, 1), quadrant in (0, 3)
    pitch = np.sqrt(0.75) if hexagonal else 1.0
    x0 = HOLE + column * (shape[1] + HOLE)
    y0 = HOLE + row * (shape[0] * pitch + HOLE)
    x = x0 + 0.5 + np.arange(shape[1]) + (0.5 * (np.arange(shape[0]) % 2)[:, None] if hexagonal else 0)
    y = y0 + (0.5 + np.arange(shape[0])) * pitch
    out = np.empty((*shape, 2))
    out[..., 0] = -x if left else x
    out[..., 1] = (y if top else -y)[:, None]
    return out * size_m


def momentum_transfer(position: np.ndarray, distance_m: float, photon_energy_kev: float) -> np.ndarray:
    """Return q = 4 pi sin(theta) / wavelength at the centre of each pixel of a module.

    Parameters
    ----------
    position : numpy.ndarray
        (ss, fs, 2): x and y in metres, beam at the origin.
    distance_m : float
        Sample to detector, m.
    photon_energy_kev : float
        keV.

    Returns
    -------
    numpy.ndarray
        (ss, fs) float64, 1/nm.

    Examples
    --------
    >>> float(momentum_transfer(pixel_positions(3), 1.0, 9.3).min()) > 0
    True
    """
    radius = np.hypot(position[..., 0], position[..., 1])
    theta = 0.5 * np.arctan2(radius, distance_m)
    return 4 * np.pi * np.sin(theta) * (photon_energy_kev / HC_KEV_NM)


def write_grid_geometry(
    path: str | os.PathLike, detector: Detector, distance_m: float, photon_energy_kev: float
) -> Path:
    """Write a detector whose modules stand as in `grid_positions` as a CrystFEL geometry file in slab layout.

    Parameters
    ----------
    path : path
        File to write; the folder must exist.
    detector : Detector
        With square pixels.
    distance_m, photon_energy_kev : float
        Camera length, m, and photon energy, keV.

    Returns
    -------
    pathlib.Path
        The file. The same arguments give the same bytes.

    Examples
    --------
    >>> write_grid_geometry("lpd.geom", detectors.load("LPD1M"), 1.6, 9.3)  # doctest: +SKIP
    """
    (ss, fs), (high, wide), panels = detector.shape, detector.asic, []
    for module in detector.modules:
        place = grid_positions(module, detector.shape, 1.0, False)
        right, down = np.sign(place[0, 1, 0] - place[0, 0, 0]), np.sign(place[1, 0, 1] - place[0, 0, 1])
        for top in range(0, ss, high):
            for left in range(0, fs, wide):
                x, y = place[top, left] - 0.5 * np.array([right, down])
                first = module * ss + top
                panels.append(
                    Panel(
                        f"p{module}r{top}c{left}",
                        module,
                        (first, first + high, left, left + wide),
                        (float(x), float(y)),
                        (float(right), 0.0, 0.0),
                        (0.0, float(down), 0.0),
                        1 / detector.pixel_size_m,
                    )
                )
    geometry = Geometry(panels=tuple(panels), module_shape=detector.shape, modules=len(detector.modules))
    return geometry.save(
        path,
        data_path="/entry_1/data_1/data",
        mask_path="/entry_1/data_1/mask",
        clen_m=distance_m,
        photon_energy_kev=photon_energy_kev,
        adu_per_ev=0.001,  # corrected frames are in keV
        comments=[f"A plain {detector.name} layout, made by shotsieve simulate"],
    )


def write_geometry(
    path: str | os.PathLike, distance_m: float, photon_energy_kev: float, modules: int = MODULES
) -> Path:
    """Write the AGIPD as a CrystFEL geometry file in slab layout (frames, modules * 512, 128).

    Parameters
    ----------
    path : path
        File to write; the folder must exist.
    distance_m : float
        Camera length, m.
    photon_energy_kev : float
        keV.
    modules : int
        16, or 8 of AGIPD-500K.

    Returns
    -------
    pathlib.Path
        The file. The same arguments give the same bytes.

    Examples
    --------
    >>> write_geometry("agipd.geom", 1.6, 9.3)  # doctest: +SKIP
    """
    names = {m: tuple(f"p{m}a{a}" for a in range(ASICS)) for m in range(modules)}
    # The groups that refinement tools of old look for; the hierarchy of today is made from them.
    rigid = {f"q{q}": sum((names[m] for m in range(4 * q, 4 * q + 4)), ()) for q in range(modules // 4)}
    rigid |= {f"p{m}": names[m] for m in range(modules)}
    geometry = Geometry(
        panels=tuple(_panel(m, a, names[m][a]) for m in range(modules) for a in range(ASICS)),
        module_shape=SHAPE,
        modules=modules,
        rigid_groups=rigid,
        rigid_collections={
            "quadrants": tuple(f"q{q}" for q in range(modules // 4)),
            "asics": tuple(f"p{m}" for m in range(modules)),
        },
    )
    return geometry.save(
        path,
        data_path="/entry_1/data_1/data",
        mask_path="/entry_1/data_1/mask",
        clen_m=distance_m,
        photon_energy_kev=photon_energy_kev,
        adu_per_ev=0.001,  # corrected frames are in keV
        # The first line: by it a later simulation knows that the file may be replaced.
        comments=[
            f"A plain AGIPD-{'1M' if modules == MODULES else '500K'} layout, made by shotsieve simulate"
        ],
    )


def _panel(module: int, asic: int, name: str) -> Panel:
    x, y, ss, fs = panel_corner(module, asic)
    first = module * SHAPE[0] + asic * ASIC_ROWS
    return Panel(
        name,
        module,
        (first, first + ASIC_ROWS, 0, SHAPE[1]),
        (x, y),
        (0.0, float(fs), 0.0),
        (float(ss), 0.0, 0.0),
        1 / PIXEL_SIZE_M,
    )
